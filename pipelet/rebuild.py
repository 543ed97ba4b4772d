"""Makes a status database anew from the tree, row for row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelet.errors import DatabaseError
from pipelet.statusdb import InstanceRow, Reader, Writer, has_database
from pipelet.storage import Tree


class Rebuilt(NamedTuple):
    """What a rebuilt database holds."""

    instances: int
    tasks: int

    def __str__(self) -> str:
        return f"{self.instances} segment instances, {self.tasks} tasks"


def has_instances(tree: Tree) -> bool:
    """Whether there is any segment instance in the tree."""
    return next(iter(tree.find_instances()), None) is not None


def rebuild(tree: Tree, sqlfile: str) -> Rebuilt:
    """Make the database of a tree.

    Parameters
    ----------
    tree
        Where the instances and their journals are.
    sqlfile
        The file to make; an old one is kept beside it as ``<sqlfile>.old``.

    Raises
    ------
    DatabaseError
        The file can't be made.
    """
    fresh = f"{sqlfile}.new"
    for leftover in (fresh, f"{fresh}-wal", f"{fresh}-shm", f"{fresh}-journal"):
        if os.path.exists(leftover):
            os.remove(leftover)
    writer = Writer.open(fresh)
    try:
        rebuilt = _fill(writer, tree)
    finally:
        writer.close()
    try:
        if os.path.exists(sqlfile):
            os.replace(sqlfile, f"{sqlfile}.old")
        for leftover in (f"{sqlfile}-wal", f"{sqlfile}-shm", f"{sqlfile}-journal"):
            if os.path.exists(leftover):
                os.remove(leftover)
        os.replace(fresh, sqlfile)
    except OSError as error:
        raise DatabaseError(f"the rebuilt database can't take the place of {sqlfile}: {error.strerror}") from error
    return rebuilt


class _Found(NamedTuple):
    """An instance as its ``.meta`` tells."""

    path: str
    segment: str
    key: str
    parents: tuple[str, ...]
    created: float
    number: int | None


def _fill(writer: Writer, tree: Tree) -> Rebuilt:
    ids: dict[str, int] = {}
    tasks = 0
    waiting = sorted((_found(tree, path) for path in tree.find_instances()), key=lambda item: item.number or 0)
    while waiting:
        # An instance whose parents were deleted by hand stands for itself.
        ready = [item for item in waiting if all(parent in ids for parent in item.parents)] or waiting
        for item in ready:
            ids[item.key] = _add(writer, tree, item, [ids[parent] for parent in item.parents if parent in ids])
            tasks += sum(1 for _ in writer.plan_rows(ids[item.key]))
        waiting = [item for item in waiting if item.key not in ids]
    return Rebuilt(len(ids), tasks)


@contextmanager
def settled(tree: Tree, sqlfile: str) -> Iterator[Reader]:
    """What a run would find in the database once it has taken over what the tree has more.

    Parameters
    ----------
    tree
        The prefix.
    sqlfile
        Its database. Neither is changed: where they differ, a private copy is brought up to date.
    """
    if has_database(sqlfile):
        with Reader.open(sqlfile) as reader:
            ahead = [row for row in reader.instances() if tree.journal(row.path).size() > row.journal_end]
            if not ahead:
                yield reader
                return
            with tempfile.TemporaryDirectory(prefix="pipelet-") as scratch:
                copy = os.path.join(scratch, "sqlstatus")
                reader.copy_to(copy)
                with Writer.open(copy, "keep") as writer:
                    for row in ahead:
                        take_over(writer, tree, row)
                    yield writer
    elif has_instances(tree):
        with tempfile.TemporaryDirectory(prefix="pipelet-") as scratch:
            copy = os.path.join(scratch, "sqlstatus")
            rebuild(tree, copy)
            with Reader.open(copy) as reader:
                yield reader
    else:
        with Reader.empty() as reader:
            yield reader


def take_over(writer: Writer, tree: Tree, row: InstanceRow) -> int:
    """Read into the database what an instance's journal has more.

    Returns
    -------
    int
        Where the last whole frame of the journal ends.
    """
    end = row.journal_end
    for events, frame_end in tree.journal(row.path).read(end):
        with writer.transaction():
            writer.apply(row.id, events, frame_end)
        end = frame_end
    return end


def _add(writer: Writer, tree: Tree, item: _Found, parents: list[int]) -> int:
    with writer.transaction():
        number = writer.add_instance(item.segment, item.key, item.path, parents, item.created, id=item.number)
        tag = tree.read_tag(item.path)
        if tag:
            writer.set_tag(number, tag)
    for events, end in tree.journal(item.path).read():
        with writer.transaction():
            writer.apply(number, events, end)
    return number


def _found(tree: Tree, path: str) -> _Found:
    meta = tree.read_meta(path)
    parents, created, number = meta.get("parents"), meta.get("created_seconds"), meta.get("number")
    return _Found(
        path,
        str(meta.get("segment")),
        str(meta.get("key")),
        tuple(str(key) for key in parents.values()) if isinstance(parents, dict) else (),
        float(created) if isinstance(created, (int, float)) else 0.0,
        number if isinstance(number, int) else None,
    )
