"""The commands, as they are typed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipelet.cli import pipeutils, pipeweb
from pipelet.cli import run as run_command

REPOSITORY = Path(__file__).resolve().parents[2]


def typed(command: str, *words: str, cwd: Path, given: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    line = [sys.executable, str(REPOSITORY / "scripts" / command), *words]
    return subprocess.run(line, cwd=cwd, env=environment, input=given, capture_output=True, text=True, check=False)


def says_no(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Check an error: exit status 1, one or two lines, these words."""
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert 1 <= len(result.stderr.splitlines()) <= 2
    assert all(word in result.stderr for word in words)


# --- pipeutils -c


@pytest.mark.parametrize("option", ["-c", "--create"])
def test_create_makes_a_main_that_can_be_executed_and_a_segment(tmp_path: Path, option: str) -> None:
    result = typed("pipeutils", option, "mypipe", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(os.listdir(tmp_path / "mypipe")) == ["default.py", "main.py"]
    for name in ("main.py", "default.py"):
        assert (tmp_path / "mypipe" / name).read_bytes() == (REPOSITORY / "pipelet" / "static" / name).read_bytes()
    assert (tmp_path / "mypipe" / "main.py").stat().st_mode & stat.S_IXUSR
    assert not (tmp_path / "mypipe" / "default.py").stat().st_mode & stat.S_IXUSR
    assert "cd mypipe" in result.stdout


def test_create_keeps_to_the_mask_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    old = os.umask(0o077)
    try:
        assert pipeutils.main(["-c", "mypipe"]) == 0
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "mypipe" / "main.py").stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["directory", "file"])
def test_create_refuses_to_overwrite(tmp_path: Path, what: str) -> None:
    there = tmp_path / "mypipe"
    if what == "file":
        there.write_text("mine")
    else:
        there.mkdir()
        (there / "main.py").write_text("mine")
    says_no(typed("pipeutils", "-c", "mypipe", cwd=tmp_path), "mypipe", "exists", "another name")
    assert (there if what == "file" else there / "main.py").read_text() == "mine"
    assert what == "file" or os.listdir(there) == ["main.py"]


def test_create_where_there_is_no_directory(tmp_path: Path) -> None:
    says_no(typed("pipeutils", "-c", "no/mypipe", cwd=tmp_path), "no directory no")
    says_no(typed("pipeutils", "-c", "", cwd=tmp_path), "name")
    assert os.listdir(tmp_path) == []


def test_create_that_fails_halfway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pipeutils, "TEMPLATES", (("main.py", True), ("missing.py", False)))
    assert pipeutils.main(["-c", "mypipe"]) == 1
    assert "missing.py: No such file" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_create_says_how_to_run_with_another_python_than_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: "/elsewhere/python3")
    pipeutils.main(["-c", "one"])
    assert f"{sys.executable} main.py" in capsys.readouterr().out
    monkeypatch.setattr("shutil.which", lambda name: os.path.join(os.path.dirname(sys.executable), name))
    pipeutils.main(["-c", "two"])
    assert "./main.py" in capsys.readouterr().out


# --- pipeutils -a, -d


@pytest.fixture
def sqlfile(tmp_path: Path) -> Path:
    from pipelet.statusdb import Writer

    path = tmp_path / ".sqlstatus"
    with Writer.open(path):
        pass
    return path


def level_of(sqlfile: Path, user: str, password: str) -> int | None:
    from pipelet.accounts import check_password

    return check_password(str(sqlfile), user, password)


def test_a_user_is_added_changed_and_removed(tmp_path: Path, sqlfile: Path) -> None:
    assert typed("pipeutils", "-a", "ada", "-l", "2", ".sqlstatus", cwd=tmp_path, given="secret\n").returncode == 0
    assert level_of(sqlfile, "ada", "secret") == 2
    long_names = ("--add-user", "ada", "--level", "1", ".sqlstatus")
    result = typed("pipeutils", *long_names, cwd=tmp_path, given="other secret\nignored\n")
    assert (result.returncode, result.stderr) == (0, "")
    assert "ada may read (level 1)" in result.stdout
    assert level_of(sqlfile, "ada", "other secret") == 1
    assert level_of(sqlfile, "ada", "secret") is None
    assert typed("pipeutils", "--delete-user", "ada", ".sqlstatus", cwd=tmp_path).returncode == 0
    assert level_of(sqlfile, "ada", "other secret") is None
    says_no(typed("pipeutils", "-d", "ada", ".sqlstatus", cwd=tmp_path), "ada")


def test_no_password_on_the_standard_input(tmp_path: Path, sqlfile: Path) -> None:
    says_no(typed("pipeutils", "-a", "ada", "-l", "1", ".sqlstatus", cwd=tmp_path), "password", "standard input")


def test_users_of_a_database_that_is_not_there(tmp_path: Path) -> None:
    says_no(typed("pipeutils", "-a", "ada", "-l", "1", "x.sql", cwd=tmp_path, given="s\n"), "x.sql", "run the pipeline")
    says_no(typed("pipeutils", "-d", "ada", "x.sql", cwd=tmp_path), "x.sql", "run the pipeline")
    assert os.listdir(tmp_path) == []


def test_users_of_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database\n" * 1000)
    says_no(typed("pipeutils", "-d", "ada", "notes.txt", cwd=tmp_path), "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "not a database\n" * 1000


class Keyboard:
    """A terminal on the standard input, and what is typed without being shown."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.questions: list[str] = []

    def isatty(self) -> bool:
        return True

    def getpass(self, question: str) -> str:
        self.questions.append(question)
        if not self.answers:
            raise EOFError
        return self.answers.pop(0)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [(("secret", "secret"), None), (("secret", "sekret"), "differ"), (("", ""), "empty"), ((), "no password")],
)
def test_a_password_is_asked_for_twice(
    sqlfile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answers: tuple[str, ...],
    problem: str | None,
) -> None:
    keyboard = Keyboard(*answers)
    monkeypatch.setattr(sys, "stdin", keyboard)
    monkeypatch.setattr("getpass.getpass", keyboard.getpass)
    assert pipeutils.main(["-a", "ada", "-l", "1", str(sqlfile)]) == (1 if problem else 0)
    assert (problem or "") in capsys.readouterr().err
    assert level_of(sqlfile, "ada", "secret") == (None if problem else 1)
    assert "ada" in keyboard.questions[0]
    assert len(keyboard.questions) == (2 if answers else 1)


def test_nobody_types_a_password_for_a_database_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyboard = Keyboard("secret", "secret")
    monkeypatch.setattr(sys, "stdin", keyboard)
    monkeypatch.setattr("getpass.getpass", keyboard.getpass)
    assert pipeutils.main(["-a", "ada", "-l", "1", str(tmp_path / "x.sql")]) == 1
    assert keyboard.questions == []


def test_a_process_without_standard_input_is_told_so(sqlfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert pipeutils.main(["-a", "ada", "-l", "1", str(sqlfile)]) == 1


# --- wrong use, help


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("-c",),
        ("-c", "name", "file.sql"),
        ("-c", "name", "-d", "ada"),
        ("-c", "name", "-l", "2"),
        ("-a", "ada", "x.sql"),
        ("-a", "ada", "-l", "2"),
        ("-a", "ada", "-l", "3", "x.sql"),
        ("-a", "-l", "2", "x.sql"),
        ("-d", "ada"),
        ("-r", "."),
        ("-x",),
    ],
)
def test_wrong_use_of_pipeutils_has_exit_status_2(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leave:
        pipeutils.main(words)
    assert leave.value.code == 2
    assert "pipeutils: error:" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_help_of_pipeutils_shows_long_names_and_examples(tmp_path: Path) -> None:
    result = typed("pipeutils", "--help", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    names = ("--create", "--add-user", "--delete-user", "--rebuild", "--level", "pipeutils -c mypipe", "SQLFILE")
    assert all(name in result.stdout for name in names)


VERBS = [("track", "test", "./.sqlstatus"), ("untrack", "test"), ("start",), ("stop",), ("status",)]


@pytest.mark.parametrize("words", [(), ("browse",), ("track", "test"), ("untrack",), ("start", "now")])
def test_wrong_use_of_pipeweb_has_exit_status_2(words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as leave:
        pipeweb.main(words)
    assert leave.value.code == 2


@pytest.mark.parametrize("words", [(), *((verb[0],) for verb in VERBS)])
def test_help_of_pipeweb_shows_an_example(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leave:
        pipeweb.main([*words, "--help"])
    assert leave.value.code == 0
    text = capsys.readouterr().out
    assert f"pipeweb {words[0] if words else 'track'}" in text
    assert "example" in text


# --- errors in words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(13, "Permission denied", "/data/x"), "pipeutils: error: /data/x: Permission denied\n"),
        (OSError(28, "No space left on device"), "pipeutils: error: No space left on device\n"),
        (OSError("odd"), "pipeutils: error: odd\n"),
        (OSError(), "pipeutils: error: OSError\n"),
    ],
)
def test_errors_of_the_system_are_one_line(error: OSError, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise error

    assert run_command("pipeutils", action) == 1
    assert capsys.readouterr().err == words


def test_ctrl_c_has_exit_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        raise KeyboardInterrupt

    assert run_command("pipeutils", action) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_other_errors_are_not_hidden() -> None:
    def action() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_command("pipeutils", action)
