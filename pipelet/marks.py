"""What people ask of the next runs: that failed tasks are not tried again, or that done ones run again.

A mark is an event of the instance's journal and a value in the task's row. It is put there like anything else: by the
holder of the prefix, journal first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipelet.core.model import Mark, Status
from pipelet.deletion import recover
from pipelet.errors import MarkError, UnknownSegmentError
from pipelet.failurekinds import Kinds
from pipelet.history import SUPERSEDED
from pipelet.recorder import agree
from pipelet.statusdb import Event, InstanceRow, Reader, Writer, marking
from pipelet.statusdb.marking import TaskState
from pipelet.storage import Tree
from pipelet.storage.holding import held

#: Task ids, and keys of instances or beginnings of keys.
Chosen = Iterable["int | str"]


class Marked(NamedTuple):
    """What came of marking tasks."""

    #: How many were marked, or had their mark taken away.
    tasks: int
    #: How many of those that were named are in no state for it.
    passed: int = 0


def set_aside(tree: Tree, sqlfile: str, tasks: Chosen | None, kind: str | None = None) -> Marked:
    """Set failed tasks aside: no run tries them again until they are released.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    tasks
        Numbers of tasks, and keys of instances (or beginnings of keys that no other has): those of their tasks that
        the last run wanted. ``None``: of every instance.
    kind
        Only those that failed in this way: the `FailureKind.id`, or the name of the exception.

    Returns
    -------
    Marked
        Those that did not fail, or are superseded, are passed.

    Raises
    ------
    PrefixLocked
        A run holds the prefix.
    MarkError
        There is no such task.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    DatabaseError
        There is no database, or it can't be written.
    """
    return _mark(tree, sqlfile, tasks, kind, _Verb(marking.failed, _set_aside))


def release(tree: Tree, sqlfile: str, tasks: Chosen | None, kind: str | None = None) -> Marked:
    """Take back what `set_aside` and `run_again` have said of tasks.

    Parameters and errors are those of `set_aside`. No task is passed.
    """
    return _mark(tree, sqlfile, tasks, kind, _Verb(marking.marked, lambda task: Mark.NONE))


def run_again(tree: Tree, sqlfile: str, tasks: Chosen | None) -> Marked:
    """Let the next run that wants them run done tasks again, in their places; failed ones are released.

    Parameters and errors are those of `set_aside`. Tasks that are queued or superseded are passed; of an instance only
    those are taken that are done.
    """
    return _mark(tree, sqlfile, tasks, None, _Verb(marking.done, _run_again))


class _Verb(NamedTuple):
    #: The tasks of an instance that it is about.
    candidates: Callable[[Reader, int], list[TaskState]]
    #: The mark that a task gets; ``None`` where it is in no state for one.
    mark: Callable[[TaskState], Mark | None]


def _set_aside(task: TaskState) -> Mark | None:
    return Mark.ASIDE if task.status == Status.FAILED and task.current != SUPERSEDED else None


def _run_again(task: TaskState) -> Mark | None:
    if task.current == SUPERSEDED or task.status < Status.DONE:
        return None
    return Mark.AGAIN if task.status == Status.DONE else Mark.NONE


def _mark(tree: Tree, sqlfile: str, tasks: Chosen | None, kind: str | None, verb: _Verb) -> Marked:
    chosen = None if tasks is None else list([tasks] if isinstance(tasks, (int, str)) else tasks)
    tree.create()
    with held(tree), contextlib.closing(_opened(tree, sqlfile)) as database:
        found, passed = _find(tree, database, chosen, verb), 0
        if kind is not None:
            found = _of_kind(database, found, kind)
        changes: dict[int, list[Event]] = {}
        for task in found:
            mark = verb.mark(task)
            if mark is None:
                passed += 1
            elif mark != task.aside:
                changes.setdefault(task.instance, []).append(["aside", task.id, int(mark)])
        for instance, events in changes.items():
            row = database.instance_by_id(instance)
            assert row is not None
            end = tree.journal(row.path).append(events)
            with database.transaction():
                database.apply(instance, events, end)
        return Marked(sum(map(len, changes.values())), passed)


def _opened(tree: Tree, sqlfile: str) -> Writer:
    recover(tree, sqlfile)
    return Writer.open(sqlfile, "keep", create=False)


def _find(tree: Tree, writer: Writer, chosen: Sequence[int | str] | None, verb: _Verb) -> list[TaskState]:
    """The tasks that are meant, each once; what they are told of was brought to one state with the journals."""
    rows = writer.instances()
    ids = [item for item in chosen or () if not isinstance(item, str)]
    keys = [item for item in chosen or () if isinstance(item, str)]
    named = {task.id: task.instance for task in marking.states(writer, ids)}
    whole = rows if chosen is None else list(_of_keys(rows, keys))
    touched = {row.id for row in whole}.union(named.values())
    for row in rows:
        if row.id in touched:
            agree(writer, tree, row, tree.journal(row.path))
    found = {task.id: task for task in marking.states(writer, ids)}
    unknown = [task for task in ids if task not in found]
    if unknown:
        raise MarkError(f"there is no task {unknown[0]}: its number is not on record, or it was deleted")
    for row in whole:
        found.update((task.id, task) for task in verb.candidates(writer, row.id))
    return list(found.values())


def _of_keys(rows: Sequence[InstanceRow], keys: Sequence[str]) -> Iterator[InstanceRow]:
    for key in keys:
        found = [row for row in rows if key and row.key.startswith(key)]
        if len(found) != 1:
            many = f"{len(found)} segment instances have" if found else "no segment instance has"
            raise UnknownSegmentError(f"{many} a key that begins with {key!r}; Pipeline.instances lists the keys")
        yield found[0]


def _of_kind(reader: Reader, tasks: Sequence[TaskState], kind: str) -> list[TaskState]:
    """Those that failed in one way."""
    kinds = Kinds()
    ids = [task.id for task in tasks if task.status == Status.FAILED]
    wanted = {task for task, error in marking.errors(reader, ids) if kinds(error).is_called(kind)}
    return [task for task in tasks if task.id in wanted]
