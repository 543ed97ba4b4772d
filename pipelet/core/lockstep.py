"""What was wanted before and is wanted again in the same order: whole columns are compared instead of single inputs.

Whatever does not fit is left to `pipelet.core.plan`, which looks at one input after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar

from pipelet.core.inputs import Inputs
from pipelet.core.model import DIGEST
from pipelet.core.parents import Parents

#: At least, and at most, so many tasks are compared at once.
_FEWEST, _MOST = 2000, 16000
#: So many stretches of tasks with other parents are followed at once.
_STRETCHES = 8
#: Shorter stretches than this, with more behind them, are not worth it.
_WORTH = 16
#: At most so many pieces are passed over after vain attempts.
_PATIENCE = 64

_Column = TypeVar("_Column", bytes, "list[str]")


class Standing(NamedTuple):
    """Tasks that are done, current, present, the only versions of themselves, and that looked at nothing."""

    ids: Sequence[int]
    #: The digests of their inputs, one after the other.
    digests: bytes
    #: The texts of their parents.
    parents: list[str]


class Before(Protocol):
    """The tasks that were wanted when the segment was planned last, in that order."""

    def ahead(self, number: int) -> Standing:
        """The next tasks, up to the first one that can't be taken as it is."""

    def advance(self, number: int) -> None:
        """Go on behind that many tasks, which are wanted again."""

    def resume(self, ids: Sequence[int]) -> None:
        """Go on behind tasks that were decided on one by one."""


class Moved(NamedTuple):
    """Tasks that are taken from disk and have other parents, all the same ones: places in a list of ids."""

    start: int
    stop: int
    parents: str


class Stretch(NamedTuple):
    """Tasks that are wanted again."""

    ids: Sequence[int]
    moved: list[Moved]
    task_sets: dict[str, Parents]


class Lockstep:
    """Walks through the inputs and the tasks that were wanted before, side by side.

    Parameters
    ----------
    inputs
        What is wanted now.
    before
        What was wanted then.
    may_follow
        Tells of the task that an input has, with the texts of its parents then and now, whether it and all others
        with the same two texts are taken from disk as they are.
    """

    def __init__(self, inputs: Inputs, before: Before, may_follow: Callable[[int, int, str, str], bool]) -> None:
        self._inputs = inputs
        self._before = before
        self._may_follow = may_follow
        self._size = _FEWEST
        self._failures = self._rest = 0

    def step(self, start: int) -> Stretch | None:
        """The next tasks that are wanted again, for inputs from an index on; ``None``: they must be looked at."""
        if self._rest:
            self._rest -= 1
            return None
        number = min(self._size, len(self._inputs) - start)
        standing = self._before.ahead(number)
        stretch = self._compare(start, standing) if standing.ids else None
        if stretch is None:
            # The records are read in vain: less and less often.
            self._size, self._failures = _FEWEST, self._failures + 1
            self._rest = min(1 << self._failures >> 1, _PATIENCE) - 1
            return None
        self._failures = 0
        if len(stretch.ids) == number:
            self._size = min(2 * self._size, _MOST)
        else:
            # What comes next does not fit.
            self._size, self._rest = _FEWEST, 1
        self._before.advance(len(stretch.ids))
        return stretch

    def resume(self, ids: Sequence[int]) -> None:
        """Go on behind inputs whose tasks are these, 0 for new ones."""
        self._before.resume(ids)

    def _compare(self, start: int, standing: Standing) -> Stretch | None:
        digests = self._inputs.digest_column(start, start + len(standing.ids))
        same = _common(digests, standing.digests) // DIGEST
        task_sets: dict[str, Parents] = {}
        now = self._inputs.parent_texts(start, start + same, task_sets)
        then = standing.parents[:same]
        moved: list[Moved] = []
        at = 0
        while at < same:
            run = _common(now[at:], then[at:])
            if not run:
                run = self._follow(start, at, standing.ids[at], then, now) if len(moved) < _STRETCHES else 0
                if not run:
                    break
                moved.append(Moved(at, at + run, now[at]))
            at += run
        return Stretch(standing.ids[:at], moved, task_sets) if at else None

    def _follow(self, start: int, at: int, task: int, then: list[str], now: list[str]) -> int:
        """How many tasks have this task's parents, then and now, if they are taken as they are."""
        if not self._inputs.plain:
            return 0
        run = len(now) - at
        run = _common(now[at:], [now[at]] * run)
        run = _common(then[at : at + run], [then[at]] * run)
        if run < _WORTH and at + run < len(now):
            return 0
        return run if self._may_follow(start + at, task, then[at], now[at]) else 0


def _common(one: _Column, other: _Column) -> int:
    """How long the common beginning is."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low
