"""Words that people give to versions of segments: in the tree, and in the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from pipelet.core.text import without_surrogates
from pipelet.errors import DatabaseError, StorageError, UnknownSegmentError
from pipelet.statusdb import InstanceRow, Writer
from pipelet.storage import Tree

#: How long another writer of the database is waited for, in seconds.
PATIENCE = 30.0


def put_tag(
    tree: Tree, sqlfile: str, keys: Iterable[str], tag: str | None, patience: float = PATIENCE
) -> list[InstanceRow]:
    """Give a tag to segment instances, or take it away. A run may go on meanwhile.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    keys
        Keys of the instances, or beginnings of keys that no other instance has.
    tag
        A word or more; ``None`` takes the tag away.
    patience
        How long to wait for another writer, in seconds.

    Returns
    -------
    list of InstanceRow
        The instances.

    Raises
    ------
    UnknownSegmentError
        No instance, or more than one, has such a key.
    DatabaseError
        The database can't be written.
    StorageError
        The tree can't be written.
    """
    word = " ".join(without_surrogates(tag).split()) if tag else None
    with contextlib.closing(Writer.open(sqlfile, "keep", create=False, busy_timeout=patience)) as writer:
        rows = chosen(writer.instances(), keys)
        for row in rows:
            before = tree.read_tag(row.path)
            tree.write_tag(row.path, word or None)
            try:
                writer.set_tag(row.id, word or None)
            except DatabaseError:
                # What was refused must not be in the tree, from where it would come back.
                with contextlib.suppress(StorageError):
                    tree.write_tag(row.path, before)
                raise
    return rows


def chosen(rows: Sequence[InstanceRow], keys: Iterable[str]) -> list[InstanceRow]:
    """Find the instances with these keys.

    Parameters
    ----------
    rows
        Where to look.
    keys
        Keys, or beginnings of keys that no other instance has.

    Raises
    ------
    UnknownSegmentError
        No instance, or more than one, has such a key.
    """
    found = []
    for key in [keys] if isinstance(keys, str) else keys:
        matching = [row for row in rows if row.key.startswith(key)]
        if len(matching) != 1:
            many = f"{len(matching)} segment instances have" if matching else "no segment instance has"
            raise UnknownSegmentError(f"{many} a key that begins with {key!r}; Pipeline.instances lists the keys")
        found += matching
    return found
