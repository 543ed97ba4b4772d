#!/usr/bin/env python3
"""Run this pipeline. `./main.py --help` lists the ways; with no option it uses all the cores of this machine."""

import argparse
import logging
import os
import socket
import sys

from pipelet.errors import PipeletError, TaskError
from pipelet.launchers import job_script, launch_batch, launch_interactive, launch_process
from pipelet.pipeline import Pipeline

# --- The pipeline: this is the part to edit --------------------------------------------------------------------------

# Which segment feeds which. The segment `a` runs the script a.py. If there is none, the script with the nearest shorter
# name is taken: default1 and default2 share default.py.
pipedot = """
default1 -> default2;
"""

# Scripts are looked for, and results are kept, beside this file. A big disk is a better place for results.
HERE = os.path.dirname(os.path.abspath(__file__))
CODE_DIR = HERE
PREFIX = HERE

# Where the server of the batch mode listens (options -b and -a).
ADDRESS = (os.environ.get("HOST", socket.gethostname()), 50000)

# What a batch job asks for. system: "pbs", "torque", "slurm", "sge", "lsf", "htcondor" or "oar"; None: the one whose
# commands are here. job_header: lines of shell that set up the environment, such as "module load python".
JOBS = {"system": None, "cores": 1, "memory": "2 GB", "walltime": "00:59:00", "job_header": ""}


def make_pipeline():
    # matplotlib draws into files, without windows: in worker processes, and in the interactive mode.
    P = Pipeline(pipedot, code_dir=CODE_DIR, prefix=PREFIX, matplotlib=True, matplotlib_interactive=True)
    # The inputs of a segment without parents: one task for each element.
    P.push(default1=[1, 2, 3])
    return P


# --- The command line: good for most pipelines as it is --------------------------------------------------------------


def read_options():
    parser = argparse.ArgumentParser(
        description="Run the pipeline. What is already on disk and still valid is not computed again.",
        epilog="examples: ./main.py -d (debug)   ./main.py -p 4 (four processes)   ./main.py --explain (run nothing)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("-d", "--debug", action="store_true", help="interactive: one task after the other, right here")
    mode.add_argument("-p", "--processes", type=positive, metavar="N", help="N processes; if not given, one a core")
    mode.add_argument("-b", "--batch", action="store_true", help="batch server: waits for workers (see -a)")
    mode.add_argument("-a", "--add-workers", type=positive, metavar="N", help="submit N jobs that work for the server")
    mode.add_argument("-D", "--dot", action="store_true", help="write the graph to pipeline.dot, and stop")
    mode.add_argument("--explain", action="store_true", help="say what would be computed and why, and stop")
    parser.add_argument("--job-script", action="store_true", help="print what -a would submit, and stop")
    levels = ("debug", "info", "warning", "error", "critical", "0")
    parser.add_argument(
        "-l", "--log-level", choices=levels, default="warning", type=str.lower, help="what to print; 0 prints nothing"
    )
    return parser.parse_args()


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def main():
    options = read_options()
    level = 0 if options.log_level == "0" else getattr(logging, options.log_level.upper())
    P = make_pipeline()

    if options.dot:
        path = os.path.join(HERE, "pipeline.dot")
        try:
            P.to_dot(path)
        except OSError as error:
            sys.exit(f"main.py: error: {path}: {error.strerror}")
        print(f"Wrote {path}. For a picture: dot -Tpng -o pipeline.png pipeline.dot")
        return 0
    if options.explain:
        print(P.explain())
        return 0
    if options.job_script:
        print(job_script(P, **JOBS), end="")
        return 0
    if options.add_workers:
        w, t = launch_batch(P, options.add_workers, address=ADDRESS, server=False, **JOBS)
        print(w)
        return 0

    if options.debug:
        w, t = launch_interactive(P, log_level=level)
    elif options.batch:
        w, t = launch_batch(P, 0, address=ADDRESS, log_level=level)
    else:
        w, t = launch_process(P, options.processes or cores(), log_level=level, address=ADDRESS)
    summary = w.run()
    print(summary)
    return 0 if summary.ok else 1


def cores():
    """Return how many cores this process may use: a batch system may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except TaskError:
        raise  # a task failed in the interactive mode: here the traceback is what you want
    except PipeletError as error:
        sys.exit(f"main.py: error: {error}")
    except KeyboardInterrupt:
        print("\nmain.py: stopped. What is done is kept; the next run goes on from there.", file=sys.stderr)
        sys.exit(130)
