#!/usr/bin/env python3
"""One run for `batch.py`, with workers of one kind: W(N) as in `work.py`, or tasks that only sleep.

    python benchmarks/batchrun.py DIRECTORY process 2 5000               W(5000), two local workers
    python benchmarks/batchrun.py DIRECTORY slurm 8 3200 --sleep 0.05    3200 tasks of 50 ms, eight jobs of Slurm
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from bisect import bisect
from pathlib import Path
from typing import Any

import work

from pipelet.launchers import launch_batch, launch_dask, launch_process
from pipelet.pipeline import Pipeline

SLEEP = "import time\ntime.sleep({seconds})\nset_output(get_input())\n"
KINDS = ("process", "local", "dask", "slurm")


def sleeping(directory: str, number: int, seconds: float) -> Pipeline:
    """So many tasks that sleep for so long."""
    Path(directory, "nap.py").write_text(SLEEP.format(seconds=seconds))
    made = Pipeline("nap", code_dir=directory, prefix=os.path.join(directory, "prefix"))
    made.push(nap=range(number))
    return made


def run(pipeline: Pipeline, kind: str, workers: int, python: str | None) -> Any:
    """Run a pipeline with workers of one kind; gives the summary."""
    if kind == "process":
        return launch_process(pipeline, workers, log_level=0)[0].run()
    if kind == "dask":
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", memory_limit=0
        ) as cluster:
            return launch_dask(pipeline, cluster.scheduler_address, log_level=0)[0].run()
    options = {} if python is None else {"python": python}
    return launch_batch(pipeline, workers, kind, log_level=0, memory="500 MB", **options)[0].run()


def spans(pipeline: Pipeline, workers: int) -> dict[str, float]:
    """Seconds from the first task's beginning to the last one's end, until all workers were at work, and in tasks."""
    tasks = pipeline.tasks("nap")
    begun, ended = (sorted(getattr(task, which).timestamp() for task in tasks) for which in ("begun", "ended"))
    # The first task that begins while all other workers have one.
    full = next((at for at, when in enumerate(begun) if at + 1 - bisect(ended, when) >= workers), len(begun) - 1)
    return {"span": ended[-1] - begun[0], "ramp": begun[full] - begun[0], "busy": sum(ended) - sum(begun)}


def batches(directory: str) -> int | None:
    """How many batches went to the workers, as the log says."""
    logs = Path(directory).glob("prefix/.pipelet/log/pipelet.log*")
    found = re.findall(r"\b(\d+) batches were sent", "".join(path.read_text() for path in logs))
    return sum(map(int, found)) if found else None


def main() -> int:
    """Run it once, and print what it did as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where scripts, database and tree are")
    parser.add_argument("kind", choices=KINDS, help="what runs the tasks")
    parser.add_argument("workers", type=int, help="how many")
    parser.add_argument("n", type=int, help="elements of W(N); with --sleep, tasks")
    parser.add_argument("--sleep", type=float, metavar="S", help="tasks that sleep for S seconds, in place of W(N)")
    parser.add_argument("--python", help="the interpreter in the jobs")
    options = parser.parse_args()
    if options.sleep is None:
        work.write_scripts(options.directory, False)
        pipeline, number = work.pipeline(options.directory, options.n), 2 * options.n + 2
    else:
        pipeline, number = sleeping(options.directory, options.n, options.sleep), options.n
    summary = run(pipeline, options.kind, options.workers, options.python)
    told = {"seconds": summary.seconds, "batches": batches(options.directory)}
    if options.sleep is not None:
        told |= spans(pipeline, options.workers)
    print(json.dumps(told))
    return 0 if summary.ok and summary.done == number else 1


if __name__ == "__main__":
    sys.exit(main())
