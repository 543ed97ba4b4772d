#!/usr/bin/env python3
"""A run beside which the web pages are looked at: ``gen -> work -> total``, with new tasks each time.

    python benchmarks/webrun.py CODE PREFIX 2000 --round 3 --milliseconds 5
    python benchmarks/webrun.py CODE PREFIX 2000 --again        run after run, until Ctrl-C

CODE is where the scripts are written. Tasks wait, or with ``--busy`` they compute.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline

DOT = "gen -> work -> total"
GEN = "round = {round}\nn = get_input()\nset_output(list(range(n)))\n"
WAIT = "import time\nvalue = get_input()\ntime.sleep({seconds})\nset_output(value)\n"
BUSY = """\
import time
value = get_input()
end = time.process_time() + {seconds}
while time.process_time() < end:
    pass
set_output(value)
"""
TOTAL = "#multiplex cross_prod group_by 'all'\nset_output(sum(get_input('work')))\n"


def write_scripts(directory: str, round: int, seconds: float, busy: bool) -> None:
    """Write the three scripts; another round makes other versions of all of them."""
    home = Path(directory)
    home.mkdir(parents=True, exist_ok=True)
    texts = {"gen": GEN.format(round=round), "work": (BUSY if busy else WAIT).format(seconds=seconds), "total": TOTAL}
    for name, text in texts.items():
        (home / f"{name}.py").write_text(text)


def run(options: argparse.Namespace, round: int) -> bool:
    """Run it once; tell whether all went well."""
    write_scripts(options.code, round, options.milliseconds / 1000, options.busy)
    pipeline = Pipeline(DOT, code_dir=options.code, prefix=options.prefix, durability="process")
    pipeline.push(gen=[options.n])
    summary = launch_process(pipeline, options.workers, log_level=0)[0].run()
    return summary.ok and summary.done == options.n + 2


def main() -> int:
    """Run it once, or again and again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("code", help="where the scripts are written")
    parser.add_argument("prefix", help="the root of the data")
    parser.add_argument("n", type=int, help="tasks")
    parser.add_argument("--round", type=int, default=0, help="another one makes other versions (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="when it is through, go on with the next round")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="what a task takes (default: %(default)s)")
    parser.add_argument("--busy", action="store_true", help="tasks compute for so long, and do not wait")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    options = parser.parse_args()
    round = options.round
    while run(options, round):
        if not options.again:
            return 0
        round += 1
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
