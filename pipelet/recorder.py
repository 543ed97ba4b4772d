"""Writes down what a run decides and what its tasks give: first the journals in the tree, then the database.

Only one run at a time records in a prefix. "Done" means journalled: what is in a journal and not in the database is
taken over when the next run starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgpack

from pipelet.core.calls import Parameter, TaskResult
from pipelet.core.model import Status
from pipelet.core.plan import Action, Decision, Reason
from pipelet.core.text import task_name
from pipelet.meta import clock_text, describe, parameters_text
from pipelet.modules import file_digest
from pipelet.planner import CURRENT, DROPPED, SUPERSEDED, Planned, Snapshot
from pipelet.rebuild import take_over
from pipelet.statusdb import InstanceRow, TaskRow, Writer, pack_ids
from pipelet.storage import Journal, Tree

Event = Sequence[object]


class Recorder:
    """The one writer of a prefix while a run lasts.

    Parameters
    ----------
    snapshot
        The pipeline.
    tree
        The prefix.
    writer
        The database.
    still_ours
        Called before anything is written; raises when another run has taken the prefix from this one.
    """

    def __init__(
        self, snapshot: Snapshot, tree: Tree, writer: Writer, still_ours: Callable[[], None] = lambda: None
    ) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._writer = writer
        self._still_ours = still_ours
        self._instances: dict[str, InstanceRow] = {}
        self._journals: dict[str, Journal] = {}
        self._events: dict[str, list[Event]] = {}
        self._statuses: dict[int, Status] = {}
        #: What is in the journals, and not in the database yet; and where each journal ends.
        self._journalled: dict[str, list[Event]] = {}
        self._ends: dict[str, int] = {}
        self._next_id = writer.next_task_id()
        self._next_instance = max((row.id for row in writer.instances()), default=0) + 1
        self._modules: dict[str, dict[str, dict[str, str | None]]] = {}
        #: Rows of the tasks that the last `apply` queued, by id; whoever runs them takes them out.
        self.queued: dict[int, TaskRow] = {}

    # --- instances -----------------------------------------------------------------------------------------------

    def open_instance(self, segment: str) -> InstanceRow:
        """The segment's instance at its key, in the tree and in the database, made where it is missing."""
        snapshot, tree = self._snapshot, self._tree
        key, code = snapshot.keys[segment], snapshot.codes[segment]
        parents = [self._instances[name] for name in snapshot.graph.parents(segment)]
        row = self._writer.instance(key)
        below = parents[0].path if parents else ""
        path = row.path if row is not None else tree.instance_path(below, segment, key)
        if row is None or not os.path.isdir(tree.absolute(path)):
            created = time.time() if row is None else row.created
            meta = describe(segment, key, code, snapshot.keys, snapshot.graph, created, snapshot.code_dir)
            meta["number"] = self._next_instance if row is None else row.id
            tree.create_instance(path, code.files, meta)
        if row is None:
            with self._writer.transaction():
                above = [parent.id for parent in parents]
                self._writer.add_instance(segment, key, path, above, created, id=self._next_instance)
            self._next_instance += 1
            row = self._writer.instance(key)
            assert row is not None
        row = self._agree(row)
        self._instances[segment] = row
        return row

    def instance(self, segment: str) -> InstanceRow:
        """An instance that `open_instance` gave before, as it is now."""
        return self._instances[segment]

    def _agree(self, row: InstanceRow) -> InstanceRow:
        """Bring the journal and the database to one state."""
        journal = self._journal(row.path)
        size = journal.size()
        if size == row.journal_end:
            return row
        if size > row.journal_end:
            end = take_over(self._writer, self._tree, row)
            if size > end:
                journal.truncate(end)
            self._next_id = max(self._next_id, self._writer.next_task_id())
        else:
            self.rewrite_journal(row)
        found = self._writer.instance(row.key)
        assert found is not None
        return found

    def rewrite_journal(self, row: InstanceRow) -> None:
        """Write an instance's journal anew from the database: somebody removed or cut it."""
        events = list(journal_events(self._writer, row))
        journal = self._journal(row.path)
        end = journal.rewrite([events])
        with self._writer.transaction():
            self._writer.apply(row.id, [], end)

    # --- plans ---------------------------------------------------------------------------------------------------

    def apply(self, planned: Planned) -> list[int]:
        """Put a plan on record and bring the directories to their places.

        Returns
        -------
        list of int
            The id of each wanted task, in order; the plan's own zeros have become new tasks.
        """
        segment, plan = planned.segment, planned.plan
        row = self._instances[segment]
        whole = row.whole_task
        ids = list(plan.ids)
        events: list[Event] = [["task_set", name, json.dumps(sets[0])] for name, sets in plan.task_sets.items()]
        queued: list[TaskRow] = []
        moves: list[tuple[str, int]] = []
        taken = self._tree.present(row.path) if whole is not None and plan.decisions else ()
        for decision in plan.decisions:
            task, old = decision.task, decision.replaces
            if decision.action in (Action.NEW, Action.REPLACE):
                task = ids[decision.position] = self._new_id(row, decision.wanted.text, taken)
            if old:
                events.append(["current", old, SUPERSEDED])
                moves.append(("supersede", old))
                if old == whole:
                    whole = task
            if decision.action is Action.REVIVE:
                if planned.places[task][0] == "":
                    whole = task
                events.append(["current", task, CURRENT])
                moves.append(("revive", task))
            if decision.action in (Action.UPDATE, Action.REVIVE):
                events.append(["parents", task, decision.parents])
            if decision.action.runs:
                queued.append(_queued(row.id, task, decision))
                self.queued[task] = queued[-1]
            if decision.action is Action.RERUN:
                moves.append(("clear", task))
                if decision.reason is not Reason.FAILED:
                    # The journal says that it is done; should this run be killed, it must not say so any longer.
                    events.append(_task_event(queued[-1], ()))
        events += [["current", task, DROPPED] for task in planned.dropped]
        moves += [("clear", task) for task in planned.dropped if task in planned.unfinished]
        events += [["current", task, CURRENT] for task in planned.resumed]
        for task in planned.lost:
            # Once others make ``data/`` again, nothing else would tell that its files are gone.
            events.append(["place", task, task_name(task, planned.places[task][1])])
        if planned.whole and ids:
            whole = ids[0]
        if whole != row.whole_task:
            events.append(["whole", whole])
        wanted = pack_ids(ids)
        if wanted != row.wanted:
            events.append(["wanted", wanted])
        # The mark stands before the records change: a crash in between leaves a word that directories must follow.
        with self._tree.moving() if moves else contextlib.nullcontext():
            self._write(segment, events, queued)
            for verb, task in moves:
                self._move(segment, planned, verb, task, row.whole_task)
        return ids

    def _new_id(self, row: InstanceRow, text: str, taken: Collection[str]) -> int:
        """An id for a new task, whose directory must not be a product of the task that has ``data/`` itself."""
        while row.whole_task is not None and task_name(self._next_id, text) in taken:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _move(self, segment: str, planned: Planned, verb: str, task: int, whole: int | None) -> None:
        """Bring one task's directory where its record says it is."""
        tree, path = self._tree, self._instances[segment].path
        place, text, _ = planned.places[task]
        in_data = task == whole if verb == "clear" else place == ""
        siblings = {name for name, _, _ in planned.places.values() if name} if in_data else ()
        if verb == "clear":
            expected = "" if task == whole else task_name(task, text)
            tree.remove_task(path, expected, task, text, True, siblings)
        elif place is not None and verb == "supersede":
            tree.supersede(path, place, task, text, siblings)
        elif place is not None:
            tree.revive(path, place, task, text, siblings)

    def mend_if_cut(self) -> None:
        """Finish the moves of directories that a crash cut short, in every instance."""
        if not self._tree.moves_were_cut:
            return
        for row in self._writer.instances():
            tasks = []
            names = set()
            for task, _, _, current, place, text, *_ in self._writer.plan_rows(row.id):
                if place is not None:
                    tasks.append((place, task, text, current != SUPERSEDED))
                if place:
                    names.add(place)
            self._tree.mend(row.path, tasks, names)
        self._tree.settle()

    def settle_unfinished(self) -> None:
        """Put on record, as queued, the tasks that another run, or this one, began and did not end."""
        for number, counts in self._writer.tally().items():
            row = self._writer.instance_by_id(number)
            if row is None or not (counts.get(Status.QUEUED) or counts.get(Status.RUNNING)):
                continue
            self._still_ours()
            events: list[Event] = []
            for status in (Status.QUEUED, Status.RUNNING):
                found = self._writer.tasks(number, status)
                events += [_task_event(task._replace(status=int(Status.QUEUED)), ()) for task in found]
            end = self._journal(row.path).append(events)
            with self._writer.transaction():
                self._writer.apply(number, events, end)

    # --- results -------------------------------------------------------------------------------------------------

    def result(self, segment: str, queued: TaskRow, result: TaskResult) -> None:
        """Keep what came of a task until the next `flush`."""
        row = queued._replace(
            status=int(result.status),
            place=result.place,
            output=result.output,
            digests=result.digests,
            texts=result.texts,
            asked=result.asked,
            begun=result.begun,
            ended=result.ended,
            host=result.host,
            pid=result.pid,
            error=result.error,
        )
        self._events.setdefault(segment, []).append(_task_event(row, result.parameters))
        self._statuses.pop(result.id, None)
        modules = self._modules.setdefault(segment, {})
        modules.update((_module_key(fact), dict(fact)) for fact in result.modules)

    @property
    def pending(self) -> bool:
        """Whether there is something that `flush` would write."""
        return bool(self._events or self._journalled or self._statuses)

    def status(self, task: int, status: Status) -> None:
        """Note that a task began, or is to be run again."""
        self._statuses[task] = status

    def flush(self) -> None:
        """Put everything on record: journals, then the database, in one transaction.

        What could not be written stays for the next time: the database must never know of a journal's end without what
        stands before it.
        """
        if not self.pending:
            return
        self._still_ours()
        while self._events:
            name = next(iter(self._events))
            self._ends[name] = self._journal(self._instances[name].path).append(self._events[name])
            self._journalled.setdefault(name, []).extend(self._events.pop(name))
        with self._writer.transaction():
            for name, events in self._journalled.items():
                self._writer.apply(self._instances[name].id, events, self._ends[name])
            if self._statuses:
                self._writer.set_status([(task, int(status)) for task, status in self._statuses.items()])
        self._journalled, self._ends, self._statuses = {}, {}, {}

    def finish(self, segment: str, waiting: str | None) -> None:
        """Write what people read about an instance: its parameters, its modules, and why it waits."""
        row = self._instances[segment]
        modules = self._modules.pop(segment, None)
        if modules is not None:
            meta = self._tree.read_meta(row.path)
            # Of a module that has changed all versions stay: tasks of this instance ran with each.
            known = {_module_key(fact): fact for fact in module_list(meta)}
            known.update((_module_key(fact), fact) for fact in modules.values())
            meta["modules"] = [known[name] for name in sorted(known)]
            meta["computed"] = clock_text(time.time())
            self._tree.write_meta(row.path, meta)
        if waiting != row.waiting:
            self._write(segment, [["waiting", waiting]], [])

    def changed_modules(self, segment: str) -> list[str]:
        """Warnings about modules of the code directory that a segment imports without depending on them."""
        meta = self._tree.read_meta(self._instances[segment].path)
        changed = set()
        for fact in module_list(meta):
            file, before = fact.get("file"), fact.get("digest")
            now = file_digest(os.path.join(self._snapshot.code_dir, file)) if file else None
            if file and before and now != before and file not in self._listed(segment):
                changed.add(file)
        return [
            f"{file} has changed since this version of {segment!r} ran, and is not in its key: "
            f"put the line '#depend {file}' in {self._snapshot.codes[segment].script.name}"
            for file in sorted(changed)
        ]

    def _listed(self, segment: str) -> set[str]:
        return {file.name for file in self._snapshot.codes[segment].dependencies}

    def write_parameters(self, segment: str, tasks: Sequence[int]) -> None:
        """Write the ``.args`` file of an instance from the parameters of its tasks."""
        row = self._instances[segment]
        saved = self._writer.params(tasks)
        if not saved:
            return
        names = {task: task_name(task, text) for task, _, _, _, _, text, *_ in self._writer.plan_rows(row.id)}
        by_task = {names[task]: {item.name: item.text for item in items} for task, items in saved.items() if items}
        self._tree.write_args(row.path, parameters_text(by_task))

    def _write(self, segment: str, events: list[Event], queued: list[TaskRow]) -> None:
        if not events and not queued:
            return
        self._still_ours()
        row = self._instances[segment]
        end = self._journal(row.path).append(events) if events else row.journal_end
        with self._writer.transaction():
            if queued:
                self._writer.add_queued(queued)
            if events:
                self._writer.apply(row.id, events, end)
        found = self._writer.instance(row.key)
        assert found is not None
        self._instances[segment] = found

    def _journal(self, path: str) -> Journal:
        # Kept, since a journal that knows its end need not look for it at each append.
        journal = self._journals.get(path)
        if journal is None:
            journal = self._journals[path] = self._tree.journal(path)
        return journal


def journal_events(reader: Writer, row: InstanceRow) -> Iterable[Event]:
    """All that the database holds of an instance, as journal events."""
    params = reader.params([task.id for task in reader.tasks(row.id, current=None)])
    sets: set[str] = set()
    for task in reader.tasks(row.id, current=None):
        for entry in json.loads(task.parents or "[]"):
            if isinstance(entry, str) and entry not in sets:
                sets.add(entry)
                yield ["task_set", entry, json.dumps(list(reader.task_set(entry) or ()))]
        if task.status in (Status.DONE, Status.FAILED):
            yield ["task", task.id, *task[2:], [list(item[1:]) for item in params.get(task.id, ())]]
    if row.whole_task is not None:
        yield ["whole", row.whole_task]
    if row.wanted:
        yield ["wanted", row.wanted]
    if row.waiting is not None:
        yield ["waiting", row.waiting]


def module_list(meta: Mapping[str, object]) -> list[dict[str, str | None]]:
    """The facts on imported modules that a ``.meta`` holds."""
    found = meta.get("modules")
    return [dict(fact) for fact in found if isinstance(fact, dict)] if isinstance(found, list) else []


def _module_key(fact: Mapping[str, str | None]) -> str:
    return f"{fact.get('name')} {fact.get('digest') or ''}"


def _task_event(row: TaskRow, parameters: Iterable[Parameter]) -> Event:
    return ["task", row.id, *row[2:], [list(parameter) for parameter in parameters]]


def _queued(instance: int, task: int, decision: Decision) -> TaskRow:
    item = decision.wanted
    if item.group is not None:
        blobs: list[bytes | None] = [pickle.dumps(item.group.value, protocol=4)]
    else:
        blobs = [None if element is None else element.blob for element in item.elements]
    return TaskRow(
        task, instance, item.digest, int(Status.QUEUED), CURRENT, None, item.text, msgpack.packb(blobs),
        None, None, None, decision.parents, None, None, None, None, None, None, 0,
    )


