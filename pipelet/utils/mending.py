"""The tree and the database beside each other: check, mend, make anew; and one task once more."""

from __future__ import annotations

import os

from pipelet.check import Progress, Report, compare, mend
from pipelet.rebuild import Rebuilt, rebuild
from pipelet.replay import Replay
from pipelet.replayed import Replayed
from pipelet.utils.places import StrPath, holding_tree, sqlfile_of, tree_at


def rebuild_db_from_disk(prefix: StrPath, sqlfile: StrPath | None = None) -> Rebuilt:
    """Make the status database anew from the tree.

    Every instance, task, status, date, input, output, parent, parameter and tag comes back as it was; accounts do
    not, since they are only in the database. An existing database is kept as ``<sqlfile>.old``.

    Parameters
    ----------
    prefix
        The root of the data.
    sqlfile
        The database to make; ``<prefix>/.sqlstatus`` if not given.

    Returns
    -------
    Rebuilt
        The numbers of instances and tasks.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    DatabaseError
        The file can't be made.
    """
    with holding_tree(prefix, sqlfile) as tree:
        return rebuild(tree, sqlfile_of(tree, sqlfile))


def check_prefix(
    prefix: StrPath, sqlfile: StrPath | None = None, repair: bool = False, progress: Progress | None = None
) -> Report:
    """Compare the tree with the database, and say what differs.

    Without ``repair`` nothing is written, and read permission is enough. A repair never deletes a product: what no
    record knows is only told. Before it changes rows that the tree does not confirm, it keeps a copy of the database as
    ``<sqlfile>.old``.

    Parameters
    ----------
    prefix
        The root of the data.
    sqlfile
        The database; ``<prefix>/.sqlstatus`` if not given.
    repair
        Put right what can be, and check again.
    progress
        Called now and then with the number of tasks that have been looked at, and of all.

    Returns
    -------
    Report
        What was found; print it. After a repair, what is left.

    Raises
    ------
    PrefixError
        There is no such directory.
    PrefixLocked
        A run holds the prefix.
    MissingDatabaseError
        There is neither an instance nor a database.
    """
    tree = tree_at(prefix)
    first = compare(tree, sqlfile_of(tree, sqlfile), progress)
    if not repair or not first.mendable:
        return first
    with holding_tree(prefix, sqlfile):
        return mend(tree, sqlfile_of(tree, sqlfile), first, progress)


def replay_task(
    sqlfile: StrPath,
    task: int,
    directory: StrPath | None = None,
    code_dir: StrPath | None = None,
    prefix: StrPath | None = None,
) -> Replayed:
    """Run one task again, with the inputs that it had and the code that was kept. Nothing on record changes.

    It runs in this process, and what it prints is shown here.

    Parameters
    ----------
    sqlfile
        The database.
    task
        The task's number.
    directory
        Where to run it: a new or empty directory outside of the tree, for its code, data, log and temporary files. A
        new temporary directory if not given; it is kept.
    code_dir
        Where to find modules that were imported from the code directory without ``#depend``, and so were not kept.
    prefix
        The root of the data, if the database is not in it.

    Returns
    -------
    Replayed
        What came of it. ``raise`` its ``error``, and ``%debug`` stands where the task failed.

    Raises
    ------
    ReplayError
        There is no such task, or something that it needs was not kept.
    DatabaseError
        There is no such database, or it can't be read.
    """
    places = [None if path is None else os.fspath(path) for path in (directory, code_dir, prefix)]
    return Replay(os.fspath(sqlfile), int(task), *places).run()
