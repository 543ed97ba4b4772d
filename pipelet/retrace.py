"""What a task ran with, put together again from its record: input, parents, ancestors, and the code that was kept.

Nothing is written but the copy of the code, and nothing is asked of the code directory as it is today.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import platform
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, product
from typing import NamedTuple

import msgpack

from pipelet.codebase import SegmentCode, diff_ingredients, survey_code
from pipelet.core.calls import Line, Parameter, SegmentContext, TaskCall, TaskRef
from pipelet.core.graph import Graph, build_graph
from pipelet.core.lookups import looks_up
from pipelet.core.model import Element, Status
from pipelet.core.multiplex import expand
from pipelet.core.parents import Parents, task_set_name
from pipelet.core.plan import Asked
from pipelet.core.text import task_name
from pipelet.depends import ENVIRONMENT_FILE, kept_name
from pipelet.errors import ExpansionError, ReplayError, StorageError
from pipelet.history import SUPERSEDED
from pipelet.lineage import Lineage
from pipelet.modules import file_digest, purge_modules
from pipelet.outputs import read_output
from pipelet.statusdb import InstanceRow, Reader, TaskRow, unpack_ids
from pipelet.storage import Tree

#: So many combinations of earlier states of the parents are tried.
_TRIALS = 64


class Retraced(NamedTuple):
    """A task as it ran."""

    row: TaskRow
    instance: InstanceRow
    meta: dict[str, object]
    context: SegmentContext
    call: TaskCall
    #: What could not be had as it was, in words.
    notes: tuple[str, ...]


def retrace(tree: Tree, reader: Reader, task: int, scratch: str, code_dir: str | None = None) -> Retraced:
    """Put together again what a task ran with.

    Parameters
    ----------
    tree, reader
        Where it is on record.
    task
        Its number.
    scratch
        An empty directory, for the copy of the code and for what the task makes.
    code_dir
        Where to find modules that were imported from the code directory without ``#depend``, and were not kept.

    Raises
    ------
    ReplayError
        There is no such task, or something that it needs was not kept.
    """
    row = reader.task(task)
    instance = None if row is None else reader.instance_by_id(row.instance)
    if row is None or instance is None:
        raise ReplayError(f"there is no task {task} in {reader.sqlfile}; P.tasks(segment) lists them")
    return _Retracing(tree, reader, row, instance, scratch, code_dir).all()


class _Retracing:
    def __init__(
        self, tree: Tree, reader: Reader, row: TaskRow, instance: InstanceRow, scratch: str, code_dir: str | None
    ) -> None:
        self._tree = tree
        self._reader = reader
        self._row = row
        self._segment = instance.segment
        self._scratch = scratch
        self._copy = os.path.join(scratch, "code")
        self._code_dir = self._copy if code_dir is None else os.path.abspath(code_dir)
        self._notes: list[str] = []
        if not os.path.isdir(tree.absolute(instance.path)):
            raise ReplayError(
                f"{tree.absolute(instance.path)}, the segment instance of task {row.id}, is not there; if the data "
                "lie elsewhere than the database, give their root (--prefix)"
            )
        self._meta = tree.read_meta(instance.path)
        self._instances = {instance.segment: instance}
        self._graph = self._family(instance)
        self._asked = Asked.from_text(row.asked) or Asked()
        self._lineage = Lineage(self._graph, reader)
        self._parents = self._graph.parents(self._segment)
        self._ids: Parents = self._lineage.decode(row.parents)

    def all(self) -> Retraced:
        """Everything at once."""
        code = self._kept_code()
        environment = self._environment()
        instance = self._instances[self._segment]
        blobs: tuple[bytes | None, ...] = tuple(msgpack.unpackb(self._row.input or b"\x90"))
        grouped = bool(self._parents) and code.multiplex.group_by is not None
        line = self._line() if environment is not None or _asks_ancestors(code) else None
        everything = self._everything(code)
        name = task_name(self._row.id, self._row.text)
        place = self._row.place
        if place is None:
            place = "" if self._row.id == instance.whole_task else name
        context = SegmentContext(
            name=f"{self._segment} {instance.key}",
            segment=self._segment,
            parents=self._parents,
            kind=self._kind(code, blobs),
            script=(os.path.join(self._copy, code.script.name), code.script.data),
            hooks={name: (os.path.join(self._copy, file.name), file.data) for name, file in code.hooks.items()},
            instance_dir=self._copy,
            code_dir=self._code_dir,
            log_dir=os.path.join(self._scratch, "log"),
            scratch_dir=os.path.join(self._scratch, "tmp"),
            agg=True,
            ancestors=self._graph.ancestors(self._segment),
            everything=everything,
            siblings=self._siblings([*(line or {}).items(), *everything.items()]),
            environment=environment,
            imports=tuple(sorted(code.imports)),
        )
        members = self._members(code) if grouped else None
        call = TaskCall(
            id=self._row.id,
            text=self._row.text,
            directory=os.path.join(self._scratch, "data", place) if place else os.path.join(self._scratch, "data"),
            place=place,
            blobs=blobs,
            members=None if members is None else tuple(tuple(item.blob for item in part) for part in members),
            line=line,
            absent=frozenset(name for name, ids in zip(self._parents, self._ids, strict=False) if not ids),
        )
        return Retraced(self._row, instance, self._meta, context, call, tuple(self._notes))

    # --- segments ------------------------------------------------------------------------------------------------

    def _family(self, instance: InstanceRow) -> Graph:
        """The graph above an instance, as its ancestors' own files tell it."""
        edges: list[str] = []
        todo = [instance]
        for child in todo:
            meta = self._meta if child is instance else self._tree.read_meta(child.path)
            for name, key in _strings(meta.get("parents")).items():
                edges.append(f"{name} -> {child.segment}")
                row = self._reader.instance(key)
                if row is None:
                    self._notes.append(f"the version of {name!r} that it ran with has been deleted")
                elif name not in self._instances:
                    self._instances[name] = row
                    todo.append(row)
        return build_graph("; ".join(edges) or instance.segment)

    def _kind(self, code: SegmentCode, blobs: Sequence[object]) -> str:
        if not self._parents:
            return "pushed" if blobs else "alone"
        return "group_by" if code.multiplex.group_by is not None else code.multiplex.kind

    # --- code ----------------------------------------------------------------------------------------------------

    def _kept_code(self) -> SegmentCode:
        """Copy the code that was kept to where it is executed, laid out as it was, and read it there."""
        meta, path = self._meta, self._instances[self._segment].path
        names = [str(meta.get("script") or ""), *_strings(meta.get("hooks")).values()]
        depends = meta.get("depends")
        places = {name: name for name in names}
        places.update((str(name), kept_name(str(name))) for name in (depends if isinstance(depends, list) else ()))
        for name, place in places.items():
            data = self._tree.read_kept(path, place)
            if data is None:
                raise ReplayError(
                    f"{os.path.join(self._tree.absolute(path), place)}, a part of the code that ran, is not there"
                )
            target = os.path.join(self._copy, *name.split("/"))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(data)
        codes, problems = survey_code(self._graph, self._copy)
        code = codes.get(self._segment)
        if code is None:
            why = "; ".join(str(problem) for problem in problems)
            raise ReplayError(f"the code that was kept in {self._tree.absolute(path)} is not whole: {why}")
        changed = diff_ingredients(_strings(meta.get("ingredients")), code.ingredients)
        if changed:
            where = self._tree.absolute(path)
            self._notes.append(f"the code in {where} is not what ran, it was edited: {', '.join(changed)}")
        self._missing_modules(code)
        return code

    def _missing_modules(self, code: SegmentCode) -> None:
        """Say which modules of the code directory were not kept."""
        kept = {file.name for file in (code.script, *code.hooks.values(), *code.dependencies)}
        facts = self._meta.get("modules")
        for fact in facts if isinstance(facts, list) else ():
            file = fact.get("file") if isinstance(fact, dict) else None
            if not file or file in kept:
                continue
            if self._code_dir == self._copy:
                self._notes.append(
                    f"{file} was imported without a #depend line, so it was not kept; --code-dir DIR takes it from DIR"
                )
            elif file_digest(os.path.join(self._code_dir, *file.split("/"))) != fact.get("digest"):
                self._notes.append(f"{file} in {self._code_dir} is not the one that it ran with")

    def _environment(self) -> bytes | None:
        facts = self._meta.get("environment")
        if not isinstance(facts, dict):
            return None
        python = str(self._meta.get("python"))
        if python.split(".")[:2] != platform.python_version().split(".")[:2]:
            raise ReplayError(
                f"the environment class {facts.get('class')} was kept as Python {python} has it in memory, and only "
                f"that version can read it; this is Python {platform.python_version()}"
            )
        blob = self._tree.read_kept(self._instances[self._segment].path, ENVIRONMENT_FILE)
        if blob is None:
            where = os.path.join(self._tree.absolute(self._instances[self._segment].path), ENVIRONMENT_FILE)
            raise ReplayError(f"{where}, which holds the environment class {facts.get('class')}, is not there")
        return blob

    # --- ancestors -----------------------------------------------------------------------------------------------

    def _line(self) -> Line:
        found = self._lineage.line(self._segment, self._ids)
        for name, seen in self._asked.ancestors:
            if task_set_name(sorted(found.get(name, ()))) != seen:
                self._notes.append(
                    f"its parents descend from other tasks of {name!r} now than when it ran; it sees those of now"
                )
        return {name: self._refs(name, sorted(ids)) for name, ids in found.items()}

    def _everything(self, code: SegmentCode) -> dict[str, tuple[TaskRef, ...]]:
        """For `glob_seg`: all tasks that an ancestor had at the time."""
        if "glob_seg" not in code.mentions:
            return {}
        found = {}
        seen = dict(self._asked.everything)
        for name in self._graph.ancestors(self._segment):
            if name not in self._instances or not (code.glob_segs is None or name in code.glob_segs):
                continue
            states = list(self._states(name))
            same = [ids for ids in states if task_set_name(sorted(ids)) == seen.get(name)]
            if name in seen and not same:
                self._notes.append(f"which tasks {name!r} had when it ran is no longer known; it sees those of now")
            found[name] = self._refs(name, (same or states or [[]])[0])
        return found

    def _states(self, segment: str) -> Iterator[list[int]]:
        """The tasks that a segment had after each run, the last run first: the done ones among those it wanted."""
        instance = self._instances[segment]
        rows = self._reader.plan_rows(instance.id)
        done = {row.id for row in rows if row.status == Status.DONE}
        packed = [instance.wanted] if instance.wanted else []
        with contextlib.suppress(StorageError):
            events = [event for frame, _ in self._tree.journal(instance.path).read() for event in frame]
            packed += [event[1] for event in reversed(events) if event[0] == "wanted"]  # type: ignore[misc]
        for blob in dict.fromkeys(packed):
            yield [task for task in unpack_ids(blob) if task in done]

    def _refs(self, segment: str, ids: Sequence[int]) -> tuple[TaskRef, ...]:
        instance = self._instances.get(segment)
        if instance is None:
            return ()
        rows = {row.id: row for row in self._reader.plan_rows_listed(ids)}
        saved = self._reader.params(rows)
        refs = []
        for task in ids:
            if task not in rows:
                self._notes.append(f"task {task} of {segment!r}, one of those that it descends from, has been deleted")
                continue
            row = rows[task]
            here = row.current != SUPERSEDED
            name = task_name(task, row.text)
            whole = here and (row.place == "" or (row.place is None and task == instance.whole_task))
            directory = self._tree.task_dir(instance.path, "" if whole else name, task, row.text, here)
            parameters = tuple(
                Parameter(item.name, item.value or pickle.dumps(None), item.text or "", bool(item.exposed))
                for item in saved.get(task, ())
            )
            refs.append(TaskRef(task, name, directory, whole, bool(row.silent), parameters))
        return tuple(refs)

    def _siblings(self, seen: Sequence[tuple[str, Sequence[TaskRef]]]) -> dict[str, frozenset[str]]:
        """What lies in the ``data/`` of an ancestor beside the files of the task that has it for itself."""
        found = {}
        for name in {name for name, refs in seen if any(ref.whole for ref in refs)}:
            instance = self._instances[name]
            names = frozenset(task_name(row.id, row.text) for row in self._reader.plan_rows(instance.id))
            found[self._tree.data_dir(instance.path)] = names
        return found

    # --- members of a class --------------------------------------------------------------------------------------

    def _members(self, code: SegmentCode) -> Sequence[Sequence[Element]]:
        """The elements of each parent in the class, found by grouping again what the parents gave."""
        problem = ""
        zipped = code.multiplex.kind == "zip"
        candidates = [self._candidates(name, zipped) for name in self._parents]
        for known in islice(product(*candidates), _TRIALS):
            outputs = [
                read_output(name, self._reader, self._instances[name].id, ids)[0]
                for name, ids in zip(self._parents, known, strict=True)
            ]
            try:
                with self._importing():
                    wanted = expand(self._segment, outputs, code.multiplex, _load, lambda words: None)
            except ExpansionError as error:
                problem = f": {error}"
                continue
            for item in wanted:
                if item.digest == self._row.digest and item.group is not None and item.parents == self._ids:
                    return item.group.members
        raise ReplayError(f"the members of its class can't be had as they were when task {self._row.id} ran{problem}")

    def _candidates(self, parent: str, zipped: bool) -> list[list[int]]:
        """Lists of tasks of a parent from which the class may have been made, the likeliest first.

        The tasks of the class, in the order of a run that wanted them; for ``zip``, where places count, all that were
        wanted beside them.
        """
        if parent not in self._instances:
            return []
        ids = set(self._ids[self._parents.index(parent)])
        states = [state for state in self._states(parent) if ids.issubset(state)]
        if not zipped:
            states = [[task for task in state if task in ids] for state in states] or [sorted(ids)]
        return [list(state) for state in dict.fromkeys(map(tuple, states))]

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Let elements refer to modules of the kept code."""
        sys.path[:0] = [self._copy, self._code_dir]
        try:
            yield
        finally:
            del sys.path[:2]
            purge_modules([self._copy, self._code_dir])


def _asks_ancestors(code: SegmentCode) -> bool:
    files = (code.script, *code.hooks.values(), *code.dependencies)
    return any(looks_up(file.text) for file in files if file.is_python)


def _load(element: Element) -> object:
    return pickle.loads(element.blob)


def _strings(value: object) -> dict[str, str]:
    return {str(name): str(item) for name, item in value.items()} if isinstance(value, dict) else {}
