"""The batches that are with the executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import NamedTuple

from pipelet.core.calls import PATIENCE, Batch, BatchResult, SegmentContext, TaskCall, TaskResult
from pipelet.executors.base import Executor

#: A worker hands back what it has not begun after so many times what a batch should take.
_BATCHES_OF_PATIENCE = 2.5
#: Id of a worker process, and when it started.
Process = tuple[int, float | None]


class _Flight(NamedTuple):
    segment: str
    since: float
    calls: tuple[TaskCall, ...]


class Landed(NamedTuple):
    """What came of tasks of one segment."""

    segment: str
    results: Sequence[TaskResult]
    #: Tasks that were not begun, and won't be.
    left: Sequence[int] = ()
    #: Whether this is all of the batch.
    whole: bool = True


class Flights:
    """Sends batches to an executor, and brings home what came of them.

    Parameters
    ----------
    executor
        What runs the tasks.
    workers_changed
        Told about the worker processes whenever they are others than before.
    clock
        Gives seconds.
    """

    def __init__(
        self, executor: Executor, workers_changed: Callable[[list[Process]], None], clock: Callable[[], float]
    ) -> None:
        self._executor = executor
        self._workers_changed = workers_changed
        self._clock = clock
        self._flights: dict[Future[BatchResult], _Flight] = {}
        self._processes: list[Process] = []

    def __bool__(self) -> bool:
        return bool(self._flights)

    @property
    def slots(self) -> int:
        """How many batches can be under way at once."""
        return self._executor.slots

    @property
    def batch_seconds(self) -> float:
        """How many seconds of work should be in a batch."""
        return self._executor.batch_seconds

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return len(self._flights) >= self._executor.slots

    def expect(self, more: bool) -> None:
        """Tell the executor whether there is work for more slots than there are."""
        self._executor.expect(more)

    def send(self, segment: str, context: SegmentContext, calls: Sequence[TaskCall], longest: float = 0.0) -> None:
        """Give a batch to the executor.

        Parameters
        ----------
        segment, context, calls
            The tasks.
        longest
            How many seconds the longest task of the segment took up to now.
        """
        patience = max(PATIENCE, _BATCHES_OF_PATIENCE * self._executor.batch_seconds)
        batch = Batch(context, tuple(calls), patience, longest)
        future = self._executor.submit(batch)
        self._flights[future] = _Flight(segment, self._clock(), batch.calls)
        processes = self._executor.processes()
        if processes != self._processes:
            self._processes = processes
            self._workers_changed(processes)

    def collect(self, patience: float, seconds: float) -> Iterator[Landed]:
        """Wait for a batch to end, or for a slot where nothing is under way, and give what has ended.

        Parameters
        ----------
        patience
            Wait for so many seconds at most.
        seconds
            Of batches that have been under way for longer, give what they have finished up to now.
        """
        if not self._flights:
            self._executor.wait(patience)
            return
        ended, under_way = wait(self._flights, timeout=patience, return_when=FIRST_COMPLETED)
        for future in ended:
            flight = self._flights.pop(future)
            result = future.result()
            yield Landed(flight.segment, result.results, result.left)
        now = self._clock()
        for future in under_way:
            flight = self._flights[future]
            if now - flight.since > seconds:
                yield Landed(flight.segment, self._executor.partial(future), whole=False)

    def lasting(self, seconds: float) -> Iterator[tuple[str, int]]:
        """The segment and the number of each task in batches that have been under way for so long."""
        now = self._clock()
        for flight in self._flights.values():
            if now - flight.since >= seconds:
                for call in flight.calls:
                    yield flight.segment, call.id

    def end(self) -> Iterator[Landed]:
        """Kill the workers, and give what they have finished."""
        # First the workers end, then it is known what they have finished.
        self._executor.close(kill=True)
        for future, flight in self._flights.items():
            results = future.result().results if future.done() and not future.exception() else ()
            yield Landed(flight.segment, (*results, *self._executor.partial(future)))
