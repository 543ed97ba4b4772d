"""How a run goes on at this moment. Many look at it, the database is asked once."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow, Reader, versions
from pipelet.statusdb.now import running
from pipelet.storage import Holder, PrefixLock, Tree
from pipelet.web.queries.graph import ordered
from pipelet.web.queries.versions import last_rows

#: So many running tasks are named.
TASKS = 8
#: For so long an answer is given again without a look at the files.
FRESH = 1.0
#: A file that changed so shortly ago may change again and look the same.
_UNSETTLED = 0.1
#: So many tasks tell how long those of a segment take.
_SAMPLE = 200
_FEW = 3


class Progress(NamedTuple):
    """The counts of one segment of the last run."""

    row: InstanceRow
    counts: dict[str, int]

    @property
    def left(self) -> int:
        """How many tasks have not ended."""
        return self.counts.get("queued", 0) + self.counts.get("running", 0)


class Task(NamedTuple):
    """A task that a worker has."""

    id: int
    segment: str
    text: str
    since: float | None
    host: str


class Live(NamedTuple):
    """How a pipeline stands.

    Attributes
    ----------
    revision
        Another one when anything of this has changed.
    holder
        Who holds the prefix.
    is_on
        Whether a run goes on.
    versions
        How many versions there are, and the newest of them: when that changes, the tree has changed.
    segments
        Those of the last run.
    tasks
        The first of those that run.
    left
        Seconds until the end, as far as that can be told.
    more
        Some segments' tasks are not known yet, or how long they take isn't: it may take longer.
    """

    revision: str
    holder: Holder | None
    is_on: bool
    versions: str
    segments: list[Progress]
    tasks: list[Task]
    left: float | None
    more: bool

    def count(self, *statuses: str) -> int:
        """How many tasks have one of these statuses."""
        return sum(one.counts.get(status, 0) for one in self.segments for status in statuses)

    @property
    def total(self) -> int:
        """How many tasks there are."""
        return sum(sum(one.counts.values()) for one in self.segments)

    @property
    def ended(self) -> int:
        """How many tasks need nothing more."""
        return self.count("done", "failed")


class _Seen(NamedTuple):
    stamp: tuple[object, ...]
    at: float
    live: Live


class Watch:
    """Looks at pipelines for many visitors: at most once a second, and only at files that have changed."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def look(self, sqlfile: str, tree: Tree, reader: Callable[[], Reader]) -> Live:
        """Tell how a pipeline stands.

        Parameters
        ----------
        sqlfile, tree
            The pipeline.
        reader
            Opens its database; called where it has to be looked at.
        """
        place = f"{sqlfile}\0{tree.prefix}"
        with self._lock:
            lock = self._locks.setdefault(place, threading.Lock())
        with lock:
            seen, now = self._seen.get(place), time.time()
            if seen is not None and 0 <= now - seen.at < FRESH:
                return seen.live
            stamp = stamp_of(sqlfile, tree)
            unchanged = seen is not None and stamp == seen.stamp and not is_unsettled(stamp, seen.at)
            live = _again(seen.live, tree, now) if seen and unchanged else look(reader(), tree, now)
            self._seen[place] = _Seen(stamp, now, live)
            return live


def stamp_of(sqlfile: str, tree: Tree) -> tuple[object, ...]:
    """What changes when a database or the last run of a prefix does."""
    found: list[object] = []
    for path in (sqlfile, sqlfile + "-wal", os.path.join(tree.log_dir, "last_run")):
        try:
            state = os.stat(path)
            found.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)


def is_unsettled(stamp: tuple[object, ...], now: float) -> bool:
    """Whether files had changed so shortly before that they may have changed since without a trace."""
    return any(isinstance(part, tuple) and now - part[2] / 1e9 < _UNSETTLED for part in stamp)


def look(reader: Reader, tree: Tree, now: float) -> Live:
    """Tell how a pipeline stands, from its database.

    Parameters
    ----------
    reader, tree
        The pipeline.
    now
        Seconds since the epoch.
    """
    holder = holder_of(tree)
    rows = reader.instances()
    chosen, _ = last_rows(rows, tree)
    tally = reader.tally([row.id for row in chosen])
    segments = [Progress(row, ordered(tally[row.id])) for row in chosen]
    tasks: list[Task] = []
    first: dict[int, int] = {}
    for one in segments:
        if one.counts.get(str(Status.RUNNING)):
            found = running(reader, one.row.id, TASKS)
            if found:
                first[one.row.id] = found[0].id
            host = holder.host if holder is not None else ""
            tasks += [Task(task.id, one.row.segment, task.text, task.begun, task.host or host) for task in found]
    is_on = holder is not None and holder.alive
    left, more = _time_left(reader, rows, segments, first) if is_on else (None, False)
    newest = max((row.id for row in rows), default=0)
    live = Live("", holder, is_on, f"{len(rows)}.{newest}", segments, tasks[:TASKS], left, more)
    return _with_revision(live)


def holder_of(tree: Tree) -> Holder | None:
    """Who holds a prefix, as far as that can be read."""
    try:
        return PrefixLock(tree.lock_path).holder()
    except StorageError:
        return None


def words_left(seconds: float | None, more: bool) -> str:
    """A time left, as roughly as it is known."""
    if seconds is None:
        return ""
    start = "at least" if more else "about"
    if seconds < 10:
        return "at least a few seconds left" if more else "a few seconds left"
    for length, unit, most in ((1.0, "s", 55.0), (60.0, "min", 90 * 60.0), (3600.0, "h", 48 * 3600.0)):
        if seconds < most:
            number = round(seconds / length)
            # To the ten seconds: nobody wants to see them jump.
            number = -(-number // 10) * 10 if unit == "s" else max(1, number)
            return f"{start} {number} {unit} left"
    return f"{start} {round(seconds / 86400)} days left"


def _again(live: Live, tree: Tree, now: float) -> Live:
    """The same with who holds the prefix now, which the database doesn't know."""
    holder = holder_of(tree)
    is_on = holder is not None and holder.alive
    return _with_revision(live._replace(holder=holder, is_on=is_on, left=live.left if is_on else None))


def _with_revision(live: Live) -> Live:
    words = (
        live.versions, live.is_on, live.holder and (live.holder.host, live.holder.pid, live.holder.alive),
        [(one.row.id, sorted(one.counts.items()), one.row.waiting) for one in live.segments],
        live.tasks, words_left(live.left, live.more),
    )
    return live._replace(revision=hashlib.sha256(repr(words).encode("utf-8", "replace")).hexdigest()[:16])


def _time_left(
    reader: Reader, rows: Sequence[InstanceRow], segments: Sequence[Progress], first: dict[int, int]
) -> tuple[float | None, bool]:
    """How long the tasks take that have not ended, and whether there may be more of them.

    Each segment's tasks are taken to last as long as some that ended shortly before, or as those of its last version.
    """
    working = [one for one in segments if one.left]
    busy = max(1, sum(one.counts.get("running", 0) for one in segments))
    # The children of what has not ended may get more tasks.
    unfinished = {one.row.id for one in working}
    more = any(not one.counts and unfinished.intersection(one.row.parents) for one in segments)
    work = 0.0
    for one in working:
        sample = versions.durations(reader, one.row.id, first.get(one.row.id), _SAMPLE)
        if len(working) == 1 and len(sample) >= _FEW:
            # The pace at which they ended knows what there is beside the tasks themselves.
            pace = _pace(sample)
            if pace is not None:
                return one.left * pace, more
        if not sample:
            older = [row for row in rows if row.segment == one.row.segment and row.id != one.row.id]
            sample = versions.durations(reader, older[0].id, None, _SAMPLE) if older else []
        if not sample:
            more = True
            continue
        work += one.left * sum(ended - begun for begun, ended in sample) / len(sample)
    if not working or (more and not work):
        return None, more
    return work / busy, more


def _pace(sample: Sequence[tuple[float, float]]) -> float | None:
    """Seconds from the end of one task to the end of the next; ``None`` where they are not of one go."""
    ends = sorted(ended for _, ended in sample)
    steps = [after - before for before, after in itertools.pairwise(ends)]
    longest = max(ended - begun for begun, ended in sample)
    # A run that was stopped and went on the next day leaves a gap.
    if not steps or max(steps) > 2 * longest + 1:
        return None
    return (ends[-1] - ends[0]) / len(steps)
