"""The ``dot`` program as a judge: it reads what we write, and reads a graph string as we do."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelet.core.graph import Graph, build_graph
from pipelet.drawing import STATUS_STYLES, to_dot, to_png, to_svg, to_text

pytestmark = pytest.mark.skipif(shutil.which("dot") is None, reason="the `dot` program is not installed")

COUNTS = {
    "a": {"done": 1200},
    "b": {"done": 3, "running": 2, "queued": 40, "failed": 1, "waiting": 2},
    "node": {"waiting": 1},
}

TEXTS = [
    "a -> b -> d; c -> d; c -> e;",
    "alone",
    'strict digraph "my g" { a -> {b c} -> d; a -> b /* -> x */ // y\n "node" -> a; état -> 日本 }',
    '{a b} -> c [color=red, label="x \\"y\\" \\n z"]; d -> {e -> f} [style = "dashed"]',
    "node [color=red]; a; {node [color=blue]; b -> a}; c [shape=box][label=<<b>C</b> &amp; <i>x</i>>]",
    'rankdir=LR; graph [label="T\\\\"]; subgraph cluster_x { label=box; a; {rank=same; b; c} }\n a -> b -> c',
    "a [shape=record, label=\"{x|y}\"]; b [shape=point]; a -> b [label=<<b>x</b>>]",
    'a\n->\nb\n[label="over\\\nlines"]',
]  # fmt: skip


def judged(text: str, *options: str) -> str:
    done = subprocess.run(["dot", *options], input=text, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


def asked(text: str) -> tuple[list[dict[str, object]], list[tuple[str, str]], dict[str, object]]:
    """What the program reads: the nodes, the edges, and all that it says."""
    said = json.loads(judged(text, "-Tdot_json"))
    first = said["_subgraph_cnt"]
    nodes = said["objects"][first:]
    names = {node["_gvid"]: node["name"] for node in nodes}
    edges = [(names[edge["tail"]], names[edge["head"]]) for edge in said.get("edges", [])]
    return nodes, edges, said


def assert_same(graph: Graph, text: str) -> None:
    nodes, edges, _ = asked(text)
    assert [node["name"] for node in nodes] == list(graph.segments)
    assert sorted(set(edges)) == sorted(graph.edges)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("counts", [None, COUNTS])
def test_what_we_write_is_read(text: str, counts: dict[str, dict[str, int]] | None) -> None:
    graph = build_graph(text)
    written = to_dot(graph, counts)
    assert_same(graph, written)
    plain = [line.split() for line in judged(written, "-Tplain").splitlines()]
    assert len([line for line in plain if line[0] == "node"]) == len(graph.segments)
    assert len([line for line in plain if line[0] == "edge"]) == len(graph.edges)


@pytest.mark.parametrize("text", TEXTS)
def test_a_graph_string_is_read_as_the_program_does(text: str) -> None:
    graph = build_graph(text)
    whole = text if "digraph" in text else f"digraph {{ {text} }}"
    assert_same(graph, whole)
    nodes, _, said = asked(whole)
    for node in nodes:
        own = graph.attributes(str(node["name"]))
        assert {name: node[name] for name in own} == dict(own)
    for name, value in graph.graph_attributes.items():
        assert said[name] == value
    for edge in said.get("edges", []):  # type: ignore[attr-defined]
        tail, head = nodes_by_id(nodes, edge["tail"]), nodes_by_id(nodes, edge["head"])
        own = graph.edge_attributes(tail, head)
        assert {name: edge[name] for name in own} == dict(own)


def nodes_by_id(nodes: list[dict[str, object]], number: int) -> str:
    return next(str(node["name"]) for node in nodes if node["_gvid"] == number)


PAIRS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=15)
DAGS = PAIRS.map(lambda pairs: "\n".join(f"s{min(pair)} -> s{max(pair) + 1}" for pair in pairs))


@given(DAGS)
@settings(deadline=None, max_examples=20)
def test_random_graphs_are_read_alike(text: str) -> None:
    graph = build_graph(text)
    assert_same(graph, f"digraph {{ {text} }}")
    assert_same(graph, to_dot(graph, {"s0": {"failed": 1}}))


@pytest.mark.parametrize("text", TEXTS)
def test_an_svg_shows_each_segment_and_its_numbers(text: str) -> None:
    graph = build_graph(text)
    drawn = to_svg(graph, COUNTS)
    assert drawn is not None
    assert drawn.startswith('<svg role="img"')
    root = ElementTree.fromstring(drawn)
    titles = [element.text for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert set(graph.segments) <= set(titles)
    assert {f"{parent}->{child}" for parent, child in graph.edges} <= set(titles)
    if "a" in graph and "shape=point" not in text:
        assert "1,200 done" in "".join(root.itertext())
        assert STATUS_STYLES["done"].sign in drawn


def test_an_svg_has_the_colours_of_the_statuses() -> None:
    graph = build_graph("; ".join(STATUS_STYLES))
    drawn = to_svg(graph, {status: {status: 3} for status in STATUS_STYLES})
    assert drawn is not None
    for style in STATUS_STYLES.values():
        assert style.fill in drawn
        assert style.line in drawn


def test_a_png_has_twice_the_pixels_of_its_size_and_the_colours_of_the_statuses(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = build_graph('digraph "a { b" { melt -> pour }')
    drawn, vector = to_png(graph, {"melt": {"done": 3}}), to_svg(graph, {"melt": {"done": 3}})
    assert drawn is not None
    assert vector is not None
    data, width, height = drawn
    picture = Image.open(io.BytesIO(data)).convert("RGBA")
    assert picture.size == (pytest.approx(2 * width, abs=1), pytest.approx(2 * height, abs=1))
    # points are larger than pixels of a page
    points = float(ElementTree.fromstring(vector).get("width", "").removesuffix("pt"))
    assert width == pytest.approx(points * 4 / 3, abs=2)
    colours = {f"#{red:02x}{green:02x}{blue:02x}" for _, (red, green, blue, _) in picture.getcolors(100_000)}
    assert STATUS_STYLES["done"].fill in colours
    assert STATUS_STYLES["failed"].fill not in colours
    monkeypatch.setenv("PATH", "/nowhere")
    assert to_png(graph) is None


def test_a_graph_that_the_program_refuses_gives_a_warning_and_text_remains() -> None:
    graph = build_graph("a [label=<<nonsense>x</nonsense>>]; a -> b")
    with pytest.warns(RuntimeWarning, match="could not draw"):
        assert to_svg(graph, {}) is None
    assert "a" in to_text(graph, {})


def test_a_png_can_be_made_from_the_file(tmp_path: Path) -> None:
    source = tmp_path / "pipeline.dot"
    source.write_text(to_dot(build_graph("mkgauss->convol; fftimg->convol;")), encoding="utf-8")
    subprocess.run(["dot", "-Tpng", "-o", tmp_path / "pipeline.png", source], check=True)
    assert (tmp_path / "pipeline.png").read_bytes().startswith(b"\x89PNG")
