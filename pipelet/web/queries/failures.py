"""What the page of the failures shows: failed tasks by kind, with an example of each."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelet.core.model import Status
from pipelet.errors import PipeletError
from pipelet.failurekinds import FailureKind, Kinds, message_of
from pipelet.statusdb import InstanceRow, Reader, marking
from pipelet.statusdb.failures import FailedRow, error_of, failed_rows, failed_tasks
from pipelet.storage import Tree
from pipelet.storage.showing import TaskFiles

#: So long errors are read for one page; the next one goes on.
SECONDS = 0.6
#: So many errors are read at once.
_AT_ONCE = 500
#: So many instances are remembered.
_REMEMBERED = 256
#: So much of the end of a log is shown.
LOG_BYTES = 4000

#: So many kinds are told apart in an instance; the rest is one.
_MOST_KINDS = 2000
OTHERS = FailureKind("many other errors", "", 0, "")

_Ids = npt.NDArray[np.int64]


class Group(NamedTuple):
    """Failed tasks of one kind."""

    kind: FailureKind
    number: int
    aside: int  #: how many of them are set aside
    segments: list[tuple[str, int]]  #: by segment, the most first
    first: float
    last: float
    example: int  #: the task that failed last
    message: str = ""  #: what the exception of the example says


class Failures(NamedTuple):
    """All that failed, by kind, the most first."""

    groups: list[Group]
    number: int
    aside: int
    unread: int  #: tasks whose errors have not been read yet


class Example(NamedTuple):
    """One failed task, in full."""

    task: FailedRow
    segment: str
    error: str
    log: str  #: the end of its log
    log_cut: bool


class TaskPage(NamedTuple):
    """Some tasks of a group."""

    tasks: list[FailedRow]
    next: int | None  #: the id after which the next page begins


class _Read:
    """What is known of the failed tasks of one instance."""

    def __init__(self) -> None:
        self.stamp: tuple[object, ...] = ()
        self.ids: _Ids = np.zeros(0, np.int64)
        self.ended: npt.NDArray[np.float64] = np.zeros(0)
        self.aside: npt.NDArray[np.bool_] = np.zeros(0, bool)
        #: The place of each one's kind in `kinds`; -1 where its error was not read yet.
        self.kind: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self.kinds: list[FailureKind] = []
        self.places: dict[FailureKind, int] = {}

    def update(self, reader: Reader, instance_id: int) -> None:
        """Take note of the tasks that have failed by now; those that are known keep their kinds."""
        rows = failed_tasks(reader, instance_id)
        ids: _Ids = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        ended = np.fromiter((row[1] for row in rows), np.float64, len(rows))
        kind = np.full(len(rows), -1, np.int32)
        if len(self.ids) and len(ids):
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            same = (self.ids[at] == ids) & (self.ended[at] == ended)
            kind[same] = self.kind[at[same]]
        self.aside = np.fromiter((row[2] for row in rows), bool, len(rows))
        self.ids, self.ended, self.kind = ids, ended, kind

    def read_on(self, reader: Reader, kinds: Kinds, until: float) -> None:
        """Read errors until that time, at least some."""
        unread = np.flatnonzero(self.kind < 0)
        for start in range(0, len(unread), _AT_ONCE):
            where = unread[start : start + _AT_ONCE]
            found = dict(marking.errors(reader, self.ids[where].tolist()))
            self.kind[where] = [self._place(kinds(found.get(task))) for task in self.ids[where].tolist()]
            if time.monotonic() > until:
                return

    def _place(self, kind: FailureKind) -> int:
        if len(self.kinds) >= _MOST_KINDS and kind not in self.places:
            kind = OTHERS
        place = self.places.get(kind)
        if place is None:
            place = self.places[kind] = len(self.kinds)
            self.kinds.append(kind)
        return place


class FailureCache:
    """Remembers of which kind failures are, as long as their records stay as they are.

    Parameters
    ----------
    seconds
        How long errors are read for one page.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Read] = OrderedDict()
        self._kinds = Kinds()

    def look(self, reader: Reader, rows: Sequence[InstanceRow]) -> Failures:
        """Group the failed tasks of some instances.

        Parameters
        ----------
        reader, rows
            The database, and the instances.

        Returns
        -------
        Failures
            Where the time did not suffice it tells so; the next call goes on.
        """
        with self._lock:
            found = self._read(reader, rows)
            return _grouped(reader, found)

    def tasks(self, reader: Reader, rows: Sequence[InstanceRow], kind: str, after: int, limit: int) -> TaskPage:
        """List tasks of a group by id.

        Parameters
        ----------
        reader, rows
            As for `look`.
        kind
            The group's `FailureKind.id`.
        after, limit
            Only tasks with larger ids, at most so many.
        """
        with self._lock:
            pieces = []
            for _, read in self._read(reader, rows):
                places = [place for place, item in enumerate(read.kinds) if item.id == kind]
                if places:
                    pieces.append(read.ids[(read.kind == places[0]) & (read.ids > after)][: limit + 1])
        ids = sorted(int(task) for piece in pieces for task in piece)[: limit + 1]
        tasks = failed_rows(reader, ids[:limit])
        return TaskPage(tasks, ids[limit - 1] if len(ids) > limit else None)

    def _read(self, reader: Reader, rows: Sequence[InstanceRow]) -> list[tuple[InstanceRow, _Read]]:
        until = time.monotonic() + self._seconds
        tally = reader.tally([row.id for row in rows])
        # A database that was made anew counts from the beginning again.
        file = os.stat(reader.sqlfile).st_ino if os.path.exists(reader.sqlfile) else 0
        found = []
        for row in rows:
            number = tally[row.id].get(Status.FAILED, 0)
            if not number:
                continue
            read = self._known.setdefault((reader.sqlfile, row.key), _Read())
            self._known.move_to_end((reader.sqlfile, row.key))
            stamp = (file, row.id, number, reader.settled(row.id)[0])
            if read.stamp != stamp:
                read.update(reader, row.id)
                read.stamp = stamp
            if time.monotonic() < until:
                read.read_on(reader, self._kinds, until)
            found.append((row, read))
        while len(self._known) > max(_REMEMBERED, len(rows)):
            self._known.popitem(last=False)
        return found


def _grouped(reader: Reader, found: Sequence[tuple[InstanceRow, _Read]]) -> Failures:
    groups: dict[FailureKind, Group] = {}
    for row, read in found:
        order = np.argsort(read.kind, kind="stable")
        starts = np.searchsorted(read.kind[order], np.arange(len(read.kinds) + 1)).tolist()
        for kind, start, stop in zip(read.kinds, starts[:-1], starts[1:], strict=True):
            if start == stop:
                continue
            where, number = order[start:stop], stop - start
            ended, aside = read.ended[where], int(read.aside[where].sum())
            latest = int(read.ids[where][ended.argmax()])
            mine = Group(kind, number, aside, [(row.segment, number)], float(ended.min()), float(ended.max()), latest)
            other = groups.get(kind)
            groups[kind] = mine if other is None else _together(other, mine)
    ordered = sorted(groups.values(), key=lambda group: (-group.number, group.kind))
    number = sum(len(read.ids) for _, read in found)
    unread = sum(int((read.kind < 0).sum()) for _, read in found)
    return Failures(ordered, number, sum(int(read.aside.sum()) for _, read in found), unread)


def _together(one: Group, other: Group) -> Group:
    segments = dict(one.segments)
    for segment, number in other.segments:
        segments[segment] = segments.get(segment, 0) + number
    return Group(
        one.kind,
        one.number + other.number,
        one.aside + other.aside,
        sorted(segments.items(), key=lambda item: (-item[1], item[0])),
        min(one.first, other.first),
        max(one.last, other.last),
        one.example if one.last >= other.last else other.example,
    )


def with_messages(reader: Reader, groups: Sequence[Group]) -> list[Group]:
    """The same groups, each with what the exception of its example says."""
    errors = dict(marking.errors(reader, [group.example for group in groups]))
    return [group._replace(message=message_of(errors.get(group.example) or "")[:500]) for group in groups]


def example(tree: Tree, reader: Reader, task: int, log: bool = True) -> Example | None:
    """A failed task in full; ``None`` if it is gone.

    Parameters
    ----------
    tree, reader
        Where it is.
    task
        Its id.
    log
        Whether the end of its log is read as well.
    """
    rows = failed_rows(reader, [task])
    row = reader.instance_by_id(rows[0].instance) if rows else None
    if row is None:
        return None
    text, cut = _end_of_log(tree, reader, row, rows[0]) if log else ("", False)
    return Example(rows[0], row.segment, error_of(reader, task), text, cut)


def _end_of_log(tree: Tree, reader: Reader, row: InstanceRow, task: FailedRow) -> tuple[str, bool]:
    files = TaskFiles(tree, row.path, task.id, task.text, None, True, lambda names: (), reader.sqlfile)
    try:
        if files.log() is None:
            return "", False
        with files.open_log() as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            data = file.read(LOG_BYTES)
    except (OSError, PipeletError) as error:
        return f"The log can't be read: {error}", False
    cut = size > LOG_BYTES
    text = data.decode("utf-8", "replace")
    # A line whose beginning is missing says little.
    return (text.partition("\n")[2] or text if cut else text).rstrip(), cut
