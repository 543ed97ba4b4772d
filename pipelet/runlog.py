"""The log of a prefix: rotating files in ``.pipelet/log/``, one message a line, and whoever wants to print them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler

#: Bytes of a log file, and how many older ones are kept.
FILE_BYTES = 10_000_000
KEPT_FILES = 9


class RunLog:
    """Writes messages of a run and of its tasks.

    Parameters
    ----------
    directory
        Where the files are.
    echo
        Called with the level and the text of each message.
    """

    def __init__(self, directory: str, echo: Callable[[int, str], None] | None = None) -> None:
        os.makedirs(directory, exist_ok=True)
        self._echo = echo
        self._handler = RotatingFileHandler(
            os.path.join(directory, "pipelet.log"), maxBytes=FILE_BYTES, backupCount=KEPT_FILES, encoding="utf-8",
            errors="backslashreplace", delay=True,
        )
        self._handler.handleError = _lost  # type: ignore[method-assign]
        self._handler.setFormatter(_Line())

    def write(
        self,
        level: int,
        message: str,
        segment: str = "",
        task: int | None = None,
        when: float = 0.0,
        echo: bool = True,
    ) -> None:
        """Add a message.

        Parameters
        ----------
        level
            One of the levels of `logging`.
        message
            The text; further lines are indented.
        segment, task
            What it is about.
        when
            Seconds since the epoch; now if not given.
        echo
            False for what its reader is told in another way.
        """
        record = logging.LogRecord("pipelet", level, "", 0, message, None, None)
        record.created = when or time.time()
        record.segment = segment or "-"
        record.task = "-" if task is None else str(task)
        self._handler.handle(record)
        if echo and self._echo is not None:
            about = f"{segment}[{task}]: " if task is not None else f"{segment}: " if segment else ""
            self._echo(level, f"{logging.getLevelName(level)}: {about}{message}")

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{second}.{int(record.created % 1 * 1000):03d}"
        about = f"{record.levelname:<8} {record.segment:<16} {record.task:>8}"  # type: ignore[attr-defined]
        return f"{head} {about} {str(record.msg).rstrip()}".replace("\n", "\n    ")


def _lost(record: logging.LogRecord) -> None:
    """A message that can't be written (a full disk) must not stop the run; the journals have their own word on that."""
