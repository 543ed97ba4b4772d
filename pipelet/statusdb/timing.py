"""When tasks ran: the few bytes of each that a picture of the time needs."""

from __future__ import annotations

from pipelet.core.model import Status
from pipelet.statusdb.reader import Reader

#: So many rows are looked at between two moments at which a reader may stop.
PIECE = 20_000

SELECT_LAST_OF_PIECE = """
SELECT max(id) FROM (SELECT id FROM task WHERE instance = ? AND id > ? ORDER BY id LIMIT ?)"""
# The product is mixed, since the tasks of two segments may have got their numbers in turns.
SELECT_TIMES = f"""
SELECT id, begun, CASE WHEN status = {Status.RUNNING.value} THEN NULL ELSE ended END, host FROM task
WHERE instance = ? AND id > ? AND id <= ? AND (id * 40503 >> 8) % ? = 0
AND begun IS NOT NULL AND (ended >= begun OR status = {Status.RUNNING.value}) ORDER BY id"""
SELECT_REVISIONS = "SELECT instance, revision FROM settled"

#: The id of a task, when it began, when it ended (None while it runs) and on which host it ran.
Times = tuple[int, float, float | None, str | None]


def times(reader: Reader, instance_id: int, after: int, every: int = 1) -> tuple[int, list[Times]] | None:
    """Read when the next tasks of an instance ran, those of older versions as well.

    Parameters
    ----------
    reader
        The database.
    instance_id
        Which instance.
    after
        The id that the piece before ended with; 0 for the first.
    every
        Only one of so many tasks.

    Returns
    -------
    tuple or None
        The id that this piece ends with, and those of its tasks that have begun; None where there are no more.
    """
    ((last,),) = reader._all(SELECT_LAST_OF_PIECE, instance_id, after, PIECE)
    return None if last is None else (last, reader._all(SELECT_TIMES, instance_id, after, last, every))


def revisions(reader: Reader) -> dict[int, int]:
    """How often the tasks of each instance were changed."""
    return dict(reader._all(SELECT_REVISIONS))
