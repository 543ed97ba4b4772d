"""How far a run is: what launchers return as ``t``."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipelet.summary import Failure, Summary, counts_html, counts_text

__all__ = ["Failure", "SegmentProgress", "Summary", "Tracker", "WorkerProgress"]


class SegmentProgress(NamedTuple):
    """How far one segment is."""

    segment: str
    total: int | None  #: how many tasks are wanted; None: not known yet
    queued: int = 0
    running: int = 0
    done: int = 0  #: run now
    reused: int = 0  #: taken from disk
    failed: int = 0
    waiting: bool = False  #: its tasks can't be known, because something before it failed
    growing: bool = False  #: its parents have not ended: more tasks may follow

    @property
    def ended(self) -> int:
        """How many tasks need nothing more."""
        return self.done + self.reused + self.failed

    @property
    def finished(self) -> bool:
        """True when all the tasks are known and ended."""
        return self.total is not None and not self.growing and self.ended >= self.total


class WorkerProgress(NamedTuple):
    """What one of the workers does that come and go."""

    job: str | None  #: the batch system's id of its job
    host: str
    slots: int  #: how many tasks run in it at once
    ended: int  #: how many of its tasks have ended
    running: tuple[int, ...] = ()  #: ids of the tasks that it runs, as far as it has told

    def __str__(self) -> str:
        who = f"job {self.job} on {self.host}" if self.job else f"a worker on {self.host}"
        now = f", runs {', '.join(map(str, self.running))}" if self.running else ""
        return f"{who}: {self.ended} tasks ended{now}"


#: So many workers have a line of their own.
_MOST_WORKERS = 20


class Tracker:
    """The state of a run, for whoever wants to look: launchers return it as ``t``.

    It may be read from any thread while the run goes on; ``print(t)`` shows a table.
    """

    def __init__(self) -> None:
        #: A line on the workers, where they come and go.
        self.fleet = ""
        #: Those workers, with the tasks that each of them runs.
        self.workers: Sequence[WorkerProgress] = ()
        self._lock = threading.Lock()
        self._items: dict[str, SegmentProgress] = {}
        self._end = threading.Event()

    def update(self, items: Iterable[SegmentProgress]) -> None:
        """Take over the newest state of some segments, or of all."""
        newest = {item.segment: item for item in items}
        with self._lock:
            self._items.update(newest)

    def finish(self) -> None:
        """Note that the run is over, and wake those who `wait`."""
        self._end.set()

    @property
    def finished(self) -> bool:
        """True when the run is over, however it ended."""
        return self._end.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the run is over.

        Parameters
        ----------
        timeout
            At most so many seconds; None waits for as long as it takes.

        Returns
        -------
        bool
            Whether the run is over.
        """
        return self._end.wait(timeout)

    def snapshot(self) -> list[SegmentProgress]:
        """Return the state of each segment, in the order in which they became known."""
        with self._lock:
            return list(self._items.values())

    def counts(self) -> dict[str, dict[str, int]]:
        """Return for each segment its numbers of tasks.

        Returns
        -------
        dict
            segment -> ``{"queued": .., "running": .., "done": .., "reused": .., "failed": ..}``, and ``"waiting": 1``
            where the tasks can't be known because something before them failed.
        """
        return {item.segment: _numbers(item) for item in self.snapshot()}

    def text(self) -> str:
        """Return a small table, one line for each segment, and for each worker where they come and go."""
        counts, workers = self.counts(), self.workers
        lines = [self._headline()]
        if counts:
            lines.append(counts_text(counts, _waiting(counts)))
        lines += map(str, workers[:_MOST_WORKERS])
        if len(workers) > _MOST_WORKERS:
            lines.append(f"and {len(workers) - _MOST_WORKERS} more workers")
        return "\n".join(lines)

    def _headline(self) -> str:
        items = self.snapshot()
        ended, failed = sum(item.ended for item in items), sum(item.failed for item in items)
        known = sum(item.total or 0 for item in items)
        more = "" if all(item.total is not None and not item.growing for item in items) else " or more"
        state = "over" if self.finished else "running"
        words = f"{state}: {ended} of {known}{more} tasks ended, {failed} of them failed"
        return f"{words}; {self.fleet}" if self.fleet else words

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return f"<Tracker: {self._headline()}>"

    def _repr_html_(self) -> str:
        counts = self.counts()
        return f"<div><p>{self._headline()}</p>{counts_html(counts, _waiting(counts))}</div>"


def _numbers(item: SegmentProgress) -> dict[str, int]:
    numbers = {name: getattr(item, name) for name in ("queued", "running", "done", "reused", "failed")}
    return {**numbers, "waiting": 1} if item.waiting else numbers


def _waiting(counts: dict[str, dict[str, int]]) -> list[str]:
    return [segment for segment, numbers in counts.items() if numbers.get("waiting")]
