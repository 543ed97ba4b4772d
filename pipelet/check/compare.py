"""The whole prefix compared with its database, without writing anything."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from pipelet.check.leftovers import check_engine, check_lock, refuse_while_it_runs
from pipelet.check.places import check_places
from pipelet.check.records import Comparison
from pipelet.check.replay import replay
from pipelet.check.report import Report, counted, some
from pipelet.core.text import task_name
from pipelet.distrust import doubtful_tasks
from pipelet.errors import DamagedDatabaseError, MissingDatabaseError, PrefixLocked, StorageError
from pipelet.statusdb import InstanceRow, Reader, has_database
from pipelet.statusdb.checks import integrity, orphans
from pipelet.storage import Tree

#: Told how many tasks have been looked at, and of how many.
Progress = Callable[[int, int], None]


class Meta(NamedTuple):
    """An instance as its directory tells."""

    path: str
    segment: str
    key: str
    parents: tuple[str, ...]
    created: float


def compare(tree: Tree, sqlfile: str, progress: Progress | None = None, held: bool = False) -> Report:
    """Compare a tree with its database.

    Parameters
    ----------
    tree
        The prefix.
    sqlfile
        Its database, absolute.
    progress
        Told now and then how far it is.
    held
        The caller holds the lock.

    Returns
    -------
    Report
        What differs, and what lies about.

    Raises
    ------
    PrefixLocked
        A run holds the prefix, or one came while it was looked at.
    MissingDatabaseError
        There is neither a database nor an instance.
    """
    report = Report(tree.prefix, sqlfile)
    if not held:
        refuse_while_it_runs(tree)
        before = _moment(tree, sqlfile)
        check_lock(tree, report)
    metas, unreadable = read_metas(tree)
    check_engine(tree, sqlfile, [*metas, *unreadable], report)
    _Comparer(tree, sqlfile, report, metas, unreadable, progress or (lambda done, total: None)).run()
    if not held and _moment(tree, sqlfile) != before:
        refuse_while_it_runs(tree)
        raise PrefixLocked(f"something ran in {tree.prefix} while it was looked at: check it again")
    return report


def read_metas(tree: Tree) -> tuple[dict[str, Meta], dict[str, str]]:
    """The instances in the tree, by path; and those whose ``.meta`` can't be read, with the reason."""
    found: dict[str, Meta] = {}
    unreadable: dict[str, str] = {}
    for path in tree.find_instances():
        try:
            meta = tree.read_meta(path)
        except StorageError as error:
            unreadable[path] = str(error)
            continue
        parents, created = meta.get("parents"), meta.get("created_seconds")
        found[path] = Meta(
            path,
            str(meta.get("segment")),
            str(meta.get("key")),
            tuple(str(key) for key in parents.values()) if isinstance(parents, dict) else (),
            float(created) if isinstance(created, (int, float)) else 0.0,
        )
    return found, unreadable


class _Comparer:
    """One look at both sides."""

    def __init__(
        self,
        tree: Tree,
        sqlfile: str,
        report: Report,
        metas: dict[str, Meta],
        unreadable: dict[str, str],
        progress: Progress,
    ) -> None:
        self._tree = tree
        self._sqlfile = sqlfile
        self._report = report
        self._metas = metas
        self._unreadable = unreadable
        self._progress = progress
        #: What of `unreadable` a row of the database cures.
        self._known_unreadable: set[str] = set()

    def run(self) -> None:
        """Look at everything."""
        report = self._report
        if not has_database(self._sqlfile):
            if not self._metas and not self._unreadable:
                raise MissingDatabaseError(
                    f"there is neither a segment instance below {self._tree.prefix} nor a database {self._sqlfile}:"
                    " give the prefix of a pipeline that has run, and its database"
                )
            report.add("database", self._sqlfile, "there is no database", "makes it from the tree; a run would, too")
            self._journals_alone()
        else:
            try:
                with Reader.open(self._sqlfile) as reader:
                    damage = integrity(reader)
                    if not damage:
                        self._with(reader)
            except DamagedDatabaseError as error:
                damage = [str(error.__cause__ or error)]
            if damage:
                words = f"the database is damaged: {damage[0].removeprefix('*** ')}"
                report.add("database", self._sqlfile, words, "makes it anew from the tree, and keeps the old file")
                self._journals_alone()
        for path, reason in self._unreadable.items():
            if path not in self._known_unreadable:
                report.add("meta", path, reason, "restore it, or move the directory away", mendable=False)

    def _journals_alone(self) -> None:
        report = self._report
        for path in self._metas:
            told = replay(self._tree.journal(path))
            report.instances += 1
            report.tasks += len(told.tasks)
            if told.damage:
                words = f"its journal is damaged behind byte {told.end}"
                cure = "put back a copy of the file, or delete the segment instance and run again"
                report.add("journal-damaged", path, words, cure, mendable=False)

    def _with(self, reader: Reader) -> None:
        rows = sorted(reader.instances(), key=lambda row: row.id)
        tags, tally = reader.tags(), reader.tally()
        self._report.instances = len(rows)
        total = sum(sum(counts.values()) for counts in tally.values())
        any_params = reader.has_params()
        for row in self._paired(rows):
            comparison = Comparison(self._tree, reader, row, self._report)
            comparison.rows(comparison.journal(), any_params, lambda more: self._tick(more, total))
            comparison.task_sets()
            comparison.tally(tally.get(row.id, {}))
            comparison.running()
            comparison.args(comparison.wanted())
            comparison.tag(tags.get(row.id))
            check_places(self._tree, row, comparison.tasks, self._report)
        self._doubts(reader)
        left = orphans(reader)
        if left:
            words = ", ".join(f"{number} in {table}" for table, number in left.items())
            self._report.add("orphans", self._sqlfile, f"rows that belong to nothing: {words}", "deletes them")

    def _doubts(self, reader: Reader) -> None:
        """Look for tasks whose files the disk may have lost with the machine."""
        try:
            for row, tasks in doubtful_tasks(reader, self._tree):
                names = some(task_name(task.id, task.text) for task in tasks)
                words = f"the machine died before it had surely written the files of {counted(len(tasks), 'done task')}"
                cure = "sets them back to queued; the next run would, too"
                self._report.add("doubt", row.path, f"{words}: {names}", cure)
        except StorageError:
            # What can't be read is told where that is looked at.
            return

    def _tick(self, more: int, total: int) -> None:
        self._report.tasks += more
        self._progress(self._report.tasks, max(total, self._report.tasks))

    # --- which instances -----------------------------------------------------------------------------------------

    def _paired(self, rows: list[InstanceRow]) -> list[InstanceRow]:
        """The instances that both sides have; the others are told."""
        by_key: dict[str, list[str]] = {}
        for meta in self._metas.values():
            by_key.setdefault(meta.key, []).append(meta.path)
        paired = [row for row in rows if self._is_there(row, by_key)]
        keys = {row.key: row for row in rows}
        ids = {row.key: row.id for row in rows}
        for row in paired:
            self._facts(row, ids)
        for key, paths in by_key.items():
            known = keys.get(key)
            if known is None:
                words = f"the database does not know it, nor the {self._tasks_of(paths[0])} of its journal"
                self._report.add("instance", paths[0], words, "takes it over into the database; a run would, too")
            for path in paths if known is not None else paths[1:]:
                if known is not None and path in (known.path, self._moved_to(known, by_key)):
                    continue
                other = paths[0] if known is None else known.path
                words = f"a second directory with the key of {other}"
                self._report.add("copy", path, words, "move it out of the prefix, or delete it", mendable=False)
        return paired

    def _tasks_of(self, path: str) -> str:
        return counted(len(replay(self._tree.journal(path)).tasks), "task")

    def _is_there(self, row: InstanceRow, by_key: dict[str, list[str]]) -> bool:
        """Whether an instance of the database is where that says; tells if not."""
        report, path = self._report, row.path
        meta = self._metas.get(path)
        if meta is not None and meta.key == row.key:
            return True
        moved = self._moved_to(row, by_key)
        if moved is not None:
            report.add("moved", path, f"it is at {moved} in the tree", "takes that over into the database")
        elif meta is not None:
            words = f"the directory belongs to the key {meta.key}, and the database has {row.key} there"
            report.add("lost", path, words, *self._forgetting(row))
        elif not os.path.isdir(self._tree.absolute(path)):
            report.add("lost", path, "the directory is gone", *self._forgetting(row))
        else:
            self._known_unreadable.add(path)
            words = "its .meta is damaged" if path in self._unreadable else "its .meta is missing"
            report.add("meta", path, words, "writes one with what the database knows: its key, date and parents")
        return False

    def _forgetting(self, row: InstanceRow) -> tuple[str, bool]:
        if not self._metas:
            # More likely the wrong prefix, or a disk that is not there.
            return "give the right prefix; if all is lost, delete the database", False
        return "forgets it in the database, of which a copy is kept", True

    def _moved_to(self, row: InstanceRow, by_key: dict[str, list[str]]) -> str | None:
        paths = by_key.get(row.key, [])
        return paths[0] if paths and row.path not in paths else None

    def _facts(self, row: InstanceRow, ids: dict[str, int]) -> None:
        meta = self._metas[row.path]
        parents = tuple(ids[key] for key in meta.parents if key in ids)
        pairs = (
            ("segment", row.segment, meta.segment),
            ("parents", row.parents, parents),
            ("date", row.created, meta.created),
        )
        differing = [name for name, mine, said in pairs if mine != said]
        if differing:
            words = f"its {' and '.join(differing)} in the database differ from its .meta"
            self._report.add("facts", row.path, words, "takes over what .meta says")


def _moment(tree: Tree, sqlfile: str) -> list[tuple[int, int, int] | None]:
    """Something that changes when anybody runs in the prefix."""
    states: list[tuple[int, int, int] | None] = []
    for file in (tree.lock_path, sqlfile, f"{sqlfile}-wal", os.path.join(tree.log_dir, "pipelet.log")):
        try:
            found = os.stat(file)
        except OSError:
            states.append(None)
        else:
            # Who reads may make an empty one, where the last writer had no time to say that there will be none.
            states.append((found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None)
    return states
