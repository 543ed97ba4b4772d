"""The background process of a run: it runs a pipeline, and tells its starter what happens.

It does not re-import the main script: it gets a snapshot of the pipeline through its standard input.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import pickle
import struct
import sys
import threading
import time
import traceback
import warnings

from pipelet.background import FRAME, kill_workers
from pipelet.errors import LauncherError, PipeletError
from pipelet.executors.base import Executor
from pipelet.executors.plan import ExecutorPlan, Site
from pipelet.planner import Snapshot
from pipelet.runner import Hooks, execute
from pipelet.scheduler import Stopped


class _Teller:
    """Sends events to the starter; once that is gone, there is nobody to tell."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb")
        self._lock = threading.Lock()

    def __call__(self, kind: str, content: object = None) -> None:
        data = pickle.dumps((kind, content))
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(FRAME.pack(len(data)) + data)
            self._stream.flush()

    def close(self) -> None:
        """Nothing more will be told."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()


#: How many new objects wait for a round of the garbage collector, and rounds for a longer one.
_COLLECTOR = (50_000, 20, 50)
#: Bytes from which on memory is asked of the system by itself; glibc's name for that limit.
_LARGE, _M_MMAP_THRESHOLD = 128 * 1024, -3


def _give_back() -> None:
    """Let memory for large values, such as a batch of results, go back to the system as soon as it is free.

    By itself glibc raises the limit with the first one that is freed: from then on they leave holes among small ones.
    """
    with contextlib.suppress(OSError, AttributeError):  # not every C library has this
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE)


def main() -> None:
    """The main function of the background process."""
    # That a worker was replaced since it had grown is no news for the user.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"loky\.")
    # Nearly all that is made here goes without the collector's help, and each of its rounds looks at all that stays.
    gc.freeze()
    gc.set_threshold(*_COLLECTOR)
    _give_back()
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    tell = _Teller(descriptor)
    stopped = threading.Event()
    try:
        (length,) = FRAME.unpack(_receive(FRAME.size))
        path, blob, log_level = pickle.loads(_receive(length))
        sys.path[:] = path
        snapshot: Snapshot
        plan: ExecutorPlan
        snapshot, plan = pickle.loads(blob)
    except (struct.error, EOFError):
        return
    executors: list[Executor] = []
    obey = threading.Thread(target=_obey, args=(stopped, executors, plan.last_seconds), daemon=True)
    obey.name = "pipelet-obey"
    obey.start()

    def make_executor(site: Site) -> Executor:
        executors.append(plan.make(site))
        if plan.may_fail:
            tell("ready")
        return executors[-1]

    def have_prefix() -> None:
        if not plan.may_fail:
            tell("ready")

    def echo(level: int, message: str) -> None:
        if log_level and level >= log_level:
            tell("message", (level, message))

    hooks = Hooks(
        echo,
        lambda items: tell("progress", list(items)),
        stopped.is_set,
        lambda processes: tell("workers", processes),
        lambda text, workers: tell("fleet", (text, list(workers))),
    )
    try:
        tell("summary", execute(snapshot, make_executor, hooks, have_prefix))
    except Stopped:
        tell("error", KeyboardInterrupt())
    except PipeletError as error:
        tell("error", _sendable(error))
    except BaseException:
        tell("error", LauncherError(f"the run broke down:\n{traceback.format_exc()}"))
    finally:
        tell.close()


def _receive(length: int) -> bytes:
    """Read from the starter, past `sys.stdin`: a thread that waits in a buffered stream can't be left at the end."""
    parts = []
    while length:
        part = os.read(0, min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _sendable(error: PipeletError) -> PipeletError:
    try:
        pickle.loads(pickle.dumps(error))
        return error
    except Exception:  # an exception's constructor can raise anything
        return LauncherError(f"{type(error).__name__}: {error}")


def _obey(stopped: threading.Event, executors: list[Executor], last_seconds: float) -> None:
    """Stop at a word from the starter, or when it is gone: then there is little time to put things on record."""
    while os.read(0, 100):
        stopped.set()
    stopped.set()
    time.sleep(last_seconds)
    for executor in executors:
        kill_workers(executor.processes())
    os._exit(1)
