"""Who descends from whom: the ancestor tasks of a task, found through the recorded parents."""

from __future__ import annotations

from collections.abc import Mapping

from pipelet.core.graph import Graph
from pipelet.core.parents import Parents, decode_parents
from pipelet.statusdb import Reader

#: So many answers are kept.
_REMEMBERED = 20_000


class Lineage:
    """Looks up ancestor tasks; answers are kept, since the tasks of a segment share most of their ancestors.

    Parameters
    ----------
    graph
        The pipeline's graph.
    reader
        The database.
    changed
        Texts of parents that are newer than the database's, by task id.
    """

    def __init__(self, graph: Graph, reader: Reader, changed: Mapping[int, str] | None = None) -> None:
        self._graph = graph
        self._reader = reader
        self._changed = changed if changed is not None else {}
        self._lines: dict[int, dict[str, frozenset[int]]] = {}

    def forget(self) -> None:
        """Let go of the answers: recorded parents have changed."""
        self._lines.clear()

    def decode(self, text: str) -> Parents:
        """The ids behind a text of parents."""
        return decode_parents(text, lambda name: self._reader.task_set(name) or ())

    def line(self, segment: str, parents: Parents, deep: bool = True) -> dict[str, frozenset[int]]:
        """The ancestors that a task of a segment with these parents may ask for.

        A direct parent stands for the tasks that gave the input, also where it is an ancestor of another parent.

        Parameters
        ----------
        segment, parents
            Of the task.
        deep
            Also further ancestors than the parents.

        Returns
        -------
        dict
            Ancestor segment -> ids of its tasks, nearest segments first.
        """
        line = self._whole_line(segment, parents) if deep else {}
        direct = zip(self._graph.parents(segment), parents, strict=False)
        line.update((name, frozenset(ids)) for name, ids in direct if ids)
        return line

    def _whole_line(self, segment: str, parents: Parents) -> dict[str, frozenset[int]]:
        found: dict[str, set[int]] = {}
        for name, ids in zip(self._graph.parents(segment), parents, strict=False):
            found.setdefault(name, set()).update(ids)
            for task in ids:
                for ancestor, tasks in self._line_of_task(name, task).items():
                    found.setdefault(ancestor, set()).update(tasks)
        order = self._graph.ancestors(segment)
        return {name: frozenset(found[name]) for name in order if name in found}

    def _line_of_task(self, segment: str, task: int) -> dict[str, frozenset[int]]:
        known = self._lines.get(task)
        if known is None:
            text = self._changed.get(task)
            if text is None:
                rows = self._reader.plan_rows_listed([task])
                text = rows[0].parents if rows else ""
            known = self._whole_line(segment, self.decode(text))
            while len(self._lines) >= _REMEMBERED:
                del self._lines[next(iter(self._lines))]
            self._lines[task] = known
        return known
