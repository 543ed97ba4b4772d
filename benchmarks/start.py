#!/usr/bin/env python3
"""How long one waits for nothing: importing Pipelet, and running a small pipeline that has nothing to do.

Each is a process of its own, timed from the outside, several times; the least counts. Of the import, what Python
itself needs to start is taken away. The small pipeline is the one that ``pipeutils -c`` makes, run by its ``main.py``
as it is.

    python benchmarks/start.py
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from measuring import MeasuringError, checked, measure
from reporting import RESULTS, Goal, Table, goals_table, progress, save, say


@dataclass
class Timed:
    """The least of several readings."""

    what: str
    wall: float = float("inf")
    cpu: float = float("inf")


def timed(commands: dict[str, list[str]], repeats: int, directory: str) -> list[Timed]:
    """Run commands several times, one after the other each time, so that all meet the same disturbances."""
    best = [Timed(what) for what in commands]
    for _ in range(repeats):
        for one, command in zip(best, commands.values(), strict=True):
            progress(f"{one.what} ...")
            reading = checked(measure(command, 120, directory=directory), one.what)
            one.wall, one.cpu = min(one.wall, reading.wall), min(one.cpu, reading.cpu)
    return best


def small_pipeline(directory: str) -> list[str]:
    """Make the pipeline in a directory, and run it once; gives the command."""
    with as_file(files("pipelet") / "static") as static:
        for name in ("main.py", "default.py"):
            shutil.copy(static / name, directory)
    command = [sys.executable, os.path.join(directory, "main.py"), "-p", "2"]
    checked(measure(command, 120, directory=directory), "the first run of the small pipeline")
    return command


def main() -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=10, metavar="R", help="how often each is timed (default: 10)")
    parser.add_argument("--results", default=str(RESULTS), metavar="DIR", help="where tables go (default: %(default)s)")
    options = parser.parse_args()
    python = [sys.executable, "-c"]
    try:
        with tempfile.TemporaryDirectory(prefix="pipelet-bench-") as directory:
            parts = "from pipelet import Pipeline, launch_process"
            commands = {
                "python alone": [*python, "pass"],
                "python, import pipelet": [*python, "import pipelet"],
                f"python, {parts}": [*python, parts],
                "main.py, nothing to do": small_pipeline(directory),
            }
            rows = timed(commands, options.repeat, directory)
    except MeasuringError as error:
        say(f"start.py: error: {error}")
        return 1
    bare, imported, _, idle = rows
    table = Table(
        f"start: the least of {options.repeat} readings", ("", "wall ms", "CPU ms"),
        [[row.what, f"{row.wall * 1e3:.0f}", f"{row.cpu * 1e3:.0f}"] for row in rows],
    )
    goals = [
        Goal("import pipelet", "wall, without python's own start", max(imported.wall - bare.wall, 0.0) * 1e3, 50, "ms"),
        Goal("a run with nothing to do", "wall, whole process", idle.wall, 0.3, "s"),
    ]
    made = [table, goals_table(goals)]
    for shown in made:
        say("\n" + shown.text())
    written = save("start", made, goals, [vars(row) for row in rows], Path(options.results))
    say("\nwritten: " + ", ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
