#!/usr/bin/env python3
"""What a worker process spends on one task, by kind of task, beside a bare loop that does what can't be avoided.

The tasks run as in a worker: the batch is read, each task is executed with its output captured, and its result goes to
the spool. The bare loop unpickles the input, executes the same compiled script in a fresh dict with two functions, and
pickles the output; where the script writes a file, it makes the directory and the file. Both are measured in one
process, in turns, and the best turn counts.

    python benchmarks/worker.py
    python benchmarks/worker.py --kinds trivial file --tasks 5000
    python benchmarks/worker.py --kinds trivial --profile
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pickle
import pstats
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable

from pipelet.capture import FileCapture
from pipelet.core.calls import Batch, SegmentContext, TaskCall
from pipelet.executors import station
from pipelet.executors.wire import BatchPacker
from pipelet.worker import Bench

WRITES = "with open(get_data_fn('value.txt'), 'w') as file:\n    file.write(str(get_input()))\n"
KINDS = {
    "trivial": "set_output(2 * get_input())\n",
    "variables": "x = seg_input['parent']\nseg_output = [2 * x]\n",
    "silent": "x = get_input()\n",
    "tuple": "set_output((get_input(), 'text', 1.5))\n",
    "file": WRITES + "set_output(2 * get_input())\n",
    "prints": "print(get_input())\n",
    "logs": "logger.info('input %d', get_input())\n",
    "parameter": "x = get_input()\nsave_param('x')\n",
    "fails": "raise ValueError(get_input())\n",
}


def context(root: str, kind: str) -> SegmentContext:
    """What the tasks of a kind share."""
    folder = os.path.join(root, kind)
    os.makedirs(os.path.join(folder, "data"))
    return SegmentContext(
        name=kind, segment=kind, parents=("parent",), kind="cross_prod",
        script=(os.path.join(root, f"{kind}.py"), KINDS[kind].encode()), hooks={}, instance_dir=folder, code_dir=root,
        log_dir=os.path.join(folder, "log"), scratch_dir=os.path.join(folder, "scratch"), agg=True,
        ancestors=("parent",),
    )


def calls(shared: SegmentContext, count: int, turn: int) -> tuple[TaskCall, ...]:
    """That many tasks."""
    made = []
    for number in range(turn * count + 1, (turn + 1) * count + 1):
        place = f"{number}_{number}"
        blob = pickle.dumps(number, protocol=4)
        made.append(TaskCall(number, str(number), os.path.join(shared.instance_dir, "data", place), place, (blob,)))
    return tuple(made)


def worked(data: bytes) -> None:
    """Run one batch as a worker does."""
    left, kept = station.work(data)
    assert not left
    assert not kept


def bare(shared: SegmentContext, tasks: tuple[TaskCall, ...]) -> None:
    """The same scripts, and nothing else."""
    code = compile(shared.script[1], shared.script[0], "exec")
    files = "get_data_fn" in KINDS[shared.segment]
    failing = "raise" in KINDS[shared.segment]
    for task in tasks:
        value = pickle.loads(task.blobs[0] or b"")
        kept: list[object] = []
        names = {"get_input": lambda value=value: value, "set_output": kept.append, "seg_input": {"parent": value},
                 "save_param": kept.append, "print": kept.append, "logger": Silent}
        if files:
            os.mkdir(task.directory)
            names["get_data_fn"] = lambda name, directory=task.directory: f"{directory}/{name}"
        try:
            exec(code, names)
        except ValueError:
            assert failing
        pickle.dumps(kept, protocol=4)


class Silent:
    """A logger that does nothing."""

    @staticmethod
    def info(message: str, *values: object) -> None:
        """Nothing."""


def cpu(work: Callable[..., object], *arguments: object) -> float:
    """CPU seconds of some work."""
    before = time.process_time()
    work(*arguments)
    return time.process_time() - before


def measured(root: str, kind: str, count: int, turns: int, spool: str, packer: BatchPacker) -> list[float]:
    """Microseconds of CPU a task: the worker's, those of the bare loop, and those of whoever sends and receives."""
    shared = context(root, kind)
    ours, least, outside = [], [], []
    for turn in range(turns):
        os.truncate(spool, 0)
        batch = Batch(shared, calls(shared, count, 2 * turn), patience=1e9)
        begun = time.process_time()
        data = packer.pack(batch)
        packing = time.process_time() - begun
        ours.append(cpu(worked, data))
        outside.append(packing + cpu(deque, station.frames(spool, 0)))
        tasks = calls(shared, count, 2 * turn + 1)
        least.append(cpu(bare, shared, tasks))
    shutil.rmtree(shared.instance_dir)
    return [min(spent) / count * 1e6 for spent in (ours, least, outside)]


def profiled(root: str, kind: str, count: int) -> None:
    """Print which functions the time goes to."""
    shared = context(root, kind)
    packer = BatchPacker(root)
    worked(packer.pack(Batch(shared, calls(shared, 10, 1000), patience=1e9)))
    data = packer.pack(Batch(shared, calls(shared, count, 0), patience=1e9))
    profile = cProfile.Profile()
    profile.runcall(worked, data)
    pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(30)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), help="kinds of tasks")
    parser.add_argument("--tasks", type=int, default=2000, help="tasks in a batch")
    parser.add_argument("--turns", type=int, default=5, help="batches of each kind")
    parser.add_argument("--profile", action="store_true", help="show where the time goes, by function")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root, os.fdopen(os.dup(1), "w") as screen:
        spool, printed = os.path.join(root, "spool"), os.path.join(root, "printed")
        with open(spool, "wb"):
            pass
        capture = FileCapture(printed)
        station.STATIONS[:] = [station.Station(Bench(capture), os.open(spool, os.O_WRONLY | os.O_APPEND), [])]
        packer = BatchPacker(root)
        screen.write(f"{'microseconds of CPU a task':<28}{'worker':>9}{'bare':>9}{'ratio':>8}{'transport':>11}\n")
        for kind in options.kinds:
            if options.profile:
                profiled(root, kind, options.tasks)
                capture.wrote()
                capture.save(printed + ".profile")
                with open(printed + ".profile") as file:
                    screen.write(file.read())
            else:
                ours, least, outside = measured(root, kind, options.tasks, options.turns, spool, packer)
                screen.write(f"{kind:<28}{ours:>9.1f}{least:>9.1f}{ours / least:>8.1f}{outside:>11.1f}\n")
            screen.flush()


if __name__ == "__main__":
    main()
