"""Where the output of a task goes while it runs, and how it gets into the task's log."""

from __future__ import annotations

import ctypes
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol


class Capture(Protocol):
    """Where the output of a task goes while it runs."""

    def write(self, text: str) -> None:
        """Add a line that did not come through ``sys.stdout``."""

    def save(self, path: str) -> None:
        """Put what was written since the last call in a file; no file when there was nothing."""


class FileCapture:
    """Takes all that a worker process and its children write, by redirecting its file descriptors.

    Parameters
    ----------
    path
        A file that is only this process's; what a dead process wrote can be read from it.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._flush_all = ctypes.CDLL(None).fflush
        self._streams = {1: sys.stdout, 2: sys.stderr}
        for number, stream in self._streams.items():
            stream.flush()
            if isinstance(stream, io.TextIOWrapper):
                # By lines, so that what child processes print comes in its order; and no text is refused.
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
            os.dup2(self._file, number)

    def write(self, text: str) -> None:
        """Add a line."""
        with suppress(Exception):  # the task may have put anything in its place
            sys.stdout.flush()
        os.write(self._file, text.encode("utf-8", "backslashreplace"))

    def save(self, path: str) -> None:
        """Move what was written to a file."""
        self._settle()
        if os.fstat(self._file).st_size == 0:
            return
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.lseek(self._file, 0, os.SEEK_SET)
            with open(path, "wb") as log, os.fdopen(os.dup(self._file), "rb") as source:
                shutil.copyfileobj(source, log)
        finally:
            os.ftruncate(self._file, 0)

    def _settle(self) -> None:
        """Have all that was printed in the file, and the streams in order, whatever the task did to them."""
        # What libraries in C have printed waits in their own buffers.
        self._flush_all(None)
        for stream in (sys.stdout, sys.stderr):
            if stream not in self._streams.values():
                with suppress(Exception):
                    stream.flush()
        for number, stream in self._streams.items():
            os.dup2(self._file, number)
            if not stream.closed:
                stream.flush()
            else:
                self._streams[number] = open(  # noqa: SIM115 (lives as long as the process)
                    number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
                )
        sys.stdout, sys.stderr = self._streams[1], self._streams[2]


class TeeCapture:
    """Copies what a task writes to ``sys.stdout`` and ``sys.stderr``, and leaves the terminal as it is."""

    def __init__(self) -> None:
        self._buffer = tempfile.SpooledTemporaryFile(  # noqa: SIM115 (lives as long as the run)
            max_size=1 << 20, mode="w+", encoding="utf-8", errors="backslashreplace"
        )

    def write(self, text: str) -> None:
        """Add text."""
        # A handler of `logging` may keep a stream of ours long after the run.
        if not self._buffer.closed:
            self._buffer.write(text)

    def save(self, path: str) -> None:
        """Move what was written to a file."""
        if self._buffer.tell() == 0:
            return
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._buffer.seek(0)
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as log:
                shutil.copyfileobj(self._buffer, log)
        finally:
            self._buffer.seek(0)
            self._buffer.truncate()

    def close(self) -> None:
        """Let go of the buffer."""
        self._buffer.close()

    @contextmanager
    def streams(self) -> Iterator[None]:
        """While this lasts, the standard streams are copied."""
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Tee(before[0], self), _Tee(before[1], self)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


class _Tee:
    """A text stream that also tells a capture; everything but writing is the stream's own, so `pdb` works."""

    def __init__(self, stream: Any, capture: TeeCapture) -> None:
        self._stream = stream
        self._capture = capture

    def write(self, text: str) -> int:
        self._stream.write(text)
        self._capture.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
