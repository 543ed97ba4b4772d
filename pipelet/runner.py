"""One run in this process, from the lock to the summary."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pipelet.bars import Echo, printer
from pipelet.deletion import recover
from pipelet.distrust import distrust, sweep
from pipelet.errors import PipeletError, StorageError
from pipelet.executors.base import Executor, InlineExecutor
from pipelet.executors.plan import Site
from pipelet.notebookbars import open_bars
from pipelet.planner import Snapshot
from pipelet.planrecorder import PlanRecorder
from pipelet.progress import SegmentProgress, Tracker, WorkerProgress
from pipelet.rebuild import catch_up, has_instances, rebuild
from pipelet.runlog import RunLog
from pipelet.scheduler import Scheduler, Stopped
from pipelet.statusdb import Writer, has_database
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.holding import held
from pipelet.storage.lastrun import write_last_run
from pipelet.summary import Summary
from pipelet.worker import script_frames

#: How long a run waits for another one that is just about to end.
_LOCK_PATIENCE = 2.0

Report = Callable[[Sequence[SegmentProgress]], None]


class Hooks(NamedTuple):
    """How a run talks to whoever started it."""

    echo: Echo
    report: Report
    stop: Callable[[], bool]
    workers: Callable[[list[tuple[int, float | None]]], None] = lambda processes: None
    fleet: Callable[[str, Sequence[WorkerProgress]], None] = lambda text, workers: None


def execute(
    snapshot: Snapshot, make_executor: Callable[[Site], Executor], hooks: Hooks, ready: Callable[[], None]
) -> Summary:
    """Run a pipeline.

    Parameters
    ----------
    snapshot
        The pipeline.
    make_executor
        Gives the executor.
    hooks
        How to tell what happens.
    ready
        Called when the prefix is ours.

    Returns
    -------
    Summary
        How it ended.

    Raises
    ------
    PipeletError
        The prefix, the database or the disk don't allow it.
    Stopped
        Somebody asked to stop.
    """
    tree = Tree(snapshot.prefix, snapshot.durability)
    tree.create()
    scratch = _scratch_directory()
    try:
        with held(tree, scratch, _LOCK_PATIENCE) as (lock, still_ours):
            tree.empty_discards()
            ready()
            log = RunLog(tree.log_dir, hooks.echo)
            try:
                return _execute(snapshot, tree, lock, still_ours, make_executor, hooks, log, scratch)
            finally:
                log.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _execute(
    snapshot: Snapshot,
    tree: Tree,
    lock: PrefixLock,
    still_ours: Callable[[], None],
    make_executor: Callable[[Site], Executor],
    hooks: Hooks,
    log: RunLog,
    scratch: str,
) -> Summary:
    cut = recover(tree, snapshot.sqlfile)
    if cut:
        log.write(logging.WARNING, f"{cut} deletions had been cut off: they are finished, or undone")
    lost = not has_database(snapshot.sqlfile) and has_instances(tree)
    if lost:
        log.write(logging.WARNING, f"there is no database {snapshot.sqlfile}: it is made anew from the tree")
        rebuild(tree, snapshot.sqlfile)
    with contextlib.closing(Writer.open(snapshot.sqlfile)) as writer, _on_disk(tree):
        catch_up(writer, tree)
        doubtful = distrust(writer, tree)
        if doubtful:
            log.write(logging.WARNING, f"the machine died before it had written all files: {doubtful} tasks run again")
        if lost or doubtful or lock.took_over:
            sweep(writer, tree)
        write_last_run(tree, {name: snapshot.keys[name] for name in snapshot.graph.order})
        recorder = PlanRecorder(snapshot, tree, writer, still_ours)
        recorder.mend_if_cut()
        executor = make_executor(Site(tree.engine_dir, scratch, snapshot.limits, log.write, hooks.fleet))
        inline = executor if isinstance(executor, InlineExecutor) else None

        def workers(processes: list[tuple[int, float | None]]) -> None:
            lock.set_workers([(pid, start) for pid, start in processes if start is not None])
            hooks.workers(processes)

        try:
            scheduler = Scheduler(
                snapshot, tree, writer, recorder, executor, scratch, log, hooks.report,
                raise_failures=None if inline is None else lambda: inline.error,
                stop=hooks.stop,
                workers_changed=workers,
            )
            summary = scheduler.run()
        except Stopped:
            log.write(logging.WARNING, "the run was stopped; what is done is kept", echo=False)
            raise
        except BaseException as error:
            log.write(logging.ERROR, f"the run ended early: {type(error).__name__}: {error}", echo=False)
            raise
        finally:
            executor.close()
        log.write(logging.INFO, "; ".join(summary.headlines()))
        return summary


@contextlib.contextmanager
def _on_disk(tree: Tree) -> Iterator[None]:
    """See to it that in the end the disk has what the tasks have written."""
    try:
        yield
    except BaseException:
        # A disk that can't take it may be what ended the run, and that is the error to show.
        with contextlib.suppress(PipeletError):
            tree.products.close()
        raise
    tree.products.close()


def _scratch_directory() -> str:
    try:
        return tempfile.mkdtemp(prefix="pipelet-")
    except OSError as error:
        raise StorageError(
            f"no directory for temporary files can be made: {error} (make room, or set TMPDIR to a place that has some)"
        ) from error


def _inline(site: Site) -> Executor:
    return InlineExecutor(site.limits)


class InteractiveRun:
    """A run that goes on in this process, within `run`.

    Parameters
    ----------
    snapshot
        Gives the pipeline as it is when the run begins.
    tracker
        Watches the run.
    log_level
        What is printed; 0 prints nothing.
    make_executor
        Gives the executor; if not given, one task runs after the other, right here.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        tracker: Tracker,
        log_level: int,
        make_executor: Callable[[Site], Executor] = _inline,
    ) -> None:
        self._snapshot = snapshot
        self._make_executor = make_executor
        self._tracker = tracker
        self._log_level = log_level

    def run(self) -> Summary:
        """Run all that must run.

        Returns
        -------
        Summary
            How it ended.

        Raises
        ------
        Exception
            Where tasks run right here: what a failing one raised, once the failure is on record.
        """
        bars = open_bars()

        def report(items: Sequence[SegmentProgress]) -> None:
            self._tracker.update(items)
            bars.show(self._tracker.snapshot())

        hooks = Hooks(printer(self._log_level, bars), report, lambda: False)
        try:
            return execute(self._snapshot(), self._make_executor, hooks, lambda: None)
        except BaseException as error:
            # What a script raised is shown as if the caller had run it, and IPython leaves this frame out, too.
            frames = script_frames(error)
            if frames is None:
                raise
            __tracebackhide__ = True
            raise error.with_traceback(frames)  # noqa: B904 - it is the same error
        finally:
            bars.close()
            self._tracker.finish()
