"""How a pipeline stands, from its database alone: counts, what runs now, who holds the prefix."""

from __future__ import annotations

import os
from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

from pipelet.core.model import Mark, Status
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, Reader
from pipelet.statusdb.now import running
from pipelet.storage import Holder, PrefixLock, Tree
from pipelet.storage.lastrun import read_last_run

#: So many running tasks are looked up for each segment.
_RUNNING = 50


class SegmentState(NamedTuple):
    """The counts of one segment instance."""

    segment: str
    path: str
    counts: dict[Status, int]
    waiting: str | None  #: why its tasks can't be known
    aside: int = 0  #: how many of the failed ones are set aside


class RunningTask(NamedTuple):
    """A task that a worker has."""

    segment: str
    id: int
    input: str
    since: float | None
    host: str | None


class Overview(NamedTuple):
    """How a pipeline stands.

    Attributes
    ----------
    segments
        Parents first.
    running
        The first of the tasks that run.
    last_run
        Whether these are the versions of the last run; else they are the newest.
    prefix
        The root of the data, where the database lies in it.
    holder
        Who holds the prefix.
    """

    segments: list[SegmentState]
    running: list[RunningTask]
    last_run: bool
    prefix: str | None
    holder: Holder | None

    def count(self, status: Status) -> int:
        """How many tasks have this status, in all segments."""
        return sum(item.counts.get(status, 0) for item in self.segments)


def look(sqlfile: str) -> Overview:
    """Look at a pipeline. It is read only, in short moments, so a run does not notice.

    Parameters
    ----------
    sqlfile
        Its database. Who holds the prefix is known only where the database lies in it.

    Raises
    ------
    DatabaseError
        It can't be read.
    """
    with Reader.open(sqlfile) as reader:
        rows = reader.instances()
        tree = _tree_of(sqlfile, rows)
        holder = None
        if tree is not None:
            # Nothing is said where the lock can't be read.
            try:
                holder = PrefixLock(tree.lock_path).holder()
            except StorageError:
                tree = None
        chosen, last_run = current_versions(tree, rows)
        tally = reader.tally([row.id for row in chosen])
        states = [_state(reader, row, tally[row.id]) for row in chosen]
        tasks = [
            RunningTask(row.segment, task.id, task.text, task.begun, task.host)
            for row in chosen
            if tally[row.id].get(Status.RUNNING)
            for task in running(reader, row.id, _RUNNING)
        ]
    return Overview(states, tasks, last_run, tree.prefix if tree is not None else None, holder)


def current_versions(tree: Tree | None, rows: Sequence[InstanceRow]) -> tuple[list[InstanceRow], bool]:
    """Choose the version of each segment that matters now, parents first.

    Parameters
    ----------
    tree
        The prefix, where it is known.
    rows
        All instances.

    Returns
    -------
    tuple
        Those that the last run was about, and true; where that is not known, the newest ones, and false.
    """
    by_key = {row.key: row for row in rows}
    keys = [] if tree is None else list(read_last_run(tree).values())
    chosen = [by_key[key] for key in keys if key in by_key]
    return (chosen, True) if chosen else (_newest(rows), False)


def _state(reader: Reader, row: InstanceRow, counts: dict[Status, int]) -> SegmentState:
    aside = reader.count_marked(row.id, Mark.ASIDE) if counts.get(Status.FAILED) else 0
    return SegmentState(row.segment, row.path, counts, row.waiting, aside)


def _tree_of(sqlfile: str, rows: Sequence[InstanceRow]) -> Tree | None:
    """The prefix, if the database lies in it as it does unless the user says otherwise."""
    tree = Tree(os.path.dirname(os.path.abspath(sqlfile)))
    at_home = os.path.basename(sqlfile) == os.path.basename(tree.default_sqlfile)
    theirs = any(os.path.isdir(tree.absolute(row.path)) for row in rows)
    return tree if os.path.isdir(tree.engine_dir) and (theirs or (at_home and not rows)) else None


def _newest(rows: Sequence[InstanceRow]) -> list[InstanceRow]:
    """The newest version of each segment, parents first."""
    newest: dict[str, InstanceRow] = {}
    for row in rows:
        newest.setdefault(row.segment, row)
    names = {row.id: row.segment for row in rows}
    by_age = sorted(newest.values(), key=lambda row: row.id)
    order = TopologicalSorter({row.segment: [names[id] for id in row.parents if id in names] for row in by_age})
    try:
        return [newest[name] for name in order.static_order() if name in newest]
    except CycleError:
        # Segments that changed places between two versions of the graph.
        return by_age
