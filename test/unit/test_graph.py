"""The graph: who comes before whom, and which graphs are refused."""

from __future__ import annotations

import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core.graph import Graph, build_graph
from pipelet.errors import (
    CycleError,
    DotSyntaxError,
    EmptyGraphError,
    PipelineError,
    PipelineProblems,
    SegmentNameError,
    UndirectedEdgeError,
    UnknownSegmentError,
)

CMB = "cmb->clcmb->clplot; noise->clcmb; noise->clnoise->clplot; alone"

Pairs = list[tuple[int, int]]


def problems_of(text: str) -> list[PipelineError]:
    with pytest.raises(PipelineError) as caught:
        build_graph(text)
    return list(caught.value.problems) if isinstance(caught.value, PipelineProblems) else [caught.value]


def spelled(edges: Pairs) -> str:
    return "".join(f"s{parent} -> s{child};" for parent, child in edges)


#: Edges between numbers, in any order; from the smaller to the larger in DAGS.
EDGES = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25)
DAGS = EDGES.map(lambda edges: [(min(pair), max(pair) + 1) for pair in edges])


def reachable(edges: Pairs) -> set[tuple[int, int]]:
    """All pairs with a path from the first to the second."""
    paths = set(edges)
    while more := {(a, d) for a, b in paths for c, d in paths if b == c} - paths:
        paths |= more
    return paths


def test_the_answers_for_a_small_graph() -> None:
    graph = build_graph(CMB)
    assert graph.segments == ("cmb", "clcmb", "clplot", "noise", "clnoise", "alone")
    assert graph.parents("clcmb") == ("cmb", "noise")
    assert graph.parents("clplot") == ("clcmb", "clnoise")
    assert graph.children("noise") == ("clcmb", "clnoise")
    assert graph.ancestors("clplot") == ("clcmb", "clnoise", "cmb", "noise")
    assert graph.descendants("noise") == ("clcmb", "clnoise", "clplot")
    assert graph.roots == ("cmb", "noise", "alone")
    assert graph.order == ("cmb", "noise", "alone", "clcmb", "clnoise", "clplot")
    assert graph.edges == (
        ("cmb", "clcmb"), ("clcmb", "clplot"), ("noise", "clcmb"), ("noise", "clnoise"), ("clnoise", "clplot"),
    )  # fmt: skip
    assert graph.ancestors("alone") == graph.descendants("alone") == graph.parents("alone") == ()
    assert list(graph) == list(graph.segments)
    assert len(graph) == 6


def test_the_first_edge_decides_the_first_parent() -> None:
    assert build_graph("a; b; b -> c; a -> c; b -> c").parents("c") == ("b", "a")
    assert build_graph("{b a} -> c").parents("c") == ("b", "a")


def test_the_nearest_ancestor_comes_first() -> None:
    graph = build_graph("a -> b -> c -> d; a -> d; x -> c")
    assert graph.ancestors("d") == ("c", "a", "b", "x")
    assert graph.descendants("a") == ("b", "d", "c")


@given(DAGS)
@settings(deadline=None)
def test_answers_agree_with_the_edges(edges: Pairs) -> None:
    graph = build_graph(spelled(edges))
    edges = list(dict.fromkeys(edges))
    paths = reachable(edges)
    assert set(graph.segments) == {f"s{number}" for pair in edges for number in pair}
    assert sorted(graph.order) == sorted(graph.segments)
    place = {segment: number for number, segment in enumerate(graph.order)}
    for parent, child in edges:
        assert place[f"s{parent}"] < place[f"s{child}"]
    for segment in graph.segments:
        number = int(segment[1:])
        assert graph.parents(segment) == tuple(f"s{a}" for a, b in edges if b == number)
        assert graph.children(segment) == tuple(f"s{b}" for a, b in edges if a == number)
        assert sorted(graph.ancestors(segment)) == sorted(f"s{a}" for a, b in paths if b == number)
        assert sorted(graph.descendants(segment)) == sorted(f"s{b}" for a, b in paths if a == number)
        assert (segment in graph.roots) == (not graph.parents(segment))
    assert graph.roots == tuple(segment for segment in graph.segments if segment in graph.roots)


@given(DAGS)
@settings(deadline=None)
def test_a_pickled_graph_comes_back_equal(edges: Pairs) -> None:
    graph = build_graph(spelled(edges) + "s1 [color=red]; rankdir=LR; subgraph cluster_a {s1}")
    again = pickle.loads(pickle.dumps(graph))
    assert again == graph
    assert hash(again) == hash(graph)
    assert again.order == graph.order
    assert again.attributes("s1") == graph.attributes("s1") == {"color": "red"}
    assert again.graph_attributes == {"rankdir": "LR"}
    assert again.subgraphs == graph.subgraphs


def test_equality() -> None:
    graph = build_graph("a -> b; c -> b")
    assert graph == build_graph("digraph x { a->b\n c -> b [color=red] }")
    assert hash(graph) == hash(build_graph("a -> b; c -> b;"))
    assert graph != build_graph("c -> b; a -> b")
    assert graph != build_graph("a -> b; c -> b; d")
    assert graph != build_graph("a -> b; a -> c")
    assert graph != "a -> b; c -> b"
    assert hash(graph) != hash(build_graph("a -> b; a -> c"))


def test_membership_and_repr() -> None:
    graph = build_graph("a -> b; z")
    assert "a" in graph
    assert "A" not in graph
    assert 1 not in graph
    assert repr(graph) == "Graph(a -> b; z)"


def test_attributes_can_be_read_but_not_changed() -> None:
    graph = build_graph("a [color=red]; a -> b [style=dashed]; rankdir=LR")
    assert graph.attributes("a") == {"color": "red"}
    assert graph.attributes("b") == {}
    assert graph.edge_attributes("a", "b") == {"style": "dashed"}
    assert graph.graph_attributes == {"rankdir": "LR"}
    for mapping in (graph.attributes("a"), graph.edge_attributes("a", "b"), graph.graph_attributes):
        with pytest.raises(TypeError):
            mapping["x"] = "y"  # type: ignore[index]
    with pytest.raises(AttributeError):
        graph.segments = ()  # type: ignore[misc]


def test_the_nearest_name() -> None:
    graph = build_graph("knights -> melt; quality -> melt")
    assert graph.nearest("knigths") == "knights"
    assert graph.nearest("MELT") == "melt"
    assert graph.nearest("fourier") is None


def test_an_unknown_segment_is_refused_with_a_hint() -> None:
    graph = build_graph("knights -> melt; quality -> melt")
    for ask in (graph.parents, graph.children, graph.ancestors, graph.descendants, graph.attributes):
        with pytest.raises(UnknownSegmentError, match="no segment `mlet`; did you mean `melt`"):
            ask("mlet")
        with pytest.raises(UnknownSegmentError, match=r"its segments are knights, melt, quality$"):
            ask("fourier")
    with pytest.raises(UnknownSegmentError, match="no edge `melt -> knights`"):
        graph.edge_attributes("melt", "knights")


def test_a_long_list_of_segments_is_cut() -> None:
    graph = build_graph(";".join(f"s{number}" for number in range(50)))
    with pytest.raises(UnknownSegmentError, match=r"s19, \.\.\.$"):
        graph.parents("fourier")
    graph = build_graph(";".join(f"s{number}" for number in range(20)))
    with pytest.raises(UnknownSegmentError, match=r"s19$"):
        graph.parents("fourier")


# Refused graphs


@pytest.mark.parametrize("text", ["", " \n", ";;", "// a -> b", "digraph {}", "digraph x { rankdir=LR }"])
def test_an_empty_graph_is_refused(text: str) -> None:
    (problem,) = problems_of(text)
    assert isinstance(problem, EmptyGraphError)
    assert str(problem) == "the graph string names no segment; write at least one, such as `a -> b;`"


@pytest.mark.parametrize(
    ("text", "whole", "place"),
    [
        ("a -> b; b -> a", "a -> b -> a", (1, 11)),
        ("a -> a", "a -> a", (1, 3)),
        ("x -> b -> c;\nc -> d -> b", "b -> c -> d -> b", (2, 8)),
        ("c -> a; a -> b -> c", "c -> a -> b -> c", (1, 16)),
        ("a -> b -> c -> d -> a; b -> d", "a -> b -> d -> a", (1, 18)),
        ("r; c; r -> b; b -> c; c -> b", "c -> b -> c", (1, 17)),
    ],
)
def test_a_cycle_is_named_whole_at_the_edge_that_closes_it(text: str, whole: str, place: tuple[int, int]) -> None:
    problem = problems_of(text)[0]
    assert isinstance(problem, CycleError)
    head, shown, caret = str(problem).split("\n")
    line, column = place
    assert head.startswith(f"line {line}, column {column}: `{whole}` is a cycle")
    assert shown == "    " + text.split("\n")[line - 1]
    assert caret.index("^") == 4 + column - 1
    edge = " -> ".join(whole.split(" -> ")[-2:])
    hint = f"leave out one of these edges, such as `{edge}`" if whole != "a -> a" else "leave this edge out"
    assert head.endswith(hint)


def test_every_cycle_is_told_beside_the_other_problems() -> None:
    kinds = [type(problem) for problem in problems_of("a->b; b->a\nc->d->c; my-x -> return\nc -- a ->")]
    assert kinds == [SegmentNameError, SegmentNameError, UndirectedEdgeError, DotSyntaxError, CycleError, CycleError]


def test_a_cycle_through_a_wrong_edge_is_seen() -> None:
    assert [type(problem) for problem in problems_of("a -- b; b -> a")] == [UndirectedEdgeError, CycleError]


def test_very_many_cycles_are_counted() -> None:
    names = " ".join(f"s{number}" for number in range(12))
    problems = problems_of(f"{{{names}}} -> {{{names}}}")
    assert all(isinstance(problem, CycleError) for problem in problems)
    assert len(problems) <= 21
    # A walk through all 12 goes back along 66 edges, and each has an edge to itself.
    assert str(problems[-1]).startswith("58 more edges close cycles")
    own = "".join(f"s{number} -> s{number};" for number in range(20))
    assert len(problems_of(own)) == 20
    assert len(problems_of(f"{own} last -> s0")) == 20


@given(EDGES)
@settings(deadline=None, max_examples=200)
def test_cycles_are_found_where_there_are_any(edges: Pairs) -> None:
    in_circle = {number for number, other in reachable(edges) if number == other}
    if not in_circle:
        assert isinstance(build_graph(spelled(edges)), Graph)
        return
    problems = problems_of(spelled(edges))
    left = set(edges)
    for problem in problems:
        assert isinstance(problem, CycleError)
        if "`" not in str(problem):
            return
        walk = [int(name[1:]) for name in str(problem).split("`")[1].split(" -> ")]
        assert walk[0] == walk[-1]
        assert len(set(walk)) == len(walk) - 1
        assert set(pairwise(walk)) <= set(edges)
        left -= set(pairwise(walk))
    # Mending all that was told leaves no cycle untold.
    assert all(number != other for number, other in reachable(sorted(left)))


def test_a_long_chain_needs_no_deep_stack() -> None:
    chain = "->".join(f"s{number}" for number in range(5000))
    assert len(build_graph(chain).ancestors("s4999")) == 4999
    (problem,) = problems_of(chain + "-> s0")
    assert isinstance(problem, CycleError)
