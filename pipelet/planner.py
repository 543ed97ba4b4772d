"""Gathers the facts that the decisions of `pipelet.core.plan` rest on, segment by segment.

A run, `Pipeline.explain` and the pages that show a status all ask the same `Planner`.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgpack

from pipelet.codebase import SegmentCode
from pipelet.core.fingerprint import combine
from pipelet.core.graph import Graph
from pipelet.core.model import Element, ParentOutput, Status, Wanted
from pipelet.core.multiplex import expand
from pipelet.core.parents import Parents, task_set_name
from pipelet.core.plan import Action, Asked, Facts, Reason, Record, SegmentPlan, decide
from pipelet.core.text import task_name
from pipelet.errors import ExpansionError
from pipelet.lineage import Lineage
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import Tree

#: Values of a task's ``current``: superseded by a newer version; wanted by the last run; not wanted by it.
SUPERSEDED, CURRENT, DROPPED = 0, 1, 2


@dataclass(frozen=True)
class Snapshot:
    """A pipeline as it was read at one moment: nothing that is edited later changes it."""

    graph: Graph
    code_dir: str
    prefix: str
    sqlfile: str
    #: What was pushed to segments without parents; a segment that nobody pushed to is not in it.
    pushed: Mapping[str, tuple[Element, ...]]
    codes: Mapping[str, SegmentCode]
    keys: Mapping[str, str]
    partial: bool = False
    agg: bool = True
    agg_interactive: bool = True
    #: The user's environment class by value.
    environment: bytes | None = None


@dataclass
class Outcome:
    """What is known of a segment's tasks when its children are planned."""

    known: list[int]  #: ids of its done tasks, in order
    complete: bool  #: every task that is wanted is among them
    settled: bool = True  #: no task that is yet to run will be among them




@dataclass
class Planned:
    """What is decided on a segment."""

    segment: str
    plan: SegmentPlan = field(default_factory=lambda: SegmentPlan([], [], {}))
    #: Why its tasks can't be known yet.
    waiting: str | None = None
    #: What went wrong in the expansion.
    error: ExpansionError | None = None
    #: All tasks that it will ever want are known.
    complete: bool = True
    #: Its one task gets ``data/`` itself.
    whole: bool = False
    #: Recorded tasks that are not wanted any more, and those that are wanted again.
    dropped: list[int] = field(default_factory=list)
    resumed: list[int] = field(default_factory=list)
    #: Tasks not wanted now whose place was ``data/`` itself, and that is gone.
    lost: list[int] = field(default_factory=list)
    #: Recorded tasks that never ended.
    unfinished: set[int] = field(default_factory=set)
    #: (id, place, text, current) of all recorded tasks.
    places: dict[int, tuple[str | None, str, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Planner:
    """Plans one segment after the other, parents first.

    Parameters
    ----------
    snapshot
        The pipeline.
    tree, reader
        Where the facts are.

    Attributes
    ----------
    outcomes
        What is known of each segment that was planned; whoever runs the tasks corrects it before the children.
    """

    def __init__(self, snapshot: Snapshot, tree: Tree, reader: Reader) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._reader = reader
        self._outputs: dict[str, ParentOutput] = {}
        #: Words on segments some of whose tasks set an output and others none.
        self._silences: dict[str, str] = {}
        self._superseded: set[int] = set()
        self._new_parents: dict[int, str] = {}
        self.lineage = Lineage(snapshot.graph, reader, self._new_parents)
        self.outcomes: dict[str, Outcome] = {}

    def instance(self, segment: str) -> InstanceRow | None:
        """The segment's instance at its key, if there is a record of it."""
        return self._reader.instance(self._snapshot.keys[segment])

    def plan(self, segment: str) -> Planned:
        """Decide on all the tasks of a segment whose parents were planned before."""
        planned = Planned(segment)
        planned.waiting = self._blocked(segment)
        if planned.waiting is not None:
            return planned
        try:
            wanted = self._wanted(segment, planned.warnings)
        except ExpansionError as error:
            planned.error = error
            return planned
        incomplete = [name for name in self._parents(segment) if not self.outcomes[name].complete]
        planned.complete = not incomplete
        if not wanted and incomplete:
            planned.waiting = _because(incomplete)
            return planned
        records = self._records(segment, planned)
        planned.plan = decide(wanted, self._facts(segment, records))
        planned.whole = not planned.places and self._is_whole(segment, wanted)
        self._note(planned)
        return planned

    def give_up(self, segment: str) -> None:
        """The tasks of a segment can't be known: its children can't count on any."""
        self.outcomes[segment] = Outcome([], False, self._is_settled(segment))

    def forget_outputs(self, segment: str) -> None:
        """Let go of the outputs of a segment whose children are all planned."""
        self._outputs.pop(segment, None)

    def output(self, segment: str) -> ParentOutput:
        """The concatenated outputs of a segment's known tasks."""
        found = self._outputs.get(segment)
        if found is None:
            found = self._outputs[segment] = self._read_output(segment)
        return found

    # --- what is wanted ------------------------------------------------------------------------------------------

    def _parents(self, segment: str) -> tuple[str, ...]:
        return self._snapshot.graph.parents(segment)

    def _blocked(self, segment: str) -> str | None:
        """Why the tasks of a segment can't be known yet."""
        code = self._snapshot.codes[segment]
        needed: list[str] = []
        directive = code.multiplex
        for name in self._parents(segment):
            outcome = self.outcomes[name]
            all_needed = directive.group_by is not None or directive.kind == "zip"
            if self._is_lacking(name) and (all_needed or (outcome.known and self.output(name).silent)):
                needed.append(name)
        for name in self.looked_through(segment):
            if self._is_lacking(name) and name not in needed:
                needed.append(name)
        return _because(needed) if needed else None

    def _is_lacking(self, segment: str) -> bool:
        """Whether there is too little of a segment for a child that needs all its tasks."""
        outcome = self.outcomes[segment]
        return not (outcome.settled if self._snapshot.partial else outcome.complete)

    def _is_settled(self, segment: str) -> bool:
        """Whether the parents will give no more tasks than are known."""
        return all(self.outcomes[name].settled for name in self._parents(segment))

    def looked_through(self, segment: str) -> tuple[str, ...]:
        """The ancestors whose tasks `glob_seg` may look at, all of them."""
        code = self._snapshot.codes[segment]
        ancestors = self._snapshot.graph.ancestors(segment)
        if "glob_seg" not in code.mentions:
            return ()
        return tuple(name for name in ancestors if code.glob_segs is None or name in code.glob_segs)

    def _wanted(self, segment: str, warnings: list[str]) -> list[Wanted]:
        snapshot = self._snapshot
        parents = self._parents(segment)
        if not parents:
            if segment not in snapshot.pushed:
                return [Wanted(combine([], salt=b"nothing pushed"), "", (), ())]
            return list(_pushed(snapshot.pushed[segment]))
        outputs = [self.output(name) for name in parents]
        warnings += [self._silences[name] for name in parents if name in self._silences]
        with _importing_from(snapshot.code_dir):
            return expand(segment, outputs, snapshot.codes[segment].multiplex, _Loader(segment), warnings.append)

    def _read_output(self, segment: str) -> ParentOutput:
        known = self.outcomes[segment].known
        row = self.instance(segment)
        elements: list[Element] = []
        silent = 0
        for task, output, digests, texts in self._reader.outputs(row.id, known) if row is not None else ():
            if output is None:
                silent += 1
                continue
            blobs, names = msgpack.unpackb(output), msgpack.unpackb(texts or b"\x90")
            for position, (blob, text) in enumerate(zip(blobs, names, strict=True)):
                digest = (digests or b"")[16 * position : 16 * position + 16]
                elements.append(Element(task, position, digest, text, blob))
        if 0 < silent < len(known):
            self._silences[segment] = (
                f"{silent} of {len(known)} tasks of {segment!r} set no output, and contribute nothing; where that is "
                "meant, set_output([]) says so"
            )
        return ParentOutput(segment, elements, known, silent=bool(known) and silent == len(known))

    # --- what is on record ---------------------------------------------------------------------------------------

    def _records(self, segment: str, planned: Planned) -> dict[bytes, list[Record]]:
        row = self.instance(segment)
        records: dict[bytes, list[Record]] = {}
        if row is None:
            return records
        whole_there = os.path.isdir(self._tree.data_dir(row.path))
        here = self._tree.present(row.path)
        cut = self._tree.moves_were_cut
        aside = self._tree.present_superseded(row.path) if cut else None
        done, places = Status.DONE, planned.places
        for task, digest, status, current, place, text, parents, asked, kept, _silent in self._reader.plan_rows(row.id):
            places[task] = (place, text, current)
            if place is None:
                present = True
            elif current == SUPERSEDED:
                if aside is None:
                    aside = self._tree.present_superseded(row.path)
                present = task_name(task, text) in aside
            else:
                present = place in here if place else whole_there
            if cut and not present:
                # Whoever runs it first finishes the moves that were cut, and then it is where it belongs.
                present = (place in here if place else whole_there) or task_name(task, text) in (aside or ())
            if status < Status.DONE:
                planned.unfinished.add(task)
            record = Record(
                task,
                done if status == 2 else Status(status),
                current != SUPERSEDED,
                present,
                parents,
                Asked.from_text(asked) if asked else None,
                bool(kept),
            )
            if current == SUPERSEDED:
                self._superseded.add(task)
            versions = records.get(digest)
            if versions is None:
                records[digest] = [record]
            elif record.current:
                versions.insert(0, record)
            else:
                versions.append(record)
        return records

    def _facts(self, segment: str, records: Mapping[bytes, Sequence[Record]]) -> Facts:
        def line_of(name: str, parents: Parents) -> str:
            return task_set_name(sorted(self.lineage.line(segment, parents).get(name, ())))

        def all_of(name: str) -> str:
            outcome = self.outcomes.get(name)
            return task_set_name(sorted(outcome.known)) if outcome is not None else ""

        return Facts(
            self._parents(segment), records, self._superseded.__contains__, self.lineage.decode, line_of, all_of,
            growing=not self._is_settled(segment),
        )

    def _is_whole(self, segment: str, wanted: Sequence[Wanted]) -> bool:
        """Whether it is known before the start that there is one task."""
        if len(wanted) != 1:
            return False
        parents = self._parents(segment)
        if not parents:
            return len(self._snapshot.pushed.get(segment, ())) <= 1
        outcomes = [self.outcomes[name] for name in parents]
        if not all(outcome.complete for outcome in outcomes):
            return False
        directive = self._snapshot.codes[segment].multiplex
        if directive.group_by is not None:
            return True
        if directive.kind == "zip":
            outputs = [self.output(name) for name in parents]
            return all(output.silent or len(output.elements) == 1 for output in outputs)
        return all(len(outcome.known) == 1 for outcome in outcomes)

    def _note(self, planned: Planned) -> None:
        """Keep what the children's plans need to know of this one."""
        wanted = {task for task in planned.plan.ids if task}
        kept = set(wanted)
        for decision in planned.plan.decisions:
            if decision.replaces:
                self._superseded.add(decision.replaces)
                kept.add(decision.replaces)
            if decision.action is Action.REVIVE:
                self._superseded.discard(decision.task)
            if decision.task and decision.action is not Action.SKIP:
                self._new_parents[decision.task] = decision.parents
        row = self.instance(planned.segment)
        whole_gone = row is not None and not os.path.isdir(self._tree.data_dir(row.path))
        for task, (place, _text, current) in planned.places.items():
            if place == "" and whole_gone and current != SUPERSEDED and task not in kept:
                planned.lost.append(task)
            if current == CURRENT and task not in kept and planned.complete:
                planned.dropped.append(task)
            elif current == DROPPED and task in wanted:
                planned.resumed.append(task)
        self.outcomes[planned.segment] = self._expected(planned)

    def _expected(self, planned: Planned) -> Outcome:
        """What the children may count on before anything runs: data that is made again is as it was."""
        decisions = planned.plan.decisions
        aside = {decision.position for decision in decisions if decision.action is Action.SKIP}
        uncertain = {
            decision.position
            for decision in decisions
            if decision.action in (Action.NEW, Action.REPLACE)
            or (decision.action is Action.RERUN and decision.reason is not Reason.MISSING)
            or not decision.certain
        } - aside
        unknown = uncertain | aside
        known = [task for index, task in enumerate(planned.plan.ids) if index not in unknown]
        complete = all(self.outcomes[name].complete for name in self._parents(planned.segment))
        settled = not uncertain and self._is_settled(planned.segment)
        return Outcome(known, not uncertain and not aside and complete, settled)


class _Loader:
    """Unpickles elements for the expressions of a directive, each once."""

    def __init__(self, segment: str) -> None:
        self._segment = segment
        self._loaded: dict[tuple[int, int, bytes], object] = {}

    def __call__(self, element: Element) -> object:
        key = (element.task, element.position, element.digest)
        if key not in self._loaded:
            try:
                self._loaded[key] = pickle.loads(element.blob)
            except Exception as error:  # a class's own reconstruction can raise anything
                raise ExpansionError(
                    f"segment {self._segment!r}: element {element.position} ({element.text}) of the output of task "
                    f"{element.task} can't be read back: {error}"
                ) from error
        return self._loaded[key]


def _pushed(elements: Sequence[Element]) -> Iterator[Wanted]:
    seen: set[bytes] = set()
    for element in elements:
        if element.digest not in seen:
            seen.add(element.digest)
            yield Wanted(element.digest, element.text, (element,), ())


def _because(names: Sequence[str]) -> str:
    return f"tasks of {', '.join(names)} failed or wait" if names else ""


@contextmanager
def _importing_from(code_dir: str) -> Iterator[None]:
    """Let elements refer to modules of the code directory, and leave no trace of these modules."""
    before: Callable[[str], bool] = set(sys.modules).__contains__
    sys.path.insert(0, code_dir)
    try:
        yield
    finally:
        sys.path.remove(code_dir)
        root = os.path.join(code_dir, "")
        for name, module in list(sys.modules.items()):
            if not before(name) and str(getattr(module, "__file__", "") or "").startswith(root):
                del sys.modules[name]
