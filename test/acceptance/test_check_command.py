"""``pipeutils --check`` and ``--repair``, as they are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest
from support import ENVIRONMENT, REPOSITORY, Project, run_to_end
from test_disks import give_away, without_privileges

from pipelet.cli import check
from pipelet.storage import PrefixLock, Tree

COMMAND = [sys.executable, str(REPOSITORY / "scripts" / "pipeutils")]


def typed(project: Project, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], cwd=project.prefix, env=ENVIRONMENT, capture_output=True, text=True, check=False,
        **options,  # type: ignore[call-overload]
    )


@pytest.fixture
def ran(project: Project) -> Project:
    project.write(a="open(get_data_fn('x'), 'w').close()\nset_output(get_input())", b="set_output(1)")
    run_to_end(project.pipeline("a -> b", {"a": range(4)}))
    return project


def test_it_ends_with_0_where_all_is_well_and_with_1_where_it_is_not(ran: Project) -> None:
    ended = typed(ran, "--check", ".", ".sqlstatus")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "2 segment instances, 8 tasks: tree and database agree\n"
    (journal,) = ran.prefix.glob("*/a.journal")
    data = journal.read_bytes()
    journal.write_bytes(data[:-7])
    ended = typed(ran, "--check", ".", ".sqlstatus")
    line, summary = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (1, "")
    assert line == (
        f"{journal.parent.name}: its journal ends at byte 18, and the database knows it up to byte {len(data)};"
        " --repair writes it anew from the database"
    ) or "; --repair writes it anew from the database" in line
    assert summary == "2 segment instances, 8 tasks: 1 finding, of which --repair mends 1"
    ended = typed(ran, "--check", ".", ".sqlstatus", "--repair")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"mended: {journal.parent.name}: its journal ends at")
    assert ended.stdout.endswith("1 mended; 2 segment instances, 8 tasks: tree and database agree\n")
    assert typed(ran, "--check", ".", ".sqlstatus").returncode == 0


def test_what_can_not_be_mended_is_told_again(ran: Project) -> None:
    (stranger,) = ran.prefix.glob("a_*/data")
    (stranger / "99_x").mkdir()
    ended = typed(ran, "--check", ".", ".sqlstatus", "--repair")
    assert ended.returncode == 1
    assert "no record knows data/99_x; not for --repair: look at it" in ended.stdout
    assert (stranger / "99_x").is_dir()


def test_a_run_that_holds_the_prefix_is_an_error(ran: Project) -> None:
    with PrefixLock(Tree(str(ran.prefix)).lock_path):
        for words in ([], ["--repair"]):
            ended = typed(ran, "--check", ".", ".sqlstatus", *words)
            assert (ended.returncode, ended.stdout) == (1, "")
            assert ended.stderr.startswith("pipeutils: error: the prefix ")
            assert f"pid {os.getpid()}" in ended.stderr
            assert len(ended.stderr.splitlines()) == 1


def test_read_permission_is_enough(ran: Project) -> None:
    give_away(ran.prefix)
    before = {path: path.stat().st_mtime_ns for path in ran.prefix.rglob("*")}
    ended = typed(ran, "--check", ".", ".sqlstatus", preexec_fn=without_privileges)
    assert (ended.returncode, ended.stderr) == (0, "")
    # What needs mending needs the right to write.
    journal = next(ran.prefix.glob("*/a.journal"))
    journal.unlink()
    ended = typed(ran, "--check", ".", ".sqlstatus", preexec_fn=without_privileges)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert "its journal is missing" in ended.stdout
    ended = typed(ran, "--check", ".", ".sqlstatus", "--repair", preexec_fn=without_privileges)
    assert ended.returncode == 1
    assert "Permission denied" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert before.items() - {path: path.stat().st_mtime_ns for path in ran.prefix.rglob("*")}.items() <= {
        (journal, before[journal]), (journal.parent, before[journal.parent])
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--repair", ".sqlstatus"], "one of the arguments"),
        (["--repair", "--status", ".sqlstatus"], "--repair goes with --check only"),
        (["--check", "."], "the SQLFILE is missing"),
        (["--check", ".", "-r", ".", ".sqlstatus"], "not allowed with"),
    ],
)
def test_wrong_use(ran: Project, words: list[str], said: str) -> None:
    ended = typed(ran, *words)
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("words", "said"), [(["nowhere", ".sqlstatus"], "no directory"), (["empty", "empty/none"], "neither a segment")]
)
def test_what_is_not_there_is_an_error(ran: Project, words: list[str], said: str) -> None:
    (ran.prefix / "empty").mkdir()
    ended = typed(ran, "--check", *words)
    assert ended.returncode == 1
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) <= 2


def test_a_long_check_tells_on_a_terminal_how_far_it_is(
    ran: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "typed.py").write_text(
        "import sys; from pipelet.cli import check, pipeutils; check._PATIENCE = check._PAUSE = 0.0\n"
        "sys.exit(pipeutils.main(sys.argv[1:]))"
    )
    words = [str(tmp_path / "typed.py"), "--check", str(ran.prefix), str(ran.prefix / ".sqlstatus")]
    child = pexpect.spawn(sys.executable, words, env=ENVIRONMENT, encoding="utf-8", timeout=60)
    child.expect_exact("8 of 8 tasks looked at")
    child.expect_exact("\r\x1b[K")
    child.expect_exact("tree and database agree")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert check._PATIENCE > 0
