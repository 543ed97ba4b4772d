"""Look at what would go, delete it, and what can be done with the trash."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipelet import deletion
from pipelet.deletion import Preview, Trashed
from pipelet.statusdb import Reader
from pipelet.utils.places import StrPath, sqlfile_of, tree_at


def preview_deletion(prefix: StrPath, keys: Iterable[str], sqlfile: StrPath | None = None) -> Preview:
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
    tree = tree_at(prefix)
    with Reader.open(sqlfile_of(tree, sqlfile)) as reader:
        return deletion.preview_instances(tree, reader, keys)


def preview_purge(prefix: StrPath, keys: Iterable[str], sqlfile: StrPath | None = None) -> Preview:
    """Say what `purge_instances` would delete; arguments as `preview_deletion`."""
    tree = tree_at(prefix)
    with Reader.open(sqlfile_of(tree, sqlfile)) as reader:
        return deletion.preview_purge(tree, reader, keys)


def preview_task_deletion(prefix: StrPath, tasks: Iterable[int], sqlfile: StrPath | None = None) -> Preview:
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
    tree = tree_at(prefix)
    with Reader.open(sqlfile_of(tree, sqlfile)) as reader:
        return deletion.preview_tasks(tree, reader, tasks)


def delete_instances(
    prefix: StrPath,
    keys: Iterable[str],
    sqlfile: StrPath | None = None,
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
    tree = tree_at(prefix)
    trashed = deletion.delete_instances(tree, sqlfile_of(tree, sqlfile), keys, force=force, days=days)
    return [item.path for item in reversed(trashed.instances)]


def purge_instances(
    prefix: StrPath,
    keys: Iterable[str],
    sqlfile: StrPath | None = None,
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
    tree = tree_at(prefix)
    return deletion.purge_instances(tree, sqlfile_of(tree, sqlfile), keys, force=force, days=days)


def delete_tasks(
    prefix: StrPath,
    tasks: Iterable[int],
    sqlfile: StrPath | None = None,
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
    tree = tree_at(prefix)
    return deletion.delete_tasks(tree, sqlfile_of(tree, sqlfile), tasks, force=force, days=days)


def trash(prefix: StrPath) -> list[Trashed]:
    """List the deletions that are in the trash of a prefix, the newest first.

    Raises
    ------
    PrefixError
        There is no such directory.
    """
    return deletion.trash(tree_at(prefix))


def restore(prefix: StrPath, id: str, sqlfile: StrPath | None = None) -> Trashed:
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
    tree = tree_at(prefix)
    return deletion.restore(tree, sqlfile_of(tree, sqlfile), id)


def empty_trash(
    prefix: StrPath,
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
    return deletion.empty_trash(tree_at(prefix), ids, expired, progress)
