"""Maintenance verbs, for scripts and for the commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Union

from pipelet import marks
from pipelet.check import Finding, Progress, Report, compare, mend
from pipelet.errors import PrefixError
from pipelet.marks import Marked
from pipelet.rebuild import Rebuilt, rebuild
from pipelet.replay import Replay
from pipelet.replayed import Replayed
from pipelet.statusdb import Writer
from pipelet.storage import PrefixLock, Tree
from pipelet.tags import chosen, put_tag

__all__ = [
    "Finding",
    "Marked",
    "Rebuilt",
    "Replayed",
    "Report",
    "check_prefix",
    "delete_instances",
    "rebuild_db_from_disk",
    "release",
    "replay_task",
    "run_again",
    "set_aside",
    "tag_instances",
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
    with _held(prefix) as tree:
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
    with _held(prefix):
        return mend(tree, _sqlfile(tree, sqlfile), first, progress)


def delete_instances(prefix: _Path, keys: Iterable[str], sqlfile: _Path | None = None) -> list[str]:
    """Delete segment instances and all that descends from them, in the tree and in the database.

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
    """
    with _held(prefix) as tree, contextlib.closing(Writer.open(_sqlfile(tree, sqlfile), create=False)) as writer:
        rows = writer.instances()
        doomed = {row.id for row in chosen(rows, keys)}
        while more := {row.id for row in rows if row.id not in doomed and doomed.intersection(row.parents)}:
            doomed |= more
        # Children, which are younger, first: a deletion that is cut short leaves no instance without its parents.
        gone = sorted((row for row in rows if row.id in doomed), key=lambda row: -row.id)
        for row in gone:
            tree.remove_instance(row.path)
            writer.delete_instance(row.id)
        return [row.path for row in gone]


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

    What follows from a task is run again only where its output is another then.

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
def _held(prefix: _Path) -> Iterator[Tree]:
    tree = _tree(prefix)
    tree.create()
    with PrefixLock(tree.lock_path):
        yield tree


def _tree(prefix: _Path) -> Tree:
    root = os.path.abspath(prefix)
    if not os.path.isdir(root):
        raise PrefixError(f"there is no directory {root}; give the prefix of a pipeline, the root of its data")
    return Tree(root)


def _sqlfile(tree: Tree, sqlfile: _Path | None) -> str:
    return os.path.abspath(sqlfile) if sqlfile is not None else tree.default_sqlfile
