"""Two versions of a segment side by side: tasks with the same input, and how long tasks took."""

from __future__ import annotations

from pipelet.statusdb.reader import Reader

SELECT_FIRST_IDS = "SELECT id FROM task WHERE instance = ? AND current = 1 ORDER BY id LIMIT ?"


def first_ids(reader: Reader, instance_id: int, limit: int) -> list[int]:
    """Give the ids of the first tasks that the last run wanted of an instance."""
    return [task for (task,) in reader._all(SELECT_FIRST_IDS, instance_id, limit)]
