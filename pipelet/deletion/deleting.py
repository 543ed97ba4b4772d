"""Move segment instances, their data, or single tasks to the trash."""

from __future__ import annotations

import contextlib
import getpass
import time
from collections.abc import Callable, Iterable, Sequence

from pipelet.deletion.carry import finish, opened, purged_of, undo
from pipelet.deletion.preview import Kind, Preview, preview_instances, preview_purge, preview_tasks
from pipelet.deletion.records import write_records
from pipelet.deletion.trashed import DAY, Trashed, told
from pipelet.errors import PipeletError, PreviewChanged, TaggedError
from pipelet.recorder import agree, journal_unfinished
from pipelet.statusdb import InstanceRow, Reader, Writer
from pipelet.statusdb.deleting import last_ids, owners
from pipelet.storage import Tree
from pipelet.storage.trash import MOVING, Bag, pack

#: So many days the trash keeps things, unless somebody says otherwise.
DAYS = 30.0

Find = Callable[[Tree, Reader], Preview]


def delete_instances(
    tree: Tree,
    sqlfile: str,
    keys: Iterable[str],
    *,
    force: bool = False,
    days: float = DAYS,
    by: str | None = None,
    expected: str | None = None,
) -> Trashed:
    """Move instances, and all that descends from them, to the trash.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    keys
        Of the instances, or beginnings that no other one has.
    force
        Also what is tagged.
    days
        How long the trash keeps it; 0: it is deleted for good at once.
    by
        Who does it; the user of this process unless given.
    expected
        The digest of the preview that somebody has confirmed.

    Raises
    ------
    PrefixLocked
        A run, or somebody else, holds the prefix.
    UnknownSegmentError
        No instance, or more than one, has such a key.
    TaggedError
        Something that would go is tagged.
    PreviewChanged
        Something else would go than was confirmed.
    StorageError, DatabaseError
        It can't be done: everything is as it was.
    """
    given = list([keys] if isinstance(keys, str) else keys)
    find: Find = lambda tree, reader: preview_instances(tree, reader, given)  # noqa: E731 (three that are alike)
    return _delete(tree, sqlfile, find, force, days, by, expected)


def purge_instances(
    tree: Tree,
    sqlfile: str,
    keys: Iterable[str],
    *,
    force: bool = False,
    days: float = DAYS,
    by: str | None = None,
    expected: str | None = None,
) -> Trashed:
    """Move the data of instances to the trash, and keep all that is on record; arguments as `delete_instances`."""
    given = list([keys] if isinstance(keys, str) else keys)
    find: Find = lambda tree, reader: preview_purge(tree, reader, given)  # noqa: E731
    return _delete(tree, sqlfile, find, force, days, by, expected)


def delete_tasks(
    tree: Tree,
    sqlfile: str,
    ids: Iterable[int],
    *,
    force: bool = False,
    days: float = DAYS,
    by: str | None = None,
    expected: str | None = None,
) -> Trashed:
    """Move tasks, and all that depends on them, to the trash; arguments as `delete_instances`.

    Raises
    ------
    TrashError
        There is no such task.
    """
    given = list(ids)
    find: Find = lambda tree, reader: preview_tasks(tree, reader, given)  # noqa: E731
    return _delete(tree, sqlfile, find, force, days, by, expected)


def _delete(
    tree: Tree, sqlfile: str, find: Find, force: bool, days: float, by: str | None, expected: str | None
) -> Trashed:
    with opened(tree, sqlfile) as (writer, still_ours):
        preview = find(tree, writer)
        if expected not in (None, preview.digest):
            raise PreviewChanged("something else would be deleted now than what was confirmed: look at it again")
        if preview.tagged and not force:
            names = ", ".join(f"{item.path} ({item.tag})" for item in preview.tagged[:3])
            raise TaggedError(f"tagged, and so not deleted: {names}; take the tag away first")
        rows = [row for row in map(writer.instance_by_id, [item.id for item in preview.instances]) if row is not None]
        for row in rows:
            _journal_all(tree, writer, row)
        still_ours()
        bag = _packed(tree, writer, preview, days, by)
        try:
            finish(tree, writer, bag)
        except BaseException:
            # What can't be undone now, either, is left to who holds the prefix next.
            with contextlib.suppress(PipeletError):
                if bag.state == MOVING:
                    undo(tree, writer, bag)
            raise
    if days <= 0:
        bag.empty()
    return told(bag)


def _journal_all(tree: Tree, writer: Writer, row: InstanceRow) -> None:
    """See to it that the journal of an instance tells all that the database knows: from it, it is restored."""
    journal = tree.journal(row.path)
    journal_unfinished(writer, agree(writer, tree, row, journal), journal)


def _packed(tree: Tree, writer: Writer, preview: Preview, days: float, by: str | None) -> Bag:
    now = time.time()
    rows = [row for row in map(writer.instance_by_id, [item.id for item in preview.instances]) if row is not None]
    keys = {row.id: row.key for row in writer.instances()}
    parents = {row.id: [keys[parent] for parent in row.parents if parent in keys] for row in rows}
    manifest = {
        "kind": preview.kind,
        "by": by or _user(),
        "made": now,
        "until": now + max(days, 0.0) * DAY,
        "instances": [{**item._asdict(), "parents": parents[item.id]} for item in preview.instances],
        "last": list(last_ids(writer)),
    }
    if preview.kind == "products":
        manifest["purged_before"] = {row.key: purged_of(tree.read_meta(row.path)) for row in rows}
    paths = sorted((row.path for row in rows), key=len, reverse=True)
    moves = [(source, _room(source, paths, preview.kind)) for source in preview.directories]
    if preview.kind != "tasks":
        return pack(tree, manifest, moves)
    going: dict[int, list[int]] = {row.id: [] for row in rows}
    for task, instance in owners(writer, preview.task_ids).items():
        going[instance].append(task)
    parts = [(row, going[row.id]) for row in rows]
    return pack(tree, manifest, moves, lambda file: write_records(file, tree.synced, writer, parts))


def _room(source: str, paths: Sequence[str], kind: Kind) -> str:
    """Where in the deletion's directory something is kept: one directory for an instance, all at one level."""
    number, path = next((number, path) for number, path in enumerate(paths) if f"{source}/".startswith(f"{path}/"))
    return str(number) if kind == "instances" else f"{number}/{source[len(path) + 1 :]}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "somebody"
