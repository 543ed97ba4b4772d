"""Moving the directories of tasks between ``data/`` and ``superseded/``, so that any move can be cut and continued.

A directory of its own moves by one rename. The task whose place is ``data/`` itself shares that directory with the
others, so its entries move one by one through ``superseded/<name>.moving``: as long as that stands, the move can be
continued in either direction, since what is in it and what is in ``data/`` (but the siblings) is all one task's.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from pipelet.core.text import task_name
from pipelet.errors import StorageError
from pipelet.storage.files import is_directory, remove, rename, scan, storage_errors
from pipelet.storage.names import check_place

#: place (None: no directory), number, input as text, current
Placed = tuple[str | None, int, str, bool]

MOVING = ".moving"
#: What stood where a directory had to go, and belonged to no version that is on record.
DISPLACED = ".displaced"


@dataclass(frozen=True)
class Rooms:
    """The two directories of an instance that hold tasks."""

    data: str
    superseded: str


def supersede(rooms: Rooms, place: str, name: str, siblings: Collection[str]) -> None:
    """Move a task to ``superseded/``; a move that was cut is continued, one that is finished is left alone.

    Parameters
    ----------
    rooms
        Where.
    place
        The task's name in ``data/``, ``""`` for ``data/`` itself.
    name
        Its name in ``superseded/``.
    siblings
        Names in ``data/`` that belong to other tasks.

    Raises
    ------
    StorageError
        Something could not be moved.
    """
    check_place(place, name)
    with storage_errors("move to superseded/", os.path.join(rooms.data, place)):
        if place:
            _supersede_one(rooms, place, name)
        else:
            _supersede_whole(rooms, name, siblings)


def revive(rooms: Rooms, place: str, name: str, siblings: Collection[str]) -> None:
    """Move a task back from ``superseded/``; the arguments are those of `supersede`."""
    check_place(place, name)
    with storage_errors("move back from superseded/", os.path.join(rooms.superseded, name)):
        if place:
            _revive_one(rooms, place, name)
        else:
            _revive_whole(rooms, name, siblings)


def mend(rooms: Rooms, tasks: Iterable[Placed], siblings: Collection[str]) -> None:
    """Bring every directory to where the records say that it is.

    Parameters
    ----------
    rooms
        Where.
    tasks
        All the tasks of the instance.
    siblings
        Names in ``data/`` that belong to tasks with directories of their own.

    Raises
    ------
    StorageError
        Something could not be moved.
    """
    with storage_errors("read", rooms.data):
        present = {entry.name for entry in scan(rooms.data)}
        aside = {entry.name for entry in scan(rooms.superseded)}
    whole: list[tuple[int, str, bool]] = []
    for place, number, text, current in tasks:
        if place is None:
            continue
        if place == "":
            whole.append((number, task_name(number, text), current))
        elif not current:
            if place in present:
                supersede(rooms, place, task_name(number, text), siblings)
        elif aside and place not in present:
            revive(rooms, place, task_name(number, text), siblings)
    if whole:
        _mend_whole(rooms, whole, aside, siblings)


def _mend_whole(
    rooms: Rooms, whole: list[tuple[int, str, bool]], aside: Collection[str], siblings: Collection[str]
) -> None:
    passed = [name for _, name, current in sorted(whole) if not current]
    for name in passed:
        if name + MOVING in aside:
            supersede(rooms, "", name, siblings)
    owner = next((name for _, name, current in whole if current), None)
    # What is in data/ is the current task's, unless that one still waits in superseded/, or there is none.
    unmoved = [name for name in passed if name not in aside and name + MOVING not in aside]
    if unmoved and (owner is None or owner in aside):
        supersede(rooms, "", unmoved[-1], siblings)
    if owner is not None:
        revive(rooms, "", owner, siblings)


def own_entries(directory: str, siblings: Collection[str]) -> list[str]:
    """Give the names in `directory` that are not `siblings`."""
    return [entry.name for entry in scan(directory) if entry.name not in siblings]


def _supersede_one(rooms: Rooms, place: str, name: str) -> None:
    source, target = os.path.join(rooms.data, place), os.path.join(rooms.superseded, name)
    if not is_directory(source):
        return
    os.makedirs(rooms.superseded, exist_ok=True)
    if os.path.lexists(target):
        remove(target + DISPLACED)
        rename(target, target + DISPLACED)
    rename(source, target)


def _revive_one(rooms: Rooms, place: str, name: str) -> None:
    source, target = os.path.join(rooms.superseded, name), os.path.join(rooms.data, place)
    # A directory with content is the task's own already; an empty one gives way to the rename.
    if is_directory(source) and not scan(target):
        os.makedirs(rooms.data, exist_ok=True)
        rename(source, target)


def _supersede_whole(rooms: Rooms, name: str, siblings: Collection[str]) -> None:
    target = os.path.join(rooms.superseded, name)
    moving = target + MOVING
    if is_directory(target) or not (is_directory(rooms.data) or is_directory(moving)):
        return
    os.makedirs(moving, exist_ok=True)
    for entry in own_entries(rooms.data, siblings):
        rename(os.path.join(rooms.data, entry), os.path.join(moving, entry))
    # Also when nothing was there: the directory tells that the move is finished.
    rename(moving, target)


def _revive_whole(rooms: Rooms, name: str, siblings: Collection[str]) -> None:
    source = os.path.join(rooms.superseded, name)
    moving = source + MOVING
    if is_directory(source) and not is_directory(moving):
        _displace(rooms, source + DISPLACED, siblings)
        rename(source, moving)
    if not is_directory(moving):
        return
    os.makedirs(rooms.data, exist_ok=True)
    for entry in own_entries(moving, ()):
        target = os.path.join(rooms.data, entry)
        if os.path.lexists(target):
            raise StorageError(f"{target} stands where {os.path.join(moving, entry)} belongs: move one of them away")
        rename(os.path.join(moving, entry), target)
    os.rmdir(moving)


def _displace(rooms: Rooms, target: str, siblings: Collection[str]) -> None:
    """Make room in ``data/``: what lies there now was left by a version that never came on record."""
    entries = own_entries(rooms.data, siblings)
    if entries:
        os.makedirs(target, exist_ok=True)
    for entry in entries:
        remove(os.path.join(target, entry))
        rename(os.path.join(rooms.data, entry), os.path.join(target, entry))
