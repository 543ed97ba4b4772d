"""Writing the status database: one writer of tasks at a time, all in short transactions."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Literal

from pipelet.core.model import Status
from pipelet.errors import DatabaseError
from pipelet.filesystem import is_local
from pipelet.schema import BEGIN_IMMEDIATE, COMMIT, ROLLBACK
from pipelet.statusdb import statements as sql
from pipelet.statusdb.bulk import insert_queued, update_results
from pipelet.statusdb.opening import BUSY_TIMEOUT, absolute, open_for_writing, translated
from pipelet.statusdb.reader import Reader
from pipelet.statusdb.rows import QueuedTask, TaskRow, id_list, whole_task_event

JournalMode = Literal["auto", "wal", "delete", "keep"]
#: A list that begins with its kind; `Writer.apply` lists the kinds.
Event = Sequence[Any]

_AT_ONCE = 5000
#: How long a change of the journal mode is tried while others have the file open, in seconds.
_PATIENCE = 1.0

_Key = tuple[int, int]


class Writer(Reader):
    """A connection that may write; made by `Writer.open`.

    Attributes
    ----------
    created
        The database was made by this call: there was nothing before.
    """

    created: bool = False
    _timeout: float = BUSY_TIMEOUT
    _patience: float = 0.0
    _closed: bool = False

    @classmethod
    def open(
        cls,
        sqlfile: str | os.PathLike[str],
        journal_mode: JournalMode = "auto",
        *,
        create: bool = True,
        busy_timeout: float = BUSY_TIMEOUT,
    ) -> Writer:
        """Open a database for writing; make it, or bring its tables up to date, where needed.

        Parameters
        ----------
        sqlfile
            Path of the database; its directory must exist.
        journal_mode
            ``"wal"``: readers and the writer never wait for each other, on a local disk. ``"delete"``: the rollback
            journal. ``"auto"``: the log on a local file system, the journal elsewhere. ``"keep"``: whatever it is in,
            for short writes beside a run.
        create
            Make the database if there is none.
        busy_timeout
            How long to wait for locks of other processes, in seconds.

        Returns
        -------
        Writer
            To be closed, best by ``with``.

        Raises
        ------
        MissingDatabaseError
            There is none, and ``create`` is false.
        ForeignDatabaseError, DamagedDatabaseError, NewerDatabaseError
            The file can't be used; it is left byte for byte as it was.
        DatabaseError
            It can't be opened or written, or another process keeps it locked.
        """
        path = absolute(sqlfile)
        connection, created = open_for_writing(path, create, busy_timeout)
        writer = Writer(connection, path)
        writer.created = created
        writer._timeout = busy_timeout
        try:
            with translated(path):
                writer._prepare(journal_mode)
        except BaseException:
            connection.close()
            raise
        return writer

    def _prepare(self, journal_mode: JournalMode) -> None:
        self._connection.execute(sql.SET_CACHE_SIZE)
        wished = journal_mode
        if wished == "auto":
            wished = "wal" if is_local(self.sqlfile) else "delete"
        (actual,) = self._connection.execute(sql.READ_JOURNAL_MODE).fetchone()
        if wished not in ("keep", actual):
            actual = self._switch(wished, _PATIENCE)
        self._patience = 0.0 if wished == "keep" else _PATIENCE
        self._connection.execute(sql.SET_SYNCHRONOUS.get(actual, sql.SET_SYNCHRONOUS["delete"]))

    def _switch(self, mode: str, patience: float) -> str:
        """Change the journal mode if the others let it; return the mode that it is in then."""
        (actual,) = self._connection.execute(sql.READ_JOURNAL_MODE).fetchone()
        # SQLite waits for locks in one direction and not in the other.
        self._connection.execute(sql.SET_BUSY_TIMEOUT.format(milliseconds=int(patience * 500)))
        deadline = time.monotonic() + patience
        try:
            while actual != mode:
                try:
                    (actual,) = self._connection.execute(sql.SET_JOURNAL_MODE[mode]).fetchone()
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        finally:
            self._connection.execute(sql.SET_BUSY_TIMEOUT.format(milliseconds=int(self._timeout * 1000)))
        return str(actual)

    def wait_for_disk(self) -> None:
        """From now on, end no transaction before the disk has it: what follows is in no journal."""
        self._do(sql.SET_SYNCHRONOUS["delete"])

    def close(self) -> None:
        """Close it, with a rollback journal at rest: that can be read where no file may be made beside it.

        Best effort: with readers there, the log stays until the next writer closes. Closing twice does no harm.
        """
        if self._closed:
            return
        self._closed = True
        try:
            # All is committed; how the file rests is no reason to make a run fail.
            with suppress(sqlite3.Error):
                self._switch("delete", self._patience)
        finally:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Put all writes inside into one transaction, or into the one that is open already.

        Raises
        ------
        DatabaseError
            Another process keeps the database locked, or the disk is full: everything inside is rolled back.
        """
        joins = self._connection.in_transaction
        if joins:
            yield
            return
        with translated(self.sqlfile):
            self._connection.execute(BEGIN_IMMEDIATE)
            try:
                yield
                self._connection.execute(COMMIT)
            except BaseException:
                if self._connection.in_transaction:
                    # Where even this fails, the next one who opens the file rolls back.
                    with suppress(sqlite3.Error):
                        self._connection.execute(ROLLBACK)
                raise

    def _many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        with translated(self.sqlfile):
            self._connection.executemany(statement, rows)

    def _do(self, statement: str, *arguments: Any) -> int:
        """Execute one statement; return how many rows it changed."""
        with translated(self.sqlfile):
            return self._connection.execute(statement, arguments).rowcount

    def add_instance(
        self, segment: str, key: str, path: str, parents: Sequence[int], created: float, id: int | None = None
    ) -> int:
        """Record a segment instance.

        Parameters
        ----------
        segment, key, path
            Its name, its full key, and its directory relative to the prefix.
        parents
            Ids of the parent instances, in the order of the graph.
        created
            Seconds since the epoch.
        id
            The id that it must have; a new one unless given.

        Returns
        -------
        int
            Its id.

        Raises
        ------
        DatabaseError
            The key, the path or the id is taken.
        """
        with self.transaction(), translated(self.sqlfile):
            row = (id, segment, key, path, id_list(parents), created)
            return int(self._connection.execute(sql.INSERT_INSTANCE, row).lastrowid or 0)

    def next_task_id(self) -> int:
        """Return the first task id that was never given; it is taken when a row with it is written."""
        row = self._one(sql.SELECT_LAST_TASK_ID)
        return 1 if row is None else int(row[0]) + 1

    def add_queued(self, rows: Iterable[TaskRow]) -> None:
        """Write task rows as they are, new ones or in place of those with the same id.

        Parameters
        ----------
        rows
            May be a generator of any length: it is taken in pieces.
        """
        with self.transaction():
            source = iter(rows)
            while piece := list(islice(source, _AT_ONCE)):
                self._put([(row[0], *row[2:], row[1]) for row in piece])

    def add_new(self, instance_id: int, tasks: Sequence[QueuedTask]) -> None:
        """Write the rows of queued tasks of one instance whose ids were never given before."""
        with self.transaction():
            with translated(self.sqlfile):
                insert_queued(self._connection, instance_id, tasks)
            self._count(Counter({(instance_id, int(Status.QUEUED)): sum(task.current == 1 for task in tasks)}))
            self._touch([instance_id])

    def record_results(
        self, instance_id: int, events: Sequence[Event], before: Mapping[int, int], known: Sequence[int]
    ) -> None:
        """Write what came of tasks whose rows stand as queued or running, and else as they are given.

        Parameters
        ----------
        instance_id
            Whose tasks they are.
        events
            The event ``"task"`` of each (see `apply`), once; current ones.
        before
            The status in the database of those that are not queued there.
        known
            Those of the tasks that may have parameters from an earlier time.
        """
        with self.transaction():
            statuses = Counter([event[3] for event in events])
            others = Counter([before[event[1]] for event in events if event[1] in before] if before else ())
            statuses.subtract(others)
            statuses[int(Status.QUEUED)] -= len(events) - others.total()
            changes: Counter[_Key] = Counter({(instance_id, status): n for status, n in statuses.items()})
            self._touch([instance_id])
            with translated(self.sqlfile):
                update_results(self._connection, events)
            if known:
                self._do(sql.DELETE_PARAMS, id_list(known))
            self._count(changes)

    def add_params(self, params: Sequence[Sequence[Any]]) -> None:
        """Write parameters of tasks: id, name, value, text and whether it is exposed."""
        if params:
            with self.transaction():
                self._many(sql.INSERT_PARAM, params)

    def set_journal_end(self, instance_id: int, end: int) -> None:
        """Note how much of an instance's journal is in the database."""
        self._do(sql.UPDATE_INSTANCE["journal_end"], end, instance_id)

    def set_status(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Set the status of tasks.

        Parameters
        ----------
        pairs
            Of a task's id and its `pipelet.core.model.Status`; unknown ids are passed over.
        """
        wanted = dict(pairs)
        with self.transaction():
            changes: Counter[_Key] = Counter()
            touched = set()
            for task, instance, status, current in self._states(wanted):
                touched.add(instance)
                if current == 1:
                    changes[instance, status] -= 1
                    changes[instance, wanted[task]] += 1
            self._touch(touched)
            now = time.time()
            self._many(sql.UPDATE_STATUS, ((status, status, now, status, task) for task, status in wanted.items()))
            self._count(changes)

    def apply(self, instance_id: int, events: Sequence[Event], journal_end: int | None = None) -> None:
        """Take over events of an instance's journal, in order and in one transaction.

        Applying the same events again changes nothing, nor does applying a beginning of them before all of them.

        Parameters
        ----------
        instance_id
            Whose journal it is.
        events
            ``["task", <fields of TaskRow but instance>, params]``, ``["parents", id, text]``, ``["asked", id, text]``,
            ``["current", id, 0|1|2]``, ``["aside", id, 0|1|2]``, ``["place", id, place]``, ``["delete", id]``,
            ``["whole", id]``, ``["wanted", packed]``, ``["waiting", reason]``, ``["task_set", digest, ids]``,
            ``["follow", parents, first id, last id, ...]``; the parameters of a task are ``[name, value, text,
            exposed]`` each.
        journal_end
            Where these events end in the journal; recorded in the same transaction.

        Raises
        ------
        DatabaseError
            An event that this version does not know, or the database can't be written. Nothing is taken over then.
        """
        with self.transaction():
            if events:
                self._touch([instance_id])
            try:
                for kind, run in groupby(events, key=itemgetter(0)):
                    handler = _HANDLERS.get(kind)
                    if handler is None:
                        raise DatabaseError(
                            f"the journal of instance {instance_id} has an event {kind!r}, which this version of"
                            " Pipelet does not know: it was written by a newer one, which can read it"
                        )
                    handler(self, instance_id, list(run))
            except (IndexError, TypeError, ValueError, sqlite3.ProgrammingError, sqlite3.InterfaceError) as error:
                raise DatabaseError(
                    f"the journal of instance {instance_id} has an event of another shape than this version of Pipelet"
                    f" writes ({error}): the newer version that wrote it can read it"
                ) from error
            if journal_end is not None:
                self._do(sql.UPDATE_INSTANCE["journal_end"], journal_end, instance_id)

    def _apply_tasks(self, instance: int, events: list[Event]) -> None:
        # Of several rows of one task the last stands, at the place of the first: ids come in order for SQLite.
        latest = {event[1]: event for event in events}
        rows = []
        params = []
        for task, event in latest.items():
            rows.append((*whole_task_event(event)[1:-1], instance))
            if event[-1]:
                params += [(task, *param) for param in event[-1]]
        known = self._put(rows)
        if known:
            self._do(sql.DELETE_PARAMS, id_list(known))
        if params:
            self._many(sql.INSERT_PARAM, params)

    def _apply_column(self, instance: int, events: list[Event]) -> None:
        if events[0][0] == "parents":
            # Where a parent has a new version, thousands of tasks get the same text.
            texts: dict[str, dict[int, None]] = {}
            last = {task: text for _, task, text in events}
            for task, text in last.items():
                texts.setdefault(text, {})[task] = None
            if 10 * len(texts) < len(last):
                for text, tasks in texts.items():
                    self._do(sql.UPDATE_PARENTS_LISTED, text, id_list(list(tasks)), instance)
                return
        self._many(sql.UPDATE_COLUMN[events[0][0]], [(value, task, instance) for _, task, value in events])

    def _apply_follow(self, instance: int, events: list[Event]) -> None:
        for _, text, *ends in events:
            ranges = zip(ends[::2], ends[1::2], strict=True)
            self._many(sql.UPDATE_PARENTS_RANGE, [(text, first, last, instance) for first, last in ranges])

    def _apply_current(self, instance: int, events: list[Event]) -> None:
        wanted = {task: current for _, task, current in events}
        changes: Counter[_Key] = Counter()
        for task, owner, status, current in self._states(wanted):
            if owner == instance:
                changes[owner, status] += (wanted[task] == 1) - (current == 1)
        self._many(sql.UPDATE_CURRENT, [(current, task, instance) for task, current in wanted.items()])
        self._count(changes)

    def _apply_delete(self, instance: int, events: list[Event]) -> None:
        states = self._states([task for _, task in events])
        self.delete_tasks([task for task, owner, _, _ in states if owner == instance])

    def _apply_to_instance(self, instance: int, events: list[Event]) -> None:
        kind, value = events[-1]
        self._do(sql.UPDATE_INSTANCE[kind], value, instance)

    def _apply_task_set(self, instance: int, events: list[Event]) -> None:
        self._many(sql.INSERT_TASK_SET, [(digest, ids) for _, digest, ids in events])

    def _put(self, rows: list[tuple[Any, ...]]) -> list[int]:
        """Write whole rows (arguments of ``sql.UPSERT_TASK``), each id once; return the ids that were there before."""
        self._touch({row[-1] for row in rows})
        changes: Counter[_Key] = Counter((row[-1], row[2]) for row in rows if row[3] == 1)
        known = []
        for task, instance, status, current in self._states([row[0] for row in rows]):
            known.append(task)
            if current == 1:
                changes[instance, status] -= 1
        self._many(sql.UPSERT_TASK, rows)
        self._count(changes)
        return known

    def _states(self, ids: Iterable[int]) -> list[tuple[int, int, int, int]]:
        """Return id, instance, status and currency of those of the tasks that are there."""
        with translated(self.sqlfile):
            return self._connection.execute(sql.SELECT_STATES, (id_list(list(ids)),)).fetchall()

    def _count(self, changes: Counter[_Key]) -> None:
        """Bring the tally up to date."""
        rows = [(*key, number) for key, number in changes.items() if number]
        if rows:
            self._many(sql.ADD_TO_TALLY, rows)
            self._do(sql.DELETE_ZERO_TALLIES)

    def _touch(self, instances: Iterable[int]) -> None:
        """Note that tasks of these instances change."""
        self._many(sql.ADD_REVISION, [(instance,) for instance in instances])

    def set_mark(self, instance_id: int, mark: str) -> None:
        """Note the state in which there is nothing to do in an instance; it goes with the next change of a task."""
        self._do(sql.UPDATE_MARK, instance_id, mark)

    def set_tag(self, instance_id: int, tag: str | None) -> None:
        """Tag an instance, in place of its tag if it has one; None takes the tag away."""
        with self.transaction():
            if tag is None:
                self._do(sql.DELETE_TAG, instance_id)
            else:
                self._do(sql.INSERT_TAG, instance_id, tag)

    def delete_instance(self, instance_id: int) -> None:
        """Delete an instance and all that belongs to it."""
        with self.transaction():
            for statement in sql.DELETE_INSTANCE:
                self._do(statement, instance_id)

    def delete_tasks(self, ids: Iterable[int]) -> None:
        """Delete tasks and their parameters; unknown ids are passed over."""
        listed = list(ids)
        with self.transaction():
            changes: Counter[_Key] = Counter()
            states = self._states(listed)
            for _, instance, status, current in states:
                changes[instance, status] -= current == 1
            self._touch({instance for _, instance, _, _ in states})
            self._do(sql.DELETE_PARAMS, id_list(listed))
            self._do(sql.DELETE_TASKS, id_list(listed))
            self._count(changes)

    def put_user(self, name: str, password_hash: str, level: int) -> None:
        """Add a user, or change the one of this name."""
        with self.transaction():
            self._do(sql.INSERT_USER, name, password_hash, level)

    def delete_user(self, name: str) -> bool:
        """Remove a user; tell whether there was one."""
        with self.transaction():
            return self._do(sql.DELETE_USER, name) > 0


_HANDLERS: Mapping[str, Callable[[Writer, int, list[Event]], None]] = {
    "task": Writer._apply_tasks,
    **dict.fromkeys(sql.UPDATE_COLUMN, Writer._apply_column),
    "follow": Writer._apply_follow,
    "current": Writer._apply_current,
    "delete": Writer._apply_delete,
    "whole": Writer._apply_to_instance,
    "wanted": Writer._apply_to_instance,
    "waiting": Writer._apply_to_instance,
    "task_set": Writer._apply_task_set,
}
