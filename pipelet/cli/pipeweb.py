"""The command ``pipeweb``: which pipelines the web page shows, and its server."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelet.cli import complain, run
from pipelet.errors import PipeletError

if TYPE_CHECKING:
    from pipelet.web.pidfile import Note
    from pipelet.web.settings import Settings

PROGRAM = "pipeweb"
#: What ``--proxy`` without an address stands for.
_THIS_MACHINE = "127.0.0.1,::1"

_EXAMPLES = """\
examples:
  pipeweb track test ./.sqlstatus   show the pipeline of this database, under the name test
  pipeweb start                     start the server, then open http://localhost:8080
  pipeweb status                    say where it runs, and what it shows
  pipeweb untrack test              show the pipeline no longer
  pipeweb stop                      stop the server
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
    track.usage = f"{PROGRAM} track [-h] [--prefix PREFIX] NAME SQLFILE"
    track.add_argument("name", metavar="NAME", help="the name under which it is shown")
    # Not required, so that who gives one word is told which one is missing.
    track.add_argument("sqlfile", metavar="SQLFILE", nargs="?", help="its database, usually PREFIX/.sqlstatus")
    track.add_argument("--prefix", metavar="PREFIX", help="the root of its data, if SQLFILE does not lie in it")
    untrack = _verb(verbs, "untrack", "show a pipeline no longer; its data stay", "untrack test")
    untrack.add_argument("name", metavar="NAME", help="the name under which it is shown")
    _add_start_options(_verb(verbs, "start", "start the server", "start"))
    _verb(verbs, "stop", "stop the server", "stop")
    _verb(verbs, "status", "say whether the server runs, and what it shows", "status")
    return result


def _add_start_options(start: argparse.ArgumentParser) -> None:
    start.add_argument("--host", metavar="HOST", help="listen at this address (127.0.0.1: this machine only)")
    start.add_argument("--port", metavar="PORT", type=int, help="listen at this port (8080); 0 for any that is free")
    start.add_argument("--cert", metavar="FILE", help="the certificate for TLS, a PEM file")
    start.add_argument("--key", metavar="FILE", help="the key of the certificate, a PEM file")
    start.add_argument("--base-path", metavar="PATH", help="what a proxy puts before each address, as in /user/ada")
    start.add_argument(
        "--proxy", metavar="ADDRESS", nargs="?", const=_THIS_MACHINE,
        help="believe what the proxy at this address says of its clients (127.0.0.1)",
    )
    start.add_argument("--foreground", action="store_true", help="stay, until Ctrl-C")


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
    options = parser()
    given = options.parse_args(arguments)
    if given.verb == "track" and given.sqlfile is None:
        missing = "NAME" if os.path.sep in given.name or os.path.exists(given.name) else "SQLFILE"
        options.error(f"the {missing} is missing, as in: {PROGRAM} track test ./.sqlstatus")
    verb = {"track": _track, "untrack": _untrack, "start": _start, "stop": _stop, "status": _status}[given.verb]
    return run(PROGRAM, lambda: verb(given))


def _track(given: argparse.Namespace) -> int:
    from pipelet.statusdb import Reader
    from pipelet.web.settings import config_directory
    from pipelet.web.tracked import Registry

    tracked = Registry(config_directory()).track(given.name, given.sqlfile, given.prefix)
    print(f"{tracked.name} shows {tracked.sqlfile}")
    with Reader.open(tracked.sqlfile) as reader:
        if not reader.users():
            print(f"Nobody has an account for it yet. Make one: {_add_user(tracked.sqlfile)}")
    return 0


def _untrack(given: argparse.Namespace) -> int:
    from pipelet.web.settings import config_directory
    from pipelet.web.tracked import Registry

    gone = Registry(config_directory()).untrack(given.name)
    print(f"{gone.name} is no longer shown; {gone.sqlfile} and the data stay as they are")
    return 0


def _start(given: argparse.Namespace) -> int:
    from pipelet.web import control
    from pipelet.web.server import warnings_of
    from pipelet.web.settings import config_directory

    settings = _settings(given)
    note = control.running(settings.state)
    if note is not None:
        if _meant(given, settings, note.settings) and not given.foreground:
            print(f"Pipelet runs already at {note.url} (process {note.pid})")
            return 0
        return complain(
            PROGRAM,
            f"it runs already at {note.url} (process {note.pid}), started in another way; `pipeweb stop` ends it",
        )
    for warning in warnings_of(settings):
        print(f"{PROGRAM}: warning: {warning}", file=sys.stderr)
    if given.foreground:
        return _serve_here(settings)
    note = control.start(settings)
    print(f"Pipelet is at {note.url} (process {note.pid}); `pipeweb stop` ends it")
    _advise(config_directory())
    return 0


def _serve_here(settings: Settings) -> int:
    from pipelet.web.server import pages, serve

    def tell(note: Note) -> None:
        print(f"Pipelet is at {note.url}; Ctrl-C ends it", flush=True)
        _advise(settings.config)

    serve(settings, lambda: pages(settings), tell)
    return 0


def _settings(given: argparse.Namespace) -> Settings:
    from pipelet.web.settings import DEFAULT_HOST, DEFAULT_PORT, Settings, checked

    return checked(
        Settings(
            host=DEFAULT_HOST if given.host is None else given.host,
            port=DEFAULT_PORT if given.port is None else given.port,
            cert=os.path.abspath(given.cert) if given.cert else None,
            key=os.path.abspath(given.key) if given.key else None,
            base_path=given.base_path or "",
            proxy=tuple(filter(None, (given.proxy or "").split(","))),
        )
    )


def _meant(given: argparse.Namespace, wanted: Settings, running: Settings) -> bool:
    """Tell whether the server that runs is as the options say; those that were not given don't matter."""
    values = {"host": given.host, "port": given.port, "cert": given.cert, "base_path": given.base_path}
    return all(value is None or getattr(wanted, name) == getattr(running, name) for name, value in values.items())


def _advise(config: str) -> None:
    from pipelet.web import control
    from pipelet.web.tracked import Registry

    try:
        found = control.look(Registry(config))
    except PipeletError as error:
        # The server runs all the same, and shows the pipelines once the list is mended.
        print(f"{PROGRAM}: warning: {error}", file=sys.stderr)
        return
    if not found:
        print(f"It shows nothing yet: {PROGRAM} track NAME SQLFILE")
    for one in found:
        if one.problem or not one.accounts:
            print(f"{one.tracked.name}: {one.problem or _nobody(one.tracked.sqlfile)}")


def _nobody(sqlfile: str) -> str:
    return f"nobody has an account. Make one: {_add_user(sqlfile)}"


def _add_user(sqlfile: str) -> str:
    return f"pipeutils -a USER -l 2 {shlex.quote(sqlfile)}"


def _stop(given: argparse.Namespace) -> int:
    from pipelet.web import control
    from pipelet.web.settings import state_directory

    note = control.stop(state_directory(), lambda words: print(words, flush=True))
    if note is None:
        print("No server of yours runs on this machine.")
    else:
        print(f"Stopped {note.url} (process {note.pid})")
    return 0


def _status(given: argparse.Namespace) -> int:
    from pipelet.web import control, pidfile
    from pipelet.web.settings import config_directory, state_directory
    from pipelet.web.tracked import Registry

    state = state_directory()
    note = control.running(state)
    if note is None:
        print("No server of yours runs on this machine.")
    else:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(note.since))
        words = "" if control.answers(note) else ", but its page does not answer"
        print(f"Pipelet runs at {note.url}{words}")
        print(f"  process {note.pid}, since {since}")
    if os.path.exists(pidfile.log_file(state)):
        print(f"  log {pidfile.log_file(state)}")
    for other in pidfile.elsewhere(state):
        print(f"Started on {other.machine}, if it still runs: {other.url} (process {other.pid})")
    found = control.look(Registry(config_directory()))
    print("Tracked pipelines:" if found else f"No pipeline is tracked: {PROGRAM} track NAME SQLFILE")
    for one in found:
        accounts = f"{one.accounts} account{'s' if one.accounts > 1 else ''}" if one.accounts else "no account"
        print(f"  {one.tracked.name}  {one.tracked.sqlfile}  {'can not be shown' if one.problem else accounts}")
        if one.problem or not one.accounts:
            print(f"      {one.problem or _nobody(one.tracked.sqlfile)}")
    return 0 if note is not None else 1


if __name__ == "__main__":
    sys.exit(main())
