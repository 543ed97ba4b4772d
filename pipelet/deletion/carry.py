"""Carries deletions out, so that each can be cut at any moment: what was begun is finished, or undone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pipelet.deletion.records import delete_records, return_records, revoke, tell_parameters
from pipelet.distrust import distrust, mend_moves, sweep
from pipelet.errors import DamagedDatabaseError, ForeignDatabaseError, NewerDatabaseError, PipeletError, StorageError
from pipelet.meta import clock_text
from pipelet.rebuild import catch_up
from pipelet.statusdb import Writer, has_database
from pipelet.storage import Tree
from pipelet.storage.holding import held
from pipelet.storage.trash import BACK, GONE, KEPT, MOVING, RECORDS, Bag, were_cut

#: How long to wait for somebody who is just about to let the prefix go.
_PATIENCE = 2.0
_PURGED = ("purged", "purged_seconds")


@contextlib.contextmanager
def opened(tree: Tree, sqlfile: str) -> Iterator[tuple[Writer, Callable[[], None]]]:
    """Hold a prefix, with tree and database in agreement; gives the database, and what raises when the lock is lost."""
    # Before the engine's directory is made anywhere.
    if not has_database(sqlfile):
        Writer.open(sqlfile, create=False).close()
    tree.create()
    with held(tree, patience=_PATIENCE) as (lock, still_ours):
        tree.empty_discards()
        recover(tree, sqlfile)
        with contextlib.closing(_durable(tree, sqlfile)) as writer:
            catch_up(writer, tree)
            if tree.products.doubtful():
                distrust(writer, tree)
            if tree.moves_were_cut:
                mend_moves(writer, tree)
            if lock.took_over:
                sweep(writer, tree)
            yield writer, still_ours


def _durable(tree: Tree, sqlfile: str) -> Writer:
    writer = Writer.open(sqlfile, create=False)
    if tree.synced:
        # A deletion that counts as finished must not come back in the database after a power cut.
        writer.wait_for_disk()
    return writer


def finish(tree: Tree, writer: Writer | None, bag: Bag) -> None:
    """Take away what a deletion is about, and what the database says of it; what is done already stays done.

    Parameters
    ----------
    tree, bag
        The prefix, held by the caller, and the deletion.
    writer
        The database; ``None`` if there is none, which is made of what stays.
    """
    bag.take()
    kind = bag.manifest.get("kind")
    if kind == "tasks":
        delete_records(os.path.join(bag.path, RECORDS), tree, writer, _paths(tree, bag))
        tell_parameters(tree, writer, _paths(tree, bag))
    elif kind == "products":
        made = float(bag.manifest.get("made") or 0)
        for item in instances_of(bag):
            set_purged(tree, item.path, {"purged": clock_text(made), "purged_seconds": made})
    elif writer is not None:
        with writer.transaction():
            for item in instances_of(bag):
                row = writer.instance(item.key)
                if row is not None and not os.path.lexists(tree.absolute(row.path)):
                    writer.delete_instance(row.id)
    bag.turn(KEPT)


def undo(tree: Tree, writer: Writer | None, bag: Bag) -> None:
    """Bring everything to where it was before a deletion."""
    bag.give_back()
    kind = bag.manifest.get("kind")
    if kind == "products":
        _unpurge(tree, bag)
    if writer is not None:
        if kind == "tasks":
            revoke(os.path.join(bag.path, RECORDS), tree, writer)
        # Rows that are gone already come from the journals.
        catch_up(writer, tree)
        if kind == "tasks":
            tell_parameters(tree, writer, _paths(tree, bag))
    bag.turn(GONE)
    bag.empty()


def finish_restoring(tree: Tree, writer: Writer | None, bag: Bag) -> None:
    """Bring back what a deletion took, on the disk and in the database; what is back already stays."""
    bag.give_back()
    kind = bag.manifest.get("kind")
    if kind == "products":
        _unpurge(tree, bag)
    elif kind == "tasks":
        return_records(os.path.join(bag.path, RECORDS), tree, writer, _paths(tree, bag))
        tell_parameters(tree, writer, _paths(tree, bag))
    elif writer is not None:
        catch_up(writer, tree)
        for item in instances_of(bag):
            row = writer.instance(item.key)
            if row is not None and row.id != item.id:
                tree.write_meta(row.path, {**tree.read_meta(row.path), "number": row.id})
    bag.turn(GONE)
    bag.empty()


def recover(tree: Tree, sqlfile: str) -> int:
    """Finish the deletions and restorations that were cut, or undo them; for the holder of the lock.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database, which may be missing.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    PipeletError
        One can be neither finished nor undone: the disk or the database don't let it.
    """
    cut = were_cut(tree)
    if not cut:
        return 0
    with contextlib.ExitStack() as stack:
        writer = None
        if has_database(sqlfile):
            # A file that is none of ours, or damaged, is made anew from the tree.
            with contextlib.suppress(DamagedDatabaseError, ForeignDatabaseError, NewerDatabaseError):
                writer = stack.enter_context(contextlib.closing(_durable(tree, sqlfile)))
        for bag in cut:
            if bag.state == BACK:
                try:
                    bring_back(tree, writer, bag)
                except StorageError:
                    if bag.state == BACK:
                        raise
                continue
            try:
                finish(tree, writer, bag)
            except PipeletError:
                if bag.state == MOVING:
                    undo(tree, writer, bag)
    return len(cut)


def bring_back(tree: Tree, writer: Writer | None, bag: Bag) -> None:
    """Finish a restoration; where something has the place of what would come back, all of it stays in the trash."""
    try:
        finish_restoring(tree, writer, bag)
    except StorageError:
        if bag.state == BACK and bag.obstacle() is not None:
            bag.retreat()
            bag.turn(KEPT)
        raise


class Listed(NamedTuple):
    """An instance as the manifest of a deletion has it."""

    id: int
    segment: str
    key: str
    path: str
    tag: str | None
    tasks: int
    parents: tuple[str, ...]  #: keys


def instances_of(bag: Bag) -> list[Listed]:
    """The instances that a deletion is about, as its manifest has them."""
    listed = bag.manifest.get("instances")
    return [
        Listed(
            int(item["id"]), str(item["segment"]), str(item["key"]), str(item["path"]), item.get("tag"),
            int(item["tasks"]), tuple(map(str, item.get("parents", ()))),
        )
        for item in (listed if isinstance(listed, list) else ())
    ]  # fmt: skip


def purged_of(meta: Mapping[str, object]) -> dict[str, object]:
    """What a ``.meta`` says about the last purge."""
    return {name: meta[name] for name in _PURGED if name in meta}


def set_purged(tree: Tree, path: str, purged: Mapping[str, object]) -> None:
    """Write in the ``.meta`` of an instance when its data were deleted; nothing takes the word away."""
    meta = {name: value for name, value in tree.read_meta(path).items() if name not in _PURGED}
    tree.write_meta(path, {**meta, **purged})


def _unpurge(tree: Tree, bag: Bag) -> None:
    before = bag.manifest.get("purged_before")
    for item in instances_of(bag):
        was = before.get(item.key) if isinstance(before, dict) else None
        set_purged(tree, item.path, was if isinstance(was, dict) else {})


def _paths(tree: Tree, bag: Bag) -> dict[str, str]:
    return {item.key: item.path for item in instances_of(bag) if os.path.isdir(tree.absolute(item.path))}
