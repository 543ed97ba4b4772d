"""What must run, and why: the one decision that a run, its explanation and the status pages share.

Everything that the decision rests on comes in as arguments. The rules, for one input that is wanted:

* no record of it: it runs (`Action.NEW`);
* its record failed, was cut short, or lost its data: it runs again in its place (`Action.RERUN`);
* it failed and somebody has set it aside: it does not run (`Action.SKIP`);
* it is done, but a parent task that it ran with has a newer version, or it looked at its parents and they are others
  now: it runs as a new version (`Action.REPLACE`), unless an older version had exactly the wanted parents, which then
  becomes current again (`Action.REVIVE`);
* otherwise, if somebody has asked for it, it runs again in its place (`Action.RERUN`);
* otherwise it is taken from disk (`Action.REUSE`), and its recorded parents follow (`Action.UPDATE`);
* one that this run has begun already is left alone until it has ended (`Action.WAIT`), where its parents have changed.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol

from pipelet.core import lockstep
from pipelet.core.inputs import Inputs, Listed
from pipelet.core.lockstep import Lockstep, Moved, Stretch
from pipelet.core.model import PHANTOM, Mark, Status, Wanted
from pipelet.core.parents import Parents, encode_parents


class Action(enum.Enum):
    """What happens to a wanted task."""

    REUSE = "taken from disk"
    UPDATE = "taken from disk, with other parents"
    REVIVE = "an older version becomes current again"
    RERUN = "runs again in its place"
    NEW = "runs for the first time"
    REPLACE = "runs as a new version"
    SKIP = "failed before and was set aside"
    WAIT = "runs at this moment, and is looked at again when it has ended"

    @property
    def runs(self) -> bool:
        """Whether a worker will have something to do."""
        return self in (Action.RERUN, Action.NEW, Action.REPLACE)


class Reason(enum.Enum):
    """Why a task runs."""

    NEW = "new input"
    FAILED = "failed before"
    INTERRUPTED = "did not end"
    MISSING = "data missing on disk"
    ASKED = "asked for"
    SUPERSEDED = "a parent task has a newer version"
    PARENTS = "it looked at its parent tasks, and they are others now"


class Record(NamedTuple):
    """What the database and the tree know of one version of a task."""

    id: int
    status: Status
    current: bool  #: not superseded by a newer version
    present: bool  #: its data directory is on disk, or it has none
    parents: str  #: text of its parents (`pipelet.core.parents`)
    asked: Asked | None = None  #: what it looked at beyond its input
    mark: int = Mark.NONE  #: what somebody has asked for, a `pipelet.core.model.Mark`
    place: str | None = None  #: the name of its directory, as in the database
    text: str = ""  #: its input as part of that name
    hands: int = 0  #: `QUEUED_NOW` or `RUNNING_NOW` when this run has it in its hands
    tried: bool = False  #: failed in this run


#: This run has queued the task, and no worker has begun it; a worker has it.
QUEUED_NOW, RUNNING_NOW = 1, 2


class Asked(NamedTuple):
    """What a task looked at beyond its input.

    ``parents`` are names of direct parents; ``ancestors`` and ``everything`` map further ancestors to the name of the
    set of tasks that the task saw: those in its line, or all of that segment (`glob_seg`).
    """

    parents: tuple[str, ...] = ()
    ancestors: tuple[tuple[str, str], ...] = ()
    everything: tuple[tuple[str, str], ...] = ()

    def to_text(self) -> str | None:
        """The text that the database holds; ``None`` when nothing was asked for."""
        parts = {
            "parents": list(self.parents),
            "ancestors": dict(self.ancestors),
            "everything": dict(self.everything),
        }
        parts = {name: part for name, part in parts.items() if part}
        return json.dumps(parts, sort_keys=True, separators=(",", ":")) if parts else None

    @classmethod
    def from_text(cls, text: str | None) -> Asked | None:
        """The inverse of `to_text`."""
        if not text:
            return None
        parts = json.loads(text)
        return cls(
            tuple(sorted(parts.get("parents", ()))),
            tuple(sorted(parts.get("ancestors", {}).items())),
            tuple(sorted(parts.get("everything", {}).items())),
        )


class Decision(NamedTuple):
    """What happens to one wanted task."""

    position: int  #: its place among the wanted
    action: Action
    task: int  #: the record that is acted on; 0 where a new one is made
    replaces: int  #: the version that is superseded by it, or 0
    parents: str
    reason: Reason | None = None
    #: False where tasks that a parent is yet to give may change this decision.
    certain: bool = True


class Before(lockstep.Before, Protocol):
    """What was wanted before, with its records."""

    def record(self, task: int) -> Record | None:
        """What is on record of one of these tasks."""


class Facts(NamedTuple):
    """What the decision on a segment rests on, beside its wanted inputs."""

    parent_names: tuple[str, ...]
    #: Gives the versions of some inputs, by their digest.
    records: Callable[[Sequence[bytes]], Mapping[bytes, Sequence[Record]]]
    #: Whether a task has been superseded by a newer version of itself.
    is_superseded: Callable[[int], bool]
    #: ids behind a text of parents.
    decode: Callable[[str], Parents]
    #: Name of the set of tasks of an ancestor in the line of these parents.
    line_of: Callable[[str, Parents], str]
    #: Name of the set of all wanted tasks of an ancestor.
    all_of: Callable[[str], str]
    #: Whether a parent may give more tasks than are known: then some decisions are not certain.
    growing: bool = False
    #: What was wanted before, in order, so that what is the same need not be looked at one by one.
    before: Before | None = None


class SegmentPlan(NamedTuple):
    """The decisions on the wanted tasks of a segment."""

    #: For each wanted task in order the id of its record, 0 where one is yet to be made.
    ids: list[int]
    decisions: list[Decision]
    task_sets: dict[str, Parents]
    #: The place of the first of them among the wanted.
    start: int
    #: Tasks with no decision of their own that are taken from disk with other parents (`Action.UPDATE`).
    moved: list[Moved]

    def count(self, *actions: Action) -> int:
        """How many decisions are one of these actions."""
        return sum(decision.action in actions for decision in self.decisions)

    @property
    def to_run(self) -> list[Decision]:
        """The decisions that give a worker something to do."""
        return [decision for decision in self.decisions if decision.action.runs]

    @property
    def reused(self) -> int:
        """How many tasks are taken from disk, for certain."""
        others = (Action.RERUN, Action.NEW, Action.REPLACE, Action.SKIP, Action.WAIT)
        return len(self.ids) - sum(item.action in others or not item.certain for item in self.decisions)


#: What ``Decision._make`` gives, in a third of the time.
_decision: Callable[[tuple[object, ...]], Decision] = partial(tuple.__new__, Decision)
#: So many inputs are decided on at once.
_AT_ONCE = 2000
#: So many pairs of parents, before and now, are remembered.
_REMEMBERED = 1000


def decide(wanted: Iterable[Wanted], facts: Facts) -> SegmentPlan:
    """Decide for each wanted task of a segment what happens to it.

    Parameters
    ----------
    wanted
        The inputs, in order.
    facts
        What is on record.

    Returns
    -------
    SegmentPlan
        Its ``decisions`` leave out the tasks that are certain to be taken from disk as they are, or are ``moved``.
    """
    plan = SegmentPlan([], [], {}, 0, [])
    for piece in decide_in_pieces(Listed(list(wanted)), facts):
        plan.ids.extend(piece.ids)
        plan.decisions.extend(piece.decisions)
        plan.task_sets.update(piece.task_sets)
        plan.moved.extend(Moved(piece.start + at, piece.start + stop, now) for at, stop, now in piece.moved)
    return plan


def decide_in_pieces(inputs: Inputs, facts: Facts) -> Iterator[SegmentPlan]:
    """Do what `decide` does, a few thousand inputs at a time.

    Parameters
    ----------
    inputs
        What `pipelet.core.multiplex.expand` gives, or what was pushed.
    facts
        What is on record; asked for each piece when its turn comes.

    Yields
    ------
    SegmentPlan
        The decisions on some inputs; positions count from the very first.
    """
    named: dict[int, tuple[tuple[int, ...], str]] = {}
    following: set[tuple[str, str]] = set()

    def may_follow(index: int, task: int, then: str, now: str) -> bool:
        if (then, now) not in following:
            record = None if facts.before is None else facts.before.record(task)
            if record is None or not _is_updated(inputs, index, record, now, facts):
                return False
            _remember(following, then, now)
        return True

    walk = None if facts.before is None else Lockstep(inputs, facts.before, may_follow)
    start = 0
    while start < len(inputs):
        plan = SegmentPlan([], [], {}, start, [])
        while len(plan.ids) < _AT_ONCE and start < len(inputs):
            stretch = None if walk is None else walk.step(start)
            if stretch is not None:
                _take(plan, stretch)
            else:
                _decide_piece(plan, inputs, facts, named, following)
                if walk is not None:
                    walk.resume(plan.ids[start - plan.start :])
            start = plan.start + len(plan.ids)
        yield plan


def _take(plan: SegmentPlan, stretch: Stretch) -> None:
    """Add tasks that are taken from disk."""
    at = len(plan.ids)
    plan.ids.extend(stretch.ids)
    plan.moved.extend(Moved(at + start, at + stop, parents) for start, stop, parents in stretch.moved)
    plan.task_sets.update(stretch.task_sets)


def _is_updated(inputs: Inputs, index: int, record: Record, parents: str, facts: Facts) -> bool:
    """Whether an input that is made of elements, and of which there is only this record, is taken from disk."""
    ((digest, tasks),) = inputs.keys(index, index + 1)
    # None of the elements comes from nowhere, and nothing else about them matters.
    decision = _choose(index, Wanted(digest, "", (), tasks), parents, [record], facts)
    return decision.action is Action.UPDATE


def _remember(following: set[tuple[str, str]], then: str, now: str) -> None:
    if len(following) >= _REMEMBERED:
        following.clear()
    following.add((then, now))


def _decide_piece(
    plan: SegmentPlan,
    inputs: Inputs,
    facts: Facts,
    named: dict[int, tuple[tuple[int, ...], str]],
    following: set[tuple[str, str]],
) -> None:
    """Decide on the next inputs one by one."""
    start = plan.start + len(plan.ids)
    keys = list(inputs.keys(start, start + _AT_ONCE))
    ids, decisions, done, plain = plan.ids, plan.decisions, Status.DONE, inputs.plain
    records = facts.records([digest for digest, _ in keys])
    for index, (digest, tasks) in enumerate(keys, start):
        parents = encode_parents(tasks, plan.task_sets, named)
        versions = records.get(digest)
        if versions is None:
            ids.append(0)
            decisions.append(_decision((index, Action.NEW, 0, 0, parents, Reason.NEW, True)))
            continue
        first = versions[0]
        if first.hands:
            ids.append(first.id)
            if first.parents != parents:
                action = Action.UPDATE if first.hands == QUEUED_NOW else Action.WAIT
                decisions.append(Decision(index, action, first.id, 0, parents))
            continue
        if first.current and first.status is done and first.present and first.asked is None and not first.mark:
            change = (first.parents, parents)
            if first.parents == parents:
                ids.append(first.id)
                continue
            if change in following and plain and len(versions) == 1:
                ids.append(first.id)
                decisions.append(Decision(index, Action.UPDATE, first.id, 0, parents))
                continue
        decision = _choose(index, inputs[index], parents, versions, facts)
        ids.append(decision.task)
        if decision.action is Action.UPDATE and plain and len(versions) == 1 and first.asked is None:
            # With plain inputs nobody who did not ask for parents can tell one from another.
            _remember(following, first.parents, parents)
        if facts.growing:
            decision = decision._replace(certain=_is_certain(decision, versions))
        if decision.action is not Action.REUSE or not decision.certain:
            decisions.append(decision)


def _is_certain(decision: Decision, versions: Sequence[Record]) -> bool:
    """Whether a decision stands whatever tasks the parents are yet to give."""
    if any(record.status is Status.DONE and not record.current for record in versions):
        # With more parents an older version may be just what is wanted.
        return False
    looked = any(record.current and record.asked is not None for record in versions)
    return not looked or decision.reason in (Reason.FAILED, Reason.INTERRUPTED)


def _choose(index: int, item: Wanted, parents: str, versions: Sequence[Record], facts: Facts) -> Decision:
    """The decision on an input that has records."""
    current = next((record for record in versions if record.current), None)
    stale = None if current is None else stale_reason(current, item, parents, facts)
    if current is not None and stale is None and current.status is Status.DONE and current.present:
        if current.mark == Mark.AGAIN:
            return Decision(index, Action.RERUN, current.id, 0, parents, Reason.ASKED)
        action = Action.REUSE if current.parents == parents else Action.UPDATE
        return Decision(index, action, current.id, 0, parents)
    replaces = 0 if current is None else current.id
    for record in sorted(versions, key=lambda version: -version.id):
        if record is not current and _serves(record, item, parents, facts):
            return Decision(index, Action.REVIVE, record.id, replaces, parents)
    if current is None:
        return Decision(index, Action.NEW, 0, 0, parents, Reason.NEW)
    if current.status is Status.FAILED:
        # What it looked at may be what it failed for; nothing else can change its end.
        if current.mark != Mark.ASIDE and not (current.tried and stale is None):
            return Decision(index, Action.RERUN, current.id, 0, parents, Reason.FAILED)
        reason = Reason.FAILED if current.parents == parents else Reason.PARENTS
        return Decision(index, Action.SKIP, current.id, 0, parents, reason)
    if current.status is not Status.DONE:
        return Decision(index, Action.RERUN, current.id, 0, parents, Reason.INTERRUPTED)
    if stale is not None:
        return Decision(index, Action.REPLACE, 0, current.id, parents, stale)
    return Decision(index, Action.RERUN, current.id, 0, parents, Reason.MISSING)


def _serves(record: Record, item: Wanted, parents: str, facts: Facts) -> bool:
    """Whether an older version is just what is wanted now."""
    return (
        record.status is Status.DONE
        and record.present
        and record.mark != Mark.AGAIN
        and record.parents == parents
        and not _looked_elsewhere(record, item, facts)
    )


def stale_reason(record: Record, item: Wanted, parents: str, facts: Facts) -> Reason | None:
    """Why a done task has to run again as a new version, or ``None``.

    Parameters
    ----------
    record
        The current version.
    item, parents
        The input as it is wanted now, and the text of its parents.
    facts
        What is on record.
    """
    if record.parents != parents:
        before = facts.decode(record.parents)
        changed = [
            place
            for place in range(max(len(before), len(item.parents)))
            if _entry(before, place) != _entry(item.parents, place)
        ]
        gone = (task for place in changed for task in set(_entry(before, place)) - set(_entry(item.parents, place)))
        if any(facts.is_superseded(task) for task in gone):
            return Reason.SUPERSEDED
        if any(_depends_on(record, item, place, facts.parent_names) for place in changed):
            return Reason.PARENTS
    return Reason.PARENTS if _looked_elsewhere(record, item, facts) else None


def _entry(parents: Parents, place: int) -> tuple[int, ...]:
    return parents[place] if place < len(parents) else ()


def _depends_on(record: Record, item: Wanted, place: int, names: tuple[str, ...]) -> bool:
    """Whether the result may rest on which tasks of this parent there are."""
    if item.group is not None or place >= len(names):
        return True
    element = item.elements[place] if place < len(item.elements) else None
    from_nowhere = element is not None and element.task == PHANTOM
    return from_nowhere or (record.asked is not None and names[place] in record.asked.parents)


def _looked_elsewhere(record: Record, item: Wanted, facts: Facts) -> bool:
    """Whether the further ancestors that the task looked at are others now."""
    if record.asked is None:
        return False
    return any(facts.line_of(name, item.parents) != seen for name, seen in record.asked.ancestors) or any(
        facts.all_of(name) != seen for name, seen in record.asked.everything
    )
