"""Two versions of a segment side by side: tasks with the same input, and how long tasks took.

There is no index on the digests of inputs: each run would pay for it. Versions mostly have the same tasks in the same
order, so what matches a page of one version is looked for from the same place on in the other; time bounds the search.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipelet.core.model import DIGEST, Status
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import id_list

#: Rows that are looked through at first, and later between two looks at the clock.
_FIRST, _CHUNK = 1000, 10_000
#: Tasks of which the durations are looked at.
MOST_DURATIONS = 3000
#: Tasks that are matched at once; SQLite takes no more than 999 arguments in versions that are still around.
WALKED = 400

_BRIEF = "id, digest, text, status, current, place, begun, ended"
SELECT_FIRST_IDS = "SELECT id FROM task WHERE instance = ? AND current = 1 ORDER BY id LIMIT ?"
SELECT_WALK = f"SELECT {_BRIEF} FROM task WHERE instance = ? AND current = 1 AND id > ? ORDER BY id LIMIT ?"
SELECT_BRIEF = f"""
SELECT {", ".join(f"task.{name}" for name in _BRIEF.split(", "))}
FROM json_each(?) AS listed CROSS JOIN task ON task.id = listed.value"""
SELECT_END = "SELECT max(id) FROM (SELECT id FROM task WHERE instance = ? AND id > ? ORDER BY id LIMIT ?)"
SELECT_MATCHES = """
SELECT digest, id FROM task WHERE instance = ? AND id > ? AND id <= ? AND current = 1 AND digest IN ({})"""
# In digits, since up to SQLite 3.36 the function ends its value where the first byte is zero.
SELECT_DIGESTS = "SELECT group_concat(hex(digest), '') FROM task WHERE instance = ? AND current = 1"
SELECT_DURATIONS = f"""
SELECT ended - begun FROM task
WHERE instance = ? AND current = 1 AND status = {Status.DONE.value} AND ended IS NOT NULL AND begun IS NOT NULL
ORDER BY id LIMIT ?"""


class MatchedTask(NamedTuple):
    """A task on a page that compares."""

    id: int
    digest: bytes  #: of its input
    text: str
    status: int
    current: int
    place: str | None
    begun: float | None
    ended: float | None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return None if self.begun is None or self.ended is None else self.ended - self.begun


class Durations(NamedTuple):
    """How long the done tasks of a version took."""

    number: int  #: so many tasks were looked at
    total: float
    median: float | None
    longest: float | None
    all: bool  #: there are no others


class Search(NamedTuple):
    """What was found of some inputs."""

    found: dict[bytes, int]  #: digest to the task with that input
    whole: bool  #: what was not found is not there


def first_ids(reader: Reader, instance_id: int, limit: int) -> list[int]:
    """Give the ids of the first tasks that the last run wanted of an instance."""
    return [task for (task,) in reader._all(SELECT_FIRST_IDS, instance_id, limit)]


def walk(reader: Reader, instance_id: int, after: int, limit: int) -> list[MatchedTask]:
    """Give tasks that the last run wanted of an instance, by id, after one of them."""
    return list(map(MatchedTask._make, reader._all(SELECT_WALK, instance_id, after, limit)))


def listed(reader: Reader, ids: Sequence[int]) -> dict[int, MatchedTask]:
    """Give some tasks by their ids; unknown ones are left out."""
    return {row[0]: MatchedTask._make(row) for row in reader._all(SELECT_BRIEF, id_list(ids))}


def search(reader: Reader, instance_id: int, digests: Iterable[bytes], near: int, patience: float) -> Search:
    """Look for the tasks of an instance that have some inputs.

    Parameters
    ----------
    reader
        The database.
    instance_id
        Whose tasks.
    digests
        Of the inputs, at most `WALKED`.
    near
        Begin after the task with this id; what lies before it is looked through last.
    patience
        For so many seconds.

    Returns
    -------
    Search
    """
    end = time.monotonic() + patience
    wanted = set(digests)
    chunk = min(_FIRST, _CHUNK)
    found: dict[bytes, int] = {}
    if not wanted:
        return Search(found, True)
    for start, stop in ((near, None), (0, near)) if near else ((0, None),):
        at = start
        while True:
            row = reader._one(SELECT_END, instance_id, at, chunk)
            edge = row[0] if row else None
            if edge is None or (stop is not None and at >= stop):
                break
            statement = SELECT_MATCHES.format(", ".join("?" * len(wanted)))
            matches: Mapping[bytes, int] = dict(reader._all(statement, instance_id, at, edge, *wanted))
            found.update(matches)
            wanted -= matches.keys()
            if not wanted:
                return Search(found, True)
            at, chunk = edge, _CHUNK
            if time.monotonic() > end:
                return Search(found, False)
    return Search(found, True)


def inputs(reader: Reader, instance_id: int) -> set[bytes]:
    """Give the digests of all inputs that the last run wanted of an instance: for those with few tasks."""
    row = reader._one(SELECT_DIGESTS, instance_id)
    data = bytes.fromhex((row and row[0]) or "")
    return {data[start : start + DIGEST] for start in range(0, len(data), DIGEST)}


def durations(reader: Reader, instance_id: int) -> Durations:
    """Give how long the first done tasks of an instance took."""
    found = [seconds for (seconds,) in reader._all(SELECT_DURATIONS, instance_id, MOST_DURATIONS + 1)]
    whole = len(found) <= MOST_DURATIONS
    found = found[:MOST_DURATIONS]
    if not found:
        return Durations(0, 0.0, None, None, True)
    return Durations(len(found), sum(found), statistics.median(found), max(found), whole)
