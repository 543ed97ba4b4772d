#!/usr/bin/env python3
"""Filter four real fields with a Gaussian in the Fourier domain. `./main.py --help` lists the ways to run it."""

import argparse
import logging
import os.path as op
import shutil
import sys

from pipelet.errors import PipeletError, TaskError
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline

# mkgauss makes the one filter, fftimg transforms each field, convol filters each field and transforms it back.
pipedot = """
mkgauss->convol;
fftimg->convol;
"""

# The code is beside this file, and so are the results. For big data, take a prefix on a big disk.
HERE = op.dirname(op.abspath(__file__))
CONTACT_SHEET = op.join(HERE, "contact_sheet.png")


def make_pipeline():
    P = Pipeline(pipedot, code_dir=HERE, prefix=HERE, matplotlib=True, matplotlib_interactive=True)
    P.to_dot('pipeline.dot')
    # four fields, so four tasks of fftimg; with the one filter of mkgauss that makes four tasks of convol
    P.push(fftimg=[1, 2, 3, 4])
    return P


def main():
    options = read_options()
    try:
        P = make_pipeline()
    except OSError as error:
        sys.exit(f"main.py: error: {error}")
    if options.dot:
        print("The graph is in pipeline.dot. For a picture: dot -Tpng -o pipeline.png pipeline.dot")
        return 0
    if options.explain:
        print(P.explain())
        return 0

    if options.debug:
        w, t = launch_interactive(P, log_level=options.log_level)
    else:
        w, t = launch_process(P, options.processes, log_level=options.log_level)
    summary = w.run()
    print(summary)
    if summary.failed:
        return 1
    show_results(P, anything_new=summary.done)
    return 0


def show_results(P, anything_new):
    """Put the pictures on one page, and say where everything is."""
    if anything_new or not op.exists(CONTACT_SHEET):
        # imported here because a run that finds nothing to do should not wait for matplotlib
        from contact import make_contact_sheet

        make_contact_sheet([op.join(task.path, "panels.png") for task in P.tasks("convol")], CONTACT_SHEET)
    print(f"\nThe four fields on one page:  {CONTACT_SHEET}")
    print("One picture for each field:")
    for task in P.tasks("convol"):
        print(f"    {op.join(task.path, 'panels.png')}")
    print(f"The filter:                   {op.join(P.tasks('mkgauss')[0].path, 'gauss.png')}")
    print(f"The tree of all products:     {HERE}")
    if shutil.which("dot"):
        print("A picture of the graph:       dot -Tpng -o pipeline.png pipeline.dot")


def read_options():
    parser = argparse.ArgumentParser(
        description="Filter four real fields with a Gaussian in the Fourier domain.",
        epilog="examples: ./main.py -p 2 (two processes)   ./main.py -d (debug)   ./main.py --explain (run nothing)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("-d", "--debug", action="store_true", help="interactive: one task after the other, right here")
    mode.add_argument("-p", "--processes", type=positive, metavar="N", help="N processes; if not given, one a core")
    mode.add_argument("-D", "--dot", action="store_true", help="write the graph to pipeline.dot, and stop")
    mode.add_argument("--explain", action="store_true", help="say what would be computed and why, and stop")
    parser.add_argument(
        "-l", "--log-level", type=level, default="warning", metavar="LEVEL",
        help="what to print: debug, info, warning (the default), error, critical, or 0 for nothing",
    )
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def level(text):
    levels = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR,
              "critical": logging.CRITICAL, "0": 0}
    if text.lower() not in levels:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(levels)}")
    return levels[text.lower()]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TaskError:
        raise  # a task failed in the interactive mode: the traceback is what one wants to see
    except PipeletError as error:
        sys.exit(f"main.py: error: {error}")
    except KeyboardInterrupt:
        print("\nmain.py: stopped. What is done is kept; the next run goes on from there.", file=sys.stderr)
        sys.exit(130)
