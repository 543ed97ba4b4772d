"""What goes on in a worker process: its beginning, its batches, and what it tells of them in its spool."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from pipelet.capture import FileCapture
from pipelet.core.calls import LogRecord, TaskResult
from pipelet.executors.family import own_memory
from pipelet.executors.wire import framed, unframed, unpack_batch
from pipelet.limits import size_text
from pipelet.worker import Bench, run_batch

_PR_SET_PDEATHSIG = 1
#: How loky is told how much a worker may grow, when it is imported.
LEAK_SIZE = "LOKY_MAX_MEMORY_LEAK_SIZE"
#: A worker looks at its own memory no more often than that.
_MEASURE_SECONDS = 0.05
#: Lets a worker write where it is to its stack file; one that no program uses for itself.
STACK_SIGNAL = getattr(signal, "SIGRTMAX", 64) - 5 if sys.platform == "linux" else None


class Frame(NamedTuple):
    """What a worker tells between two tasks."""

    result: TaskResult | None  #: of the task before
    running: int | None  #: the task that begins now
    since: float  #: when, on the monotonic clock of the machine
    memory: int  #: bytes that the worker has; 0 if nobody wants to know


class Files(NamedTuple):
    """The files between a worker and whoever gives it work."""

    spool: str
    printed: str  #: what the running task has printed
    stack: str  #: where the running task is, when somebody has asked


def frames(path: str, offset: int) -> Iterator[tuple[Frame, int]]:
    """The whole frames of a spool from an offset on, each with its end."""
    with open(path, "rb") as spool:
        spool.seek(offset)
        data = spool.read()
    for result, told, end in unframed(data):
        yield tuple.__new__(Frame, (result, *told)), offset + end


class Gauge:
    """The memory of this process.

    Parameters
    ----------
    limit
        Bytes; ``None`` if nothing is to be measured.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._file = None if limit is None else os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._measured = 0.0
        self.allowed = "" if limit is None else f"the limit is {size_text(limit)}"
        self.bytes = 0

    def look(self, now: float, certainly: bool) -> bool:
        """Measure again if the last time is long ago; gives whether the limit is passed."""
        if self._file is None or self._limit is None:
            return False
        if certainly or now - self._measured >= _MEASURE_SECONDS:
            self._measured = now
            self.bytes = own_memory(os.pread(self._file, 200, 0))
            if self.bytes > self._limit:
                # What is only waiting to be freed is no leak.
                gc.collect()
                with suppress(AttributeError):
                    ctypes.CDLL(None).malloc_trim(0)
                self.bytes = own_memory(os.pread(self._file, 200, 0))
        return self.bytes > self._limit


class Station(NamedTuple):
    """What a worker process keeps between two batches."""

    bench: Bench
    spool: int
    kept: list[TaskResult]
    gauge: Gauge = Gauge(None)


STATIONS: list[Station] = []


def begin(files: Files, scheduler: int, path: tuple[str, ...], memory: int | None) -> None:
    """Make this process a worker."""
    _die_with(scheduler)
    os.setsid()
    # It was meant for this process, not for pools that a task makes.
    os.environ.pop(LEAK_SIZE, None)
    sys.dont_write_bytecode = True
    sys.path[:] = path
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    # What a task starts must not hold the pipes that tell of this process's end.
    for descriptor in map(int, os.listdir("/dev/fd")):
        if descriptor > 2:
            with suppress(OSError):
                os.set_inheritable(descriptor, False)
    with open(files.printed, "wb"):
        pass
    capture = FileCapture(files.printed)
    if STACK_SIGNAL is not None:
        # It lives as long as the process, and so does what writes to it.
        stack = os.open(files.stack, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        faulthandler.register(STACK_SIGNAL, file=stack, all_threads=False)
    spool = os.open(files.spool, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    STATIONS[:] = [Station(Bench(capture), spool, [], Gauge(memory))]


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


def work(packed: bytes) -> tuple[tuple[int, ...], tuple[TaskResult, ...]]:
    """Run a batch; gives what was not begun, and results that could not be put in the spool."""
    batch = unpack_batch(packed)
    station = STATIONS[0]
    gauge, spool = station.gauge, station.spool
    station.kept.clear()

    def report(result: TaskResult | None, running: int | None) -> bool:
        now = time.monotonic()
        # The first task of a batch runs in any case: who hands back everything would never come to an end.
        grown = gauge.look(now, running is None) and result is not None
        if grown and result is not None:
            running = None
            words = f"the worker has grown to {size_text(gauge.bytes)} ({gauge.allowed}): another one takes its place"
            message = LogRecord(time.time(), logging.INFO, words)
            result = result._replace(messages=(*result.messages, message))
        frame = framed(result, running, now, gauge.bytes)
        try:
            written = os.write(spool, frame)
            if written < len(frame):
                os.ftruncate(spool, os.fstat(spool).st_size - written)
                raise OSError("the spool is full")
        except OSError:
            if result is not None:
                station.kept.append(result)
        return grown

    left = run_batch(station.bench, batch, report)
    return left, tuple(station.kept)
