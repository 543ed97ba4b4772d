"""Looking through a whole database for what can't be, and setting right what nobody else writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from pipelet.statusdb.opening import translated
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import id_list
from pipelet.statusdb.writer import Writer

#: So many problems of the file are told.
INTEGRITY = "PRAGMA integrity_check(3)"
#: Rows that belong to nothing, by table: how many there are, and how they go.
_ORPHANED: Mapping[str, str] = {
    "task": "FROM task WHERE instance NOT IN (SELECT id FROM instance)",
    "param": "FROM param WHERE task NOT IN (SELECT id FROM task)",
    "tag": "FROM tag WHERE instance NOT IN (SELECT id FROM instance)",
    "tally": "FROM tally WHERE instance NOT IN (SELECT id FROM instance)",
}
COUNT_ORPHANS: Mapping[str, str] = {table: f"SELECT count(*) {rows}" for table, rows in _ORPHANED.items()}
DELETE_ORPHANS: tuple[str, ...] = tuple(f"DELETE {rows}" for rows in _ORPHANED.values())
DELETE_TALLIES = "DELETE FROM tally"
COUNT_AGAIN = """
INSERT INTO tally (instance, status, n)
SELECT instance, status, count(*) FROM task WHERE current = 1 GROUP BY instance, status"""
FORGET_SETTLED = "DELETE FROM settled"
UPDATE_FACTS = "UPDATE instance SET segment = ?, path = ?, parents = ?, created = ? WHERE id = ?"


def integrity(reader: Reader) -> list[str]:
    """What SQLite finds wrong in the whole file and its indexes; empty where it is sound."""
    try:
        verdicts = [str(verdict) for (verdict,) in reader._connection.execute(INTEGRITY)]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [] if verdicts == ["ok"] else [line for verdict in verdicts for line in verdict.splitlines()]


def orphans(reader: Reader) -> dict[str, int]:
    """Numbers of rows, by table, that belong to an instance or a task that is not there."""
    found = {}
    for table, statement in COUNT_ORPHANS.items():
        row = reader._one(statement)
        if row is not None and row[0]:
            found[table] = int(row[0])
    return found


def delete_orphans(writer: Writer) -> None:
    """Delete the rows that `orphans` counts."""
    with writer.transaction():
        for statement in DELETE_ORPHANS:
            writer._do(statement)


def count_again(writer: Writer) -> None:
    """Make the tallies anew from the tasks."""
    with writer.transaction():
        writer._do(DELETE_TALLIES)
        writer._do(COUNT_AGAIN)


def forget_settled(writer: Writer) -> None:
    """Let the next run look at everything again, whatever an earlier one found in order."""
    with writer.transaction():
        writer._do(FORGET_SETTLED)


def set_facts(writer: Writer, instance: int, segment: str, path: str, parents: Sequence[int], created: float) -> None:
    """Write the columns of an instance that its ``.meta`` and its place decide.

    Parameters
    ----------
    writer
        The database.
    instance
        Its id.
    segment, path, parents, created
        As for `Writer.add_instance`.
    """
    with writer.transaction(), translated(writer.sqlfile):
        writer._do(UPDATE_FACTS, segment, path, id_list(parents), created, instance)
