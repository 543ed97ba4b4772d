"""Gathers the facts that the decisions of `pipelet.core.plan` rest on, segment by segment.

A run, `Pipeline.explain` and the pages that show a status all ask the same `Planner`.
"""

from __future__ import annotations

import os
import pickle
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pipelet.classprint import EnvironmentFacts
from pipelet.codebase import SegmentCode
from pipelet.core.fingerprint import VALUE_VERSION, combine
from pipelet.core.graph import Graph
from pipelet.core.inputs import Inputs, Listed, Unseen
from pipelet.core.model import Element, ParentOutput, Wanted
from pipelet.core.multiplex import expand
from pipelet.core.parents import Parents, task_set_name
from pipelet.core.plan import Action, Before, Decision, Facts, Reason, SegmentPlan, decide_in_pieces
from pipelet.errors import ExpansionError
from pipelet.history import SUPERSEDED, History
from pipelet.limits import Limits
from pipelet.lineage import Lineage
from pipelet.outputs import read_output
from pipelet.statusdb import InstanceRow, Reader, unpack_ids
from pipelet.storage import Tree, durability


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
    environment_facts: EnvironmentFacts | None = None
    limits: Limits = field(default_factory=Limits)
    #: Which tasks come first: ``"depth"``, those that are furthest down; ``"breadth"``, segment after segment.
    order: str = "depth"
    #: What "done" outlives.
    durability: str = durability.DEFAULT


@dataclass
class Outcome:
    """What is known of a segment's tasks when its children are planned."""

    known: Sequence[int]  #: ids of its done tasks, in order
    complete: bool  #: every task that is wanted is among them
    settled: bool = True  #: no task that is yet to run will be among them


@dataclass
class Planned:
    """What is decided on a segment; the decisions come piece by piece, and are made when they are asked for."""

    segment: str
    inputs: Inputs = field(default_factory=lambda: Listed([]))
    pieces: Iterator[SegmentPlan] = field(default_factory=lambda: iter(()))
    #: Why its tasks can't be known yet.
    waiting: str | None = None
    #: What went wrong in the expansion.
    error: ExpansionError | None = None
    #: All tasks that it will ever want are known.
    complete: bool = True
    #: Its one task gets ``data/`` itself.
    whole: bool = False
    #: More inputs may follow: only what is certain for these may be done.
    early: bool = False
    warnings: list[str] = field(default_factory=list)


class Planner:
    """Plans one segment after the other, parents first.

    Parameters
    ----------
    snapshot
        The pipeline.
    tree, reader
        Where the facts are.
    applied
        Whether each decision is put on record before the next segment is planned. Otherwise the planner remembers what
        the children need to know.
    hands, tried
        See `pipelet.history.History`.

    Attributes
    ----------
    outcomes
        What is known of each segment that was planned; whoever runs the tasks corrects it before the children.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        tree: Tree,
        reader: Reader,
        applied: bool = False,
        hands: Callable[[int], int | None] = lambda task: 0,
        tried: Callable[[int], bool] = lambda task: False,
    ) -> None:
        self._snapshot = snapshot
        self._tree = tree
        self._reader = reader
        self._applied = applied
        self._hands = hands
        self._tried = tried
        self._outputs: dict[str, ParentOutput] = {}
        #: Words on segments some of whose tasks set an output and others none.
        self._silences: dict[str, str] = {}
        #: Whether tasks are superseded, where decisions said so or somebody looked.
        self._superseded: dict[int, bool] = {}
        self._new_parents: dict[int, str] = {}
        self.lineage = Lineage(snapshot.graph, reader, self._new_parents)
        self.outcomes: dict[str, Outcome] = {}
        self._signatures: dict[str, str] = {}

    def instance(self, segment: str) -> InstanceRow | None:
        """The segment's instance at its key, if there is a record of it."""
        return self._reader.instance(self._snapshot.keys[segment])

    def plan(self, segment: str) -> Planned:
        """Decide on all the tasks of a segment whose parents were planned before."""
        planned = Planned(segment)
        planned.waiting = self._blocked(segment)
        if planned.waiting is not None:
            return planned
        if self._is_clean(segment):
            return self._unchanged(planned)
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
        history = self.history(segment)
        planned.inputs = wanted
        planned.whole = self._is_whole(segment, wanted) and history.empty and not history.lost
        facts = self._facts(segment, history, not self._is_settled(segment), history.before)
        planned.pieces = self._pieces(planned, facts)
        return planned

    def plan_early(self, segment: str, outputs: Sequence[ParentOutput], history: History) -> Planned:
        """Decide on tasks of a segment whose parents have not ended, as far as nothing to come can change it.

        Parameters
        ----------
        segment
            Which segment.
        outputs
            What its parents have given; each combination of elements must be offered once in a run.
        history
            From `history`, kept from call to call.

        Raises
        ------
        ExpansionError
            An expression fails; so it will when all is there.
        """
        planned = Planned(segment, early=True)
        with _importing_from(self._snapshot.code_dir):
            planned.inputs = self._expand(segment, outputs, lambda warning: None)
        facts = self._facts(segment, history, growing=True)
        planned.pieces = decide_in_pieces(planned.inputs, facts)
        return planned

    # --- what need not be looked at ------------------------------------------------------------------------------

    def signature(self, segment: str) -> str:
        """A hash of all that a plan rests on, but for what is on disk.

        It holds how often the records of the segment and of its ancestors were changed, not what is in them, so it
        costs nothing. Where it is the one under which a run ended with nothing left to do, there is nothing to do.
        """
        row = self.instance(segment)
        pushed = self._snapshot.pushed.get(segment)
        parts = [
            self._snapshot.keys[segment].encode(),
            b"" if row is None else b"%d %d" % (row.id, self._reader.settled(row.id)[0]),
            b"nothing" if pushed is None else combine([element.digest for element in pushed]),
            *[self._signatures[name].encode() for name in self._parents(segment)],
            b"partial" if self._snapshot.partial else b"",
        ]
        return combine([combine([], salt=part) for part in parts], salt=b"%d" % VALUE_VERSION).hex()

    def note_signature(self, segment: str) -> str:
        """Keep the signature of a segment, which changes no more in this run; gives it."""
        signature = self._signatures[segment] = self.signature(segment)
        return signature

    def _is_clean(self, segment: str) -> bool:
        """Whether nothing has changed since a run found nothing to do, or left nothing to do."""
        row = self.instance(segment)
        if row is None or row.wanted is None or self._tree.moves_were_cut:
            return False
        if not all(self.outcomes[name].complete for name in self._parents(segment)):
            return False
        if self._reader.settled(row.id)[1] != self.signature(segment):
            return False
        here: set[str] | None = None
        for place in self._reader.places(row.id):
            if here is None:
                here = self._tree.present(row.path)
            if not (place in here if place else os.path.isdir(self._tree.data_dir(row.path))):
                return False
        return True

    def _unchanged(self, planned: Planned) -> Planned:
        row = self.instance(planned.segment)
        ids = unpack_ids(row.wanted) if row is not None and row.wanted is not None else []
        planned.inputs = Unseen(len(ids))
        planned.pieces = iter([SegmentPlan(ids, [], {}, 0, [])] if ids else [])
        self.outcomes[planned.segment] = Outcome(ids, True)
        self.note_signature(planned.segment)
        return planned

    def give_up(self, segment: str) -> None:
        """The tasks of a segment can't be known: its children can't count on any."""
        self.note_signature(segment)
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

    def _wanted(self, segment: str, warnings: list[str]) -> Inputs:
        snapshot = self._snapshot
        parents = self._parents(segment)
        if not parents:
            if segment not in snapshot.pushed:
                return Listed([Wanted(combine([], salt=b"nothing pushed"), "", (), ())])
            return Listed(list(_pushed(snapshot.pushed[segment])))
        outputs = [self.output(name) for name in parents]
        warnings += [self._silences[name] for name in parents if name in self._silences]
        with _importing_from(snapshot.code_dir):
            return self._expand(segment, outputs, warnings.append)

    def _expand(self, segment: str, outputs: Sequence[ParentOutput], warn: Callable[[str], None]) -> Inputs:
        return expand(segment, outputs, self._snapshot.codes[segment].multiplex, _loader(segment), warn)

    def _read_output(self, segment: str) -> ParentOutput:
        known = self.outcomes[segment].known
        row = self.instance(segment)
        output, silent = read_output(segment, self._reader, None if row is None else row.id, known)
        if 0 < silent < len(known):
            self._silences[segment] = (
                f"{silent} of {len(known)} tasks of {segment!r} set no output, and contribute nothing; where that is "
                "meant, set_output([]) says so"
            )
        return output

    # --- what is on record ---------------------------------------------------------------------------------------

    def history(self, segment: str) -> History:
        """What is on record of the segment's instance, as it is now."""
        return History(self._tree, self._reader, self.instance(segment), self._hands, self._tried)

    def _is_superseded(self, task: int) -> bool:
        found = self._superseded.get(task)
        if found is None:
            rows = self._reader.plan_rows_listed([task])
            found = self._superseded[task] = bool(rows) and rows[0].current == SUPERSEDED
        return found

    def _facts(self, segment: str, history: History, growing: bool, before: Before | None = None) -> Facts:
        def line_of(name: str, parents: Parents) -> str:
            return task_set_name(sorted(self.lineage.line(segment, parents).get(name, ())))

        def all_of(name: str) -> str:
            outcome = self.outcomes.get(name)
            return task_set_name(sorted(outcome.known)) if outcome is not None else ""

        return Facts(
            self._parents(segment), history.versions, self._is_superseded, self.lineage.decode,
            line_of, all_of, growing, before,
        )

    def _is_whole(self, segment: str, wanted: Inputs) -> bool:
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

    # --- what the children need to know --------------------------------------------------------------------------

    def _pieces(self, planned: Planned, facts: Facts) -> Iterator[SegmentPlan]:
        """Go through the decisions, and keep what the children may count on before anything runs."""
        known = array("q")
        uncertain = aside = False
        for piece in decide_in_pieces(planned.inputs, facts):
            unknown = set()
            if not self._applied:
                for start, stop, parents in piece.moved:
                    self._new_parents.update(dict.fromkeys(piece.ids[start:stop], parents))
            for decision in piece.decisions:
                if decision.action is Action.NEW:
                    # Nothing is to be noted of these, and there may be very many.
                    uncertain = True
                    unknown.add(decision.position)
                    continue
                self._note(decision)
                if decision.action is Action.SKIP:
                    aside = True
                elif _will_give_the_same(decision):
                    continue
                else:
                    uncertain = True
                unknown.add(decision.position)
            if unknown:
                known.extend(task for at, task in enumerate(piece.ids, piece.start) if at not in unknown)
            else:
                known.extend(piece.ids)
            yield piece
        complete = all(self.outcomes[name].complete for name in self._parents(planned.segment))
        settled = not uncertain and self._is_settled(planned.segment)
        self.outcomes[planned.segment] = Outcome(known, not uncertain and not aside and complete, settled)
        self.note_signature(planned.segment)

    def _note(self, decision: Decision) -> None:
        if decision.replaces:
            self._superseded[decision.replaces] = True
        if decision.action is Action.REVIVE:
            self._superseded[decision.task] = False
        if decision.task and decision.action is not Action.SKIP and not self._applied:
            self._new_parents[decision.task] = decision.parents


def _will_give_the_same(decision: Decision) -> bool:
    """Whether a task's output is known before it runs: data that is made again is as it was."""
    if not decision.certain or decision.action in (Action.NEW, Action.REPLACE):
        return False
    return decision.action is not Action.RERUN or decision.reason is Reason.MISSING


def _loader(segment: str) -> Callable[[Element], object]:
    """Unpickles elements for the expressions of a directive."""

    def load(element: Element) -> object:
        try:
            return pickle.loads(element.blob)
        except Exception as error:  # a class's own reconstruction can raise anything
            raise ExpansionError(
                f"segment {segment!r}: element {element.position} ({element.text}) of the output of task "
                f"{element.task} can't be read back: {error}"
            ) from error

    return load


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
        # A copy is made in one go; making a list may collect garbage, and so import something meanwhile.
        for name, module in sys.modules.copy().items():
            if not before(name) and str(getattr(module, "__file__", "") or "").startswith(root):
                del sys.modules[name]
