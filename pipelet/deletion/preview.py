"""What a deletion would take away, as data: nothing is changed to find it out."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from typing import Literal, NamedTuple

from pipelet.core.parents import decode_parents
from pipelet.core.text import task_name
from pipelet.errors import TrashError, UnknownSegmentError
from pipelet.statusdb import InstanceRow, Reader, in_pieces
from pipelet.statusdb.deleting import count_tasks, owners, parents_of_tasks
from pipelet.storage import Tree
from pipelet.storage.sizes import Size, measure
from pipelet.storage.trash import bags, sources_of_tasks

Kind = Literal["instances", "products", "tasks"]
_AT_ONCE = 10_000


class Doomed(NamedTuple):
    """A segment instance of which something would go."""

    id: int
    segment: str
    key: str
    path: str  #: relative to the prefix
    tag: str | None
    tasks: int  #: how many of its tasks, older versions too, it is about


@dataclass(frozen=True)
class Preview:
    """What would be deleted.

    Attributes
    ----------
    kind
        ``"instances"``: all of some segment instances and of what descends from them. ``"products"``: the data of the
        tasks of some instances, and nothing on record. ``"tasks"``: tasks and what depends on them.
    instances
        Of which something would go, parents first.
    directories
        What would be moved to the trash, relative to the prefix: directories, and logs of single tasks.
    task_ids
        The tasks, where it is about single ones.
    digest
        Another one when something else would go.
    """

    kind: Kind
    instances: tuple[Doomed, ...]
    directories: tuple[str, ...]
    task_ids: tuple[int, ...] = ()
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        facts = [self.kind, [list(item) for item in self.instances], self.directories, self.task_ids]
        object.__setattr__(self, "digest", hashlib.blake2b(json.dumps(facts).encode(), digest_size=12).hexdigest())

    @property
    def tasks(self) -> int:
        """How many tasks it is about."""
        return sum(item.tasks for item in self.instances)

    @property
    def tagged(self) -> tuple[Doomed, ...]:
        """Those of the instances that have a tag: it must be taken away first."""
        return tuple(item for item in self.instances if item.tag is not None)

    def __str__(self) -> str:
        what = {"instances": "", "products": "the data of ", "tasks": "tasks of "}[self.kind]
        lines = [f"{what}{item.path}: {item.tasks} task{'' if item.tasks == 1 else 's'}" for item in self.instances]
        if self.kind == "products":
            lines.append("A later run that wants these tasks computes them again: data missing on disk.")
        return "\n".join(lines)


def measured(tree: Tree, preview: Preview) -> Size:
    """Measure what would go; of many files that takes a while."""
    return measure([tree.below(directory) for directory in preview.directories])


def preview_instances(tree: Tree, reader: Reader, keys: Iterable[str]) -> Preview:
    """Find what goes with some instances.

    Parameters
    ----------
    tree, reader
        The prefix and its database.
    keys
        Of the instances, or beginnings that no other instance has.

    Raises
    ------
    UnknownSegmentError
        No instance, or more than one, has such a key.
    TrashError
        An instance lies below one of them and does not descend from it.
    """
    rows = ordered(reader.instances())
    doomed = {row.id for row in chosen(tree, rows, keys)}
    for row in rows:
        if doomed.intersection(row.parents):
            doomed.add(row.id)
    going = [row for row in rows if row.id in doomed]
    paths = {row.path for row in going}
    tops = [path for path in sorted(paths) if not any(above in paths for above in _above(path))]
    for row in rows:
        if row.id not in doomed and any(above in paths for above in _above(row.path)):
            raise TrashError(
                f"{row.path} lies below an instance that would go, and does not descend from it: see what"
                " pipeutils --check says about this prefix, and mend that first"
            )
    return Preview("instances", _doomed(reader, going), tuple(tops))


def preview_purge(tree: Tree, reader: Reader, keys: Iterable[str]) -> Preview:
    """Find what goes when the data of some instances go, and their records stay; arguments as `preview_instances`."""
    rows = ordered(reader.instances())
    picked = {row.id for row in chosen(tree, rows, keys)}
    going = [row for row in rows if row.id in picked]
    rooms = [f"{row.path}/{name}" for row in going for name in ("data", "superseded")]
    return Preview("products", _doomed(reader, going), tuple(room for room in rooms if os.path.isdir(tree.below(room))))


def preview_tasks(tree: Tree, reader: Reader, ids: Iterable[int]) -> Preview:
    """Find what goes with some tasks: all versions of tasks that have one of them among their parents, and so on.

    Parameters
    ----------
    tree, reader
        The prefix and its database.
    ids
        The tasks.

    Raises
    ------
    TrashError
        There is no such task.
    """
    wanted = list(dict.fromkeys(int(task) for task in ids))
    owner = owners(reader, wanted)
    unknown = [task for task in wanted if task not in owner]
    if unknown:
        raise TrashError(f"there is no task {unknown[0]} in {reader.sqlfile}: it may have been deleted")
    rows = ordered(reader.instances())
    doomed: dict[int, set[int]] = {}
    for task, instance in owner.items():
        doomed.setdefault(instance, set()).add(task)
    everything = set(wanted)
    for row in rows:
        if not any(parent in doomed for parent in row.parents):
            continue
        if found := _depending(reader, row, everything):
            doomed.setdefault(row.id, set()).update(found)
            everything |= found
    going = [row for row in rows if row.id in doomed]
    tags = reader.tags()
    instances = tuple(
        Doomed(row.id, row.segment, row.key, row.path, tags.get(row.id), len(doomed[row.id])) for row in going
    )
    sources = [source for row in going for source in task_sources(tree, reader, row, sorted(doomed[row.id]))]
    return Preview("tasks", instances, tuple(sources), tuple(sorted(everything)))


def task_sources(tree: Tree, reader: Reader, row: InstanceRow, ids: Sequence[int]) -> list[str]:
    """The directories and logs of some tasks of an instance, relative to the prefix."""
    placed = [
        (item.place, item.id, item.text, item.current != 0)
        for piece in in_pieces(ids, _AT_ONCE)
        for item in reader.plan_rows_listed(piece)
    ]
    siblings: set[str] = set()
    if any(place == "" for place, *_ in placed):
        siblings = {task_name(number, text) for number, text in reader.named_tasks(row.id)}
    return sources_of_tasks(tree, row.path, placed, siblings)


def _depending(reader: Reader, row: InstanceRow, doomed: set[int]) -> set[int]:
    """The tasks of an instance with parents among the doomed ones."""
    known: dict[str, bool] = {}

    def depends(text: str) -> bool:
        lists = decode_parents(text, lambda name: reader.task_set(name) or ())
        return any(not doomed.isdisjoint(ids) for ids in lists)

    found = set()
    for task, text in parents_of_tasks(reader, row.id):
        verdict = known.get(text)
        if verdict is None:
            if len(known) > _AT_ONCE:
                known.clear()
            verdict = known[text] = depends(text)
        if verdict:
            found.add(task)
    return found


def _doomed(reader: Reader, rows: Sequence[InstanceRow]) -> tuple[Doomed, ...]:
    tags = reader.tags()
    return tuple(
        Doomed(row.id, row.segment, row.key, row.path, tags.get(row.id), count_tasks(reader, row.id)) for row in rows
    )


def ordered(rows: Iterable[InstanceRow]) -> list[InstanceRow]:
    """The instances, parents first."""
    by_id = {row.id: row for row in sorted(rows, key=lambda row: row.id)}
    order = TopologicalSorter({row.id: [p for p in row.parents if p in by_id] for row in by_id.values()})
    return [by_id[number] for number in order.static_order()]


def chosen(tree: Tree, rows: Sequence[InstanceRow], keys: Iterable[str]) -> list[InstanceRow]:
    """The instances with these keys, or beginnings of keys."""
    picked = []
    for key in [keys] if isinstance(keys, str) else keys:
        found = [row for row in rows if row.key.startswith(key)] if key else []
        if len(found) != 1:
            many = f"{len(found)} segment instances have" if found else "no segment instance has"
            gone = "" if found else _gone(tree, key)
            raise UnknownSegmentError(
                f"{many} a key that begins with {key!r}{gone or '; Pipeline.instances lists the keys'}"
            )
        picked += found
    return picked


def _gone(tree: Tree, key: str) -> str:
    for bag in bags(tree):
        items = bag.manifest.get("instances")
        if bag.manifest.get("kind") != "instances" or not isinstance(items, list) or not key:
            continue
        for item in items:
            if str(item.get("key")).startswith(key):
                day = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(bag.manifest.get("made") or 0)))
                return f": {item.get('segment')} was deleted at {day} by {bag.manifest.get('by')}, and is in the trash"
    return ""


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
