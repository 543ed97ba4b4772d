"""What the page of one task shows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgpack

from pipelet.core.parents import decode_parents
from pipelet.errors import StorageError, ViewError
from pipelet.statusdb import InstanceRow, ParamRow, Reader, TaskRow
from pipelet.statusdb.browsing import BriefTask, brief, children
from pipelet.storage import Tree
from pipelet.web.viewers import highlight, limited, pickled
from pipelet.web.viewers.base import decode
from pipelet.web.viewers.trees import Budget, Node

#: Parents and children that are named, and the steps back that are shown of what ran before.
_NAMED, _BEFORE = 50, 40
#: Values up to this size are drawn here: following them takes a millisecond. Larger ones get a process of their own.
_SMALL = 16 << 10
#: So much of a traceback is coloured.
_ERROR = 32 << 10
#: Children are looked for at once where there are no more tasks than this.
FEW = 60_000


class Kin(NamedTuple):
    """A task that gave the input of another, or that was made of its output."""

    task: BriefTask
    instance: InstanceRow
    depth: int = 0


class Parents(NamedTuple):
    """The tasks that gave an input."""

    kin: list[Kin]
    more: int


def parent_ids(reader: Reader, task: TaskRow) -> tuple[int, ...]:
    """The ids of the tasks that gave the input of a task."""
    found = decode_parents(task.parents, lambda name: reader.task_set(name) or ())
    return tuple(dict.fromkeys(number for part in found for number in part if number))


def parents(reader: Reader, task: TaskRow) -> Parents:
    """The first tasks that gave the input of a task."""
    ids = parent_ids(reader, task)
    return Parents(_kin(reader, brief(reader, ids[:_NAMED])), max(len(ids) - _NAMED, 0))


def before(reader: Reader, task: TaskRow) -> list[Kin]:
    """What ran before a task: its parents, theirs, and so on, the nearest first; the first of many."""
    found: list[Kin] = []
    seen = {task.id}
    level = [number for number in parent_ids(reader, task) if number not in seen]
    depth = 1
    while level and len(found) < _BEFORE:
        some = level[: _BEFORE - len(found)]
        seen.update(some)
        found += [kin._replace(depth=depth) for kin in _kin(reader, brief(reader, some))]
        above: dict[int, None] = {}
        for row in reader.plan_rows_listed(some):
            ids = decode_parents(row.parents, lambda name: reader.task_set(name) or ())
            above.update(dict.fromkeys(number for part in ids for number in part[:_NAMED] if number not in seen))
        level = [number for number in above if number]
        depth += 1
    return found


def children_of(reader: Reader, instance: InstanceRow, task: int, thorough: bool) -> tuple[list[Kin], bool] | None:
    """The tasks that were made of what a task gave, and whether all were looked through.

    Parameters
    ----------
    reader
        The database.
    instance
        The task's.
    task
        Its id.
    thorough
        Look also where there are many tasks to look through.

    Returns
    -------
    tuple or None
        ``None`` where there are too many to look through without being asked to.
    """
    below = [row.id for row in reader.instances() if instance.id in row.parents]
    if not below:
        return [], True
    many = sum(sum(counts.values()) for counts in reader.tally(below).values())
    if many > FEW and not thorough:
        return None
    found, whole = children(reader, task, below, _NAMED, 2.0)
    return _kin(reader, found), whole


def _kin(reader: Reader, found: Iterable[tuple[BriefTask, int]]) -> list[Kin]:
    instances: dict[int, InstanceRow | None] = {}
    kin = []
    for task, number in found:
        if number not in instances:
            instances[number] = reader.instance_by_id(number)
        row = instances[number]
        if row is not None:
            kin.append(Kin(task, row))
    return kin


def input_values(tree: Tree, reader: Reader, instance: InstanceRow, task: TaskRow) -> list[tuple[str, Node]]:
    """The input of a task as trees, each under the name of the parent that it came from."""
    drawn = values(task.input)
    segments = [row.segment for number in instance.parents if (row := reader.instance_by_id(number)) is not None]
    if not segments and drawn:
        return [(f"{instance.segment}phantom", drawn[0])]
    if len(segments) != len(drawn) or _is_grouped(tree, instance):
        return [("", node) for node in drawn]
    return list(zip(segments, drawn, strict=True))


def _is_grouped(tree: Tree, instance: InstanceRow) -> bool:
    try:
        found = tree.read_meta(instance.path).get("directives")
    except StorageError:
        return False
    lines = found if isinstance(found, list) else []
    return any(str(line).startswith("#multiplex") and "group_by" in str(line) for line in lines)


def values(container: bytes | None) -> list[Node]:
    """Draw the values of a container of the database, without loading any of them."""
    if not container:
        return []
    try:
        if len(container) <= _SMALL:
            return pickled.values(container)
        with tempfile.TemporaryFile() as file:
            file.write(container)
            file.flush()
            found: list[Node] = limited.ask_json("values", file)
            return found
    except (ViewError, ValueError, msgpack.UnpackException) as error:
        return [{"kind": "", "text": "", "note": f"It can't be shown: {error}"}]


class Parameter(NamedTuple):
    """A parameter of a task."""

    name: str
    exposed: bool
    text: str
    node: Node | None


def parameters(rows: Sequence[ParamRow]) -> list[Parameter]:
    """The parameters of a task."""
    budget = Budget(nodes=500)
    found = []
    for row in rows:
        node = None
        if row.value is not None and len(row.value) <= _SMALL and budget.left > 0:
            try:
                node = pickled.tree(row.value, budget)
            except ViewError:
                node = None
        found.append(Parameter(row.name, bool(row.exposed), (row.text or "")[:400], node))
    return found


def error_lines(error: str | None) -> list[highlight.Line]:
    """A traceback in colours; of a very long one the end, where the reason is."""
    if not error:
        return []
    cut = error[-_ERROR:]
    text, _ = decode(cut.encode("utf-8", "replace"))
    return highlight.lines(text, language="pytb")
