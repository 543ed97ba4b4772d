"""A unified diff as lines with numbers, for one column or two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

from pipelet.codediff import unified

#: So many lines of one difference are shown.
MOST_LINES = 1500
_LONGEST = 1000
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


class Line(NamedTuple):
    """One line of a diff."""

    kind: str  #: ``add``, ``del``, ``at`` (where the lines stand), ``same`` or ``note``
    old: int | None
    new: int | None
    text: str


class Diff(NamedTuple):
    """How a text changed."""

    lines: list[Line]
    added: int
    removed: int
    cut: int  #: so many lines more
    words: str | None  #: where there are no lines: what can be said

    def __bool__(self) -> bool:
        return bool(self.lines or self.words)

    def pairs(self) -> Iterator[tuple[Line | None, Line | None]]:
        """The lines beside one another."""
        removed: list[Line] = []
        added: list[Line] = []
        for line in self.lines:
            if line.kind == "del":
                removed.append(line)
            elif line.kind == "add":
                added.append(line)
            else:
                yield from zip_longest(removed, added)
                removed, added = [], []
                yield line, line
        yield from zip_longest(removed, added)


def diff(old: bytes | None, new: bytes | None, name: str) -> Diff:
    """Compare two contents of a file.

    Parameters
    ----------
    old, new
        The contents; ``None`` where there is no file.
    name
        Its name.

    Returns
    -------
    Diff
        False where they are equal.
    """
    text = unified(old, new, name)
    if not text:
        return Diff([], 0, 0, 0, None)
    if not text.startswith("--- "):
        return Diff([], 0, 0, 0, text.strip().removeprefix(f"{name}: "))
    found = list(_numbered(text))
    added = sum(line.kind == "add" for line in found)
    removed = sum(line.kind == "del" for line in found)
    return Diff(found[:MOST_LINES], added, removed, max(len(found) - MOST_LINES, 0), None)


def _numbered(text: str) -> Iterator[Line]:
    old = new = 0
    # Not splitlines(): the lines of code may hold other signs that end lines.
    for line in text.rstrip("\n").split("\n")[2:]:
        sign, rest = line[:1], line[1 : _LONGEST + 1] + (" …" if len(line) > _LONGEST + 1 else "")
        place = _HUNK.match(line)
        if place:
            old, new = int(place[1]), int(place[2])
            yield Line("at", None, None, line)
        elif sign == "+":
            yield Line("add", None, new, rest)
            new += 1
        elif sign == "-":
            yield Line("del", old, None, rest)
            old += 1
        elif sign == "\\":
            yield Line("note", None, None, rest.strip())
        else:
            yield Line("same", old, new, rest)
            old, new = old + 1, new + 1
