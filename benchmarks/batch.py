#!/usr/bin/env python3
"""What tasks cost through Dask and a batch system, beside local workers, all in one run.

First the overhead: W(N) without files (see `overhead.py`), with two local workers, with two jobs that are processes of
this machine, with a Dask cluster that was there before, and with two jobs of Slurm. CPU is that of all processes, of
jobs too. Then how well 2, 4 and 8 workers are used by tasks that sleep for 50 ms. Then runs that wait; and from all
these, on paper, with how many workers and tasks a second one server would be full.

    python benchmarks/batch.py                        10,000 and 100,000 tasks, about ten minutes on two cores
    python benchmarks/batch.py 2000 20000             other sizes
    python benchmarks/batch.py --skip slurm           where there is no Slurm; test/cluster/up makes one
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import saturation
from measuring import MeasuringError, Reading, checked, measure
from reporting import RESULTS, Goal, Table, goals_table, progress, save, say, shown

HERE = Path(__file__).resolve().parent
NAMES = {
    "process": "local workers",
    "local": "Dask on this machine",
    "dask": "a Dask cluster, there before",
    "slurm": "Dask on Slurm",
}
#: Those that have a batch server.
SERVERS = ("local", "slurm")
SIZES = (10_000, 100_000)
WORKERS = 2
NAP = 0.05
#: What a site has to answer.
COMMANDS = ("sbatch", "squeue", "scancel")
#: Part of the command line of the process that schedules, and that is the server.
SCHEDULER = "pipelet.background"
LIMIT = 900.0
#: So long a job may take to tell what it has cost, once its run is over.
LATE_SECONDS = 60.0
SUBMISSIONS = 50
MEASURED_PYTHON = """#!/bin/sh
# The interpreter of a job, and what it cost with all that it has started.
report={directory}/$(hostname)-$$
: > "$report.begun"
exec {python} -S -E {measuring} "$report.json" {python} "$@"
"""
COUNTED = '#!/bin/sh\necho {name} >> {file}\nexec {command} "$@"\n'


@dataclass
class Row:
    """One run."""

    kind: str
    workers: int
    tasks: int
    wall: float
    cpu: float  #: of all processes
    server: float  #: of the process that schedules; 0 where that is not one alone
    jobs: float  #: of the jobs, where somebody else has started them
    seconds: float  #: of the run itself
    batches: int | None
    commands: dict[str, int] = field(default_factory=dict)
    span: float = 0.0  #: of tasks that sleep: from the first one's beginning to the last one's end
    ramp: float = 0.0  #: until all workers were at work
    busy: float = 0.0  #: in tasks, all together
    lost: bool = False

    @property
    def micro(self) -> float:
        """Microseconds of CPU a task."""
        return self.cpu / self.tasks * 1e6

    @property
    def ideal(self) -> float:
        """Seconds that tasks which sleep take if all workers always have one."""
        return self.tasks * NAP / self.workers

    @property
    def use(self) -> saturation.Use:
        """What it cost the server."""
        return saturation.Use(self.server, self.seconds, self.tasks, self.batches or 0)


# --- one run ---------------------------------------------------------------------------------------------------------


def run(
    kind: str, workers: int, number: int, scratch: str, sleep: float | None = None, count: bool = False
) -> Row:
    """Measure one run: W(number), or so many tasks that sleep."""
    what = f"{number:,} tasks of {sleep:g} s" if sleep is not None else f"{2 * number + 2:,} tasks"
    progress(f"{NAMES[kind]}, {workers} workers, {what} ...")
    directory = tempfile.mkdtemp(prefix=f"{kind}-", dir=scratch)
    command = [sys.executable, str(HERE / "batchrun.py"), directory, kind, str(workers), str(number)]
    command += [] if sleep is None else ["--sleep", str(sleep)]
    reports, counts = Path(directory, "jobs"), Path(directory, "commands")
    # Elsewhere the jobs are below this process, and counted.
    far = kind == "slurm" and count
    if far:
        command += ["--python", str(measured_python(reports))]
    os.sync()
    reading = measure(command, LIMIT, SCHEDULER, environment=counting(counts) if far else None)
    checked(reading, f"the run with {NAMES[kind]}")
    told = json.loads(reading.tail.splitlines()[-1])
    jobs = job_readings(reports) if far else []
    used = sum(one.cpu for one in jobs)
    commands = collections.Counter(counts.read_text().split() if counts.exists() else ())
    return Row(
        kind, workers, number if sleep is not None else 2 * number + 2, reading.wall, reading.cpu + used,
        reading.cpu_main, used, told["seconds"], told["batches"], dict(commands), told.get("span", 0.0),
        told.get("ramp", 0.0), told.get("busy", 0.0), reading.lost or any(one.lost for one in jobs),
    )


def measured_python(reports: Path) -> Path:
    """Make an interpreter for jobs that tells what it has cost."""
    reports.mkdir()
    words = {"directory": reports, "python": sys.executable, "measuring": HERE / "measuring.py"}
    return _program(
        reports / "python", MEASURED_PYTHON.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
    )


def counting(counts: Path) -> dict[str, str]:
    """Put commands on ``PATH`` that count how often they are called."""
    home = Path(f"{counts}.bin")
    home.mkdir()
    for name in COMMANDS:
        real = shlex.quote(shutil.which(name) or name)
        _program(home / name, COUNTED.format(name=name, file=shlex.quote(str(counts)), command=real))
    return {"PATH": f"{home}{os.pathsep}{os.environ['PATH']}"}


def _program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


def job_readings(reports: Path) -> list[Reading]:
    """What all jobs that have begun cost, once they have ended."""
    end = time.monotonic() + LATE_SECONDS
    begun = [path.with_suffix(".json") for path in reports.glob("*.begun")]
    found: list[Reading] = []
    for path in begun:
        while True:
            try:
                found.append(Reading(**json.loads(path.read_text())))
                break
            except (OSError, ValueError):
                if time.monotonic() > end:
                    raise MeasuringError(f"a job did not tell what it has cost: {path} is missing") from None
                time.sleep(0.1)
    if not found:
        raise MeasuringError(f"no job has begun that would tell in {reports} what it has cost")
    return found


# --- all of them -----------------------------------------------------------------------------------------------------


def overheads(kinds: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """Short tasks, printed as they come."""
    say(f"\noverhead: W(N) without files, {WORKERS} workers; the load of the machine is {os.getloadavg()[0]:.1f}")
    best: dict[tuple[str, int], Row] = {}
    for tasks in options.tasks:
        for _ in range(options.repeat):
            for kind in kinds:
                row = run(kind, WORKERS, max(1, tasks // 2 - 1), options.scratch, count=True)
                before = best.get((kind, tasks))
                # What comes on top is somebody else's.
                best[kind, tasks] = row if before is None or row.cpu < before.cpu else before
                say(f"{row.tasks:>9,} tasks  {NAMES[kind]:<28}  {row.wall:7.2f} s  {row.cpu:7.2f} s CPU")
    return list(best.values())


def drains(kinds: Sequence[str], options: argparse.Namespace) -> list[Row]:
    """Tasks that sleep for 50 ms, printed as they come."""
    say(f"\ntasks that sleep for {NAP * 1e3:.0f} ms; the load of the machine is {os.getloadavg()[0]:.1f}")
    rows = []
    for workers in options.workers:
        for kind in kinds:
            rows.append(run(kind, workers, max(1, round(options.drain * workers / NAP)), options.scratch, NAP))
            say(f"{workers:>9} workers  {NAMES[kind]:<28}  {rows[-1].span:7.2f} s  {rows[-1].ideal:7.2f} s ideal")
    return rows


def waits(kind: str, options: argparse.Namespace) -> list[tuple[int, saturation.Use, saturation.Use]]:
    """A task for each worker, short and long."""
    fewest = WORKERS
    found = []
    for workers in (fewest, max(options.workers)):
        uses = [run(kind, workers, workers, options.scratch, seconds).use for seconds in (0.5, 0.5 + options.wait)]
        found.append((workers, uses[0], uses[1]))
    return found


def overhead_table(rows: Sequence[Row]) -> Table:
    """CPU and wall by the task, beside local workers."""
    by = {(row.kind, row.tasks): row for row in rows}
    body = []
    for row in rows:
        near = by.get(("process", row.tasks))
        body.append([
            f"{row.tasks:,}", NAMES[row.kind], f"{row.wall:.2f}", f"{row.cpu:.2f}", shown(row.micro), _times(row, near),
            f"{row.wall / near.wall:.2f}" if near else "-", f"{row.server:.2f}" if row.server else "-",
            "-" if row.batches is None else f"{row.batches:,}",
        ])
    head = (
        "tasks", "workers", "wall s", "CPU s", "us CPU a task", "/ local's CPU", "/ local's wall", "server's CPU s",
        "batches",
    )
    note = f"{WORKERS} workers each; everything from the start of Python to its end, jobs and their start included."
    return Table("overhead: trivial tasks without files", head, body, note, left=2)


def _times(row: Row, near: Row | None) -> str:
    return f"{row.cpu / near.cpu:.2f}" if near else "-"


def further(rows: Sequence[Row]) -> dict[str, tuple[float, float]]:
    """For each kind, CPU and wall in microseconds for each further task: without the start of Python and of jobs."""
    found = {}
    for kind in dict.fromkeys(row.kind for row in rows):
        few, *_, many = sorted((row for row in rows if row.kind == kind), key=lambda row: row.tasks) * 2
        if many.tasks > few.tasks:
            more = many.tasks - few.tasks
            found[kind] = ((many.cpu - few.cpu) / more * 1e6, (many.wall - few.wall) / more * 1e6)
    return found


def further_table(rows: Sequence[Row]) -> Table:
    """The same without starting up."""
    costs = further(rows)
    near = costs.get("process")
    body = [
        [
            NAMES[kind], shown(cpu), f"{cpu / near[0]:.2f}" if near and near[0] > 0 else "-", shown(wall),
            f"{wall / near[1]:.2f}" if near and near[1] > 0 else "-",
        ]
        for kind, (cpu, wall) in costs.items()
    ]
    sizes = sorted({row.tasks for row in rows})
    title = f"for each further task, from {sizes[0]:,} to {sizes[-1]:,}"
    return Table(title, ("workers", "us CPU", "/ local's", "us wall", "/ local's"), body)


def commands_table(rows: Sequence[Row]) -> Table:
    """What the site was asked."""
    body = [
        [f"{row.tasks:,}", *(str(row.commands.get(name, 0)) for name in COMMANDS), f"{row.wall:.0f}"]
        for row in rows if row.kind == "slurm"
    ]
    return Table("commands of the batch system", ("tasks", *COMMANDS, "in so many s"), body)


def drain_table(rows: Sequence[Row]) -> Table:
    """How well the workers are used."""
    body = [
        [
            str(row.workers), NAMES[row.kind], f"{row.tasks:,}", f"{row.span:.2f}", _percent(row.ideal / row.span),
            _percent(row.busy / row.workers / row.span), f"{row.ramp:.2f}", f"{row.seconds:.2f}",
            _percent(row.ideal / row.seconds),
        ]
        for row in rows
    ]
    head = (
        "workers", "kind", "tasks", "first to last s", "efficiency", "in tasks", "all at work after s", "run s",
        "efficiency of the run",
    )
    note = (
        "efficiency: what the tasks should sleep, by the workers, to what it took; in tasks: the part of the workers' "
        "time that was in tasks, which take longer than they should sleep where a machine is busy."
    )
    return Table(f"tasks that sleep for {NAP * 1e3:.0f} ms", head, body, note, left=2)


def _percent(part: float) -> str:
    return f"{100 * part:.1f} %"


def find_goals(rows: Sequence[Row], naps: Sequence[Row]) -> Iterator[Goal]:
    """Readings beside what they should be."""
    by = {(row.kind, row.tasks): row for row in rows}
    for row in rows:
        near = by.get(("process", row.tasks))
        if near and row.kind in SERVERS:
            yield Goal(f"{NAMES[row.kind]}: CPU / local workers'", f"{row.tasks:,} tasks", row.cpu / near.cpu, 2.0)
    costs = further(rows)
    for kind in SERVERS:
        # Between sizes that are too small, anything comes out.
        if kind in costs and "process" in costs and min(costs[kind][0], costs["process"][0]) > 0:
            yield Goal(
                f"{NAMES[kind]}: CPU / local workers'", "each further task", costs[kind][0] / costs["process"][0], 2.0
            )
    for row in rows:
        if row.kind == "slurm":
            at = f"{row.tasks:,} tasks"
            yield Goal("submissions", at, row.commands.get("sbatch", 0), SUBMISSIONS)
            yield Goal("status queries", at, row.commands.get("squeue", 0), 1 + row.wall // 60)
    for row in naps:
        yield Goal(f"{NAMES[row.kind]}: time / ideal", f"{row.workers} workers", row.span / row.ideal, 1 / 0.95)


# --- the command line ------------------------------------------------------------------------------------------------


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("tasks", type=int, nargs="*", default=list(SIZES), help="sizes (default: 10000 100000)")
    add("--skip", default="", metavar="NAMES", help=f"leave out some of {','.join(NAMES)}")
    add("--workers", type=int, nargs="+", default=[2, 4, 8], metavar="W", help="for tasks that sleep (default: 2 4 8)")
    add("--drain", type=float, default=20.0, metavar="S", help="such tasks for S seconds (default: 20)")
    add("--wait", type=float, default=20.0, metavar="S", help="of the runs that wait (default: 20); 0: no sum")
    add("--repeat", type=int, default=1, metavar="R", help="measure the overhead R times, and keep the least CPU")
    add("--scratch", metavar="DIR", help="where the work is done; jobs must see it (default: as for temporary files)")
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables go (default: %(default)s)")
    options = parser.parse_args()
    options.tasks = sorted(set(options.tasks))
    options.skip = [name for name in options.skip.split(",") if name]
    for name in options.skip:
        if name not in NAMES:
            parser.error(f"--skip: there is no {name!r}; there are {', '.join(NAMES)}")
    if options.tasks[0] < 4 or min(options.workers) < 1 or options.repeat < 1:
        parser.error("sizes are 4 or more, --workers and --repeat 1 or more")
    if "slurm" not in options.skip and shutil.which("sbatch") is None:
        parser.error(
            "there is no Slurm here: sbatch is not on PATH. --skip slurm leaves it out; test/cluster/up DIR makes one "
            "on this machine, and '. DIR/env.sh' shows it to this shell"
        )
    return options


def main() -> int:
    """Measure, print, and write the results; the status tells whether all ran, not whether the goals are met."""
    options = read_options()
    kinds = [kind for kind in NAMES if kind not in options.skip]
    options.scratch = place = tempfile.mkdtemp(prefix="pipelet-bench-", dir=options.scratch)
    try:
        rows = overheads(kinds, options)
        naps = drains([kind for kind in kinds if kind != "dask"], options)
        servers = [kind for kind in SERVERS if kind in kinds]
        waited = waits(servers[-1], options) if servers and options.wait else []
    except MeasuringError as error:
        say(f"batch.py: error: {error}")
        return 1
    finally:
        progress("removing what was made ...")
        shutil.rmtree(place, ignore_errors=True)
    made = [overhead_table(rows), further_table(rows), drain_table(naps)]
    if "slurm" in kinds:
        made.insert(2, commands_table(rows))
    if waited:
        own = sorted((row for row in rows if row.kind == servers[-1]), key=lambda row: row.tasks)
        nap = next(row for row in reversed(naps) if row.kind == servers[-1])
        price = saturation.prices(own[0].use, own[-1].use, nap.use, waited)
        made += [saturation.table(price, NAMES[servers[-1]])] if price else []
    goals = list(find_goals(rows, naps))
    made.append(goals_table(goals))
    for table in made:
        say("\n" + table.text())
    content = {
        "overhead": [asdict(row) for row in rows], "naps": [asdict(row) for row in naps],
        "waits": [[workers, *map(asdict, uses)] for workers, *uses in waited],
    }
    say("\nwritten: " + ", ".join(map(str, save("batch", made, goals, content, options.results))))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nbatch.py: stopped")
