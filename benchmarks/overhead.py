#!/usr/bin/env python3
"""What Pipelet itself costs, beside a floor and beside other engines, measured in the same run.

The work W(N) is ``gen -> double -> incr -> total``: one task with N outputs, N tasks, N tasks, and one that gathers
them. The tasks are trivial, all is persisted, two worker processes. It runs three times: from nothing (cold), with
nothing to do (second), and with N + 1 pushed instead of N (third: gen again, two new tasks, the total). With files,
each task of double and incr also writes a file. Wall and CPU are those of all processes, from the start of Python to
the end.

    python benchmarks/overhead.py 1000 10000
    python benchmarks/overhead.py 10000 --peers all         the other engines as well
    python benchmarks/overhead.py 10000 --peers joblib,ninja --only files
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import peers
from measuring import MeasuringError, Reading, checked, measure
from reporting import RESULTS, Goal, Table, goals_table, megabytes, progress, save, say, shown, told

HERE = Path(__file__).resolve().parent
RUNS = ("cold", "second", "third")
FILES, PLAIN = "files", "no files"
#: What is unbearable is stopped.
LIMIT = 360.0
#: So many directories tell what one costs, and from so many microseconds on something is the matter with the disk.
PROBES = 2000
SLOW_DIRECTORY = 80.0
#: Part of the command line of the process that schedules.
SCHEDULER = "pipelet.background"


@dataclass(frozen=True)
class Subject:
    """Something that does W(N)."""

    name: str
    variant: str  #: with files, without, or what it keeps
    command: Callable[[str, int], list[str]]
    main: str | None = None
    runs: Sequence[str] = RUNS
    slow: bool = False
    check: Callable[[str, int], list[str]] | None = None
    version: str = ""


@dataclass
class Row:
    """One reading."""

    name: str
    variant: str
    n: int
    run: str
    wall: float
    cpu: float
    memory: int
    memory_main: int
    stopped: bool = False
    lost: bool = False
    version: str = ""

    @property
    def tasks(self) -> int:
        """How many tasks the work has."""
        return 2 * self.n + 2

    @property
    def micro(self) -> float:
        """Microseconds of CPU a task."""
        return self.cpu / self.tasks * 1e6


# --- who does the work -----------------------------------------------------------------------------------------------


def own_subjects(variants: Sequence[str]) -> Iterator[Subject]:
    """Pipelet and the floor."""
    for variant in variants:
        yield _floor(variant)
        yield _pipelet(variant)
        if variant == FILES:
            # The floor asks nothing of the disk either.
            yield _pipelet(variant, "process")


def _floor(variant: str) -> Subject:
    options = [] if variant == FILES else ["--no-directories"]

    def command(directory: str, n: int) -> list[str]:
        return [sys.executable, str(HERE / "floor.py"), directory, str(n), *options]

    return Subject("floor", variant, command)


def _pipelet(variant: str, durability: str = "power") -> Subject:
    options = ["--files"] if variant == FILES else []
    options += ["--durability", durability]

    def command(directory: str, n: int) -> list[str]:
        return [sys.executable, str(HERE / "work.py"), directory, str(n), *options]

    def check(directory: str, n: int) -> list[str]:
        return [*command(directory, n), "--check"]

    told = variant if durability == "power" else f"{variant}, durability={durability!r}"
    return Subject("pipelet", told, command, main=SCHEDULER, check=check)


def peer_subjects(names: Sequence[str]) -> Iterator[Subject]:
    """The other engines that can run here; of the others it is said why not."""
    for name in names:
        try:
            ready = peers.prepare(peers.BY_NAME[name], say)
        except peers.PeerMissing as missing:
            say(f"left out: {missing}")
            continue
        peer = ready.peer
        runs = RUNS if peer.again else RUNS[:1]
        yield Subject(name, f"keeps {peer.keeps}", ready.command, None, runs, peer.slow, version=ready.version)


# --- measuring -------------------------------------------------------------------------------------------------------


def measure_subject(subject: Subject, n: int, limit: float, scratch: str) -> Iterator[Row]:
    """All runs of one subject in a fresh directory, which stays: see `directory_cost`."""
    directory = tempfile.mkdtemp(prefix=f"{subject.name}-", dir=scratch)
    for run in subject.runs:
        size = n + 1 if run == "third" else n
        progress(f"{subject.name} ({subject.variant}), N = {n:,}, {run} run ...")
        # What the one before left to be written must not be paid by this one.
        os.sync()
        reading = measure(subject.command(directory, size), limit, subject.main)
        row = _row(subject, n, run, reading)
        yield row
        if row.stopped:
            return
        _verify(subject, size, reading)
    if subject.check is not None:
        progress(f"{subject.name} ({subject.variant}), N = {n:,}: checking ...")
        checked(measure(subject.check(directory, n + 1)), f"the check of {subject.name}")


def directory_cost(scratch: str) -> float:
    """Microseconds of CPU for a directory with a small file, here and now.

    On ext4 this grows tenfold for minutes after many directories have been removed, since it passes over every inode
    that was freed of late. So nothing is removed before all is measured; and what another program, or the benchmark
    before, has removed shows in this number.
    """
    place = tempfile.mkdtemp(prefix="probe-", dir=scratch)
    before = time.process_time()
    for number in range(PROBES):
        os.mkdir(f"{place}/{number}")
        with open(f"{place}/{number}/value.txt", "w") as file:
            file.write("1")
    return (time.process_time() - before) / PROBES * 1e6


def _row(subject: Subject, n: int, run: str, reading: Reading) -> Row:
    if not reading.stopped:
        checked(reading, f"{subject.name} ({subject.variant}), N = {n}, {run} run")
    return Row(
        subject.name, subject.variant, n, run, reading.wall, reading.cpu, reading.memory, reading.memory_main,
        reading.stopped, reading.lost, subject.version,
    )


def _verify(subject: Subject, n: int, reading: Reading) -> None:
    """A wrong result is no result: the sum of the first n odd numbers is n squared."""
    if subject.name == "pipelet":
        return  # it is checked on disk, outside of what is measured
    last = reading.tail.splitlines()[-1]
    total = json.loads(last)["total"] if subject.name == "floor" else int(last)
    if total != n * n:
        raise MeasuringError(f"{subject.name} gave {total} for N = {n}, not {n * n}")


def measure_all(subjects: Sequence[Subject], options: argparse.Namespace) -> list[Row]:
    """Everything, printed as it comes."""
    best: dict[tuple[str, str, int, str], Row] = {}
    left_out: set[str] = set()
    head = Table("", HEAD, [], left=3)
    for n in options.n:
        say(f"\nN = {n:,}: {2 * n + 2:,} tasks")
        if options.only != "no-files":
            _say_directory_cost(options.scratch)
        say(head.line(HEAD, WIDTHS))
        for _ in range(options.repeat):
            for subject in subjects:
                if subject.name in left_out or (subject.slow and n > options.slow_up_to):
                    continue
                try:
                    for row in measure_subject(subject, n, options.limit, options.scratch):
                        key = (row.name, row.variant, n, row.run)
                        best[key] = least(best.get(key), row)
                        say(head.line(_cells(row), WIDTHS))
                        if row.stopped:
                            left_out.add(subject.name)
                except MeasuringError as error:
                    # What is wrong with another engine must not cost us the table.
                    if subject.name not in peers.BY_NAME:
                        raise
                    left_out.add(subject.name)
                    say(f"left out from here on: {error}")
    return list(best.values())


def _say_directory_cost(scratch: str) -> None:
    cost = directory_cost(scratch)
    say(f"a directory with a small file costs {shown(cost)} us of CPU on this disk now")
    if cost > SLOW_DIRECTORY:
        say("that is much: many files were removed here of late; the times with files mean little before some minutes")


def least(before: Row | None, row: Row) -> Row:
    """The least of several readings: what comes on top is somebody else's."""
    if before is None:
        return row
    row.wall, row.cpu = min(before.wall, row.wall), min(before.cpu, row.cpu)
    row.memory = max(before.memory, row.memory)
    row.memory_main = max(before.memory_main, row.memory_main)
    return row


# --- what came out ---------------------------------------------------------------------------------------------------

HEAD = ("engine", "variant", "run", "wall s", "CPU s", "us CPU a task", "MB all", "MB main", "")
WIDTHS = (16, 39, 6, 8, 8, 13, 8, 8, 0)


def _cells(row: Row) -> list[str]:
    name = f"{row.name} {row.version}".strip()
    remark = f"stopped after {row.wall:.0f} s" if row.stopped else ""
    remark += "some CPU was seen only while it ran" if row.lost else ""
    costs = [f"{row.wall:.2f}", f"{row.cpu:.2f}", shown(row.micro)]
    memory = [megabytes(row.memory), megabytes(row.memory_main)]
    return [name, row.variant, row.run, *costs, *memory, remark]


def tables(rows: Sequence[Row], goals: Sequence[Goal]) -> list[Table]:
    """All that was measured: one table a run, the sizes beside each other, and the goals."""
    sizes = sorted({row.n for row in rows})
    names = list(dict.fromkeys((row.name, row.variant, row.version) for row in rows))
    by = {(row.name, row.variant, row.run, row.n): row for row in rows}
    made = []
    for run in RUNS:
        body = []
        for name, variant, version in names:
            found = [by.get((name, variant, run, n)) for n in sizes]
            if any(found):
                body.append([f"{name} {version}".strip(), variant, *(_told(row) for row in found)])
        head = ("engine", "variant", *(f"{2 * n + 2:,} tasks" for n in sizes))
        made.append(Table(f"{run} run: microseconds of CPU a task / wall seconds", head, body, left=2))
    body = [
        [variant, f"{row.n * 2 + 2:,}", row.run, megabytes(row.memory_main), megabytes(row.memory)]
        for name, variant, _ in names if name == "pipelet"
        for row in rows if (row.name, row.variant) == (name, variant)
    ]
    head = ("pipelet", "tasks", "run", "MB scheduler", "MB all processes")
    made.append(Table("memory of Pipelet, at its peak", head, body))
    return [*made, *_marginal(by, names, sizes), goals_matrix(goals)]


def _marginal(
    by: dict[tuple[str, str, str, int], Row], names: Sequence[tuple[str, str, str]], sizes: Sequence[int]
) -> Iterator[Table]:
    """What each further task costs: from the second largest size to the largest, so that starting up falls out."""
    body = []
    for name, variant, version in names:
        cells = []
        for run in RUNS:
            few, many = (by.get((name, variant, run, n)) for n in (sizes[-2:] if len(sizes) > 1 else (0, 0)))
            known = few and many and not (few.stopped or many.stopped)
            cells.append(shown((many.cpu - few.cpu) / (many.tasks - few.tasks) * 1e6) if known else "-")
        if any(cell != "-" for cell in cells):
            body.append([f"{name} {version}".strip(), variant, *cells])
    if body:
        title = f"microseconds of CPU for each further task, from {2 * sizes[-2] + 2:,} to {2 * sizes[-1] + 2:,} tasks"
        yield Table(title, ("engine", "variant", *RUNS), body, left=2)


def _told(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"stopped after {row.wall:.0f} s" if row.stopped else f"{shown(row.micro)} / {row.wall:.2f}"


NOTE = "The goals are set for 100,000 tasks and more: at small sizes, what the start of Python costs decides."


def goals_matrix(goals: Sequence[Goal]) -> Table:
    """One goal a row, sizes beside each other."""
    sizes = list(dict.fromkeys(goal.at for goal in goals))
    body = []
    for what, limit, unit in dict.fromkeys((goal.what, goal.limit, goal.unit) for goal in goals):
        found = {goal.at: goal for goal in goals if (goal.what, goal.limit) == (what, limit)}
        cells = [f"{shown(found[at].value)} {told(found[at].met)}" if at in found else "-" for at in sizes]
        body.append([what, shown(limit, unit), *cells])
    if not body:
        return goals_table(goals)
    return Table("goals", ("goal", "at most", *sizes), body, NOTE)


def find_goals(rows: Sequence[Row]) -> list[Goal]:
    """Readings beside what they should be."""
    by = {(row.name, row.variant, row.run, row.n): row for row in rows if not row.stopped}
    sizes = sorted({row.n for row in rows})
    goals = []
    for n in sizes:
        at = f"{2 * n + 2:,} tasks"
        for run, variant, attribute, limit in RATIOS:
            own, floor = by.get(("pipelet", variant, run, n)), by.get(("floor", variant, run, n))
            if own and floor:
                what = f"{run}, {variant}: {attribute} / floor's"
                goals.append(Goal(what, at, getattr(own, attribute) / getattr(floor, attribute), limit))
        plain = by.get(("pipelet", PLAIN, "cold", n))
        if plain:
            goals.append(Goal("cold, no files: CPU a task", at, plain.micro, 40, "us"))
        goals += _beside_ninja(rows, by, n, at)
        mains = [row.memory_main for row in rows if row.name == "pipelet" and row.n == n]
        if mains:
            limit = 100 if 2 * n <= 100_000 else 300
            goals.append(Goal("memory of the scheduler", at, max(mains) / 1e6, limit, "MB"))
    return [*goals, *_growth(by, sizes)]


#: What is compared with the floor, and how many times as much it may be.
RATIOS = (
    ("cold", FILES, "cpu", 1.5),
    ("cold", FILES, "wall", 1.5),
    ("second", FILES, "cpu", 2.0),
    ("second", PLAIN, "cpu", 2.0),
    ("third", FILES, "cpu", 2.0),
    ("third", PLAIN, "cpu", 2.0),
)
#: Growth is told between sizes that are at least so far apart, from so many elements on.
SMALLEST, APART = 5000, 4


def _beside_ninja(rows: Sequence[Row], by: dict[tuple[str, str, str, int], Row], n: int, at: str) -> Iterator[Goal]:
    ninja = next((row for row in rows if (row.name, row.run, row.n) == ("ninja", "second", n)), None)
    own = by.get(("pipelet", FILES, "second", n))
    if ninja and own:
        yield Goal("second, files: wall / ninja's", at, own.wall / ninja.wall, 1.0)


def _growth(by: dict[tuple[str, str, str, int], Row], sizes: Sequence[int]) -> Iterator[Goal]:
    """CPU a task at the largest size beside that at 10,000 tasks, or the smallest size above."""
    enough = [n for n in sizes if n >= SMALLEST]
    if not enough or enough[-1] < APART * enough[0]:
        return
    small = enough[0]
    at = f"{2 * enough[-1] + 2:,} tasks"
    for variant in (FILES, PLAIN):
        for run in RUNS[:2]:
            one, other = by.get(("pipelet", variant, run, small)), by.get(("pipelet", variant, run, enough[-1]))
            if one and other:
                what = f"growth, {run}, {variant}: CPU a task / that at {2 * small + 2:,}"
                yield Goal(what, at, other.micro / one.micro, 1.2)


# --- the command line ------------------------------------------------------------------------------------------------


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("n", type=int, nargs="*", default=[1000, 10_000], help="sizes: elements (tasks: twice as many, and two)")
    add("--peers", default="", metavar="NAMES", help=f"'all', or some of {','.join(peers.BY_NAME)}")
    add("--only", choices=("files", "no-files"), help="one of the two variants")
    add("--repeat", type=int, default=1, metavar="R", help="measure R times, and keep the least")
    add("--limit", type=float, default=LIMIT, metavar="S", help="stop a run after S seconds (default: %(default).0f)")
    add("--slow-up-to", type=int, default=10**9, metavar="N", help="leave the slow engines out above this size")
    add("--scratch", metavar="DIR", help="where the work is done (default: the system's place for temporary files)")
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables and plots go (default: %(default)s)")
    options = parser.parse_args()
    options.n = sorted(set(options.n))
    wanted = list(peers.BY_NAME) if options.peers == "all" else [name for name in options.peers.split(",") if name]
    for name in wanted:
        if name not in peers.BY_NAME:
            parser.error(f"--peers: there is no {name!r}; there are {', '.join(peers.BY_NAME)}, and 'all'")
    if options.n[0] < 1 or options.repeat < 1:
        parser.error("sizes and --repeat are 1 or more")
    options.peers = wanted
    return options


def main() -> int:
    """Measure, print, and write the results."""
    options = read_options()
    variants = {None: (FILES, PLAIN), "files": (FILES,), "no-files": (PLAIN,)}[options.only]
    subjects = [*own_subjects(variants), *peer_subjects(options.peers)]
    place = tempfile.mkdtemp(prefix="pipelet-bench-", dir=options.scratch)
    options.scratch = place
    try:
        rows = measure_all(subjects, options)
    except MeasuringError as error:
        say(f"overhead.py: error: {error}")
        return 1
    finally:
        progress("removing what was made ...")
        shutil.rmtree(place, ignore_errors=True)
    goals = find_goals(rows)
    made = tables(rows, goals)
    for table in made:
        say("\n" + table.text())
    paths = save("overhead", made, goals, [asdict(row) for row in rows], options.results)
    from plots import plot_overhead

    paths.append(plot_overhead(rows, Path(options.results) / "overhead.png"))
    say("\nwritten: " + ", ".join(map(str, paths)))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\noverhead.py: stopped")
