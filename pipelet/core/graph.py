"""The graph of segments: who comes before whom."""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from types import MappingProxyType
from typing import TypeVar

from pipelet.core.dot import DotGraph, Subgraph, read
from pipelet.core.dottext import DotText, located
from pipelet.errors import CycleError, EmptyGraphError, PipelineError, UnknownSegmentError, raise_problems

_MOST_CYCLES = 20
_MOST_NAMES = 20
_T = TypeVar("_T")


class Graph:
    """A directed graph of segments without cycles; it never changes.

    Two graphs are equal when they have the same segments and edges in the same order: attributes and the name
    matter to pictures only.

    Parameters
    ----------
    dot
        What the graph string says; `build_graph` has checked it.
    """

    __slots__ = ("_children", "_dot", "_edges", "_near", "_order", "_parents", "_roots", "_segments")

    def __init__(self, dot: DotGraph) -> None:
        parents: dict[str, list[str]] = {segment: [] for segment in dot.nodes}
        children: dict[str, list[str]] = {segment: [] for segment in dot.nodes}
        for edge in dot.edges:
            parents[edge.child].append(edge.parent)
            children[edge.parent].append(edge.child)
        self._dot = dot
        self._segments = tuple(dot.nodes)
        self._parents = {segment: tuple(names) for segment, names in parents.items()}
        self._children = {segment: tuple(names) for segment, names in children.items()}
        self._edges = {(edge.parent, edge.child): edge for edge in dot.edges}
        self._roots = tuple(segment for segment in dot.nodes if not parents[segment])
        self._order = tuple(TopologicalSorter(self._parents).static_order())
        self._near: dict[tuple[str, bool], tuple[str, ...]] = {}

    @property
    def name(self) -> str:
        """The name behind ``digraph``, or an empty string."""
        return self._dot.name

    @property
    def segments(self) -> tuple[str, ...]:
        """All segments, in the order in which the string first names them."""
        return self._segments

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """All pairs of parent and child, in the order in which the string first names them."""
        return tuple(self._edges)

    @property
    def roots(self) -> tuple[str, ...]:
        """The segments without parents, in the order of `segments`."""
        return self._roots

    @property
    def order(self) -> tuple[str, ...]:
        """All segments, each behind all its parents; the same for equal graphs."""
        return self._order

    @property
    def graph_attributes(self) -> Mapping[str, str]:
        """What the string says about the picture as a whole, such as ``rankdir=LR``."""
        return MappingProxyType(dict(self._dot.graph_attributes))

    @property
    def subgraphs(self) -> tuple[Subgraph, ...]:
        """Braces of the string that matter to a picture."""
        return self._dot.subgraphs

    def parents(self, segment: str) -> tuple[str, ...]:
        """Return the parents of a segment, in the order in which the string first names their edges.

        Raises
        ------
        UnknownSegmentError
            If the graph has no such segment.
        """
        return self._look_up(self._parents, segment)

    def children(self, segment: str) -> tuple[str, ...]:
        """Return the children of a segment, in the order in which the string first names their edges.

        Raises
        ------
        UnknownSegmentError
            If the graph has no such segment.
        """
        return self._look_up(self._children, segment)

    def ancestors(self, segment: str) -> tuple[str, ...]:
        """Return all segments from which there is a path to this one, the nearest first, without itself.

        Raises
        ------
        UnknownSegmentError
            If the graph has no such segment.
        """
        return self._reached(segment, self._parents, upwards=True)

    def descendants(self, segment: str) -> tuple[str, ...]:
        """Return all segments to which there is a path from this one, the nearest first, without itself.

        Raises
        ------
        UnknownSegmentError
            If the graph has no such segment.
        """
        return self._reached(segment, self._children, upwards=False)

    def attributes(self, segment: str) -> Mapping[str, str]:
        """Return the dot attributes of a segment.

        Raises
        ------
        UnknownSegmentError
            If the graph has no such segment.
        """
        return MappingProxyType(dict(self._look_up(self._dot.nodes, segment)))

    def edge_attributes(self, parent: str, child: str) -> Mapping[str, str]:
        """Return the dot attributes of an edge.

        Raises
        ------
        UnknownSegmentError
            If there is no such edge.
        """
        edge = self._edges.get((parent, child))
        if edge is None:
            raise UnknownSegmentError(f"the graph has no edge `{parent} -> {child}`")
        return MappingProxyType(dict(edge.attributes))

    def nearest(self, name: str) -> str | None:
        """Return the segment whose name looks most like a mistyped one, ``None`` if none does."""
        folded = {segment.casefold(): segment for segment in reversed(self._segments)}
        found = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
        return folded[found[0]] if found else None

    def __contains__(self, segment: object) -> bool:
        return segment in self._parents

    def __iter__(self) -> Iterator[str]:
        return iter(self._segments)

    def __len__(self) -> int:
        return len(self._segments)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Graph):
            return NotImplemented
        return self._segments == other._segments and self.edges == other.edges

    def __hash__(self) -> int:
        return hash((self._segments, self.edges))

    def __reduce__(self) -> tuple[type[Graph], tuple[DotGraph]]:
        return Graph, (self._dot,)

    def __repr__(self) -> str:
        alone = [segment for segment in self._segments if not self._parents[segment] and not self._children[segment]]
        return f"Graph({'; '.join([*(f'{parent} -> {child}' for parent, child in self._edges), *alone])})"

    def _look_up(self, table: Mapping[str, _T], segment: str) -> _T:
        try:
            return table[segment]
        except KeyError:
            raise UnknownSegmentError(self._unknown(segment)) from None

    def _unknown(self, segment: str) -> str:
        near = self.nearest(segment)
        more = ", ..." if len(self._segments) > _MOST_NAMES else ""
        names = ", ".join(self._segments[:_MOST_NAMES]) + more
        hint = f"did you mean `{near}`?" if near else f"its segments are {names}"
        return f"the graph has no segment `{segment}`; {hint}"

    def _reached(self, segment: str, table: Mapping[str, tuple[str, ...]], upwards: bool) -> tuple[str, ...]:
        known = self._near.get((segment, upwards))
        if known is None:
            found = dict.fromkeys(self._look_up(table, segment))
            waiting = deque(found)
            while waiting:
                for name in table[waiting.popleft()]:
                    if name not in found:
                        found[name] = None
                        waiting.append(name)
            known = self._near[segment, upwards] = tuple(found)
        return known


def build_graph(text: str) -> Graph:
    """Read a graph string and check it.

    Parameters
    ----------
    text
        Statements such as ``a -> b -> c``, with or without ``digraph name { }`` around them.

    Returns
    -------
    Graph
        At least one segment, no cycle.

    Raises
    ------
    PipelineError
        `DotSyntaxError`, `UndirectedEdgeError`, `SegmentNameError`, `CycleError` or `EmptyGraphError`; if there are
        several problems, `PipelineProblems` with all of them.
    """
    dot, problems = read(text)
    if not dot.nodes and not problems:
        problems.append(EmptyGraphError("the graph string names no segment; write at least one, such as `a -> b;`"))
    problems.extend(_cycle_problems(text, dot))
    raise_problems(problems)
    return Graph(dot)


def _cycle_problems(text: str, dot: DotGraph) -> list[PipelineError]:
    children: dict[str, list[str]] = {segment: [] for segment in dot.nodes}
    places: dict[tuple[str, str], tuple[int, int]] = {}
    for edge in dot.edges:
        children[edge.parent].append(edge.child)
        places[edge.parent, edge.child] = edge.line, edge.column
    rank = {segment: number for number, segment in enumerate(dot.nodes)}
    backward = _backward_edges(children)
    cycles: dict[tuple[str, ...], None] = {}
    for last, first in backward[:_MOST_CYCLES]:
        cycle = _shortest_path(children, first, last)
        start = min(range(len(cycle)), key=lambda place: rank[cycle[place]])
        cycles[cycle[start:] + cycle[:start]] = None
    problems: list[PipelineError] = []
    lines = DotText(text).lines if cycles else []
    for cycle in cycles:
        whole = " -> ".join([*cycle, cycle[0]])
        advice = f"leave out one of these edges, such as `{cycle[-1]} -> {cycle[0]}`"
        words = (
            f"`{whole}` is a cycle: these segments would wait for each other; {advice}"
            if len(cycle) > 1
            else f"`{whole}` is a cycle: a segment can't wait for itself; leave this edge out"
        )
        line, column = places[cycle[-1], cycle[0]]
        problems.append(CycleError(located(lines[line - 1], line, column, words)))
    if len(backward) > _MOST_CYCLES:
        problems.append(CycleError(f"{len(backward) - _MOST_CYCLES} more edges close cycles; mend those above first"))
    return problems


def _backward_edges(children: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return the edges that lead back to where a walk in depth came from: without them there is no cycle."""
    backward: list[tuple[str, str]] = []
    seen: set[str] = set()
    for root in children:
        if root in seen:
            continue
        seen.add(root)
        path = {root: iter(children[root])}
        while path:
            here, rest = next(reversed(path.items()))
            child = next(rest, None)
            if child is None:
                del path[here]
            elif child in path:
                backward.append((here, child))
            elif child not in seen:
                seen.add(child)
                path[child] = iter(children[child])
    return backward


def _shortest_path(children: Mapping[str, Sequence[str]], first: str, last: str) -> tuple[str, ...]:
    """Return the names on a shortest path, both ends included."""
    came_from = {first: first}
    waiting = deque([first])
    while last not in came_from:
        here = waiting.popleft()
        for child in children[here]:
            if child not in came_from:
                came_from[child] = here
                waiting.append(child)
    path = [last]
    while path[-1] != first:
        path.append(came_from[path[-1]])
    return tuple(reversed(path))
