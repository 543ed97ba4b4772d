"""Where the output of a task goes while it runs, and how it gets into the task's log."""

from __future__ import annotations

import ctypes
import io
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from pipelet.core.calls import LogRecord
from pipelet.core.text import without_surrogates

_LINE = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
#: More messages of one task than this stay in its own log alone.
_MESSAGES = 200
#: How much is copied at once.
_PIECE = 1 << 20
_MAKING = threading.RLock()


class Capture(Protocol):
    """Where the output of a task goes while it runs."""

    def write(self, text: str) -> None:
        """Add a line that did not come through ``sys.stdout``."""

    def wrote(self) -> bool:
        """Whether anything was written since the last `save`; puts the streams in order."""

    def save(self, path: str) -> None:
        """Put what was written since the last call in a file."""


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
                # By whole lines, so that what child processes print comes in its order and not within another line,
                # also where PYTHONUNBUFFERED asks for less; and no text is refused.
                stream.reconfigure(
                    encoding="utf-8", errors="backslashreplace", line_buffering=True, write_through=False
                )
            os.dup2(self._file, number)

    def write(self, text: str) -> None:
        """Add a line."""
        with suppress(Exception):  # the task may have put anything in its place
            sys.stdout.flush()
        os.write(self._file, text.encode("utf-8", "backslashreplace"))

    def wrote(self) -> bool:
        """Whether there is something; all that was printed is in the file then, and the streams are in order."""
        # What libraries in C have printed waits in their own buffers.
        self._flush_all(None)
        out, err = self._streams[1], self._streams[2]
        try:
            if sys.stdout is not out or sys.stderr is not err:
                raise ValueError
            os.dup2(self._file, 1)
            os.dup2(self._file, 2)
            out.flush()
            err.flush()
        except ValueError:  # replaced, or closed
            self._settle()
        return os.lseek(self._file, 0, os.SEEK_END) > 0

    def save(self, path: str) -> None:
        """Move what was written to a file."""
        try:
            with _new_file(path) as log:
                start = 0
                while piece := os.pread(self._file, _PIECE, start):
                    start += len(piece)
                    log.write(piece)
        finally:
            os.ftruncate(self._file, 0)

    def _settle(self) -> None:
        """Put the streams in order, whatever the task did to them."""
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

    def wrote(self) -> bool:
        """Whether there is something."""
        return self._buffer.tell() > 0

    def save(self, path: str) -> None:
        """Move what was written to a file."""
        self._buffer.seek(0)
        try:
            with io.TextIOWrapper(_new_file(path), encoding="utf-8", errors="backslashreplace") as log:
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


def _new_file(path: str) -> io.BufferedWriter:
    """A new file; the directory is made if it is not there."""
    try:
        return open(path, "wb")
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return open(path, "wb")


class TaskLogger(logging.Logger):
    """The logger of one task; it is made in earnest when it is first used, since most tasks log nothing.

    Parameters
    ----------
    name
        The segment.
    capture
        Where the lines go.

    Attributes
    ----------
    records
        The messages, for the run's log.
    """

    records: Sequence[LogRecord] = ()

    def __init__(self, name: str, capture: Capture) -> None:
        self._given = name, capture

    def __getattr__(self, attribute: str) -> Any:
        # Only what is not there yet is looked for here: all that a logger has, at first.
        own = vars(self)
        with _MAKING:
            if "_given" in own:
                self._make(*own["_given"])
        if attribute in own:
            return own[attribute]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")

    def _make(self, name: str, capture: Capture) -> None:
        handler = _Messages(capture)
        logger = logging.Logger(name, logging.DEBUG)
        logger.addHandler(handler)
        # What the task has set already stays; and all comes at once, as other threads may be waiting for it.
        vars(self).update({**vars(logger), "records": handler.records, **vars(self)})
        del self._given


class _Messages(logging.Handler):
    """Keeps the messages of a task for the run's log, and writes them to the task's own."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self.records: list[LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _LINE.format(record) + "\n"
        except Exception:  # a slip in a message must not fail the task
            self.handleError(record)
            return
        if len(self.records) < _MESSAGES:
            message = without_surrogates(record.getMessage())
            self.records.append(LogRecord(record.created, record.levelno, message))
        self._capture.write(line)
