"""The command ``pipeutils``: new pipelines, users, how a pipeline stands, and what to do when something is wrong."""

from __future__ import annotations

import argparse
import getpass
import os
import shutil
import sys
from collections.abc import Sequence
from importlib import resources

from pipelet.cli import check, replay, run, status
from pipelet.errors import AccountError, PipeletError

PROGRAM = "pipeutils"

#: What a new pipeline is made of, and whether the file can be executed.
TEMPLATES = (("main.py", True), ("default.py", False))

_EXAMPLES = """\
examples:
  pipeutils -c mypipe               make the directory mypipe with a main.py and a first segment
  pipeutils -a ada -l 2 .sqlstatus  let ada read and change this pipeline in the web page
  pipeutils -d ada .sqlstatus       remove ada
  pipeutils -r . .sqlstatus         make the database .sqlstatus anew from the data below .
""" + check.EXAMPLES + status.EXAMPLES + replay.EXAMPLES


class CreateError(PipeletError):
    """A new pipeline can't be made there."""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    result = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Make a new pipeline, show how one stands, manage who may see it in the web page, and mend it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument("-c", "--create", metavar="NAME", help="make the directory NAME with a pipeline that runs")
    what.add_argument("-a", "--add-user", metavar="USER", help="add a user, or change password and level of one")
    what.add_argument("-d", "--delete-user", metavar="USER", help="remove a user")
    what.add_argument("-r", "--rebuild", metavar="PREFIX", help="make the database anew from the data below PREFIX")
    result.add_argument(
        "-l", "--level", type=int, choices=(1, 2), help="with -a: 1 may read, 2 may also delete and tag"
    )
    for verb in (check, status, replay):
        verb.add_options(result, what)
    result.add_argument("sqlfile", metavar="SQLFILE", nargs="?", help="the database, usually PREFIX/.sqlstatus")
    return result


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
    problem = replay.misused(given) or check.misused(given) or status.misused(given)
    if problem is not None:
        options.error(problem)
    if given.replay is not None:
        return run(PROGRAM, lambda: replay.replay(PROGRAM, given))
    if given.create is not None:
        if given.sqlfile is not None:
            options.error("-c takes no SQLFILE")
    elif given.sqlfile is None:
        options.error("the SQLFILE is missing, usually PREFIX/.sqlstatus")
    if given.add_user is not None and given.level is None:
        options.error("-a needs the level: -l 1 (may read) or -l 2 (may also delete and tag)")
    if given.add_user is None and given.level is not None:
        options.error("-l goes with -a only")
    return run(PROGRAM, lambda: _do(given))


def _do(given: argparse.Namespace) -> int:
    if given.check is not None:
        return check.run(given.check, given.sqlfile, given.repair)
    if given.status:
        return status.run(given.sqlfile, given.watch)
    if given.create is not None:
        create(given.create)
    elif given.add_user is not None:
        _add_user(given.sqlfile, given.add_user, given.level)
    elif given.delete_user is not None:
        _delete_user(given.sqlfile, given.delete_user)
    else:
        _rebuild(given.rebuild, given.sqlfile)
    return 0


def create(name: str) -> None:
    """Make a directory with a main script and a segment that can be run as they are.

    Parameters
    ----------
    name
        The directory to make; the one it lies in must exist.

    Raises
    ------
    CreateError
        When there is something of that name already, or the name is empty.
    OSError
        When it can't be written.
    """
    if not name.strip():
        raise CreateError("the new pipeline needs a name, as in: pipeutils -c mypipe")
    try:
        os.mkdir(name)
    except FileExistsError:
        raise CreateError(f"{name} exists already and was left as it is; give another name") from None
    except FileNotFoundError:
        raise CreateError(f"there is no directory {os.path.dirname(name.rstrip('/'))} to make it in") from None
    try:
        for file_name, executable in TEMPLATES:
            content = (resources.files("pipelet") / "static" / file_name).read_bytes()
            mode = 0o777 if executable else 0o666
            descriptor = os.open(os.path.join(name, file_name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with open(descriptor, "wb") as file:
                file.write(content)
    except BaseException:
        shutil.rmtree(name, ignore_errors=True)
        raise
    print(f"Made {os.path.join(name, 'main.py')} and {os.path.join(name, 'default.py')}. Run it:\n")
    print(f"  cd {name}\n  {_start_of_main()}")


def _start_of_main() -> str:
    # the first line of main.py takes the first python3 of the PATH, which may know nothing of Pipelet
    first = shutil.which("python3")
    beside = first is not None and os.path.dirname(first) == os.path.dirname(sys.executable)
    return "./main.py" if beside else f"{sys.executable} main.py"


def _add_user(sqlfile: str, user: str, level: int) -> None:
    _check_database(sqlfile)
    password = read_password(user)
    # what needs a package of its own is imported where it is used: the other verbs work without
    from pipelet.accounts import add_user

    add_user(sqlfile, user, level, password)
    print(f"{user} may {'read' if level == 1 else 'read, delete and tag'} (level {level}) in {sqlfile}")


def _delete_user(sqlfile: str, user: str) -> None:
    _check_database(sqlfile)
    from pipelet.accounts import remove_user

    remove_user(sqlfile, user)
    print(f"{user} is no longer a user of {sqlfile}")


def _check_database(sqlfile: str) -> None:
    # before anybody types a password in vain
    if not os.path.exists(sqlfile):
        raise AccountError(f"there is no database {sqlfile}; run the pipeline once, it makes PREFIX/.sqlstatus")


def read_password(user: str) -> str:
    """Ask for a new password twice, or read one line where the standard input is no terminal.

    Parameters
    ----------
    user
        Whose password it is.

    Returns
    -------
    str

    Raises
    ------
    AccountError
        When it is empty, or the two differ.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        password = "" if sys.stdin is None else sys.stdin.readline().rstrip("\r\n")
        if not password:
            raise AccountError("no password on the standard input; give it as one line")
        return password
    try:
        password = getpass.getpass(f"Password for {user}: ")
        again = getpass.getpass("The same again: ")
    except EOFError:
        raise AccountError("no password was given; nothing was changed") from None
    if password != again:
        raise AccountError("the two passwords differ; nothing was changed")
    if not password:
        raise AccountError("the password is empty; nothing was changed")
    return password


def _rebuild(prefix: str, sqlfile: str) -> None:
    # the engine is slow to import beside the other verbs
    from pipelet.utils import rebuild_db_from_disk

    print(f"Made {sqlfile} anew: {rebuild_db_from_disk(prefix, sqlfile)}.")
    print("Users of the web page are not kept in the tree: add them again with pipeutils -a.")


if __name__ == "__main__":
    sys.exit(main())
