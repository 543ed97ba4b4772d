"""Writes down what a run decides and what its tasks give: first the journals in the tree, then the database.

Only one run at a time records in a prefix. "Done" means journalled: what is in a journal and not in the database is
taken over when the next run starts.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipelet.core.calls import Parameter, TaskResult
from pipelet.core.model import Status
from pipelet.core.text import task_name
from pipelet.depends import ENVIRONMENT_FILE
from pipelet.distrust import mend_moves
from pipelet.meta import clock_text, describe, parameters_text
from pipelet.modules import file_digest
from pipelet.planner import Snapshot
from pipelet.rebuild import take_over
from pipelet.statusdb import Event, InstanceRow, QueuedTask, Reader, TaskRow, Writer
from pipelet.statusdb.deleting import last_ids
from pipelet.storage import Journal, Tree


def parameters_of(reader: Reader, tasks: Sequence[int]) -> str | None:
    """Give what the ``.args`` of an instance says, from the parameters of its tasks; ``None`` if they have none."""
    saved = reader.params(tasks)
    if not saved:
        return None
    names = {item.id: task_name(item.id, item.text) for item in reader.plan_rows_listed(list(saved))}
    by_task = {names[task]: {item.name: item.text for item in items} for task, items in saved.items() if items}
    return parameters_text(by_task)


class Orders:
    """What some decisions mean for the journal and the directories."""

    def __init__(self, whole: int | None, events: Sequence[Event] = ()) -> None:
        self.events = list(events)
        self.new: list[QueuedTask] = []
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
        #: By segment, for each task that has ended, the event that says all of it.
        self._results: dict[str, list[Event]] = {}
        self._statuses: dict[int, Status] = {}
        #: What is in the journals, and not in the database yet; and where each journal ends.
        self._journalled: dict[str, list[Event]] = {}
        self._ends: dict[str, int] = {}
        self._next_id = writer.next_task_id()
        self._next_instance = last_ids(writer).instance + 1
        self._modules: dict[str, dict[str, dict[str, str | None]]] = {}
        #: Ids from here on were first given in this run: nothing is on record of them that their rows don't say.
        self._first_id = self._next_id
        #: Tasks that run again since somebody asked for it, and whose dependents do so, too.
        self._passed_on: set[int] = set()
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
        found = agree(self._writer, self._tree, row, self._journal(row.path))
        if found.journal_end > row.journal_end:
            self._next_id = self._first_id = max(self._next_id, self._writer.next_task_id())
        return found

    # --- what a run that died has left ---------------------------------------------------------------------------

    def mend_if_cut(self) -> None:
        """Finish the moves of directories that a crash cut short, in every instance."""
        if self._tree.moves_were_cut:
            mend_moves(self._writer, self._tree)

    def settle_unfinished(self) -> None:
        """Put on record, as queued, the tasks that another run, or this one, began and did not end."""
        for number, counts in self._writer.tally().items():
            row = self._writer.instance_by_id(number)
            if row is None or not (counts.get(Status.QUEUED) or counts.get(Status.RUNNING)):
                continue
            self._still_ours()
            journal_unfinished(self._writer, row, self._journal(row.path))

    # --- results -------------------------------------------------------------------------------------------------

    def result(self, segment: str, queued: QueuedTask, result: TaskResult) -> None:
        """Keep what came of a task until the next `flush`."""
        self.results(segment, [(queued, result)])

    def results(self, segment: str, results: Iterable[tuple[QueuedTask, TaskResult]]) -> None:
        """Keep what came of some tasks until the next `flush`."""
        kept, modules = self._results.setdefault(segment, []), self._modules.setdefault(segment, {})
        for (task, digest, current, text, blobs, parents, _), result in results:
            (
                _, status, begun, ended, host, pid, place, output, digests, texts, error, asked, saved, _, facts, job,
            ) = result
            # Without a `TaskRow` in between: there are very many, and they wait in memory.
            kept.append(
                (
                    "task", task, digest, int(status), current, place, text, blobs, output, digests, texts, parents,
                    asked, begun, ended, host, pid, error, 0, job, _listed(saved) if saved else (),
                )
            )
            if self._statuses:
                self._statuses.pop(task, None)
            if facts:
                modules.update((_module_key(fact), dict(fact)) for fact in facts)

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
        if any(event[_PLACE] is not None for events in self._results.values() for event in events):
            self._tree.products.expect([row.path for row in self._instances.values()])
        while self._results:
            name = next(iter(self._results))
            self._ends[name] = self._journal(self._instances[name].path).append(self._results[name])
            self._journalled.setdefault(name, []).extend(self._results.pop(name))
        with self._writer.transaction():
            for name, events in self._journalled.items():
                self._put_results(self._instances[name].id, events, self._ends[name])
            if self._statuses:
                self._writer.set_status([(task, int(status)) for task, status in self._statuses.items()])
        for task, status in self._statuses.items():
            (self._running.add if status is Status.RUNNING else self._running.discard)(task)
        ended = [event[1] for events in self._journalled.values() for event in events]
        self._running.difference_update(ended)
        self._journalled, self._ends, self._statuses = {}, {}, {}
        return ended

    def _put_results(self, instance_id: int, events: Sequence[Event], end: int) -> None:
        tasks = [event[1] for event in events]
        before = {task: int(Status.RUNNING) for task in tasks if task in self._running} if self._running else {}
        known = [task for task in tasks if task < self._first_id]
        self._writer.record_results(instance_id, events, before, known)
        self._writer.add_params([(event[1], *item) for event in events for item in event[-1]])
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
            self._write(segment, Orders(row.whole_task, [["waiting", waiting]]))

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
        text = parameters_of(self._writer, tasks)
        if text is not None:
            self._tree.write_args(self._instances[segment].path, text)

    def _write(self, segment: str, orders: Orders) -> None:
        events, new, again = orders.events, orders.new, orders.again
        if not events and not new and not again:
            return
        self._still_ours()
        row = self._instances[segment]
        end = self._journal(row.path).append(events) if events else row.journal_end
        with self._writer.transaction():
            if new:
                self._writer.add_new(row.id, new)
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


def agree(writer: Writer, tree: Tree, row: InstanceRow, journal: Journal) -> InstanceRow:
    """Bring the journal and the database to one state, for the holder of the prefix.

    Parameters
    ----------
    writer, tree
        The two sides.
    row
        An instance, as it is in the database.
    journal
        Its journal.

    Returns
    -------
    InstanceRow
        As it is in the database then.
    """
    size = journal.size()
    if size == row.journal_end:
        return row
    if size > row.journal_end:
        end = take_over(writer, tree, row)
        if size > end:
            journal.truncate(end)
    else:
        # Somebody removed or cut it.
        end = journal.rewrite([list(journal_events(writer, row))])
        with writer.transaction():
            writer.apply(row.id, [], end)
    found = writer.instance(row.key)
    assert found is not None
    return found


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


def journal_unfinished(writer: Writer, row: InstanceRow, journal: Journal) -> None:
    """Put on record, as queued, the tasks of an instance that were begun and did not end."""
    events: list[Event] = []
    for status in (Status.QUEUED, Status.RUNNING):
        found = writer.tasks(row.id, status)
        events += [task_event(task._replace(status=int(Status.QUEUED)), ()) for task in found]
    if events:
        end = journal.append(events)
        with writer.transaction():
            writer.apply(row.id, events, end)


def module_list(meta: Mapping[str, object]) -> list[dict[str, str | None]]:
    """The facts on imported modules that a ``.meta`` holds."""
    found = meta.get("modules")
    return [dict(fact) for fact in found if isinstance(fact, dict)] if isinstance(found, list) else []


def _module_key(fact: Mapping[str, str | None]) -> str:
    return f"{fact.get('name')} {fact.get('digest') or ''}"


def task_event(row: TaskRow, parameters: Iterable[Parameter]) -> Event:
    """The event of a journal that says all of a task."""
    return ["task", row.id, *row[2:], _listed(parameters) if parameters else []]


def _listed(parameters: Iterable[Parameter]) -> list[list[object]]:
    return [list(parameter) for parameter in parameters]


#: Where the place of a task is in its event, which begins with its kind and leaves out the instance.
_PLACE = TaskRow._fields.index("place")
