"""Maintenance verbs, for scripts and for the commands."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Union

from pipelet.core.text import without_surrogates
from pipelet.errors import PrefixError, UnknownSegmentError
from pipelet.rebuild import Rebuilt, rebuild
from pipelet.statusdb import InstanceRow, Writer
from pipelet.storage import PrefixLock, Tree

__all__ = ["Rebuilt", "delete_instances", "rebuild_db_from_disk", "tag_instances"]

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
        doomed = {row.id for row in _chosen(rows, keys)}
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
    word = without_surrogates(tag).strip() if tag else None
    with contextlib.closing(Writer.open(_sqlfile(tree, sqlfile), "keep", create=False)) as writer:
        for row in _chosen(writer.instances(), keys):
            tree.write_tag(row.path, word or None)
            writer.set_tag(row.id, word or None)


def _chosen(rows: list[InstanceRow], keys: Iterable[str]) -> list[InstanceRow]:
    chosen = []
    for key in [keys] if isinstance(keys, str) else keys:
        found = [row for row in rows if row.key.startswith(key)]
        if len(found) != 1:
            many = f"{len(found)} segment instances have" if found else "no segment instance has"
            raise UnknownSegmentError(f"{many} a key that begins with {key!r}; Pipeline.instances lists the keys")
        chosen += found
    return chosen


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
