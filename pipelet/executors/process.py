"""Runs batches in processes of this machine: one single-worker pool a slot, so that a dead worker costs one slot.

A worker tells what it does in a file of its own (the *spool*): which task it begins, and what came of the one before.
So what it has finished is known while a long batch is under way, and also when it dies in the middle of one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple

from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.core.model import Status
from pipelet.errors import LauncherError, WorkerDied
from pipelet.executors.base import BATCH_SECONDS
from pipelet.executors.family import MARK, Family, memory
from pipelet.executors.station import LEAK_SIZE, STACK_SIGNAL, Files, Frame, begin, frames, work
from pipelet.executors.watch import Watch, ask_where, too_large, too_long, words
from pipelet.executors.wire import BatchPacker
from pipelet.limits import Limits
from pipelet.storage import process_start

#: So many workers in a row may die before their first task; then the run gives up.
_START_ATTEMPTS = 3
#: How long the system may take to tell how a process ended.
_DEATH_SECONDS = 5.0
NO_LIMITS = Limits()
_NOTHING = Frame(None, None, 0.0, 0)


class ProcessExecutor:
    """``slots`` worker processes on this machine.

    Parameters
    ----------
    slots
        How many tasks run at once.
    scratch_dir
        A directory for spools; it exists and is only this run's.
    limits
        What a task may take.
    path
        ``sys.path`` of the workers; as here if not given.
    """

    batch_seconds = BATCH_SECONDS

    def __init__(
        self, slots: int, scratch_dir: str, limits: Limits = NO_LIMITS, path: Sequence[str] | None = None
    ) -> None:
        if limits.memory is not None and not os.path.exists("/proc/self/statm"):
            raise LauncherError("memory=... can't be watched on this system: it has no /proc, as Linux does")
        self.slots = slots
        packer = BatchPacker(scratch_dir)
        path = tuple(sys.path if path is None else path)
        self._slots = [_Slot(number, scratch_dir, limits, packer, path) for number in range(slots)]
        self._by_future: dict[Future[BatchResult], _Slot] = {}
        self._watch = Watch([slot.look for slot in self._slots]) if limits.any else None

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Give a batch to a free slot; its worker is started when there is none."""
        slot = next(slot for slot in self._slots if slot.idle)
        future = slot.submit(batch)
        self._by_future[future] = slot
        future.add_done_callback(lambda done: self._by_future.pop(done, None))
        return future

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """What the batch has finished since the last look."""
        slot = self._by_future.get(future)
        return slot.take() if slot is not None else ()

    def running(self, future: Future[BatchResult]) -> int | None:
        """The task of a batch under way that ran when `partial` was called last."""
        slot = self._by_future.get(future)
        return slot.running if slot is not None else None

    def expect(self, more: bool) -> None:
        """Nothing: there are as many slots as there are."""

    def wait(self, seconds: float) -> None:
        """Nothing: there always is a slot."""

    def processes(self) -> list[tuple[int, float | None]]:
        """Process ids and start times of the workers; each leads a process group of its own."""
        return [process for slot in self._slots for process in slot.processes()]

    def close(self, kill: bool = False) -> None:
        """End the workers and what they started."""
        if self._watch is not None:
            self._watch.close()
        for slot in self._slots:
            slot.close()


class _Verdict(NamedTuple):
    """Why we end a task."""

    task: int
    error: str


class _Slot:
    """One worker at a time, and its spool."""

    def __init__(
        self, number: int, scratch_dir: str, limits: Limits, packer: BatchPacker, search_path: tuple[str, ...]
    ) -> None:
        self._packer = packer
        self._search_path = search_path
        path = os.path.join(scratch_dir, f"slot-{number}")
        self._files = Files(f"{path}.spool", f"{path}.out", f"{path}.stack")
        self._limits = limits
        self._mark = ""
        self._lock = threading.Lock()
        self._pool: Any = None
        self._workers: list[Any] = []
        self._pids: list[tuple[int, float | None]] = []
        self._seen_dead = False
        self._closed = False
        self._batch: Batch | None = None
        self._future: Future[BatchResult] | None = None
        self._offset = 0
        self._told = _NOTHING
        self._submitted = 0.0
        self._unread: list[TaskResult] = []
        self._taken: set[int] = set()
        self._verdict: _Verdict | None = None
        self._failed_starts = 0

    @property
    def idle(self) -> bool:
        return self._future is None or self._future.done()

    @property
    def running(self) -> int | None:
        return self._told.running

    def submit(self, batch: Batch) -> Future[BatchResult]:
        with self._lock:
            self._batch, self._told, self._taken, self._offset = batch, _NOTHING, set(), 0
            self._unread, self._verdict, self._submitted = [], None, time.monotonic()
            with open(self._files.spool, "wb"):
                pass
            future = self._future = Future()
        self._start(batch, future)
        return future

    def _start(self, batch: Batch, future: Future[BatchResult]) -> None:
        packed = self._packer.pack(batch)
        try:
            inner = self._worker().submit(work, packed)
        except BrokenExecutor:
            self._drop_pool()
            inner = self._worker().submit(work, packed)
        self._meet_workers()
        inner.add_done_callback(lambda done: self._ended(done, batch, future))

    def take(self) -> list[TaskResult]:
        """Results that stand in the spool since the last look."""
        with self._lock:
            self._watch_over()
            return self._results()

    def look(self) -> None:
        """End the task under way if it takes more than it may."""
        with self._lock:
            self._meet_workers()
            batch, future = self._batch, self._future
            if batch is None or future is None or future.done() or self._verdict is not None or not self._pids:
                return
            pid, start = self._pids[0]
            error = self._excess(batch.context.segment, pid)
            if error is not None and start is not None and process_start(pid) == start:
                self._condemn(pid, error)

    def _excess(self, segment: str, pid: int) -> str | None:
        """What the task under way takes too much of. The spool is read only if that is possible."""
        now = time.monotonic()
        if too_long(self._limits, segment, now - self._submitted):
            self._read()
            if self._told.running is not None and (error := too_long(self._limits, segment, now - self._told.since)):
                return error
        if self._limits.memory is not None and too_large(self._limits, memory(pid)):
            self._read()
            # What earlier tasks have left behind is not this one's.
            size = min(memory(pid), memory(pid, exact=True)) - self._told.memory
            if self._told.running is not None:
                return too_large(self._limits, size)
        return None

    def _condemn(self, pid: int, error: str) -> None:
        task = self._told.running
        assert task is not None
        where = "" if STACK_SIGNAL is None else ask_where(pid, STACK_SIGNAL, self._files.stack)
        family = Family(pid, self._mark)
        family.stop()
        self._read()
        if self._told.running == task:
            self._verdict = _Verdict(task, where + error)
            family.kill()
            return
        # It has just ended, perhaps since our signal woke it, and what runs now is another one.
        family.resume()
        self._unread = [
            result._replace(status=Status.FAILED, error=where + error, output=None, digests=None, texts=None)
            if result.id == task else result
            for result in self._unread
        ]

    def _meet_workers(self) -> None:
        pool = self._pool
        workers = list(pool._processes.values()) if pool is not None else []
        if workers and workers != self._workers:
            self._workers = workers
            self._pids = [(worker.pid, process_start(worker.pid)) for worker in workers]

    def _watch_over(self) -> None:
        """Give up a worker that is dead while its pool has not noticed.

        A child that it forked may hold the other end of the pipe that tells.
        """
        self._meet_workers()
        pool = self._pool
        dead = bool(self._workers) and all(worker.exitcode is not None for worker in self._workers)
        if dead and self._seen_dead and pool is not None:
            pool.shutdown(wait=False, kill_workers=True)
        self._seen_dead = dead

    def processes(self) -> list[tuple[int, float | None]]:
        return self._pids

    def close(self) -> None:
        self._closed = True
        self._meet_workers()
        pool, self._pool = self._pool, None
        _kill_groups(self._pids)
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)

    def _worker(self) -> Any:
        # Here, since a run that has nothing to do must not wait for it.
        from loky.process_executor import ProcessPoolExecutor

        if self._pool is None:
            self._mark = os.urandom(8).hex()
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                initializer=begin,
                initargs=(self._files, os.getpid(), self._search_path, self._limits.memory),
                # A limit that depends on which packages are installed would surprise.
                env={MARK: self._mark, LEAK_SIZE: "1e18"},
            )
        return self._pool

    def _drop_pool(self) -> None:
        pool, self._pool = self._pool, None
        _kill_groups(self._pids)
        if pool is not None:
            pool.shutdown(wait=False)

    def _read(self) -> None:
        """Read what is new in the spool."""
        for frame, end in frames(self._files.spool, self._offset):
            self._told, self._offset = frame, end
            if frame.result is not None:
                self._unread.append(frame.result)
                self._taken.add(frame.result.id)

    def _results(self) -> list[TaskResult]:
        """The results that were not handed over yet."""
        self._read()
        results, self._unread = self._unread, []
        return results

    def _ended(self, inner: Any, batch: Batch, future: Future[BatchResult]) -> None:
        from loky.process_executor import ShutdownExecutorError

        try:
            left, kept = inner.result()
        except (BrokenExecutor, ShutdownExecutorError):
            self._bury(batch, future)
        except BaseException as error:  # the scheduler must hear of it, whatever it is
            self._drop_pool()
            future.set_exception(LauncherError(f"a worker could not run a batch of {batch.context.segment!r}: {error}"))
        else:
            self._failed_starts = 0
            with self._lock:
                results = [*self._results(), *kept]
            if self._limits.memory is not None and self._told.memory > self._limits.memory:
                self._drop_pool()
            future.set_result(BatchResult(tuple(results), left))

    def _bury(self, batch: Batch, future: Future[BatchResult]) -> None:
        """A worker died: what it had finished counts, the task that it ran failed, the others are still to do.

        If we ended it ourselves, that task did not fail: it was stopped.
        """
        # Of a worker that we end ourselves the cause is known, and it may not even be dead yet.
        death = "" if self._closed or self._verdict else _cause_of_death(self._workers)
        # The pool belongs to the thread that calls this; it is replaced at the next batch.
        self._pool = None
        _kill_groups(self._pids)
        with self._lock:
            results = self._results()
            running = self._told.running
        if self._verdict is not None:
            results.append(self._failed(batch, *self._verdict))
            self._failed_starts = 0
        elif self._closed:
            self._failed_starts = 0
        elif running is not None and running not in self._taken:
            results.append(self._failed(batch, running, words(WorkerDied, f"the process that ran this task {death}")))
            self._failed_starts = 0
        else:
            self._failed_starts += 1
        if self._failed_starts >= _START_ATTEMPTS:
            future.set_exception(LauncherError(f"workers die before they run anything: {death}"))
            return
        ended = {result.id for result in results} | self._taken
        future.set_result(BatchResult(tuple(results), tuple(call.id for call in batch.calls if call.id not in ended)))

    def _failed(self, batch: Batch, task: int, error: str) -> TaskResult:
        log = os.path.join(batch.context.log_dir, f"{task}.log")
        with contextlib.suppress(OSError):
            if os.path.getsize(self._files.printed):
                os.makedirs(os.path.dirname(log), exist_ok=True)
                shutil.copyfile(self._files.printed, log)
        ended = time.time()
        begun = ended - (time.monotonic() - self._told.since)
        call = next(call for call in batch.calls if call.id == task)
        place = call.place if os.path.isdir(call.directory) else None
        return TaskResult(
            task, Status.FAILED, begun, ended, socket.gethostname(), 0, place=place, error=error,
        )


def _cause_of_death(workers: Sequence[Any]) -> str:
    for worker in workers:
        worker.join(_DEATH_SECONDS)
    code = next((worker.exitcode for worker in workers if worker.exitcode is not None), None)
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit status {code}, as os._exit does"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"was killed by signal {-code}"
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name} (signal {-code}){hint}"


def _kill_groups(pids: Sequence[tuple[int, float | None]]) -> None:
    for pid, start in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
            continue
        # A worker that is just being started leads no group yet.
        if start is not None and process_start(pid) == start:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
