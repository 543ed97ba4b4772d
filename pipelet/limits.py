"""What a task may take: time and memory. No part of a key: to change a limit recomputes nothing."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real

from pipelet.errors import PipelineError

#: A worker that has done nothing yet takes about half of this.
LEAST_MEMORY = 100_000_000

_SIZE = re.compile(r"\s*(?P<number>\d+(?:\.\d*)?|\.\d+)\s*(?P<unit>[kmgt]?)(?P<binary>i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


@dataclass(frozen=True)
class Limits:
    """What each task of a pipeline may take.

    Attributes
    ----------
    timeout
        Seconds for a task of any segment that is not in ``timeouts``; ``None``: as long as it takes.
    timeouts
        Seconds for a task, by segment.
    memory
        Bytes for a worker, or ``None``.
    """

    timeout: float | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    memory: int | None = None

    def seconds(self, segment: str) -> float | None:
        """How long a task of a segment may run."""
        return self.timeouts.get(segment, self.timeout)

    @property
    def any(self) -> bool:
        """Whether there is anything to watch."""
        return self.timeout is not None or bool(self.timeouts) or self.memory is not None


def read_limits(timeout: object, memory: object) -> Limits:
    """Make limits of what a user gives.

    Parameters
    ----------
    timeout
        ``None``, a number of seconds, or a mapping from segments to such numbers.
    memory
        ``None``, a number of bytes, or a text such as ``"2 GB"``.

    Raises
    ------
    PipelineError
        It is something else.
    """
    size = None if memory is None else read_size(memory)
    if timeout is None:
        return Limits(memory=size)
    if isinstance(timeout, Mapping):
        for name in timeout:
            if not isinstance(name, str):
                raise PipelineError(f"timeout={reprlib.repr(timeout)}: {name!r} is no name of a segment")
        return Limits(timeouts={name: _seconds(value, f"timeout of {name!r}") for name, value in timeout.items()},
                      memory=size)
    return Limits(timeout=_seconds(timeout, "timeout"), memory=size)


def _seconds(value: object, what: str) -> float:
    if isinstance(value, Real) and not isinstance(value, bool):
        seconds = float(value)
        if seconds > 0 and math.isfinite(seconds):
            return seconds
    raise PipelineError(
        f"{what}: {reprlib.repr(value)} is no number of seconds above 0; give for example timeout=600, or "
        "timeout={'melt': 600} for tasks of one segment"
    )


def read_size(value: object) -> int:
    """Read a number of bytes, or a text such as ``"2 GB"``.

    Raises
    ------
    PipelineError
        It is something else, or too little for any task.
    """
    size: float | None = None
    if isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(float(value)):
        size = float(value)
    elif isinstance(value, str) and (found := _SIZE.fullmatch(value)):
        size = float(found["number"]) * (1024 if found["binary"] else 1000) ** _POWERS[found["unit"].lower()]
    if size is None:
        raise PipelineError(f"memory={reprlib.repr(value)} is no size; give bytes, or a text such as '2 GB'")
    if size < LEAST_MEMORY:
        raise PipelineError(
            f"memory={reprlib.repr(value)} is too little for any task, since a worker needs some by itself; give at "
            f"least {size_text(LEAST_MEMORY)}"
        )
    return int(size)


def size_text(size: float) -> str:
    """Say a number of bytes as people do: "350 MB", "2.1 GB"."""
    for unit in ("bytes", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
