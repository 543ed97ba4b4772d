"""Reads the records that people see from the database."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from pipelet.core.model import Mark, Status
from pipelet.core.parents import decode_parents
from pipelet.errors import PipelineError
from pipelet.history import SUPERSEDED
from pipelet.records import Instance, InstanceList, Task, TaskList, moment, output_list, seg_input
from pipelet.statusdb import InstanceRow, Reader, TaskRow, unpack_ids
from pipelet.storage import Tree

#: So many different values of an exposed parameter are listed with an instance.
_VALUES = 8


def read_tasks(
    tree: Tree, reader: Reader, row: InstanceRow, parents: Sequence[str], status: str | None
) -> TaskList:
    """The tasks of an instance, in the order in which the last run wanted them.

    Parameters
    ----------
    tree, reader
        Where they are on record.
    row
        The instance.
    parents
        Names of the segment's parents.
    status
        Only those that are ``queued``, ``running``, ``done`` or ``failed``.

    Raises
    ------
    PipelineError
        There is no such status.
    """
    rows = list(reader.tasks(row.id, None if status is None else _status(status)))
    order = {task: place for place, task in enumerate(unpack_ids(row.wanted) if row.wanted else ())}
    rows.sort(key=lambda item: (order.get(item.id, len(order)), item.id))
    params = {
        task: {item.name: item.value for item in items if item.value}
        for task, items in reader.params([item.id for item in rows]).items()
    }
    grouped = any(line.startswith("#multiplex") and "group_by" in line for line in _directives(tree, row))
    return TaskList(_task(tree, reader, row, item, parents, grouped, params.get(item.id, {})) for item in rows)


def read_outputs(reader: Reader, row: InstanceRow) -> list[Any]:
    """The outputs of the done tasks that the last run wanted, concatenated."""
    if not row.wanted or row.waiting is not None:
        return []
    found: list[Any] = []
    for output in reader.outputs(row.id, unpack_ids(row.wanted)):
        found += output_list(output.output) or []
    return found


def read_instances(tree: Tree, reader: Reader, segment: str) -> InstanceList:
    """Every version of a segment on disk, the newest first."""
    tags, tally = reader.tags(), reader.tally()
    found = InstanceList()
    for row in reader.instances(segment):
        counts = {str(status): number for status, number in tally.get(row.id, {}).items()}
        path = tree.absolute(row.path)
        created = moment(row.created)
        found.append(Instance(row.key, path, created, tags.get(row.id), _exposed(reader, row), counts, segment))
    return found


def _task(
    tree: Tree,
    reader: Reader,
    row: InstanceRow,
    item: TaskRow,
    parents: Sequence[str],
    grouped: bool,
    params: dict[str, bytes],
) -> Task:
    path = None
    if item.place is not None:
        path = tree.task_dir(row.path, item.place, item.id, item.text, item.current != SUPERSEDED)
    return Task(
        id=item.id,
        input=seg_input(row.segment, parents, grouped, item.input),
        output=output_list(item.output),
        status=str(Status(item.status)),
        path=path,
        begun=None if item.begun is None else moment(item.begun),
        ended=None if item.ended is None else moment(item.ended),
        error=item.error,
        parents=_flat(reader, item.parents),
        segment=row.segment,
        text=item.text,
        log=tree.existing_log(row.path, item.id),
        params={name: pickle.loads(blob) for name, blob in params.items()},
        mark=Mark(item.aside).name.lower() if item.aside else None,
        host=item.host,
        job=item.job,
    )


def _directives(tree: Tree, row: InstanceRow) -> list[str]:
    found = tree.read_meta(row.path).get("directives")
    return [str(line) for line in found] if isinstance(found, list) else []


def _status(name: str) -> Status:
    known = {str(status): status for status in Status}
    if name not in known:
        raise PipelineError(f"there is no status {name!r}; it is one of: {', '.join(known)}")
    return known[name]


def _flat(reader: Reader, text: str) -> tuple[int, ...]:
    ids = decode_parents(text, lambda name: reader.task_set(name) or ())
    return tuple(dict.fromkeys(task for part in ids for task in part))


def _exposed(reader: Reader, row: InstanceRow) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    ids = [item.id for item in reader.plan_rows(row.id) if item.current != SUPERSEDED]
    for params in reader.params(ids).values():
        for param in params:
            if param.exposed:
                values.setdefault(param.name, {})[param.text or ""] = None
    return {name: ", ".join(list(texts)[:_VALUES]) for name, texts in values.items()}
