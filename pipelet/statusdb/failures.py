"""The failed tasks of an instance, for those who look on: what is small of all of them, and errors where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipelet.core.model import Mark, Status
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import id_list

# The status stands in the text: only so SQLite sees that the partial index will do.
SELECT_FAILED = f"""
SELECT id, coalesce(ended, 0), aside = {Mark.ASIDE.value} FROM task
WHERE instance = ? AND status = {Status.FAILED.value} AND current = 1 ORDER BY id"""
SELECT_LISTED = """
SELECT task.id, instance, text, begun, ended, host, aside, status FROM json_each(?) AS listed
CROSS JOIN task ON task.id = listed.value"""
#: What is longer is cut in the middle.
_LONG = 20_000
SELECT_ERROR = f"""
SELECT CASE WHEN length(error) <= {_LONG} THEN error
    ELSE substr(error, 1, {_LONG // 4}) || char(10) || '[' || (length(error) - {_LONG}) || ' characters left out]'
        || char(10) || substr(error, {-(_LONG - _LONG // 4)}) END
FROM task WHERE id = ?"""


class FailedRow(NamedTuple):
    """A task that failed, or that had failed when it was looked for."""

    id: int
    instance: int
    text: str
    begun: float | None
    ended: float | None
    host: str | None
    aside: int
    status: int

    @property
    def set_aside(self) -> bool:
        """Whether no run tries it."""
        return self.aside == Mark.ASIDE


def failed_tasks(reader: Reader, instance_id: int) -> list[tuple[int, float, int]]:
    """The failed tasks of an instance that the last run wanted: id, when it ended, whether it is set aside."""
    return reader._all(SELECT_FAILED, instance_id)


def failed_rows(reader: Reader, ids: Sequence[int]) -> list[FailedRow]:
    """What is shown of some tasks in a list, in the order of the ids; those that are gone are passed over."""
    return list(map(FailedRow._make, reader._all(SELECT_LISTED, id_list(ids))))


def error_of(reader: Reader, task: int) -> str:
    """The error of a task; one that is very long comes without its middle."""
    row = reader._one(SELECT_ERROR, task)
    return str(row[0]) if row is not None and row[0] is not None else ""
