"""Begins tasks before all the tasks of their parents have ended.

What is begun is what will be wanted whatever else the parents give, so that in the end everything is as if the segment
had waited: the plan that is made once the parents have ended is the same, and finds these tasks begun or done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pipelet.core.calls import TaskResult
from pipelet.core.model import Digests, Element
from pipelet.early import EarlyInputs
from pipelet.errors import ExpansionError
from pipelet.outputs import elements_of
from pipelet.planner import Planner, Snapshot
from pipelet.planrecorder import Applied, PlanRecorder
from pipelet.segmentrun import SegmentRun
from pipelet.statusdb import Reader


class Forerunner:
    """Finds what can begin early.

    Parameters
    ----------
    snapshot, reader, planner, recorder
        The run's own.
    runs
        The state of each segment.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        reader: Reader,
        planner: Planner,
        recorder: PlanRecorder,
        runs: Mapping[str, SegmentRun],
    ) -> None:
        self._snapshot = snapshot
        self._reader = reader
        self._planner = planner
        self._recorder = recorder
        self._runs = runs
        #: Segments whose tasks may begin one by one.
        self._able = [name for name in runs if self._is_able(name)]
        #: Results that are on record since the last time, by segment and task.
        self._fresh: dict[str, dict[int, TaskResult]] = {}

    def _is_able(self, segment: str) -> bool:
        directive = self._snapshot.codes[segment].multiplex
        parents = self._snapshot.graph.parents(segment)
        return bool(parents) and directive.group_by is None and directive.kind in ("cross_prod", "union")

    def has_children(self, segment: str) -> bool:
        """Whether children may begin before the segment has ended."""
        children = self._snapshot.graph.children(segment)
        return any(child in self._able and self._runs[child].planned is None for child in children)

    @property
    def waits(self) -> bool:
        """Whether there are results that may let others begin."""
        return bool(self._fresh)

    def keep(self, segment: str, results: Sequence[TaskResult]) -> None:
        """Keep results until the next `advance`, which comes when they are on record."""
        self._fresh.setdefault(segment, {}).update([(result.id, result) for result in results])

    def advance(self, calm: bool) -> Iterator[tuple[SegmentRun, Applied]]:
        """Put on record what can begin now; to be called when all results that were kept are on record.

        Parameters
        ----------
        calm
            There is time to look at what was on disk before this run, too.

        Yields
        ------
        tuple
            The state of a segment, and what became of some of its inputs.
        """
        for segment, results in self._fresh.items():
            self._runs[segment].given.extend(results)
        for segment in list(self._able):
            run = self._runs[segment]
            if run.planned is not None:
                self._able.remove(segment)
            elif self._may_begin(run):
                yield from self._advance(run, calm)
        self._fresh = {}

    def halt(self, segment: str) -> None:
        """Let nothing begin below a segment of which tasks don't count any more that others may have followed."""
        for name in self._snapshot.graph.descendants(segment):
            run = self._runs[name]
            run.halted = True
            run.doubtful.update(run.flying)

    def warn(self, segment: str) -> None:
        """Let what runs below a segment be looked at again when it has ended: it may have other ancestors by then."""
        for name in self._snapshot.graph.descendants(segment):
            self._runs[name].wary.update(self._runs[name].flying)

    def _may_begin(self, run: SegmentRun) -> bool:
        if run.halted:
            return False
        graph, runs = self._snapshot.graph, self._runs
        parents = [runs[name] for name in graph.parents(run.name)]
        if all(parent.ended for parent in parents) or any(parent.waiting is not None for parent in parents):
            return False
        if not all(runs[name].ended and runs[name].waiting is None for name in self._planner.looked_through(run.name)):
            return False
        # It must be certain that no task of it will have ``data/`` itself, nor lie beside the files of one that has.
        if not any(len(parent.given) + len(parent.kept) + len(parent.failed) > 1 for parent in parents):
            return False
        above = [name for name in graph.ancestors(run.name) if not runs[name].ended]
        return all(self._recorder.instance(name).whole_task is None for name in (run.name, *above))

    def _advance(self, run: SegmentRun, calm: bool) -> Iterator[tuple[SegmentRun, Applied]]:
        if run.early is None:
            parents = self._snapshot.graph.parents(run.name)
            history = self._planner.history(run.name)
            run.early = EarlyInputs(parents, self._snapshot.codes[run.name].multiplex, history)
        early = run.early
        for name, taken in early.taken.items():
            parent = self._runs[name]
            early.offer(name, self._fresh_elements(name, parent.given[taken.given :]))
            taken.given = len(parent.given)
            if calm and taken.kept < len(parent.kept):
                early.offer(name, self._old_elements(name, parent.kept[taken.kept :], run))
                taken.kept = len(parent.kept)
        if not early.ready:
            return
        try:
            for outputs in early.rounds():
                planned = self._planner.plan_early(run.name, outputs, early.history)
                for applied in self._recorder.apply(planned):
                    yield run, applied
        except ExpansionError:
            # It is met again, and told of, when all is there.
            self._able.remove(run.name)
        early.rest()

    def _fresh_elements(self, segment: str, tasks: Sequence[int]) -> Iterator[Element]:
        """The elements of tasks that have ended in this run."""
        fresh = self._fresh.get(segment, {})
        # Those that came earlier, when nothing could begin, are only on record by now.
        yield from self._stored_elements(segment, [task for task in tasks if task not in fresh])
        for task in tasks:
            result = fresh.get(task)
            if result is not None and result.output is not None:
                yield from elements_of(task, result.output, result.digests or b"", result.texts)

    def _old_elements(self, segment: str, tasks: Sequence[int], child: SegmentRun) -> Iterator[Element]:
        """The elements of tasks that are done since before; without those that surely make nothing new."""
        if self._snapshot.graph.parents(child.name) == (segment,):
            done = set(self._reader.done_digests(self._recorder.instance(child.name).id))
            if done:
                digests = self._reader.output_digests(tasks)
                tasks = [task for task, column, _ in digests if not done.issuperset(Digests(column or b""))]
        yield from self._stored_elements(segment, tasks)

    def _stored_elements(self, segment: str, tasks: Sequence[int]) -> Iterator[Element]:
        for row in self._reader.outputs(self._recorder.instance(segment).id, tasks) if tasks else ():
            if row.output is not None:
                yield from elements_of(row.id, row.output, row.digests or b"", row.texts)
