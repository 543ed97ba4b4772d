"""``pipeutils --status``, as it is typed, beside a run and in a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
from runs import Runs
from support import ENVIRONMENT, PATIENCE, REPOSITORY, Project, run_to_end, until

COMMAND = [sys.executable, str(REPOSITORY / "scripts" / "pipeutils")]
TERMINAL = {**{name: value for name, value in ENVIRONMENT.items() if name != "NO_COLOR"}, "TERM": "xterm"}


def typed(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=project.root, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )


def watched(project: Project, *words: str, columns: int = 80, rows: int = 24) -> pexpect.spawn:
    words = ("--status", str(project.prefix / ".sqlstatus"), *words)
    return pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], *words], env=TERMINAL, dimensions=(rows, columns), encoding="utf-8", timeout=PATIENCE
    )


@pytest.fixture
def ran(project: Project) -> Project:
    project.write(a="set_output(1 / (get_input() - 2))", b="set_output(1)")
    run_to_end(project.pipeline("a -> b", {"a": range(4)}))
    return project


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path).prepare()
    yield runs
    runs.go()
    runs.end()


def test_a_table_without_colours_where_it_is_no_terminal(ran: Project) -> None:
    ended = typed(ran, "--status", "prefix/.sqlstatus")
    assert (ended.returncode, ended.stderr) == (0, "")
    first, *lines = ended.stdout.splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d prefix/.sqlstatus", first)
    assert lines == [
        "no run at the moment",
        "",
        "segment       done  running  queued  failed",
        "a                3        -       -       1",
        "b                3        -       -       -",
        "-------------------------------------------",
        "all segments     6        -       -       1",
        "",
        "1 task failed; P.tasks(SEGMENT, 'failed') has the errors",
    ]


def test_tables_one_after_the_other_until_ctrl_c(ran: Project) -> None:
    words = [*COMMAND, "--status", "--watch", "0.1", "prefix/.sqlstatus"]
    with subprocess.Popen(words, cwd=ran.root, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        tables = 0
        while tables < 3:
            tables += process.stdout.readline().startswith("segment ")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert process.returncode == 0
    assert "\x1b" not in rest


def test_a_reader_that_goes_away_ends_it_without_a_word(ran: Project) -> None:
    line = f"{' '.join(COMMAND)} --status --watch 0.1 prefix/.sqlstatus | head -3"
    ended = subprocess.run(
        line, shell=True, cwd=ran.root, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 3


@pytest.mark.parametrize("columns", [80, 40])
def test_watching_a_run_in_a_terminal(runs: Runs, columns: int) -> None:
    run = runs.start("main.py", "-p", "2")
    runs.wait_for_gate(2)
    child = watched(runs, "--watch", "0.2", columns=columns)
    child.expect_exact(f"held by {os.uname().nodename}"[: columns - 2])
    child.expect("running now")
    # In place: so many lines up, and all below away.
    child.expect(r"\r\x1b\[(\d+)A\x1b\[J")
    assert int(child.match[1]) >= 6
    # Tasks that wait in the batch of a worker count as running, too.
    child.expect(r"a +\x1b\[32m *6\x1b\[0m +\x1b\[36m *[2-6]\x1b\[0m ")
    child.expect(r"a \d+ +\d+ s +")
    runs.go()
    child.expect(r"a +\x1b\[32m *12\x1b\[0m")
    run.communicate()
    child.expect_exact("no run at the moment")
    child.expect(r"\x1b\[J")
    text = child.before
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    shown = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    assert max(len(line) for line in shown.splitlines()) <= columns
    assert run.returncode == 0


def test_watching_costs_a_run_nothing(runs: Runs) -> None:
    """No lock is held between two looks, and the database rests as one plain file afterwards."""
    run = runs.start("main.py", "-p", "2")
    runs.wait_for_gate(2)
    child = watched(runs, "--watch", "0.1")
    child.expect_exact("running now")
    runs.go()
    run.communicate()
    child.expect_exact("no run at the moment")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert run.returncode == 0
    until(lambda: sorted(path.name for path in runs.prefix.glob(".sql*")) == [".sqlstatus"], "the log to go", 5)


def test_a_run_that_died_is_told(runs: Runs) -> None:
    run = runs.start("main.py", "-p", "2")
    runs.wait_for_gate(2)
    boss = runs.boss()
    os.kill(boss, signal.SIGKILL)
    run.communicate()
    runs.go()
    until(lambda: "held by a run that died" in typed(runs, "--status", "prefix/.sqlstatus").stdout)


def test_a_database_that_goes_away_is_told_and_looked_for_again(ran: Project) -> None:
    sqlfile = ran.prefix / ".sqlstatus"
    child = watched(ran, "--watch", "0.1")
    child.expect_exact("all segments")
    sqlfile.rename(ran.prefix / "away")
    child.expect_exact("there is no status database")
    (ran.prefix / "away").rename(sqlfile)
    child.expect_exact("all segments")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_no_colours_for_those_who_want_none(ran: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMINAL, "NO_COLOR", "1")
    child = watched(ran)
    child.expect(pexpect.EOF)
    assert "\x1b" not in child.before
    assert "all segments" in child.before


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--status", "nothing"], 1, "there is no status database"),
        (["--status"], 2, "the SQLFILE is missing"),
        (["--status", "--watch", "0", "x"], 2, "none of the seconds"),
        (["--status", "--watch", "soon", "x"], 2, "no number of seconds"),
        (["--status", "--watch", "nan", "x"], 2, "none of the seconds"),
        (["--check", ".", "--watch", "1", "x"], 2, "--watch goes with --status only"),
    ],
)
def test_wrong_use(ran: Project, words: list[str], status: int, said: str) -> None:
    ended = typed(ran, *words)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_has_examples(ran: Project) -> None:
    text = typed(ran, "--help").stdout
    for example in ("--check . .sqlstatus --repair", "--status .sqlstatus --watch"):
        assert f"  pipeutils {example}" in text
