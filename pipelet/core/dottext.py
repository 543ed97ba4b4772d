"""The letters of a graph string: tokens, places, and words about a place that is wrong."""

from __future__ import annotations

import keyword
import re
import unicodedata
from bisect import bisect_right
from functools import cached_property
from typing import NamedTuple

#: A name becomes the beginning of file names, and file systems allow 255 bytes.
LONGEST_NAME = 200

_SHOWN_WIDTH = 100
_BLANK = r"\s\"\[\]{};,=:<>\#/\-→⟶⇒\u2013\u2014"
_TOKEN = re.compile(
    rf"""[^\S\n]*(?:
      (?P<word>(?:[^{_BLANK}]|/(?![/*])|-(?=[\w.]))(?:[^{_BLANK}]+|/(?![/*])|-(?=[\w.]))*)
    | (?P<arrow>->)
    | (?P<newline>\n)
    | (?P<html>(?:(?<==)|(?<==[ \t]))<[^<>]*(?:<[^<>]*>[^<>]*)*>)
    | (?P<colour>(?<==)\#\w+)
    | (?P<comment>//[^\n]*|\#[^\n]*|/\*.*?\*/)
    | (?P<quoted>"[^"\\]*(?:\\.[^"\\]*)*")
    | (?P<open_comment>/\*.*)
    | (?P<open_quote>"\w*)
    | (?P<undirected>--(?!>))
    | (?P<slip>=>|<[-=]+>?|-[ \t]+>|-+>|>+|<+|-|[→⟶⇒\u2013\u2014]+>?)
    | (?P<mark>[;,=:\[\]{{}}])
    )""",
    re.VERBOSE | re.DOTALL,
)


class TextProblem(NamedTuple):
    """A place where the text can't be cut into tokens."""

    offset: int
    message: str


class DotText:
    """A graph string and its tokens.

    Parameters
    ----------
    text
        The graph string, with line ends of any kind.

    Attributes
    ----------
    kinds, values, offsets
        For each token its kind, its text (of a quoted one, what stands between the quotes) and its place. Kinds are
        ``word``, ``quoted``, ``html``, ``colour``, ``arrow``, ``undirected``, ``slip`` (looks like an arrow),
        ``newline``, ``end``, and each punctuation mark is its own kind.
    problems
        Quotes and comments without an end.
    """

    def __init__(self, text: str) -> None:
        self.text = _one_newline(text)
        self.kinds: list[str] = []
        self.values: list[str] = []
        self.offsets: list[int] = []
        self.problems: list[TextProblem] = []
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup
            if kind:
                self._add(kind, match[kind], match.start(kind))
        self._append("end", "the end of the text", len(self.text.rstrip()))

    @cached_property
    def lines(self) -> list[str]:
        """The text line by line."""
        return self.text.split("\n")

    def _add(self, kind: str, value: str, offset: int) -> None:
        if kind == "comment":
            if "\n" in value:
                self._append("newline", "\n", offset)
            return
        if kind == "open_comment":
            self.problems.append(TextProblem(offset, "this comment is never closed; write `*/` at its end"))
            return
        if kind == "open_quote":
            self.problems.append(TextProblem(offset, f'this quote is never closed; write `{value}"`'))
            kind, value = "quoted", value + '"'
        if kind == "quoted":
            value = re.sub(r"\\(.)", _unescape, value[1:-1], flags=re.DOTALL)
        elif kind == "mark":
            kind = value
        self._append(kind, value, offset)

    def _append(self, kind: str, value: str, offset: int) -> None:
        self.kinds.append(kind)
        self.values.append(value)
        self.offsets.append(offset)

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column of an offset, counted from 1."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1


def located(shown_line: str, line: int, column: int, message: str) -> str:
    """Return a message with its place, the line of the text and a caret below the column.

    Parameters
    ----------
    shown_line
        The text of that line.
    line, column
        The place, counted from 1.
    message
        What is wrong and what to write instead.

    Returns
    -------
    str
        Three lines.
    """
    first = max(0, min(column - 1 - _SHOWN_WIDTH // 2, len(shown_line) - _SHOWN_WIDTH))
    shown = printable(shown_line[first : first + _SHOWN_WIDTH])
    before, after = "..." if first else "", "..." if len(shown_line) > first + _SHOWN_WIDTH else ""
    caret = " " * (len(before) + columns(shown[: column - 1 - first])) + "^"
    return f"line {line}, column {column}: {message}\n    {before}{shown}{after}\n    {caret}"


def suggest_name(name: str) -> str:
    """Return a valid segment name that looks like a bad one (``my_seg`` for ``my-seg``)."""
    plain = name.strip("'` \t\n").removesuffix(".py")
    kept = re.sub("__+", "_", "".join(letter if f"_{letter}".isidentifier() else "_" for letter in plain))
    kept = (kept.rstrip("_") if plain.startswith("_") else kept.strip("_"))[: LONGEST_NAME // 4]
    if not kept:
        return "segment"
    if keyword.iskeyword(kept):
        return f"{kept}_"
    return kept if kept.isidentifier() else f"seg_{kept}"


def name_problem(name: str) -> str | None:
    """Return why a name can't be a segment's, and what to write instead; ``None`` for a good one."""
    if not name.isidentifier():
        return f"`{shortened(name)}` is no Python identifier; write `{suggest_name(name)}`"
    if keyword.iskeyword(name):
        return f"`{name}` is a keyword of Python; write another name, such as `{suggest_name(name)}`"
    if len(name.encode()) > LONGEST_NAME:
        return (
            f"`{shortened(name)}` has more than {LONGEST_NAME} bytes, too many for the name of a directory; "
            "write a shorter name"
        )
    return None


def shortened(name: str) -> str:
    """Return a name as it can stand in a message of one line."""
    return printable(name) if len(name) <= 60 else printable(f"{name[:40]}...{name[-15:]}")


def printable(text: str) -> str:
    """Return the text with a blank for each character that a terminal can't show."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )


def _one_newline(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _unescape(match: re.Match[str]) -> str:
    """Only the quote and the end of a line lose their backslash: labels need the others."""
    return {'"': '"', "\n": ""}.get(match[1], match[0])
