#!/usr/bin/env python3
"""Estimate the power spectrum of CMB maps with noise like WMAP's. `./main.py --help` lists the ways to run it."""

import argparse
import logging
import os
import os.path as op
import shutil
import sys

from pipelet.errors import PipeletError, TaskError
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline

# cmb draws skies; noise scans the sky and makes noise, weights and estimators; clcmb estimates the spectrum of each sky
# with noise; clnoise estimates that of the noise alone; clplot draws them all.
design = """
cmb->clcmb->clplot;
noise->clcmb;
noise->clnoise->clplot;
"""
# The segments that stand in both graphs with the same parents are computed once for both.
monte_carlo = """
cmb->clcmb->clplot;
noise->clcmb;
"""

# The code is beside this file, and so are the results. For big maps, take a prefix on a big disk.
HERE = op.dirname(op.abspath(__file__))
NSIDE = 64


def make_pipeline(options):
    pipedot = monte_carlo if options.mc else design
    P = Pipeline(pipedot, code_dir=HERE, prefix=HERE, matplotlib=True, matplotlib_interactive=True)
    # one task of cmb and of clcmb for each simulation, one task of noise for all of them
    P.push(cmb=[(options.nside, sim_id) for sim_id in range(1, (options.mc or 1) + 1)])
    P.push(noise=[options.nside])
    return P


def main():
    options = read_options()
    P = make_pipeline(options)
    if options.dot:
        try:
            P.to_dot('pipeline.dot')
        except OSError as error:
            sys.exit(f"main.py: error: {error}")
        print("The graph is in pipeline.dot. For a picture: dot -Tpng -o pipeline.png pipeline.dot")
        return 0
    if options.explain:
        print(P.explain())
        return 0

    if options.debug:
        w, t = launch_interactive(P, log_level=options.log_level)
    else:
        # each process has one core to itself: threads of healpy and CAMB would only be in each other's way
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        w, t = launch_process(P, options.processes, log_level=options.log_level)
    summary = w.run()
    print(summary)
    if summary.failed:
        return 1
    show_results(P, options)
    return 0


def show_results(P, options):
    """Put the figure beside this file, and say where everything is."""
    # tasks of other resolutions, from earlier runs, may be in the same tree
    (plot,) = (task for task in P.tasks("clplot") if task.input == options.nside)
    (noise,) = (task for task in P.tasks("noise") if task.input == {"noisephantom": options.nside})
    figure = op.join(HERE, "mc.png" if options.mc else "design.png")
    shutil.copyfile(op.join(plot.path, "spectra.png"), figure)
    print(f"\nThe spectra:                {figure}")
    print(f"The same for a paper:       {op.join(plot.path, 'spectra.pdf')}")
    print(f"As numbers:                 {op.join(plot.path, 'bandpowers.txt')}")
    print(f"Hits, mask and weights:     {op.join(noise.path, 'maps.png')}")
    print(f"The tree of all products:   {HERE}")


def read_options():
    parser = argparse.ArgumentParser(
        description="Estimate the power spectrum of simulated CMB maps with and without inverse-noise weights.",
        epilog="examples: ./main.py (one simulation)   ./main.py --mc 50 (error bars)   ./main.py --mc 50 --explain",
    )
    graph = parser.add_mutually_exclusive_group()
    graph.add_argument("--design", action="store_true", help="one simulation, with its noise spectrum (the default)")
    graph.add_argument("--mc", type=positive, metavar="N", help="N simulations, from 1 on, which give error bars")
    parser.add_argument(
        "--nside", type=resolution, default=NSIDE, help=f"resolution, a power of 2 from 8 to 2048; {NSIDE} if not given"
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


def resolution(text):
    number = int(text)
    if number not in (8, 16, 32, 64, 128, 256, 512, 1024, 2048):
        raise argparse.ArgumentTypeError("it must be a power of 2 from 8 to 2048")
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
