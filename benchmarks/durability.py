#!/usr/bin/env python3
"""What it costs that "done" outlives a process, or a power cut: the levels of ``Pipeline(durability=...)``.

The work is W(N) (see ``work.py``), from nothing, by two worker processes, with and without a file for each task. The
levels take turns, and of several readings of each the least counts. Beside it: what the disk takes for its single
steps, on the file system of the directory.

    python benchmarks/durability.py 5000
    python benchmarks/durability.py 5000 --directory /data/scratch      on another disk
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import MeasuringError, Reading, checked, measure
from reporting import RESULTS, Table, progress, save, say
from work import DOT, write_scripts

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline
from pipelet.storage.durability import LEVELS, sync_file_system

FILES, PLAIN = "files", "no files"


def run(directory: str, n: int, level: str) -> None:
    """One run, as a process of its own."""
    pipeline = Pipeline(DOT, code_dir=directory, prefix=os.path.join(directory, "prefix"), durability=level)
    pipeline.push(gen=[n])
    summary = launch_process(pipeline, 2, log_level=0)[0].run()
    sys.exit(0 if summary.ok else 1)


def readings(n: int, repeats: int, place: str | None) -> dict[tuple[str, str], Reading]:
    """The least reading of each level, with and without files."""
    best: dict[tuple[str, str], Reading] = {}
    for _ in range(repeats):
        for variant in (FILES, PLAIN):
            for level in LEVELS:
                progress(f"{level}, {variant} ...")
                with tempfile.TemporaryDirectory(prefix="durability-", dir=place) as directory:
                    write_scripts(directory, variant == FILES)
                    # What others have left must not be waited for here.
                    os.sync()
                    command = [sys.executable, os.path.abspath(__file__), "--run", directory, level, str(n)]
                    reading = checked(measure(command, 600), f"{level}, {variant}")
                known = best.setdefault((variant, level), reading)
                known.wall, known.cpu = min(known.wall, reading.wall), min(known.cpu, reading.cpu)
    return best


def levels_table(best: dict[tuple[str, str], Reading], n: int) -> Table:
    """Levels, costs, and ratios to the first level."""
    rows = []
    for (variant, level), reading in best.items():
        least = best[variant, LEVELS[0]]
        rows.append([
            level, variant, f"{reading.wall:.2f}", f"{reading.wall / least.wall:.2f}", f"{reading.cpu:.2f}",
            f"{reading.cpu / least.cpu:.2f}",
        ])
    return Table(
        f"Levels of durability, {2 * n:,} tasks from nothing",
        ("durability=", "tasks with", "wall s", "ratio", "CPU s", "ratio"), rows, "Ratios are to 'process'.", left=2,
    )


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begun)


def _files(directory: Path, number: int, sync: bool) -> None:
    """As many directories with a small file; each synchronised by itself if asked for."""
    for index in range(number):
        folder = directory / str(index)
        folder.mkdir()
        with open(folder / "value", "wb") as file:
            file.write(b"value")
            if sync:
                file.flush()
                os.fsync(file.fileno())
        if sync:
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def _appends(directory: Path, number: int, sync: bool) -> None:
    descriptor = os.open(directory / "journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(number):
        os.write(descriptor, b"x" * 1000)
        if sync:
            os.fsync(descriptor)
    os.close(descriptor)


def steps_table(place: str | None) -> Table:
    """What the disk takes for single steps."""
    rows = []
    for sync in (False, True):
        with tempfile.TemporaryDirectory(prefix="durability-", dir=place) as directory:
            spent = _timed(partial(_appends, Path(directory), 200, sync)) / 200
            rows.append(["a record at the end of a journal" + (", fsync" if sync else ""), f"{spent:.3f}"])
    for number in (10, 100, 1000, 10_000):
        directory = tempfile.mkdtemp(prefix="durability-", dir=place)
        os.sync()
        _files(Path(directory), number, False)
        spent = _timed(partial(sync_file_system, directory))
        rows.append([f"syncfs after {number:,} new directories with a file", f"{spent:.1f}"])
        shutil.rmtree(directory)
    with tempfile.TemporaryDirectory(prefix="durability-", dir=place) as directory:
        spent = _timed(partial(_files, Path(directory), 200, True)) / 200
        rows.append(["fsync of one file and its directory instead", f"{spent:.2f}"])
    return Table("Steps of the disk", ("step", "ms"), rows)


def main() -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, nargs="?", default=5000, help="half the number of tasks (default: 5000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="R", help="readings of each (default: 3)")
    parser.add_argument("--directory", metavar="DIR", help="where to work: on the disk that is meant")
    parser.add_argument("--results", default=str(RESULTS), metavar="DIR", help="where tables go (default: %(default)s)")
    parser.add_argument("--run", nargs=2, metavar=("DIR", "LEVEL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        run(options.run[0], options.n, options.run[1])
    try:
        best = readings(options.n, options.repeat, options.directory)
    except MeasuringError as error:
        say(str(error))
        return 1
    tables = [levels_table(best, options.n), steps_table(options.directory)]
    for table in tables:
        say(table.text() + "\n")
    raw = [{"variant": variant, "level": level, "wall": reading.wall, "cpu": reading.cpu}
           for (variant, level), reading in best.items()]
    save("durability", tables, [], raw, options.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
