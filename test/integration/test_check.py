"""What is wrong between tree and database is found, each kind of it, and mended where it can be."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support import ENVIRONMENT, Project, run_to_end, until

from pipelet.check import Report
from pipelet.core.model import Status
from pipelet.errors import ForeignDatabaseError, MissingDatabaseError, PrefixError, PrefixLocked
from pipelet.statusdb import Reader, Writer, pack_ids
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.processes import boot
from pipelet.utils import check_prefix, rebuild_db_from_disk, tag_instances

DOT = "make -> {double half}; double -> total"
SCRIPTS = {
    "make": "set_output(list(range(get_input())))",
    "double": """
        from pathlib import Path
        x = get_input()
        colour = "red" if x else "blue"
        save_param(["x", "colour"])
        Path(get_data_fn("product")).write_text(str(x))
        set_output(2 * x)
        """,
    "half": "set_output(get_input() / 2)",
    "total": """
        #multiplex group_by "1"
        from pathlib import Path
        Path(get_data_fn("sum")).write_text("0")
        set_output(sum(get_input("double")))
        """,
}


class Checked(Project):
    """A pipeline that has run, to be damaged."""

    @property
    def sqlfile(self) -> Path:
        return self.prefix / ".sqlstatus"

    def run_again(self, number: int = 3) -> None:
        run_to_end(self.pipeline(DOT, {"make": [number]}))

    def check(self, repair: bool = False) -> Report:
        return check_prefix(self.prefix, self.sqlfile, repair)

    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.check().findings]

    def sql(self, statement: str, *arguments: object) -> None:
        with closing(sqlite3.connect(self.sqlfile)) as connection, connection:
            connection.execute(statement, arguments)

    def file(self, name: str) -> Path:
        """The one file or directory of that name."""
        (found,) = self.prefix.rglob(name)
        return found

    def path(self, segment: str) -> str:
        return os.path.relpath(self.file(f"{segment}.meta").parent, self.prefix)

    def database(self) -> dict[str, list[tuple[object, ...]]]:
        """All that is in the database."""
        with closing(sqlite3.connect(f"file:{self.sqlfile}?mode=ro", uri=True)) as connection:
            tables = ("instance", "task", "param", "tag", "tally", "task_set", "user")
            return {table: sorted(connection.execute(f"SELECT * FROM {table}"), key=repr) for table in tables}

    def products(self) -> dict[str, bytes]:
        """Every file that a task has left."""
        files = (path for path in self.prefix.rglob("data/**/*") if path.is_file())
        return {str(path.relative_to(self.prefix)): path.read_bytes() for path in files}


@pytest.fixture
def tree(tmp_path: Path) -> Checked:
    project = Checked(tmp_path)
    project.write(**SCRIPTS)
    project.run_again()
    tag_instances(project.prefix, [next(row.key for row in _rows(project) if row.segment == "half")], "good")
    assert project.check().clean
    return project


def _rows(project: Checked) -> list[object]:
    with Reader.open(project.sqlfile) as reader:
        return reader.instances()


def snapshot(root: Path) -> dict[str, tuple[int, bytes]]:
    """Each file with its time of change and its content, but the memory that users of a database share."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith("-shm"))
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


# --- nothing is wrong ------------------------------------------------------------------------------------------------


def test_an_undisturbed_tree_is_clean_and_is_left_as_it_is(tree: Checked) -> None:
    before = snapshot(tree.prefix)
    report = tree.check()
    assert str(report) == "4 segment instances, 8 tasks: tree and database agree"
    assert tree.check(repair=True).clean
    assert snapshot(tree.prefix) == before


def test_what_runs_may_do_is_clean(tree: Checked) -> None:
    tree.run_again(4)
    tree.run_again(2)
    assert tree.check().clean
    # A new version of the code, the old one again, and a failure.
    tree.write(half="set_output(get_input() / 4)")
    tree.run_again(5)
    tree.write(half="set_output(get_input() / 2)", double="1 / (get_input() - 1)\nset_output(1)")
    tree.run_again(3)
    assert tree.check().clean
    tree.write(double=SCRIPTS["double"])
    tree.run_again(4)
    assert tree.check().clean


def test_superseded_and_revived_versions_are_clean(project: Project) -> None:
    tree = Checked(project.root)
    tree.write(
        a="open(get_data_fn('x'), 'w').close()\nset_output([1] if get_input() == 0 else [1, 2])",
        b="glob_parent('*')\nopen(get_data_fn('y'), 'w').close()\nset_output(get_input())",
        c="#multiplex group_by '1'\nopen(get_data_fn('z'), 'w').close()\nset_output(sum(get_input('b')))",
    )
    for pushed in ([0], [0, 1], [1], [0]):
        assert run_to_end(tree.pipeline("a -> b -> c", {"a": pushed})).ok
        assert str(tree.check()).endswith("agree")
    assert list(tree.prefix.rglob("superseded/*"))


def test_a_stopped_run_is_clean(project: Project) -> None:
    tree = Checked(project.root)
    tree.write(
        a="""
        x = 1
        save_param(["x"])
        if get_input() == 3:
            raise KeyboardInterrupt
        open(get_data_fn("x"), "w").close()
        set_output(1)
        """,
    )
    with pytest.raises(KeyboardInterrupt):
        run_to_end(tree.pipeline("a", {"a": range(6)}))
    assert str(tree.check()) == "1 segment instance, 6 tasks: tree and database agree"


def test_a_killed_run_leaves_findings_until_the_next_one(project: Project) -> None:
    tree = Checked(project.root)
    tree.write(
        a="""
        import os, time
        open(get_data_fn("x"), 'w').close()
        set_output(1)
        while get_input() == 3 and not os.path.exists(os.path.dirname(__file__) + "/go"):
            time.sleep(0.01)
        """,
        main=f"""
        from pipelet.launchers import launch_process
        from pipelet.pipeline import Pipeline
        P = Pipeline("a", code_dir={str(tree.root)!r}, prefix={str(tree.prefix)!r})
        P.push(a=range(6))
        launch_process(P, 2, log_level=0)[0].run()
        """,
    )
    process = tree.start("main.py")
    try:
        until(lambda: len(list(tree.prefix.rglob("data/*/x"))) == 6 and _statuses(tree).count(Status.DONE) == 5)
        until(lambda: Status.RUNNING in _statuses(tree))
        with pytest.raises(PrefixLocked, match=r"held by host .* check the prefix when it has ended"):
            tree.check()
        with pytest.raises(PrefixLocked):
            tree.check(repair=True)
    finally:
        boss = json.loads((tree.prefix / ".pipelet" / "lock").read_text())["pid"]
        os.kill(boss, signal.SIGKILL)
        process.kill()
        process.communicate()
    until(lambda: PrefixLock(Tree(str(tree.prefix)).lock_path).holder().alive is False)  # type: ignore[union-attr]
    found = {finding.kind for finding in tree.check().findings}
    assert {"lock", "running"} <= found <= {"lock", "running", "unclosed", "unsynced"}
    shutil.copytree(tree.prefix, tree.root / "copy")
    (tree.root / "go").touch()
    run_to_end(tree.pipeline("a", {"a": range(6)}))
    assert tree.check().clean
    # The same by a repair: nothing that is done is lost, and the task runs again.
    shutil.rmtree(tree.prefix)
    (tree.root / "copy").rename(tree.prefix)
    report = tree.check(repair=True)
    assert report.clean
    assert {finding.kind for finding in report.mended} == found
    assert sorted(_statuses(tree)) == [Status.QUEUED, *[Status.DONE] * 5]
    assert run_to_end(tree.pipeline("a", {"a": range(6)})).reused == 5
    assert tree.check().clean


def _statuses(tree: Checked) -> list[int]:
    with Reader.open(tree.sqlfile) as reader:
        return [task.status for row in reader.instances() for task in reader.tasks(row.id)]


# --- damage that is mended -------------------------------------------------------------------------------------------

Damage = Callable[[Checked], None]
OF_DOUBLE = "instance IN (SELECT id FROM instance WHERE segment = 'double')"
DAMAGES: dict[str, tuple[list[str], Damage]] = {}


def damage(*kinds: str) -> Callable[[Damage], Damage]:
    def register(function: Damage) -> Damage:
        DAMAGES[function.__name__] = ([*kinds], function)
        return function

    return register


@damage("database")
def the_database_is_gone(tree: Checked) -> None:
    tree.sqlfile.unlink()


@damage("database")
def the_database_is_damaged_in_the_middle(tree: Checked) -> None:
    data = bytearray(tree.sqlfile.read_bytes())
    data[4096 : len(data)] = b"\x07" * (len(data) - 4096)
    tree.sqlfile.write_bytes(data)


@damage("database")
def an_index_does_not_fit(tree: Checked) -> None:
    with closing(sqlite3.connect(tree.sqlfile)) as connection, connection:
        # The index is said to be another one than it is: its entries no longer fit.
        connection.execute("PRAGMA writable_schema = 1")
        connection.execute(
            "UPDATE sqlite_master SET sql = replace(sql, '(instance)', '(status)') WHERE name = 'task_instance'"
        )


@damage("instance")
def an_instance_is_not_in_the_database(tree: Checked) -> None:
    with Writer.open(tree.sqlfile) as writer:
        writer.delete_instance(next(row.id for row in writer.instances() if row.segment == "half"))


@damage("lost")
def an_instance_is_not_in_the_tree(tree: Checked) -> None:
    shutil.rmtree(tree.prefix / tree.path("half"))


@damage("lost", "lost")
def an_instance_and_its_child_are_not_in_the_tree(tree: Checked) -> None:
    shutil.rmtree(tree.prefix / tree.path("double"))


@damage("moved")
def an_instance_is_elsewhere(tree: Checked) -> None:
    (tree.prefix / tree.path("half")).rename(tree.prefix / os.path.basename(tree.path("half")))


@damage("meta")
def a_meta_is_gone(tree: Checked) -> None:
    tree.file("half.meta").unlink()


@damage("meta")
def a_meta_is_cut(tree: Checked) -> None:
    meta = tree.file("half.meta")
    meta.write_bytes(meta.read_bytes()[:50])


@damage("facts")
def the_facts_of_an_instance_differ(tree: Checked) -> None:
    tree.sql("UPDATE instance SET created = 1.5, parents = '[]' WHERE segment = 'half'")


@damage("journal-short")
def a_journal_is_gone(tree: Checked) -> None:
    tree.file("double.journal").unlink()


@damage("journal-short")
def a_journal_is_cut(tree: Checked) -> None:
    journal = tree.file("double.journal")
    journal.write_bytes(journal.read_bytes()[:-10])


@damage("torn")
def a_journal_has_a_torn_end(tree: Checked) -> None:
    with open(tree.file("double.journal"), "ab") as file:
        file.write(b"\xb5PJ\x01abc")


@damage("journal-damaged")
def a_journal_is_damaged(tree: Checked) -> None:
    journal = tree.file("double.journal")
    data = bytearray(journal.read_bytes())
    data[60] ^= 255
    journal.write_bytes(data)


@damage("journal-damaged")
def a_journal_is_no_journal(tree: Checked) -> None:
    tree.file("double.journal").write_bytes(b"no journal at all")


@damage("journal-long")
def a_journal_is_longer(tree: Checked) -> None:
    row = next(row for row in _rows(tree) if row.segment == "half")
    Tree(str(tree.prefix)).journal(row.path).append([["waiting", "for godot"]])


@damage("rows")
def a_row_differs(tree: Checked) -> None:
    tree.sql(f"UPDATE task SET output = x'90', error = 'what?' WHERE text = '1' AND {OF_DOUBLE}")


@damage("rows", "rows")
def a_place_and_a_parameter_differ(tree: Checked) -> None:
    tree.sql(f"UPDATE task SET parents = '[[7]]' WHERE text = '0' AND {OF_DOUBLE}")
    tree.sql("UPDATE param SET value = x'00' WHERE name = 'x' AND text = '1'")


@damage("rows")
def a_done_task_is_said_to_wait(tree: Checked) -> None:
    tree.sql(f"UPDATE task SET status = 0 WHERE text = '1' AND {OF_DOUBLE}")
    tree.sql(f"UPDATE tally SET n = n - 1 WHERE {OF_DOUBLE}")
    tree.sql("INSERT INTO tally SELECT id, 0, 1 FROM instance WHERE segment = 'double'")


@damage("rows", "wanted")
def a_row_is_gone(tree: Checked) -> None:
    tree.sql("DELETE FROM task WHERE text = '2' AND instance IN (SELECT id FROM instance WHERE segment = 'half')")
    tree.sql("UPDATE tally SET n = n - 1 WHERE instance IN (SELECT id FROM instance WHERE segment = 'half')")


@damage("rows")
def a_column_of_an_instance_differs(tree: Checked) -> None:
    tree.sql("UPDATE instance SET waiting = 'x', wanted = NULL WHERE segment = 'half'")


@damage("rows")
def the_end_of_a_journal_is_none(tree: Checked) -> None:
    tree.sql("UPDATE instance SET journal_end = journal_end - 1 WHERE segment = 'half'")


@damage("unjournalled")
def a_done_task_is_not_in_the_journal(tree: Checked) -> None:
    row = next(row for row in _rows(tree) if row.segment == "double")
    with Reader.open(tree.sqlfile) as reader:
        tasks = list(reader.tasks(row.id))
    journal = Tree(str(tree.prefix)).journal(row.path)
    frames = [events for events, _ in journal.read()]
    kept = [[event for event in events if event[1] != tasks[0].id] for events in frames]
    tree.sql("UPDATE instance SET journal_end = ? WHERE id = ?", journal.rewrite(kept), row.id)


@damage("sets")
def a_set_of_tasks_is_gone(tree: Checked) -> None:
    tree.run_again(12)
    tree.sql("DELETE FROM task_set")


@damage("orphans")
def rows_belong_to_nothing(tree: Checked) -> None:
    tree.sql("INSERT INTO param VALUES (999, 'x', NULL, NULL, 0)")
    tree.sql("INSERT INTO tag VALUES (999, 'x')")


@damage("tally")
def a_tally_is_wrong(tree: Checked) -> None:
    tree.sql("UPDATE tally SET n = n + 1 WHERE instance IN (SELECT id FROM instance WHERE segment = 'half')")


@damage("running")
def a_task_is_said_to_run(tree: Checked) -> None:
    # A run that was killed has left it, and its row is in the database only.
    tree.write(half="1 / 0")
    tree.run_again()
    failed = "SELECT id FROM task WHERE status = 3 LIMIT 1"
    tree.sql(f"UPDATE tally SET n = n - 1 WHERE status = 3 AND instance IN ({failed.replace('id', 'instance', 1)})")
    tree.sql(f"INSERT INTO tally SELECT instance, 1, 1 FROM task WHERE id IN ({failed})")
    tree.sql(f"UPDATE task SET status = 1 WHERE id IN ({failed})")


@damage("wanted")
def a_wanted_task_is_unknown(tree: Checked) -> None:
    row = next(row for row in _rows(tree) if row.segment == "half")
    events = [["wanted", pack_ids([99, 6, 7, 98])]]
    end = Tree(str(tree.prefix)).journal(row.path).append(events)
    with Writer.open(tree.sqlfile) as writer:
        writer.apply(row.id, events, end)


@damage("tag")
def a_tag_differs(tree: Checked) -> None:
    tree.file("half.tag").write_text("better\n")


@damage("tag")
def a_tag_is_gone(tree: Checked) -> None:
    tree.file("half.tag").unlink()


@damage("args")
def the_parameters_are_gone(tree: Checked) -> None:
    tree.file("double.args").unlink()


@damage("args")
def the_parameters_differ(tree: Checked) -> None:
    args = tree.file("double.args")
    args.write_text(args.read_text().replace("colour = red", "colour = green"))


@damage("move")
def a_directory_waits_in_superseded(tree: Checked) -> None:
    place = next(path for path in tree.prefix.rglob("data/*_1"))
    superseded = place.parents[1] / "superseded"
    superseded.mkdir()
    place.rename(superseded / place.name)


@damage("move")
def moves_were_cut(tree: Checked) -> None:
    data = tree.prefix / tree.path("total") / "data"
    superseded = data.parent / "superseded"
    (number,) = [task.id for task in _tasks(tree, "total")]
    (superseded / f"{number}_1.moving").mkdir(parents=True)
    (data / "sum").rename(superseded / f"{number}_1.moving" / "sum")


@damage("move")
def the_mark_of_moves_is_left(tree: Checked) -> None:
    (tree.prefix / ".pipelet" / "moving").touch()


@damage("lock")
def a_dead_run_holds_the_lock(tree: Checked) -> None:
    child = "import os, sys; from pipelet.storage import PrefixLock; PrefixLock(sys.argv[1]).acquire(); os._exit(0)"
    lock = tree.prefix / ".pipelet" / "lock"
    subprocess.run([sys.executable, "-c", child, str(lock)], env=ENVIRONMENT, check=True)


@damage("lock")
def files_of_old_locks_are_left(tree: Checked) -> None:
    (tree.prefix / ".pipelet" / "lock.abc.workers").write_text("[]")
    claim = tree.prefix / ".pipelet" / "lock.abc.claim"
    claim.touch()
    os.utime(claim, (0, 0))


@damage("discard", "temporary", "temporary", "temporary")
def rubbish_is_left(tree: Checked) -> None:
    (tree.prefix / ".pipelet" / "discard" / "x").mkdir(parents=True)
    (tree.prefix / ".pipelet" / f".{'0' * 32}.tmp").touch()
    (tree.prefix / tree.path("double") / f".{'1' * 32}.tmp").touch()
    (tree.prefix / ".sqlstatus.new").touch()


def _mark(tree: Checked, boot_id: str) -> None:
    begin = {tree.path("double"): 0}
    Path(Tree(str(tree.prefix)).products.mark).write_text(json.dumps({"boot": boot_id, "begin": begin}))


@damage("unsynced")
def the_disk_may_not_have_all(tree: Checked) -> None:
    _mark(tree, boot())


@damage("unsynced", "doubt")
def the_machine_died(tree: Checked) -> None:
    _mark(tree, "an earlier one")


@damage("unclosed")
def the_database_was_not_closed(tree: Checked) -> None:
    child = (
        "import os, sys; from pipelet.statusdb import Writer; writer = Writer.open(sys.argv[1], 'wal')\n"
        "writer.put_user('ada', 'hash', 2); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", child, str(tree.sqlfile)], env=ENVIRONMENT, check=True)


#: These run something themselves, or change where things are.
OTHER_ROWS = (
    "a_task_is_said_to_run", "the_machine_died", "a_set_of_tasks_is_gone", "an_instance_is_elsewhere",
)


def _tasks(tree: Checked, segment: str) -> list[object]:
    with Reader.open(tree.sqlfile) as reader:
        return [task for row in reader.instances(segment) for task in reader.tasks(row.id)]


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_mended(tree: Checked, name: str) -> None:
    kinds, do = DAMAGES[name]
    products = tree.products()
    before = tree.database()
    do(tree)
    after = snapshot(tree.prefix)
    report = tree.check()
    assert [finding.kind for finding in report.findings] == kinds
    assert report.mendable == len(kinds)
    for finding, line in zip(report.findings, str(report).splitlines(), strict=False):
        assert line == f"{finding.where}: {finding.what}; --repair {finding.cure}"
        assert "\n" not in finding.what
    assert str(report).splitlines()[-1].endswith(
        f"{len(kinds)} finding{'s' * (len(kinds) > 1)}, of which --repair mends {len(kinds)}"
    )
    # Looking changes nothing.
    assert snapshot(tree.prefix) == after
    report = tree.check(repair=True)
    assert str(report).startswith("mended: ")
    assert report.clean, report
    assert not report.failures
    assert set(kinds) <= {finding.kind for finding in report.mended}
    assert tree.kinds() == []
    assert not list((tree.prefix / ".pipelet").glob("lock*"))
    if "lost" not in kinds and name not in OTHER_ROWS:
        assert tree.products() == products
        _same_rows(tree, before, name)
    # And a run goes on from there.
    tree.write(half=SCRIPTS["half"])
    tree.run_again()
    assert tree.check().clean
    assert sum(tree.pipeline(DOT, {"make": [3]}).outputs("total")) == 6


def _same_rows(tree: Checked, before: dict[str, list[tuple[object, ...]]], name: str) -> None:
    """What counts came back as it was."""
    now = tree.database()
    tables = ["task", "param", "tally", "task_set"]
    if name not in ("a_tag_differs", "a_tag_is_gone"):
        tables.append("tag")
    for table in tables:
        assert now[table] == before[table], table


def test_tasks_that_follow_another_parent_do_so_in_one_event(tree: Checked) -> None:
    tree.run_again(5)
    journal = Tree(str(tree.prefix)).journal(tree.path("double"))
    told = [event for events, _ in journal.read() for event in events if event[0] in ("parents", "follow")]
    made = tree.pipeline(DOT, {"make": [5]}).tasks("make")[0].id
    first = tree.pipeline(DOT, {"make": [5]}).tasks("double")[0].id
    assert told == [["follow", f"[[{made}]]", first, first + 2]]
    assert tree.check().clean
    before = tree.database()
    rebuild_db_from_disk(tree.prefix, tree.sqlfile)
    _same_rows(tree, before, "")
    tree.sql("UPDATE task SET parents = '[[1]]' WHERE id = ?", first)
    assert tree.kinds() == ["rows"]
    assert tree.check(repair=True).clean
    _same_rows(tree, before, "")


def test_there_is_a_damage_of_each_kind_that_a_repair_mends() -> None:
    package = Path(sys.modules["pipelet.check"].__file__ or "").parent
    text = "".join(path.read_text() for path in package.glob("*.py"))
    for kind in {kind for kinds, _ in DAMAGES.values() for kind in kinds}:
        assert f'"{kind}"' in text


# --- what a repair keeps ---------------------------------------------------------------------------------------------


def test_a_repair_that_changes_rows_keeps_a_copy_of_the_database(tree: Checked) -> None:
    DAMAGES["a_row_differs"][1](tree)
    before = tree.database()
    tree.sqlfile.chmod(0o640)
    tree.check(repair=True)
    old = Checked(tree.root)
    assert tree.database() != before
    tree.sqlfile.with_name(".sqlstatus.old").replace(tree.sqlfile)
    assert old.database() == before
    assert tree.sqlfile.stat().st_mode & 0o777 == 0o640


def test_a_database_made_anew_keeps_the_accounts_that_can_be_read(tree: Checked) -> None:
    with Writer.open(tree.sqlfile) as writer:
        writer.put_user("ada", "hash", 2)
    DAMAGES["an_index_does_not_fit"][1](tree)
    assert tree.check(repair=True).clean
    assert tree.database()["user"] == [("ada", "hash", 2)]


def test_a_damaged_journal_stays_beside_the_new_one(tree: Checked) -> None:
    DAMAGES["a_journal_is_damaged"][1](tree)
    damaged = tree.file("double.journal").read_bytes()
    tree.check(repair=True)
    assert tree.file("double.journal.damaged").read_bytes() == damaged


def test_what_is_wrong_in_many_places_is_mended_at_once(tree: Checked) -> None:
    for name in (
        "a_journal_is_gone", "a_column_of_an_instance_differs", "a_tag_differs", "the_parameters_differ",
        "a_tally_is_wrong", "rubbish_is_left", "a_directory_waits_in_superseded", "a_dead_run_holds_the_lock",
    ):
        DAMAGES[name][1](tree)
    kinds = set(tree.kinds())
    assert {"journal-short", "rows", "tag", "args", "tally", "discard", "move", "lock"} <= kinds
    assert tree.check(repair=True).clean
    assert tree.check().clean


# --- what is only told -----------------------------------------------------------------------------------------------


def test_a_directory_that_is_gone_is_told_and_made_by_the_next_run(tree: Checked) -> None:
    place = next(path for path in tree.prefix.rglob("data/*_1"))
    shutil.rmtree(place)
    report = tree.check(repair=True)
    assert [(finding.kind, finding.where) for finding in report.findings] == [("directory", tree.path("double"))]
    assert place.name in report.findings[0].what
    assert "not for --repair: the next run" in str(report)
    assert not report.mended
    tree.run_again()
    assert tree.check().clean
    assert place.is_dir()


def test_data_that_is_gone_as_a_whole_is_told(tree: Checked) -> None:
    shutil.rmtree(tree.prefix / tree.path("total") / "data")
    assert tree.kinds() == ["directory"]


def test_an_older_version_that_is_gone_is_told(project: Project) -> None:
    tree = Checked(project.root)
    tree.write(
        a="set_output(get_input())",
        b="#multiplex group_by '1'\nopen(get_data_fn('z'), 'w').close()\nset_output(sum(get_input('a')))",
    )
    for pushed in ([1], [1, 2]):
        run_to_end(tree.pipeline("a -> b", {"a": pushed}))
    (older,) = tree.prefix.rglob("superseded/*")
    shutil.rmtree(older)
    (finding,) = tree.check(repair=True).findings
    assert finding.kind == "directory"
    assert older.name in finding.what
    assert "superseded/" in finding.what


def test_what_no_record_knows_is_told_and_left_alone(tree: Checked) -> None:
    data = tree.prefix / tree.path("double")
    for stranger in (data / "data" / "77_x", data / "superseded" / "78_y"):
        stranger.mkdir(parents=True)
        (stranger / "mine").touch()
    (data / "data" / "notes.txt").touch()
    report = tree.check(repair=True)
    (finding,) = report.findings
    assert (finding.kind, finding.where) == ("unknown", tree.path("double"))
    assert "data/77_x, data/notes.txt, superseded/78_y" in finding.what
    assert (data / "data" / "77_x" / "mine").exists()
    assert (data / "superseded" / "78_y" / "mine").exists()


def test_products_in_data_itself_are_no_strangers(tree: Checked) -> None:
    (tree.prefix / tree.path("total") / "data" / "99_by_hand").mkdir()
    assert tree.check().clean


def test_a_copy_of_an_instance_is_told(tree: Checked) -> None:
    path = tree.prefix / tree.path("total")
    shutil.copytree(path, path.with_name("total_AAAAAA"))
    (finding,) = tree.check(repair=True).findings
    assert finding.kind == "copy"
    assert path.with_name("total_AAAAAA").is_dir()


def test_the_wrong_prefix_forgets_nothing(tree: Checked, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    report = check_prefix(tmp_path / "empty", tree.sqlfile, repair=True)
    assert {finding.kind for finding in report.findings} == {"lost"}
    assert report.mendable == 0
    assert tree.check().clean


def test_a_stranger_with_a_damaged_meta_is_told(tree: Checked) -> None:
    DAMAGES["an_instance_is_not_in_the_database"][1](tree)
    DAMAGES["a_meta_is_cut"][1](tree)
    report = tree.check(repair=True)
    (finding,) = report.findings
    assert (finding.kind, finding.mendable) == ("meta", False)


def test_no_database_and_a_damaged_journal_say_so(tree: Checked) -> None:
    DAMAGES["a_journal_is_damaged"][1](tree)
    tree.sqlfile.unlink()
    report = tree.check(repair=True)
    assert {finding.kind for finding in report.findings} == {"database", "journal-damaged"}
    assert "could not be mended" in str(report)


def test_a_damaged_word_on_the_disk_is_told(tree: Checked) -> None:
    mark = Path(Tree(str(tree.prefix)).products.mark)
    mark.write_text("{")
    (finding,) = tree.check(repair=True).findings
    assert (finding.kind, finding.where) == ("mark", ".pipelet/unsynced")
    assert mark.exists()


def test_of_a_machine_that_died_only_tasks_with_files_run_again(tree: Checked) -> None:
    DAMAGES["the_machine_died"][1](tree)
    (finding,) = (finding for finding in tree.check().findings if finding.kind == "doubt")
    assert "3 done tasks" in finding.what
    tree.check(repair=True)
    assert sorted(_statuses(tree)) == [Status.QUEUED] * 3 + [Status.DONE] * 5


def test_a_parent_that_is_not_in_the_tree_is_forgotten_and_its_child_stays(project: Project) -> None:
    tree = Checked(project.root)
    tree.write(a="set_output(1)", b="set_output(2)", c="set_output(get_input('a') + get_input('b'))")
    run_to_end(tree.pipeline("a -> c; b -> c"))
    shutil.rmtree(tree.prefix / tree.path("b"))
    report = tree.check(repair=True)
    assert [finding.kind for finding in report.mended] == ["lost", "facts"]
    assert report.clean
    by_segment = {row.segment: row for row in _rows(tree)}
    assert by_segment["c"].parents == (by_segment["a"].id,)


def test_somebody_who_is_just_about_to_take_the_lock_is_no_finding(tree: Checked) -> None:
    (tree.prefix / ".pipelet" / "lock.abc.claim").touch()
    (tree.prefix / ".pipelet" / "lock.abc.new").touch()
    assert tree.check().clean


def test_a_name_that_a_terminal_would_obey_is_shown_as_text(tree: Checked) -> None:
    (tree.prefix / tree.path("double") / "data" / "7\n\x1b[31mred").mkdir()
    (finding,) = tree.check().findings
    assert "7\\n\\x1b[31mred" in finding.what


# --- when it refuses -------------------------------------------------------------------------------------------------


def test_what_can_not_be_checked_is_an_error(tree: Checked, tmp_path: Path) -> None:
    with pytest.raises(PrefixError, match="there is no directory"):
        check_prefix(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingDatabaseError, match="neither a segment instance"):
        check_prefix(tmp_path / "empty")
    assert os.listdir(tmp_path / "empty") == []
    tree.sqlfile.write_text("a novel")
    with pytest.raises(ForeignDatabaseError):
        tree.check(repair=True)
    assert tree.sqlfile.read_text() == "a novel"


def test_a_run_that_comes_while_it_is_looked_at_is_noticed(tree: Checked) -> None:
    def disturb(done: int, total: int) -> None:
        with Writer.open(tree.sqlfile) as writer:
            writer.put_user("ada", "hash", 2)

    with pytest.raises(PrefixLocked, match="check it again"):
        check_prefix(tree.prefix, tree.sqlfile, progress=disturb)


def test_a_reader_that_makes_an_empty_log_is_no_run(tree: Checked) -> None:
    # So it is after a writer was killed just before its last step.
    with closing(sqlite3.connect(tree.sqlfile)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert check_prefix(tree.prefix, tree.sqlfile).findings is not None


def test_it_tells_how_far_it_is(tree: Checked) -> None:
    told: list[tuple[int, int]] = []
    check_prefix(tree.prefix, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (8, 8)
