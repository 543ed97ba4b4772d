"""What takes the room: the page data of the versions by size, and of what would be deleted."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from pipelet.deletion import Preview
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import KeptFiles, Tree
from pipelet.storage.lastrun import read_last_run
from pipelet.storage.sizes import Size as Measured
from pipelet.storage.sizes import measure
from pipelet.web.queries.oneversion import purged_at
from pipelet.web.sizes import Size, total

_DAY = 86400.0
#: Whoever looks at a preview waits for its measuring at most so many seconds.
_PATIENCE = 0.4
#: By file, when it was changed last, and what it says of a purge: reading hundreds takes longer than a page should.
_MOMENTS: dict[str, tuple[int, float | None]] = {}
_MOST_MOMENTS = 10_000
SORTS = ("size", "age", "segment", "tasks")


class Version(NamedTuple):
    """One version of a segment."""

    row: InstanceRow
    size: Size | None
    share: int  #: of the largest, 0 to 100
    tasks: int  #: that the last run wanted
    tag: str | None
    reached: bool  #: by the last run
    old: bool  #: neither reached nor young
    why_not: str  #: why it is not offered for deletion; empty where it is
    purged: float | None


class Segment(NamedTuple):
    """All versions of a segment together."""

    name: str
    versions: int
    bytes: int
    share: int


class Space(NamedTuple):
    """The page."""

    versions: Sequence[Version]
    segments: Sequence[Segment]
    total: Size | None
    unmeasured: int
    known_run: bool  #: whether it is known what the last run was about
    old_bytes: int


def read_space(tree: Tree, reader: Reader, sizes: Mapping[int, Size], days: float, sort: str) -> Space:
    """Bring together what the page shows.

    Parameters
    ----------
    tree, reader
        The pipeline.
    sizes
        What was measured, by instance.
    days
        What is older, and not reached by the last run, is old.
    sort
        One of `SORTS`.
    """
    rows = reader.instances()
    tags, tally = reader.tags(), reader.tally()
    last = set(read_last_run(tree).values())
    reached = _with_ancestors(rows, {row.id for row in rows if row.key in last})
    tagged = _with_ancestors(rows, set(tags))
    largest = max((size.bytes for size in sizes.values()), default=0)
    young = time.time() - days * _DAY
    versions = []
    for row in rows:
        size = sizes.get(row.id)
        why_not = "a version that descends from it is tagged" if row.id in tagged else ""
        versions.append(
            Version(
                row, size, _share(size.bytes if size else 0, largest), sum(tally.get(row.id, {}).values()),
                tags.get(row.id), row.id in reached,
                row.id not in reached and row.id not in tagged and row.created < young, why_not, _purged(tree, row),
            )
        )
    versions.sort(key=_ORDER[sort])
    known = [sizes[row.id] for row in rows if row.id in sizes]
    old = sum(one.size.bytes for one in versions if one.old and one.size)
    return Space(versions, _segments(versions), total(known), len(rows) - len(known), bool(last), old)


_ORDER: Mapping[str, Callable[[Version], tuple[object, ...]]] = {
    "size": lambda one: (-(one.size.bytes if one.size else -1), one.row.id),
    "age": lambda one: (one.row.created, one.row.id),
    "segment": lambda one: (one.row.segment.casefold(), -one.row.created),
    "tasks": lambda one: (-one.tasks, one.row.id),
}


def _with_ancestors(rows: Sequence[InstanceRow], ids: set[int]) -> set[int]:
    parents = {row.id: row.parents for row in rows}
    found: set[int] = set()
    todo = list(ids)
    while todo:
        number = todo.pop()
        if number not in found:
            found.add(number)
            todo += parents.get(number, ())
    return found


def _segments(versions: Sequence[Version]) -> list[Segment]:
    sums: dict[str, tuple[int, int]] = {}
    for one in versions:
        number, size = sums.get(one.row.segment, (0, 0))
        sums[one.row.segment] = (number + 1, size + (one.size.bytes if one.size else 0))
    largest = max((size for _, size in sums.values()), default=0)
    made = [Segment(name, number, size, _share(size, largest)) for name, (number, size) in sums.items()]
    return sorted(made, key=lambda item: (-item.bytes, item.name))


def _share(size: int, largest: int) -> int:
    return max(1, round(100 * size / largest)) if size and largest else 0


def _purged(tree: Tree, row: InstanceRow) -> float | None:
    file = os.path.join(tree.absolute(row.path), f"{row.segment}.meta")
    try:
        changed = os.lstat(file).st_mtime_ns
    except OSError:
        return None
    known = _MOMENTS.get(file)
    if known is None or known[0] != changed:
        if len(_MOMENTS) > _MOST_MOMENTS:
            _MOMENTS.clear()
        known = _MOMENTS[file] = (changed, _read_purged(tree, row))
    return known[1]


def _read_purged(tree: Tree, row: InstanceRow) -> float | None:
    with contextlib.suppress(StorageError):
        return purged_at(KeptFiles(tree, row.path).meta())
    return None


class _Late(Exception):
    """It takes too long."""


def size_of(tree: Tree, preview: Preview, sizes: Mapping[int, Size]) -> tuple[int | None, bool]:
    """Give the bytes that would go, and whether that is all of them; nobody waits for long.

    Parameters
    ----------
    tree
        The prefix.
    preview
        What would go.
    sizes
        What was measured before, by instance.
    """
    if preview.kind == "instances":
        known = [sizes[item.id].bytes for item in preview.instances if item.id in sizes]
        if len(known) == len(preview.instances):
            return sum(known), True
    end = time.monotonic() + _PATIENCE
    found = Measured(0, 0)

    def hurry() -> None:
        if time.monotonic() > end:
            raise _Late

    try:
        for directory in preview.directories:
            found = found + measure([tree.below(directory)], hurry)
            hurry()
    except _Late:
        return found.bytes or None, False
    return found.bytes, True
