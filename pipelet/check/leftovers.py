"""What runs that died have left in a prefix: the lock, half-deleted and half-written files."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable

from pipelet.check.report import Report, counted, some
from pipelet.errors import PrefixLocked, StorageError
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.files import scan, storage_errors
from pipelet.storage.lock import STALE
from pipelet.storage.trash import were_cut

#: Files of an atomic write that was cut.
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
#: Beside a database: one that was being made anew; and what its last writer would have taken away.
NEW_DATABASE = (".new", ".new-wal", ".new-shm", ".new-journal")
UNWRITTEN = ("-wal", "-journal")


def refuse_while_it_runs(tree: Tree) -> None:
    """Raise `PrefixLocked` if a living run holds the prefix: what it writes changes under the eyes of a check."""
    holder = PrefixLock(tree.lock_path).holder()
    if holder is not None and holder.alive:
        raise PrefixLocked(f"{holder.words}; check the prefix when it has ended")


def check_lock(tree: Tree, report: Report) -> None:
    """Look for the lock of a dead run, and for what stands beside locks."""
    holder = PrefixLock(tree.lock_path).holder()
    where = os.path.relpath(tree.lock_path, tree.prefix)
    if holder is not None:
        who = f"host {holder.host}, pid {holder.pid}" if holder.host else "nobody knows which"
        cure = "takes it away, with all that the run has left running; the next run would, too"
        report.add("lock", where, f"a run that died holds the prefix ({who})", cure)
        return
    left = []
    with storage_errors("read", tree.engine_dir):
        for entry in scan(tree.engine_dir):
            if not entry.name.startswith("lock."):
                continue
            # One that is young belongs to somebody who is just about to take the lock.
            if time.time() - entry.stat(follow_symlinks=False).st_mtime > STALE or entry.name.endswith(".workers"):
                left.append(entry.name)
    if left:
        report.add("lock", where, f"{counted(len(left), 'file')} of old locks: {some(left)}", "deletes them")


def check_engine(tree: Tree, sqlfile: str, paths: Iterable[str], report: Report) -> None:
    """Look for what a killed process had no time to delete.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database.
    paths
        Of the instances in the tree.
    report
        Takes the findings.
    """
    discards = tree.discards()
    if discards:
        words = f"{counted(len(discards), 'thing')} that somebody began to delete"
        cure = "deletes them; the next run would, too"
        report.add("discard", os.path.relpath(tree.discard_dir, tree.prefix), words, cure)
    for bag in were_cut(tree):
        where = os.path.relpath(bag.path, tree.prefix)
        report.add("trash", where, "a deletion was cut off", "finishes or undoes it; the next run would, too")
    if tree.moves_were_cut:
        cure = "moves them where the records say; the next run would, too"
        report.add("move", ".pipelet/moving", "a run was cut off while it moved directories", cure)
    _check_mark(tree, report)
    for file in temporary_files(tree, paths):
        report.add("temporary", os.path.relpath(file, tree.prefix), "a file that was never finished", "deletes it")
    for suffix in NEW_DATABASE:
        if os.path.exists(sqlfile + suffix):
            words = "a database that was being made when its process died"
            report.add("temporary", sqlfile + suffix, words, "deletes it")
    for suffix in UNWRITTEN:
        if os.path.exists(sqlfile + suffix) and os.path.exists(sqlfile):
            words = "the last writer of the database had no time to close it"
            report.add("unclosed", sqlfile + suffix, words, "closes it; the next run would, too")


def _check_mark(tree: Tree, report: Report) -> None:
    """Look for the word of a run on products that the disk may not have yet."""
    mark = tree.products.mark
    where = os.path.relpath(mark, tree.prefix)
    try:
        tree.products.doubtful()
    except StorageError:
        cure = "delete it; and the directories of the last tasks, if the machine went down while they ran"
        report.add("mark", where, "it can't be read: it tells which files a power cut may have cost", cure, False)
        return
    if os.path.exists(mark):
        words = "a run ended before the disk had surely taken all its files"
        report.add("unsynced", where, words, "waits for the disk, and takes the word away; the next run would, too")


def temporary_files(tree: Tree, paths: Iterable[str]) -> list[str]:
    """The files of atomic writes that were cut, in the engine's directory and in those of instances."""
    found = []
    for directory in (tree.engine_dir, *(tree.absolute(path) for path in paths)):
        with storage_errors("read", directory):
            found += [entry.path for entry in scan(directory) if _TEMPORARY.fullmatch(entry.name)]
    return found
