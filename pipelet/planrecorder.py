"""Puts plans on record and brings the directories of tasks to their places."""

from __future__ import annotations

import contextlib
import json
import os
from array import array
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgpack

from pipelet.core.model import Mark, Status
from pipelet.core.plan import Action, Decision, Reason, SegmentPlan
from pipelet.core.text import task_name
from pipelet.dependents import dependents
from pipelet.history import CURRENT, DROPPED, SUPERSEDED
from pipelet.planner import Planned
from pipelet.recorder import Orders, Recorder, agree, task_event
from pipelet.statusdb import Event, InstanceRow, PlanRow, QueuedTask, TaskRow, id_ranges, pack_ids, unpack_ids

_QUEUED = int(Status.QUEUED)
_pack = msgpack.Packer().pack
#: What ``QueuedTask._make`` gives, in a third of the time.
_queued: Callable[[tuple[object, ...]], QueuedTask] = partial(tuple.__new__, QueuedTask)


class Applied(NamedTuple):
    """What became of some decisions."""

    #: The id of each task, in order; the plan's own zeros have become new tasks.
    ids: list[int]
    #: The tasks that wait for a worker now.
    queued: list[QueuedTask]
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
    #: Recorded parents have changed.
    moved: bool = False


class PlanRecorder(Recorder):
    """A recorder that makes of decisions what they mean for the records and the tree."""

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
        gone = not planned.early and not os.path.isdir(self._tree.data_dir(row.path))
        lost = self._writer.in_data(row.id) if gone else []
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
        orders = Orders(row.whole_task)
        orders.events = [["task_set", name, json.dumps(sets[0])] for name, sets in piece.task_sets.items()]
        changed, to_run, unsettled = self._sort(planned, piece, applied, orders)
        for start, stop, parents in piece.moved:
            orders.events.append(["follow", parents, *id_ranges(piece.ids[start:stop])])
        applied = applied._replace(unsettled=unsettled, moved=bool(piece.moved or applied.parents))
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
        if not changed:
            applied.kept.extend(piece.ids)
        elif len(changed) < len(piece.ids):
            applied.kept.extend([task for at, task in enumerate(piece.ids) if at not in changed])
        return applied

    def _sort(
        self, planned: Planned, piece: SegmentPlan, applied: Applied, orders: Orders
    ) -> tuple[set[int], list[Decision], bool]:
        """Note what becomes of the tasks that don't run; gives the places that change, what runs, what is unsettled."""
        changed: set[int] = set()
        to_run: list[Decision] = []
        unsettled = False
        for decision in piece.decisions:
            position, action, _, _, _, _, certain = decision
            if action is Action.NEW:
                changed.add(position - piece.start)
                if certain or not planned.early:
                    to_run.append(decision)
                continue
            if decision.replaces >= self._first_id:
                applied.lost.append(decision.replaces)
            if action is Action.UPDATE or action is Action.REVIVE or action is Action.REUSE:
                # Who follows early must not find parents that are those of another run.
                if not certain or (planned.early and action is Action.UPDATE):
                    changed.add(position - piece.start)
                if not planned.early:
                    self._order(planned, decision, decision.task, applied, orders)
                continue
            changed.add(position - piece.start)
            if action is Action.SKIP:
                applied.aside.append(decision.task)
                if decision.reason is Reason.PARENTS and not planned.early:
                    orders.events.append(["parents", decision.task, decision.parents])
            elif action is Action.WAIT:
                unsettled = True
            elif not planned.early or (certain and action is not Action.REPLACE):
                # A version is superseded only once it is sure that all inputs can be made.
                to_run.append(decision)
        return changed, to_run, unsettled

    def _order_runs(
        self,
        planned: Planned,
        piece: SegmentPlan,
        decisions: Sequence[Decision],
        applied: Applied,
        orders: Orders,
        taken: Collection[str],
    ) -> None:
        """Make the records of the tasks that are to run."""
        row = self._instances[planned.segment]
        if any(decision.reason is Reason.ASKED for decision in decisions):
            self._pass_on(row, {decision.task for decision in decisions})
        inputs = planned.inputs.rows([decision.position for decision in decisions])
        for decision, (digest, text, blobs) in zip(decisions, inputs, strict=True):
            position, action, task, _, parents, _, _ = decision
            if action is not Action.RERUN:
                task = applied.ids[position - piece.start] = self._new_id(row, text, taken)
            queued = _queued((task, digest, CURRENT, text, _pack(blobs), parents, position))
            applied.queued.append(queued)
            if action is Action.NEW:
                orders.new.append(queued)
                continue
            self._order(planned, decision, task, applied, orders)
            if action is not Action.RERUN:
                orders.new.append(queued)
                continue
            again = TaskRow(
                task, row.id, digest, _QUEUED, CURRENT, None, text, queued.input,
                None, None, None, parents, None, None, None, None, None, None, 0,
            )
            orders.again.append(again)
            if decision.reason is not Reason.FAILED:
                # The journal says that it is done; should this run be killed, it must not say so any longer.
                orders.events.append(task_event(again, ()))

    def _pass_on(self, row: InstanceRow, tasks: Collection[int]) -> None:
        """Let tasks that looked at others which run again do so, too: before the others are queued.

        Of all that is asked for in the instance at once, since those who looked are looked for one by one.
        """
        if self._passed_on.issuperset(tasks):
            return
        asked = {task for task, mark in self._writer.marked(row.id).items() if mark == Mark.AGAIN}
        segments = {other.id: name for name, other in self._instances.items()}
        for other, found in dependents(self._writer, self._tree, row, asked - self._passed_on):
            events: list[Event] = [["aside", task, int(Mark.AGAIN)] for task in found]
            if other.id in segments:
                self._write(segments[other.id], Orders(other.whole_task, events))
            else:
                self._still_ours()
                journal = self._journal(other.path)
                other = agree(self._writer, self._tree, other, journal)
                end = journal.append(events)
                with self._writer.transaction():
                    self._writer.apply(other.id, events, end)
        self._passed_on |= asked | set(tasks)

    def _order(
        self, planned: Planned, decision: Decision, task: int, applied: Applied, orders: Orders
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
            self._write(planned.segment, Orders(row.whole_task, events))
            for task in moves:
                self._move(planned.segment, "clear", gone[task], row.whole_task)
        return dropped

    def let_go(self, segment: str) -> list[int]:
        """Note that no other tasks are wanted of a segment than before; gives those that were begun in vain."""
        row = self._instances[segment]
        before = set(unpack_ids(row.wanted) if row.wanted else ())
        begun = [task for task in self._writer.task_ids(row.id, CURRENT) if task not in before]
        self._write(segment, Orders(row.whole_task, [["current", task, DROPPED] for task in begun]))
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
                events.append(task_event(task._replace(status=_QUEUED, begun=None, current=current), ()))
        gone = self._writer.plan_rows_listed([task.id for task in rows])
        with self._tree.moving():
            self._write(segment, Orders(row.whole_task, events))
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
