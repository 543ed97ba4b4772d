"""The graph string: a subset of the dot language, read into a `DotGraph`.

A text is cut into tokens by one regular expression, and read by a parser with a method for each rule. What is wrong
is noted, and reading goes on at the next statement, so that all the problems of a text are told at once.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelet.core.dottext import DotText, located, name_problem, printable, shortened, suggest_name
from pipelet.errors import DotSyntaxError, PipelineError, SegmentNameError, UndirectedEdgeError, raise_problems

#: Words that dot keeps for itself, in any case of letters, unless they are quoted.
RESERVED = frozenset({"strict", "graph", "digraph", "node", "edge", "subgraph"})

_DEEPEST_BRACES = 50
_NAMES = frozenset({"word", "quoted"})
_ARROWS = frozenset({"arrow", "undirected", "slip"})
_STOPS = frozenset({"newline", ";", "}", "end"})


class HtmlText(str):
    """The inside of a label that was written between ``<`` and ``>`` instead of quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class Edge:
    """One edge, at the place of its first arrow in the text."""

    parent: str
    child: str
    line: int
    column: int
    attributes: Mapping[str, str]


@dataclass(frozen=True)
class Subgraph:
    """Braces that mean something to a picture: a ``cluster``, or segments that share a rank."""

    name: str
    attributes: Mapping[str, str]
    members: tuple[str, ...]
    inner: tuple[Subgraph, ...] = ()


@dataclass(frozen=True)
class DotGraph:
    """What a graph string says, in the order in which it says it.

    Attributes
    ----------
    name
        The name behind ``digraph``, or an empty string.
    nodes
        Name of each segment, in the order of first naming, and its attributes (defaults of ``node [...]`` included).
    edges
        Each edge once, in the order of first naming.
    graph_attributes
        Of the graph itself: ``rankdir=LR`` and ``graph [...]``.
    positions
        Line and column of the first naming of each segment.
    subgraphs
        The braces that matter to a picture.
    """

    name: str
    nodes: Mapping[str, Mapping[str, str]]
    edges: tuple[Edge, ...]
    graph_attributes: Mapping[str, str]
    positions: Mapping[str, tuple[int, int]]
    subgraphs: tuple[Subgraph, ...] = ()


def parse(text: str) -> DotGraph:
    """Read a graph string.

    Parameters
    ----------
    text
        Statements such as ``a -> b -> c``, with or without ``digraph name { }`` around them.

    Returns
    -------
    DotGraph
        The segments, edges and attributes; cycles are not looked for.

    Raises
    ------
    PipelineError
        `DotSyntaxError`, `UndirectedEdgeError` or `SegmentNameError`; `PipelineProblems` if there are several.
    """
    graph, problems = read(text)
    raise_problems(problems)
    return graph


def read(text: str) -> tuple[DotGraph, list[PipelineError]]:
    """Read a graph string like `parse`, but return the problems instead of raising them.

    Parameters
    ----------
    text
        The graph string.

    Returns
    -------
    tuple of DotGraph and list of PipelineError
        What could be read, and what is wrong, in the order of the text.
    """
    reader = _Reader(text)
    graph = reader.graph()
    return graph, [problem for _, problem in sorted(reader.problems, key=lambda pair: pair[0])]


@dataclass
class _Scope:
    """What braces hold: their own attributes, the defaults that count inside, and the segments named there."""

    name: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    node: dict[str, str] = field(default_factory=dict)
    edge: dict[str, str] = field(default_factory=dict)
    members: dict[str, None] = field(default_factory=dict)
    inner: list[Subgraph] = field(default_factory=list)


class _SkipStatement(Exception):
    """The rest of a statement makes no sense; the problem has been noted."""


class _Reader:
    """One reading of one text."""

    def __init__(self, text: str) -> None:
        self.text = DotText(text)
        self.kinds, self.values, self.offsets = self.text.kinds, self.text.values, self.text.offsets
        self.problems: list[tuple[int, PipelineError]] = []
        for offset, message in self.text.problems:
            self.problem(offset, message)
        self.at = 0
        self.nodes: dict[str, dict[str, str]] = {}
        self.edges: dict[tuple[str, str], Edge] = {}
        self.positions: dict[str, tuple[int, int]] = {}
        self.scopes = [_Scope()]

    def problem(self, offset: int, message: str, kind: type[PipelineError] = DotSyntaxError) -> None:
        line, column = self.text.place(offset)
        words = located(self.text.lines[line - 1], line, column, printable(message))
        self.problems.append((offset, kind(words, line, column) if issubclass(kind, DotSyntaxError) else kind(words)))

    def fail(self, offset: int, message: str) -> _SkipStatement:
        self.problem(offset, message)
        return _SkipStatement()

    def after_newlines(self, at: int) -> int:
        while self.kinds[at] == "newline":
            at += 1
        return at

    def is_word(self, at: int, *words: str) -> bool:
        return self.kinds[at] == "word" and self.values[at].lower() in words

    # rules

    def graph(self) -> DotGraph:
        name, opened = self._header()
        self._statements(nested=False, closing=opened is not None)
        if opened is not None:
            if self.kinds[self.at] == "end":
                self.problem(opened, "this brace is never closed; write `}` at the end")
            else:
                self.at = self.after_newlines(self.at + 1)
                while self.kinds[self.at] == ";":
                    self.at = self.after_newlines(self.at + 1)
                if self.kinds[self.at] != "end":
                    self.problem(
                        self.offsets[self.at],
                        f"`{self.values[self.at]}` stands behind the end of the graph; write it before the last `}}`",
                    )
        top = self.scopes[0]
        return DotGraph(name, self.nodes, tuple(self.edges.values()), top.attributes, self.positions, tuple(top.inner))

    def _header(self) -> tuple[str, int | None]:
        """Read ``strict digraph name {``; the second item is the place of the brace, ``None`` without a header."""
        at = self.after_newlines(0)
        start = at
        if self.is_word(at, "strict"):
            at = self.after_newlines(at + 1)
        if not self.is_word(at, "digraph", "graph"):
            return "", None
        following = self.after_newlines(at + 1)
        name = ""
        if self.kinds[following] in _NAMES:
            name = self.values[following]
            following = self.after_newlines(following + 1)
        if self.kinds[following] != "{":
            return "", None
        if self.is_word(at, "graph"):
            self.problem(
                self.offsets[start],
                "a pipeline is a directed graph; write `digraph` instead of `graph`",
                UndirectedEdgeError,
            )
        self.at = following + 1
        return name, self.offsets[following]

    def _statements(self, nested: bool, closing: bool) -> None:
        """Read statements to the end, or to the brace that closes them, which is left to the caller."""
        while True:
            kind = self.kinds[self.at]
            if kind in ("newline", ";"):
                self.at += 1
            elif kind == "end" or (kind == "}" and closing):
                return
            elif kind == "}":
                self.problem(self.offsets[self.at], "this brace closes nothing; leave it out")
                self.at += 1
            else:
                try:
                    self._statement()
                    self._separator(nested)
                except _SkipStatement:
                    self._recover()

    def _separator(self, nested: bool) -> None:
        kind, value = self.kinds[self.at], self.values[self.at]
        if kind in _STOPS or (nested and kind in ("word", "quoted", "{")):
            return
        offset = self.offsets[self.at]
        if kind == ",":
            raise self.fail(offset, "no comma here; write `;` between statements, and `{a b}` for several segments")
        if kind == ":":
            port = self.values[self.at + 1] if self.kinds[self.at + 1] in _NAMES else ""
            raise self.fail(offset, f"segments have no ports; leave `:{port}` out")
        before, value = shortened(self.values[self.at - 1]), shortened(value)
        if kind in _NAMES and self.kinds[self.at - 1] in _NAMES:
            raise self.fail(
                offset,
                f"`{value}` stands right behind `{before}`; write `{before} -> {value}` for an edge, "
                f"`{before}; {value}` for two segments, or `{suggest_name(f'{before}_{value}')}` for one",
            )
        raise self.fail(offset, f"`{value}` can't stand here; write `;` or a new line before it, or `->` for an edge")

    def _recover(self) -> None:
        """Go to the end of a statement that could not be read, over braces that belong to it."""
        opened: list[int] = []
        while self.kinds[self.at] != "end":
            kind = self.kinds[self.at]
            if not opened and kind in _STOPS:
                return
            if kind == "{":
                opened.append(self.offsets[self.at])
            elif kind == "}":
                opened.pop()
            self.at += 1
        for offset in opened:
            self.problem(offset, "this brace is never closed; write `}` behind the last name in it")

    def _statement(self) -> None:
        kind, value = self.kinds[self.at], self.values[self.at]
        scope = self.scopes[-1]
        following = self.after_newlines(self.at + 1)
        if kind == "word" and value.lower() in ("graph", "node", "edge") and self.kinds[following] == "[":
            self.at = following
            target = {"graph": scope.attributes, "node": scope.node, "edge": scope.edge}[value.lower()]
            target.update(self._attributes())
        elif kind in _NAMES and self.kinds[following] == "=":
            self.at = following + 1
            scope.attributes[value] = self._value(value)
        else:
            self._chain()

    def _chain(self) -> None:
        """Read ``a``, ``a -> b -> c`` or ``{a b} -> c``, with the attributes behind it."""
        single = self.kinds[self.at] != "{" and not self.is_word(self.at, "subgraph")
        ends = [self._endpoint("before")]
        arrows: list[int] = []
        while self.kinds[arrow := self.after_newlines(self.at)] in _ARROWS:
            self.at = self.after_newlines(arrow + 1)
            ends.append(self._endpoint("behind", arrow))
            arrows.append(arrow)
            if self.kinds[arrow] != "arrow":
                self._wrong_arrow(arrow, ends[-2], ends[-1])
        own: dict[str, str] = {}
        while self.kinds[opened := self.after_newlines(self.at)] == "[":
            self.at = opened
            own.update(self._attributes())
            if not arrows and not single:
                self.problem(self.offsets[opened], "braces take no attributes; write `node [...]` inside them")
        if not arrows:
            for name in ends[0]:
                self.nodes[name].update(own)
        for arrow, parents, children in zip(arrows, ends[:-1], ends[1:], strict=True):
            line, column = self.text.place(self.offsets[arrow])
            for parent in parents:
                for child in children:
                    self._edge(parent, child, line, column, own)

    def _edge(self, parent: str, child: str, line: int, column: int, own: Mapping[str, str]) -> None:
        known = self.edges.get((parent, child))
        if known is None:
            self.edges[parent, child] = Edge(parent, child, line, column, {**self.scopes[-1].edge, **own})
        elif own:
            self.edges[parent, child] = Edge(parent, child, known.line, known.column, {**known.attributes, **own})

    def _wrong_arrow(self, arrow: int, parents: Sequence[str], children: Sequence[str]) -> None:
        left, right = _braced(parents), _braced(children)
        value, offset = self.values[arrow], self.offsets[arrow]
        if value == "--":
            self.problem(
                offset, f"`{left} -- {right}` has no direction; write `{left} -> {right}`", UndirectedEdgeError
            )
        elif value.startswith("<") and not value.endswith(">"):
            self.problem(offset, f"an edge goes from left to right; write `{right} -> {left}`")
        else:
            self.problem(offset, f"`{value}` is no edge; write `{left} -> {right}`")

    def _endpoint(self, side: str, arrow: int | None = None) -> tuple[str, ...]:
        """Read one end of an edge: a name or braces."""
        kind, value, offset = self.kinds[self.at], self.values[self.at], self.offsets[self.at]
        if kind == "{" or (kind == "word" and value.lower() == "subgraph"):
            return self._braces()
        if kind == "quoted" or (kind == "word" and value.lower() not in RESERVED):
            self.at += 1
            return (self._node(value, offset),)
        if kind == "word" and value.lower() in ("strict", "digraph"):
            raise self.fail(offset, f"`{value}` stands only at the start; write `digraph name {{` there")
        if kind == "word":
            raise self.fail(
                offset, f'`{value}` is a word of the dot language; write `"{value}"` if it is the name of a segment'
            )
        if arrow is not None:
            raise self.fail(
                self.offsets[arrow], f"this edge leads nowhere; write a segment's name {side} `{self.values[arrow]}`"
            )
        if kind in _ARROWS:
            raise self.fail(offset, f"this edge comes from nowhere; write a segment's name {side} `{value}`")
        raise self.fail(offset, f"`{value}` can't stand here; write a segment's name, such as `a`, or an edge `a -> b`")

    def _braces(self) -> tuple[str, ...]:
        name = ""
        if self.kinds[self.at] == "word":
            word = self.offsets[self.at]
            self.at = self.after_newlines(self.at + 1)
            if self.kinds[self.at] in _NAMES:
                name = self.values[self.at]
                self.at = self.after_newlines(self.at + 1)
            if self.kinds[self.at] != "{":
                raise self.fail(word, "`subgraph` needs braces; write `subgraph name { a b }`")
        opened = self.offsets[self.at]
        if len(self.scopes) > _DEEPEST_BRACES:
            raise self.fail(opened, f"braces in braces, more than {_DEEPEST_BRACES} deep; write the edges one by one")
        outer = self.scopes[-1]
        scope = _Scope(name, node=dict(outer.node), edge=dict(outer.edge))
        self.scopes.append(scope)
        self.at += 1
        problems = len(self.problems)
        self._statements(nested=True, closing=True)
        self.scopes.pop()
        outer.members.update(scope.members)
        if self.kinds[self.at] == "end":
            raise self.fail(opened, "this brace is never closed; write `}` behind the last name in it")
        self.at += 1
        if not scope.members and len(self.problems) == problems:
            raise self.fail(opened, "no segment between these braces; write names there, such as `{a b}`")
        if scope.attributes or name.startswith("cluster"):
            outer.inner.append(Subgraph(name, scope.attributes, tuple(scope.members), tuple(scope.inner)))
        else:
            outer.inner.extend(scope.inner)
        return tuple(scope.members)

    def _node(self, written: str, offset: int) -> str:
        # Python reads identifiers in this form, so `push` and the directives will ask for it.
        name = written if written.isascii() else unicodedata.normalize("NFKC", written)
        scope = self.scopes[-1]
        if name not in self.nodes:
            self.nodes[name] = dict(scope.node)
            self.positions[name] = self.text.place(offset)
            if message := name_problem(name):
                self.problem(offset, message, SegmentNameError)
        scope.members[name] = None
        return name

    # attributes

    def _attributes(self) -> dict[str, str]:
        """Read ``[name=value, ...]``."""
        opened = self.at
        found: dict[str, str] = {}
        self.at += 1
        while True:
            kind, value = self.kinds[self.at], self.values[self.at]
            if kind == "]":
                self.at += 1
                return found
            if kind in ("newline", ",", ";"):
                self.at += 1
                continue
            following = self.after_newlines(self.at + 1) if kind != "end" else self.at
            if kind in _NAMES and self.kinds[following] == "=":
                self.at = following + 1
                found[value] = self._value(value)
                continue
            if kind in ("end", "[", "{", "}", *_ARROWS) or self.kinds[following] in ("{", "}", "end", *_ARROWS):
                self._unclosed(opened)
            elif kind in _NAMES:
                self.problem(self.offsets[self.at], f"this attribute has no value; write `{value}=true`")
            else:
                self.problem(self.offsets[self.at], f"`{value}` can't stand here; write attributes as `[color=red]`")
                while self.kinds[self.at + 1] not in (",", ";", "newline", "]", "end"):
                    self.at += 1
            self.at += 1

    def _unclosed(self, opened: int) -> None:
        """Note a bracket without end, and let reading go on at the line below it, or where braces end."""
        self.at = opened
        while self.kinds[self.at] not in ("newline", "}", "end"):
            self.at += 1
        raise self.fail(self.offsets[opened], "this bracket is never closed; write `]` behind the last attribute")

    def _value(self, name: str) -> str:
        at = self.after_newlines(self.at)
        kind, value = self.kinds[at], self.values[at]
        if kind not in ("word", "quoted", "html", "colour"):
            self.problem(self.offsets[self.at - 1], f'no value behind `=`; write `{name}="..."`')
            return ""
        self.at = at + 1
        return HtmlText(value[1:-1]) if kind == "html" else value


def _braced(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{{{' '.join(names)}}}"
