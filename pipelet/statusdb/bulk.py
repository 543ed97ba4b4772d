"""Writing very many small task rows: many to a statement, and in the forms that Python's sqlite3 binds fast.

Before ``sqlite3`` binds bytes, or None, it looks for adapters of their type, which takes longer than all the rest; of a
number, a string or a ``bytearray`` it knows that there is none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from pipelet.core.model import Status
from pipelet.statusdb import statements as sql
from pipelet.statusdb.rows import QueuedTask, id_list

#: ``UPDATE ... FROM`` came with this version of SQLite.
_CAN_UPDATE_FROM = sqlite3.sqlite_version_info >= (3, 33)
#: Rows with more bytes than this go one by one: SQLite copies all the values of a statement.
_SMALL = 4096
_DONE = Status.DONE

_Values = list[Any]


def insert_queued(connection: sqlite3.Connection, instance_id: int, tasks: Sequence[QueuedTask]) -> None:
    """Insert the rows of tasks of one instance that are queued for the first time."""
    small: list[QueuedTask] = []
    large: list[QueuedTask] = []
    for task in tasks:
        (large if task.input is None or len(task.input) > _SMALL else small).append(task)
    whole = len(small) - len(small) % sql.MANY
    connection.executemany(sql.INSERT_MANY_QUEUED, _queued_values(small[:whole], instance_id))
    connection.executemany(sql.INSERT_QUEUED, [[instance_id, *task[:-1]] for task in small[whole:] + large])


def _queued_values(tasks: Sequence[QueuedTask], instance_id: int) -> Iterator[_Values]:
    values: _Values = []
    for count, (task, digest, current, text, blobs, parents, _) in enumerate(tasks, 1):
        values += (instance_id, task, bytearray(digest), current, text, bytearray(blobs or b""), parents)
        if count % sql.MANY == 0:
            yield values
            values = []


def update_results(connection: sqlite3.Connection, events: Sequence[Sequence[Any]]) -> None:
    """Write what came of tasks into their rows, from the events of a journal that say all of them."""
    plain: list[Sequence[Any]] = []
    others: list[_Values] = []
    jobs: dict[str, list[int]] = {}
    for event in events:
        (
            _, task, _, status, _, place, _, _, output, digests, texts, _, asked, begun, ended, host, pid, error, _,
            job, _,
        ) = event
        small = output is None or len(output) < _SMALL
        if small and status == _DONE and place is None and asked is None and error is None:
            plain.append(event)
            if job is not None:
                jobs.setdefault(job, []).append(task)
        else:
            others.append([status, place, output, digests, texts, asked, begun, ended, host, pid, error, job, task])
    whole = len(plain) - len(plain) % sql.MANY if _CAN_UPDATE_FROM else 0
    if whole:
        connection.executemany(sql.UPDATE_MANY_PLAIN, _plain_values(plain[:whole], sql.MANY))
    connection.executemany(sql.UPDATE_PLAIN, _plain_values(plain[whole:], 1))
    connection.executemany(sql.UPDATE_RESULT, others)
    connection.executemany(sql.UPDATE_JOB, [(job, id_list(tasks)) for job, tasks in jobs.items()])


def _plain_values(events: Sequence[Sequence[Any]], number: int) -> Iterator[_Values]:
    values: _Values = []
    for count, event in enumerate(events, 1):
        _, task, _, _, _, _, _, _, output, digests, texts, _, _, begun, ended, host, pid, _, _, _, _ = event
        values += (
            None if output is None else bytearray(output),
            None if digests is None else bytearray(digests),
            None if texts is None else bytearray(texts),
            begun, ended, host, pid, task,
        )
        if count % number == 0:
            yield values
            values = []
