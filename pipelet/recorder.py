"""Writes down what a run decides and what its tasks give: first the journals in the tree, then the database.

Only one run at a time records in a prefix. "Done" means journalled: what is in a journal and not in the database is
taken over when the next run starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgpack

from pipelet.core.calls import Parameter, TaskResult
from pipelet.core.model import Status
from pipelet.core.plan import Action, Decision, Reason, SegmentPlan
from pipelet.core.text import task_name
from pipelet.depends import ENVIRONMENT_FILE
from pipelet.history import CURRENT, DROPPED, SUPERSEDED
from pipelet.meta import clock_text, describe, parameters_text
from pipelet.modules import file_digest
from pipelet.planner import Planned, Snapshot
from pipelet.rebuild import take_over
from pipelet.statusdb import InstanceRow, PlanRow, TaskRow, Writer, pack_ids, unpack_ids
from pipelet.storage import Journal, Tree

Event = Sequence[object]
#: The row of a task that has ended, and what it saved.
Result = tuple[TaskRow, tuple[Parameter, ...]]


class Applied(NamedTuple):
    """What became of some decisions."""

    #: The id of each task, in order; the plan's own zeros have become new tasks.
    ids: list[int]
    #: The tasks that wait for a worker now, and their places among the wanted.
    queued: list[tuple[TaskRow, int]]
    #: Tasks that wait for a worker since before, and whose parents are others now: by id.
    parents: dict[int, str]
    #: Tasks that are done, and stay as they are.
    kept: list[int]
    #: Tasks that failed before and were set aside, or that failed in this run.
    aside: list[int]
    #: A worker has a task whose parents have changed.
    unsettled: bool
    #: Tasks of this run that newer versions have superseded.
    lost: list[int]
    #: Tasks that are not wanted any more.
    dropped: Sequence[int] = ()


class _Orders:
    """What some decisions mean for the journal and the directories."""

    def __init__(self, whole: int | None, events: Sequence[Event] = ()) -> None:
        self.events = list(events)
        self.new: list[TaskRow] = []
        self.again: list[TaskRow] = []
        self.moves: list[tuple[str, int]] = []
        self.whole = whole


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
        self._results: dict[str, list[Result]] = {}
        self._statuses: dict[int, Status] = {}
        #: What is in the journals, and not in the database yet; and where each journal ends.
        self._journalled: dict[str, list[Result]] = {}
        self._ends: dict[str, int] = {}
        self._next_id = writer.next_task_id()
        self._next_instance = max((row.id for row in writer.instances()), default=0) + 1
        self._modules: dict[str, dict[str, dict[str, str | None]]] = {}
        #: Ids from here on were first given in this run: nothing is on record of them that their rows don't say.
        self._first_id = self._next_id
        #: Tasks that stand in the database as running.
        self._running: set[int] = set()

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
            facts = snapshot.environment_facts
            meta["environment"] = None if facts is None else facts.to_meta()
            kept = {} if snapshot.environment is None else {ENVIRONMENT_FILE: snapshot.environment}
            tree.create_instance(path, {**code.files, **kept}, meta)
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
            self._next_id = self._first_id = max(self._next_id, self._writer.next_task_id())
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

    def apply(self, planned: Planned) -> Iterator[Applied]:
        """Put a plan on record and bring the directories to their places, piece by piece.

        Parameters
        ----------
        planned
            Of one that is not `Planned.early` it is noted at the end which tasks are wanted, and which are not any
            more.

        Yields
        ------
        Applied
            What stands on record now.
        """
        row = self._instances[planned.segment]
        # Once others make ``data/`` again, nothing else would tell that its files are gone.
        lost = [] if os.path.isdir(self._tree.data_dir(row.path)) else self._writer.in_data(row.id)
        ids = array("q")
        taken: Collection[str] | None = None
        for piece in planned.pieces:
            if row.whole_task is not None and piece.decisions and taken is None:
                taken = self._tree.present(row.path)
            applied = self._apply_piece(planned, piece, taken or ())
            if not planned.early:
                ids.extend(applied.ids)
                if len(ids) == len(planned.inputs):
                    applied = applied._replace(dropped=self._close_plan(planned, ids, lost))
            yield applied
        if not planned.early and not ids:
            dropped = self._close_plan(planned, ids, lost)
            if dropped:
                yield Applied([], [], {}, [], [], False, [], dropped)

    def _apply_piece(self, planned: Planned, piece: SegmentPlan, taken: Collection[str]) -> Applied:
        row = self._instances[planned.segment]
        applied = Applied(list(piece.ids), [], {}, [], [], False, [])
        orders = _Orders(row.whole_task)
        orders.events = [["task_set", name, json.dumps(sets[0])] for name, sets in piece.task_sets.items()]
        changed: set[int] = set()
        to_run = []
        for decision in piece.decisions:
            action, certain = decision.action, decision.certain
            if decision.replaces >= self._first_id:
                applied.lost.append(decision.replaces)
            if action is Action.UPDATE or action is Action.REVIVE or action is Action.REUSE:
                # Who follows early must not find parents that are those of another run.
                if not certain or (planned.early and action is Action.UPDATE):
                    changed.add(decision.position - piece.start)
                if not planned.early:
                    self._order(planned, decision, decision.task, applied, orders)
                continue
            changed.add(decision.position - piece.start)
            if action is Action.SKIP:
                applied.aside.append(decision.task)
                if decision.reason is Reason.PARENTS and not planned.early:
                    orders.events.append(["parents", decision.task, decision.parents])
            elif action is Action.WAIT:
                applied = applied._replace(unsettled=True)
            elif certain or not planned.early:
                to_run.append(decision)
        self._order_runs(planned, piece, to_run, applied, orders, taken)
        if planned.whole and applied.ids:
            orders.whole = applied.ids[0]
        if orders.whole != row.whole_task:
            orders.events.append(["whole", orders.whole])
        # The mark stands before the records change: a crash in between leaves a word that directories must follow.
        with self._tree.moving() if orders.moves else contextlib.nullcontext():
            # What there was before it changes.
            places = {item.id: item for item in self._writer.plan_rows_listed([task for _, task in orders.moves])}
            self._write(planned.segment, orders)
            for verb, task in orders.moves:
                self._move(planned.segment, verb, places[task], row.whole_task)
        applied.kept.extend(task for at, task in enumerate(piece.ids) if at not in changed)
        return applied

    def _order_runs(
        self,
        planned: Planned,
        piece: SegmentPlan,
        decisions: Sequence[Decision],
        applied: Applied,
        orders: _Orders,
        taken: Collection[str],
    ) -> None:
        """Make the records of the tasks that are to run."""
        row = self._instances[planned.segment]
        inputs = planned.inputs.rows([decision.position for decision in decisions])
        for decision, (digest, text, blobs) in zip(decisions, inputs, strict=True):
            task = decision.task
            if decision.action is not Action.RERUN:
                task = applied.ids[decision.position - piece.start] = self._new_id(row, text, taken)
            queued = TaskRow(
                task, row.id, digest, _QUEUED, CURRENT, None, text, _pack(blobs),
                None, None, None, decision.parents, None, None, None, None, None, None, 0,
            )
            applied.queued.append((queued, decision.position))
            if decision.action is Action.NEW:
                orders.new.append(queued)
                continue
            self._order(planned, decision, task, applied, orders)
            (orders.again if decision.action is Action.RERUN else orders.new).append(queued)
            if decision.action is Action.RERUN and decision.reason is not Reason.FAILED:
                # The journal says that it is done; should this run be killed, it must not say so any longer.
                orders.events.append(_task_event(queued, ()))

    def _order(
        self, planned: Planned, decision: Decision, task: int, applied: Applied, orders: _Orders
    ) -> None:
        """Note what one decision means for the records and the directories of tasks that are there."""
        old, action = decision.replaces, decision.action
        events, moves = orders.events, orders.moves
        if old:
            events.append(["current", old, SUPERSEDED])
            moves.append(("supersede", old))
            if old == orders.whole:
                orders.whole = task
        if action is Action.REVIVE:
            (before,) = self._writer.plan_rows_listed([task])
            if before.place == "":
                orders.whole = task
            events.append(["current", task, CURRENT])
            moves.append(("revive", task))
        if action is Action.UPDATE or action is Action.REVIVE:
            events.append(["parents", task, decision.parents])
            applied.parents[task] = decision.parents
        if action is Action.RERUN:
            moves.append(("clear", task))

    def _close_plan(self, planned: Planned, ids: array[int], lost: Sequence[int]) -> Sequence[int]:
        """Note which tasks are wanted, in order, and let go of those that are not, which it gives."""
        row = self._instances[planned.segment]
        events: list[Event] = []
        current = sum(self._writer.tally([row.id])[row.id].values())
        dropped: list[int] = []
        packed = pack_ids(ids)
        # As many as are wanted, and none that was dropped before: then they are those that are wanted.
        if current != len(ids) or lost or (packed != row.wanted and self._writer.task_ids(row.id, DROPPED)):
            known, wanted = set(self._writer.task_ids(row.id, CURRENT)), set(ids)
            # Others may be wanted once the parents are complete, but none that this run has begun in vain.
            dropped = sorted(task for task in known - wanted if planned.complete or task >= self._first_id)
            events += [["current", task, DROPPED] for task in dropped]
            events += [["current", task, CURRENT] for task in ids if task not in known]
            lost = [item for item in lost if item not in wanted]
        gone = {item.id: item for item in self._writer.plan_rows_listed([*lost, *dropped])}
        for task in lost:
            if gone[task].current != SUPERSEDED:
                events.append(["place", task, task_name(task, gone[task].text)])
        if packed != row.wanted:
            events.append(["wanted", packed])
        moves = [task for task in dropped if gone[task].status < Status.DONE]
        with self._tree.moving() if moves else contextlib.nullcontext():
            self._write(planned.segment, _Orders(row.whole_task, events))
            for task in moves:
                self._move(planned.segment, "clear", gone[task], row.whole_task)
        return dropped

    def let_go(self, segment: str) -> list[int]:
        """Note that no other tasks are wanted of a segment than before; gives those that were begun in vain."""
        row = self._instances[segment]
        before = set(unpack_ids(row.wanted) if row.wanted else ())
        begun = [task for task in self._writer.task_ids(row.id, CURRENT) if task not in before]
        self._write(segment, _Orders(row.whole_task, [["current", task, DROPPED] for task in begun]))
        return begun

    def discard(self, segment: str, tasks: Sequence[int]) -> None:
        """Note that those of some unwanted tasks that have not ended will not do so."""
        rows = [task for task in self._writer.tasks_listed(tasks) if task.status < Status.DONE]
        if not rows:
            return
        row = self._instances[segment]
        before = set(unpack_ids(row.wanted) if row.wanted else ())
        events: list[Event] = []
        for task in rows:
            if task.id >= self._first_id:
                events.append(["delete", task.id])
            else:
                current = CURRENT if task.id in before else DROPPED
                events.append(_task_event(task._replace(status=_QUEUED, begun=None, current=current), ()))
        gone = self._writer.plan_rows_listed([task.id for task in rows])
        with self._tree.moving():
            self._write(segment, _Orders(row.whole_task, events))
            for item in gone:
                self._move(segment, "clear", item, row.whole_task)
                self._statuses.pop(item.id, None)
                self._running.discard(item.id)

    def _new_id(self, row: InstanceRow, text: str, taken: Collection[str]) -> int:
        """An id for a new task, whose directory must not be a product of the task that has ``data/`` itself."""
        while row.whole_task is not None and task_name(self._next_id, text) in taken:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _move(self, segment: str, verb: str, item: PlanRow, whole: int | None) -> None:
        """Bring one task's directory where its record says it is."""
        tree, path = self._tree, self._instances[segment].path
        task, place, text = item.id, item.place, item.text
        in_data = task == whole if verb == "clear" else place == ""
        siblings: Collection[str] = ()
        if in_data:
            named = self._writer.named_tasks(self._instances[segment].id)
            siblings = {task_name(number, name) for number, name in named}
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
        _, status, begun, ended, host, pid, place, output, digests, texts, error, asked, parameters, _, _ = result
        task, instance, digest, _, current, _, text, blobs, _, _, _, parents, *_, aside = queued
        row = TaskRow(
            task, instance, digest, int(status), current, place, text, blobs, output, digests, texts, parents, asked,
            begun, ended, host, pid, error, aside,
        )
        self._results.setdefault(segment, []).append((row, parameters))
        self._statuses.pop(result.id, None)
        if result.modules:
            modules = self._modules.setdefault(segment, {})
            modules.update((_module_key(fact), dict(fact)) for fact in result.modules)
        else:
            self._modules.setdefault(segment, {})

    @property
    def first_id(self) -> int:
        """The first of the ids that were given in this run."""
        return self._first_id

    @property
    def pending(self) -> bool:
        """Whether there is something that `flush` would write."""
        return bool(self._results or self._journalled or self._statuses)

    def status(self, task: int, status: Status) -> None:
        """Note that a task began, or is to be run again."""
        self._statuses[task] = status

    def flush(self) -> list[int]:
        """Put everything on record: journals, then the database, in one transaction; gives the tasks that have ended.

        What could not be written stays for the next time: the database must never know of a journal's end without what
        stands before it.
        """
        if not self.pending:
            return []
        self._still_ours()
        if any(row.place is not None for results in self._results.values() for row, _ in results):
            self._tree.products.expect([row.path for row in self._instances.values()])
        while self._results:
            name = next(iter(self._results))
            events = [_task_event(row, parameters) for row, parameters in self._results[name]]
            self._ends[name] = self._journal(self._instances[name].path).append(events)
            self._journalled.setdefault(name, []).extend(self._results.pop(name))
        with self._writer.transaction():
            for name, results in self._journalled.items():
                self._put_results(self._instances[name].id, results, self._ends[name])
            if self._statuses:
                self._writer.set_status([(task, int(status)) for task, status in self._statuses.items()])
        for task, status in self._statuses.items():
            (self._running.add if status is Status.RUNNING else self._running.discard)(task)
        ended = [row.id for results in self._journalled.values() for row, _ in results]
        self._running.difference_update(ended)
        self._journalled, self._ends, self._statuses = {}, {}, {}
        return ended

    def _put_results(self, instance_id: int, results: Sequence[Result], end: int) -> None:
        rows = [row for row, _ in results]
        before = {row.id: int(Status.RUNNING) for row in rows if row.id in self._running} if self._running else {}
        known = [row.id for row in rows if row.id < self._first_id]
        self._writer.record_results(instance_id, rows, before, known)
        self._writer.add_params([(row.id, *item) for row, items in results for item in items])
        self._writer.set_journal_end(instance_id, end)

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
            self._write(segment, _Orders(row.whole_task, [["waiting", waiting]]))

    def settle(self, segment: str, mark: str) -> None:
        """Note the state in which there is nothing to do in a segment."""
        row = self._instances[segment]
        if self._writer.settled(row.id)[1] != mark:
            self._writer.set_mark(row.id, mark)

    def is_settled(self, segment: str) -> bool:
        """Whether a run has left the segment with nothing to do, and wrote all that people read about it."""
        return self._writer.settled(self._instances[segment].id)[1] is not None

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
        if not self._writer.has_params():
            return
        saved = self._writer.params(tasks)
        if not saved:
            return
        path = self._instances[segment].path
        names = {item.id: task_name(item.id, item.text) for item in self._writer.plan_rows_listed(list(saved))}
        by_task = {names[task]: {item.name: item.text for item in items} for task, items in saved.items() if items}
        self._tree.write_args(path, parameters_text(by_task))

    def _write(self, segment: str, orders: _Orders) -> None:
        events, new, again = orders.events, orders.new, orders.again
        if not events and not new and not again:
            return
        self._still_ours()
        row = self._instances[segment]
        end = self._journal(row.path).append(events) if events else row.journal_end
        with self._writer.transaction():
            if new:
                self._writer.add_new(new)
            if again:
                self._writer.add_queued(again)
            if events:
                self._writer.apply(row.id, events, end)
        if events:
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
    if row.wanted is not None:
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
    return ["task", row.id, *row[2:], [list(parameter) for parameter in parameters] if parameters else []]


_QUEUED = int(Status.QUEUED)
_pack = msgpack.Packer().pack
