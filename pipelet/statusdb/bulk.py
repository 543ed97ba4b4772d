"""Writing very many small task rows: many to a statement, and in the forms that Python's sqlite3 binds fast.

Before ``sqlite3`` binds bytes, or None, it looks for adapters of their type, which takes longer than all the rest; of a
``bytearray`` it knows that there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from pipelet.core.model import Status
from pipelet.statusdb import statements as sql
from pipelet.statusdb.rows import QueuedTask

#: ``UPDATE ... FROM`` came with this version of SQLite.
_CAN_UPDATE_FROM = sqlite3.sqlite_version_info >= (3, 33)
#: Rows with more bytes than this go one by one: SQLite copies all the values of a statement.
_SMALL = 4096
_DONE = Status.DONE

_Values = tuple[Any, ...]


def insert_queued(connection: sqlite3.Connection, instance_id: int, tasks: Sequence[QueuedTask]) -> None:
    """Insert the rows of tasks of one instance that are queued for the first time."""
    small: list[_Values] = []
    large: list[_Values] = []
    for task, digest, current, text, blobs, parents, _ in tasks:
        if blobs is None or len(blobs) > _SMALL:
            large.append((instance_id, task, digest, current, text, blobs, parents))
        else:
            small.append((task, bytearray(digest), current, text, bytearray(blobs), parents))
    whole = len(small) - len(small) % sql.MANY
    connection.executemany(sql.INSERT_MANY_QUEUED, _joined(small, whole, instance_id))
    connection.executemany(sql.INSERT_QUEUED, [(instance_id, *values) for values in small[whole:]])
    connection.executemany(sql.INSERT_QUEUED, large)


def update_results(connection: sqlite3.Connection, events: Sequence[Sequence[Any]]) -> None:
    """Write what came of tasks into their rows, from the events of a journal that say all of them."""
    plain: list[_Values] = []
    others: list[_Values] = []
    for event in events:
        _, task, _, status, _, place, _, _, output, digests, texts, _, asked, begun, ended, host, pid, error, *_ = event
        if (
            status == _DONE and place is None and asked is None and error is None
            and (output is None or len(output) < _SMALL)
        ):
            plain.append(
                (
                    task,
                    None if output is None else bytearray(output),
                    None if digests is None else bytearray(digests),
                    None if texts is None else bytearray(texts),
                    begun, ended, host, pid,
                )
            )
        else:
            others.append((status, place, output, digests, texts, asked, begun, ended, host, pid, error, task))
    whole = len(plain) - len(plain) % sql.MANY if _CAN_UPDATE_FROM else 0
    if whole:
        connection.executemany(sql.UPDATE_MANY_PLAIN, _joined(plain, whole))
    connection.executemany(sql.UPDATE_PLAIN, plain[whole:])
    connection.executemany(sql.UPDATE_RESULT, others)


def _joined(rows: list[_Values], stop: int, *first: Any) -> Iterator[list[Any]]:
    for start in range(0, stop, sql.MANY):
        yield [*first, *chain.from_iterable(rows[start : start + sql.MANY])]
