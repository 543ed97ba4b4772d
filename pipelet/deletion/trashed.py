"""What is in the trash: list it, bring it back, delete it for good."""

from __future__ import annotations

import calendar
import contextlib
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pipelet.deletion.carry import Listed, bring_back, instances_of, opened
from pipelet.deletion.records import computed_again
from pipelet.errors import PrefixLocked, StorageError, TrashError
from pipelet.statusdb import Writer
from pipelet.statusdb.deleting import count_ended_since
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.trash import BACK, GONE, KEPT, MOVING, RECORDS, Bag, Emptied, bags, were_cut

#: In seconds.
DAY = 86400.0
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
        ``"going"``: it is being deleted for good; ``"damaged"``: what it says of itself can't be read, so that it can
        only be deleted for good.
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
        days = (self.until - time.time()) / DAY
        if days <= 0:
            return "any time now"
        return f"in {days:.0f} days" if days >= 1.5 else "in a day" if days >= 0.75 else f"in {days * 24:.0f} hours"

    def __str__(self) -> str:
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.made))
        end = time.strftime("%Y-%m-%d", time.localtime(self.until)) if self.state == "kept" else ""
        what = {"instances": "", "products": "data of ", "tasks": "tasks of "}.get(self.kind, "")
        names = ", ".join(item.path for item in self.instances[:3])
        more = f" and {len(self.instances) - 3} more" if len(self.instances) > 3 else ""
        words = {"kept": f"until {end}", "going": "being deleted for good", "cut": "cut off"}
        fate = words.get(self.state, self.state)
        return f"{self.id}  {what}{names}{more}, {self.tasks} tasks, deleted {day} by {self.by}, {fate}"


def trash(tree: Tree) -> list[Trashed]:
    """List what is in the trash, the newest first."""
    # Their names hold the second only.
    return sorted(map(told, bags(tree)), key=lambda item: (item.made, item.id), reverse=True)


def told(bag: Bag) -> Trashed:
    """Say what a deletion of the trash is."""
    manifest = bag.manifest
    if bag.damage is not None:
        # Its name has the moment, too. Nothing expires that nobody can say what it is.
        made = 0.0
        with contextlib.suppress(ValueError):
            made = float(calendar.timegm(time.strptime(bag.id[:15], "%Y%m%d-%H%M%S")))
        state = "damaged" if bag.state == KEPT else _STATES[bag.state]
        return Trashed(bag.id, "instances", "somebody", made, math.inf, (), state)
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
        try:
            bag.moves()
        except StorageError as error:
            raise TrashError(str(error)) from error
        _refuse(tree, writer, bag)
        still_ours()
        bag.turn(BACK)
        bring_back(tree, writer, bag)
        return told(bag)


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
        if bag.state == GONE or (chosen and (told(bag).expired or not expired)):
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
