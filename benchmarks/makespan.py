#!/usr/bin/env python3
"""How well the workers are used: the makespan of Pipelet beside the best list schedule of the same tasks.

The tasks sleep, so that neither cores nor other work matter: from 5 ms to 5 s, with a heavy tail (Pareto), seeded.
They form a chain of three segments (``a -> b -> c``: task i of each depends on task i of the one before) or a diamond
(``a -> b``, ``a -> c``, and ``d`` on the i-th of both). Each is run with 2 and 4 workers. Pipelet does not know how
long tasks will take; the list schedule does: whenever a worker is free it takes, of the tasks that are ready, the one
with the longest path still before it. No schedule at all is shorter than the bound: the total time by the number of
workers, or the longest path, whichever is greater.

    python benchmarks/makespan.py                              about two minutes
    python benchmarks/makespan.py --seconds 60 --workers 8     tasks for a minute
"""

from __future__ import annotations

import argparse
import heapq
import os
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from reporting import RESULTS, Goal, Table, goals_table, progress, save, say

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

SHORTEST, LONGEST, EXPONENT = 0.005, 5.0, 0.6
SLEEP = """import time
number, *seconds = get_input({parent})
time.sleep(seconds[{at}])
set_output([(number, *seconds)])
"""
Node = tuple[str, int]


@dataclass(frozen=True)
class Shape:
    """A graph of segments, in which task i of a segment depends on the tasks i of its parents."""

    name: str
    dot: str
    parents: Mapping[str, Sequence[str]]

    def scripts(self) -> dict[str, str]:
        """The scripts: a task gets its own number and the durations of all its line."""
        made = {}
        for at, (segment, parents) in enumerate(self.parents.items()):
            where = " and ".join(f"{parents[0]}[0] == {other}[0]" for other in parents[1:])
            head = f"#multiplex cross_prod where {where!r}\n" if where else ""
            made[segment] = head + SLEEP.format(parent=repr(parents[0]) if parents else "", at=at)
        return made


SHAPES = (
    Shape("chain", "a -> b -> c", {"a": (), "b": ("a",), "c": ("b",)}),
    Shape("diamond", "a -> b; a -> c; b -> d; c -> d", {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}),
)


@dataclass
class Outcome:
    """One run beside what could have been."""

    shape: str
    workers: int
    tasks: int
    measured: float  #: from the beginning of the first task to the end of the last
    listed: float  #: the list schedule
    bound: float
    wall: float  #: of the whole run, with the start of its processes
    ramp: float  #: until the last worker was at work


# --- the schedule that knows the durations ---------------------------------------------------------------------------


def draw(shape: Shape, workers: int, seconds: float, seed: int) -> list[tuple[float, ...]]:
    """Durations of each line of tasks, enough to keep the workers busy for so long."""
    chance = random.Random(f"{seed} {shape.name} {workers}")
    ratio = 1 - (SHORTEST / LONGEST) ** EXPONENT
    lines: list[tuple[float, ...]] = []
    total = 0.0
    while total < workers * seconds:
        # the inverse of the distribution function of a Pareto distribution that ends at LONGEST
        line = tuple(SHORTEST / (1 - chance.random() * ratio) ** (1 / EXPONENT) for _ in shape.parents)
        lines.append(line)
        total += sum(line)
    return lines


def durations(shape: Shape, lines: Sequence[tuple[float, ...]]) -> dict[Node, float]:
    """How long each task takes."""
    return {
        (segment, number): line[at] for number, line in enumerate(lines) for at, segment in enumerate(shape.parents)
    }


def paths(shape: Shape, lengths: Mapping[Node, float]) -> dict[Node, float]:
    """The longest path from the beginning of each task to the end."""
    longest: dict[Node, float] = {}
    children = {segment: [other for other, of in shape.parents.items() if segment in of] for segment in shape.parents}
    for segment in reversed(list(shape.parents)):
        for name, number in lengths:
            if name == segment:
                after = max((longest[child, number] for child in children[segment]), default=0.0)
                longest[segment, number] = lengths[segment, number] + after
    return longest


def list_schedule(shape: Shape, lengths: Mapping[Node, float], workers: int) -> float:
    """The makespan when a free worker takes the ready task with the longest path before it."""
    longest = paths(shape, lengths)
    children = {segment: [other for other, of in shape.parents.items() if segment in of] for segment in shape.parents}
    waiting = {(segment, number): len(shape.parents[segment]) for segment, number in lengths}
    ready = [(-longest[node], node) for node, left in waiting.items() if not left]
    heapq.heapify(ready)
    running: list[tuple[float, Node]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            _, node = heapq.heappop(ready)
            heapq.heappush(running, (now + lengths[node], node))
        now, (segment, number) = heapq.heappop(running)
        for child in children[segment]:
            waiting[child, number] -= 1
            if not waiting[child, number]:
                heapq.heappush(ready, (-longest[child, number], (child, number)))
    return now


def lower_bound(shape: Shape, lengths: Mapping[Node, float], workers: int) -> float:
    """No schedule is shorter."""
    return max(sum(lengths.values()) / workers, max(paths(shape, lengths).values()))


# --- Pipelet ---------------------------------------------------------------------------------------------------------


def run_shape(shape: Shape, workers: int, lines: Sequence[tuple[float, ...]]) -> Outcome:
    """Run the tasks, and read from the records when they ran."""
    with tempfile.TemporaryDirectory(prefix="pipelet-bench-") as directory:
        for name, text in shape.scripts().items():
            Path(directory, f"{name}.py").write_text(text)
        pipeline = Pipeline(shape.dot, code_dir=directory, prefix=os.path.join(directory, "prefix"))
        pipeline.push(a=[(number, *line) for number, line in enumerate(lines)])
        w, _ = launch_process(pipeline, workers, log_level=0)
        summary = w.run()
        if not summary.ok or summary.done != len(lines) * len(shape.parents):
            raise SystemExit(f"makespan.py: error: the run of the {shape.name} went wrong: {summary}")
        tasks = [task for segment in shape.parents for task in pipeline.tasks(segment)]
        spans = [(task.begun.timestamp(), task.ended.timestamp()) for task in tasks]
    lengths = durations(shape, lines)
    begun = [first for first, _ in spans]
    first = min(begun)
    return Outcome(
        shape.name, workers, len(spans), max(last for _, last in spans) - first,
        list_schedule(shape, lengths, workers), lower_bound(shape, lengths, workers), summary.seconds,
        sorted(begun)[min(workers, len(begun)) - 1] - first,
    )


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--workers", type=int, nargs="+", default=[2, 4], metavar="N", help="numbers of workers (default: 2 4)")
    add("--shapes", nargs="+", choices=[shape.name for shape in SHAPES], default=[shape.name for shape in SHAPES])
    add("--seconds", type=float, default=30.0, metavar="S", help="work for S seconds in each run (default: 30)")
    add("--seed", type=int, default=1)
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables and plots go (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    """Run all, print, and write the results."""
    options = read_options()
    outcomes = []
    for shape in SHAPES:
        for workers in options.workers if shape.name in options.shapes else ():
            lines = draw(shape, workers, options.seconds, options.seed)
            progress(f"{shape.name}, {workers} workers, {len(lines) * len(shape.parents)} tasks ...")
            outcomes.append(run_shape(shape, workers, lines))
    head = ("", "workers", "tasks", "makespan s", "list schedule s", "bound s", "/ list", "/ bound", "wall s", "ramp s")
    body = [
        [
            one.shape, str(one.workers), f"{one.tasks:,}", f"{one.measured:.2f}", f"{one.listed:.2f}",
            f"{one.bound:.2f}", f"{one.measured / one.listed:.3f}", f"{one.measured / one.bound:.3f}",
            f"{one.wall:.2f}", f"{one.ramp:.2f}",
        ]
        for one in outcomes
    ]
    title = "use of the workers: sleeping tasks of 5 ms to 5 s with a heavy tail"
    note = "makespan: from the first task's beginning to the last one's end; ramp: until the last worker had begun."
    goals = [
        Goal("makespan / list schedule", f"{one.shape}, {one.workers} workers", one.measured / one.listed, 1.05)
        for one in outcomes
    ]
    made = [Table(title, head, body, note), goals_table(goals)]
    for table in made:
        say("\n" + table.text())
    written = save("makespan", made, goals, [asdict(one) for one in outcomes], options.results)
    from plots import plot_makespan

    written.append(plot_makespan(outcomes, Path(options.results) / "makespan.png"))
    say("\nwritten: " + ", ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
