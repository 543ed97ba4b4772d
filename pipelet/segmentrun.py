"""The state of one segment in a run."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from pipelet.calls import CallMaker
from pipelet.core.model import Element
from pipelet.early import EarlyInputs
from pipelet.planner import Planned
from pipelet.planrecorder import Applied
from pipelet.progress import SegmentProgress
from pipelet.statusdb import QueuedTask, Reader
from pipelet.taskqueue import TaskQueue

#: What part of a batch's seconds goes to a worker where tasks differ so much that one would hold up the others.
_CAREFUL = 0.05
#: What part of them is in a batch also where little is left to share out: less work is not worth a batch.
_LEAST = 0.2
#: More tasks than this never go to a worker at once.
BATCH_TASKS = 2000
#: Weight of the newest batch in the mean time of a task.
_NEWEST = 0.5
#: What a task costs beside its own time, in seconds.
_AROUND = 2e-5


class SegmentRun:
    """What a run knows of a segment.

    Parameters
    ----------
    name
        The segment.
    depth
        How many segments stand before it.
    reader
        Where the records of its tasks are.
    """

    def __init__(self, name: str, depth: int, reader: Reader) -> None:
        self.name = name
        self.depth = depth
        self.planned: Planned | None = None
        self.planning: Iterator[Applied] | None = None
        self.maker: CallMaker | None = None
        #: The tasks that are wanted, in order.
        self.ids = array("q")
        #: Those that have ended well in this run, and those that were done before, as this became known.
        self.given = array("q")
        self.kept = array("q")
        #: How many tasks are wanted, once this is known.
        self.total = 0
        self.queue = TaskQueue(reader)
        self.flying: dict[int, QueuedTask] = {}
        self.failed: set[int] = set()
        #: Those of them that failed before, and that somebody has set aside.
        self.aside: set[int] = set()
        #: Tasks of earlier runs that run again in their places.
        self.again: set[int] = set()
        self.done = 0
        self.reused = 0
        #: Mean and longest time of a task, as measured.
        self.seconds: float | None = None
        self.longest = 0.0
        self.waiting: str | None = None
        self.ended = False
        #: A task was running when it became known that its parents are others.
        self.unsettled = False
        #: Tasks above it that had ended early run again: what waits is looked at again before it begins.
        self.halted = False
        #: Tasks that were running when that happened, and do not count; those of them that are not wanted any more.
        self.doubtful: set[int] = set()
        self.unwanted: set[int] = set()
        #: Tasks that run with other ancestors than are now known.
        self.wary: set[int] = set()
        #: Makes inputs before the parents have ended.
        self.early: EarlyInputs | None = None

    @property
    def is_planned(self) -> bool:
        """Whether all its tasks are known."""
        return self.planned is not None and self.planning is None

    def members(self, tasks: Sequence[QueuedTask]) -> list[tuple[Sequence[Element], ...] | None] | None:
        """Where tasks stand for classes: for each of some tasks each parent's elements in its class."""
        if self.planned is None or not self.planned.inputs.grouped:
            return None
        groups = [self.planned.inputs[task.position].group for task in tasks]
        return [None if group is None else group.members for group in groups]

    def batch_size(self, slots: int, seconds: float) -> int:
        """How many tasks go to a worker at once, where there are so many slots and batches should last so long."""
        if self.seconds is None:
            return 1
        fair = -(-len(self.queue) // (2 * slots))
        if self.longest >= seconds:
            seconds *= _CAREFUL
        return max(1, min(int(seconds / self.seconds), BATCH_TASKS, max(fair, int(_LEAST * seconds / self.seconds))))

    def measure(self, seconds: Sequence[float]) -> None:
        """Take note of how long some tasks took."""
        mean = sum(seconds) / len(seconds) + _AROUND
        self.seconds = mean if self.seconds is None else (1 - _NEWEST) * self.seconds + _NEWEST * mean
        self.longest = max(self.longest, *seconds)

    def progress(self) -> SegmentProgress:
        """What people see of it."""
        queued, flying, failed = len(self.queue), len(self.flying), len(self.failed)
        total: int | None = None
        growing = False
        if self.waiting is None and self.planned is not None:
            # Some may have ended, or run yet, that are not wanted any more.
            total = max(self.total, queued + flying + failed + self.done + self.reused)
        elif self.waiting is None and self.early is not None:
            total, growing = queued + flying + failed + self.done + self.reused, True
        return SegmentProgress(
            self.name, total, queued, flying, self.done, self.reused, failed, self.waiting is not None, growing
        )
