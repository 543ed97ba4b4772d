#!/usr/bin/env python3
"""What Pipelet itself costs: trivial tasks, all persisted, by two worker processes.

The pipeline is ``gen -> double -> incr -> total``: one task with N outputs, N tasks, N tasks, and one task that gathers
them. It runs three times: from nothing, with nothing to do, and after one element more. The costs are those of all
processes together, divided by the 2 N tasks; beside them stands a plain loop that executes the same compiled scripts
and does nothing else, measured in the same run.

    python benchmarks/overhead.py 10000
    python benchmarks/overhead.py 10000 --files     each task of double writes a file
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

DOT = "gen -> double -> incr -> total"
FILE = "with open(get_data_fn('value.txt'), 'w') as file:\n    file.write(str(get_input()))\n"
SCRIPTS = {
    "gen": "set_output(list(range(get_input())))\n",
    "double": "set_output(2 * get_input())\n",
    "incr": "set_output(get_input() + 1)\n",
    "total": "#multiplex cross_prod group_by 'all'\nset_output(sum(get_input('incr')))\n",
}


def cpu() -> float:
    """Seconds that this process and all its ended children have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(item.ru_utime + item.ru_stime for item in used)


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of some work."""
    wall, used = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - wall, cpu() - used


def plain_loop(n: int) -> None:
    """The same scripts, and nothing else."""
    for name in ("double", "incr"):
        code = compile(SCRIPTS[name], name, "exec")
        for value in range(n):
            exec(code, {"get_input": lambda value=value: value, "set_output": lambda value: None})


def run(directory: str, n: int) -> None:
    """One run, with n pushed."""
    pipeline = Pipeline(DOT, code_dir=directory, prefix=os.path.join(directory, "prefix"))
    pipeline.push(gen=[n])
    w, _ = launch_process(pipeline, 2, log_level=0)
    summary = w.run()
    assert summary.ok, summary


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, nargs="?", default=10_000, help="elements (tasks: twice as many)")
    parser.add_argument("--files", action="store_true", help="each task of double writes a file")
    options = parser.parse_args()
    n = options.n
    with tempfile.TemporaryDirectory() as directory:
        for name, text in SCRIPTS.items():
            Path(directory, f"{name}.py").write_text((FILE if options.files and name == "double" else "") + text)
        rows = [
            ("plain loop", measured(lambda: plain_loop(n))),
            ("from nothing", measured(lambda: run(directory, n))),
            ("nothing to do", measured(lambda: run(directory, n))),
            ("one element more", measured(lambda: run(directory, n + 1))),
        ]
    print(f"{2 * n + 2} tasks{', half of them with a file' if options.files else ''}")
    print(f"{'':<18}{'wall s':>9}{'CPU s':>9}{'CPU us a task':>15}")
    for name, (wall, used) in rows:
        print(f"{name:<18}{wall:>9.2f}{used:>9.2f}{used / (2 * n) * 1e6:>15.1f}")


if __name__ == "__main__":
    main()
