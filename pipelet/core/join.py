"""The hash join: combinations of elements whose keys are equal, in the order of a nested loop, without running one."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

#: One index for each parent.
Combination = tuple[int, ...]
#: The keys of one parent's elements by index; those of elements that can't occur any more mean nothing.
Keys = Sequence[Hashable]


@dataclass
class Edge:
    """Parents `left` < `right`, whose elements go together where their keys are equal."""

    left: int
    right: int
    left_keys: Keys
    right_keys: Keys


@dataclass
class _Step:
    """How to find the indices of one more parent: look up the keys of the parents before it."""

    sources: list[tuple[int, Keys]]  #: place in the combination so far, and the keys there
    index: dict[tuple[Hashable, ...], list[int]]

    def extend(self, combinations: Iterable[Combination]) -> Iterator[Combination]:
        for combination in combinations:
            key = tuple([keys[combination[place]] for place, keys in self.sources])
            for index in self.index.get(key, ()):
                yield (*combination, index)


def join(alive: list[list[int]], edges: Sequence[Edge]) -> Iterator[Combination]:
    """Enumerate the combinations that satisfy all the edges, in the order of a nested loop.

    Parameters
    ----------
    alive
        For each parent its indices, rising; the ones that meet no partner are dropped from these lists.
    edges
        What must be equal.
    """
    edges = _merged(edges)
    _reduce(alive, edges)
    combinations: Iterator[Combination] = iter([()])
    for step in _steps(alive, edges):
        combinations = step.extend(combinations)
    return combinations


def _merged(edges: Sequence[Edge]) -> list[Edge]:
    """Make all the edges between two parents one."""
    pairs: dict[tuple[int, int], list[Edge]] = {}
    for edge in edges:
        pairs.setdefault((edge.left, edge.right), []).append(edge)
    return [
        Edge(left, right, _zipped([edge.left_keys for edge in same]), _zipped([edge.right_keys for edge in same]))
        for (left, right), same in pairs.items()
    ]


def _zipped(columns: list[Keys]) -> Keys:
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=False))


def _reduce(alive: list[list[int]], edges: list[Edge]) -> None:
    """Drop the elements without a partner, so that hardly any way into the join ends in nothing."""
    for _ in range(len(edges) + 1):
        before = sum(map(len, alive))
        for edge in edges:
            lefts = {edge.left_keys[index] for index in alive[edge.left]}
            alive[edge.right] = [index for index in alive[edge.right] if edge.right_keys[index] in lefts]
            rights = {edge.right_keys[index] for index in alive[edge.right]}
            alive[edge.left] = [index for index in alive[edge.left] if edge.left_keys[index] in rights]
        if sum(map(len, alive)) == before:
            return


def _steps(alive: list[list[int]], edges: list[Edge]) -> list[_Step]:
    steps: list[_Step | None] = [None] * len(alive)
    for members in _components(len(alive), edges):
        rising = all(any(edge.right == at and edge.left in members for edge in edges) for at in members[1:])
        own = _direct_steps(members, alive, edges) if rising else _listed_steps(members, alive, edges)
        for at, step in zip(members, own, strict=True):
            steps[at] = step
    return [step for step in steps if step is not None]


def _components(count: int, edges: list[Edge]) -> list[list[int]]:
    """Return the sets of parents that edges connect, each rising."""
    component = {at: [at] for at in range(count)}
    for edge in edges:
        left, right = component[edge.left], component[edge.right]
        if left is not right:
            together = sorted(left + right)
            for at in together:
                component[at] = together
    return [members for at, members in component.items() if members[0] == at]


def _direct_steps(
    order: Sequence[int], alive: list[list[int]], edges: list[Edge], places: Sequence[int] | None = None
) -> list[_Step]:
    """Return steps that look up the keys of all neighbours that come earlier in `order`.

    `places` says where in a combination the parents of `order` stand; by default where they stand among all.
    """
    where = dict(zip(order, order if places is None else places, strict=True))
    steps = []
    for number, at in enumerate(order):
        sources: list[tuple[int, Keys]] = []
        own: list[Keys] = []
        for edge in edges:
            if edge.right == at and edge.left in order[:number]:
                sources.append((where[edge.left], edge.left_keys))
                own.append(edge.right_keys)
            elif edge.left == at and edge.right in order[:number]:
                sources.append((where[edge.right], edge.right_keys))
                own.append(edge.left_keys)
        index: dict[tuple[Hashable, ...], list[int]] = {}
        for element in alive[at]:
            index.setdefault(tuple([keys[element] for keys in own]), []).append(element)
        steps.append(_Step(sources, index))
    return steps


def _listed_steps(members: list[int], alive: list[list[int]], edges: list[Edge]) -> list[_Step]:
    """Return steps for parents of which some meet only through a later one: join in another order, list, and sort."""
    order = [members[0]]
    while len(order) < len(members):
        near = {at for edge in edges if {edge.left, edge.right} & set(order) for at in (edge.left, edge.right)}
        order.append(min(near - set(order)))
    found: Iterator[Combination] = iter([()])
    for step in _direct_steps(order, alive, edges, range(len(order))):
        found = step.extend(found)
    back = [order.index(at) for at in members]
    listed = sorted(tuple([combination[place] for place in back]) for combination in found)
    steps = []
    for number in range(len(members)):
        index: dict[tuple[Hashable, ...], dict[int, None]] = {}
        for combination in listed:
            index.setdefault(combination[:number], {})[combination[number]] = None
        # The key of an element is its own index here.
        sources: list[tuple[int, Keys]] = [(at, range(max(alive[at], default=-1) + 1)) for at in members[:number]]
        steps.append(_Step(sources, {key: list(next_ones) for key, next_ones in index.items()}))
    return steps
