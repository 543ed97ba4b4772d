"""Writing very many small task rows: many to a statement, and in the forms that Python's sqlite3 binds fast.

Before ``sqlite3`` binds bytes, or None, it looks for adapters of their type, which takes longer than all the rest; of a
``bytearray`` it knows that there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from pipelet.statusdb import statements as sql
from pipelet.statusdb.rows import TaskRow

#: ``UPDATE ... FROM`` came with this version of SQLite.
_CAN_UPDATE_FROM = sqlite3.sqlite_version_info >= (3, 33)
#: Rows with more bytes than this go one by one: SQLite copies all the values of a statement.
_SMALL = 4096

_Values = tuple[Any, ...]


def insert_queued(connection: sqlite3.Connection, rows: Sequence[TaskRow]) -> None:
    """Insert the rows of tasks that are queued for the first time."""
    one: list[_Values] = []
    many: list[_Values] = []
    for task, instance, digest, status, current, _, text, blobs, _, _, _, parents, *_, aside in rows:
        values = (
            task, instance, bytearray(digest), status, current, text,
            None if blobs is None else bytearray(blobs), parents, aside,
        )
        (many if blobs is None or len(blobs) < _SMALL else one).append(values)
    _execute(connection, sql.INSERT_MANY_QUEUED, sql.INSERT_QUEUED, many)
    connection.executemany(sql.INSERT_QUEUED, one)


def update_results(connection: sqlite3.Connection, rows: Sequence[TaskRow]) -> None:
    """Write what came of tasks into their rows."""
    plain: list[_Values] = []
    others: list[_Values] = []
    for row in rows:
        task, _, _, status, _, place, _, _, output, digests, texts, _, asked, begun, ended, host, pid, error, _ = row
        if place is None and asked is None and error is None and (output is None or len(output) < _SMALL):
            plain.append(
                (
                    task, status,
                    None if output is None else bytearray(output),
                    None if digests is None else bytearray(digests),
                    None if texts is None else bytearray(texts),
                    begun, ended, host, pid,
                )
            )
        else:
            others.append((status, place, output, digests, texts, asked, begun, ended, host, pid, error, task))
    _execute(connection, sql.UPDATE_MANY_PLAIN if _CAN_UPDATE_FROM else None, sql.UPDATE_PLAIN, plain)
    connection.executemany(sql.UPDATE_RESULT, others)


def _execute(connection: sqlite3.Connection, many: str | None, one: str, rows: list[_Values]) -> None:
    whole = len(rows) - len(rows) % sql.MANY if many is not None else 0
    if many is not None and whole:
        connection.executemany(many, _joined(rows, whole))
    connection.executemany(one, rows[whole:])


def _joined(rows: list[_Values], stop: int) -> Iterator[list[Any]]:
    for start in range(0, stop, sql.MANY):
        yield list(chain.from_iterable(rows[start : start + sql.MANY]))
