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
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from pipelet.bars import Display, printer
from pipelet.errors import LauncherError
from pipelet.executors.plan import ExecutorPlan
from pipelet.notebookbars import open_bars
from pipelet.planner import Snapshot
from pipelet.progress import Tracker
from pipelet.summary import Summary

#: The length of a message between the two processes, before it.
FRAME = struct.Struct("<Q")


class BackgroundRun:
    """A run in a process of its own, which starts at once.

    Parameters
    ----------
    snapshot
        The pipeline.
    plan
        Makes the executor.
    tracker
        Watches the run.
    log_level
        What is printed; 0 prints nothing.

    Raises
    ------
    PipeletError
        The run can't be started, for example since another one holds the prefix.
    """

    def __init__(self, snapshot: Snapshot, plan: ExecutorPlan, tracker: Tracker, log_level: int) -> None:
        self._tracker = tracker
        self._log_level = log_level
        self._bars: Display | None = None
        self._summary: Summary | None = None
        self._error: BaseException | None = None
        self._workers: list[tuple[int, float | None]] = []
        self._ready = threading.Event()
        self._events, self._process = _start(snapshot, plan, log_level)
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
        bars = self._bars = open_bars()
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
                kill_workers(self._workers)
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
        elif kind == "fleet":
            text, self._tracker.workers = content
            if text != self._tracker.fleet and self._log_level:
                (self._bars or open_bars()).write(text)
            self._tracker.fleet = text
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


def _start(snapshot: Snapshot, plan: ExecutorPlan, log_level: int) -> tuple[BinaryIO, subprocess.Popen[bytes]]:
    """Start the background process and give it its work."""
    reading, writing = os.pipe()
    code = "import sys; sys.path.insert(0, sys.argv[2]); from pipelet.backgroundmain import main; main()"
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
    work = pickle.dumps((list(sys.path), pickle.dumps((snapshot, plan)), log_level))
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(FRAME.pack(len(work)) + work)
        process.stdin.flush()
    return os.fdopen(reading, "rb"), process


def _read_events(stream: BinaryIO) -> Iterator[tuple[str, Any]]:
    while True:
        head = stream.read(FRAME.size)
        if len(head) < FRAME.size:
            return
        (length,) = FRAME.unpack(head)
        data = stream.read(length)
        if len(data) < length:
            return
        yield pickle.loads(data)


def kill_workers(processes: Sequence[tuple[int, float | None]]) -> None:
    """Kill the process groups of workers, by the ids of their leaders."""
    for pid, _ in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
