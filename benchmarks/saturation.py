"""Where a batch server would saturate: from what it costs by the task, by the batch and by the worker, a sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporting import Table, shown

#: As in `pipelet.executors.cluster.daskexecutor` and `pipelet.segmentrun`: what a batch holds.
BATCH_SECONDS, BATCHES_PER_SECOND, BATCH_TASKS = 0.5, 100.0, 2000
#: A worker in a job asks so often in a second whether its server is there, beside Dask's heartbeats.
CONTACTS = 0.1
LENGTHS = (0.05, 1.0, 60.0)


@dataclass(frozen=True)
class Use:
    """What a run cost its server."""

    cpu: float  #: seconds of CPU of the server's process
    seconds: float
    tasks: int
    batches: int


@dataclass(frozen=True)
class Prices:
    """Seconds of CPU of the server's process."""

    task: float
    batch: float
    worker: float  #: for each worker in each second, where there are so many as when that was measured
    second: float
    workers: int  #: how many that were


def beats(workers: float) -> float:
    """How often in a second a worker is heard of: Dask has them speak the seldomer the more there are."""
    pause = 0.5 if workers <= 10 else 1.0 if workers < 50 else 2.0 if workers < 200 else workers / 200 + 1
    return 1 / pause + CONTACTS


def prices(few: Use, many: Use, naps: Use, waits: Sequence[tuple[int, Use, Use]]) -> Prices | None:
    """Find the prices.

    Parameters
    ----------
    few, many
        Runs of short tasks.
    naps
        A run of many batches of few tasks, with as many workers as the last of the waits.
    waits
        A number of workers, a run of one task for each that is short, and one where they are long: twice, with fewer
        workers and with more. Few and many had as many workers as the first.

    Returns
    -------
    Prices or None
        ``None`` if the runs were too much alike.
    """
    (less, *one), (more, *other) = waits
    rates = [(long.cpu - short.cpu) / (long.seconds - short.seconds) for short, long in (one, other)]
    worker = max(0.0, (rates[1] - rates[0]) / (more - less)) if more > less else 0.0
    second = max(0.0, rates[0] - less * worker)
    # Two equations: short tasks in large batches, and long ones in small batches, each beside a smaller run.
    left, right = _beside(many, few, rates[0]), _beside(naps, other[0], rates[1])
    matrix = (many.tasks - few.tasks, many.batches - few.batches, naps.tasks - more, naps.batches - other[0].batches)
    determinant = matrix[0] * matrix[3] - matrix[1] * matrix[2]
    if not determinant:
        return None
    task = (left * matrix[3] - matrix[1] * right) / determinant
    batch = (matrix[0] * right - left * matrix[2]) / determinant
    return Prices(max(0.0, task), max(0.0, batch), worker, second, more)


def _beside(one: Use, other: Use, rate: float) -> float:
    """How much more CPU a run took than another, without what it took for being longer."""
    return one.cpu - other.cpu - rate * (one.seconds - other.seconds)


@dataclass(frozen=True)
class Load:
    """A server with so many workers that are all busy with tasks of one length: parts of a core."""

    workers: float
    tasks: float  #: a second
    batches: float  #: a second
    parts: tuple[float, float, float, float]

    @property
    def whole(self) -> float:
        """All of it."""
        return sum(self.parts)


def load(price: Prices, workers: float, length: float) -> Load:
    """What a server has to do."""
    tasks = workers / length
    size = min(max(1, int(max(BATCH_SECONDS, workers / BATCHES_PER_SECOND) / length)), BATCH_TASKS)
    batches = tasks / size
    contact = price.worker * beats(workers) / beats(price.workers)
    return Load(workers, tasks, batches, (tasks * price.task, batches * price.batch, workers * contact, price.second))


def saturated(price: Prices, length: float) -> Load:
    """The load with as many workers as fill one core: a server has one interpreter, and that has one lock."""
    low, high = 1.0, 1e9
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if load(price, middle, length).whole < 1 else (low, middle)
    return load(price, low, length)


def table(price: Prices, name: str) -> Table:
    """The sum, for tasks of several lengths."""
    body = []
    for length in LENGTHS:
        full = saturated(price, length)
        words = [
            f"{full.tasks:,.0f} x {shown(price.task * 1e6)} us = {full.parts[0]:.2f}",
            f"{full.batches:,.0f} x {shown(price.batch * 1e3)} ms = {full.parts[1]:.2f}",
            f"{full.workers:,.0f} x {shown(full.parts[2] / full.workers * 1e6)} us = {full.parts[2]:.2f}",
            f"{full.parts[3]:.3f}",
        ]
        long = f"{length * 1e3:.0f} ms" if length < 1 else f"{length:.0f} s"
        body.append([long, f"{full.workers:,.0f}", f"{full.tasks:,.0f}", *words])
    head = ("tasks of", "workers", "tasks a s", "+ tasks", "+ batches", "+ workers", "+ the rest")
    note = (
        f"The server's own CPU ({name}): {shown(price.task * 1e6)} us a task, {shown(price.batch * 1e3)} ms a batch, "
        f"{shown(price.worker * 1e3)} ms a second for each of {price.workers} workers, {shown(price.second * 1e3)} ms "
        "a second for itself. The parts add up to one core; a worker that is one of many is heard of more seldom. On "
        "paper only: so many workers were not there, and files, memory and the disk may end first."
    )
    return Table("on paper: where one server is full", head, body, note)
