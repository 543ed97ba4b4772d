"""The verb ``pipeutils --replay``: one task again, beside the tree."""

from __future__ import annotations

import argparse
import os
import re
import sys

from pipelet.cli import complain
from pipelet.errors import PipeletError

EXAMPLES = """\
  pipeutils --replay .sqlstatus 3  run task 3 again, in a directory of its own
  pipeutils --replay .sqlstatus 3 --pdb  the same in the debugger: c runs on to where it fails
"""

_OPTIONS = ("pdb", "directory", "code_dir", "prefix")


def add_options(options: argparse.ArgumentParser, verbs: argparse._MutuallyExclusiveGroup) -> None:
    """Add the verb and the options that go with it."""
    verbs.add_argument(
        "--replay",
        nargs=2,
        metavar=("SQLFILE", "TASK"),
        help="run one task again with the inputs and the code that were kept, and compare; changes nothing",
    )
    group = options.add_argument_group("with --replay")
    group.add_argument("--pdb", action="store_true", help="in the debugger: from the first line, and where it fails")
    group.add_argument("--directory", metavar="DIR", help="run it in DIR, new or empty; a temporary one if not given")
    group.add_argument("--code-dir", metavar="DIR", help="take modules that were imported without #depend from DIR")
    group.add_argument("--prefix", metavar="DIR", help="the root of the data, where SQLFILE does not lie in it")


def misused(given: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything is."""
    if given.replay is None:
        alone = [name for name in _OPTIONS if getattr(given, name)]
        return f"--{alone[0].replace('_', '-')} goes with --replay only" if alone else None
    if given.sqlfile is not None:
        return f"--replay takes one SQLFILE and one TASK; {given.sqlfile} is too much"
    if task_number(given.replay[1]) is None:
        return (
            f"{given.replay[1]!r} is no task: give its number, or the name of its directory or log, "
            "as in 12, data/12_Lancelot, log/12.log"
        )
    return None


def task_number(word: str) -> int | None:
    """The number of a task that was given as such, or by its directory or its log."""
    found = re.fullmatch(r"(\d{1,18})(_.*|\.log)?", os.path.basename(word.rstrip("/")), re.DOTALL)
    return int(found[1]) if found else None


def replay(program: str, given: argparse.Namespace) -> int:
    """Run the task, and say what came of it.

    Returns
    -------
    int
        0: it ended with the recorded output; 1: it failed, or its output differs; 2: it could not be run.
    """
    # The engine is slow to import beside the other verbs.
    from pipelet.replay import Replay

    sqlfile, word = given.replay
    task = task_number(word)
    assert task is not None
    try:
        prepared = Replay(sqlfile, task, given.directory, given.code_dir, given.prefix)
    except PipeletError as error:
        complain(program, str(error))
        return 2
    print(prepared.heading, flush=True)
    replayed = prepared.run(debug=given.pdb)
    sys.stdout.flush()
    print(replayed)
    return 0 if replayed.same else 1
