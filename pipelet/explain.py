"""What would run and why, said without running anything."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelet.core.plan import Action, Reason
from pipelet.differences import Differences
from pipelet.planner import Planned, Planner, Snapshot
from pipelet.statusdb import Reader
from pipelet.storage import Tree

#: Of the tasks that will run so many are named by their inputs.
_NAMED = 1000
#: Of the lines of a diff; they can be read on light and dark pages.
_DIFF_COLOURS = {"+": "#1a7f37", "-": "#cf222e"}


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
    diffs
        What differs from the last version, by ingredient (``code melt.py``): a unified diff, or words. Long ones are
        cut.
    inputs
        The inputs, as text, of the tasks that will run; of very many the first thousand.
    waiting
        Why its tasks can't be known, if they can't.
    aside
        Number of tasks that failed before and are set aside.
    """

    segment: str
    to_run: int
    reused: int
    certain: bool
    reasons: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    diffs: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    waiting: str | None = None
    aside: int = 0

    @property
    def up_to_date(self) -> bool:
        """Whether the next run has nothing to do here."""
        return self.certain and not self.to_run

    @property
    def diff(self) -> str:
        """All that differs from the last version."""
        return "\n".join(self.diffs.values())

    def __str__(self) -> str:
        return self.text({})

    def text(self, shown: dict[tuple[str, str], str]) -> str:
        """The same in words for people.

        Parameters
        ----------
        shown
            Differences that were shown already, and the segment of each; it receives those of this one.
        """
        more = "" if self.certain else " or more"
        if self.up_to_date:
            head = f"{self.segment}: nothing to run, {self.reused} taken from disk"
        elif not self.certain and not self.to_run:
            head = f"{self.segment}: depends on what its parents will give; {self.reused} taken from disk so far"
        else:
            head = f"{self.segment}: {self.to_run}{more} to run, {self.reused} taken from disk"
        lines = [head, *(f"    {reason}" for reason in self.reasons)]
        for item in self.diffs.items():
            if item in shown:
                lines.append(f"    | {item[0]}: as shown for {shown[item]}")
            else:
                shown[item] = self.segment
                lines += [f"    | {line}" for line in item[1].splitlines()]
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
            aside = sum(item.aside for item in self.values())
            if aside:
                return f"nothing to run: {total} tasks are on disk, {aside} failed before and set aside"
            return f"nothing to run: all {total} tasks are on disk"
        shown: dict[tuple[str, str], str] = {}
        return "\n".join(item.text(shown) for item in self.values())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        # JupyterLab would take a font in which nothing stands below what it belongs to.
        return f'<pre style="font-family:monospace">{"<br>".join(map(_html_line, str(self).splitlines()))}</pre>'


def _html_line(line: str) -> str:
    """A line of the text; what a diff adds and takes away has a colour."""
    shown = html.escape(line)
    colour = _DIFF_COLOURS.get(line[6:7]) if line.startswith("    | ") else None
    return f'<span style="color:{colour}">{shown}</span>' if colour else shown


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
    differences = Differences(snapshot, tree, reader)
    explanation = Explanation()
    for segment in snapshot.graph.order:
        planned = planner.plan(segment)
        explanation[segment] = _segment(segment, planned, planner, snapshot, differences)
    return explanation


@dataclass
class _Counted:
    """The decisions on a segment in numbers."""

    to_run: int = 0
    reused: int = 0
    aside: int = 0
    reasons: Counter[Reason | None] = field(default_factory=Counter)
    inputs: list[str] = field(default_factory=list)


def _count(planned: Planned) -> _Counted:
    counted = _Counted()
    for piece in planned.pieces:
        counted.reused += piece.reused
        if not piece.decisions:
            continue
        counted.aside += piece.count(Action.SKIP)
        to_run = [decision for decision in piece.decisions if decision.action.runs and decision.certain]
        counted.to_run += len(to_run)
        counted.reasons.update(Counter(decision.reason for decision in to_run))
        missing = _NAMED - len(counted.inputs)
        counted.inputs += [planned.inputs[decision.position].text for decision in to_run[:missing]]
    return counted


def _segment(
    segment: str, planned: Planned, planner: Planner, snapshot: Snapshot, differences: Differences
) -> SegmentExplanation:
    counted = _count(planned)
    counts = {reason.value: number for reason, number in counted.reasons.items() if reason is not None}
    reasons: list[str] = []
    diffs: dict[str, str] = {}
    if planner.instance(segment) is None:
        reasons, found = differences.since_last(segment)
        diffs = {item.name: item.detail for item in found}
    else:
        reasons += [f"{reason}: {number}" for reason, number in counts.items()]
    if counted.aside:
        reasons.append(f"failed before and set aside: {counted.aside}")
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
        counted.to_run,
        counted.reused if known else 0,
        known and not unsettled,
        tuple(reasons),
        counts,
        diffs,
        tuple(counted.inputs),
        planned.waiting,
        counted.aside,
    )
