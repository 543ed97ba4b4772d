"""What would run and why, said without running anything."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipelet.codediff import diff_ingredients, unified
from pipelet.core.plan import Action
from pipelet.depends import kept_name
from pipelet.errors import StorageError
from pipelet.planner import Planned, Planner, Snapshot
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import Tree


@dataclass(frozen=True)
class SegmentExplanation:
    """What the next run does with one segment.

    Attributes
    ----------
    segment
        Its name.
    to_run
        Number of tasks that will run, as far as it can be known.
    reused
        Number of tasks that will be taken from disk.
    certain
        False where more tasks may follow from outputs that are yet to be made.
    reasons
        Why, in words.
    counts
        How many tasks run for which reason.
    diff
        What changed in the code since the last version, as a unified diff.
    inputs
        The inputs, as text, of the tasks that will run.
    waiting
        Why its tasks can't be known, if they can't.
    """

    segment: str
    to_run: int
    reused: int
    certain: bool
    reasons: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    diff: str = ""
    inputs: tuple[str, ...] = ()
    waiting: str | None = None

    @property
    def up_to_date(self) -> bool:
        """Whether the next run has nothing to do here."""
        return self.certain and not self.to_run

    def __str__(self) -> str:
        more = "" if self.certain else " or more"
        if self.up_to_date:
            head = f"{self.segment}: nothing to run, {self.reused} taken from disk"
        elif not self.certain and not self.to_run:
            head = f"{self.segment}: depends on what its parents will give; {self.reused} taken from disk so far"
        else:
            head = f"{self.segment}: {self.to_run}{more} to run, {self.reused} taken from disk"
        lines = [head, *(f"    {reason}" for reason in self.reasons)]
        lines += [f"    | {line}" for line in self.diff.splitlines()]
        return "\n".join(lines)


class Explanation(dict[str, SegmentExplanation]):
    """What the next run does, by segment, parents first."""

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to run."""
        return all(item.up_to_date for item in self.values())

    def __str__(self) -> str:
        if self.up_to_date:
            total = sum(item.reused for item in self.values())
            return f"nothing to run: all {total} tasks are on disk"
        return "\n".join(str(item) for item in self.values())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def explain(snapshot: Snapshot, tree: Tree, reader: Reader) -> Explanation:
    """Ask the planner about each segment in turn.

    Parameters
    ----------
    snapshot
        The pipeline as it is now.
    tree, reader
        What is on disk.
    """
    planner = Planner(snapshot, tree, reader)
    explanation = Explanation()
    for segment in snapshot.graph.order:
        planned = planner.plan(segment)
        explanation[segment] = _segment(segment, planned, planner, snapshot, tree, reader)
    return explanation


def _segment(
    segment: str, planned: Planned, planner: Planner, snapshot: Snapshot, tree: Tree, reader: Reader
) -> SegmentExplanation:
    reasons: list[str] = []
    diff = ""
    row = planner.instance(segment)
    if row is None:
        reasons, diff = _why_new(segment, snapshot, tree, reader)
    to_run = [decision for decision in planned.plan.to_run if decision.certain]
    counts: Counter[str] = Counter(decision.reason.value for decision in to_run if decision.reason is not None)
    if row is not None:
        reasons += [f"{reason}: {number}" for reason, number in counts.items()]
    aside = planned.plan.count(Action.SKIP)
    if aside:
        reasons.append(f"failed before and set aside: {aside}")
    if planned.error is not None:
        reasons.append(str(planned.error))
    unsettled = [name for name in snapshot.graph.parents(segment) if not planner.outcomes[name].settled]
    if unsettled:
        reasons.append(f"more is known when {', '.join(unsettled)} {'have' if len(unsettled) > 1 else 'has'} run")
    known = planned.waiting is None and planned.error is None
    if not known:
        planner.give_up(segment)
    return SegmentExplanation(
        segment,
        len(to_run),
        planned.plan.reused if known else 0,
        known and not unsettled,
        tuple(reasons),
        dict(counts),
        diff,
        tuple(decision.wanted.text for decision in to_run),
        planned.waiting,
    )


def _why_new(segment: str, snapshot: Snapshot, tree: Tree, reader: Reader) -> tuple[list[str], str]:
    """How a segment differs from its last version on disk."""
    versions = reader.instances(segment)
    if not versions:
        return ["new: there is no version of it on disk"], ""
    last = versions[0]
    code = snapshot.codes[segment]
    try:
        meta = tree.read_meta(last.path)
    except StorageError:
        return [f"the last version on disk can't be read: {last.path}"], ""
    changed = diff_ingredients(_strings(meta.get("ingredients")), code.ingredients)
    reasons = [f"changed since {last.path}: {name}" for name in changed]
    before = _strings(meta.get("parents"))
    for name in snapshot.graph.parents(segment):
        if name not in before:
            reasons.append(f"new parent: {name}")
        elif before[name] != snapshot.keys[name]:
            reasons.append(f"parent changed: {name}")
    reasons += [f"parent gone: {name}" for name in before if name not in snapshot.graph.parents(segment)]
    if not reasons:
        reasons.append("changed: the environment class, the order of the parents, or an ancestor")
    return reasons, "\n".join(_diffs(changed, last, segment, snapshot, tree))


def _diffs(changed: list[str], last: InstanceRow, segment: str, snapshot: Snapshot, tree: Tree) -> Iterator[str]:
    files = snapshot.codes[segment].files
    for name in changed:
        kind, _, file = name.partition(" ")
        kept = kept_name(file) if kind == "depend" else file
        new = files.get(kept)
        old = tree.read_kept(last.path, kept)
        if file and (new is not None or old is not None):
            yield unified(old, new, file)


def _strings(value: object) -> dict[str, str]:
    return {str(name): str(item) for name, item in value.items()} if isinstance(value, dict) else {}
