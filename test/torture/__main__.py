"""Runs pipelines, disturbs them in all ways at random moments, and compares what is there in the end.

    python test/torture --rounds 100
    python test/torture --seed 4711 --rounds 1 -v

Each round has a seed of its own: the same seed gives the same pipeline and the same faults in the same order. The
moments within a run depend on the machine as well, so a failure may need some trials to show again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from faults import BEFORE, DURING
from rounds import Failed, Round
from shapes import SHAPES


def main() -> int:
    """Read the options, and go on until there were enough rounds, or a failure."""
    options = _options()
    if os.geteuid() == 0 and "TORTURE_ALONE" not in os.environ and _may_unshare():
        # Disks that are mounted here go with this process, whatever happens to it.
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, "TORTURE_ALONE": "1"})
    directory = options.directory or Path(tempfile.mkdtemp(prefix="torture-"))
    begun, rounds, failures = time.monotonic(), 0, 0
    faults: Counter[str] = Counter()
    restarts = 0
    most = options.rounds or (10**9 if options.minutes else 20)
    while rounds < most and not (options.minutes and time.monotonic() - begun > 60 * options.minutes):
        seed = options.seed + rounds
        rounds += 1
        torture = Round(seed, directory / str(seed), options.faults, options.shapes, options.longest, options.verbose)
        if rounds == 1 and not torture.own_disk:
            print("no disk can be mounted here: a limit on the size of files stands for a full one", flush=True)
        try:
            torture.play()
        except Failed as error:
            failures += 1
            kept = torture.keep()
            print(f"{torture.line()}  FAILED\n{error}\n  again: python test/torture --seed {seed} --rounds 1 -v\n"
                  f"  kept:  {kept}", flush=True)
            if not options.go_on:
                break
        else:
            print(torture.line(), flush=True)
            torture.remove()
        finally:
            faults.update(torture.faults)
            restarts += torture.starts
    counts = ", ".join(f"{name} {number}" for name, number in sorted(faults.items()))
    print(f"{rounds} rounds, {sum(faults.values())} faults, {restarts} starts, {failures} failures, "
          f"{time.monotonic() - begun:.0f} s: {counts}")
    if not failures:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if failures else 0


def _may_unshare() -> bool:
    command = ["unshare", "--mount", "true"]
    return bool(shutil.which("unshare")) and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _options() -> argparse.Namespace:
    words, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        "torture", description=words, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**6 * 1000, help="of the first round")
    parser.add_argument("--rounds", type=int, help="how many, each with the seed after the last; 20 if nothing is said")
    parser.add_argument("--minutes", type=float, default=0, help="no new round begins after so long")
    parser.add_argument("--longest", type=float, default=10, help="seconds that the database is locked, at most")
    parser.add_argument("--faults", nargs="+", choices=[*DURING, *BEFORE], default=[*DURING, *BEFORE], metavar="FAULT",
                        help=f"only these: {', '.join([*DURING, *BEFORE])}")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES), metavar="SHAPE",
                        help=f"only these pipelines: {', '.join(SHAPES)}")
    parser.add_argument("--directory", type=Path, help="where to work; a temporary directory if not given")
    parser.add_argument("--go-on", action="store_true", help="after a failure too")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell each step")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
