"""Watches tasks that run in other processes, and ends those that take more than they may."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from pipelet import worker
from pipelet.errors import MemoryExceeded, TaskTimeout
from pipelet.limits import Limits, size_text

#: Seconds between two looks.
LOOK_SECONDS = 0.2
#: How long a worker may take to say where it is.
_STACK_SECONDS = 0.1

_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<name>.+)$', re.MULTILINE)


class Watch:
    """A thread that looks at something a few times a second.

    Parameters
    ----------
    looks
        What it calls.
    """

    def __init__(self, looks: Sequence[Callable[[], None]]) -> None:
        self._looks = looks
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="pipelet-limits")
        self._thread.start()

    def close(self) -> None:
        """Look no more; returns when the last look is over."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            for look in self._looks:
                look()


def too_long(limits: Limits, segment: str, seconds: float) -> str | None:
    """What is wrong with a task that has run so long, if anything."""
    limit = limits.seconds(segment)
    if limit is None or seconds <= limit:
        return None
    return words(
        TaskTimeout,
        f"the task had not ended after {limit:g} s, the limit of segment {segment!r} (Pipeline(..., timeout=...)); it "
        "was ended, with all that it had started",
    )


def too_large(limits: Limits, size: int) -> str | None:
    """What is wrong with a task that has taken so much memory, if anything."""
    if limits.memory is None or size <= limits.memory:
        return None
    return words(
        MemoryExceeded,
        f"the task alone took {size_text(size)} of memory, and the limit is {size_text(limits.memory)} "
        "(Pipeline(..., memory=...)); it was ended, with all that it had started",
    )


def words(kind: type[Exception], text: str) -> str:
    """The last line of a traceback."""
    return f"{kind.__module__}.{kind.__qualname__}: {text}\n"


def ask_where(pid: int, number: int, path: str) -> str:
    """Let a worker say where it is, as a traceback without its last line; empty if it does not answer.

    Parameters
    ----------
    pid
        The worker.
    number
        The signal that makes it do so.
    path
        Where it writes.
    """
    try:
        os.truncate(path, 0)
        os.kill(pid, number)
    except OSError:
        return ""
    end = time.monotonic() + _STACK_SECONDS
    text, before = "", "-"
    while time.monotonic() < end and not (text and text == before):
        time.sleep(0.01)
        before = text
        with open(path, encoding="utf-8", errors="backslashreplace") as stack:
            text = stack.read()
    return _traceback(_FRAME.findall(text))


def _traceback(found: Iterable[tuple[str, str, str]]) -> str:
    """The user's part of a stack that has its innermost frame first."""
    frames = list(found)[::-1]
    engine = [index for index, (file, _, _) in enumerate(frames) if file == worker.__file__]
    frames = frames[engine[-1] + 1 :] if engine else frames
    if not frames:
        return ""
    lines = [f'  File "{file}", line {line}, in {name}\n' for file, line, name in frames]
    return "Traceback (most recent call last):\n" + "".join(lines)
