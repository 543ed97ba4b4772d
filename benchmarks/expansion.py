#!/usr/bin/env python3
"""What a `where` with an equality costs: N x N combinations of which N stay, beside N tasks without a directive.

    python benchmarks/expansion.py 10000
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Callable

from pipelet.core.directives import Multiplex
from pipelet.core.fingerprint import value_digest
from pipelet.core.model import Element, ParentOutput
from pipelet.core.multiplex import expand
from pipelet.core.text import value_text


def output(name: str, n: int) -> ParentOutput:
    """A parent with n tasks that each gave one tuple."""
    values = [(number, f"{name}{number}") for number in range(n)]
    elements = [
        Element(task + 1, 0, value_digest(value), value_text(value), pickle.dumps(value))
        for task, value in enumerate(values)
    ]
    return ParentOutput(name, elements, [element.task for element in elements])


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """The least of several readings."""
    readings = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        readings.append(time.perf_counter() - begun)
    return min(readings)


def main() -> None:
    """Measure, and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int, nargs="?", default=10_000)
    n = parser.parse_args().n
    a, b = output("a", n), output("b", n)

    def load(element: Element) -> object:
        return pickle.loads(element.blob)

    def joined() -> object:
        return expand("c", [a, b], Multiplex(where="a[0] == b[0]"), load, print)

    def plain() -> object:
        return expand("c", [a], Multiplex(), load, print)

    assert len(expand("c", [a, b], Multiplex(where="a[0] == b[0]"), load, print)) == n
    where, alone = seconds(joined), seconds(plain)
    print(f"{n} x {n} with `where a[0] == b[0]`: {where:.3f} s for {n} tasks, {where / n * 1e6:.1f} us each")
    print(f"{n} without a directive:  {alone:.3f} s, {alone / n * 1e6:.1f} us each; ratio {where / alone:.1f}")


if __name__ == "__main__":
    main()
