"""The tasks that somebody may mark, and the errors of those that failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.failurekinds import HEAD, TAIL
from pipelet.statusdb.reader import PAGE, Reader
from pipelet.statusdb.rows import id_list, in_pieces

_LISTED = "FROM json_each(?) AS listed CROSS JOIN task ON task.id = listed.value"
_STATES = "task.id, instance, status, current, aside"
SELECT_LISTED = f"SELECT {_STATES} {_LISTED}"
# The status stands in the text: only so SQLite sees that the partial index will do.
SELECT_FAILED = f"""
SELECT {_STATES} FROM task WHERE instance = ? AND status = {Status.FAILED.value} AND current = 1 ORDER BY id"""
SELECT_DONE = f"""
SELECT {_STATES} FROM task WHERE instance = ? AND status = {Status.DONE.value} AND current = 1 ORDER BY id"""
SELECT_MARKED = f"SELECT {_STATES} FROM task WHERE aside > 0 AND instance = ? ORDER BY id"
#: Very long errors come without their middle.
SHORT_ERROR = f"""CASE WHEN length(error) <= {HEAD + TAIL} THEN error
    ELSE substr(error, 1, {HEAD}) || char(10) || substr(error, {-TAIL}) END"""
SELECT_ERRORS = f"SELECT task.id, {SHORT_ERROR} {_LISTED}"


class TaskState(NamedTuple):
    """What decides whether a task can be marked."""

    id: int
    instance: int
    status: int
    current: int
    aside: int  #: a `pipelet.core.model.Mark`


def states(reader: Reader, ids: Sequence[int]) -> list[TaskState]:
    """How some tasks stand; unknown ids are passed over."""
    return list(map(TaskState._make, reader._all(SELECT_LISTED, id_list(ids))))


def failed(reader: Reader, instance_id: int) -> list[TaskState]:
    """The tasks of an instance that the last run wanted and that failed, by id."""
    return list(map(TaskState._make, reader._all(SELECT_FAILED, instance_id)))


def done(reader: Reader, instance_id: int) -> list[TaskState]:
    """The tasks of an instance that the last run wanted and that are done, by id."""
    return list(map(TaskState._make, reader._all(SELECT_DONE, instance_id)))


def marked(reader: Reader, instance_id: int) -> list[TaskState]:
    """The tasks of an instance that have a mark, by id."""
    return list(map(TaskState._make, reader._all(SELECT_MARKED, instance_id)))


def errors(reader: Reader, ids: Sequence[int]) -> Iterator[tuple[int, str | None]]:
    """Go through the errors of some tasks; very long ones come without their middle."""
    for piece in in_pieces(ids, PAGE):
        yield from reader._all(SELECT_ERRORS, id_list(piece))
