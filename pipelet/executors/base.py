"""The protocol of all executors, and the one that runs tasks in the calling process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

from pipelet.capture import TeeCapture
from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.worker import Bench


class Executor(Protocol):
    """What the scheduler asks of an executor; all are alike to it."""

    @property
    def slots(self) -> int:
        """How many batches can run at once."""

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Run a batch. Only called while fewer than `slots` batches are under way.

        A task that took its worker with it comes back as a failed result; the future itself raises only when the
        executor can't go on.
        """

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """Results of a batch under way that were not handed over yet; they are not in the future's result again."""

    def processes(self) -> list[tuple[int, float | None]]:
        """Process ids and start times of the workers on this machine, for whoever has to clean up after us."""

    def close(self, kill: bool = False) -> None:
        """End the workers; with ``kill`` also those that run a task."""


class InlineExecutor:
    """Runs each task in this process, one after the other.

    Attributes
    ----------
    error
        What the last task raised.
    """

    slots = 1

    def __init__(self) -> None:
        self._capture = TeeCapture()
        self._bench = Bench(self._capture, interactive=True)
        self._bytecode = sys.dont_write_bytecode
        # A module edited twice within a second would be taken from a stale cache.
        sys.dont_write_bytecode = True
        self.error: BaseException | None = None

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Run the first task of a batch; the others come back as not begun."""
        with self._capture.streams():
            result, self.error = self._bench.run(batch.context, batch.calls[0])
        future: Future[BatchResult] = Future()
        future.set_result(BatchResult((result,), tuple(call.id for call in batch.calls[1:])))
        return future

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """Nothing: a batch has ended when `submit` returns."""
        return ()

    def processes(self) -> list[tuple[int, float | None]]:
        """None but this one."""
        return []

    def close(self, kill: bool = False) -> None:
        """Give the interpreter back as it was."""
        self._bench.leave()
        self._capture.close()
        sys.dont_write_bytecode = self._bytecode
