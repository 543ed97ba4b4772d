"""Makes a status database anew from the tree, row for row."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pipelet.distrust import distrust_in_copy
from pipelet.errors import DatabaseError, MissingDatabaseError
from pipelet.statusdb import InstanceRow, Reader, Writer, has_database
from pipelet.statusdb.deleting import LastIds, reserve_ids
from pipelet.storage import Tree
from pipelet.storage.trash import MOVING, Bag, bags, were_cut


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


def _last(bag: Bag) -> LastIds:
    last = bag.manifest.get("last")
    return LastIds(*map(int, last)) if isinstance(last, list) and len(last) == len(LastIds._fields) else LastIds(0, 0)


class _Found(NamedTuple):
    """An instance as its ``.meta`` tells."""

    path: str
    segment: str
    key: str
    parents: tuple[str, ...]
    created: float
    number: int | None
    tasks: bool  #: its journal holds something


def _fill(writer: Writer, tree: Tree) -> Rebuilt:
    ids: dict[str, int] = {}
    tasks = 0
    waiting = _numbered([_found(tree, path) for path in tree.find_instances()])
    while waiting:
        # An instance whose parents were deleted by hand stands for itself.
        ready = [item for item in waiting if all(parent in ids for parent in item.parents)] or waiting
        for item in ready:
            ids[item.key] = _add(writer, tree, item, [ids[parent] for parent in item.parents if parent in ids])
            tasks += sum(1 for _ in writer.plan_rows(ids[item.key]))
        waiting = [item for item in waiting if item.key not in ids]
    for bag in bags(tree):
        # What is restored has its numbers again.
        reserve_ids(writer, _last(bag))
    return Rebuilt(len(ids), tasks)


def _numbered(found: Iterable[_Found]) -> list[_Found]:
    """Each instance once, with a number of its own.

    A run that was killed while it made a directory, or a copy made by hand, leaves numbers and keys twice: the instance
    whose journal tells of tasks has the older right.
    """
    ordered = sorted(found, key=lambda item: (item.number is None, not item.tasks, item.number or 0, item.path))
    last = max((item.number or 0 for item in ordered), default=0)
    numbers: set[int] = set()
    by_key: dict[str, _Found] = {}
    for item in ordered:
        if item.key in by_key:
            continue
        number = item.number
        if number is None or number in numbers:
            last = number = last + 1
        numbers.add(number)
        by_key[item.key] = item._replace(number=number)
    return sorted(by_key.values(), key=lambda item: item.number or 0)


@contextmanager
def reading(tree: Tree, sqlfile: str) -> Iterator[Reader]:
    """The database as it is at this moment; where there is none, what the tree says.

    Parameters
    ----------
    tree
        The prefix.
    sqlfile
        Its database, which is not made.
    """
    with _opened(sqlfile) or settled(tree, sqlfile) as reader:
        yield reader


@contextmanager
def settled(tree: Tree, sqlfile: str, keys: Collection[str] = ()) -> Iterator[Reader]:
    """What a run would find in the database once it has taken over what the tree has more.

    Parameters
    ----------
    tree
        The prefix.
    sqlfile
        Its database. Neither is changed: where they differ, a private copy is brought up to date.
    keys
        Of the instances that matter.
    """
    opened = _opened(sqlfile)
    if opened is not None:
        with opened as reader:
            known = {row.key for row in reader.instances()}.issuperset(keys) or not _unknown(reader, tree, keys)
            if known and not _ahead(reader, tree) and not tree.products.doubtful() and not were_cut(tree):
                yield reader
                return
            with tempfile.TemporaryDirectory(prefix="pipelet-") as scratch:
                copy = os.path.join(scratch, "sqlstatus")
                reader.copy_to(copy)
                with Writer.open(copy, "keep") as writer:
                    catch_up(writer, tree)
                    _forget_cut(writer, tree)
                    distrust_in_copy(writer, tree)
                    yield writer
    elif has_instances(tree):
        with tempfile.TemporaryDirectory(prefix="pipelet-") as scratch:
            copy = os.path.join(scratch, "sqlstatus")
            rebuild(tree, copy)
            with Writer.open(copy, "keep") as writer:
                distrust_in_copy(writer, tree)
                yield writer
    else:
        with Reader.empty() as reader:
            yield reader


def _forget_cut(writer: Writer, tree: Tree) -> None:
    """Do in a private copy what a run will do about deletions of instances that were cut."""
    for bag in were_cut(tree):
        going = bag.state == MOVING and bag.manifest.get("kind") == "instances"
        for item in bag.manifest["instances"] if going else ():
            row = writer.instance(str(item["key"]))
            if row is not None:
                writer.delete_instance(row.id)


def _opened(sqlfile: str) -> Reader | None:
    """The database, or ``None`` where there is nothing in it yet: a run may have been killed while it made it."""
    if not has_database(sqlfile):
        return None
    try:
        return Reader.open(sqlfile)
    except MissingDatabaseError:
        return None


def catch_up(writer: Writer, tree: Tree) -> None:
    """Take over what the tree has more than the database: a crash of the machine may cost its last transactions.

    It is done for every instance, not only for those that are run, since two tasks must never have one id.
    """
    for item in _unknown(writer, tree):
        above = [row.id for row in map(writer.instance, item.parents) if row is not None]
        taken = item.number is not None and writer.instance_by_id(item.number) is not None
        _add(writer, tree, item._replace(number=None) if taken else item, above)
    for row in _ahead(writer, tree):
        take_over(writer, tree, row)


def _ahead(reader: Reader, tree: Tree) -> list[InstanceRow]:
    return [row for row in reader.instances() if tree.journal(row.path).size() > row.journal_end]


def _unknown(reader: Reader, tree: Tree, keys: Collection[str] | None = None) -> list[_Found]:
    """The instances in the tree that the database does not have, parents first; of these keys or all."""
    known = {row.key for row in reader.instances()}
    paths = {row.path for row in reader.instances()}
    found = [_found(tree, path) for path in tree.find_instances() if path not in paths]
    return [item for item in _numbered(found) if item.key not in known and (keys is None or item.key in keys)]


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
        tree.journal(path).size() > 0,
    )
