"""What executors share whose workers are in processes of somebody else: batches on their way, and lost ones."""

from __future__ import annotations

import abc
import contextlib
import os
import pickle
import shutil
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future

from pipelet.core.calls import Batch, BatchResult, TaskCall, TaskResult
from pipelet.core.model import Status
from pipelet.errors import LauncherError, WorkerDied
from pipelet.executors.base import BATCH_SECONDS
from pipelet.executors.post import Report, Terms, unpacked_results
from pipelet.executors.watch import words
from pipelet.executors.wire import BatchPacker, write_whole
from pipelet.limits import Limits

#: A task that so many workers were lost with has failed.
STRIKES = 3
#: What is done of a batch is told so often at first.
TELL_SECONDS = 0.5
#: In processes that others keep, a slot ends after so many seconds without work.
IDLE_SECONDS = 60.0
#: So many times in a row each worker may say that it can't run anything; then the run gives up.
_TROUBLES = 3
#: In the engine's directory: what workers must read.
_SHARED = "shared"
#: More than that does not travel with a batch, but lies in a file.
_LARGE = 1_000_000


class _Flying:
    """A batch under way."""

    def __init__(self, batch: Batch, withheld: tuple[int, ...], future: Future[BatchResult]) -> None:
        self.batch = batch
        self.withheld = withheld
        self.future = future
        self.unread: list[TaskResult] = []
        self.known: set[int] = set()
        self.running: int | None = None
        self.worker = ""
        self.job: str | None = None
        #: Whether a worker tells at once that it has begun.
        self.announced = False

    def note(self, report: Report) -> None:
        """Take over what is new in a report."""
        for result in unpacked_results(report.frames):
            if result.id not in self.known:
                self.known.add(result.id)
                self.unread.append(result)
        self.running = report.running
        self.worker = report.worker or self.worker
        self.job = report.job or self.job

    def left(self) -> list[TaskCall]:
        """What has no result yet."""
        return [call for call in self.batch.calls if call.id not in self.known]


class FarExecutor(abc.ABC):
    """Sends batches to processes that were given to us.

    A worker that is lost takes a batch with it: what it has told counts, and the task that it ran gets a strike. Where
    nobody knows which one that was, all that may have been it get one. What has a strike travels alone from then on, so
    that only a task that really ends its workers comes to three, and has failed.

    Parameters
    ----------
    engine_dir
        The engine's directory in the prefix, which is this run's alone: there lies what the workers must read.
    limits
        What a task may take.

    Attributes
    ----------
    terms
        What the workers are told.
    terms_path
        Where.
    """

    #: Whether workers can tell that they have begun a batch.
    _announces = False

    @property
    def batch_seconds(self) -> float:
        """How many seconds of work should go to a worker at once."""
        return BATCH_SECONDS

    def __init__(self, engine_dir: str, limits: Limits) -> None:
        run = uuid.uuid4().hex
        self._scratch_dir = os.path.join(engine_dir, _SHARED, run)
        # What a run left that was killed.
        shutil.rmtree(os.path.dirname(self._scratch_dir), ignore_errors=True)
        # By default only the last one of new directories gets the mode, and others could move it out of the way.
        for directory in (os.path.dirname(self._scratch_dir), self._scratch_dir):
            os.makedirs(directory, mode=0o700, exist_ok=True)
        self._packer = BatchPacker(self._scratch_dir)
        self._lock = threading.Lock()
        self._count = 0
        self._flying: dict[int, _Flying] = {}
        self._numbers: dict[Future[BatchResult], int] = {}
        self._strikes: dict[int, list[str]] = {}
        #: How often tasks with a strike were in a worker that was lost, and had not begun as far as is known.
        self._passed_over: Counter[int] = Counter()
        #: How many tasks have ended in each worker, by what it calls itself.
        self._ended: Counter[str] = Counter()
        #: Whether batches are short: then each slot has one more waiting.
        self._short = False
        self._more = False
        self._troubles = 0
        #: Workers and seconds of a batch, as they were when last asked for by the run.
        self._seen, self._pace = 0, self.batch_seconds
        self.terms_path = os.path.join(self._scratch_dir, "terms")
        self.terms = Terms(run, limits, tuple(map(os.path.abspath, sys.path)), TELL_SECONDS, IDLE_SECONDS)
        write_whole(self.terms_path, pickle.dumps(self.terms))

    # --- for those who derive from this ------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def _workers(self) -> int:
        """How many batches can run at once."""

    @abc.abstractmethod
    def _send(self, number: int, packed: bytes | str) -> None:
        """Send a batch; later `_landed`, `_lost` or `_broken` is called with its number."""

    def _told(self, number: int, report: Report) -> None:
        """Something of a batch is done."""
        with self._lock:
            flying = self._flying.get(number)
            if flying is not None:
                self._note(flying, report)

    def _note(self, flying: _Flying, report: Report) -> None:
        before = len(flying.known)
        flying.note(report)
        self._ended[flying.worker] += len(flying.known) - before

    def _landed(self, number: int, report: Report) -> None:
        """A batch has ended."""
        with self._lock:
            flying = self._flying.get(number)
            if flying is None:
                return
            cut = report.running
            self._note(flying, report)
            seconds = sum(result.ended - result.begun for result in flying.unread)
            self._short = seconds < 2 * self._pace
            self._troubles = self._troubles + 1 if report.trouble else 0
            hopeless = self._troubles >= _TROUBLES * max(1, self._seen)
            if cut is not None:
                call = next(call for call in flying.batch.calls if call.id == cut)
                self._strike(flying, call, f"{flying.worker or 'its worker'} was told to end")
        if hopeless:
            self._broken(number, LauncherError(f"no worker can run tasks: {report.trouble}"))
        self._end(number, flying)

    def _lost(self, number: int, why: str) -> None:
        """The worker is gone with a batch."""
        with self._lock:
            flying = self._flying.get(number)
            if flying is None:
                return
            left = flying.left()
            suspects = [call for call in left if call.id == flying.running] or left
            if flying.announced and not flying.worker:
                # It waited in that worker for its turn. The word that it had begun may have been lost as well, so that
                # this does not go on for ever.
                suspects = [call for call in suspects if self._passed_over[call.id] >= STRIKES]
                self._passed_over.update(call.id for call in left)
            for call in suspects:
                self._strike(flying, call, why)
        self._end(number, flying)

    def _broken(self, number: int, error: BaseException) -> None:
        """Nothing can be run any more."""
        with self._lock:
            flying = self._flying.pop(number, None)
            if flying is None:
                return
            self._numbers.pop(flying.future, None)
        flying.future.set_exception(error)

    # --- the protocol ------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """How many batches can be under way at once."""
        self._seen = self._workers
        return self._seen * (2 if self._short else 1)

    def submit(self, batch: Batch) -> Future[BatchResult]:
        """Send a batch, or the beginning of one: the rest comes back as not begun."""
        future: Future[BatchResult] = Future()
        self._pace = self.batch_seconds
        with self._lock:
            calls = batch.calls
            if self._strikes:
                struck = [place for place, call in enumerate(calls) if call.id in self._strikes]
                if struck:
                    calls = calls[: max(1, struck[0])]
            withheld = tuple(call.id for call in batch.calls[len(calls) :])
            batch = batch._replace(calls=calls)
            number = self._count
            self._count += 1
            self._flying[number] = flying = _Flying(batch, withheld, future)
            flying.announced = self._announces and any(call.id in self._strikes for call in calls)
            self._numbers[future] = number
        self._send(number, self._packed(number, batch))
        return future

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        """What was told since the last look."""
        with self._lock:
            flying = self._flying.get(self._numbers.get(future, -1))
            if flying is None:
                return ()
            news, flying.unread = flying.unread, []
            return news

    def activity(self) -> dict[str, tuple[int, tuple[int, ...]]]:
        """By what workers call themselves: how many tasks have ended there, and those that they run."""
        with self._lock:
            running: dict[str, list[int]] = {}
            for flying in self._flying.values():
                if flying.running is not None:
                    running.setdefault(flying.worker, []).append(flying.running)
            return {name: (self._ended[name], tuple(running.get(name, ()))) for name in {*self._ended, *running}}

    def expect(self, more: bool) -> None:
        """Note whether there is work for more slots."""
        self._more = more

    def wait(self, seconds: float) -> None:
        """Wait until there is a worker."""
        end = time.monotonic() + seconds
        while not self.slots and time.monotonic() < end:
            time.sleep(0.02)

    def processes(self) -> list[tuple[int, float | None]]:
        """None that we would have to end."""
        return []

    def close(self, kill: bool = False) -> None:
        """End what the run has in the workers, and let go of batches under way: what they have told counts."""
        with self._lock:
            numbers = list(self._flying)
        for number in numbers:
            with self._lock:
                flying = self._flying.get(number)
            if flying is not None:
                self._end(number, flying)
        shutil.rmtree(self._scratch_dir, ignore_errors=True)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _end(self, number: int, flying: _Flying) -> None:
        with self._lock:
            if self._flying.pop(number, None) is None:
                return
            self._numbers.pop(flying.future, None)
            with contextlib.suppress(OSError):
                os.unlink(self._file(number))
            results, flying.unread = flying.unread, []
            left = tuple(call.id for call in flying.left())
            for result in results:
                self._strikes.pop(result.id, None)
        flying.future.set_result(BatchResult(tuple(results), left + flying.withheld))

    def _strike(self, flying: _Flying, call: TaskCall, why: str) -> None:
        strikes = self._strikes.setdefault(call.id, [])
        strikes.append(why)
        if len(strikes) < STRIKES:
            return
        reasons = "; ".join(f"{place}. {text}" for place, text in enumerate(strikes, 1))
        text = f"the worker that ran this task was lost {STRIKES} times, so it is not tried again: {reasons}"
        place = call.place if os.path.isdir(call.directory) else None
        now = time.time()
        error = words(WorkerDied, text)
        result = TaskResult(
            call.id, Status.FAILED, now, now, socket.gethostname(), 0, place=place, error=error, job=flying.job
        )
        flying.known.add(call.id)
        flying.unread.append(result)

    def _packed(self, number: int, batch: Batch) -> bytes | str:
        """The bytes of a batch, or the file that holds them where they are many."""
        packed = self._packer.pack(batch)
        if len(packed) <= _LARGE:
            return packed
        path = self._file(number)
        try:
            write_whole(path, packed)
        except OSError:  # no room: then it travels after all
            return packed
        return path

    def _file(self, number: int) -> str:
        return os.path.join(self._scratch_dir, f"batch-{number}")
