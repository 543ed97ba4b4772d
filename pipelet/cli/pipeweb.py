"""The command ``pipeweb``: which pipelines the web page shows, and its server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pipelet.cli import complain, run

PROGRAM = "pipeweb"

_EXAMPLES = """\
examples:
  pipeweb track test ./.sqlstatus   show the pipeline of this database, under the name test
  pipeweb start                     start the server, then open http://localhost:8080
  pipeweb untrack test              show it no longer
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's verbs."""
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Browse pipelines in a web page: which ones, and the server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verbs = result.add_subparsers(dest="verb", metavar="VERB", required=True)
    track = _verb(verbs, "track", "show a pipeline in the web page", "track test ./.sqlstatus")
    track.add_argument("name", metavar="NAME", help="the name under which it is shown")
    track.add_argument("sqlfile", metavar="SQLFILE", help="its database, usually PREFIX/.sqlstatus")
    untrack = _verb(verbs, "untrack", "show a pipeline no longer; its data stay", "untrack test")
    untrack.add_argument("name", metavar="NAME", help="the name under which it is shown")
    _verb(verbs, "start", "start the server", "start")
    _verb(verbs, "stop", "stop the server", "stop")
    _verb(verbs, "status", "say whether the server runs, and what it shows", "status")
    return result


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, words: str, example: str
) -> argparse.ArgumentParser:
    description = f"{words[0].upper()}{words[1:]}."
    return verbs.add_parser(
        name, help=words, description=description, epilog=f"example: {PROGRAM} {example}", allow_abbrev=False
    )


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
    return run(PROGRAM, lambda: _do(given))


def _do(given: argparse.Namespace) -> int:
    return complain(
        PROGRAM,
        f"{given.verb}: browsing comes with a later release of Pipelet; nothing was done.\n"
        "Until then, P.status(), P.tasks(segment) and P.instances(segment) show a run from Python.",
    )


if __name__ == "__main__":
    sys.exit(main())
