"""The graph string: what is read, and what is said about what can't be read."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelet.core.dot import DotGraph, HtmlText, parse, read
from pipelet.core.dottext import located, suggest_name
from pipelet.errors import (
    DotSyntaxError,
    PipelineError,
    PipelineProblems,
    SegmentNameError,
    UndirectedEdgeError,
)

RESERVED = ["node", "Edge", "GRAPH", "digraph", "subgraph", "strict"]
NAMES = ["a", "b", "c1", "_d", "e_e", "état", "日本", "x" * 200, *RESERVED]


def pairs(graph: DotGraph) -> list[tuple[str, str]]:
    return [(edge.parent, edge.child) for edge in graph.edges]


def problems_of(text: str) -> list[PipelineError]:
    with pytest.raises(PipelineError) as caught:
        parse(text)
    return list(caught.value.problems) if isinstance(caught.value, PipelineProblems) else [caught.value]


# A statement is a tuple of ends, an end is a tuple of names; each is behind the one before in NAMES, so no cycle.


@st.composite
def statements(draw: st.DrawFn) -> list[list[tuple[str, ...]]]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        places = sorted(draw(st.sets(st.integers(0, len(NAMES) - 1), min_size=1, max_size=6)))
        ends: list[tuple[str, ...]] = []
        while places:
            size = draw(st.integers(1, min(3, len(places))))
            ends.append(tuple(NAMES[place] for place in places[:size]))
            places = places[size:]
        found.append(ends)
    return found


def meaning(found: list[list[tuple[str, ...]]]) -> tuple[list[str], list[tuple[str, str]]]:
    nodes: dict[str, None] = {}
    edges: dict[tuple[str, str], None] = {}
    for ends in found:
        nodes.update(dict.fromkeys(name for end in ends for name in end))
        for parents, children in pairwise(ends):
            edges.update(dict.fromkeys((parent, child) for parent in parents for child in children))
    return list(nodes), list(edges)


GAPS = st.sampled_from(["", " ", "  ", "\t", "\n", "\r\n", "/* -> */", "/* a\nb */", " // -- x\n", "# }\n", "\n\n  "])
BLANKS = st.sampled_from([" ", "\n", ";", " ; ", "/**/ ", "# z\n", "\t\n"])
ENDINGS = st.sampled_from([";", "\n", ";\n", " ;; ", "\n\n", "// end; {\n", " # end [\n", "\r\n", "\r"])


@st.composite
def spellings(draw: st.DrawFn, found: list[list[tuple[str, ...]]]) -> str:
    def named(name: str) -> str:
        quoted = name in RESERVED or draw(st.booleans())
        return f'"{name}"' if quoted else name

    def end(names: tuple[str, ...]) -> str:
        if len(names) == 1 and draw(st.booleans()):
            return named(names[0])
        inside = "".join(named(name) + draw(BLANKS) for name in names)
        return draw(st.sampled_from(["", "subgraph ", "subgraph s "])) + "{" + draw(GAPS) + inside + "}"

    text = draw(GAPS)
    for ends in found:
        text += end(ends[0])
        for other in ends[1:]:
            text += draw(GAPS) + "->" + draw(GAPS) + end(other)
        text += draw(ENDINGS)
    wrap = draw(
        st.sampled_from(["", "digraph {", "digraph g{", "strict digraph\n {", 'DiGraph "my g" {', "digraph 12 {"])
    )
    return f"{draw(GAPS)}{wrap}{text}}}{draw(GAPS)};" if wrap else text


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_every_spelling_means_the_same(data: st.DataObject) -> None:
    found = data.draw(statements())
    graph = parse(data.draw(spellings(found)))
    assert (list(graph.nodes), pairs(graph)) == meaning(found)


@given(st.data())
@settings(deadline=None, max_examples=100)
def test_places_are_where_the_names_and_arrows_stand(data: st.DataObject) -> None:
    text = data.draw(spellings(data.draw(statements())))
    graph = parse(text)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for name, (line, column) in graph.positions.items():
        assert lines[line - 1][column - 1 :].lstrip('"').startswith(name)
    for edge in graph.edges:
        assert lines[edge.line - 1][edge.column - 1 :].startswith("->")


# What can be written


def test_the_plain_example() -> None:
    graph = parse("""
    a -> b -> d;
    c -> d;
    c -> e;
    """)
    assert list(graph.nodes) == ["a", "b", "d", "c", "e"]
    assert pairs(graph) == [("a", "b"), ("b", "d"), ("c", "d"), ("c", "e")]
    assert (graph.edges[0].line, graph.edges[0].column) == (2, 7)
    assert graph.positions["e"] == (4, 10)
    assert graph.name == ""


def test_no_blanks_are_needed() -> None:
    assert pairs(parse("mkgauss->convol;fftimg->convol;")) == [("mkgauss", "convol"), ("fftimg", "convol")]


@pytest.mark.parametrize("text", ["observe", "observe;", "digraph{observe}", '"observe"\n'])
def test_a_name_alone_is_a_segment(text: str) -> None:
    graph = parse(text)
    assert list(graph.nodes) == ["observe"]
    assert graph.edges == ()


def test_no_statement_is_no_problem_here() -> None:
    assert dict(parse("// nothing\n").nodes) == {}


def test_braces_on_both_sides_and_inside_braces() -> None:
    assert pairs(parse("{a b} -> {c d -> e}")) == [
        ("d", "e"), ("a", "c"), ("a", "d"), ("a", "e"), ("b", "c"), ("b", "d"), ("b", "e"),
    ]  # fmt: skip
    assert pairs(parse("a -> {{b} {c; d}}")) == [("a", "b"), ("a", "c"), ("a", "d")]


def test_an_edge_named_twice_is_one_edge_at_its_first_place() -> None:
    graph = parse("a -> b [color=red, label=x]\na -> b [color=blue]\na -> b")
    assert [(edge.line, dict(edge.attributes)) for edge in graph.edges] == [(1, {"color": "blue", "label": "x"})]
    assert [(edge.parent, edge.child, edge.column) for edge in graph.edges] == [("a", "b", 3)]


def test_lines_go_on_where_a_statement_can_not_end() -> None:
    graph = parse("a ->\n\nb\n-> c\n[color=red,\n  style\n=\ndashed]\nd")
    assert pairs(graph) == [("a", "b"), ("b", "c")]
    assert dict(graph.edges[1].attributes) == {"color": "red", "style": "dashed"}
    assert list(graph.nodes) == ["a", "b", "c", "d"]


def test_attributes_of_each_kind() -> None:
    graph = parse(
        'rankdir=LR; graph [bgcolor=white]\n a [color=red, "pen width" = 2; x=-.5 y=#ff0000][z="q\\"\\n\\\nr"]\n'
        "a -> b -> c [w=1.5]; b [label=<<b>B</b> &gt;>]"
    )
    assert dict(graph.graph_attributes) == {"rankdir": "LR", "bgcolor": "white"}
    assert dict(graph.nodes["a"]) == {
        "color": "red", "pen width": "2", "x": "-.5", "y": "#ff0000", "z": 'q"\\nr',
    }  # fmt: skip
    assert graph.nodes["b"]["label"] == "<b>B</b> &gt;"
    assert isinstance(graph.nodes["b"]["label"], HtmlText)
    assert not isinstance(graph.nodes["a"]["color"], HtmlText)
    assert [dict(edge.attributes) for edge in graph.edges] == [{"w": "1.5"}] * 2


def test_defaults_count_for_what_comes_behind_them_up_to_the_end_of_the_braces() -> None:
    graph = parse("a; node [color=red]; edge [w=1]; b; {node [color=blue, x=1]; edge [w=2]; c -> a}; d -> b; a [y=2]")
    assert {name: dict(own) for name, own in graph.nodes.items()} == {
        "a": {"y": "2"},
        "b": {"color": "red"},
        "c": {"color": "blue", "x": "1"},
        "d": {"color": "red"},
    }
    assert [dict(edge.attributes) for edge in graph.edges] == [{"w": "2"}, {"w": "1"}]
    inside = parse("node [color=red]; edge [w=1]; {a -> b}")
    assert dict(inside.nodes["a"]) == {"color": "red"}
    assert dict(inside.edges[0].attributes) == {"w": "1"}


def test_braces_that_matter_to_a_picture_are_kept() -> None:
    graph = parse("a -> {b c}; subgraph cluster_x {label=X; {rank=same; b; c}; d}; {d e}")
    (outer,) = graph.subgraphs
    assert (outer.name, dict(outer.attributes), outer.members) == ("cluster_x", {"label": "X"}, ("b", "c", "d"))
    (inner,) = outer.inner
    assert (inner.name, dict(inner.attributes), inner.members) == ("", {"rank": "same"}, ("b", "c"))
    assert [braces.name for braces in parse("subgraph cluster_y {a}; subgraph z {b}").subgraphs] == ["cluster_y"]


def test_attributes_in_nameless_braces_are_not_those_of_the_graph() -> None:
    assert dict(parse("{rank=same; a}").graph_attributes) == {}


def test_the_name_of_the_graph() -> None:
    assert parse("digraph knights { a }").name == "knights"
    assert parse("digraph { a }").name == ""
    assert parse("graph [bgcolor=white]; a").name == ""


def test_names_are_read_in_the_form_that_python_gives_identifiers() -> None:
    assert list(parse("\ufb01t -> fit2; fit -> x").nodes) == ["fit", "fit2", "x"]


def test_a_comment_over_several_lines_ends_a_statement() -> None:
    assert list(parse("a /* x\ny */ b").nodes) == ["a", "b"]
    assert len(problems_of("a /* x y */ b")) == 1


def test_a_byte_order_mark_is_no_letter() -> None:
    assert list(parse("\ufeffa -> b").nodes) == ["a", "b"]


def test_a_comment_sign_in_quotes_is_no_comment() -> None:
    assert parse('a [label="// # /* x"]; b').nodes["a"]["label"] == "// # /* x"
    assert list(parse('a [label="// # /* x"]; b').nodes) == ["a", "b"]


def test_what_is_read_can_not_be_changed() -> None:
    graph = parse("a -> b")
    with pytest.raises(FrozenInstanceError):
        graph.name = "x"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        graph.edges[0].child = "c"  # type: ignore[misc]


# What can't be read

WRONG = [
    ("a -- b", UndirectedEdgeError, (1, 3), "write `a -> b`"),
    ("{a b} -- c", UndirectedEdgeError, (1, 7), "write `{a b} -> c`"),
    ("graph g { a -> b }", UndirectedEdgeError, (1, 1), "write `digraph`"),
    ("strict graph { a -> b }", UndirectedEdgeError, (1, 1), "write `digraph`"),
    ("a => b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a --> b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a - b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a > b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a - > b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a → b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a <-> b", DotSyntaxError, (1, 3), "write `a -> b`"),
    ("a <- b", DotSyntaxError, (1, 3), "write `b -> a`"),
    ("a <- b -> c", DotSyntaxError, (1, 3), "write `b -> a`"),
    ("x;\n  my-seg -> b", SegmentNameError, (2, 3), "write `my_seg`"),
    ('"a b"', SegmentNameError, (1, 1), "write `a_b`"),
    ("2nd", SegmentNameError, (1, 1), "write `seg_2nd`"),
    ("a.py -> b", SegmentNameError, (1, 1), "write `a`"),
    ("'a' -> b", SegmentNameError, (1, 1), "write `a`"),
    ('"" -> b', SegmentNameError, (1, 1), "write `segment`"),
    ("../up", SegmentNameError, (1, 1), "write `up`"),
    ('"a\0b\nc"', SegmentNameError, (1, 1), "write `a_b_c`"),
    ("b -> lambda", SegmentNameError, (1, 6), "keyword of Python; write another name, such as `lambda_`"),
    ("None", SegmentNameError, (1, 1), "such as `None_`"),
    ("y" * 201, SegmentNameError, (1, 1), "200 bytes"),
    ("é" * 101, SegmentNameError, (1, 1), "write a shorter name"),
    ("node -> b", DotSyntaxError, (1, 1), 'write `"node"`'),
    ("a -> Edge", DotSyntaxError, (1, 6), 'write `"Edge"`'),
    ("a; digraph { b }", DotSyntaxError, (1, 4), "only at the start"),
    ("digraph my graph {a}", DotSyntaxError, (1, 1), "write `digraph name {`"),
    ("subgraph x; a", DotSyntaxError, (1, 1), "write `subgraph name { a b }`"),
    ("a ->", DotSyntaxError, (1, 3), "leads nowhere; write a segment's name behind `->`"),
    ("a -> ; b", DotSyntaxError, (1, 3), "leads nowhere"),
    ("a -> -> b", DotSyntaxError, (1, 3), "leads nowhere"),
    ("-> b", DotSyntaxError, (1, 1), "comes from nowhere; write a segment's name before `->`"),
    ("a b", DotSyntaxError, (1, 3), "write `a -> b` for an edge, `a; b` for two segments, or `a_b` for one"),
    ("a, b", DotSyntaxError, (1, 2), "write `;` between statements, and `{a b}`"),
    ("a -> {b, c}", DotSyntaxError, (1, 8), "no comma"),
    ("a:n -> b", DotSyntaxError, (1, 2), "no ports; leave `:n` out"),
    ("a -> b:", DotSyntaxError, (1, 7), "no ports; leave `:` out"),
    ("a -> {}", DotSyntaxError, (1, 6), "write names there"),
    ("a -> b}", DotSyntaxError, (1, 7), "closes nothing"),
    ("digraph {\na -> b", DotSyntaxError, (1, 9), "never closed; write `}`"),
    ("a -> {b\nc", DotSyntaxError, (1, 6), "never closed; write `}`"),
    ("a b {c\nd", DotSyntaxError, (1, 3), "right behind"),
    ("digraph {a} b", DotSyntaxError, (1, 13), "behind the end of the graph"),
    ("a [color=red\nb -> c", DotSyntaxError, (1, 3), "write `]`"),
    ("digraph {a [color=red; b}", DotSyntaxError, (1, 12), "write `]`"),
    ("a [color=red] b", DotSyntaxError, (1, 15), "`b` can't stand here"),
    ("a [bold]", DotSyntaxError, (1, 4), "write `bold=true`"),
    ("a [color=]", DotSyntaxError, (1, 9), 'write `color="..."`'),
    ("a [=red, x=1]", DotSyntaxError, (1, 4), "write attributes as `[color=red]`"),
    ("color = ;", DotSyntaxError, (1, 7), 'write `color="..."`'),
    ("{a b} [color=red]", DotSyntaxError, (1, 7), "write `node [...]` inside"),
    ("subgraph {a b} [color=red]", DotSyntaxError, (1, 16), "write `node [...]` inside"),
    ("a -> b -- c", UndirectedEdgeError, (1, 8), "write `b -> c`"),
    ("a; strict b", DotSyntaxError, (1, 4), "only at the start"),
    ("a [x=1", DotSyntaxError, (1, 3), "write `]`"),
    ("a [x", DotSyntaxError, (1, 3), "write `]`"),
    ("a [[x=1]]", DotSyntaxError, (1, 3), "write `]`"),
    ("a [{b", DotSyntaxError, (1, 3), "write `]`"),
    ("{a [x=1 }; b", DotSyntaxError, (1, 4), "write `]`"),
    ("a [x {b", DotSyntaxError, (1, 3), "write `]`"),
    ("a [=red]\nb", DotSyntaxError, (1, 4), "write attributes as `[color=red]`"),
    ("[color=red]", DotSyntaxError, (1, 1), "`[` can't stand here"),
    ("a -> b /* c", DotSyntaxError, (1, 8), "write `*/`"),
    ('a -> "b', DotSyntaxError, (1, 6), 'write `"b"`'),
    ("{" * 60 + "a" + "}" * 60, DotSyntaxError, (1, 51), "more than 50 deep"),
]


@pytest.mark.parametrize(("text", "kind", "place", "words"), WRONG)
def test_a_problem_says_where_and_what_to_write(
    text: str, kind: type[PipelineError], place: tuple[int, int], words: str
) -> None:
    problem = problems_of(text)[0]
    assert type(problem) is kind
    line, column = place
    head, shown, caret = str(problem).split("\n")
    assert head.startswith(f"line {line}, column {column}: ")
    assert words in head
    if isinstance(problem, DotSyntaxError):
        assert (problem.line, problem.column) == place
    source = text.split("\n")[line - 1]
    assert caret.strip() == "^"
    if source.isascii() and source.isprintable() and len(source) <= 100:
        assert shown == "    " + source
        assert caret.index("^") == 4 + column - 1


SINGLE = [text for text, *_ in WRONG if text != "a b {c\nd"]


@pytest.mark.parametrize("text", SINGLE)
def test_one_mistake_is_one_problem(text: str) -> None:
    assert len(problems_of(text)) == 1


def test_all_problems_are_told_at_once_in_the_order_of_the_text() -> None:
    text = "a -- b;\nmy-seg -> b;\nok -> fine\nb ->;\n'x y' [color]; return\na -> {b c; d:e}\n/* no end"
    heads = [str(problem).split(": ")[0] for problem in problems_of(text)]
    assert heads == [
        "line 1, column 3", "line 2, column 1", "line 4, column 3", "line 5, column 1", "line 5, column 4",
        "line 5, column 16", "line 6, column 13", "line 7, column 1",
    ]  # fmt: skip


def test_a_bad_name_is_told_once() -> None:
    assert len(problems_of("a-b -> c; a-b -> d; e -> a-b")) == 1


def test_reading_goes_on_behind_a_bad_statement() -> None:
    heads = [str(problem).split(": ")[0] for problem in problems_of("a b {c d}; e -- f\ng [x y] ; h -> \ni -- j")]
    assert heads == [
        "line 1, column 3", "line 1, column 14", "line 2, column 4", "line 2, column 6", "line 3, column 3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("a [=red, =blue; =green\n=white]", [(1, 4), (1, 10), (1, 17), (2, 1)]),
        ("a [=red", [(1, 3), (1, 4)]),
        ("a [x=1; y -- z\nb -- c", [(1, 3), (2, 3)]),
    ],
)
def test_reading_goes_on_behind_a_bad_attribute(text: str, places: list[tuple[int, int]]) -> None:
    heads = [str(problem).split(": ")[0] for problem in problems_of(text)]
    assert heads == [f"line {line}, column {column}" for line, column in places]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digraph {a", "this brace is never closed; write `}` at the end"),
        ("{a", "this brace is never closed; write `}` behind the last name in it"),
        ("a, b {c", "this brace is never closed; write `}` behind the last name in it"),
        ("graph {a}", "a pipeline is a directed graph; write `digraph` instead of `graph`"),
        ("a}", "this brace closes nothing; leave it out"),
        ("a []] b", "`]` can't stand here; write `;` or a new line before it, or `->` for an edge"),
        ("a:", "segments have no ports; leave `:` out"),
        ("a [x=1;", "this bracket is never closed; write `]` behind the last attribute"),
        ("a, b", "no comma here; write `;` between statements, and `{a b}` for several segments"),
        ("{a} [x=1]", "braces take no attributes; write `node [...]` inside them"),
        ("subgraph x; a", "`subgraph` needs braces; write `subgraph name { a b }`"),
        ("a -> {}", "no segment between these braces; write names there, such as `{a b}`"),
        ("a [x=1", "this bracket is never closed; write `]` behind the last attribute"),
        ("a /* b", "this comment is never closed; write `*/` at its end"),
        (
            "y" * 201,
            f"`{'y' * 40}...{'y' * 15}` has more than 200 bytes, too many for the name of a directory; "
            "write a shorter name",
        ),
        (f"{'x' * 44}-{'y' * 15}", f"`{'x' * 44}-{'y' * 15}` is no Python identifier; write `{'x' * 44}_{'y' * 5}`"),
        (f"{'x' * 45}-{'y' * 15}", f"`{'x' * 40}...{'y' * 15}` is no Python identifier; write `{'x' * 45}_{'y' * 4}`"),
    ],
)
def test_a_message_is_a_sentence(text: str, message: str) -> None:
    assert str(problems_of(text)[-1]).split("\n")[0].split(": ", 1)[1] == message


def test_a_long_line_is_cut_around_the_place() -> None:
    text = "a;" * 300 + "b -- c;" + "d;" * 300
    head, shown, caret = str(problems_of(text)[0]).split("\n")
    assert head.startswith("line 1, column 603: ")
    # A hundred letters, the place in their middle.
    assert shown == f"    ...{text[552:652]}..."
    assert shown[caret.index("^") :].startswith("-- c;")
    text = "a;" * 300 + "b -- c"
    _, shown, caret = str(problems_of(text)[0]).split("\n")
    assert shown == f"    ...{text[-100:]}"
    assert shown[caret.index("^") :] == "-- c"


def test_the_caret_counts_wide_letters_and_tabs() -> None:
    _, shown, caret = str(problems_of("日本\t--\tb")[0]).split("\n")
    assert shown == "    日本 -- b"
    assert caret == "    " + " " * 5 + "^"
    assert located("e\u0301 -- b", 1, 4, "x").endswith("\n      ^")


PIECES = [*"ab_1 \n\t;,:=[]{}<>-\"'\\/*#.é", " -> ", "--", "node", "digraph ", "subgraph "]
LETTERS = st.lists(st.sampled_from(PIECES)).map("".join)


@given(st.one_of(LETTERS, st.text()))
@settings(deadline=None, max_examples=500)
@example("digraph")
@example("strict")
@example("subgraph")
@example("{" * 5000)
@example("a [" * 2000)
@example("a [{")
@example("[[")
@example("a" + "\\")
def test_any_text_is_read_or_refused_with_places(text: str) -> None:
    graph, problems = read(text)
    if not problems:
        assert parse(text) == graph
        return
    assert problems_of(text)
    for problem in problems:
        head, _, caret = str(problem).split("\n")
        assert head.startswith("line ")
        assert caret.strip() == "^"


@given(st.text(min_size=1))
@settings(deadline=None)
@example("__")
@example("'for'")
@example("²")
@example("_-_")
@example("x" * 500)
def test_a_suggested_name_is_a_good_name(name: str) -> None:
    suggested = suggest_name(name)
    graph = parse(f'"{suggested}"')
    assert len(graph.nodes) == 1


def test_suggested_names_keep_what_they_can() -> None:
    assert [suggest_name(name) for name in ["_my-seg", "f(x)", "a--b", "a.b.py", "class", "`x`"]] == [
        "_my_seg", "f_x", "a_b", "a_b", "class_", "x",
    ]  # fmt: skip
    assert [suggest_name(name) for name in ["'a.py'", "Xray-1", "_a-", "_aX-", "my-X", "é" * 60 + "-"]] == [
        "a", "Xray_1", "_a", "_aX", "my_X", "é" * 50,
    ]  # fmt: skip
