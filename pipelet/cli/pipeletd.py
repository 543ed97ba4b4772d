"""The command ``pipeletd``: the batch server of a pipeline that was pickled into a file."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from pipelet.cli import run

PROGRAM = "pipeletd"

_LEVELS = ("debug", "info", "warning", "error", "critical")
_EXAMPLES = """\
examples:
  pipeletd pipe.pkl                     run the server by itself, at any port that is free
  pipeletd -n -l info pipe.pkl          run it here, until it is done, and show what happens
  pipeletd -a login1 -p 50000 pipe.pkl  listen at this address of the host and at this port

pipe.pkl is made in Python, after P.push(...):  pickle.dump(P, open("pipe.pkl", "wb"))
A pickle that is loaded is run as code: one that others could have written is refused.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Run the batch server of a pickled pipeline: it submits no jobs, and waits for workers.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    result.add_argument("-n", "--foreground", action="store_true", help="stay in the foreground, until all is done")
    result.add_argument(
        "-l", "--log-level", metavar="LEVEL", type=_level, default=logging.WARNING,
        help=f"what to print: {', '.join(_LEVELS)}, a number as in logging, or 0 for nothing (warning)",
    )
    result.add_argument("-a", "--address", metavar="HOST", help="listen at this name or number of the host")
    result.add_argument(
        "-p", "--port", metavar="PORT", type=_port, default=0, help="listen at this port; 0 for any that is free (0)"
    )
    result.add_argument("pipeline", metavar="PIPELINE", help="the file with the pickled pipeline")
    return result


def _level(text: str) -> int:
    if text.lower() in _LEVELS:
        return int(getattr(logging, text.upper()))
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no level; there are {', '.join(_LEVELS)} and 0")


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no port; give a number from 0 to 65535")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    arguments
        The words after the command's name; those of this process unless given.

    Returns
    -------
    int
        The exit status.
    """
    given = parser().parse_args(arguments)
    return run(PROGRAM, lambda: _serve(given))


def _serve(given: argparse.Namespace) -> int:
    # the engine is slow to import, and not needed to say what is wrong with the options
    from pipelet.daemon import detach, serve
    from pipelet.pickled import load_pipeline, open_private

    with open_private(given.pipeline) as file:
        pipeline = load_pipeline(file, given.pipeline)
        if not given.foreground:
            started = detach(pipeline, file, given.pipeline, given.address, given.port, given.log_level)
    if given.foreground:
        summary = serve(pipeline, given.address, given.port, given.log_level)
        print(summary)
        return 0 if summary.ok else 1
    if started.address:
        print(f"The server listens at {started.address} (process {started.pid}); `kill {started.pid}` ends it")
    else:
        print(started.summary)
    print(f"  log {started.log}")
    return 0 if started.ok else 1


if __name__ == "__main__":
    sys.exit(main())
