"""Changes of the tables: each one whole, with its record, or not at all."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelet import schema
from pipelet.core.model import Mark
from pipelet.errors import DatabaseError, MissingDatabaseError, NewerDatabaseError
from pipelet.statusdb import Reader, Writer, statements

ROOT = Path(__file__).parents[2]

EXTRA = schema.Migration(
    "Knights get a shield.",
    ("ALTER TABLE tag ADD COLUMN shield TEXT", "CREATE TABLE herald (name TEXT)", "UPDATE tag SET shield = 'red'"),
)
FAILING = schema.Migration("This one fails half-way.", (*EXTRA.statements, "INSERT INTO nowhere VALUES (1)"))


@pytest.fixture
def sqlfile(tmp_path: Path) -> Path:
    """A database of today's version, with a row."""
    path = tmp_path / "db"
    with Writer.open(path) as writer:
        writer.set_tag(1, "good")
    return path


def state(path: Path) -> tuple[int, int, list[str], list[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        names = sorted(name for (name,) in connection.execute("SELECT name FROM sqlite_master"))
        return application, version, names, connection.execute("SELECT * FROM tag").fetchall()


@pytest.fixture
def connection(sqlfile: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(sqlfile, isolation_level=None)) as opened:
        yield opened


def test_each_migration_has_a_sentence_and_statements() -> None:
    for migration in schema.MIGRATIONS:
        assert migration.sentence.endswith(".")
        assert migration.statements
    assert schema.newest_version() == len(schema.MIGRATIONS)


NOW = schema.newest_version()
TABLES = {"instance", "tag", "task", "task_set", "param", "tally", "user", "sqlite_sequence"}


def test_the_tables_of_version_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old"
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
    Writer.open(path).close()
    application, version, names, _ = state(path)
    assert (application, version) == (schema.APPLICATION_ID, 1)
    monkeypatch.undo()
    before = set(names)
    with Writer.open(path) as writer:
        assert not writer.created
        assert writer.settled(1) == (0, None)
    assert state(path)[1] == NOW
    assert set(state(path)[2]) == before | {"settled", "task_marked"}


def test_version_3_finds_the_marked_tasks_of_version_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old"
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:2])
    Writer.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO task (id, instance, status, current, digest, text, parents, aside, error) "
            "VALUES (?, 1, 3, 1, ?, 'x', '[]', ?, 'Boom')", [(1, b"d" * 16, 1), (2, b"d" * 16, 0)],
        )
    assert state(path)[1] == 2
    monkeypatch.undo()
    with Reader.open(path) as reader:
        assert reader.marked(1) == {1: Mark.ASIDE}
    assert state(path)[1] == 2
    with Writer.open(path) as writer:
        assert writer.marked(1) == {1: Mark.ASIDE}
        assert (writer.count_marked(1, Mark.ASIDE), writer.count_marked(1, Mark.AGAIN)) == (1, 0)
        for statement in (statements.SELECT_MARKED, statements.COUNT_MARKED):
            arguments = (1, 1)[: statement.count("?")]
            plan = writer._connection.execute(f"EXPLAIN QUERY PLAN {statement}", arguments).fetchall()
            assert "INDEX task_marked" in str(plan)
    assert state(path)[1] == NOW


def test_version_4_knows_no_job_of_the_tasks_of_version_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "old"
    monkeypatch.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:3])
    Writer.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO task (id, instance, status, current, digest, text, parents, aside, host) "
            "VALUES (1, 1, 2, 1, ?, 'x', '[]', 0, 'node3')", (b"d" * 16,),
        )
    monkeypatch.undo()
    # The same task as the journal of that time has it: without a field for the job.
    old = [b"d" * 16, 2, 1, None, "x", None, None, None, None, "[]", None, None, None, "node3", None, None, 0]
    with Writer.open(path) as writer:
        (before,) = writer.tasks_listed([1])
        writer.apply(1, [["task", 1, *old, []], ["task", 2, *old, "81276", []]])
        first, second = writer.tasks_listed([1, 2])
        with pytest.raises(DatabaseError, match="of another shape"):
            writer.apply(1, [["task", 3, *old, "81276", "more", []]])
    assert (before.host, before.job) == (first.host, first.job) == ("node3", None)
    assert second.job == "81276"


def test_the_tables_of_version_4(sqlfile: Path) -> None:
    application, version, names, _ = state(sqlfile)
    assert (application, version) == (schema.APPLICATION_ID, 4)
    tables = TABLES | {"settled"}
    assert {name for name in names if not name.startswith("sqlite_autoindex")} == tables | {
        "task_instance",
        "task_marked",
        "task_troubled",
    }


def test_an_old_database_is_brought_up_to_date_once(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, EXTRA))
    with Writer.open(sqlfile) as writer:
        assert not writer.created
    assert state(sqlfile)[1] == NOW + 1
    assert state(sqlfile)[3] == [(1, "good", "red")]
    Writer.open(sqlfile).close()
    assert state(sqlfile)[1] == NOW + 1


def test_a_reader_of_an_old_database_leaves_it_old(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, EXTRA))
    before = sqlfile.read_bytes()
    with Reader.open(sqlfile) as reader:
        assert reader._connection.execute("SELECT shield FROM tag").fetchall() == [("red",)]
        assert reader.tags() == {1: "good"}
    assert sqlfile.read_bytes() == before
    assert os.listdir(sqlfile.parent) == [sqlfile.name]


def test_a_change_that_fails_leaves_the_version_before(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state(sqlfile)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, FAILING))
    with pytest.raises(DatabaseError):
        Writer.open(sqlfile)
    assert state(sqlfile) == before
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS[:NOW], EXTRA, FAILING))
    with pytest.raises(DatabaseError):
        Writer.open(sqlfile)
    assert state(sqlfile)[1] == NOW + 1


CRASH = """
import os, sqlite3, sys
from pipelet import schema
# Whatever comes first after the change, even its record, finds the process dead.
statements = ["ALTER TABLE tag ADD COLUMN shield TEXT", "CREATE TABLE herald (name TEXT)"]
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.create_function("crash", 0, lambda: os._exit(7))
if sys.argv[2] == "after":
    schema.COMMIT = "SELECT crash()"
else:
    statements.insert(int(sys.argv[2]), "SELECT crash()")
changes = (*schema.MIGRATIONS, schema.Migration("Crash.", tuple(statements)))
schema.MIGRATIONS = changes
schema.migrate(connection, sys.argv[1])
"""


@pytest.mark.parametrize("moment", ["0", "1", "2", "after"])
def test_a_crash_leaves_the_version_before(sqlfile: Path, moment: str) -> None:
    before = state(sqlfile)
    done = subprocess.run([sys.executable, "-c", CRASH, str(sqlfile), moment], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert state(sqlfile) == before


def test_a_crash_while_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new"
    code = CRASH.replace("changes = (*schema.MIGRATIONS,", "changes = schema.MIGRATIONS or (")
    done = subprocess.run([sys.executable, "-c", code, str(path), "after"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    with pytest.raises(MissingDatabaseError):
        Reader.open(path)
    with Writer.open(path) as writer:
        assert writer.created


def test_change_and_record_are_seen_together(
    sqlfile: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    schema.migrate(connection, str(sqlfile), (*schema.MIGRATIONS, EXTRA))
    connection.set_trace_callback(None)
    begin, end = statements.index("BEGIN IMMEDIATE"), statements.index("COMMIT")
    assert statements.count("COMMIT") == 1
    inside = statements[begin:end]
    assert set(EXTRA.statements) <= set(inside)
    assert f"PRAGMA user_version = {NOW + 1}" in inside


def test_a_change_that_another_process_made_meanwhile_is_not_made_again(
    sqlfile: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = (*schema.MIGRATIONS, EXTRA)
    monkeypatch.setattr(schema, "MIGRATIONS", changes)
    real = schema.read_version
    calls = []

    def read_version(opened: sqlite3.Connection, name: str) -> int:
        version = real(opened, name)
        calls.append(version)
        if len(calls) == 1:
            with closing(sqlite3.connect(sqlfile, isolation_level=None)) as other:
                for statement in (*EXTRA.statements, f"PRAGMA user_version = {NOW + 1}"):
                    other.execute(statement)
        return version

    monkeypatch.setattr(schema, "read_version", read_version)
    assert schema.migrate(connection, str(sqlfile)) == (NOW, NOW + 1)
    assert calls == [NOW, NOW + 1]
    assert not connection.in_transaction


def test_a_newer_database_is_refused(sqlfile: Path, connection: sqlite3.Connection) -> None:
    connection.execute(f"PRAGMA user_version = {NOW + 1}")
    with pytest.raises(NewerDatabaseError, match=f"tables have version {NOW + 1}, this Pipelet knows {NOW}"):
        schema.migrate(connection, str(sqlfile))


def test_a_full_disk_in_the_middle_of_a_change(sqlfile: Path, connection: sqlite3.Connection) -> None:
    before = state(sqlfile)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 1}")
    large = schema.Migration("Too large.", (*EXTRA.statements, "INSERT INTO herald VALUES (zeroblob(9999))"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        schema.migrate(connection, str(sqlfile), (*schema.MIGRATIONS, large))
    assert not connection.in_transaction
    assert state(sqlfile) == before
