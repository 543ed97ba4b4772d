"""What runs at this moment, for those who look on: few rows, and none of their large values."""

from __future__ import annotations

from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.statusdb.reader import Reader

# The status stands in the text: only so SQLite sees that the partial index will do.
SELECT_RUNNING = f"""
SELECT id, text, begun, host FROM task
WHERE instance = ? AND status = {Status.RUNNING.value} AND current = 1 ORDER BY id LIMIT ?"""


class RunningRow(NamedTuple):
    """A task that a worker has."""

    id: int
    text: str
    begun: float | None
    host: str | None


def running(reader: Reader, instance_id: int, limit: int) -> list[RunningRow]:
    """The first tasks of an instance that workers have, by id."""
    return list(map(RunningRow._make, reader._all(SELECT_RUNNING, instance_id, limit)))
