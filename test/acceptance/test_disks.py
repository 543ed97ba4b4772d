"""Disks that are full, databases that are locked, foreign, damaged or newer, prefixes that can't be written."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import resource
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from runs import PRELUDE, Runs
from support import ENVIRONMENT, PATIENCE, Project

from pipelet.errors import DatabaseError
from pipelet.statusdb import Writer

MODES = pytest.mark.parametrize("options", [("-d",), ("-p", "2")], ids=["interactive", "process"])
BIG = PRELUDE + "time.sleep(0.03)\nset_output([number, os.urandom(20_000)])\n"


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path).prepare("a;", "a=range(100)")
    runs.write(a=BIG)
    yield runs
    runs.end()


def in_words(ended: subprocess.CompletedProcess[str]) -> str:
    """The error of a run that could not go on: two lines at most, from main.py."""
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stderr.startswith("main.py: error: "), ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2, ended.stderr
    return ended.stderr


def goes_on(runs: Runs) -> None:
    done = runs.journalled()
    before = runs.executions()
    ended = runs.ran("main.py", "-p", "2")
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stderr
    after = runs.executions()
    assert all(after[task] == before[task] == 1 for task in done)
    assert len(after) == 100
    assert [output for output in runs.pipeline("a").outputs("a") if isinstance(output, int)] == list(range(100))


@MODES
def test_a_limit_on_the_size_of_files(runs: Runs, options: tuple[str, ...]) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))

    error = in_words(runs.ran("main.py", *options, preexec_fn=limit))
    assert re.search(r"limit on (the size of files|file sizes)|too large", error)
    assert len(runs.executions()) > 0
    assert not (runs.prefix / ".pipelet" / "lock").exists()
    goes_on(runs)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "pipelet-test", str(path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@MODES
def test_a_full_disk(runs: Runs, options: tuple[str, ...]) -> None:
    with small_disk(runs.prefix, "1500k"):
        error = in_words(runs.ran("main.py", *options))
        assert re.search(r"No space left|disk or the quota", error)
        assert "room" in error
        assert 0 < len(runs.executions()) < 100
        assert len(runs.journalled()) > 10
        subprocess.run(["mount", "-o", "remount,size=100m", str(runs.prefix)], check=True)
        goes_on(runs)


def test_a_disk_that_is_full_before_it_begins(runs: Runs) -> None:
    with small_disk(runs.prefix, "64k"):
        with contextlib.suppress(OSError), (runs.prefix / "filling").open("wb") as filling:
            for _ in range(100):
                filling.write(bytes(1000))
                filling.flush()
        error = in_words(runs.ran("main.py", "-p", "1"))
        assert re.search(r"No space left|disk or the quota", error)
        assert not runs.executions()


def test_a_task_that_finds_the_disk_full_fails_with_its_own_line(runs: Runs) -> None:
    runs.write(a=PRELUDE + "if number == 7:\n    raise OSError(28, 'No space left on device')\n")
    ended = runs.ran("main.py", "-p", "1")
    assert ended.returncode == 1
    assert "99 tasks done, 0 taken from disk, 1 failed" in ended.stdout


def test_a_directory_for_temporary_files_that_is_full(runs: Runs, tmp_path: Path) -> None:
    with small_disk(tmp_path / "scratch", "64k"):
        with contextlib.suppress(OSError), (tmp_path / "scratch" / "filling").open("wb") as filling:
            for _ in range(100):
                filling.write(bytes(1000))
                filling.flush()
        environment = {**ENVIRONMENT, "TMPDIR": str(tmp_path / "scratch")}
        ended = runs.ran("main.py", "-p", "1", env=environment)
        # nothing need be printed there: a run may get through
        if ended.returncode:
            in_words(ended)
    goes_on(runs)


def test_no_directory_for_temporary_files(runs: Runs, tmp_path: Path) -> None:
    script = "import tempfile; tempfile.tempdir = '/nowhere/at/all'; exec(open('main.py').read())"
    (runs.root / "bent.py").write_text(script)
    ended = runs.ran("bent.py", "-d")
    assert ended.returncode == 1
    assert "no directory for temporary files" in ended.stderr
    assert "TMPDIR" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_is_journalled_when_the_database_fails_once_is_not_lost(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last flush of a dying run must not skip what an earlier one could not put in the database."""
    project.write(a=PRELUDE + "time.sleep(0.01)\nif number == 90:\n    1 / 0\n")
    pipeline = project.pipeline("a", {"a": range(100)})
    record = Writer.record_results
    refused: list[int] = []

    def refusing(self: Writer, instance: int, rows: Any, *more: Any) -> None:
        if not refused:
            refused.append(len(rows))
            raise DatabaseError("full for a moment")
        record(self, instance, rows, *more)

    monkeypatch.setattr(Writer, "record_results", refusing)
    with pytest.raises(DatabaseError, match="for a moment"):
        project.run(pipeline)
    monkeypatch.undo()
    assert refused[0] > 1
    ran = len(project.lines("ran"))
    assert pipeline.status()["a"]["done"] == ran
    project.write(a=PRELUDE + "time.sleep(0.01)\nif number == 90:\n    1 / 0\n")
    with pytest.raises(ZeroDivisionError):
        project.run(pipeline)
    assert len({line.split()[1] for line in project.lines("ran")}) == len(project.lines("ran"))


# --- the database ------------------------------------------------------------------------------------------------


@MODES
def test_a_database_that_is_locked_for_a_while_is_waited_for(runs: Runs, options: tuple[str, ...]) -> None:
    runs.prepare("a;", "a=[1]")
    assert runs.ran("main.py", "-d").returncode == 0
    runs.prepare("a;", "a=range(100)")
    with contextlib.closing(sqlite3.connect(runs.prefix / ".sqlstatus", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        main = runs.start("main.py", *options)
        runs.boss()
        with pytest.raises(subprocess.TimeoutExpired):
            main.wait(2)
        assert sum(runs.executions().values()) == 1
        other.execute("ROLLBACK")
    out, err = main.communicate(timeout=PATIENCE)
    assert (main.returncode, err) == (0, ""), err
    assert "99 tasks done, 1 taken from disk" in out


FOREIGN = {
    "text": (lambda path: path.write_text("just my notes\n" * 100), "no SQLite database"),
    "other": (lambda path: _other(path), "sqlfile"),
    "newer": (lambda path: _newer(path), "newer"),
    "damaged": (lambda path: _damaged(path), r"damaged.*pipeutils -r"),
    "directory": (lambda path: path.mkdir(), "is a directory"),
}


def _other(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE tasks (task_id INTEGER PRIMARY KEY, seg_id INTEGER)")
        other.commit()


def _ours(path: Path) -> None:
    Writer.open(path).close()


def _newer(path: Path) -> None:
    _ours(path)
    with contextlib.closing(sqlite3.connect(path)) as newer:
        newer.execute("PRAGMA user_version = 999")
        newer.commit()


def _damaged(path: Path) -> None:
    _ours(path)
    data = bytearray(path.read_bytes())
    data[4096:8192] = b"\xff" * 4096
    path.write_bytes(data)


@MODES
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_database_that_cannot_be_used_is_left_as_it_is(runs: Runs, options: tuple[str, ...], kind: str) -> None:
    make, words = FOREIGN[kind]
    runs.prefix.mkdir()
    path = runs.prefix / ".sqlstatus"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    ended = runs.ran("main.py", *options)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert re.search(words, ended.stderr, re.DOTALL), ended.stderr
    assert str(path) in ended.stderr
    assert (path.read_bytes() if path.is_file() else b"") == before
    assert not runs.executions()


def test_code_that_is_no_python_is_told_before_anything_is_made(runs: Runs) -> None:
    runs.write(a="x = (1,\ny = 2\n")
    for options in (("-d",), ("-p", "2"), ("--explain",)):
        ended = runs.ran("main.py", *options)
        assert (ended.returncode, ended.stdout) == (1, "")
        # and below it the line itself, and a mark that points at the column
        message, line, mark = ended.stderr.splitlines()
        assert message.startswith(f"main.py: error: {runs.root}/a.py, line 1, column 5: ")
        assert (line.strip(), mark.strip()) == ("x = (1,", "^")
    assert not runs.prefix.exists()


# --- no right to write -------------------------------------------------------------------------------------------


def without_privileges() -> None:
    """Root, too, may only do what the bits of files allow."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2, 3):  # overriding permissions, searching any directory, owning any file
            assert libc.prctl(24, capability, 0, 0, 0) == 0


def give_away(prefix: Path) -> None:
    """Take from ourselves the right to write in a prefix, as if it were another user's."""
    for path in (prefix, *prefix.rglob("*")):
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)
        else:
            path.chmod(path.stat().st_mode & ~0o222)


@pytest.fixture
def others(runs: Runs) -> Iterator[Runs]:
    """A run of another user, whose prefix we may only read."""
    runs.prepare("a;", "a=range(3)").write(a="set_output(get_input())")
    assert runs.ran("main.py", "-d").returncode == 0
    give_away(runs.prefix)
    yield runs
    for path in (runs.prefix, *runs.prefix.rglob("*")):
        if os.geteuid() != 0:
            path.chmod(path.stat().st_mode | 0o200)


@MODES
def test_a_prefix_of_another_user(others: Runs, options: tuple[str, ...]) -> None:
    before = {path: path.stat().st_mtime_ns for path in others.prefix.rglob("*")}
    error = in_words(others.ran("main.py", *options, preexec_fn=without_privileges))
    assert "Permission denied" in error
    assert str(others.prefix) in error
    # what others may look at, they can look at
    looked = others.ran("main.py", "--explain", preexec_fn=without_privileges)
    assert (looked.returncode, looked.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in others.prefix.rglob("*")} == before


@MODES
def test_a_prefix_that_cannot_be_made(runs: Runs, options: tuple[str, ...]) -> None:
    runs.prepare("a;", "a=range(3)").prefix.write_text("a file")
    error = in_words(runs.ran("main.py", *options))
    assert str(runs.prefix) in error
    assert runs.prefix.read_text() == "a file"
