"""Puts right what a check found. Whoever calls it holds the lock of the prefix."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping

from pipelet.check.compare import Progress, compare, read_metas
from pipelet.check.leftovers import NEW_DATABASE, temporary_files
from pipelet.check.records import Light, expected_args
from pipelet.check.replay import replay
from pipelet.check.report import Finding, Report
from pipelet.core.model import Status
from pipelet.deletion import recover
from pipelet.distrust import distrust, mend_moves
from pipelet.errors import DamagedDatabaseError, JournalError, PipeletError
from pipelet.meta import clock_text
from pipelet.rebuild import catch_up, rebuild, take_over
from pipelet.recorder import journal_events
from pipelet.statusdb import InstanceRow, Reader, Writer, has_database, pack_ids, unpack_ids
from pipelet.statusdb.checks import count_again, delete_orphans, forget_settled, set_facts
from pipelet.storage import Tree

#: One repair may lay open what another can mend: a database that was made anew has tags, a journal that was written
#: anew can be compared.
_ROUNDS = 4
#: Before any of these a copy of the database is kept.
_CHANGING = frozenset({"lost", "moved", "facts", "journal-damaged", "rows", "sets", "orphans", "tally", "wanted"})


def mend(tree: Tree, sqlfile: str, first: Report, progress: Progress | None = None) -> Report:
    """Put right what can be.

    Parameters
    ----------
    tree, sqlfile
        The prefix and its database; the caller holds the lock.
    first
        What a check has found.
    progress
        Told now and then how far the checks are.

    Returns
    -------
    Report
        What is still wrong, and what was mended.
    """
    recover(tree, sqlfile)
    mended: list[Finding] = [finding for finding in first.findings if finding.kind in ("lock", "trash")]
    report = compare(tree, sqlfile, progress, held=True)
    failures: list[str] = []
    kept = False
    for _ in range(_ROUNDS):
        todo = [finding for finding in report.findings if finding.mendable]
        if not todo:
            break
        if not kept and has_database(sqlfile) and any(finding.kind in _CHANGING for finding in todo):
            _keep_copy(sqlfile)
            kept = True
        failures = _Mender(tree, sqlfile, todo).run()
        report = compare(tree, sqlfile, progress, held=True)
        left = {(finding.kind, finding.where) for finding in report.findings}
        now = [finding for finding in todo if (finding.kind, finding.where) not in left]
        mended += now
        if not now:
            break
    report.mended, report.failures = mended, failures
    return report


def _keep_copy(sqlfile: str) -> None:
    copy = f"{sqlfile}.new"
    with contextlib.suppress(FileNotFoundError):
        os.remove(copy)
    with Reader.open(sqlfile) as reader:
        reader.copy_to(copy)
    shutil.copymode(sqlfile, copy)
    os.replace(copy, f"{sqlfile}.old")


class _Mender:
    """One round of repairs."""

    def __init__(self, tree: Tree, sqlfile: str, todo: list[Finding]) -> None:
        self._tree = tree
        self._sqlfile = sqlfile
        self._todo = todo
        self._failures: list[str] = []

    def run(self) -> list[str]:
        """Mend all that can be; what can't be is told in the returned words."""
        with self._trying("the files that were never finished"):
            self._sweep()
        if self._of("database"):
            with self._trying(self._sqlfile):
                self._rebuild()
            return self._failures
        with contextlib.closing(Writer.open(self._sqlfile, create=False)) as writer:
            # In the order of the table: facts before journals, journals before rows, rows before what is counted.
            steps: Mapping[str, Callable[[Writer, InstanceRow], None]] = {
                "lost": self._forget,
                "moved": self._facts,
                "meta": self._meta,
                "facts": self._facts,
                "journal-damaged": self._journal_anew,
                "journal-short": self._journal_anew,
                "torn": self._cut,
                "journal-long": self._take_over,
                "unjournalled": self._journal_more,
                "rows": self._rows,
                "sets": self._rows,
                "running": self._running,
                "wanted": self._wanted,
                "tag": self._tag,
                "args": self._args,
            }
            for kind, step in steps.items():
                for where in self._of(kind):
                    rows = {row.path: row for row in writer.instances()}
                    with self._trying(where):
                        step(writer, rows[where])
            if self._of("doubt") or self._of("unsynced"):
                with self._trying("files that the disk may not have"):
                    self._settle_doubts(writer)
            if self._of("instance"):
                with self._trying("instances that the database does not know"):
                    catch_up(writer, self._tree)
            if self._of("orphans"):
                delete_orphans(writer)
            if self._of("tally"):
                count_again(writer)
            if self._of("move"):
                with self._trying("directories that were being moved"):
                    mend_moves(writer, self._tree)
            forget_settled(writer)
        return self._failures

    def _of(self, kind: str) -> list[str]:
        return list(dict.fromkeys(finding.where for finding in self._todo if finding.kind == kind))

    @contextlib.contextmanager
    def _trying(self, where: str) -> Iterator[None]:
        """What can't be mended must not keep the rest from it."""
        try:
            yield
        except (PipeletError, OSError) as error:
            self._failures.append(f"{where}: {error}")

    # --- the prefix ----------------------------------------------------------------------------------------------

    def _sweep(self) -> None:
        self._tree.empty_discards()
        if self._of("temporary"):
            metas, unreadable = read_metas(self._tree)
            for file in temporary_files(self._tree, [*metas, *unreadable]):
                os.remove(file)
            self._delete_new()

    def _delete_new(self) -> None:
        for suffix in NEW_DATABASE:
            with contextlib.suppress(FileNotFoundError):
                os.remove(self._sqlfile + suffix)

    def _settle_doubts(self, writer: Writer) -> None:
        if self._tree.products.doubtful():
            distrust(writer, self._tree)
        else:
            self._tree.products.close()

    def _rebuild(self) -> None:
        users: list[tuple[str, str, int]] = []
        with contextlib.suppress(PipeletError), Reader.open(self._sqlfile) as reader:
            users = [(name, *found) for name in reader.users() if (found := reader.user(name)) is not None]
        try:
            rebuild(self._tree, self._sqlfile)
        except BaseException:
            self._delete_new()
            raise
        with contextlib.closing(Writer.open(self._sqlfile, create=False)) as writer:
            for name, password, level in users:
                writer.put_user(name, password, level)

    # --- instances -----------------------------------------------------------------------------------------------

    def _forget(self, writer: Writer, row: InstanceRow) -> None:
        # Children that live elsewhere lose this parent as facts that differ, in the next round.
        writer.delete_instance(row.id)

    def _facts(self, writer: Writer, row: InstanceRow) -> None:
        ids = {other.key: other.id for other in writer.instances()}
        metas, _ = read_metas(self._tree)
        meta = metas.get(row.path) or next(meta for meta in metas.values() if meta.key == row.key)
        parents = [ids[key] for key in meta.parents if key in ids]
        set_facts(writer, row.id, meta.segment, meta.path, parents, meta.created)

    def _meta(self, writer: Writer, row: InstanceRow) -> None:
        file = os.path.join(self._tree.absolute(row.path), f"{row.segment}.meta")
        if os.path.exists(file):
            os.replace(file, f"{file}.damaged")
        parents = [other for parent in row.parents if (other := writer.instance_by_id(parent)) is not None]
        script = f"{row.segment}.py"
        meta: dict[str, object] = {
            "segment": row.segment,
            "key": row.key,
            "created": clock_text(row.created),
            "created_seconds": row.created,
            "computed": None,
            "parents": {parent.segment: parent.key for parent in parents},
            "script": script if self._tree.read_kept(row.path, script) is not None else None,
            "hooks": {},
            "depends": [],
            "directives": [],
            "ingredients": {},
            "environment": None,
            "revision": None,
            "python": None,
            "modules": [],
            "number": row.id,
        }
        self._tree.write_meta(row.path, meta)

    # --- journals ------------------------------------------------------------------------------------------------

    def _journal_anew(self, writer: Writer, row: InstanceRow) -> None:
        journal = self._tree.journal(row.path)
        if row.path in self._of("journal-damaged"):
            if journal.size() > row.journal_end:
                # The good frames behind what the database knows; at the bad one it stops.
                with contextlib.suppress(JournalError):
                    take_over(writer, self._tree, row)
            shutil.copy2(journal.path, f"{journal.path}.damaged")
        found = writer.instance(row.key)
        assert found is not None
        end = self._tree.journal(row.path).rewrite([list(journal_events(writer, found))])
        writer.apply(row.id, [], end)

    def _cut(self, writer: Writer, row: InstanceRow) -> None:
        journal = self._tree.journal(row.path)
        for _ in journal.read():
            pass
        if journal.torn:
            journal.truncate(journal.end)

    def _take_over(self, writer: Writer, row: InstanceRow) -> None:
        take_over(writer, self._tree, row)

    def _journal_more(self, writer: Writer, row: InstanceRow) -> None:
        journal = self._tree.journal(row.path)
        known = replay(journal).tasks
        events = [
            event
            for event in journal_events(writer, row)
            if event[0] == "task_set" or (event[0] == "task" and event[1] not in known)
        ]
        end = journal.append(events)
        writer.apply(row.id, [], end)

    # --- rows ----------------------------------------------------------------------------------------------------

    def _rows(self, writer: Writer, row: InstanceRow) -> None:
        """Apply the whole journal again: what it says last of each task is what stands."""
        with writer.transaction():
            writer.apply(row.id, [["whole", None], ["wanted", None], ["waiting", None]])
            for events, end in self._tree.journal(row.path).read():
                writer.apply(row.id, events, end)

    def _running(self, writer: Writer, row: InstanceRow) -> None:
        writer.set_status([(task.id, int(Status.QUEUED)) for task in writer.tasks(row.id, Status.RUNNING, None)])

    def _wanted(self, writer: Writer, row: InstanceRow) -> None:
        tasks = _light(writer, row)
        try:
            ids = unpack_ids(row.wanted or b"")
        except DamagedDatabaseError:
            ids = [task.id for task in tasks if task.current == 1]
        known = {task.id for task in tasks}
        events = [["wanted", pack_ids([task for task in ids if task in known])]]
        end = self._tree.journal(row.path).append(events)
        writer.apply(row.id, events, end)

    def _tag(self, writer: Writer, row: InstanceRow) -> None:
        writer.set_tag(row.id, self._tree.read_tag(row.path) or None)

    def _args(self, writer: Writer, row: InstanceRow) -> None:
        tasks = _light(writer, row)
        known: Collection[int] = {task.id for task in tasks}
        wanted = [task for task in unpack_ids(row.wanted) if task in known] if row.wanted else []
        text = expected_args(writer, tasks, wanted)
        if text is not None:
            self._tree.write_args(row.path, text)
        else:
            os.remove(os.path.join(self._tree.absolute(row.path), f"{row.segment}.args"))


def _light(reader: Reader, row: InstanceRow) -> list[Light]:
    rows = reader.plan_rows(row.id)
    return [Light(task.id, task.status, task.current, task.place, task.text) for task in rows]
