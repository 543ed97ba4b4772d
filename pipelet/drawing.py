"""Pictures of the graph: text for the ``dot`` program, SVG, and a drawing in letters."""

from __future__ import annotations

import html
import importlib
import re
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelet.core.dot import RESERVED, HtmlText, Subgraph
from pipelet.core.dottext import columns
from pipelet.core.graph import Graph

#: Segment -> name of a status (``waiting`` too) -> number of tasks.
Counts = Mapping[str, Mapping[str, int]]


class StatusStyle(NamedTuple):
    """How a status looks. The colours keep apart for colour-blind people; the sign says the same without colour."""

    sign: str
    letter: str  #: the sign where a terminal knows ASCII only
    fill: str
    line: str
    ink: str  #: for words on `fill`
    dashed: bool = False


#: In the order in which a person reads them.
STATUS_STYLES: Mapping[str, StatusStyle] = {
    "done": StatusStyle("✓", "+", "#dcf3ea", "#009e73", "#005c43"),
    "failed": StatusStyle("✗", "x", "#fde2d6", "#d55e00", "#8f3b00"),
    "running": StatusStyle("▶", ">", "#d9ecf9", "#0072b2", "#004d7a"),
    "queued": StatusStyle("…", ".", "#fdf3cc", "#c79100", "#654a00"),
    "waiting": StatusStyle("○", "?", "#efeff3", "#80808f", "#4a4a57", dashed=True),
}
_PLAIN = StatusStyle("●", "o", "#f4f6fa", "#7d8aa0", "#4a5364")

#: The first of these that a segment has gives the colour of its box.
_PRECEDENCE = ("failed", "running", "queued", "waiting", "done")

_GRAPH = {
    "rankdir": "TB",
    "bgcolor": "transparent",
    "pad": "0.15",
    "nodesep": "0.35",
    "ranksep": "0.45",
    "fontname": "Helvetica,Arial,sans-serif",
    "fontsize": "11",
    "fontcolor": "#6f7b8c",
}
_NODE = {
    "shape": "box",
    "style": "rounded,filled",
    "color": _PLAIN.line,
    "fillcolor": _PLAIN.fill,
    "fontcolor": "#1b2533",
    "fontname": "Helvetica,Arial,sans-serif",
    "fontsize": "13",
    "margin": "0.18,0.09",
    "height": "0.42",
    "penwidth": "1.4",
}
_EDGE = {
    "color": "#7d8aa0",
    "penwidth": "1.2",
    "arrowsize": "0.7",
    "fontname": "Helvetica,Arial,sans-serif",
    "fontsize": "10",
    "fontcolor": "#6f7b8c",
}
_CLUSTER = {"style": "rounded", "color": "#7d8aa0"}
_SHAPES_WITHOUT_HTML = frozenset({"record", "mrecord", "point"})

_WIDEST_DRAWING = 24
#: Of a picture of pixels: twice that of a screen, as many have now.
_DPI = "192"


def to_dot(graph: Graph, counts: Counts | None = None) -> str:
    """Return the graph in the dot language.

    Parameters
    ----------
    graph
        The graph; attributes that its string gives go before the ones given here.
    counts
        With it, each box is coloured by status and shows its numbers.

    Returns
    -------
    str
        Text that ``dot -Tpng`` takes.
    """
    return _dot_text(graph, counts, {})


def _dot_text(graph: Graph, counts: Counts | None, more: Mapping[str, str]) -> str:
    lines = [
        f"digraph {_identifier(graph.name or 'pipeline')} {{",
        f"    graph{_attribute_list({**_GRAPH, **graph.graph_attributes, **more})};",
        f"    node{_attribute_list(_NODE)};",
        f"    edge{_attribute_list(_EDGE)};",
        "",
    ]
    for segment in graph.segments:
        look = _box(segment, graph.attributes(segment), None if counts is None else counts.get(segment, {}))
        lines.append(f"    {_identifier(segment)}{_attribute_list(look)};")
    for subgraph in graph.subgraphs:
        lines.extend(_subgraph_lines(subgraph, "    "))
    lines.append("")
    for parent, child in graph.edges:
        own = _attribute_list(graph.edge_attributes(parent, child))
        lines.append(f"    {_identifier(parent)} -> {_identifier(child)}{own};")
    return "\n".join([*lines, "}", ""])


def to_svg(graph: Graph, counts: Counts | None = None) -> str | None:
    """Draw the graph as SVG with the ``dot`` program.

    Parameters
    ----------
    graph
        The graph.
    counts
        With it, each box is coloured by status and shows its numbers.

    Returns
    -------
    str or None
        An ``<svg>`` element, for a page or a notebook; ``None`` where the program is missing, or, with a warning,
        where it fails.
    """
    drawn = _drawn("svg", _dot_text(graph, counts, {}))
    if drawn is None:
        return None
    label = html.escape(f"the pipeline {', '.join(graph.segments[:20])}")
    text = drawn.decode()
    return text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def to_png(graph: Graph, counts: Counts | None = None) -> tuple[bytes, int, int] | None:
    """Draw the graph as PNG, for what shows no SVG.

    Parameters
    ----------
    graph, counts
        As for `to_svg`.

    Returns
    -------
    tuple or None
        The picture, and the width and height at which it should be shown: it has twice as many pixels each way.
        ``None`` as for `to_svg`.
    """
    drawn = _drawn("png", _dot_text(graph, counts, {"dpi": _DPI}))
    if drawn is None:
        return None
    width, height = struct.unpack(">II", drawn[16:24])
    return drawn, width // 2, height // 2


def _drawn(kind: str, text: str) -> bytes | None:
    # A run draws nothing, so it need not wait for this import.
    graphviz: Any = importlib.import_module("graphviz")
    try:
        drawn: bytes = graphviz.pipe("dot", kind, text.encode(), quiet=True)
    except graphviz.ExecutableNotFound:
        return None
    except graphviz.CalledProcessError as error:
        said = (error.stderr or b"").decode(errors="replace").strip()
        warnings.warn(f"the `dot` program could not draw the pipeline: {said or error}", RuntimeWarning, stacklevel=3)
        return None
    return drawn


def to_text(graph: Graph, counts: Counts | None = None, ascii_only: bool = False) -> str:
    """Draw the graph in letters, for terminals.

    Each segment has a line, parents above their children. A line that crosses another one passes below it.

    Parameters
    ----------
    graph
        The graph.
    counts
        With it, each segment shows a sign and its numbers.
    ascii_only
        Use no letters beyond ASCII. A graph too wide to be drawn is a list that names the parents of each segment.

    Returns
    -------
    str
        Lines without a new line at the end.
    """
    rows = list(_lanes(graph))
    width = max(len(cells) for cells, _ in rows)
    listed = width > _WIDEST_DRAWING
    if listed:
        rows, width = [([_NODE_CELL], segment) for segment in graph.order], 1
    longest = max(columns(segment) for segment in graph.segments)
    lines = []
    for cells, segment in rows:
        count = counts.get(segment, {}) if counts is not None and segment else {}
        style = _style(count)
        sign = style.letter if ascii_only else style.sign
        drawn = _row(cells, sign, _ASCII if ascii_only else _LINES)
        if segment:
            notes = [_words(count)] if counts is not None else []
            if listed and graph.parents(segment):
                notes.append(f"from {', '.join(graph.parents(segment))}")
            name = segment + " " * (longest - columns(segment))
            drawn = "  ".join([drawn.ljust(2 * width - 1), name, *notes])
        lines.append(drawn.rstrip())
    return "\n".join(lines)


# The parts of `to_dot`


def _identifier(name: str) -> str:
    plain = name.isidentifier() and name.lower() not in RESERVED
    return name if plain else _quoted(name)


def _quoted(value: str) -> str:
    if isinstance(value, HtmlText):
        return f"<{value}>"
    # A lone backslash at the end would take the quote's meaning away; the program stops at a NUL.
    odd = (len(value) - len(value.rstrip("\\"))) % 2
    return '"' + value.replace('"', '\\"').replace("\0", " ") + "\\" * odd + '"'


def _attribute_list(attributes: Mapping[str, str]) -> str:
    if not attributes:
        return ""
    return f" [{', '.join(f'{_identifier(name)}={_quoted(value)}' for name, value in attributes.items())}]"


def _box(segment: str, own: Mapping[str, str], count: Mapping[str, int] | None) -> dict[str, str]:
    """Attributes of one segment: the look of its status, below what the user gave."""
    look: dict[str, str] = {}
    if count is not None:
        style = _style(count)
        look = {"fillcolor": style.fill, "color": style.line, "tooltip": f"{segment}: {_words(count)}"}
        if style.dashed:
            look["style"] = "rounded,filled,dashed"
    look.update(own)
    if "filled" in own.get("style", "") and "color" in own and "fillcolor" not in own:
        look["fillcolor"] = own["color"]
    if count is not None:
        if own.get("shape", "").lower() in _SHAPES_WITHOUT_HTML:
            look["xlabel"] = _numbers_html(count, on_box=False)
        else:
            look["label"] = _label(segment, own.get("label", r"\N"), _numbers_html(count))
    return look


def _label(segment: str, own: str, numbers: str) -> HtmlText:
    if not isinstance(own, HtmlText):
        meanings = {"N": segment, "n": "\n", "l": "\n", "r": "\n"}
        words = re.sub(r"\\(.)", lambda match: meanings.get(match[1], match[1]), own, flags=re.DOTALL)
        own = HtmlText(f"<b>{html.escape(words).replace(chr(10), '<br/>')}</b>")
    cells = "".join(f"<tr><td>{part}</td></tr>" for part in (own, numbers))
    return HtmlText(f'<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{cells}</table>')


def _numbers_html(count: Mapping[str, int], on_box: bool = True) -> HtmlText:
    """Numbers by status, two on a line, in colours for the box or for a page that may be light or dark."""
    parts = []
    for status, number in _ordered(count):
        style = STATUS_STYLES.get(status, _PLAIN)
        sign = f"{style.sign} " if status in STATUS_STYLES else ""
        ink = style.ink if on_box else style.line
        parts.append(f'<font color="{ink}">{sign}{html.escape(_number(status, number))}</font>')
    parts = parts or [f'<font color="{_PLAIN.ink if on_box else _PLAIN.line}">no tasks</font>']
    lines = ["&#160;&#160; ".join(parts[at : at + 2]) for at in range(0, len(parts), 2)]
    return HtmlText(f'<font point-size="10">{"<br/>".join(lines)}</font>')


def _subgraph_lines(subgraph: Subgraph, indent: str) -> Iterator[str]:
    cluster = subgraph.name.startswith("cluster")
    yield f"{indent}subgraph {_identifier(subgraph.name)} {{" if subgraph.name else f"{indent}{{"
    attributes = {**(_CLUSTER if cluster else {}), **subgraph.attributes}
    yield from (f"{indent}    {_identifier(name)}={_quoted(value)};" for name, value in attributes.items())
    yield f"{indent}    {' '.join(f'{_identifier(name)};' for name in subgraph.members)}"
    for inner in subgraph.inner:
        yield from _subgraph_lines(inner, indent + "    ")
    yield f"{indent}}}"


# Words and signs of a status


def _style(count: Mapping[str, int]) -> StatusStyle:
    return next((STATUS_STYLES[status] for status in _PRECEDENCE if count.get(status)), _PLAIN)


def _ordered(count: Mapping[str, int]) -> list[tuple[str, int]]:
    known = [status for status in STATUS_STYLES if status in count]
    others = [status for status in count if status not in STATUS_STYLES]
    return [(status, count[status]) for status in (*known, *others) if count[status]]


def _number(status: str, number: int) -> str:
    # A whole segment waits: how many tasks it will have is not known yet.
    return status if status == "waiting" and number == 1 else f"{number:,} {status}"


def _words(count: Mapping[str, int]) -> str:
    return ", ".join(_number(status, number) for status, number in _ordered(count)) or "no tasks"


# The parts of `to_text`

_UP, _DOWN, _LEFT, _RIGHT = 1, 2, 4, 8
_NODE_CELL = 16
_VERTICAL, _ACROSS = _UP | _DOWN, _LEFT | _RIGHT
#: A line that runs below a vertical one.
_CROSSING = _VERTICAL | 32

_LINES = {
    0: " ",
    _VERTICAL: "│",
    _CROSSING: "│",
    _ACROSS: "─",
    _VERTICAL | _RIGHT: "├",
    _VERTICAL | _LEFT: "┤",
    _VERTICAL | _ACROSS: "┼",
    _DOWN | _RIGHT: "╭",
    _DOWN | _LEFT: "╮",
    _UP | _RIGHT: "╰",
    _UP | _LEFT: "╯",
    _DOWN | _ACROSS: "┬",
    _UP | _ACROSS: "┴",
}
_ASCII = {
    cell: {" ": " ", "│": "|", "─": "-", "╯": "'", "╰": "'", "┴": "'"}.get(line, "+") for cell, line in _LINES.items()
}
_ASCII |= {_DOWN | _LEFT: ".", _DOWN | _RIGHT: ".", _DOWN | _ACROSS: "."}


def _lanes(graph: Graph) -> Iterator[tuple[list[int], str]]:
    """Give the rows of a drawing: cells, and the segment whose row it is (an empty string between segments).

    Each edge runs down a lane of its own; a lane holds the child to which it leads.
    """
    lanes: list[str | None] = []
    ended: int | None = None
    for segment in _reading_order(graph):
        coming = [lane for lane, child in enumerate(lanes) if child == segment]
        if not coming:
            coming = [_free_lane(lanes)]
            if ended == coming[0]:
                # Right below a segment without children, this one would look like its child.
                yield [_VERTICAL if child else 0 for child in lanes], ""
        lane, *joining = coming
        lanes[lane] = segment
        if joining:
            yield _junction(lanes, lane, joining, _UP), ""
        for other in joining:
            lanes[other] = None
        yield [_NODE_CELL if at == lane else _VERTICAL if child else 0 for at, child in enumerate(lanes)], segment
        children = graph.children(segment)
        lanes[lane] = children[0] if children else None
        ended = None if children else lane
        parting = []
        for child in children[1:]:
            parting.append(_free_lane(lanes))
            lanes[parting[-1]] = child
        if parting:
            yield _junction(lanes, lane, parting, _DOWN), ""
        while lanes and lanes[-1] is None:
            lanes.pop()


def _reading_order(graph: Graph) -> Iterator[str]:
    """Give the segments, each behind its parents, and as near to them as can be: that keeps lanes short."""
    missing = {segment: len(graph.parents(segment)) for segment in graph.segments}
    ready = list(reversed(graph.roots))
    while ready:
        segment = ready.pop()
        yield segment
        for child in reversed(graph.children(segment)):
            missing[child] -= 1
            if not missing[child]:
                ready.append(child)


def _free_lane(lanes: list[str | None]) -> int:
    if None not in lanes:
        lanes.append(None)
    return lanes.index(None)


def _junction(lanes: Sequence[str | None], lane: int, others: Sequence[int], direction: int) -> list[int]:
    """Return the row in which other lanes join this one (from above) or part from it (downwards)."""
    first, last = min(lane, *others), max(lane, *others)
    cells = []
    for at, child in enumerate(lanes):
        across = (_LEFT if first < at <= last else 0) | (_RIGHT if first <= at < last else 0)
        if at == lane:
            cells.append(_VERTICAL | across)
        elif at in others:
            cells.append(direction | across)
        elif child:
            cells.append(_CROSSING | across if across else _VERTICAL)
        else:
            cells.append(across)
    return cells


def _row(cells: Sequence[int], sign: str, letters: Mapping[int, str]) -> str:
    drawn = ""
    for cell in cells:
        if cell == _NODE_CELL:
            drawn += f"{sign} "
        elif cell & _CROSSING == _CROSSING:
            drawn += letters[_VERTICAL] + letters[_ACROSS]
        else:
            drawn += letters[cell] + letters[_ACROSS if cell & _RIGHT else 0]
    return drawn.rstrip()
