"""The inputs of a segment whose parents have not ended: what their tasks have made possible so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipelet.core.directives import Multiplex
from pipelet.core.model import Element, ParentOutput
from pipelet.history import History

#: At most this part of the time goes into products that may have to be gone through again and again.
_SHARE = 0.05


@dataclass
class Taken:
    """How many tasks of a parent were taken into account."""

    given: int = 0  #: of those that ended in this run
    kept: int = 0  #: of those that were done before


class EarlyInputs:
    """Takes what the parents of one segment give, and offers each combination of elements once.

    Parameters
    ----------
    parents
        Their names, in order.
    directive
        How the segment combines them.
    history
        What is on record of the segment.
    clock
        For how long the last round took.
    """

    def __init__(
        self,
        parents: Sequence[str],
        directive: Multiplex,
        history: History,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parents = parents
        #: Each with each: what was offered before is needed again.
        self._product = directive.kind == "cross_prod" and len(parents) > 1
        self.history = history
        #: How many tasks of each parent were taken into account.
        self.taken = {name: Taken() for name in parents}
        self._seen: dict[str, set[bytes]] = {name: set() for name in parents}
        self._before: dict[str, list[Element]] = {name: [] for name in parents}
        self._new: dict[str, list[Element]] = {name: [] for name in parents}
        self._clock = clock
        self._not_before = self._begun = clock()

    def offer(self, parent: str, elements: Iterable[Element]) -> None:
        """Take elements that a parent's tasks have given; of equal ones the first counts."""
        seen, new = self._seen[parent], self._new[parent]
        for element in elements:
            if element.digest not in seen:
                seen.add(element.digest)
                new.append(element)

    @property
    def ready(self) -> bool:
        """Whether there is something new, and time for it."""
        return any(self._new.values()) and (not self._product or self._clock() >= self._not_before)

    def rounds(self) -> Iterator[list[ParentOutput]]:
        """Go through outputs to expand, so that each combination with something new comes exactly once."""
        self._begun = self._clock()
        if not self._product:
            yield self._outputs(self._new)
            self._new = {name: [] for name in self._parents}
            return
        for parent in self._parents:
            new = self._new[parent]
            if new:
                yield self._outputs({**self._before, parent: new})
                self._before[parent] += new
                self._new[parent] = []

    def close(self) -> None:
        """Let go of everything: the parents have ended."""
        self._seen, self._before, self._new = {}, {}, {}

    def rest(self) -> None:
        """Note that a round is over: the next may come when enough time has passed."""
        now = self._clock()
        self._not_before = now + (now - self._begun) / _SHARE

    def _outputs(self, elements: Mapping[str, Sequence[Element]]) -> list[ParentOutput]:
        return [ParentOutput(name, elements[name], ()) for name in self._parents]
