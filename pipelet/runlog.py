"""The log of a prefix: rotating files in ``.pipelet/log/``, one message a line, and whoever wants to print them."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from typing import NamedTuple

#: Bytes of a log file, and how many older ones are kept.
FILE_BYTES = 10_000_000
KEPT_FILES = 9
#: Of the failed tasks of a segment so many are told one by one, in the file and to whoever prints; the rest is counted.
LOGGED_FAILURES, ECHOED_FAILURES = 1000, 20
#: What is longer than that in the word on a failure is cut.
_FAILURE_LENGTH = 2000

_HEAD = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) (Level \d+|[A-Z]+) +(\S+) +(\d+|-)(?: (.*))?", re.DOTALL)


class LogHead(NamedTuple):
    """What the first line of a message says."""

    when: str  #: ``2026-01-31 12:00:00.000``, on the clock of the machine that wrote it
    level: int
    segment: str  #: empty where it is about none
    task: int | None
    text: str


def read_head(line: bytes) -> LogHead | None:
    """Read a line of a log file; None if it goes on with the message of the line before."""
    match = _HEAD.fullmatch(line)
    if match is None:
        return None
    when, level, segment, task, text = match.groups(b"")
    name = level.decode()
    known = logging.getLevelName(name)
    number = known if isinstance(known, int) else int(name.removeprefix("Level ")) if " " in name else logging.INFO
    about = segment.decode("utf-8", "replace")
    return LogHead(
        when.decode(), number, "" if about == "-" else about, None if task == b"-" else int(task),
        text.decode("utf-8", "replace"),
    )


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
        self._failures: dict[str, int] = {}
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
            Seconds since the epoch, for what a task itself has said; now if not given. An error on a task without it
            is its failure, and of very many failures only the first are told one by one.
        echo
            False for what its reader is told in another way.
        """
        if task is not None and level >= logging.ERROR and not when:
            self._fail(level, message[:_FAILURE_LENGTH], segment, task, echo)
            return
        self._write(level, message, segment, task, when)
        if echo:
            self._tell(level, message, segment, task)

    def close(self) -> None:
        """Say how many failures were not told one by one, and close the file."""
        for segment, number in self._failures.items():
            if number > LOGGED_FAILURES:
                self._write(logging.ERROR, _counted(number), segment)
        self._handler.close()

    def _fail(self, level: int, message: str, segment: str, task: int, echo: bool) -> None:
        number = self._failures[segment] = self._failures.get(segment, 0) + 1
        if number <= LOGGED_FAILURES:
            self._write(level, message, segment, task)
        elif number.bit_count() == 1:
            # Now and then, so that who follows the log sees that it goes on.
            self._write(level, _counted(number), segment)
        if echo and number <= ECHOED_FAILURES:
            self._tell(level, message, segment, task)
        elif echo and number.bit_count() == 1:
            self._tell(level, _counted(number), segment, None)

    def _write(self, level: int, message: str, segment: str, task: int | None = None, when: float = 0.0) -> None:
        record = logging.LogRecord("pipelet", level, "", 0, message, None, None)
        record.created = when or time.time()
        record.segment = segment or "-"
        record.task = "-" if task is None else str(task)
        self._handler.handle(record)

    def _tell(self, level: int, message: str, segment: str, task: int | None) -> None:
        if self._echo is not None:
            about = f"{segment}[{task}]: " if task is not None else f"{segment}: " if segment else ""
            self._echo(level, f"{logging.getLevelName(level)}: {about}{message}")


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{second}.{int(record.created % 1 * 1000):03d}"
        about = f"{record.levelname:<8} {record.segment:<16} {record.task:>8}"  # type: ignore[attr-defined]
        return f"{head} {about} {str(record.msg).rstrip()}".replace("\n", "\n    ")


def _counted(number: int) -> str:
    return f"{number} tasks have failed by now; they are not told one by one any more, but each is on record"


def _lost(record: logging.LogRecord) -> None:
    """A message that can't be written (a full disk) must not stop the run; the journals have their own word on that."""
