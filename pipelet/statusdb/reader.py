"""Reading the status database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

from pipelet.core.model import Mark, Status
from pipelet.schema import migrate
from pipelet.statusdb import statements as sql
from pipelet.statusdb.columns import Columns
from pipelet.statusdb.opening import BUSY_TIMEOUT, absolute, open_for_reading, translated
from pipelet.statusdb.rows import (
    InstanceRow,
    OutputRow,
    ParamRow,
    PlanRow,
    QueuedTask,
    TaskRow,
    id_list,
    in_pieces,
    instance_row,
    read_id_list,
)

#: Rows that are read at once. Between pages no lock is held: a page that is looked at slowly never blocks a run.
PAGE = 1000
#: Bytes of large values after which a page ends early.
PAGE_BYTES = 16 << 20

ReaderType = TypeVar("ReaderType", bound="Reader")

#: What ``_make`` gives, in a third of the time.
_plan_row: Callable[[tuple[Any, ...]], PlanRow] = partial(tuple.__new__, PlanRow)
_queued_task: Callable[[tuple[Any, ...]], QueuedTask] = partial(tuple.__new__, QueuedTask)


class Reader(Columns):
    """A read-only view of a status database, also while a run writes to it.

    Made by `Reader.open`; used from one thread, and closed at the end: it is a context manager.
    """

    def __init__(self, connection: sqlite3.Connection, sqlfile: str) -> None:
        self._connection = connection
        self.sqlfile = sqlfile

    @classmethod
    def open(cls, sqlfile: str | os.PathLike[str], *, busy_timeout: float = BUSY_TIMEOUT) -> Reader:
        """Open a database for reading.

        Nothing is ever written beside the file: where a killed writer left it in a state that only a writer could
        open, a private copy is read.

        Parameters
        ----------
        sqlfile
            Path of the database.
        busy_timeout
            How long to wait for who holds a lock, in seconds.

        Returns
        -------
        Reader
            To be closed, best by ``with``.

        Raises
        ------
        MissingDatabaseError
            There is no such file, or nothing in it.
        ForeignDatabaseError, DamagedDatabaseError, NewerDatabaseError
            The file can't be used; it is left as it was.
        DatabaseError
            It can't be opened.
        """
        path = absolute(sqlfile)
        return Reader(open_for_reading(path, busy_timeout), path)

    @classmethod
    def empty(cls) -> Reader:
        """A database without any row, for a pipeline that never ran."""
        connection = sqlite3.connect(":memory:", isolation_level=None)
        migrate(connection, ":memory:")
        return Reader(connection, ":memory:")

    def copy_to(self, path: str) -> None:
        """Write a copy of the database, as it is now, to a new file."""
        with translated(self.sqlfile):
            target = sqlite3.connect(path)
            try:
                self._connection.backup(target)
            finally:
                target.close()

    def close(self) -> None:
        """Close it; closing twice does no harm."""
        self._connection.close()

    def __enter__(self: ReaderType) -> ReaderType:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with translated(self.sqlfile):
            return self._connection.execute(statement, arguments).fetchall()

    def _one(self, statement: str, *arguments: object) -> tuple[Any, ...] | None:
        with translated(self.sqlfile):
            row: tuple[Any, ...] | None = self._connection.execute(statement, arguments).fetchone()
            return row

    def _page(self, statement: str, arguments: Sequence[object], heavy: slice) -> tuple[list[tuple[Any, ...]], bool]:
        """Read rows until their large values, in the columns ``heavy``, fill a page; tell whether all were read."""
        rows: list[tuple[Any, ...]] = []
        weight = 0
        with translated(self.sqlfile):
            cursor = self._connection.execute(statement, arguments)
            try:
                for row in cursor:
                    rows.append(row)
                    for value in row[heavy]:
                        if value is not None:
                            weight += len(value)
                    if weight > PAGE_BYTES:
                        return rows, False
            finally:
                cursor.close()
        return rows, True

    def instances(self, segment: str | None = None) -> list[InstanceRow]:
        """List the segment instances, the newest first.

        Parameters
        ----------
        segment
            Only those of this segment.

        Returns
        -------
        list of InstanceRow
        """
        rows = self._all(sql.SELECT_INSTANCES) if segment is None else self._all(sql.SELECT_INSTANCES_OF, segment)
        return [instance_row(row) for row in rows]

    def instance(self, key: str) -> InstanceRow | None:
        """Return the segment instance with this key, if there is one."""
        row = self._one(sql.SELECT_INSTANCE_BY_KEY, key)
        return None if row is None else instance_row(row)

    def instance_by_id(self, instance_id: int) -> InstanceRow | None:
        """Return the segment instance with this id, if there is one."""
        row = self._one(sql.SELECT_INSTANCE_BY_ID, instance_id)
        return None if row is None else instance_row(row)

    def task(self, task_id: int) -> TaskRow | None:
        """Return one task, if there is one with this id."""
        row = self._one(sql.SELECT_TASK, task_id)
        return None if row is None else TaskRow._make(row)

    def tasks(
        self, instance_id: int, status: Status | None = None, current: bool | None = True, after: int = 0
    ) -> Iterator[TaskRow]:
        """Go through the tasks of an instance by id. Rows are read in pages, and no lock is held in between.

        Parameters
        ----------
        instance_id
            Which instance.
        status
            Only those with this status.
        current
            True: only current versions; False: only superseded ones; None: both.
        after
            Only tasks with larger ids.

        Yields
        ------
        TaskRow
        """
        bounds = (0, 2) if current is None else (1, 2) if current else (0, 0)
        statement = sql.SELECT_TASK_PAGE[status]
        heavy = slice(TaskRow._fields.index("input"), TaskRow._fields.index("parents"))
        while True:
            rows, whole = self._page(statement, (instance_id, after, *bounds, PAGE), heavy)
            page = list(map(TaskRow._make, rows))
            yield from page
            if whole and len(page) < PAGE:
                return
            after = page[-1].id

    def plan_rows(self, instance_id: int) -> Iterator[PlanRow]:
        """Go through all tasks of an instance by id, without their large values.

        Parameters
        ----------
        instance_id
            Which instance.

        Yields
        ------
        PlanRow
            Superseded ones as well.
        """
        after = 0
        while True:
            page = list(map(PlanRow._make, self._all(sql.SELECT_PLAN_PAGE, instance_id, after, PAGE)))
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def digest_pages(self, instance_id: int) -> Iterator[list[tuple[bytes, int]]]:
        """Go through the tasks of an instance by id, superseded ones as well, page by page.

        Yields
        ------
        list of tuple
            The digest of each task's input, and its id.
        """
        after = 0
        while True:
            page = [(digest, task) for digest, task in self._all(sql.SELECT_DIGEST_PAGE, instance_id, after, 10 * PAGE)]
            if page:
                yield page
            if len(page) < 10 * PAGE:
                return
            after = page[-1][1]

    def plan_rows_listed(self, ids: Sequence[int]) -> list[PlanRow]:
        """Return what planning needs to know of some tasks, in the order of the list; unknown ids are passed over."""
        return list(map(_plan_row, self._all(sql.SELECT_PLAN_LISTED, id_list(ids))))

    def tasks_listed(self, ids: Sequence[int]) -> list[TaskRow]:
        """Return some tasks, in the order of the list; unknown ids are passed over."""
        return list(map(TaskRow._make, self._all(sql.SELECT_TASKS_LISTED, id_list(ids))))

    def queued_listed(self, positions: Mapping[int, int]) -> list[QueuedTask]:
        """Return some waiting tasks, in the order of their ids in the mapping, with these positions."""
        rows = self._all(sql.SELECT_QUEUED_LISTED, id_list(list(positions)))
        return [_queued_task((*row, positions[row[0]])) for row in rows]

    def output_digests(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes | None, bool]]:
        """Go through the done ones of some tasks, in the order of the list.

        Yields
        ------
        tuple
            The id, the digests of the elements of its output one after the other, and whether it set no particular
            output.
        """
        for piece in in_pieces(ids, 10 * PAGE):
            for task, digests, silent in self._all(sql.SELECT_DIGESTS_LISTED, id_list(piece)):
                yield task, digests, bool(silent)

    def digests_listed(self, ids: Sequence[int]) -> list[tuple[bytes, int]]:
        """Return the digest of the input of some tasks, and the id, in the order of the list."""
        rows: list[tuple[bytes, int]] = self._all(sql.SELECT_INPUTS_LISTED, id_list(ids))
        return rows

    def done_digests(self, instance_id: int) -> Iterator[bytes]:
        """Go through the digests of the inputs of the done tasks of an instance, without superseded ones."""
        return (digest for (digest,) in self._all(sql.SELECT_DONE_DIGESTS, instance_id))

    def task_ids(self, instance_id: int, current: int) -> list[int]:
        """Return the ids of the tasks of an instance with this value of ``current``."""
        return [task for (task,) in self._all(sql.SELECT_IDS, instance_id, current)]

    def in_data(self, instance_id: int) -> list[int]:
        """Return the ids of the tasks of an instance whose place is ``data/`` itself."""
        return [task for (task,) in self._all(sql.SELECT_IN_DATA, instance_id)]

    def named_tasks(self, instance_id: int) -> list[tuple[int, str]]:
        """Return id and text of the tasks of an instance that have a directory of their own."""
        return [(task, text) for task, text in self._all(sql.SELECT_NAMED, instance_id)]

    def marked(self, instance_id: int) -> dict[int, int]:
        """Return the `pipelet.core.model.Mark` of each task of an instance that has one, superseded ones as well."""
        return dict(self._all(sql.SELECT_MARKED, instance_id))

    def count_marked(self, instance_id: int, mark: Mark) -> int:
        """Count the tasks of an instance that the last run wanted and that have a mark."""
        row = self._one(sql.COUNT_MARKED, instance_id, int(mark))
        return int(row[0]) if row is not None else 0

    def places(self, instance_id: int) -> Iterator[str]:
        """Go through the places of the tasks that the last run wanted and that have one."""
        return (place for (place,) in self._all(sql.SELECT_PLACES, instance_id))

    def settled(self, instance_id: int) -> tuple[int, str | None]:
        """Return how often the tasks of an instance were changed, and the mark that was set since the last change."""
        row = self._one(sql.SELECT_SETTLED, instance_id)
        return (0, None) if row is None else (row[0], row[1])

    def has_params(self) -> bool:
        """Whether any task saved or exposed a parameter."""
        return self._one(sql.SELECT_ANY_PARAM) is not None

    def outputs(self, instance_id: int, ids: Sequence[int] | None = None) -> Iterator[OutputRow]:
        """Go through the outputs of the done tasks of an instance.

        Parameters
        ----------
        instance_id
            Which instance.
        ids
            Of these tasks, in this order; those that are not done are passed over. None: all that the last run wanted,
            by id.

        Yields
        ------
        OutputRow
        """
        heavy = slice(2, 3)
        if ids is None:
            after = 0
            while True:
                rows, whole = self._page(sql.SELECT_OUTPUT_PAGE, (instance_id, after, PAGE), heavy)
                page = [OutputRow._make(row[1:]) for row in rows]
                yield from page
                if whole and len(page) < PAGE:
                    return
                after = page[-1].id
        for piece in in_pieces(ids, PAGE):
            start = 0
            while start < len(piece):
                listed = id_list(piece[start:])
                rows, whole = self._page(sql.SELECT_OUTPUTS_LISTED, (listed, instance_id), heavy)
                for row in rows:
                    yield OutputRow._make(row[1:])
                start = len(piece) if whole else start + rows[-1][0] + 1

    def params(self, task_ids: Iterable[int]) -> dict[int, list[ParamRow]]:
        """Return the parameters of tasks, by name.

        Parameters
        ----------
        task_ids
            Which tasks.

        Returns
        -------
        dict
            From the id of each task that has any.
        """
        found: dict[int, list[ParamRow]] = {}
        for piece in in_pieces(list(task_ids), PAGE):
            for row in map(ParamRow._make, self._all(sql.SELECT_PARAMS, id_list(piece))):
                found.setdefault(row.task, []).append(row)
        return found

    def tags(self) -> dict[int, str]:
        """Return the tags, from the instance's id."""
        return dict(self._all(sql.SELECT_TAGS))

    def tally(self, instance_ids: Sequence[int] | None = None) -> dict[int, dict[Status, int]]:
        """Count the tasks that the last run wanted by status, without going through them.

        Parameters
        ----------
        instance_ids
            Of these instances; None: of all.

        Returns
        -------
        dict
            From instance id and status; what would be 0 is absent.
        """
        counts: dict[int, dict[Status, int]] = {} if instance_ids is None else {one: {} for one in instance_ids}
        rows = (
            self._all(sql.SELECT_TALLY)
            if instance_ids is None
            else self._all(sql.SELECT_TALLY_OF, id_list(instance_ids))
        )
        for instance, status, number in rows:
            counts.setdefault(instance, {})[Status(status)] = number
        return counts

    def task_set(self, digest: str) -> tuple[int, ...] | None:
        """Return a shared list of task ids, if there is one under this digest."""
        row = self._one(sql.SELECT_TASK_SET, digest)
        return None if row is None else read_id_list(row[0])

    def users(self) -> dict[str, int]:
        """Return the level of each user."""
        return dict(self._all(sql.SELECT_USERS))

    def user(self, name: str) -> tuple[str, int] | None:
        """Return the password hash and the level of a user, if there is one of this name."""
        row = self._one(sql.SELECT_USER, name)
        return None if row is None else (row[0], row[1])
