"""The records of single tasks that are deleted, kept beside their files: how they go, and how they come back.

They lie in a file in the form of a journal. Each frame begins with an event that says whose it is and what it is
for: ``["do", key, end]`` before the events that delete, ``["undo", key, end]`` before those that bring back; ``end`` is
where the instance's own journal ended before.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelet.core.model import Status
from pipelet.errors import StorageError
from pipelet.history import CURRENT, DROPPED
from pipelet.recorder import parameters_of
from pipelet.statusdb import Event, InstanceRow, Reader, Writer, in_pieces, pack_ids, unpack_ids
from pipelet.statusdb.deleting import owners
from pipelet.storage import Journal, Tree

_AT_ONCE = 1000
_KEY, _END = 1, 2
_DIGEST, _STATUS, _CURRENT = 2, 3, 4


class Kept(NamedTuple):
    """What is kept of the tasks of one instance."""

    do: list[Event]
    undo: list[Event]
    end: int


def write_records(file: str, sync: bool, reader: Reader, parts: Sequence[tuple[InstanceRow, Sequence[int]]]) -> None:
    """Write what deletes some tasks, and what brings them back.

    Parameters
    ----------
    file
        Where.
    sync
        Wait until the disk has it.
    reader
        The database.
    parts
        Instances, and those of their tasks that go.
    """
    journal = Journal(file, sync)
    for row, ids in parts:
        events: list[Event] = [["delete", task] for task in ids]
        back: list[Event] = []
        if row.whole_task in ids:
            events.append(["whole", None])
            back.append(["whole", row.whole_task])
        if row.wanted is not None:
            going = set(ids)
            events.append(["wanted", pack_ids([task for task in unpack_ids(row.wanted) if task not in going])])
            back.append(["wanted", row.wanted])
        journal.append([["do", row.key, row.journal_end], *events], sync=False)
        for piece in in_pieces(ids, _AT_ONCE):
            journal.append([["undo", row.key, row.journal_end], *_rows(reader, piece)], sync=False)
        journal.append([["undo", row.key, row.journal_end], *back])


def _rows(reader: Reader, ids: Sequence[int]) -> Iterator[Event]:
    params = reader.params(ids)
    sets: set[str] = set()
    for task in reader.tasks_listed(ids):
        for entry in json.loads(task.parents or "[]"):
            if isinstance(entry, str) and entry not in sets:
                sets.add(entry)
                yield ["task_set", entry, json.dumps(list(reader.task_set(entry) or ()))]
        status = int(Status.QUEUED) if task.status == Status.RUNNING else task.status
        yield ["task", task.id, *task._replace(status=status)[2:], [list(item[1:]) for item in params.get(task.id, ())]]


def read_records(file: str) -> dict[str, Kept]:
    """Read what `write_records` wrote, by the key of the instance."""
    found: dict[str, Kept] = {}
    for events, _ in Journal(file).read():
        head = events[0]
        kept = found.setdefault(str(head[_KEY]), Kept([], [], int(str(head[_END]))))
        (kept.do if head[0] == "do" else kept.undo).extend(events[1:])
    return found


def delete_records(file: str, tree: Tree, writer: Writer | None, paths: Mapping[str, str]) -> None:
    """Delete the tasks in the journals and in the database; doing it again changes nothing.

    Parameters
    ----------
    file
        What `write_records` wrote.
    tree
        The prefix.
    writer
        Its database, ``None`` if there is none.
    paths
        Of the instances, by key.
    """
    done: list[tuple[int, list[Event], int]] = []
    for key, kept in read_records(file).items():
        if key not in paths:
            continue
        end = tree.journal(paths[key]).append(kept.do)
        row = None if writer is None else writer.instance(key)
        if row is not None:
            done.append((row.id, kept.do, end))
    if writer is not None:
        with writer.transaction():
            for instance, events, end in done:
                writer.apply(instance, events, end)


def return_records(file: str, tree: Tree, writer: Writer | None, paths: Mapping[str, str]) -> None:
    """Bring the tasks back in the journals and in the database; doing it again changes nothing."""
    for key, kept in read_records(file).items():
        if key not in paths:
            continue
        row = None if writer is None else writer.instance(key)
        events = kept.undo if row is None else _as_wanted_now(row, kept)
        end = tree.journal(paths[key]).append(events)
        if writer is not None and row is not None:
            writer.apply(row.id, events, end)


def _as_wanted_now(row: InstanceRow, kept: Kept) -> list[Event]:
    """Where a run has wanted something else since, the tasks come back as what it did not want."""
    wanted = [event[1] for event in (*kept.do, *kept.undo) if event[0] == "wanted"]
    same = row.wanted in wanted or not wanted
    events: list[Event] = []
    for event in kept.undo:
        if event[0] == "task" and not same and event[_CURRENT] == CURRENT:
            event = [*event[:_CURRENT], DROPPED, *event[_CURRENT + 1 :]]
        if event[0] == "wanted" and not same:
            continue
        if event[0] == "whole" and row.whole_task not in (None, event[1]):
            continue
        events.append(event)
    return events


def tell_parameters(tree: Tree, reader: Reader | None, paths: Mapping[str, str]) -> None:
    """Write what people read about the parameters of instances, some of whose tasks went or came back."""
    for key, path in paths.items():
        row = None if reader is None else reader.instance(key)
        if reader is None or row is None:
            continue
        # For want of room for what people read, nothing else should fail; --check finds and mends it.
        with contextlib.suppress(StorageError):
            text = parameters_of(reader, unpack_ids(row.wanted) if row.wanted else [])
            before = tree.read_args(path)
            if (text or "") != (before or ""):
                tree.write_args(path, text or "")


def revoke(file: str, tree: Tree, writer: Writer) -> None:
    """Undo a deletion that could not be finished: the journals end where they ended."""
    kept = read_records(file)
    going = [event[1] for item in kept.values() for event in item.do if event[0] == "delete"]
    if going and not owners(writer, going[:1]):
        return_records(file, tree, writer, {row.key: row.path for row in writer.instances()})
        return
    for key, item in kept.items():
        row = writer.instance(key)
        journal = None if row is None else tree.journal(row.path)
        if row is not None and journal is not None and row.journal_end == item.end < journal.size():
            journal.truncate(item.end)


def computed_again(file: str, reader: Reader) -> int:
    """Count the tasks that were computed again since they were deleted."""
    number = 0
    for key, kept in read_records(file).items():
        row = reader.instance(key)
        digests = {event[_DIGEST] for event in kept.undo if event[0] == "task" and event[_CURRENT]}
        if row is None or not digests:
            continue
        ids = [task for page in reader.digest_pages(row.id) for digest, task in page if digest in digests]
        number += sum(1 for item in reader.plan_rows_listed(ids) if item.current)
    return number
