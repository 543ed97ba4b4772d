"""Which tasks have looked at a task: what it leaves when it runs again in its place may be news to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

from pipelet.core.model import Status
from pipelet.core.parents import decode_parents, task_set_name
from pipelet.core.plan import Asked
from pipelet.statusdb import InstanceRow, PlanRow, Reader
from pipelet.storage import Tree


def dependents(
    reader: Reader, tree: Tree, instance: InstanceRow, tasks: Collection[int]
) -> Iterator[tuple[InstanceRow, list[int]]]:
    """Find the done tasks that looked at some tasks, beyond the elements that these gave them.

    Parameters
    ----------
    reader, tree
        Where the records are.
    instance
        The instance of the tasks.
    tasks
        Their ids.

    Yields
    ------
    tuple
        An instance that descends from theirs, and those of its tasks: classes of ``group_by``, those that got ``None``
        from a parent, and those that asked for files or parameters. Where it is not on record of which tasks these
        were, they are among them. So are superseded versions: they must not become current again as they are.
    """
    search = _Search(reader, tree, instance, frozenset(tasks))
    for row in _descendants(reader.instances(), instance):
        found = search.among(row)
        if found:
            yield row, found


def _descendants(rows: Sequence[InstanceRow], instance: InstanceRow) -> list[InstanceRow]:
    found = {instance.id}
    while more := {row.id for row in rows if row.id not in found and found.intersection(row.parents)}:
        found |= more
    return sorted((row for row in rows if row.id in found and row.id != instance.id), key=lambda row: row.id)


class _Search:
    def __init__(self, reader: Reader, tree: Tree, instance: InstanceRow, tasks: frozenset[int]) -> None:
        self._reader = reader
        self._tree = tree
        self._instance = instance
        self._tasks = tasks
        self._answers: dict[str, bool] = {}

    def among(self, row: InstanceRow) -> list[int]:
        """The tasks of one instance."""
        direct = self._instance.id in row.parents
        always = direct and (self._is_grouped(row) or self._silent)
        rows = self._reader.plan_rows(row.id)
        return [item.id for item in rows if self._is_kept(item) and self._looked(item, direct, always)]

    @staticmethod
    def _is_kept(item: PlanRow) -> bool:
        return item.status == Status.DONE

    def _looked(self, item: PlanRow, direct: bool, always: bool) -> bool:
        asked = Asked.from_text(item.asked) if item.asked else None
        name = self._instance.segment
        if direct and (always or (asked is not None and name in asked.parents)) and self._has_them(item.parents):
            return True
        if asked is None:
            return False
        return name in dict(asked.everything) or any(
            segment == name and self._may_name_them(seen) for segment, seen in asked.ancestors
        )

    def _is_grouped(self, row: InstanceRow) -> bool:
        found = self._tree.read_meta(row.path).get("directives")
        lines = found if isinstance(found, list) else []
        return any(str(line).startswith("#multiplex") and "group_by" in str(line) for line in lines)

    @cached_property
    def _silent(self) -> bool:
        """Whether children may have ``None`` from them."""
        return any(item.silent for item in self._reader.plan_rows_listed(sorted(self._tasks)))

    def _has_them(self, parents: str) -> bool:
        """Whether one of them is in a text of parents."""
        answer = self._answers.get(parents)
        if answer is None:
            ids = decode_parents(parents, lambda name: self._reader.task_set(name) or ())
            answer = self._answers[parents] = any(not self._tasks.isdisjoint(part) for part in ids)
        return answer

    def _may_name_them(self, name: str) -> bool:
        """Whether one of them may be in the set of tasks of this name."""
        task = self._singles.get(name)
        if task is not None:
            return task in self._tasks
        ids = self._reader.task_set(name)
        return ids is None or not self._tasks.isdisjoint(ids)

    @cached_property
    def _singles(self) -> dict[str, int]:
        """By the names of sets with one task: nearly all sets are such ones."""
        return {task_set_name([task]): task for task in self._reader.all_ids(self._instance.id)}
