"""The first pipeline: knights and their qualities melt into titles, then each knight gets a seat.

`python main.py` runs it with one process for each core, `python main.py -p 2` with two, and `python main.py -d` runs
one task after the other in this process, for debugging.
"""

import argparse
import os
import sys

from pipelet.errors import PipeletError, TaskError
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline

pipedot = """
knights -> melt;
quality -> melt;
melt -> table;
"""


def main():
    parser = argparse.ArgumentParser(description="Run the first pipeline.", epilog="example: python main.py -p 2")
    parser.add_argument("-d", "--debug", action="store_true", help="one task after the other, in this process")
    parser.add_argument("-p", "--processes", type=int, default=os.cpu_count(), metavar="N", help="N processes")
    options = parser.parse_args()

    P = Pipeline(pipedot, code_dir="./", prefix="./", matplotlib=True, matplotlib_interactive=True)
    w, t = launch_interactive(P) if options.debug else launch_process(P, options.processes)
    summary = w.run()
    print(summary)
    return 0 if summary.ok else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TaskError:
        raise  # with -d, the traceback is what you want to see
    except PipeletError as error:
        sys.exit(f"main.py: error: {error}")
