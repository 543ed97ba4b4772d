"""The directories of the tasks of an instance, compared with the records."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence

from pipelet.check.records import SUPERSEDED, Light
from pipelet.check.report import Report, counted, some
from pipelet.core.model import Status
from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow
from pipelet.storage import Tree
from pipelet.storage.files import storage_errors
from pipelet.storage.moves import DISPLACED, MOVING


class Rooms:
    """What lies in ``data/`` and in ``superseded/``."""

    def __init__(self, tree: Tree, path: str) -> None:
        self.places = tree.present(path)
        data = tree.data_dir(path)
        self.entries = _names(data)
        self.aside = _names(os.path.join(os.path.dirname(data), "superseded"))


def _names(directory: str) -> set[str]:
    with storage_errors("read", directory):
        try:
            return set(os.listdir(directory))
        except (FileNotFoundError, NotADirectoryError):
            return set()


def check_places(tree: Tree, row: InstanceRow, tasks: Sequence[Light], report: Report) -> None:
    """Compare the directories of an instance with its tasks.

    Parameters
    ----------
    tree
        The prefix.
    row
        The instance.
    tasks
        All that are on record.
    report
        Takes the findings.
    """
    rooms = Rooms(tree, row.path)
    gone: list[str] = []
    older: list[str] = []
    unmoved: list[str] = []
    purged = _purged(tree, row.path)
    for task in tasks:
        if task.place is None:
            continue
        told = task.ended is not None and task.ended <= purged
        if task.current == SUPERSEDED:
            if task.name + MOVING in rooms.aside or (task.place and task.place in rooms.places):
                unmoved.append(task.name)
            elif task.status == Status.DONE and not told and task.name not in rooms.aside:
                older.append(task.name)
        elif task.place not in rooms.places or task.name + MOVING in rooms.aside:
            if task.name in rooms.aside or task.name + MOVING in rooms.aside:
                unmoved.append(task.name)
            elif task.status == Status.DONE and not told:
                gone.append(task.place or "data")
        elif not task.place and task.name in rooms.aside:
            unmoved.append(task.name)
    path = row.path
    if unmoved:
        words = f"{counted(len(unmoved), 'directory', 'directories')} stopped halfway between"
        report.add("move", path, f"{words} data/ and superseded/: {some(unmoved)}", "moves them where the records say")
    if gone:
        words = f"missing: {counted(len(gone), 'directory', 'directories')} of done tasks: {some(gone)}"
        report.add("directory", path, words, "the next run that wants them computes them again", mendable=False)
    if older:
        words = f"missing from superseded/: {counted(len(older), 'older version')}: {some(older)}"
        report.add("directory", path, words, "only these versions are lost", mendable=False)
    _strangers(row, tasks, rooms, report)


def _purged(tree: Tree, path: str) -> float:
    """When somebody has deleted the data of the instance, and kept the records."""
    with contextlib.suppress(StorageError):
        moment = tree.read_meta(path).get("purged_seconds")
        return float(moment) if isinstance(moment, (int, float)) else 0.0
    return 0.0


def _strangers(row: InstanceRow, tasks: Sequence[Light], rooms: Rooms, report: Report) -> None:
    """Find what no record knows. A task that has ``data/`` itself may have put anything there."""
    found: list[str] = []
    if row.whole_task is None and not any(task.place == "" and task.current != SUPERSEDED for task in tasks):
        known = {name for task in tasks for name in (task.place, task.name) if name}
        found += [f"data/{name}" for name in sorted(rooms.entries - known)]
    known = {task.name for task in tasks}
    for name in sorted(rooms.aside):
        if name.removesuffix(MOVING).removesuffix(DISPLACED) not in known:
            found.append(f"superseded/{name}")
    if found:
        words = f"no record knows {some(found)}"
        report.add("unknown", row.path, words, "look at it, and delete it if nobody needs it", mendable=False)
