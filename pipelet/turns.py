"""Which segment's tasks come next where workers are short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelet.core.graph import Graph
from pipelet.segmentrun import SegmentRun

#: With less work left for each worker than so many of the longest tasks, what has most behind it comes first.
_LONGEST_LEFT = 2.0


class Turns:
    """Gives the free workers to segments.

    As long as there is much to do the segments that are furthest down come first: chains of tasks end early, and few
    tasks wait. Towards the end those furthest up come first: a chain that begins last would have one worker go on alone
    when the others have nothing left.

    Parameters
    ----------
    graph
        The pipeline's.
    runs
        The state of each segment.
    order
        ``"depth"``, or ``"breadth"``: segment after segment from the first on.
    """

    def __init__(self, graph: Graph, runs: Mapping[str, SegmentRun], order: str) -> None:
        self._graph = graph
        self._runs = runs
        self._breadth = order == "breadth"

    def choose(self, waiting: Sequence[SegmentRun], slots: int) -> SegmentRun:
        """Choose one of the segments that have tasks waiting."""
        if len(waiting) == 1:
            return waiting[0]
        upward = self._breadth or self._is_late(slots)
        return (min if upward else max)(waiting, key=lambda run: run.depth)

    def _is_late(self, slots: int) -> bool:
        measured = [run.seconds for run in self._runs.values() if run.seconds is not None]
        if not measured:
            return False
        # A segment that never ran is taken to be like the others.
        usual = sum(measured) / len(measured)
        left = 0.0
        totals: dict[str, int] = {}
        for name, run in self._runs.items():
            above = max((totals[parent] for parent in self._graph.parents(name)), default=0)
            known = run.total if run.is_planned else run.done + len(run.queue)
            totals[name] = known if run.is_planned else max(known, above)
            unended = 0 if run.ended else max(0, totals[name] - run.done - run.reused - len(run.failed))
            left += unended * (usual if run.seconds is None else run.seconds)
        return left / slots < _LONGEST_LEFT * max(run.longest for run in self._runs.values())
