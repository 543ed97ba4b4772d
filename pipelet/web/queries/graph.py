"""The graph of segments as a picture: places of boxes and lines from the ``dot`` program, the rest is the page's."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.web.formats import number

#: Points for each letter of a name, and around it.
_LETTER, _AROUND = 8.2, 34.0
#: The same for the line of numbers: a digit, "of done", "failed".
_DIGIT, _WORDS, _FAILED = 7.2, 78.0, 50.0
_LEAST_WIDTH, _MOST_WIDTH, _HEIGHT = 132.0, 300.0, 62.0
_SECONDS = 5.0
_INCH = 72.0
_EDGE = 6.0
#: In the order in which a person reads them.
ORDER = ("done", "failed", "running", "queued")
#: The first of these that a segment has gives its box a colour.
_PRECEDENCE = ("failed", "running", "waiting", "queued", "done")


class Place(NamedTuple):
    """Where a box is: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Layout(NamedTuple):
    """Where everything is."""

    width: float
    height: float
    places: list[Place]
    lines: list[str]  #: SVG paths


class Box(NamedTuple):
    """What one segment's box shows."""

    id: int
    segment: str
    shown: str  #: the name, as much of it as there is room for
    key: str
    status: str  #: gives the colour: a status, ``waiting`` or ``empty``
    numbers: str
    counts: Mapping[str, int]
    shares: list[tuple[str, float, float]]  #: the bar: status, start and width, of 100
    parents: list[str]
    waiting: str | None


class Segment(NamedTuple):
    """A segment of the last run."""

    id: int
    segment: str
    key: str
    parents: Sequence[int]
    counts: Mapping[str, int]
    waiting: str | None


def boxes(segments: Sequence[Segment]) -> list[Box]:
    """What the boxes show."""
    names = {one.id: one.segment for one in segments}
    return [
        Box(
            one.id,
            one.segment,
            _cut(one.segment),
            one.key,
            colour(one.counts, one.waiting),
            numbers(one.counts, one.waiting),
            one.counts,
            shares(one.counts),
            [names[id] for id in one.parents if id in names],
            one.waiting,
        )
        for one in segments
    ]


def lay_out(segments: Sequence[Segment]) -> Layout | None:
    """Find the places of boxes and lines; ``None`` where the ``dot`` program is missing or fails."""
    ids = {one.id: place for place, one in enumerate(segments)}
    widths = tuple(
        min(_MOST_WIDTH, max(_LEAST_WIDTH, _LETTER * len(one.segment) + _AROUND, _room(one.counts)))
        for one in segments
    )
    edges = tuple((ids[id], place) for place, one in enumerate(segments) for id in one.parents if id in ids)
    return _lay_out(widths, edges)


@functools.lru_cache(maxsize=128)
def _lay_out(widths: tuple[float, ...], edges: tuple[tuple[int, int], ...]) -> Layout | None:
    # Names never reach the program: boxes are numbers to it.
    lines = ["digraph {", "graph [rankdir=LR, nodesep=0.28, ranksep=0.55];"]
    lines.append(f'node [shape=box, fixedsize=true, label="", height={_HEIGHT / _INCH:.3f}]; edge [dir=none];')
    lines += [f"n{place} [width={width / _INCH:.3f}];" for place, width in enumerate(widths)]
    lines += [f"n{parent} -> n{child};" for parent, child in edges]
    try:
        drawn = subprocess.run(
            ["dot", "-Tplain"], input="\n".join([*lines, "}"]), capture_output=True, text=True, timeout=_SECONDS,
            check=True,
        ).stdout
        return read_plain(drawn, len(widths))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None


def read_plain(text: str, count: int) -> Layout:
    """Read what ``dot -Tplain`` wrote.

    Parameters
    ----------
    text
        Its output; boxes are named n0, n1 and so on.
    count
        How many boxes there are.

    Raises
    ------
    ValueError
        It is something else.
    """
    width = height = 0.0
    places: dict[int, Place] = {}
    lines = []
    for line in text.splitlines():
        words = line.split()
        if words[0] == "graph":
            width, height = float(words[2]) * _INCH, float(words[3]) * _INCH
        elif words[0] == "node":
            x, y, w, h = (float(word) * _INCH for word in words[2:6])
            places[int(words[1][1:])] = Place(x - w / 2 + _EDGE, height - y - h / 2 + _EDGE, w, h)
        elif words[0] == "edge":
            given = [float(word) * _INCH for word in words[4 : 4 + 2 * int(words[3])]]
            points = [f"{x + _EDGE:.1f},{height - y + _EDGE:.1f}" for x, y in zip(given[::2], given[1::2], strict=True)]
            lines.append(f"M{points[0]}C{' '.join(points[1:])}")
    if len(places) != count:
        raise ValueError(f"{len(places)} boxes, not {count}")
    return Layout(width + 2 * _EDGE, height + 2 * _EDGE, [places[place] for place in range(count)], lines)


def colour(counts: Mapping[str, int], waiting: str | None) -> str:
    """The status that gives a segment its colour."""
    if waiting and not counts.get("failed") and not counts.get("running"):
        return "waiting"
    return next((status for status in _PRECEDENCE if counts.get(status)), "empty")


def numbers(counts: Mapping[str, int], waiting: str | None) -> str:
    """The counts in few words: how many are done of how many, and how many failed."""
    total = sum(counts.values())
    done = counts.get(str(Status.DONE), 0)
    if not total:
        return "waiting" if waiting else "no tasks"
    failed = counts.get(str(Status.FAILED), 0)
    words = f"{number(done)} done" if done + failed == total else f"{number(done)} of {number(total)} done"
    if waiting:
        words += ", waiting"
    return words if not failed else (
        f"{words}, {number(failed)} failed" if done else f"{number(failed)} of {number(total)} failed"
    )


def ordered(tally: Mapping[Status, int]) -> dict[str, int]:
    """Counts by the word of the status, in the order in which a person reads them."""
    words = {str(status): count for status, count in tally.items()}
    return {status: words[status] for status in ORDER if words.get(status)}


def shares(counts: Mapping[str, int]) -> list[tuple[str, float, float]]:
    """A bar of 100: status, start and width of each piece."""
    total = sum(counts.values())
    found, start = [], 0.0
    for status in ORDER:
        part = 100 * counts.get(status, 0) / total if total else 0.0
        if part:
            found.append((status, round(start, 2), round(part, 2)))
        start += part
    return found


def _room(counts: Mapping[str, int]) -> float:
    """The width that the numbers of a segment may come to need: with failures, and all its tasks."""
    digits = len(f"{sum(counts.values()):,}")
    safe = not any(counts.get(word) for word in ("failed", "running", "queued"))
    return 2 * digits * _DIGIT + _WORDS + (0 if safe else digits * _DIGIT + _FAILED)


def _cut(name: str) -> str:
    room = int((_MOST_WIDTH - _AROUND) / _LETTER)
    return name if len(name) <= room else f"{name[: room // 2 - 1]}…{name[-(room - room // 2) :]}"
