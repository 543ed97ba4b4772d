"""Maintenance verbs, for scripts and for the commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Union

from pipelet import deletion, marks
from pipelet.check import Finding, Progress, Report, compare, mend
from pipelet.deletion import Preview, Trashed
from pipelet.errors import PrefixError
from pipelet.marks import Marked
from pipelet.rebuild import Rebuilt, rebuild
from pipelet.replay import Replay
from pipelet.replayed import Replayed
from pipelet.statusdb import Reader
from pipelet.storage import Tree
from pipelet.storage.holding import held
from pipelet.tags import put_tag

__all__ = [
    "Finding",
    "Marked",
    "Preview",
    "Rebuilt",
    "Replayed",
    "Report",
    "Trashed",
    "check_prefix",
    "delete_instances",
    "delete_tasks",
    "empty_trash",
    "preview_deletion",
    "preview_purge",
    "preview_task_deletion",
    "purge_instances",
    "rebuild_db_from_disk",
    "release",
    "replay_task",
    "restore",
    "run_again",
    "set_aside",
    "tag_instances",
    "trash",
]

_Path = Union[str, "os.PathLike[str]"]


def rebuild_db_from_disk(prefix: _Path, sqlfile: _Path | None = None) -> Rebuilt:
    """Make the status database anew from the tree.

    Every instance, task, status, date, input, output, parent, parameter and tag comes back as it was; accounts do
    not, since they are only in the database. An existing database is kept as ``<sqlfile>.old``.

    Parameters
    ----------
    prefix
        The root of the data.
    sqlfile
        The database to make; ``<prefix>/.sqlstatus`` if not given.

    Returns
    -------
    Rebuilt
        The numbers of instances and tasks.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    DatabaseError
        The file can't be made.
    """
    with _held(prefix, sqlfile) as tree:
        return rebuild(tree, _sqlfile(tree, sqlfile))


def check_prefix(
    prefix: _Path, sqlfile: _Path | None = None, repair: bool = False, progress: Progress | None = None
) -> Report:
    """Compare the tree with the database, and say what differs.

    Without ``repair`` nothing is written, and read permission is enough. A repair never deletes a product: what no
    record knows is only told. Before it changes rows that the tree does not confirm, it keeps a copy of the database as
    ``<sqlfile>.old``.

    Parameters
    ----------
    prefix
        The root of the data.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.
    repair
        Put right what can be, and check again.
    progress
        Called now and then with the number of tasks that have been looked at, and of all.

    Returns
    -------
    Report
        What was found; print it. After a repair, what is left.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    MissingDatabaseError
        There is neither an instance nor a database.
    """
    tree = _tree(prefix)
    first = compare(tree, _sqlfile(tree, sqlfile), progress)
    if not repair or not first.mendable:
        return first
    with _held(prefix, sqlfile):
        return mend(tree, _sqlfile(tree, sqlfile), first, progress)


def preview_deletion(prefix: _Path, keys: Iterable[str], sqlfile: _Path | None = None) -> Preview:
    """Say what `delete_instances` would delete; nothing is changed, and read permission is enough.

    Parameters
    ----------
    prefix
        The root of the data.
    keys
        Keys of the instances, or beginnings of keys that no other instance has.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.

    Returns
    -------
    Preview
        The instances, directories and tasks; print it.

    Raises
    ------
    PrefixError
        There is no such directory.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    """
    tree = _tree(prefix)
    with Reader.open(_sqlfile(tree, sqlfile)) as reader:
        return deletion.preview_instances(tree, reader, keys)


def preview_purge(prefix: _Path, keys: Iterable[str], sqlfile: _Path | None = None) -> Preview:
    """Say what `purge_instances` would delete; arguments as `preview_deletion`."""
    tree = _tree(prefix)
    with Reader.open(_sqlfile(tree, sqlfile)) as reader:
        return deletion.preview_purge(tree, reader, keys)


def preview_task_deletion(prefix: _Path, tasks: Iterable[int], sqlfile: _Path | None = None) -> Preview:
    """Say what `delete_tasks` would delete.

    Parameters
    ----------
    prefix
        The root of the data.
    tasks
        Numbers of tasks.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.

    Returns
    -------
    Preview
        The tasks, and all that depends on them; print it.

    Raises
    ------
    PrefixError
        There is no such directory.
    TrashError
        There is no such task.
    """
    tree = _tree(prefix)
    with Reader.open(_sqlfile(tree, sqlfile)) as reader:
        return deletion.preview_tasks(tree, reader, tasks)


def delete_instances(
    prefix: _Path,
    keys: Iterable[str],
    sqlfile: _Path | None = None,
    force: bool = False,
    days: float = deletion.DAYS,
) -> list[str]:
    """Delete segment instances and all that descends from them, in the tree and in the database.

    They go to the trash of the prefix, from where `restore` brings them back.

    Parameters
    ----------
    prefix
        The root of the data.
    keys
        Keys of the instances, or beginnings of keys that no other instance has.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.
    force
        Also what is tagged.
    days
        How long the trash keeps it; 0: it is deleted for good at once.

    Returns
    -------
    list of str
        Paths of the deleted instances, relative to the prefix.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    TaggedError
        One of them, or what descends from it, is tagged.
    StorageError, DatabaseError
        It can't be done: everything is as it was.
    """
    tree = _tree(prefix)
    trashed = deletion.delete_instances(tree, _sqlfile(tree, sqlfile), keys, force=force, days=days)
    return [item.path for item in reversed(trashed.instances)]


def purge_instances(
    prefix: _Path,
    keys: Iterable[str],
    sqlfile: _Path | None = None,
    force: bool = False,
    days: float = deletion.DAYS,
) -> Trashed:
    """Delete the data of segment instances, and keep all that is on record: code, parameters, logs, outputs.

    A later run that wants one of the tasks computes it again. What descends from the instances keeps its data.

    Parameters
    ----------
    prefix, keys, sqlfile, force, days
        As for `delete_instances`.

    Returns
    -------
    Trashed
        What is in the trash now.

    Raises
    ------
    PrefixError, PrefixLocked, UnknownSegmentError, TaggedError, StorageError, DatabaseError
        As for `delete_instances`.
    """
    tree = _tree(prefix)
    return deletion.purge_instances(tree, _sqlfile(tree, sqlfile), keys, force=force, days=days)


def delete_tasks(
    prefix: _Path,
    tasks: Iterable[int],
    sqlfile: _Path | None = None,
    force: bool = False,
    days: float = deletion.DAYS,
) -> Trashed:
    """Delete tasks and all that depends on them: whatever has one of them among its parents, in all its versions.

    Parameters
    ----------
    prefix
        The root of the data.
    tasks
        Their numbers.
    sqlfile, force, days
        As for `delete_instances`.

    Returns
    -------
    Trashed
        What is in the trash now.

    Raises
    ------
    PrefixError, PrefixLocked, TaggedError, StorageError, DatabaseError
        As for `delete_instances`.
    TrashError
        There is no such task.
    """
    tree = _tree(prefix)
    return deletion.delete_tasks(tree, _sqlfile(tree, sqlfile), tasks, force=force, days=days)


def trash(prefix: _Path) -> list[Trashed]:
    """List the deletions that are in the trash of a prefix, the newest first.

    Raises
    ------
    PrefixError
        There is no such directory.
    """
    return deletion.trash(_tree(prefix))


def restore(prefix: _Path, id: str, sqlfile: _Path | None = None) -> Trashed:
    """Bring back what a deletion took: directories, records and tags.

    Parameters
    ----------
    prefix
        The root of the data.
    id
        The deletion, as `trash` lists it.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.

    Returns
    -------
    Trashed
        What is back.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    TrashError
        It is not in the trash any more, or something stands in its way: the words say what.
    """
    tree = _tree(prefix)
    return deletion.restore(tree, _sqlfile(tree, sqlfile), id)


def empty_trash(
    prefix: _Path,
    ids: Iterable[str] | None = None,
    expired: bool = False,
    progress: Callable[[int], None] = lambda files: None,
) -> int:
    """Delete for good what is in the trash of a prefix. It may be stopped at any moment, and beside a run.

    Parameters
    ----------
    prefix
        The root of the data.
    ids
        These deletions; all unless given.
    expired
        Only those whose days have passed.
    progress
        Told now and then how many files of a deletion are gone; what it raises stops it.

    Returns
    -------
    int
        How many deletions are final now.

    Raises
    ------
    PrefixError
        There is no such directory.
    TrashError
        One of them is not in the trash.
    StorageError
        Something can't be deleted.
    """
    return deletion.empty_trash(_tree(prefix), ids, expired, progress)


def tag_instances(prefix: _Path, keys: Iterable[str], tag: str | None, sqlfile: _Path | None = None) -> None:
    """Give a tag to segment instances, or take it away.

    Parameters
    ----------
    prefix
        The root of the data.
    keys
        Keys of the instances, or beginnings of keys that no other instance has.
    tag
        A word or more; ``None`` takes the tag away.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.

    Raises
    ------
    PrefixError
        There is no such directory.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    """
    tree = _tree(prefix)
    put_tag(tree, _sqlfile(tree, sqlfile), keys, tag)


def set_aside(
    prefix: _Path, tasks: Iterable[int | str] | None, sqlfile: _Path | None = None, kind: str | None = None
) -> Marked:
    """Set failed tasks aside: no run tries them again until they are released. They still count as failed.

    Parameters
    ----------
    prefix
        The root of the data.
    tasks
        Numbers of tasks, and keys of segment instances, or beginnings of keys that no other instance has: they stand
        for those of their tasks that the last run wanted and that failed. ``None`` stands for every instance.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.
    kind
        Only those that failed in this way: the name of an exception, as in ``"ValueError"``, or the name of a group of
        the web page's failures.

    Returns
    -------
    Marked
        How many were set aside, and how many of those named were passed, since they did not fail.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    MarkError
        There is no such task.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    MissingDatabaseError
        There is no database.
    """
    tree = _tree(prefix)
    return marks.set_aside(tree, _sqlfile(tree, sqlfile), tasks, kind)


def release(
    prefix: _Path, tasks: Iterable[int | str] | None, sqlfile: _Path | None = None, kind: str | None = None
) -> Marked:
    """Take back what `set_aside` and `run_again` have said of tasks.

    Parameters
    ----------
    prefix, tasks, sqlfile, kind
        As for `set_aside`; with ``kind`` only failed tasks are released.

    Returns
    -------
    Marked
        How many were released.

    Raises
    ------
    PrefixError, PrefixLocked, MarkError, UnknownSegmentError, MissingDatabaseError
        As for `set_aside`.
    """
    tree = _tree(prefix)
    return marks.release(tree, _sqlfile(tree, sqlfile), tasks, kind)


def run_again(prefix: _Path, tasks: Iterable[int | str] | None, sqlfile: _Path | None = None) -> Marked:
    """Let the next run that wants them run done tasks again, in their places. Nothing is lost before.

    What follows from a task is run again where it looked at the task, or gets another input than before.

    Parameters
    ----------
    prefix, tasks, sqlfile
        As for `set_aside`; keys stand for the tasks that the last run wanted and that are done. Failed tasks, which run
        again anyway, are released.

    Returns
    -------
    Marked
        How many will run again, and how many of those named were passed, since they have not ended or are superseded.

    Raises
    ------
    PrefixError, PrefixLocked, MarkError, UnknownSegmentError, MissingDatabaseError
        As for `set_aside`.
    """
    tree = _tree(prefix)
    return marks.run_again(tree, _sqlfile(tree, sqlfile), tasks)


def replay_task(
    sqlfile: _Path,
    task: int,
    directory: _Path | None = None,
    code_dir: _Path | None = None,
    prefix: _Path | None = None,
) -> Replayed:
    """Run one task again, with the inputs that it had and the code that was kept. Nothing on record changes.

    It runs in this process, and what it prints is shown here.

    Parameters
    ----------
    sqlfile
        The database.
    task
        The task's number.
    directory
        Where to run it: a new or empty directory outside of the tree, for its code, data, log and temporary files. A
        new temporary directory if not given; it is kept.
    code_dir
        Where to find modules that were imported from the code directory without ``#depend``, and so were not kept.
    prefix
        The root of the data, if the database is not in it.

    Returns
    -------
    Replayed
        What came of it. ``raise`` its ``error``, and ``%debug`` stands where the task failed.

    Raises
    ------
    ReplayError
        There is no such task, or something that it needs was not kept.
    DatabaseError
        There is no such database, or it can't be read.
    """
    places = [None if path is None else os.fspath(path) for path in (directory, code_dir, prefix)]
    return Replay(os.fspath(sqlfile), int(task), *places).run()


@contextlib.contextmanager
def _held(prefix: _Path, sqlfile: _Path | None) -> Iterator[Tree]:
    tree = _tree(prefix)
    tree.create()
    with held(tree):
        deletion.recover(tree, _sqlfile(tree, sqlfile))
        yield tree


def _tree(prefix: _Path) -> Tree:
    root = os.path.abspath(prefix)
    if not os.path.isdir(root):
        raise PrefixError(f"there is no directory {root}; give the prefix of a pipeline, the root of its data")
    return Tree(root)


def _sqlfile(tree: Tree, sqlfile: _Path | None) -> str:
    return os.path.abspath(sqlfile) if sqlfile is not None else tree.default_sqlfile
