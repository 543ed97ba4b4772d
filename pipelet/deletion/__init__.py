"""Deleting segment instances, their data, or single tasks; the trash of a prefix.

What is deleted goes to the trash, and is final after some days, or when somebody says so. Each deletion holds the lock
of the prefix while it renames directories and changes rows; deleting files for good holds no lock.
"""

from __future__ import annotations

import contextlib
import getpass
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pipelet.deletion.carry import (
    Listed,
    bring_back,
    finish,
    instances_of,
    opened,
    purged_of,
    recover,
    undo,
)
from pipelet.deletion.preview import (
    Doomed,
    Kind,
    Preview,
    chosen,
    measured,
    preview_instances,
    preview_purge,
    preview_tasks,
)
from pipelet.deletion.records import computed_again, write_records
from pipelet.errors import PipeletError, PrefixLocked, PreviewChanged, TaggedError, TrashError
from pipelet.recorder import agree, journal_unfinished
from pipelet.statusdb import InstanceRow, Reader, Writer
from pipelet.statusdb.deleting import count_ended_since, last_ids, owners
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.trash import BACK, GONE, KEPT, MOVING, RECORDS, Bag, Emptied, bags, pack, were_cut

__all__ = [
    "DAYS",
    "Doomed",
    "Kind",
    "Listed",
    "Preview",
    "Trashed",
    "chosen",
    "condemn",
    "delete_instances",
    "delete_tasks",
    "empty_trash",
    "keep_house",
    "measured",
    "preview_instances",
    "preview_purge",
    "preview_tasks",
    "purge_instances",
    "recover",
    "restore",
    "trash",
]

#: So many days the trash keeps things, unless somebody says otherwise.
DAYS = 30.0
_DAY = 86400.0
_STATES = {MOVING: "cut", KEPT: "kept", BACK: "cut", GONE: "going"}


@dataclass(frozen=True)
class Trashed:
    """A deletion in the trash.

    Attributes
    ----------
    id
        Its name.
    kind
        What was deleted: ``"instances"``, ``"products"`` (the data of the tasks of some instances) or ``"tasks"``.
    by
        Who did it.
    made, until
        When, and until when it is kept, in seconds since the epoch.
    instances
        The segment instances that it is about.
    state
        ``"kept"``; ``"cut"``: it was cut off, and is finished or undone by whoever uses the prefix next;
        ``"going"``: it is being deleted for good.
    """

    id: str
    kind: str
    by: str
    made: float
    until: float
    instances: tuple[Listed, ...]
    state: str

    @property
    def tasks(self) -> int:
        """How many tasks it is about."""
        return sum(item.tasks for item in self.instances)

    @property
    def expired(self) -> bool:
        """Whether its time has passed."""
        return self.until <= time.time()

    @property
    def left(self) -> str:
        """In which time it will be final, in words."""
        days = (self.until - time.time()) / _DAY
        if days <= 0:
            return "any time now"
        return f"in {days:.0f} days" if days >= 1.5 else "in a day" if days >= 0.75 else f"in {days * 24:.0f} hours"

    def __str__(self) -> str:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))
        end = time.strftime("%Y-%m-%d", time.localtime(self.until))
        what = {"instances": "", "products": "data of ", "tasks": "tasks of "}.get(self.kind, "")
        names = ", ".join(item.path for item in self.instances[:3])
        more = f" and {len(self.instances) - 3} more" if len(self.instances) > 3 else ""
        fate = {"kept": f"until {end}", "going": "being deleted for good", "cut": "cut off"}[self.state]
        return f"{self.id}  {what}{names}{more}, {self.tasks} tasks, deleted {day} by {self.by}, {fate}"


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
    return _told(bag)


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
        "until": now + max(days, 0.0) * _DAY,
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


def trash(tree: Tree) -> list[Trashed]:
    """List what is in the trash, the newest first."""
    return [_told(bag) for bag in bags(tree)]


def _told(bag: Bag) -> Trashed:
    manifest = bag.manifest
    made = float(manifest.get("made") or 0)
    return Trashed(
        bag.id,
        str(manifest.get("kind", "instances")),
        str(manifest.get("by", "somebody")),
        made,
        float(manifest.get("until") or made),
        tuple(instances_of(bag)),
        _STATES[bag.state],
    )


def restore(tree: Tree, sqlfile: str, id: str) -> Trashed:
    """Bring back what a deletion took: directories, records, tags.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    id
        The deletion.

    Raises
    ------
    TrashError
        It is not in the trash any more, or something stands in its way; the words say what.
    PrefixLocked
        A run, or somebody else, holds the prefix.
    """
    with opened(tree, sqlfile) as (writer, still_ours):
        bag = next((bag for bag in bags(tree) if bag.id == id), None)
        if bag is None or bag.state != KEPT:
            why = "is being deleted for good" if bag is not None else "is not in the trash (any more)"
            raise TrashError(f"the deletion {id} {why}")
        _refuse(tree, writer, bag)
        still_ours()
        bag.turn(BACK)
        bring_back(tree, writer, bag)
        return _told(bag)


def _refuse(tree: Tree, writer: Writer, bag: Bag) -> None:
    """Raise if a deletion can't be restored as things are now."""
    known = {row.key: row for row in writer.instances()}
    own = {item.key for item in instances_of(bag)}
    kind = bag.manifest.get("kind")
    for item in instances_of(bag):
        if kind == "instances":
            if item.key in known:
                raise TrashError(f"{item.path} was computed again since it was deleted: delete that first")
            if any(parent not in known and parent not in own for parent in item.parents):
                raise TrashError(f"{item.path} descends from what is deleted, too: restore that first")
        elif item.key not in known:
            raise TrashError(f"{item.path} itself is deleted by now: restore that first")
        elif kind == "products":
            again = count_ended_since(writer, known[item.key].id, float(bag.manifest.get("made") or 0))
            if again:
                raise TrashError(f"{again} tasks of {item.path} were computed again since: their data are there")
    if kind == "tasks":
        again = computed_again(f"{bag.path}/{RECORDS}", writer)
        if again:
            raise TrashError(f"{again} of these tasks were computed again since: delete those first")
    obstacle = bag.obstacle()
    if obstacle is not None:
        raise TrashError(f"{tree.below(obstacle)} stands where something would be brought back: move it away first")


def empty_trash(
    tree: Tree, ids: Iterable[str] | None = None, expired: bool = False, progress: Emptied = lambda files: None
) -> int:
    """Delete for good what is in the trash; without the lock of the prefix, and it may be stopped at any moment.

    Parameters
    ----------
    tree
        The prefix.
    ids
        These deletions; all unless given.
    expired
        Only those whose time has passed. What somebody began to delete for good is gone on with in any case.
    progress
        Told now and then how many files of a deletion are gone; what it raises stops it.

    Returns
    -------
    int
        How many deletions are final now.

    Raises
    ------
    TrashError
        One of them is not in the trash.
    StorageError
        Something can't be deleted.
    """
    found = bags(tree, KEPT, GONE)
    wanted = None if ids is None else set([ids] if isinstance(ids, str) else ids)
    if wanted is not None and (unknown := wanted.difference(bag.id for bag in found)):
        raise TrashError(f"the deletion {sorted(unknown)[0]} is not in the trash (any more)")
    number = 0
    for bag in found:
        chosen = wanted is None or bag.id in wanted
        if bag.state == GONE or (chosen and (_told(bag).expired or not expired)):
            bag.empty(progress)
            number += 1
    return number


def condemn(tree: Tree, ids: Iterable[str]) -> None:
    """Say that deletions are final: from now on they can't be restored, and `empty_trash` deletes their files.

    Raises
    ------
    TrashError
        One of them is not in the trash, or is being restored.
    """
    found = {bag.id: bag for bag in bags(tree, KEPT, GONE)}
    for id in ids:
        bag = found.get(id)
        if bag is None:
            raise TrashError(f"the deletion {id} is not in the trash (any more)")
        if bag.state == KEPT:
            bag.turn(GONE)


def keep_house(tree: Tree, sqlfile: str, progress: Emptied = lambda files: None) -> None:
    """Finish what was cut, if nobody holds the prefix, and delete for good what has been in the trash long enough.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    progress
        As for `empty_trash`.
    """
    holder = PrefixLock(tree.lock_path).holder()
    if were_cut(tree) and (holder is None or not holder.alive):
        with contextlib.suppress(PrefixLocked), opened(tree, sqlfile):
            pass
    empty_trash(tree, expired=True, progress=progress)
