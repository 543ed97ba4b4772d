"""The protocol of all executors, and the one that runs tasks in the calling process."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import types
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Protocol

from pipelet.capture import TeeCapture
from pipelet.core.calls import Batch, BatchResult, TaskCall, TaskResult
from pipelet.core.model import Status
from pipelet.errors import TaskTimeout
from pipelet.limits import Limits
from pipelet.worker import Bench, error_text

#: A task that swallows the error of its timeout gets it again, so often.
_AGAIN_SECONDS = 1.0
_NO_LIMITS = Limits()


#: Seconds of work that go to a worker at once, where a batch costs next to nothing.
BATCH_SECONDS = 0.2


class Executor(Protocol):
    """What the scheduler asks of an executor; all are alike to it."""

    @property
    def slots(self) -> int:
        """How many batches can be under way at once; 0 while there is no worker."""

    @property
    def batch_seconds(self) -> float:
        """How many seconds of work should go to a worker at once."""

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Run a batch. Only called while fewer than `slots` batches are under way.

        A task that took its worker with it comes back as a failed result; the future itself raises only when the
        executor can't go on.
        """

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """Results of a batch under way that were not handed over yet; they are not in the future's result again."""

    def expect(self, more: bool) -> None:
        """Hear whether there is work for more slots than there are, for executors that can get some."""

    def wait(self, seconds: float) -> None:
        """Wait until there is a slot, but no longer than that. Only called where there is work and none.

        Raises
        ------
        LauncherError
            There never will be one.
        """

    def processes(self) -> list[tuple[int, float | None]]:
        """Process ids and start times of the workers on this machine, for whoever has to clean up after us."""

    def close(self, kill: bool = False) -> None:
        """End the workers; with ``kill`` also those that run a task."""


class InlineExecutor:
    """Runs each task in this process, one after the other.

    Parameters
    ----------
    limits
        What a task may take. Only its time is watched, and only in the main thread: that is where Python runs the
        handlers of signals.

    Attributes
    ----------
    error
        What the last task raised.
    """

    slots = 1
    batch_seconds = BATCH_SECONDS

    def __init__(self, limits: Limits = _NO_LIMITS) -> None:
        self._limits = limits
        self._capture = TeeCapture()
        self._bench = Bench(self._capture, interactive=True)
        self._bytecode = sys.dont_write_bytecode
        # A module edited twice within a second would be taken from a stale cache.
        sys.dont_write_bytecode = True
        self.error: BaseException | None = None

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Run the first task of a batch; the others come back as not begun."""
        call, segment, begun = batch.calls[0], batch.context.segment, time.time()
        try:
            with self._capture.streams(), _alarm(self._limits.seconds(segment), segment) as rung:
                result, self.error = self._bench.run(batch.context, call)
        except TaskTimeout:
            # It came while the task was being put away; one before may have ended it, and says where it was.
            result, self.error = _failed(call, begun, rung[0]), rung[0]
        future: Future[BatchResult] = Future()
        future.set_result(BatchResult((result,), tuple(call.id for call in batch.calls[1:])))
        return future

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """Nothing: a batch has ended when `submit` returns."""
        return ()

    def expect(self, more: bool) -> None:
        """Nothing: there is one slot."""

    def wait(self, seconds: float) -> None:
        """Nothing: there always is a slot."""

    def processes(self) -> list[tuple[int, float | None]]:
        """None but this one."""
        return []

    def close(self, kill: bool = False) -> None:
        """Give the interpreter back as it was."""
        self._bench.leave()
        self._capture.close()
        sys.dont_write_bytecode = self._bytecode


def _failed(call: TaskCall, begun: float, error: TaskTimeout) -> TaskResult:
    place = call.place if os.path.isdir(call.directory) else None
    return TaskResult(
        call.id, Status.FAILED, begun, time.time(), socket.gethostname(), os.getpid(), place=place,
        error=error_text(error),
    )


@contextmanager
def _alarm(seconds: float | None, segment: str) -> Iterator[list[TaskTimeout]]:
    """Raise `TaskTimeout` in what runs longer than that; gives all that were raised."""
    rung: list[TaskTimeout] = []
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield rung
        return

    over = threading.Event()

    def ring(number: int, frame: types.FrameType | None) -> None:
        if not over.is_set() and not _debugging():
            error = TaskTimeout(
                f"the task had not ended after {seconds:g} s, the limit of segment {segment!r} "
                "(Pipeline(..., timeout=...))"
            )
            rung.append(error)
            raise error

    before = signal.signal(signal.SIGALRM, ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    begun = time.monotonic()
    try:
        try:
            yield rung
        finally:
            over.set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if left:
            # Somebody else's alarm, which goes on.
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - begun), 1e-6), interval)


def _debugging() -> bool:
    """Whether somebody steps through the task: then it may take its time."""
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(getattr(sys.gettrace(), "__self__", None), bdb.Bdb)
