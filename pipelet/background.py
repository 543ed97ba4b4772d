"""A run in a background process, which its starter watches.

The background process is not a child that re-imports the main script: it gets a snapshot of the pipeline through a
pipe, and tells what happens through another. It ends with its starter, also when that is killed.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import pickle
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pipelet.errors import LauncherError, PipeletError
from pipelet.executors.base import Executor
from pipelet.planner import Snapshot
from pipelet.progress import Bars, Tracker
from pipelet.runner import Hooks, execute, printer
from pipelet.scheduler import Stopped
from pipelet.summary import Summary

_FRAME = struct.Struct("<Q")
#: After its starter is gone, the background process has so long to put what is done on record.
_LAST_SECONDS = 1.5


class BackgroundRun:
    """A run in a process of its own, which starts at once.

    Parameters
    ----------
    snapshot
        The pipeline.
    workers
        How many worker processes.
    tracker
        Watches the run.
    log_level
        What is printed; 0 prints nothing.

    Raises
    ------
    PipeletError
        The run can't be started, for example since another one holds the prefix.
    """

    def __init__(self, snapshot: Snapshot, workers: int, tracker: Tracker, log_level: int) -> None:
        self._tracker = tracker
        self._log_level = log_level
        self._bars: Bars | None = None
        self._summary: Summary | None = None
        self._error: BaseException | None = None
        self._workers: list[tuple[int, float | None]] = []
        self._ready = threading.Event()
        self._events, self._process = _start(snapshot, workers, log_level)
        self._reader = threading.Thread(target=self._listen, daemon=True, name="pipelet-events")
        self._reader.start()
        atexit.register(self._at_exit)
        try:
            self._ready.wait()
        except KeyboardInterrupt:
            self.stop()
            raise
        if self._error is not None and self._summary is None and not self._started:
            self._close()
            raise self._error

    _started = False

    def run(self) -> Summary:
        """Wait for the end.

        Returns
        -------
        Summary
            How the run ended.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C: the running tasks were stopped, and what is done is kept.
        PipeletError
            The run could not go on.
        """
        bars = self._bars = Bars()
        try:
            while not self._tracker.wait(0.1):
                bars.show(self._tracker.snapshot())
            bars.show(self._tracker.snapshot())
        except KeyboardInterrupt:
            bars.close()
            self.stop()
            raise
        finally:
            bars.close()
            self._bars = None
        self._close()
        if self._error is not None:
            raise self._error
        assert self._summary is not None
        return self._summary

    def stop(self) -> None:
        """Stop the running tasks, keep what is done, and wait until all processes are gone.

        Raises
        ------
        KeyboardInterrupt
            Ctrl-C once more: they were killed.
        """
        with contextlib.suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(b"stop\n")
            self._process.stdin.flush()
        try:
            self._tracker.wait()
        except KeyboardInterrupt:
            self._process.kill()
            raise
        finally:
            self._close()

    def _listen(self) -> None:
        """Follow what the background process tells."""
        try:
            for kind, content in _read_events(self._events):
                self._hear(kind, content)
        finally:
            if self._summary is None and self._error is None:
                self._error = LauncherError(
                    f"the background process of the run ended without a word (exit status {self._process.wait()}); "
                    "what is done is kept, run again to go on"
                )
                _kill_workers(self._workers)
            self._ready.set()
            self._tracker.finish()

    def _hear(self, kind: str, content: Any) -> None:
        if kind == "ready":
            self._started = True
            self._ready.set()
        elif kind == "progress":
            self._tracker.update(content)
        elif kind == "message":
            printer(self._log_level, self._bars)(*content)
        elif kind == "workers":
            self._workers = content
        elif kind == "summary":
            self._summary = content
        elif kind == "error":
            self._error = content

    def _close(self) -> None:
        atexit.unregister(self._at_exit)
        with contextlib.suppress(OSError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        self._events.close()

    def _at_exit(self) -> None:
        """A script that never waits still finishes its work before it exits, unless Ctrl-C ended it."""
        try:
            if getattr(sys, "last_type", None) is KeyboardInterrupt and not hasattr(sys, "ps1"):
                self.stop()
            else:
                self._tracker.wait()
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                self.stop()
        self._close()
        if isinstance(self._error, KeyboardInterrupt):
            print("stopped: what is done is kept, the next run goes on from there", file=sys.stderr)
        elif self._error is not None:
            print(f"{type(self._error).__name__}: {self._error}", file=sys.stderr)
        elif self._summary is not None and not self._summary.ok:
            print(self._summary, file=sys.stderr)


def _start(snapshot: Snapshot, workers: int, log_level: int) -> tuple[BinaryIO, subprocess.Popen[bytes]]:
    """Start the background process and give it its work."""
    reading, writing = os.pipe()
    code = "import sys; sys.path.insert(0, sys.argv[2]); from pipelet.background import main; main()"
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(writing), home],
            stdin=subprocess.PIPE,
            pass_fds=(writing,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reading)
        raise LauncherError(f"the background process of the run can't be started: {error}") from error
    finally:
        os.close(writing)
    assert process.stdin is not None
    work = pickle.dumps((list(sys.path), pickle.dumps(snapshot), workers, log_level))
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(_FRAME.pack(len(work)) + work)
        process.stdin.flush()
    return os.fdopen(reading, "rb"), process


def _read_events(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    while True:
        head = stream.read(_FRAME.size)
        if len(head) < _FRAME.size:
            return
        (length,) = _FRAME.unpack(head)
        data = stream.read(length)
        if len(data) < length:
            return
        yield pickle.loads(data)


def _kill_workers(processes: Sequence[tuple[int, float | None]]) -> None:
    for pid, _ in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


# --- in the background process -------------------------------------------------------------------------------------


class _Teller:
    """Sends events to the starter; once that is gone, there is nobody to tell."""

    def __init__(self, descriptor: int) -> None:
        self._stream = os.fdopen(descriptor, "wb")
        self._lock = threading.Lock()

    def __call__(self, kind: str, content: object = None) -> None:
        data = pickle.dumps((kind, content))
        with self._lock, contextlib.suppress(BrokenPipeError):
            self._stream.write(_FRAME.pack(len(data)) + data)
            self._stream.flush()

    def close(self) -> None:
        """Nothing more will be told."""
        with contextlib.suppress(BrokenPipeError):
            self._stream.close()


def main() -> None:
    """The main function of the background process."""
    from pipelet.executors.process import ProcessExecutor

    # That a worker was replaced since it had grown is no news for the user.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"loky\.")
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    tell = _Teller(descriptor)
    stopped = threading.Event()
    try:
        (length,) = _FRAME.unpack(_receive(_FRAME.size))
        path, blob, workers, log_level = pickle.loads(_receive(length))
        sys.path[:] = path
        snapshot: Snapshot = pickle.loads(blob)
    except (struct.error, EOFError):
        return
    executors: list[ProcessExecutor] = []
    threading.Thread(target=_obey, args=(stopped, executors), daemon=True, name="pipelet-obey").start()

    def make_executor(scratch: str) -> Executor:
        executors.append(ProcessExecutor(workers, scratch, snapshot.limits))
        return executors[-1]

    def echo(level: int, message: str) -> None:
        if log_level and level >= log_level:
            tell("message", (level, message))

    hooks = Hooks(
        echo,
        lambda items: tell("progress", list(items)),
        stopped.is_set,
        lambda processes: tell("workers", processes),
    )
    try:
        tell("summary", execute(snapshot, make_executor, hooks, lambda: tell("ready")))
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


def _obey(stopped: threading.Event, executors: list[Any]) -> None:
    """Stop at a word from the starter, or when it is gone."""
    while os.read(0, 100):
        stopped.set()
    stopped.set()
    time.sleep(_LAST_SECONDS)
    for executor in executors:
        _kill_workers(executor.processes())
    os._exit(1)
