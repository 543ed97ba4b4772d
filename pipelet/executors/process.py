"""Runs batches in processes of this machine: one single-worker pool a slot, so that a dead worker costs one slot.

A worker tells what it does in a file of its own (the *spool*): which task it begins, and what came of the one before.
So what it has finished is known while a long batch is under way, and also when it dies in the middle of one.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import shutil
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, Future
from typing import Any, NamedTuple

from pipelet.capture import FileCapture
from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.core.model import Status
from pipelet.errors import LauncherError
from pipelet.storage import process_start
from pipelet.worker import Bench, run_batch

_LENGTH = struct.Struct("<Q")
_PR_SET_PDEATHSIG = 1
#: So many workers in a row may die before their first task; then the run gives up.
_START_ATTEMPTS = 3
#: How long the system may take to tell how a process ended.
_DEATH_SECONDS = 5.0


class ProcessExecutor:
    """``slots`` worker processes on this machine.

    Parameters
    ----------
    slots
        How many tasks run at once.
    scratch_dir
        A directory for spools; it exists and is only this run's.
    """

    def __init__(self, slots: int, scratch_dir: str) -> None:
        self.slots = slots
        self._slots = [_Slot(number, scratch_dir) for number in range(slots)]
        self._by_future: dict[Future[BatchResult], _Slot] = {}

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

    def processes(self) -> list[tuple[int, float | None]]:
        """Process ids and start times of the workers; each leads a process group of its own."""
        return [process for slot in self._slots for process in slot.processes()]

    def close(self, kill: bool = False) -> None:
        """End the workers and what they started."""
        for slot in self._slots:
            slot.close()


class _Slot:
    """One worker at a time, and its spool."""

    def __init__(self, number: int, scratch_dir: str) -> None:
        self._scratch_dir = scratch_dir
        self._spool = os.path.join(scratch_dir, f"slot-{number}.spool")
        self._printed = os.path.join(scratch_dir, f"slot-{number}.out")
        self._lock = threading.Lock()
        self._pool: Any = None
        self._workers: list[Any] = []
        self._pids: list[tuple[int, float | None]] = []
        self._seen_dead = False
        self._closed = False
        self._batch: Batch | None = None
        self._future: Future[BatchResult] | None = None
        self._offset = 0
        self._running: int | None = None
        self._taken: set[int] = set()
        self._failed_starts = 0

    @property
    def idle(self) -> bool:
        return self._future is None or self._future.done()

    def submit(self, batch: Batch) -> Future[BatchResult]:
        with self._lock:
            self._batch, self._running, self._taken, self._offset = batch, None, set(), 0
            with open(self._spool, "wb"):
                pass
            future = self._future = Future()
        self._start(batch, future)
        return future

    def _start(self, batch: Batch, future: Future[BatchResult]) -> None:
        try:
            inner = self._worker().submit(_work, batch)
        except BrokenExecutor:
            self._drop_pool()
            inner = self._worker().submit(_work, batch)
        self._meet_workers()
        inner.add_done_callback(lambda done: self._ended(done, batch, future))

    def take(self) -> list[TaskResult]:
        """Results that stand in the spool since the last look."""
        with self._lock:
            self._watch_over()
            return self._read()

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
            self._pool = ProcessPoolExecutor(
                max_workers=1,
                initializer=_begin,
                initargs=(self._spool, self._printed, os.getpid(), tuple(sys.path)),
            )
        return self._pool

    def _drop_pool(self) -> None:
        pool, self._pool = self._pool, None
        _kill_groups(self._pids)
        if pool is not None:
            pool.shutdown(wait=False)

    def _read(self) -> list[TaskResult]:
        results = []
        for result, running in _frames(self._spool, self):
            self._running = running
            if result is not None:
                results.append(result)
                self._taken.add(result.id)
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
                results = [*self._read(), *kept]
            future.set_result(BatchResult(tuple(results), left))

    def _bury(self, batch: Batch, future: Future[BatchResult]) -> None:
        """A worker died: what it had finished counts, the task that it ran failed, the others are still to do.

        If we ended it ourselves, that task did not fail: it was stopped.
        """
        # Of a worker that we end ourselves the cause is known, and it may not even be dead yet.
        death = "" if self._closed else _cause_of_death(self._workers)
        # The pool belongs to the thread that calls this; it is replaced at the next batch.
        self._pool = None
        _kill_groups(self._pids)
        with self._lock:
            results = self._read()
            running = self._running
        if self._closed:
            self._failed_starts = 0
        elif running is not None and running not in self._taken:
            results.append(self._failed(batch, running, death))
            self._failed_starts = 0
        else:
            self._failed_starts += 1
        if self._failed_starts >= _START_ATTEMPTS:
            future.set_exception(LauncherError(f"workers die before they run anything: {death}"))
            return
        ended = {result.id for result in results} | self._taken
        future.set_result(BatchResult(tuple(results), tuple(call.id for call in batch.calls if call.id not in ended)))

    def _failed(self, batch: Batch, task: int, death: str) -> TaskResult:
        log = os.path.join(batch.context.log_dir, f"{task}.log")
        with contextlib.suppress(OSError):
            if os.path.getsize(self._printed):
                os.makedirs(os.path.dirname(log), exist_ok=True)
                shutil.copyfile(self._printed, log)
        begun = os.path.getmtime(self._spool)
        call = next(call for call in batch.calls if call.id == task)
        place = call.place if os.path.isdir(call.directory) else None
        return TaskResult(
            task, Status.FAILED, begun, time.time(), socket.gethostname(), 0, place=place,
            error=f"pipelet.errors.WorkerDied: the process that ran this task {death}\n",
        )


def _frames(path: str, slot: _Slot) -> list[tuple[TaskResult | None, int | None]]:
    """Whole frames of a spool from the slot's offset on, which moves along."""
    frames = []
    with open(path, "rb") as spool:
        spool.seek(slot._offset)
        data = spool.read()
    start = 0
    while len(data) - start >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(data, start)
        end = start + _LENGTH.size + length
        if end > len(data):
            break
        frames.append(pickle.loads(data[start + _LENGTH.size : end]))
        start = end
    slot._offset += start
    return frames


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


# --- in the worker -----------------------------------------------------------------------------------------------


class _Station(NamedTuple):
    bench: Bench
    spool: int
    kept: list[TaskResult]


_STATIONS: list[_Station] = []


def _begin(spool: str, printed: str, scheduler: int, path: tuple[str, ...]) -> None:
    """Make this process a worker."""
    _die_with(scheduler)
    os.setsid()
    sys.dont_write_bytecode = True
    sys.path[:] = path
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What a task starts must not hold the pipes that tell of this process's end.
    for descriptor in map(int, os.listdir("/dev/fd")):
        if descriptor > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, False)
    with open(printed, "wb"):
        pass
    capture = FileCapture(printed)
    _STATIONS[:] = [_Station(Bench(capture), os.open(spool, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), [])]


def _die_with(scheduler: int) -> None:
    """Never outlive the scheduler, also when it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != scheduler:
        os._exit(1)
    threading.Thread(target=_watch, args=(scheduler,), daemon=True, name="pipelet-watch").start()


def _watch(scheduler: int) -> None:
    while os.getppid() == scheduler:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


def _work(batch: Batch) -> tuple[tuple[int, ...], tuple[TaskResult, ...]]:
    """Run a batch; gives what was not begun, and results that could not be put in the spool."""
    station = _STATIONS[0]
    station.kept.clear()

    def report(result: TaskResult | None, running: int | None) -> None:
        data = pickle.dumps((result, running), protocol=pickle.HIGHEST_PROTOCOL)
        frame = _LENGTH.pack(len(data)) + data
        try:
            written = os.write(station.spool, frame)
            if written < len(frame):
                os.ftruncate(station.spool, os.fstat(station.spool).st_size - written)
                raise OSError("the spool is full")
        except OSError:
            if result is not None:
                station.kept.append(result)

    left = run_batch(station.bench, batch, report)
    return left, tuple(station.kept)
