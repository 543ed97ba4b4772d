"""Pictures: what they say is what the graph and the counts say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core.dot import HtmlText, parse
from pipelet.core.graph import Graph, build_graph
from pipelet.drawing import STATUS_STYLES, to_dot, to_svg, to_text

graphviz = pytest.importorskip("graphviz")

CMB = "cmb->clcmb->clplot; noise->clcmb; noise->clnoise->clplot;"
COUNTS = {
    "cmb": {"done": 1200},
    "noise": {"done": 3, "running": 2, "queued": 40},
    "clcmb": {"done": 31, "failed": 1, "queued": 0},
    "clplot": {"waiting": 1},
}

PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=18)
DAGS = PAIRS.map(lambda pairs: "".join(f"s{min(pair)} -> s{max(pair) + 1};" for pair in pairs) + "s0; s10; s11")

#: Sides that the pieces of a line are open to: below, left, right.
SIDES = {
    "│": "d", "─": "lr", "├": "dr", "┤": "dl", "┼": "dlr",
    "╭": "dr", "╮": "dl", "╰": "r", "╯": "l", "┬": "dlr", "┴": "lr", " ": "",
}  # fmt: skip
CLOSED_ABOVE = "─╭╮┬"
SIGNS = "●" + "".join(style.sign for style in STATUS_STYLES.values())


def drawn_edges(picture: str, segments: tuple[str, ...]) -> set[tuple[str, str]]:
    """Follow the lines down from each sign to the signs where they end."""
    rows = picture.split("\n")
    names = {}
    for number, row in enumerate(rows):
        words = row.split()
        name = next((word for word in words if word in segments), None)
        if name:
            names[number] = name

    def cell(row: int, column: int) -> str:
        return rows[row][column] if row < len(rows) and column < len(rows[row]) else " "

    def ends(row: int, column: int, heading: str) -> Iterator[str]:
        piece = cell(row, column)
        if row in names and piece in SIGNS:
            yield names[row]
            return
        if heading == "d" and piece in CLOSED_ABOVE:
            return
        # A line that runs below a vertical one goes straight on.
        sides = heading if heading in "lr" and piece == "│" else SIDES.get(piece, "")
        for side in sides:
            if {"l": "r", "r": "l"}.get(heading) == side:
                continue
            step = {"d": (1, 0), "l": (0, -1), "r": (0, 1)}[side]
            yield from ends(row + step[0], column + step[1], side)

    found = set()
    for number, name in names.items():
        column = min(rows[number].index(sign) for sign in SIGNS if sign in rows[number])
        found |= {(name, other) for other in ends(number + 1, column, "d")}
    return found


# In letters


@given(DAGS)
@settings(deadline=None, max_examples=300)
def test_the_lines_of_a_drawing_are_the_edges(text: str) -> None:
    graph = build_graph(text)
    picture = to_text(graph)
    if "from" not in picture:
        assert drawn_edges(picture, graph.segments) == set(graph.edges)


@given(DAGS)
@settings(deadline=None)
def test_each_segment_has_a_line_below_those_of_its_parents(text: str) -> None:
    graph = build_graph(text)
    rows = to_text(graph, ascii_only=True).split("\n")
    place = {row.split()[-1]: number for number, row in enumerate(rows) if row and row[-1].isdigit()}
    assert sorted(place) == sorted(graph.segments)
    for parent, child in graph.edges:
        assert place[parent] < place[child]


@given(DAGS)
@settings(deadline=None)
def test_a_drawing_in_ascii_is_in_ascii(text: str) -> None:
    graph = build_graph(text)
    assert to_text(graph, {segment: {"failed": 1} for segment in graph.segments}, ascii_only=True).isascii()


def test_a_drawing_in_letters() -> None:
    assert to_text(build_graph(CMB), COUNTS).split("\n") == [
        "✓      cmb      1,200 done",
        "│ ▶    noise    3 done, 2 running, 40 queued",
        "│ ├─╮",
        "├─╯ │",
        "✗   │  clcmb    31 done, 1 failed",
        "│   ●  clnoise  no tasks",
        "├───╯",
        "○      clplot   waiting",
    ]
    assert to_text(build_graph(CMB), COUNTS, ascii_only=True).split("\n") == [
        "+      cmb      1,200 done",
        "| >    noise    3 done, 2 running, 40 queued",
        "| +-.",
        "+-' |",
        "x   |  clcmb    31 done, 1 failed",
        "|   o  clnoise  no tasks",
        "+---'",
        "?      clplot   waiting",
    ]


def test_without_counts_nothing_is_said_about_tasks() -> None:
    assert to_text(build_graph("a -> b")) == "●  a\n●  b"


def test_unconnected_segments_do_not_touch() -> None:
    assert to_text(build_graph("a; b -> c")) == "●  a\n\n●  b\n●  c"


def test_a_wide_graph_is_a_list_that_names_parents() -> None:
    children = " ".join(f"c{number}" for number in range(40))
    lines = to_text(build_graph(f"a -> {{{children}}} -> z; b -> z"), {"c0": {"queued": 2}}).split("\n")
    assert len(lines) == 43
    assert lines[0] == "●  a    no tasks"
    assert "…  c0   2 queued  from a" in lines
    assert lines[-1].startswith("●  z    no tasks  from c0, c1, ")
    assert lines[-1].endswith("c39, b")


def test_names_of_wide_letters_are_aligned() -> None:
    assert to_text(build_graph("日本 -> x"), {}).split("\n") == ["●  日本  no tasks", "●  x     no tasks"]


@pytest.mark.parametrize(
    ("count", "sign"),
    [
        ({"failed": 1, "running": 1, "done": 1, "queued": 1, "waiting": 1}, "✗"),
        ({"running": 1, "done": 1, "queued": 1}, "▶"),
        ({"done": 1, "queued": 1, "waiting": 1}, "…"),
        ({"done": 1, "waiting": 1}, "○"),
        ({"done": 1, "failed": 0}, "✓"),
        ({"done": 0}, "●"),
        ({"odd": 1}, "●"),
        ({}, "●"),
    ],
)
def test_the_sign_of_a_segment_is_that_of_what_matters_most(count: dict[str, int], sign: str) -> None:
    assert to_text(build_graph("a"), {"a": count}).startswith(sign)


def test_words_for_numbers() -> None:
    picture = to_text(build_graph("a; b"), {"a": {"odd": 2, "waiting": 3, "failed": 4, "done": 5}, "x": {"done": 1}})
    assert "5 done, 4 failed, 3 waiting, 2 odd" in picture
    assert "x" not in picture


# In the dot language


@given(DAGS)
@settings(deadline=None)
def test_what_is_written_reads_back_equal(text: str) -> None:
    graph = build_graph(text)
    assert build_graph(to_dot(graph)) == graph
    assert build_graph(to_dot(graph, {"s0": {"done": 1, "failed": 2}})) == graph


VALUES = st.text(st.sampled_from(list('ab \\"<>{}[];=#/-\n&é,')), max_size=12)


def quoted(value: str) -> str:
    return '"' + re.sub(r'(\\.)|"|\\$', lambda match: match[1] or "", value, flags=re.DOTALL) + '"'


@given(VALUES, VALUES, VALUES)
@settings(deadline=None, max_examples=200)
def test_attributes_of_the_user_come_back_as_they_were(own: str, other: str, third: str) -> None:
    graph = build_graph(
        f"digraph n {{ a [x={quoted(own)}, {quoted(third + 'k')}=1]; a -> b [y={quoted(other)}]; z={quoted(third)} }}"
    )
    again = build_graph(to_dot(graph))
    assert again.attributes("a").items() >= graph.attributes("a").items()
    assert again.edge_attributes("a", "b").items() >= graph.edge_attributes("a", "b").items()
    assert again.graph_attributes.items() >= graph.graph_attributes.items()
    assert again.name == "n"


def test_names_that_dot_reserves_are_quoted() -> None:
    text = to_dot(build_graph('"node" -> "Graph"; "strict"'))
    assert '"node" -> "Graph";' in text
    assert build_graph(text).segments == ("node", "Graph", "strict")


def look(text: str, segment: str, count: dict[str, int] | None = None) -> dict[str, str]:
    graph = build_graph(text)
    return dict(parse(to_dot(graph, None if count is None else {segment: count})).nodes[segment])


def test_without_counts_all_boxes_look_alike() -> None:
    assert look("a", "a") == look("a; b", "b")
    assert "label" not in look("a", "a")


@pytest.mark.parametrize("status", list(STATUS_STYLES))
def test_a_status_is_told_by_colour_sign_and_word(status: str) -> None:
    box = look("a", "a", {status: 7})
    style = STATUS_STYLES[status]
    assert (box["fillcolor"], box["color"]) == (style.fill, style.line)
    assert f'<font color="{style.ink}">{style.sign} 7 {status}</font>' in box["label"]
    assert box["tooltip"] == f"a: 7 {status}"
    assert ("dashed" in box["style"]) == (status == "waiting")


def test_statuses_look_different() -> None:
    styles = STATUS_STYLES.values()
    for part in ("sign", "letter", "fill", "line", "ink"):
        assert len({getattr(style, part) for style in styles}) == len(styles)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("status", list(STATUS_STYLES))
def test_words_can_be_read_and_frames_be_seen_on_light_and_dark_pages(status: str) -> None:
    style = STATUS_STYLES[status]
    assert contrast(style.ink, style.fill) >= 4.5
    assert contrast(parse(to_dot(build_graph("a"))).nodes["a"]["fontcolor"], style.fill) >= 4.5
    assert contrast(style.line, "#15181d") >= 2.5
    assert contrast(style.line, "#ffffff") >= 2.5


def test_a_segment_without_tasks_says_so() -> None:
    assert "no tasks" in look("a", "a", {})["label"]
    assert "no tasks" in look("a", "a", {"done": 0})["label"]


def test_what_the_user_gave_goes_before_the_look_of_a_status() -> None:
    box = look("a [fillcolor=gold, color=navy, style=bold, tooltip=mine]", "a", {"failed": 1})
    assert [box[name] for name in ("fillcolor", "color", "style", "tooltip")] == ["gold", "navy", "bold", "mine"]
    assert look("a [style=filled, color=lightblue]", "a", {"failed": 1})["fillcolor"] == "lightblue"
    assert look("a [style=filled, color=lightblue]", "a")["fillcolor"] == "lightblue"


def test_numbers_stand_below_the_label_of_the_user() -> None:
    label = look('a [label="A \\"<x>\\"\\n& \\N\\\\"]', "a", {"done": 2})["label"]
    assert isinstance(label, HtmlText)
    assert label.index("<b>A &quot;&lt;x&gt;&quot;<br/>&amp; a\\</b>") < label.index("2 done")
    label = look("a [label=<<i>hi</i>>]", "a", {"done": 2})["label"]
    assert label.index("<td><i>hi</i></td>") < label.index("2 done")


def test_numbers_stand_beside_a_box_that_takes_no_html() -> None:
    box = look('a [shape=record, label="{x|y}"]', "a", {"done": 2})
    assert box["label"] == "{x|y}"
    assert "2 done" in box["xlabel"]
    assert STATUS_STYLES["done"].line in box["xlabel"]


def test_a_backslash_at_the_end_does_not_open_the_quotes() -> None:
    graph = build_graph("a [x=b\\]; a -> c")
    assert build_graph(to_dot(graph)).attributes("a")["x"] == "b\\\\"


def test_braces_that_matter_to_a_picture_are_written() -> None:
    graph = build_graph("a -> {b c}; subgraph cluster_x {label=X; {rank=same; b; c}; d}")
    again = build_graph(to_dot(graph))
    (outer,) = again.subgraphs
    assert (outer.name, outer.members, outer.attributes["label"]) == ("cluster_x", ("b", "c", "d"), "X")
    assert outer.inner == graph.subgraphs[0].inner


def test_a_name_given_to_the_graph_is_kept() -> None:
    assert to_dot(build_graph("digraph knights { a }")).startswith("digraph knights {")
    assert to_dot(build_graph('digraph "my knights" { a }')).startswith('digraph "my knights" {')
    assert to_dot(build_graph("a")).startswith("digraph pipeline {")


# As SVG


def test_no_program_means_no_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert to_svg(build_graph("a -> b")) is None


def test_a_program_that_fails_gives_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise graphviz.CalledProcessError(1, ["dot"], stderr=b"no plugins\n")

    monkeypatch.setattr(graphviz, "pipe", refuse)
    with pytest.warns(RuntimeWarning, match="could not draw the pipeline: no plugins"):
        assert to_svg(build_graph("a -> b")) is None


def test_an_svg_is_one_element_with_a_label(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []

    def draw(engine: str, kind: str, data: bytes, **_: object) -> bytes:
        asked.append(data)
        return b"<?xml version='1.0'?>\n<!-- x -->\n<svg width='1'></svg>\n"

    monkeypatch.setattr(graphviz, "pipe", draw)
    graph: Graph = build_graph("a -> b")
    assert to_svg(graph) == '<svg role="img" aria-label="the pipeline a, b" width=\'1\'></svg>\n'
    assert asked == [to_dot(graph).encode()]
