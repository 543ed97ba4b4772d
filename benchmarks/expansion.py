#!/usr/bin/env python3
"""What directives cost: the making of inputs with a directive beside as many inputs, or elements, without one.

``where`` with an equality takes N x N combinations of which N stay, beside N inputs of one parent. ``group_by`` puts M
elements into one class, or into a thousand by an expression that looks at each, beside M inputs. Timed is the call of
``pipelet.core.multiplex.expand`` and one pass over all that it gives, to the last member of each class; the least of
several readings. The memory is the peak of what Python allocates meanwhile (tracemalloc, in a pass of its own).

The making of inputs is a small part of a run. So ``where`` is also measured in one: a pipeline with N trivial tasks
that join two parents, beside one with N tasks of one parent (``joining.py``), from nothing, CPU of all processes.

    python benchmarks/expansion.py
    python benchmarks/expansion.py --where 2000 --group 100000
"""

from __future__ import annotations

import argparse
import gc
import pickle
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from measuring import checked
from measuring import measure as measure_command
from reporting import RESULTS, Goal, Table, goals_table, megabytes, progress, save, say

from pipelet.core.directives import Multiplex
from pipelet.core.fingerprint import value_digest
from pipelet.core.model import Element, ParentOutput
from pipelet.core.multiplex import expand
from pipelet.core.text import value_text

CLASSES = 1000
LIMIT = 1.5


@dataclass
class Case:
    """One expansion."""

    what: str
    size: int  #: elements of each parent
    inputs: int = 0
    seconds: float = float("inf")
    #: Bytes: what Python allocates; of a run, what all its processes hold.
    peak: int = 0
    #: The case without a directive that it is held against.
    beside: str = ""


def output(name: str, n: int) -> ParentOutput:
    """A parent with n tasks that each gave one tuple."""
    values = [(number, f"{name}{number}") for number in range(n)]
    elements = [
        Element(task + 1, 0, value_digest(value), value_text(value), pickle.dumps(value))
        for task, value in enumerate(values)
    ]
    return ParentOutput(name, elements, [element.task for element in elements])


def load(element: Element) -> object:
    """The object, as the engine gets it."""
    return pickle.loads(element.blob)


def work(parents: Sequence[ParentOutput], directive: Multiplex) -> int:
    """Make the inputs, and look once at everything that they hold; gives how many they are."""
    inputs = expand("child", parents, directive, load, print)
    for wanted in inputs:
        for ids in wanted.parents:
            len(ids)
        if wanted.group is not None:
            for members in wanted.group.members:
                for _ in members:
                    pass
    return len(inputs)


def measure(case: Case, parents: Sequence[ParentOutput], directive: Multiplex, repeats: int) -> Case:
    """Time a case, and look at its memory."""
    for again in range(repeats):
        progress(f"{case.what}, {case.size:,}: reading {again + 1} of {repeats} ...")
        gc.collect()
        # processor time: what others do on the machine must not count
        begun = time.process_time()
        case.inputs = work(parents, directive)
        case.seconds = min(case.seconds, time.process_time() - begun)
    progress(f"{case.what}, {case.size:,}: memory ...")
    gc.collect()
    tracemalloc.start()
    work(parents, directive)
    case.peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return case


def where_cases(n: int, repeats: int) -> list[Case]:
    """N x N with an equality, beside N."""
    a, b = output("a", n), output("b", n)
    plain = measure(Case("no directive", n), [a], Multiplex(), repeats)
    text = "where a[0] == b[0]"
    joined = Case(text, n, beside=plain.what)
    measure(joined, [a, b], Multiplex(where="a[0] == b[0]"), repeats)
    if joined.inputs != n:
        raise SystemExit(f"expansion.py: error: {text} gave {joined.inputs} inputs for {n} x {n}")
    return [plain, joined]


def group_cases(m: int, repeats: int) -> list[Case]:
    """M elements in classes, beside M inputs."""
    parents = [output("a", m)]
    plain = measure(Case("no directive", m), parents, Multiplex(), repeats)
    cases = [plain]
    expressions = {"'all'": 1, f"a[0] % {CLASSES}": min(CLASSES, m)}
    for expression, classes in expressions.items():
        case = Case(f"group_by {expression}", m, beside=plain.what)
        measure(case, parents, Multiplex(group_by=expression), repeats)
        if case.inputs != classes:
            raise SystemExit(f"expansion.py: error: {case.what} gave {case.inputs} classes of {m} elements")
        cases.append(case)
    return cases


def run_cases(n: int, repeats: int) -> list[Case]:
    """A run with ``where``, beside a run without."""
    plain = Case("a run, no directive", n, n)
    joined = Case("a run, where a[0] == b[0]", n, n, beside=plain.what)
    script = Path(__file__).resolve().parent / "joining.py"
    for again in range(repeats):
        for case, options in ((plain, []), (joined, ["--where"])):
            progress(f"{case.what}, {n:,}: reading {again + 1} of {repeats} ...")
            with tempfile.TemporaryDirectory(prefix="pipelet-bench-") as directory:
                command = [sys.executable, str(script), directory, str(n), *options]
                reading = checked(measure_command(command), case.what)
            case.seconds = min(case.seconds, reading.cpu)
            case.peak = max(case.peak, reading.memory)
    return [plain, joined]


def find_goals(cases: Sequence[Case]) -> list[Goal]:
    """Each directive beside what it is held against."""
    by = {(case.what, case.size): case for case in cases}
    goals = []
    for case in cases:
        if case.beside:
            plain = by[case.beside, case.size]
            at = f"{case.size:,} x {case.size:,}" if "where" in case.what else f"{case.size:,} elements"
            goals.append(Goal(f"{case.what} / no directive", at, case.seconds / plain.seconds, LIMIT))
    return goals


def main() -> int:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--where", type=int, default=10_000, metavar="N", help="elements of each of two parents (default: 10000)")
    add("--group", type=int, default=1_000_000, metavar="M", help="elements for group_by (default: 1000000)")
    add("--repeat", type=int, default=2, metavar="R", help="how often group_by, and runs, are timed (default: 2)")
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables go (default: %(default)s)")
    options = parser.parse_args()
    cases = [
        *where_cases(options.where, max(options.repeat, 5)),
        *run_cases(options.where, options.repeat),
        *group_cases(options.group, options.repeat),
    ]
    head = ("", "elements", "inputs", "CPU s", "us an element", "peak MB")
    body = [
        [
            case.what, f"{case.size:,}", f"{case.inputs:,}", f"{case.seconds:.3f}",
            f"{case.seconds / case.size * 1e6:.2f}", megabytes(case.peak),
        ]
        for case in cases
    ]
    goals = find_goals(cases)
    title = "expansion: from the outputs of parents to the inputs of a child, and whole runs"
    made = [Table(title, head, body), goals_table(goals)]
    for table in made:
        say("\n" + table.text())
    written = save("expansion", made, goals, [asdict(case) for case in cases], options.results)
    say("\nwritten: " + ", ".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
