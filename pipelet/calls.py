"""Makes the calls that go to the workers: what a segment's tasks share, and what each of them needs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgpack

from pipelet.codebase import SegmentCode
from pipelet.core.calls import Line, Parameter, SegmentContext, TaskCall, TaskRef
from pipelet.core.lookups import ancestors_named, looks_up
from pipelet.core.model import Element
from pipelet.core.parents import Parents
from pipelet.core.text import task_name
from pipelet.lineage import Lineage
from pipelet.planner import Planner, Snapshot
from pipelet.recorder import Recorder
from pipelet.statusdb import QueuedTask, Reader
from pipelet.storage import Tree

#: For groups: for each task each parent's elements in the class.
Members = Sequence[Sequence[Sequence[Element]] | None] | None


class CallMaker:
    """Makes the calls of one segment.

    Parameters
    ----------
    snapshot, tree, reader, planner, recorder
        The run's own.
    segment
        Which segment.
    scratch_dir
        For temporary files of the tasks.
    interactive
        Whether tasks run in the user's own process.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        tree: Tree,
        reader: Reader,
        planner: Planner,
        recorder: Recorder,
        segment: str,
        scratch_dir: str,
        interactive: bool,
    ) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._reader = reader
        self._recorder = recorder
        self._segment = segment
        self._lineage: Lineage = planner.lineage
        self._refs: dict[str, dict[int, TaskRef]] = {}
        row = recorder.instance(segment)
        code = snapshot.codes[segment]
        self._row = row
        self._data_dir = tree.data_dir(row.path)
        self._needs_line = snapshot.environment is not None or _looks_up(code)
        #: The ancestors that the tasks ask for; ``None``: any.
        self._asked = None if snapshot.environment is not None else _ancestors_named(code)
        self._is_union = code.multiplex.kind == "union"
        everything = {
            name: tuple(self._ancestor_tasks(name, planner.outcomes[name].known))
            for name in planner.looked_through(segment)
        }
        self.context = SegmentContext(
            name=f"{segment} {row.key}",
            segment=segment,
            parents=snapshot.graph.parents(segment),
            kind=_kind(snapshot, segment),
            script=(code.script.path, code.script.data),
            hooks={name: (file.path, file.data) for name, file in code.hooks.items()},
            instance_dir=tree.absolute(row.path),
            code_dir=snapshot.code_dir,
            log_dir=os.path.dirname(tree.log_path(row.path, 0)),
            scratch_dir=scratch_dir,
            agg=snapshot.agg_interactive if interactive else snapshot.agg,
            ancestors=snapshot.graph.ancestors(segment),
            everything=everything,
            siblings=self._siblings(),
            environment=snapshot.environment,
            imports=tuple(sorted(code.imports)),
        )

    def calls(self, tasks: Sequence[QueuedTask], members: Members = None) -> list[TaskCall]:
        """The calls of some tasks.

        Parameters
        ----------
        tasks
            Which tasks.
        members
            For groups: for each task each parent's elements in the class.
        """
        whole = self._recorder.instance(self._segment).whole_task
        folder = os.path.join(self._data_dir, "")
        if not (self._needs_line or self._is_union or members):
            return self._plain_calls(tasks, whole, folder)
        parents = [self._lineage.decode(task.parents) for task in tasks]
        if self._needs_line:
            if sum(map(len, self._refs.values())) > _REMEMBERED:
                self._refs.clear()
            for name, column in zip(self.context.parents, zip(*parents, strict=True), strict=False):
                # All at once: one by one they take longer than the tasks.
                self._ancestor_tasks(name, sorted({task for ids in column for task in ids}))
        calls = []
        for task, ids, classes in zip(tasks, parents, members or [None] * len(tasks), strict=True):
            number, text = task.id, task.text
            place = "" if number == whole else task_name(number, text)
            calls.append(
                TaskCall(
                    number,
                    text,
                    folder + place if place else self._data_dir,
                    place,
                    _unpack(task.input or b"\x90", use_list=False),
                    None if classes is None else tuple(tuple([item.blob for item in part]) for part in classes),
                    self._line(ids) if self._needs_line else None,
                    self._absent(ids) if self._is_union else _NONE_ABSENT,
                )
            )
        return calls

    def _plain_calls(self, tasks: Sequence[QueuedTask], whole: int | None, folder: str) -> list[TaskCall]:
        """The calls of tasks that see nothing but their input: nearly all, and where there are very many."""
        calls = []
        for number, _, _, text, blobs, _, _ in tasks:
            place = "" if number == whole else task_name(number, text)
            directory = folder + place if place else self._data_dir
            taken = _unpack(blobs or b"\x90", use_list=False)
            calls.append(_call((number, text, directory, place, taken, None, None, _NONE_ABSENT)))
        return calls

    def _absent(self, parents: Parents) -> frozenset[str]:
        return frozenset(name for name, ids in zip(self.context.parents, parents, strict=False) if not ids)

    def _line(self, parents: Parents) -> Line:
        direct = self._snapshot.graph.parents(self._segment)
        asked = self._asked
        # A parent that gave nothing to this task, in a union, is an ancestor like others.
        given = {name for name, ids in zip(direct, parents, strict=False) if ids}
        line = self._lineage.line(self._segment, parents, deep=asked is None or not asked.issubset(given))
        return {
            name: tuple(self._ancestor_tasks(name, sorted(ids)))
            for name, ids in line.items()
            if asked is None or name in asked or name in direct
        }

    def _ancestor_tasks(self, segment: str, ids: Iterable[int]) -> list[TaskRef]:
        refs = self._refs.setdefault(segment, {})
        wanted = list(ids)
        missing = [task for task in wanted if task not in refs]
        if missing:
            refs.update(self._read_refs(segment, missing))
        return [refs[task] for task in wanted if task in refs]

    def _read_refs(self, segment: str, ids: Sequence[int]) -> Iterable[tuple[int, TaskRef]]:
        row = self._recorder.instance(segment)
        data_dir = self._tree.data_dir(row.path)
        rows = [item for item in self._reader.plan_rows_listed(ids) if item.current]
        saved = self._reader.params([item.id for item in rows])
        for item in rows:
            whole = item.place == "" or (item.place is None and item.id == row.whole_task)
            name = task_name(item.id, item.text)
            parameters = tuple(
                Parameter(param.name, param.value or pickle.dumps(None), param.text or "", bool(param.exposed))
                for param in saved.get(item.id, ())
            )
            directory = data_dir if whole else os.path.join(data_dir, name)
            made = item.place is not None
            yield item.id, TaskRef(item.id, name, directory, whole, bool(item.silent), parameters, made)

    def _siblings(self) -> Mapping[str, frozenset[str]]:
        """For instances where one task has ``data/`` itself and others lie beside its files: their names."""
        siblings = {}
        for segment in (self._segment, *self._snapshot.graph.ancestors(self._segment)):
            row = self._recorder.instance(segment)
            if row.whole_task is None:
                continue
            names = {task_name(item.id, item.text) for item in self._reader.plan_rows(row.id)}
            if len(names) > 1:
                siblings[self._tree.data_dir(row.path)] = frozenset(names)
        return siblings


_NONE_ABSENT: frozenset[str] = frozenset()
#: What was looked up of more ancestor tasks than this is let go between batches.
_REMEMBERED = 20_000
_unpack = msgpack.unpackb
#: What ``TaskCall._make`` gives, in a third of the time.
_call: Callable[[tuple[object, ...]], TaskCall] = partial(tuple.__new__, TaskCall)


def _looks_up(code: SegmentCode) -> bool:
    files = (code.script, *code.hooks.values(), *code.dependencies)
    return any(looks_up(file.text) for file in files if file.is_python)


def _ancestors_named(code: SegmentCode) -> frozenset[str] | None:
    found: set[str] = set()
    for file in (code.script, *code.hooks.values(), *code.dependencies):
        if file.is_python:
            names = ancestors_named(file.text)
            if names is None:
                return None
            found |= names
    return frozenset(found)


def _kind(snapshot: Snapshot, segment: str) -> str:
    if not snapshot.graph.parents(segment):
        return "pushed" if segment in snapshot.pushed else "alone"
    directive = snapshot.codes[segment].multiplex
    return "group_by" if directive.group_by is not None else directive.kind
