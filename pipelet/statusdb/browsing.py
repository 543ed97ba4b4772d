"""Tasks a page at a time, for those who look on: never all of them, and never for longer than a moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from heapq import merge
from itertools import islice
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import TaskRow, id_list

#: So long a search may take.
PATIENCE = 2.0
#: Rows that are looked through between two looks at the clock.
_CHUNK = 20_000
#: Larger values are not read for a page.
LARGE_VALUE = 8 << 20

#: What can be sorted by, as a number of each task; what has none comes last in either direction.
_KEYS = {"id": "id", "begun": "begun", "duration": "(ended - begun)"}
SORTS = tuple(_KEYS)
#: Which tasks: those that the last run wanted, older versions, those that it no longer wanted, all.
_VERSIONS = {"current": "current = 1", "superseded": "current = 0", "unwanted": "current = 2", "all": "current >= 0"}
VERSIONS = tuple(_VERSIONS)
# The status stands in the text: only so SQLite sees that the partial index will do.
_STATUS: dict[Status | None, str] = {None: "", **{status: f" AND status = {status.value}" for status in Status}}
_COLUMNS = "id, text, status, current, place, begun, ended, host, aside"
SELECT_END = """
SELECT max(id), count(*) FROM (SELECT id FROM task WHERE instance = ? AND id > ?{} ORDER BY id LIMIT ?)"""
SELECT_BEGIN = """
SELECT min(id), count(*) FROM (SELECT id FROM task WHERE instance = ? AND id < ?{} ORDER BY id DESC LIMIT ?)"""
SELECT_ROWS = """
SELECT {columns}, {key} AS place_in_order FROM task
WHERE instance = ? AND id >= ? AND id <= ? AND {version}{status}{search} AND ({key}, id) {sign} (?, ?)
ORDER BY place_in_order {way}, id {way} LIMIT ?"""
_SEARCH = " AND (text LIKE ? ESCAPE '\\' OR id = ?)"
SELECT_NAMES = "SELECT id, text FROM task WHERE instance = ? AND id IN (SELECT value FROM json_each(?))"
SELECT_BRIEF = f"""
SELECT {", ".join(f"task.{name}" for name in _COLUMNS.split(", "))}, task.instance
FROM json_each(?) AS listed CROSS JOIN task ON task.id = listed.value"""
SELECT_CHILDREN = f"""
SELECT {_COLUMNS}, instance FROM task WHERE instance = ? AND id >= ? AND id <= ? AND current = 1 AND ({{}}) LIMIT ?"""
SELECT_SETS = "SELECT digest FROM task_set WHERE {} LIMIT 50"
_HEAVY = ("input", "output", "digests", "texts")
SELECT_DETAILS = f"""
SELECT {", ".join(
    f"CASE WHEN length({name}) <= {LARGE_VALUE} THEN {name} END" if name in _HEAVY else name
    for name in TaskRow._fields
)}, length(input), length(output) FROM task WHERE id = ?"""

_FAR = 1e308
_LAST_ID = (1 << 63) - 1


class BriefTask(NamedTuple):
    """A task on a page of many: none of its large values."""

    id: int
    text: str
    status: int
    current: int
    place: str | None
    begun: float | None
    ended: float | None
    host: str | None
    aside: int

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return None if self.begun is None or self.ended is None else self.ended - self.begun


class Choice(NamedTuple):
    """Which tasks of an instance are asked for, and in which order."""

    status: Status | None = None
    search: str = ""
    sort: str = "id"  #: one of `SORTS`
    down: bool = False  #: the largest first
    version: str = "current"  #: one of `VERSIONS`


class TaskPage(NamedTuple):
    """Some tasks in their order."""

    tasks: list[BriefTask]
    before: str | None  #: where the page before this one ends; ``None``: there is none
    after: str | None  #: where the next one begins
    gave_up: bool = False  #: the time was over before all had been looked through


class Details(NamedTuple):
    """One task, but for values that are too large for a page."""

    row: TaskRow
    input_size: int | None
    output_size: int | None


def task_page(
    reader: Reader, instance: int, choice: Choice, limit: int, after: str = "", before: str = "",
    patience: float | None = None,
) -> TaskPage:
    """Give a page of the tasks of an instance.

    Parameters
    ----------
    reader
        The database.
    instance
        Which one.
    choice
        Which tasks, in which order.
    limit
        So many.
    after, before
        Where another page ended or began: its ``after`` or ``before``.
    patience
        Give up after so many seconds; `PATIENCE` unless given.

    Returns
    -------
    TaskPage

    Raises
    ------
    ValueError
        A place is none that an earlier page gave.
    """
    # To find that there is none would take a look at all tasks.
    if choice.version == "current" and choice.status not in (None, *reader.tally([instance]).get(instance, {})):
        return TaskPage([], None, None)
    scan = _Scan(reader, instance, choice, limit + 1, PATIENCE if patience is None else patience)
    rows = scan.rows(_place(before or after), bool(before))
    more = len(rows) > limit
    rows = rows[:limit]
    if before:
        rows.reverse()
    tasks = [BriefTask._make(row[:-1]) for row in rows]
    first = _mark(rows[0]) if rows else None
    last = _mark(rows[-1]) if rows else None
    if scan.reached is not None and not before:
        # The search goes on where it was given up, not after the last thing it found.
        last, more = f"{scan.reached!r}:{scan.reached}", True
    if before:
        return TaskPage(tasks, first if more else None, last, scan.gave_up)
    return TaskPage(tasks, first if after else None, last if more else None, scan.gave_up)


class _Scan:
    """Looks through the tasks of an instance, some thousands at a time, until there are enough or the time is over."""

    def __init__(self, reader: Reader, instance: int, choice: Choice, limit: int, patience: float) -> None:
        self._reader = reader
        self._instance = instance
        self._limit = limit
        self._end = time.monotonic() + patience
        self._choice = choice
        self.gave_up = False
        self.reached: int | None = None
        key = _KEYS[choice.sort]
        far = -_FAR if choice.down else _FAR
        self._key = key if choice.sort == "id" else f"coalesce({key}, {far})"
        search = choice.search.strip()
        self._search: tuple[object, ...] = ()
        if search:
            escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            number = int(search) if search.isascii() and search.isdigit() and len(search) < 19 else -1
            self._search = (f"%{escaped}%", number)

    def rows(self, place: tuple[float, int] | None, backwards: bool) -> list[tuple[object, ...]]:
        """Find the rows that come next after a place, or before it, nearest first."""
        down = self._choice.down != backwards
        start: tuple[float, int] = place or ((_FAR * 10, _LAST_ID) if down else (-_FAR * 10, -1))
        by_id = self._choice.sort == "id"
        statement = SELECT_ROWS.format(
            columns=_COLUMNS, key=self._key, version=_VERSIONS[self._choice.version],
            status=_STATUS[self._choice.status], search=_SEARCH if self._search else "",
            sign="<" if down else ">", way="DESC" if down else "ASC",
        )
        found: list[tuple[object, ...]] = []
        edge = start[1] if by_id else (_LAST_ID if down else -1)
        # In the order of the ids a page most often lies near: only where it does not are larger steps worth it.
        step = min(_CHUNK, 4 * self._limit) if by_id else _CHUNK
        while True:
            first, last, count = self._chunk(edge, down, step)
            if not count:
                return found
            arguments = (self._instance, first, last, *self._search, *start, self._limit)
            rows = self._reader._all(statement, *arguments)
            found = found + rows if by_id else _merged(found, rows, down, self._limit)
            if by_id and len(found) >= self._limit:
                return found[: self._limit]
            if count < step:
                return found
            edge, step = first if down else last, min(_CHUNK, 4 * step)
            if time.monotonic() > self._end:
                self.gave_up = True
                self.reached = edge if by_id else None
                return found

    def _chunk(self, edge: int, down: bool, size: int) -> tuple[int, int, int]:
        """The next ids to look at: from, to, and how many tasks there are."""
        statement = (SELECT_BEGIN if down else SELECT_END).format(_STATUS[self._choice.status])
        row = self._reader._one(statement, self._instance, edge, size)
        assert row is not None
        other, count = row
        return (other or 0, edge - 1, count) if down else (edge + 1, other or 0, count)


def _merged(
    mine: list[tuple[object, ...]], others: list[tuple[object, ...]], down: bool, limit: int
) -> list[tuple[object, ...]]:
    def order(row: tuple[object, ...]) -> tuple[object, object]:
        return row[-1], row[0]

    return list(islice(merge(mine, others, key=order, reverse=down), limit))


def _mark(row: tuple[object, ...]) -> str:
    return f"{row[-1]!r}:{row[0]}"


def _place(text: str) -> tuple[float, int] | None:
    if not text:
        return None
    value, _, number = text[:100].partition(":")
    key: float = int(value) if value.lstrip("-").isdigit() else float(value)
    return key, max(min(int(number), _LAST_ID), -1)


def names_of(reader: Reader, instance: int, ids: Sequence[int]) -> dict[int, str]:
    """The inputs as text of those tasks that belong to an instance."""
    return dict(reader._all(SELECT_NAMES, instance, id_list(ids)))


def brief(reader: Reader, ids: Sequence[int]) -> list[tuple[BriefTask, int]]:
    """Some tasks, each with its instance, in the order of the list; unknown ids are passed over."""
    return [(BriefTask._make(row[:-1]), row[-1]) for row in reader._all(SELECT_BRIEF, id_list(ids))]


def details(reader: Reader, task: int) -> Details | None:
    """One task, and how large its input and output are; values beyond `LARGE_VALUE` are not read."""
    row = reader._one(SELECT_DETAILS, task)
    return None if row is None else Details(TaskRow._make(row[:-2]), row[-2], row[-1])


def children(
    reader: Reader, task: int, instances: Sequence[int], limit: int, patience: float
) -> tuple[list[tuple[BriefTask, int]], bool]:
    """Find the tasks that the last run made of what a task gave.

    Parameters
    ----------
    reader
        The database.
    task
        The parent.
    instances
        Where its children may be.
    limit
        End after so many.
    patience
        Give up after so many seconds.

    Returns
    -------
    tuple
        The children, each with its instance, and whether all tasks were looked through.
    """
    end = time.monotonic() + patience
    inside = [f"%[{task}]%", f"%[{task},%", f"%,{task},%", f"%,{task}]%"]
    sets = reader._all(SELECT_SETS.format(" OR ".join(["ids LIKE ?"] * len(inside))), *inside)
    patterns = [*inside, *(f'%"{digest}"%' for (digest,) in sets)]
    statement = SELECT_CHILDREN.format(" OR ".join(["parents LIKE ?"] * len(patterns)))
    found: list[tuple[BriefTask, int]] = []
    for instance in instances:
        edge = -1
        while len(found) < limit:
            row = reader._one(SELECT_END.format(""), instance, edge, _CHUNK)
            if row is None or not row[1]:
                break
            rows = reader._all(statement, instance, edge + 1, row[0], *patterns, limit - len(found))
            found += [(BriefTask._make(item[:-1]), item[-1]) for item in rows]
            edge = row[0]
            if time.monotonic() > end:
                return found, False
    return found, len(found) < limit
