"""The loop: plan, dispatch, record. Clock and executor come in as arguments."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from pipelet.calls import CallMaker
from pipelet.core.calls import TaskResult
from pipelet.core.inputs import Listed
from pipelet.core.model import Status
from pipelet.core.plan import QUEUED_NOW, RUNNING_NOW
from pipelet.errors import DatabaseError, ExpansionError, StorageError
from pipelet.executors.base import Executor
from pipelet.flights import Flights, Process
from pipelet.forerunner import Forerunner
from pipelet.planner import Outcome, Planned, Planner, Snapshot
from pipelet.planrecorder import Applied, PlanRecorder
from pipelet.progress import SegmentProgress
from pipelet.segmentrun import SegmentRun
from pipelet.statusdb import QueuedTask, Writer
from pipelet.storage import Tree
from pipelet.summary import Failure, FailureBook, Summary
from pipelet.turns import Turns

#: Seconds between two times that results are put on record.
FLUSH_SECONDS = 0.4
#: Seconds after the last plan before tasks that were done in earlier runs let others begin: often all is planned then.
CALM_SECONDS = 1.0
#: Seconds between two reports where tasks are shorter than the second number; longer ones are worth a report each.
REPORT_SECONDS, LONG_SECONDS = 0.1, 0.01


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
        recorder: PlanRecorder,
        executor: Executor,
        scratch_dir: str,
        log: Log,
        report: Callable[[Sequence[SegmentProgress]], None],
        *,
        raise_failures: Callable[[], BaseException | None] | None = None,
        stop: Callable[[], bool] = lambda: False,
        workers_changed: Callable[[list[Process]], None] = lambda processes: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._writer = writer
        self._recorder = recorder
        self._scratch_dir = scratch_dir
        self._log = log
        self._report = report
        self._raise_failures = raise_failures
        self._stop = stop
        self._clock = clock
        self._flights = Flights(executor, workers_changed, clock)
        #: Tasks that began before their segment's parents had ended, until their results are on record.
        self._hands: dict[int, int] = {}
        self._planner = Planner(
            snapshot, tree, writer, True, self._hands.get, self._has_failed
        )
        graph = snapshot.graph
        self._runs = {name: SegmentRun(name, len(graph.ancestors(name)), writer) for name in graph.order}
        self._turns = Turns(graph, self._runs, snapshot.order)
        self._forerunner = Forerunner(snapshot, writer, self._planner, recorder, self._runs)
        self._failures = FailureBook()
        self._flushed = self._reported = self._planned = self._clock()

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
                self._plan_on()
                self._dispatch()
                busy = any(run.planning or run.queue for run in self._runs.values())
                if self._flights or (busy and self._flights.full):
                    self._flush_if_due()
                    self._collect()
                elif not busy and not self._openable():
                    break
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

    def _openable(self) -> list[SegmentRun]:
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
                self._flush(early=False)
            for run in openable:
                self._open(run)
            openable = self._openable()

    def _open(self, run: SegmentRun) -> None:
        again = run.planned is not None
        planned = run.planned = self._planner.plan(run.name)
        run.unsettled = False
        for warning in () if again else planned.warnings:
            self._log.write(logging.WARNING, warning, run.name)
        if planned.waiting is not None or planned.error is not None:
            self._cannot_open(run, planned)
            return
        del run.ids[:]
        run.reused, run.total = 0, len(planned.inputs)
        if run.early is not None:
            run.early.close()
        run.planning = self._recorder.apply(planned)
        if self._recorder.instance(run.name).whole_task is not None:
            # Its files lie beside the directories of all the others, whose names must be known.
            self._plan_on(run)
            while run.planning is not None:
                self._plan_on(run)
        for warning in () if again else self._recorder.changed_modules(run.name):
            self._log.write(logging.WARNING, warning, run.name)

    def _plan_on(self, only: SegmentRun | None = None) -> None:
        """Go on with the plans that are being made; what they give may run meanwhile."""
        for run in [only] if only is not None else self._runs.values():
            if run.planning is None:
                continue
            self._planned = self._clock()
            applied = next(run.planning, None)
            if applied is not None:
                self._take_over(run, applied)
                continue
            run.planning = None
            run.halted = False
            if run.planned is not None and not run.planned.inputs.grouped:
                run.planned.inputs = Listed([])
            news = len(run.ids) - run.reused - len(run.failed)
            self._log.write(
                logging.INFO, f"{news} of {len(run.ids)} to run, {run.reused} taken from disk", run.name
            )
            self._end_if_through(run)

    def _take_over(self, run: SegmentRun, applied: Applied) -> None:
        if applied.lost:
            self._forerunner.halt(run.name)
        if applied.dropped:
            self._disregard(run, applied.dropped)
        if applied.moved and run.early is not None:
            self._forerunner.warn(run.name)
        run.ids.extend(applied.ids)
        run.queue.set_parents(applied.parents)
        if applied.moved or applied.queued:
            self._planner.lineage.forget()
        run.queue.extend(applied.queued)
        if run.failed:
            self._pardon(run, [task.id for task in applied.queued])
        first = self._recorder.first_id
        run.again.update(task.id for task in applied.queued if task.id < first)
        ran = run.again
        if ran or max(applied.kept, default=0) >= first:
            run.reused += sum(1 for task in applied.kept if task < first and task not in ran)
        else:
            run.reused += len(applied.kept)
        run.aside.update(task for task in applied.aside if task not in run.failed)
        run.failed.update(applied.aside)
        run.unsettled |= applied.unsettled
        if run.early is None and self._forerunner.has_children(run.name):
            run.kept.extend(applied.kept)

    def _cannot_open(self, run: SegmentRun, planned: Planned) -> None:
        error: ExpansionError | None = planned.error
        run.waiting = planned.waiting if error is None else "its inputs could not be made"
        run.ended = True
        self._planner.give_up(run.name)
        if run.early is not None:
            begun = self._recorder.let_go(run.name)
            self._disregard(run, [*begun, *run.queue.ids(), *run.flying])
            self._forerunner.halt(run.name)
        self._recorder.finish(run.name, run.waiting)
        level = logging.WARNING if error is None else logging.ERROR
        told = error is not None and self._raise_failures is not None
        self._log.write(level, str(error or planned.waiting), run.name, echo=not told)
        if error is not None:
            self._failures.append(Failure(run.name, None, "", str(error), "", None))
            if self._raise_failures is not None:
                raise error

    def _disregard(self, run: SegmentRun, tasks: Sequence[int]) -> None:
        """Let go of tasks that were begun too early, and are not wanted."""
        gone = set(tasks)
        flying = gone & run.flying.keys()
        first = self._recorder.first_id
        begun = {*run.queue.remove(gone), *(task for task in gone if task >= first)}
        self._recorder.discard(run.name, sorted(begun - flying))
        run.doubtful |= flying
        run.unwanted |= flying
        self._pardon(run, gone)

    def _pardon(self, run: SegmentRun, tasks: Iterable[int]) -> None:
        """Forget the failures of tasks that run again, or are not wanted."""
        for task in run.failed.intersection(tasks):
            run.failed.remove(task)
            run.aside.discard(task)
            self._failures.forget(task)

    def _has_failed(self, task: int) -> bool:
        """Whether a task failed in this run."""
        return any(task in run.failed for run in self._runs.values())

    def _end_if_through(self, run: SegmentRun) -> None:
        """Settle a segment all of whose tasks have ended."""
        if run.queue or run.flying or run.ended or not run.is_planned:
            return
        if self._recorder.pending:
            self._flush(early=False)
        if run.unsettled:
            self._open(run)
            return
        run.ended = True
        parents = self._snapshot.graph.parents(run.name)
        complete = not run.failed and all(self._planner.outcomes[name].complete for name in parents)
        known: Sequence[int] = run.ids
        if run.failed:
            known = [task for task in run.ids if task not in run.failed]
        self._planner.outcomes[run.name] = Outcome(known, complete)
        self._recorder.finish(run.name, None)
        if run.done or not self._recorder.is_settled(run.name):
            self._recorder.write_parameters(run.name, run.ids)
        signature = self._planner.note_signature(run.name)
        if complete and run.planned is not None and not run.planned.warnings:
            self._recorder.settle(run.name, signature)
        for name in parents:
            if all(self._runs[child].planned is not None for child in self._snapshot.graph.children(name)):
                self._planner.forget_outputs(name)
        run.maker = None
        run.early = None

    # --- tasks ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Fill the free slots."""
        while not self._flights.full:
            waiting = [run for run in self._runs.values() if run.queue and not run.halted]
            if not waiting:
                break
            self._send(self._turns.choose(waiting, self._flights.slots))
            if self._raise_failures is not None:
                return
        self._flights.expect(any(run.queue and not run.halted for run in self._runs.values()))

    def _send(self, run: SegmentRun) -> None:
        if run.maker is None:
            run.maker = CallMaker(
                self._snapshot, self._tree, self._writer, self._planner, self._recorder, run.name,
                self._scratch_dir, self._raise_failures is not None,
            )
        interactive = self._raise_failures is not None
        size = 1 if interactive else run.batch_size(self._flights.slots, self._flights.batch_seconds)
        taken = run.queue.take(size)
        calls = run.maker.calls(taken, run.members(taken))
        run.flying.update((task.id, task) for task in taken)
        if run.early is not None:
            self._hands.update((task.id, RUNNING_NOW) for task in taken)
        # A task that runs right here, and long, would else run unseen.
        short = run.seconds is not None and run.seconds < LONG_SECONDS
        if not short or self._clock() - self._reported >= REPORT_SECONDS:
            self._tell()
        self._flights.send(run.name, run.maker.context, calls, run.longest)

    def _collect(self) -> None:
        """Take what has ended, and what batches under way have finished."""
        patience = 0.0 if any(run.planning for run in self._runs.values()) else FLUSH_SECONDS
        for segment, results, left, whole in self._flights.collect(patience, FLUSH_SECONDS):
            run = self._runs[segment]
            self._take(run, results)
            if whole:
                self._take_back(run, left)
                self._end_if_through(run)

    def _take_back(self, run: SegmentRun, tasks: Sequence[int]) -> None:
        """Take tasks that no worker has begun."""
        left = [run.flying.pop(task) for task in tasks]
        run.doubtful.difference_update(tasks)
        if run.unwanted:
            self._recorder.discard(run.name, [task for task in tasks if task in run.unwanted])
            left = [task for task in left if task.id not in run.unwanted]
        run.queue.put_back(left)
        if run.early is not None:
            self._hands.update((task.id, QUEUED_NOW) for task in left)

    def _doubt(self, run: SegmentRun, task: int) -> None:
        """Put a task back whose ancestors changed while it ran, whatever came of it."""
        self._hands.pop(task, None)
        run.doubtful.discard(task)
        if task in run.unwanted:
            self._recorder.discard(run.name, [task])
            return
        # Whoever plans the segment then finds that it did not end.
        self._recorder.status(task, Status.QUEUED)
        run.unsettled = True

    def _take(self, run: SegmentRun, results: Sequence[TaskResult]) -> None:
        if not results:
            return
        counted = []
        for result in results:
            task = run.flying.pop(result.id)
            for message in result.messages:
                self._log.write(message.level, message.message, run.name, result.id, message.time)
            if run.doubtful and result.id in run.doubtful:
                self._doubt(run, result.id)
            else:
                counted.append((task, result))
        self._recorder.results(run.name, counted)
        done = [result for _, result in counted if result.status is Status.DONE]
        run.done += len(done)
        if done and self._forerunner.has_children(run.name):
            self._forerunner.keep(run.name, done)
        if run.wary:
            wary = [result for _, result in counted if result.id in run.wary]
            run.wary.difference_update([result.id for result in wary])
            run.unsettled |= any(result.asked is not None for result in wary)
        if len(done) < len(counted):
            for task, result in counted:
                if result.status is not Status.DONE:
                    self._fail(run, task, result)
        run.measure([result.ended - result.begun for result in results])

    def _fail(self, run: SegmentRun, task: QueuedTask, result: TaskResult) -> None:
        run.failed.add(result.id)
        text = (result.error or "").rstrip()
        last = text.rpartition("\n")[2]
        log = self._tree.existing_log(self._recorder.instance(run.name).path, result.id)
        shown = task.text or "none"
        self._log.write(logging.ERROR, f"failed on input {shown}: {last}", run.name, result.id)
        self._failures.append(Failure(run.name, result.id, task.text, last, text, log))
        if self._raise_failures is not None:
            self._flush()
            error = self._raise_failures()
            if error is not None:
                raise error

    # --- the record ----------------------------------------------------------------------------------------------

    def _flush_if_due(self) -> None:
        idle = self._forerunner.waits and not self._flights.full
        if idle or self._clock() - self._flushed >= FLUSH_SECONDS:
            self._flush()
            self._dispatch()

    def _flush(self, early: bool = True) -> None:
        for segment, task in self._flights.lasting(FLUSH_SECONDS):
            if task in self._runs[segment].flying:
                self._recorder.status(task, Status.RUNNING)
        for task in self._recorder.flush():
            self._hands.pop(task, None)
        self._flushed = self._clock()
        self._tell()
        if early:
            self._begin_early()

    def _begin_early(self) -> None:
        """Queue tasks of segments whose parents have not ended, as far as what is done makes them possible."""
        calm = self._clock() - self._planned >= CALM_SECONDS
        for run, applied in self._forerunner.advance(calm):
            queued = applied.queued
            run.again.update(task.id for task in queued if task.id < self._recorder.first_id)
            self._hands.update((task.id, QUEUED_NOW) for task in queued)
            run.queue.extend(queued)
            if self._forerunner.has_children(run.name):
                run.kept.extend(applied.kept)

    def _tell(self) -> None:
        self._report([run.progress() for run in self._runs.values()])
        self._reported = self._clock()

    def _abandon(self) -> None:
        """Stop what runs; keep what is done."""
        for segment, results, *_ in self._flights.end():
            run = self._runs[segment]
            for result in results:
                pending = None if result.id in run.doubtful else run.flying.pop(result.id, None)
                if pending is not None:
                    self._recorder.result(run.name, pending, result)
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
            failures=self._failures.kept,
            kinds=self._failures.kinds,
            aside=sum(len(run.aside) for run in runs),
            counts={
                run.name: {"done": run.done, "reused": run.reused, "failed": len(run.failed)} for run in runs
            },
        )
