"""The versions of all segments: what the index shows of each, which match a filter, and how they hang together."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelet.statusdb import InstanceRow, Reader, versions
from pipelet.statusdb.deleting import revisions
from pipelet.storage import Tree
from pipelet.storage.lastrun import read_last_run
from pipelet.web.queries.filters import ANY, Asked, candidates
from pipelet.web.queries.graph import ordered
from pipelet.web.sizes import of as sizes_of

#: The exposed values of so many tasks are looked at.
TASKS = 64
#: So many values of a parameter are shown, and so many parameters.
VALUES, NAMES = 8, 12
#: A search in the parameters of all tasks ends after so many seconds.
SEARCH = 1.5
#: Deeper than this, versions stand beside their parents: browsers don't nest much further.
DEEPEST = 100

_KEY_SHOWN = 12
_ROWS = TASKS * 32
_KEPT = 4000


class Param(NamedTuple):
    """What tasks exposed under one name."""

    name: str
    values: tuple[str, ...]
    more: bool  #: there are others


class Version(NamedTuple):
    """One version of a segment."""

    id: int
    segment: str
    key: str  #: as it stands in addresses
    name: str  #: of its directory
    created: float
    tag: str | None
    waiting: str | None
    counts: dict[str, int]
    params: tuple[Param, ...]
    more_params: int  #: parameters that are not shown
    size: float | None
    last: bool  #: part of the last run
    parents: tuple[int, ...]


class Versions(NamedTuple):
    """All that the index shows of a pipeline."""

    every: dict[int, Version]  #: the newest first
    last: list[Version]  #: those of the last run, parents first
    last_run: bool  #: whether these are known; else they are the newest


class ParamCache:
    """Exposed parameters, kept until a task of their instance changes."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], tuple[int, tuple[Param, ...], int]] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, reader: Reader, rows: Sequence[InstanceRow]) -> dict[int, tuple[tuple[Param, ...], int]]:
        """The parameters of instances, and how many more each has.

        Parameters
        ----------
        reader
            The database.
        rows
            The instances.
        """
        if not reader.has_params():
            return {}
        # An instance of a database that was made anew has another key or another moment.
        changes = revisions(reader)
        found = {}
        for row in rows:
            place, revision = (reader.sqlfile, row.id, row.key, row.created), changes.get(row.id, 0)
            with self._lock:
                kept = self._kept.get(place)
            if kept is None or kept[0] != revision:
                tasks = versions.first_tasks(reader, row, TASKS)
                kept = (revision, *summarised(versions.exposed(reader, tasks, _ROWS)))
                with self._lock:
                    self._kept[place] = kept
                    while len(self._kept) > _KEPT:
                        self._kept.popitem(last=False)
            found[row.id] = kept[1:]
        return found


def summarised(exposed: Sequence[versions.Exposed]) -> tuple[tuple[Param, ...], int]:
    """Put values of one name together; say how many names were left out."""
    values: dict[str, dict[str, None]] = {}
    for name, text in exposed:
        values.setdefault(name, {})[text] = None
    params = [Param(name, tuple(texts)[:VALUES], len(texts) > VALUES) for name, texts in values.items()]
    return tuple(params[:NAMES]), max(0, len(params) - NAMES)


def read_versions(reader: Reader, tree: Tree, cache: ParamCache, sizes: Mapping[int, float | None]) -> Versions:
    """Read what the index shows.

    Parameters
    ----------
    reader, tree
        The pipeline.
    cache
        Keeps the parameters.
    sizes
        Bytes, by instance.
    """
    rows = reader.instances()
    tally, tags, params = reader.tally(), reader.tags(), cache.read(reader, rows)
    chosen, known = last_rows(rows, tree)
    last = {row.id for row in chosen}
    every = {}
    for row in rows:
        shown, more = params.get(row.id, ((), 0))
        counts = ordered(tally.get(row.id, {}))
        every[row.id] = Version(
            row.id, row.segment, row.key[:_KEY_SHOWN], os.path.basename(row.path), row.created, tags.get(row.id),
            row.waiting, counts, shown, more, sizes.get(row.id), row.id in last, row.parents,
        )
    return Versions(every, [every[row.id] for row in chosen], known)


def last_rows(rows: Sequence[InstanceRow], tree: Tree) -> tuple[list[InstanceRow], bool]:
    """The instances of the last run, parents first, and whether that is known; else the newest of each segment.

    Parameters
    ----------
    rows
        All instances, the newest first.
    tree
        The prefix.
    """
    by_key = {row.key: row for row in rows}
    chosen = [by_key[key] for key in read_last_run(tree).values() if key in by_key]
    if chosen:
        return chosen, True
    newest: dict[str, InstanceRow] = {}
    for row in rows:
        newest.setdefault(row.segment, row)
    # Parents are made before their children.
    return sorted(newest.values(), key=lambda row: row.id), False


class Matches(NamedTuple):
    """Which versions match a filter."""

    ids: set[int]
    whole: bool  #: false: the search in the parameters took too long and was cut


def matching(reader: Reader, found: Versions, asked: Asked) -> Matches:
    """Find the versions that match a filter.

    Parameters
    ----------
    reader
        The database: the parameters of all tasks are searched in it.
    found
        The versions.
    asked
        The filter.
    """
    given = asked.filter
    ids = {one.id for one in found.every.values() if _matches(one, asked)}
    if not given.param or not ids:
        return Matches(ids, True)
    name, sign, value = given.param.partition("=")
    if sign and name.strip():
        texts = candidates(value.strip())
        sought = versions.with_value(reader, name.strip(), texts, SEARCH)
    else:
        sought = versions.with_word(reader, given.param, SEARCH)
    return Matches(ids & sought.instances, sought.whole)


def _matches(one: Version, asked: Asked) -> bool:
    given = asked.filter
    tag = one.tag or ""
    return (
        (not given.tag or (bool(tag) if given.tag == ANY else given.tag.casefold() in tag.casefold()))
        and (asked.begin is None or one.created >= asked.begin)
        and (asked.end is None or one.created < asked.end)
        and (not given.segment or one.segment == given.segment)
        and (not given.status or (bool(one.waiting) if given.status == "waiting" else given.status in one.counts))
    )


class Item(NamedTuple):
    """A step through the tree: ``row`` begins a version and ``end`` ends it, ``down`` and ``up`` stand around what is
    below; ``others`` begins a group of versions that are not of the last run, and ``end`` ends it.
    """

    kind: str
    level: int = 0
    version: Version | None = None
    below: int = 0  #: how many versions are below, or in the group
    open: bool = False
    matches: bool = True
    beside: tuple[Version, ...] = ()  #: parents but the first
    oldest: float = 0.0
    newest: float = 0.0
    segment: str = ""
    name: str = ""  #: by which a browser remembers whether it is open


def walk(found: Versions, matches: Collection[int] | None = None, expand: str = "") -> Iterator[Item]:
    """Go through the tree: each version below its first parent, the newest first.

    Parameters
    ----------
    found
        The versions.
    matches
        Only these, and their ancestors; ``None``: all.
    expand
        ``all`` or ``none``; else what belongs to the last run is open, or everything where ``matches`` are given.
    """
    return _Walk(found, matches, expand).items()


class _Walk:
    def __init__(self, found: Versions, matches: Collection[int] | None, expand: str) -> None:
        self._every = found.every
        self._matches = matches
        self._expand = expand
        self._order = {one.segment: place for place, one in enumerate(found.last)}
        shown = self._with_ancestors(matches) if matches is not None else found.every.keys()
        self._below: dict[int, list[Version]] = {}
        for one in found.every.values():
            if one.id in shown:
                self._below.setdefault(self._first_parent(one), []).append(one)
        self._sizes: dict[int, int] = {}
        # Children are younger than their parents.
        for id in sorted(shown, reverse=True):
            parent = self._first_parent(self._every[id])
            self._sizes[parent] = self._sizes.get(parent, 0) + self._sizes.get(id, 0) + 1

    def items(self) -> Iterator[Item]:
        yield from self._level(0, 0, True, "")

    def _first_parent(self, one: Version) -> int:
        return one.parents[0] if one.parents and one.parents[0] in self._every else 0

    def _with_ancestors(self, ids: Collection[int]) -> set[int]:
        shown: set[int] = set()
        for id in ids:
            while id and id not in shown:
                shown.add(id)
                id = self._first_parent(self._every[id])
        return shown

    def _is_open(self, usual: bool) -> bool:
        return self._expand == "all" or (self._expand != "none" and (usual or self._matches is not None))

    def _level(self, parent: int, level: int, parent_last: bool, path: str) -> Iterator[Item]:
        groups: dict[str, list[Version]] = {}
        for one in self._below.get(parent, ()):
            groups.setdefault(one.segment, []).append(one)
        for segment in sorted(groups, key=lambda name: self._order.get(name, len(self._order))):
            group = groups[segment]
            if self._matches is not None or not parent_last:
                yield from self._rows(group, level)
                continue
            yield from self._rows([one for one in group if one.last], level)
            others = [one for one in group if not one.last]
            if others:
                yield from self._others(segment, others, level, f"{path}/{segment}")

    def _others(self, segment: str, others: list[Version], level: int, name: str) -> Iterator[Item]:
        dates = [one.created for one in others]
        is_open = self._is_open(False)
        yield Item("others", level, None, len(others), is_open, True, (), min(dates), max(dates), segment, name)
        yield Item("down")
        yield from self._rows(others, level + 1)
        yield Item("up")
        yield Item("end")

    def _rows(self, rows: list[Version], level: int) -> Iterator[Item]:
        for one in rows:
            below = self._sizes.get(one.id, 0)
            beside = tuple(self._every[id] for id in one.parents[1:] if id in self._every)
            match = self._matches is None or one.id in self._matches
            nested = level < DEEPEST
            shown = below if nested else 0
            yield Item("row", level, one, shown, self._is_open(one.last), match, beside, name=one.key)
            if not nested:
                yield Item("end")
            if below:
                if nested:
                    yield Item("down")
                yield from self._level(one.id, level + nested, one.last, one.key)
                if nested:
                    yield Item("up")
            if nested:
                yield Item("end")


def measured(tree: Tree, sqlfile: str) -> dict[int, float | None]:
    """The bytes of each instance, as far as they were measured."""
    return {number: size.bytes for number, size in sizes_of(tree, sqlfile).items()}
