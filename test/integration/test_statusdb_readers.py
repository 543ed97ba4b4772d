"""Reading a status database as other users, beside writers dead and alive; and files that must be left alone."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipelet import schema
from pipelet.core.model import Status
from pipelet.errors import (
    DamagedDatabaseError,
    DatabaseError,
    ForeignDatabaseError,
    MissingDatabaseError,
    NewerDatabaseError,
)
from pipelet.statusdb import Reader, TaskRow, Writer, opening

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def task_row(task: int, **fields: Any) -> TaskRow:
    values = dict.fromkeys(TaskRow._fields) | {
        "id": task,
        "instance": 1,
        "digest": bytes(16),
        "status": int(Status.DONE),
        "current": 1,
        "text": "x",
        "output": bytes(300),
        "parents": "[]",
        "aside": 0,
    }
    return TaskRow(**(values | fields))  # type: ignore[arg-type]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that other users can enter: the ones that pytest makes are private."""
    directory = Path(tempfile.mkdtemp(prefix="pipelet-test-"))
    directory.chmod(0o755)
    yield directory
    directory.chmod(0o755)
    shutil.rmtree(directory)


def as_another_user(work: Callable[[], object]) -> None:
    """Run something in a child process that has no right to write anything; permissions do that for who isn't root."""
    with warnings.catch_warnings():
        # Python 3.12 warns of forks beside threads; the child does its work and leaves.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def lock_up(directory: Path) -> None:
    for path in directory.iterdir():
        path.chmod(0o444)
    directory.chmod(0o555)


WRITE = """
import os, signal, sys
from pipelet.statusdb import Writer
from pipelet.statusdb.reader import TaskRow
writer = Writer.open(sys.argv[1], sys.argv[2])
writer.add_instance("melt", "M", "melt_M", [], 1.0)
"""
#: Commits a tag, opens a transaction with another one, and goes on at a word.
LIVE = (
    WRITE
    + """
writer.set_tag(1, "in the log")
with writer.transaction():
    writer.set_tag(2, "not yet")
    print("ready", flush=True)
    sys.stdin.readline()
writer.close()
"""
)
#: Dies with a committed tag that is only in the log.
KILLED = (
    WRITE
    + """
writer.set_tag(1, "in the log")
os.kill(os.getpid(), signal.SIGKILL)
"""
)
#: Dies with half a transaction in the file, and the journal that takes it back.
HOT = (
    WRITE
    + """
writer.set_tag(1, "kept")
writer._connection.execute("PRAGMA cache_size = 5")
writer._connection.execute("PRAGMA cache_spill = 1")
with writer.transaction():
    writer.set_tag(1, "half")
    for number in range(200):
        writer.set_tag(10 + number, "x" * 2000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


def write_elsewhere(code: str, sqlfile: Path, mode: str) -> None:
    done = subprocess.run([sys.executable, "-c", code, str(sqlfile), mode], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def read_tags(sqlfile: Path) -> dict[int, str]:
    with Reader.open(sqlfile) as reader:
        return reader.tags()


def expect_tags(sqlfile: Path, tags: dict[int, str]) -> Callable[[], None]:
    def check() -> None:
        assert read_tags(sqlfile) == tags

    return check


def make(sqlfile: Path, rows: int = 50) -> None:
    with Writer.open(sqlfile) as writer:
        writer.add_instance("melt", "M", "melt_M", [], 1.0)
        writer.add_queued(task_row(number) for number in range(1, rows + 1))
        writer.set_tag(1, "good")


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_reading_while_another_process_writes(shared: Path, mode: str) -> None:
    sqlfile = shared / "db"
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, str(sqlfile), mode],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        files = sorted(os.listdir(shared))
        shared.chmod(0o555)
        as_another_user(expect_tags(sqlfile, {1: "in the log"}))
        shared.chmod(0o755)
        assert read_tags(sqlfile) == {1: "in the log"}
        assert sorted(os.listdir(shared)) == files
        other.communicate("\n")
    assert other.returncode == 0
    assert read_tags(sqlfile) == {1: "in the log", 2: "not yet"}


def test_a_reader_and_a_writer_in_one_process_beside_another_writer(tmp_path: Path) -> None:
    sqlfile = tmp_path / "db"
    with subprocess.Popen(
        [sys.executable, "-c", LIVE, str(sqlfile), "wal"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with Reader.open(sqlfile) as reader:
            assert reader.tags() == {1: "in the log"}
            assert other.stdin is not None
            other.stdin.write("\n")
            other.stdin.flush()
            with Writer.open(sqlfile, "keep") as writer:
                writer.set_tag(3, "from here")
    assert read_tags(sqlfile) == {1: "in the log", 2: "not yet", 3: "from here"}


def test_at_rest_anybody_can_read(shared: Path) -> None:
    make(shared / "db")
    lock_up(shared)

    def check() -> None:
        with Reader.open(shared / "db") as reader:
            assert reader.tally() == {1: {Status.DONE: 50}}
            assert len(list(reader.tasks(1))) == 50

    before = contents(shared)
    as_another_user(check)
    assert contents(shared) == before


@pytest.mark.parametrize("shm", [False, True])
def test_a_log_that_a_killed_writer_left(shared: Path, tmp_path: Path, shm: bool) -> None:
    write_elsewhere(KILLED, tmp_path / "db", "wal")
    for suffix in ("", "-wal", "-shm") if shm else ("", "-wal"):
        shutil.copy(tmp_path / f"db{suffix}", shared / f"db{suffix}")
    lock_up(shared)
    before = contents(shared)
    assert len(before["db-wal"]) > 0
    as_another_user(expect_tags(shared / "db", {1: "in the log"}))
    assert contents(shared) == before


def test_a_log_is_read_beside_which_files_could_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, scratch = tmp_path / "data", tmp_path / "scratch"
    data.mkdir()
    scratch.mkdir()
    write_elsewhere(KILLED, data / "db", "wal")
    (data / "db-shm").unlink()
    before = contents(data)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with Reader.open(data / "db") as reader:
        assert os.listdir(scratch) == []
        assert reader.tags() == {1: "in the log"}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader._connection.execute("DELETE FROM tag")
    assert contents(data) == before
    with Writer.open(data / "db") as writer:
        assert writer.tags() == {1: "in the log"}


def test_a_hot_journal_that_a_killed_writer_left(shared: Path) -> None:
    write_elsewhere(HOT, shared / "db", "delete")
    lock_up(shared)
    before = contents(shared)
    assert b"x" * 2000 in before["db"]
    assert len(before["db-journal"]) > 0
    as_another_user(expect_tags(shared / "db", {1: "kept"}))
    assert contents(shared) == before
    assert read_tags(shared / "db") == {1: "kept"}
    assert contents(shared) == before
    shared.chmod(0o755)
    (shared / "db").chmod(0o644)
    with Writer.open(shared / "db") as writer:
        assert writer.tags() == {1: "kept"}


def test_a_private_copy_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_elsewhere(HOT, tmp_path / "db", "delete")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(DatabaseError, match=r"must be copied to .*none"):
        Reader.open(tmp_path / "db")


def test_a_file_that_changes_while_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_elsewhere(HOT, tmp_path / "db", "delete")
    states = iter(range(1000))
    still = opening._fingerprint
    monkeypatch.setattr(
        opening, "_fingerprint", lambda path: still(path) if next(states) > 3 else [(next(states), 0, 0)]
    )
    assert read_tags(tmp_path / "db") == {1: "kept"}
    monkeypatch.setattr(opening, "_fingerprint", lambda path: [(next(states), 0, 0)])
    monkeypatch.setattr(opening, "_COPY_TRIALS", 2)
    with pytest.raises(DatabaseError, match="without pause"):
        Reader.open(tmp_path / "db")


def test_a_crash_while_it_was_made_left_a_hot_journal(tmp_path: Path) -> None:
    code = (
        "import os, signal, sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA cache_size = 1')\nconnection.execute('BEGIN IMMEDIATE')\n"
        "for n in range(200):\n    connection.execute(f'CREATE TABLE castle_{n} (name TEXT)')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    write_elsewhere(code, tmp_path / "db", "")
    before = contents(tmp_path)
    assert set(before) == {"db", "db-journal"}
    assert len(before["db"]) > 0
    with pytest.raises(MissingDatabaseError, match="run the pipeline first"):
        Reader.open(tmp_path / "db")
    assert contents(tmp_path) == before
    with Writer.open(tmp_path / "db") as writer:
        assert writer.created
        assert writer.instances() == []


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    make(tmp_path / "db")
    with Reader.open(tmp_path / "db") as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader._connection.execute("DELETE FROM tag")


def test_what_is_missing(tmp_path: Path) -> None:
    for name in ("none", "no/where", "empty"):
        if name == "empty":
            (tmp_path / name).touch()
        with pytest.raises(MissingDatabaseError, match=r"run the pipeline first.*pipeutils -r PREFIX SQLFILE"):
            Reader.open(tmp_path / name)
        with pytest.raises(MissingDatabaseError, match="run the pipeline first"):
            Writer.open(tmp_path / name, create=False)
        assert not opening.has_database(tmp_path / name)
    with pytest.raises(DatabaseError, match=f"directory {tmp_path}/no .*does not exist"):
        Writer.open(tmp_path / "no/where")
    for kind in (Reader, Writer):
        with pytest.raises(ForeignDatabaseError, match="is a directory"):
            kind.open(tmp_path)
        with pytest.raises(DatabaseError, match="can't be looked at"):
            kind.open(f"{tmp_path}/a\0b")
    assert os.listdir(tmp_path) == ["empty"]
    with closing(sqlite3.connect(tmp_path / "blank")) as connection:
        connection.execute("VACUUM")
    with pytest.raises(MissingDatabaseError):
        Reader.open(tmp_path / "blank")


def test_what_is_not_allowed(shared: Path) -> None:
    make(shared / "open")
    make(shared / "secret")
    lock_up(shared)
    (shared / "secret").chmod(0o000)

    def check() -> None:
        for kind in (Reader, Writer):
            with pytest.raises(DatabaseError, match="no read permission"):
                kind.open(shared / "secret")
        with (
            pytest.raises(DatabaseError, match="need write permission for the file and for its directory"),
            Writer.open(shared / "open", "keep") as writer,
        ):
            writer.set_tag(1, "bad")
        with pytest.raises(DatabaseError, match="no write permission for its directory"):
            Writer.open(shared / "new")

    before = {name: os.stat(shared / name).st_mtime_ns for name in os.listdir(shared)}
    as_another_user(check)
    assert {name: os.stat(shared / name).st_mtime_ns for name in os.listdir(shared)} == before


def text_file(sqlfile: Path) -> None:
    sqlfile.write_text("Once in the lifetime of every knight\n" * 100)


def short_text_file(sqlfile: Path) -> None:
    sqlfile.write_text("Ni!")


def truncated(sqlfile: Path) -> None:
    make(sqlfile)
    os.truncate(sqlfile, sqlfile.stat().st_size // 2)


def nearly_empty(sqlfile: Path) -> None:
    make(sqlfile)
    os.truncate(sqlfile, 50)


def overwritten(sqlfile: Path) -> None:
    make(sqlfile, 500)
    data = bytearray(sqlfile.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    sqlfile.write_bytes(data)


def overwritten_schema(sqlfile: Path) -> None:
    make(sqlfile, 500)
    data = bytearray(sqlfile.read_bytes())
    data[100:4096] = b"\xa5" * 3996
    sqlfile.write_bytes(data)


def somebody_elses(sqlfile: Path) -> None:
    with closing(sqlite3.connect(sqlfile)) as connection:
        connection.execute("CREATE TABLE castle (name TEXT)")


def somebody_elses_mark(sqlfile: Path) -> None:
    with closing(sqlite3.connect(sqlfile)) as connection:
        connection.execute("PRAGMA application_id = 1234")


def somebody_elses_log(sqlfile: Path) -> None:
    code = (
        "import os, signal, sqlite3, sys\nconnection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "connection.execute('PRAGMA journal_mode = WAL')\nconnection.execute('CREATE TABLE castle (name TEXT)')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    write_elsewhere(code, sqlfile, "")
    sqlfile.with_name(f"{sqlfile.name}-shm").unlink()


def pipelet_1(sqlfile: Path) -> None:
    with closing(sqlite3.connect(sqlfile)) as connection:
        connection.execute("CREATE TABLE segments (seg_id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE tasks (task_id INTEGER PRIMARY KEY)")


def newer(sqlfile: Path) -> None:
    make(sqlfile)
    with closing(sqlite3.connect(sqlfile)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.newest_version() + 1}")
        connection.execute("DROP TABLE task")


LEFT_ALONE = [
    (text_file, ForeignDatabaseError, "no SQLite database"),
    (short_text_file, ForeignDatabaseError, "no SQLite database"),
    (nearly_empty, DamagedDatabaseError, "damaged"),
    (truncated, DamagedDatabaseError, "damaged"),
    (overwritten, DamagedDatabaseError, "damaged"),
    (overwritten_schema, DamagedDatabaseError, "damaged"),
    (somebody_elses, ForeignDatabaseError, "database of another program"),
    (somebody_elses_mark, ForeignDatabaseError, "database of another program"),
    (somebody_elses_log, ForeignDatabaseError, "database of another program"),
    (pipelet_1, ForeignDatabaseError, "Pipelet 1"),
    (newer, NewerDatabaseError, "newer version of Pipelet.*update Pipelet"),
]


def use(kind: type[Reader], sqlfile: Path) -> None:
    with kind.open(sqlfile) as opened:
        opened.instances()
        list(opened.tasks(1))
        opened.tags()


@pytest.mark.parametrize("kind", [Reader, Writer])
@pytest.mark.parametrize(("spoil", "error", "words"), LEFT_ALONE)
def test_files_that_are_left_alone(
    tmp_path: Path, kind: type[Reader], spoil: Callable[[Path], None], error: type[DatabaseError], words: str
) -> None:
    sqlfile = tmp_path / "db"
    spoil(sqlfile)
    before = contents(tmp_path)
    with pytest.raises(error, match=words) as caught:
        use(kind, sqlfile)
    assert contents(tmp_path) == before
    assert str(sqlfile) in str(caught.value)
    assert "pipeutils -r PREFIX SQLFILE" in str(caught.value)
    assert "left as it is" in str(caught.value)
    assert "give another file" in str(caught.value) or error is DamagedDatabaseError


@pytest.mark.parametrize("table", ["tag", "instance", "task"])
def test_damage_beside_a_log_is_noticed_before_writing(tmp_path: Path, table: str) -> None:
    sqlfile = tmp_path / "db"
    write_elsewhere(KILLED, sqlfile, "wal")
    (tmp_path / "db-shm").unlink()
    (tmp_path / "db-wal").write_bytes(b"")
    with closing(sqlite3.connect(f"file:{sqlfile}?immutable=1", uri=True)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    data = bytearray(sqlfile.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    sqlfile.write_bytes(data)
    before = contents(tmp_path)
    with pytest.raises(DamagedDatabaseError, match="left as it is"):
        Writer.open(sqlfile)
    assert contents(tmp_path) == before


def test_a_large_database_is_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CHECKED_SIZE", 1000)
    sqlfile = tmp_path / "db"
    overwritten(sqlfile)
    with (
        Writer.open(sqlfile, "keep") as writer,
        pytest.raises(DamagedDatabaseError, match="pipeutils -r PREFIX SQLFILE"),
    ):
        list(writer.tasks(1))
    for code, mode in ((KILLED, "wal"), (HOT, "delete")):
        sqlfile = tmp_path / mode
        write_elsewhere(code, sqlfile, mode)
        monkeypatch.setattr(opening, "_private_copy", lambda path: pytest.fail("copied"))
        (tmp_path / f"{mode}-shm").unlink(missing_ok=True)
        with Writer.open(sqlfile) as writer:
            assert set(writer.tags()) == {1}


def test_a_writer_that_comes_or_goes_at_that_moment_makes_nobody_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlfile = tmp_path / "db"
    with Writer.open(sqlfile) as writer:
        writer.set_tag(1, "there")
    monkeypatch.setattr(opening, "_private_copy", lambda path: pytest.fail("copied"))
    monkeypatch.setattr(opening, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(opening.schema, "read_version", _failing_first(opening.schema.read_version))
    assert read_tags(sqlfile) == {1: "there"}


def _failing_first(read: Callable[[sqlite3.Connection, str], int]) -> Callable[[sqlite3.Connection, str], int]:
    calls = []

    def read_version(connection: sqlite3.Connection, path: str) -> int:
        calls.append(path)
        if len(calls) == 1:
            # What SQLite says where the shared memory goes between two looks.
            raise sqlite3.OperationalError("unable to open database file")
        return read(connection, path)

    return read_version


def test_a_large_database_of_another_program_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "CHECKED_SIZE", 1000)
    somebody_elses_log(tmp_path / "db")
    before = contents(tmp_path)
    with pytest.raises(ForeignDatabaseError):
        Writer.open(tmp_path / "db")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("disk I/O error", "could not be read or written .*disk failing"),
        ("database is locked", "by another process, perhaps on another machine"),
        ("unable to open database file", "limit on open files"),
        ("something new", "db: something new"),
        ("file is not a database", "damaged"),
        ("Could not decode to UTF-8 column 'text'", "damaged"),
    ],
)
def test_errors_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, words: str) -> None:
    monkeypatch.setattr(opening, "lock_holders", lambda paths: [])
    make(tmp_path / "db")
    with pytest.raises(DatabaseError, match=words), opening.translated(str(tmp_path / "db")):
        raise sqlite3.OperationalError(error)
    with pytest.raises(sqlite3.ProgrammingError), opening.translated(str(tmp_path / "db")):
        raise sqlite3.ProgrammingError(error)


def test_a_writer_that_cannot_be_prepared_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[sqlite3.Connection] = []

    def fail(writer: Writer, mode: str) -> None:
        used.append(writer._connection)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Writer, "_prepare", fail)
    with pytest.raises(DatabaseError, match="disk failing"):
        Writer.open(tmp_path / "db")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        used[0].execute("SELECT 1")


def test_the_mark_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    text_file(tmp_path / "db")
    assert not opening._head_is_ours(str(tmp_path / "db"))


def test_a_side_file_that_goes_while_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in ("", "-wal"):
        (tmp_path / f"db{suffix}").write_bytes(b"x")
    copyfile = shutil.copyfile

    def copy_and_drop(source: str, target: str) -> None:
        copyfile(source, target)
        if source.endswith("-wal"):
            os.unlink(source)

    monkeypatch.setattr(opening.shutil, "copyfile", copy_and_drop)
    opening._copy_at_rest(str(tmp_path / "db"), str(tmp_path / "copy"))
    assert sorted(os.listdir(tmp_path)) == ["copy", "db"]
