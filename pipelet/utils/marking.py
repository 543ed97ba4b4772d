"""Words and marks that people put at versions and tasks."""

from __future__ import annotations

from collections.abc import Iterable

from pipelet import marks
from pipelet.marks import Marked
from pipelet.tags import put_tag
from pipelet.utils.places import StrPath, sqlfile_of, tree_at


def tag_instances(prefix: StrPath, keys: Iterable[str], tag: str | None, sqlfile: StrPath | None = None) -> None:
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
    tree = tree_at(prefix)
    put_tag(tree, sqlfile_of(tree, sqlfile), keys, tag)


def set_aside(
    prefix: StrPath, tasks: Iterable[int | str] | None, sqlfile: StrPath | None = None, kind: str | None = None
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
    tree = tree_at(prefix)
    return marks.set_aside(tree, sqlfile_of(tree, sqlfile), tasks, kind)


def release(
    prefix: StrPath, tasks: Iterable[int | str] | None, sqlfile: StrPath | None = None, kind: str | None = None
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
    tree = tree_at(prefix)
    return marks.release(tree, sqlfile_of(tree, sqlfile), tasks, kind)


def run_again(prefix: StrPath, tasks: Iterable[int | str] | None, sqlfile: StrPath | None = None) -> Marked:
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
    tree = tree_at(prefix)
    return marks.run_again(tree, sqlfile_of(tree, sqlfile), tasks)
