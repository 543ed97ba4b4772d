"""Make the demonstration in a directory, and say how to look at it."""

from __future__ import annotations

import argparse
import sys
import time

from tools.demo_site import USERS, make_demo


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.demo_site", description=__doc__)
    parser.add_argument("directory", help="where it is made; empty or missing")
    parser.add_argument("-p", "--processes", type=int, default=2, metavar="N", help="workers (default: %(default)s)")
    options = parser.parse_args()
    begun = time.monotonic()
    demo = make_demo(options.directory, options.processes)
    print(f"Made {demo.sqlfile} in {time.monotonic() - begun:.0f} s. Look at it:\n")
    print(f"  pipeweb track cmb {demo.sqlfile}\n  pipeweb start\n")
    for name, (level, password) in USERS.items():
        print(f"  user {name}, password {password}, {'may change things' if level == 2 else 'may read'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
