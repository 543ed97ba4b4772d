"""The loop: plan, dispatch, record. Clock and executor come in as arguments."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple, Protocol

from pipelet.calls import CallMaker
from pipelet.core.calls import Batch, BatchResult, TaskCall, TaskResult
from pipelet.core.model import Element, Status
from pipelet.core.parents import Parents
from pipelet.errors import DatabaseError, ExpansionError, StorageError
from pipelet.executors.base import Executor
from pipelet.planner import Outcome, Planned, Planner, Snapshot
from pipelet.progress import SegmentProgress
from pipelet.recorder import Recorder
from pipelet.statusdb import TaskRow, Writer
from pipelet.storage import Tree
from pipelet.summary import Failure, Summary

#: Seconds of work that go to a worker at once.
BATCH_SECONDS = 0.2
#: More tasks than this never go to a worker at once.
BATCH_TASKS = 2000
#: Seconds between two times that results are put on record.
FLUSH_SECONDS = 0.4
#: Seconds between two reports where tasks are shorter than the second number; longer ones are worth a report each.
REPORT_SECONDS, LONG_SECONDS = 0.1, 0.01
#: More failures than this are counted, but not kept one by one.
KEPT_FAILURES = 1000


class Log(Protocol):
    """Where messages of the run and of its tasks go."""

    def write(
        self,
        level: int,
        message: str,
        segment: str = "",
        task: int | None = None,
        when: float = 0.0,
        echo: bool = True,
    ) -> None:
        """Add a message."""


class Stopped(Exception):
    """Somebody asked the run to stop."""


class _Pending(NamedTuple):
    """A task that waits for a worker."""

    row: TaskRow
    parents: Parents
    members: tuple[tuple[Element, ...], ...] | None


class _SegmentRun:
    """The state of one segment in a run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.planned: Planned | None = None
        self.maker: CallMaker | None = None
        self.ids: list[int] = []
        self.queue: deque[_Pending] = deque()
        self.flying: dict[int, _Pending] = {}
        self.failed: set[int] = set()
        self.done = 0
        self.reused = 0
        self.aside = 0
        self.seconds: float | None = None  #: of a task, as measured
        self.waiting: str | None = None
        self.ended = False

    def progress(self) -> SegmentProgress:
        known = self.planned is not None and self.waiting is None
        total = len(self.ids) if known else None
        return SegmentProgress(
            self.name, total, len(self.queue), len(self.flying), self.done, self.reused,
            len(self.failed), self.waiting is not None,
        )


class _Flight(NamedTuple):
    segment: str
    since: float
    calls: tuple[TaskCall, ...]


class Scheduler:
    """Runs a pipeline from its plan to its end.

    Parameters
    ----------
    snapshot
        The pipeline.
    tree, writer, recorder
        Where things are put on record.
    executor
        What runs the tasks.
    scratch_dir
        For temporary files of the tasks.
    log
        Where messages go.
    report
        Told about the state of all segments, a few times a second.
    raise_failures
        Raise the exception of a failed task once it is on record.
    stop
        Asked now and then; true ends the run.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        tree: Tree,
        writer: Writer,
        recorder: Recorder,
        executor: Executor,
        scratch_dir: str,
        log: Log,
        report: Callable[[Sequence[SegmentProgress]], None],
        *,
        raise_failures: Callable[[], BaseException | None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        workers_changed: Callable[[list[tuple[int, float | None]]], None] = lambda processes: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._writer = writer
        self._recorder = recorder
        self._executor = executor
        self._scratch_dir = scratch_dir
        self._log = log
        self._report = report
        self._raise_failures = raise_failures
        self._stop = stop
        self._workers_changed = workers_changed
        self._clock = clock
        self._planner = Planner(snapshot, tree, writer)
        self._runs = {name: _SegmentRun(name) for name in snapshot.graph.order}
        self._flights: dict[Future[BatchResult], _Flight] = {}
        self._failures: list[Failure] = []
        self._flushed = self._reported = self._clock()
        self._processes: list[tuple[int, float | None]] = []

    def run(self) -> Summary:
        """Run all that must run.

        Returns
        -------
        Summary
            How it ended.

        Raises
        ------
        Stopped
            Somebody asked to stop; what is done is on record.
        """
        begun = self._clock()
        try:
            for name in self._snapshot.graph.order:
                self._recorder.open_instance(name)
            self._recorder.settle_unfinished()
            while True:
                self._open_segments()
                self._dispatch()
                if not self._flights:
                    if not any(run.queue for run in self._runs.values()) and not self._openable():
                        break
                    continue
                self._collect()
                self._flush_if_due()
                if self._stop():
                    raise Stopped
            self._flush()
        except BaseException:
            self._abandon()
            raise
        finally:
            self._tell()
        return self._summary(self._clock() - begun)

    # --- segments ------------------------------------------------------------------------------------------------

    def _openable(self) -> list[_SegmentRun]:
        parents = self._snapshot.graph.parents
        return [
            run
            for run in self._runs.values()
            if run.planned is None and all(self._runs[name].ended for name in parents(run.name))
        ]

    def _open_segments(self) -> None:
        """Plan the segments whose parents have ended; one that has nothing to run may let its children follow."""
        openable = self._openable()
        while openable:
            if self._recorder.pending:
                self._flush()
            for run in openable:
                self._open(run)
            openable = self._openable()

    def _open(self, run: _SegmentRun) -> None:
        planned = run.planned = self._planner.plan(run.name)
        for warning in planned.warnings:
            self._log.write(logging.WARNING, warning, run.name)
        if planned.waiting is not None or planned.error is not None:
            self._cannot_open(run, planned)
            return
        run.ids = self._recorder.apply(planned)
        run.reused = planned.plan.reused
        self._queue(run, planned)
        to_run, total = len(run.queue), len(run.ids)
        self._log.write(logging.INFO, f"{to_run} of {total} to run, {run.reused} taken from disk", run.name)
        for warning in self._recorder.changed_modules(run.name):
            self._log.write(logging.WARNING, warning, run.name)
        self._end_if_through(run)

    def _cannot_open(self, run: _SegmentRun, planned: Planned) -> None:
        error: ExpansionError | None = planned.error
        run.waiting = planned.waiting if error is None else "its inputs could not be made"
        run.ended = True
        self._planner.give_up(run.name)
        self._recorder.finish(run.name, run.waiting)
        level = logging.WARNING if error is None else logging.ERROR
        told = error is not None and self._raise_failures is not None
        self._log.write(level, str(error or planned.waiting), run.name, echo=not told)
        if error is not None:
            self._failures.append(Failure(run.name, None, "", str(error), "", None))
            if self._raise_failures is not None:
                raise error

    def _queue(self, run: _SegmentRun, planned: Planned) -> None:
        rows = self._recorder.queued
        for decision in planned.plan.to_run:
            task = run.ids[decision.position]
            group = decision.wanted.group
            run.queue.append(_Pending(rows.pop(task), decision.wanted.parents, group.members if group else None))
        aside = [item for item in planned.plan.decisions if item.action.name == "SKIP"]
        run.aside = len(aside)
        run.failed.update(item.task for item in aside)

    def _end_if_through(self, run: _SegmentRun) -> None:
        """Settle a segment all of whose tasks have ended."""
        if run.queue or run.flying or run.ended:
            return
        if self._recorder.pending:
            self._flush()
        run.ended = True
        parents = self._snapshot.graph.parents(run.name)
        complete = not run.failed and all(self._planner.outcomes[name].complete for name in parents)
        known = [task for task in run.ids if task not in run.failed] if run.failed else run.ids
        self._planner.outcomes[run.name] = Outcome(known, complete)
        self._recorder.finish(run.name, None)
        if run.done:
            self._recorder.write_parameters(run.name, run.ids)
        for name in parents:
            if all(self._runs[child].planned is not None for child in self._snapshot.graph.children(name)):
                self._planner.forget_outputs(name)
        run.maker = None

    # --- tasks ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Fill the free slots, the segments that are furthest down first, so that chains end early."""
        while len(self._flights) < self._executor.slots:
            waiting = [run for run in self._runs.values() if run.queue]
            if not waiting:
                return
            self._send(max(waiting, key=lambda run: len(self._snapshot.graph.ancestors(run.name))))
            if self._raise_failures is not None:
                return

    def _send(self, run: _SegmentRun) -> None:
        if run.maker is None:
            run.maker = CallMaker(
                self._snapshot, self._tree, self._writer, self._planner, self._recorder, run.name,
                self._scratch_dir, self._raise_failures is not None,
            )
        calls = []
        for _ in range(self._batch_size(run)):
            pending = run.queue.popleft()
            run.flying[pending.row.id] = pending
            calls.append(run.maker.call(*pending))
        # A task that runs right here, and long, would else run unseen.
        short = run.seconds is not None and run.seconds < LONG_SECONDS
        if not short or self._clock() - self._reported >= REPORT_SECONDS:
            self._tell()
        future = self._executor.submit(Batch(run.maker.context, tuple(calls)))
        self._flights[future] = _Flight(run.name, self._clock(), tuple(calls))
        processes = self._executor.processes()
        if processes != self._processes:
            self._processes = processes
            self._workers_changed(processes)

    def _batch_size(self, run: _SegmentRun) -> int:
        if run.seconds is None or self._raise_failures is not None:
            return 1
        fair = -(-len(run.queue) // (2 * self._executor.slots))
        return max(1, min(int(BATCH_SECONDS / run.seconds), BATCH_TASKS, fair))

    def _collect(self) -> None:
        """Take what has ended, and what batches under way have finished."""
        ended, under_way = wait(self._flights, timeout=FLUSH_SECONDS, return_when=FIRST_COMPLETED)
        for future in ended:
            flight = self._flights.pop(future)
            result = future.result()
            run = self._runs[flight.segment]
            self._take(run, result.results)
            run.queue.extendleft(run.flying.pop(task) for task in reversed(result.left))
            self._end_if_through(run)
        now = self._clock()
        for future in under_way:
            flight = self._flights[future]
            if now - flight.since > FLUSH_SECONDS:
                self._take(self._runs[flight.segment], self._executor.partial(future))

    def _take(self, run: _SegmentRun, results: Sequence[TaskResult]) -> None:
        for result in results:
            pending = run.flying.pop(result.id)
            for message in result.messages:
                self._log.write(message.level, message.message, run.name, result.id, message.time)
            self._recorder.result(run.name, pending.row, result)
            if result.status is Status.DONE:
                run.done += 1
            else:
                self._fail(run, pending, result)
        if results:
            spent = sum(result.ended - result.begun for result in results) / len(results) + 2e-5
            run.seconds = spent if run.seconds is None else 0.5 * (run.seconds + spent)

    def _fail(self, run: _SegmentRun, pending: _Pending, result: TaskResult) -> None:
        run.failed.add(result.id)
        text = (result.error or "").rstrip()
        last = text.rpartition("\n")[2]
        log = self._tree.existing_log(self._recorder.instance(run.name).path, result.id)
        self._log.write(logging.ERROR, f"failed on input {pending.row.text or 'none'}: {last}", run.name, result.id)
        if len(self._failures) < KEPT_FAILURES:
            self._failures.append(Failure(run.name, result.id, pending.row.text, last, text, log))
        if self._raise_failures is not None:
            self._flush()
            error = self._raise_failures()
            if error is not None:
                raise error

    # --- the record ----------------------------------------------------------------------------------------------

    def _flush_if_due(self) -> None:
        if self._clock() - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        now = self._clock()
        for flight in self._flights.values():
            if now - flight.since >= FLUSH_SECONDS:
                flying = self._runs[flight.segment].flying
                for call in flight.calls:
                    if call.id in flying:
                        self._recorder.status(call.id, Status.RUNNING)
        self._recorder.flush()
        self._flushed = self._clock()
        self._tell()

    def _tell(self) -> None:
        self._report([run.progress() for run in self._runs.values()])
        self._reported = self._clock()

    def _abandon(self) -> None:
        """Stop what runs; keep what is done."""
        # First the workers end, then it is known what they have finished.
        self._executor.close(kill=True)
        for future, flight in self._flights.items():
            run = self._runs[flight.segment]
            results = future.result().results if future.done() and not future.exception() else ()
            for result in (*results, *self._executor.partial(future)):
                pending = run.flying.pop(result.id, None)
                if pending is not None:
                    self._recorder.result(run.name, pending.row, result)
        for run in self._runs.values():
            for task in run.flying:
                self._recorder.status(task, Status.QUEUED)
        # A disk that is full is what ended the run in the first place, and that is the error to show.
        with contextlib.suppress(StorageError, DatabaseError):
            self._recorder.flush()
            self._recorder.settle_unfinished()

    def _summary(self, seconds: float) -> Summary:
        runs = list(self._runs.values())
        broken = sum(1 for run in runs if run.planned is not None and run.planned.error is not None)
        return Summary(
            done=sum(run.done for run in runs),
            reused=sum(run.reused for run in runs),
            failed=sum(len(run.failed) for run in runs) + broken,
            waiting=[run.name for run in runs if run.waiting is not None],
            seconds=seconds,
            failures=self._failures,
            counts={
                run.name: {"done": run.done, "reused": run.reused, "failed": len(run.failed)} for run in runs
            },
        )
