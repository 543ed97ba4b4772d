#!/usr/bin/env python3
"""All the benchmarks one after the other, and all their goals in one table at the end: what ``make bench`` runs.

    python benchmarks/bench.py                     about five minutes on two cores
    python benchmarks/bench.py 1000 10000 50000    other sizes of the work

The quick engines are measured beside Pipelet at all sizes, the slow ones at the smallest only. ``make bench-peers``
measures all at all sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import peers
from reporting import RESULTS, Goal, Table, goals_table, save, say, told

HERE = Path(__file__).resolve().parent
SIZES = (500, 2000, 10_000)
ALL = ("start", "expansion", "makespan", "overhead")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("n", type=int, nargs="*", default=list(SIZES), help="sizes for the overhead (default: 500 2000 10000)")
    add("--peers", default="all", metavar="NAMES", help=f"'all', 'none' or some of {','.join(peers.BY_NAME)}")
    add("--seconds", type=float, default=30.0, metavar="S", help="work for S seconds in each run of the makespan")
    add("--group", type=int, default=1_000_000, metavar="M", help="elements for group_by (default: 1000000)")
    add("--results", default=str(RESULTS), metavar="DIR", help="where tables and plots go (default: %(default)s)")
    add("--only", default=",".join(ALL), metavar="NAMES", help="some of them (default: %(default)s)")
    options = parser.parse_args()
    options.only = options.only.split(",")
    for name in options.only:
        if name not in ALL:
            parser.error(f"--only: there is no {name!r}; there are {', '.join(ALL)}")
    return options


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """Each benchmark that is wanted, with its arguments."""
    named = "" if options.peers == "none" else options.peers
    sizes = [str(n) for n in options.n]
    arguments = {
        "start": [],
        "expansion": ["--group", str(options.group), "--where", str(min(10_000, options.group))],
        "makespan": ["--seconds", str(options.seconds)],
        "overhead": [*sizes, "--peers", named, "--slow-up-to", str(min(options.n))],
    }
    return {name: arguments[name] for name in ALL if name in options.only}


def main() -> int:
    """Run all; the status tells whether they ran, not whether the goals are met."""
    options = read_options()
    begun = time.monotonic()
    goals: list[Goal] = []
    broken = []
    for name, arguments in commands(options).items():
        say(f"\n==> {name}")
        command = [sys.executable, str(HERE / f"{name}.py"), *arguments, "--results", options.results]
        if subprocess.call(command):
            broken.append(name)
            continue
        listed = json.loads(Path(options.results, f"{name}.json").read_text())["goals"]
        goals += [Goal(**{key: value for key, value in goal.items() if key != "met"}) for goal in listed]
    # At small sizes the start of Python decides, so of each goal the largest size counts.
    last = list({goal.what if "tasks" in goal.at else (goal.what, goal.at): goal for goal in goals}.values())
    table: Table = goals_table(last, "All goals, at the largest size measured")
    say("\n" + table.text())
    met = sum(goal.met for goal in last)
    say(f"\n{met} of {len(last)} goals {told(True)}; {time.monotonic() - begun:.0f} s in all")
    paths = save("goals", [table], last, None, options.results)
    say("written: " + ", ".join(map(str, paths)))
    if broken:
        say(f"bench.py: error: {', '.join(broken)} did not run; what went wrong stands above")
    return 1 if broken else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nbench.py: stopped")
