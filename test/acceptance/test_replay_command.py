"""``pipeutils --replay`` as it is typed, with the debugger at a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from support import ENVIRONMENT, PATIENCE, Project

from pipelet.cli.replay import task_number

COMMAND = ["-m", "pipelet.cli.pipeutils"]
MAIN = """
from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline
P = Pipeline("a -> b", prefix="prefix")
P.push(a=[3, 0])
launch_process(P, 1, log_level=0)[0].run()
"""


@pytest.fixture
def ran(project: Project) -> Project:
    """A run: task 1 and 2 of a are done; of b, 3 is done and 4 failed."""
    project.write(
        main=MAIN,
        a="set_output(get_input())",
        b="""\
        number = get_input()
        print("dividing by", number)
        def inverse(x):
            return 12 / x
        hook("more", globals())
        set_output(inverse(number))
        """,
        b_more="more = number + 1\n",
    )
    assert project.ran("main.py").returncode == 0
    return project


def test_a_task_that_ends_as_it_did(ran: Project) -> None:
    ended = ran.ran(*COMMAND, "--replay", "prefix/.sqlstatus", "3", "--directory", "new")
    assert (ended.returncode, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("task 3 of b, input 3: done on ")
    assert lines[1].endswith(f"in {ran.root}/new")
    assert lines[2] == "dividing by 3"
    assert lines[3].startswith("done in ")
    assert lines[4] == "output: equal to the recorded one, 1 element"
    assert sorted(os.listdir(ran.root / "new" / "code")) == ["b.py", "b_more.py"]


def test_a_task_that_fails_and_one_that_differs(ran: Project) -> None:
    ended = ran.ran(*COMMAND, "--replay", "prefix/.sqlstatus", "4")
    assert ended.returncode == 1
    assert 'code/b.py", line 4, in inverse' in ended.stderr
    assert "failed in" in ended.stdout
    assert "on record: failed: ZeroDivisionError" in ended.stdout
    (script,) = ran.prefix.glob("a_*/b_*/b.py")
    script.write_text("set_output(5)")
    ended = ran.ran(*COMMAND, "--replay", "prefix/.sqlstatus", "data/3_3")
    assert ended.returncode == 1
    assert "note: the code in" in ended.stdout
    assert "element 0 differs: 5 now, 4.0 recorded" in ended.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--replay", "prefix/.sqlstatus", "99"], "there is no task 99"),
        (["--replay", "nowhere", "1"], "there is no database"),
        (["--replay", "prefix/.sqlstatus", "Lancelot"], "'Lancelot' is no task: give its number"),
        (["--replay", "prefix/.sqlstatus"], "expected 2 arguments"),
        (["--replay", "prefix/.sqlstatus", "1", "more"], "more is too much"),
        (["--replay", "prefix/.sqlstatus", "1", "--directory", "prefix/x"], "lies in the tree"),
        (["--pdb", "-r", "prefix", "prefix/.sqlstatus"], "--pdb goes with --replay only"),
        (["--code-dir", ".", "-r", "prefix", "prefix/.sqlstatus"], "--code-dir goes with --replay only"),
    ],
)
def test_wrong_use(ran: Project, words: list[str], said: str) -> None:
    ended = ran.ran(*COMMAND, *words)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_help_shows_it_with_an_example(project: Project) -> None:
    ended = project.ran(*COMMAND, "--help")
    assert "--replay SQLFILE TASK" in ended.stdout
    assert "pipeutils --replay .sqlstatus 3 --pdb" in ended.stdout


@pytest.mark.parametrize(
    ("word", "number"),
    [("12", 12), ("12_Lancelot", 12), ("p/data/12_a.b/", 12), ("log/12.log", 12), ("Lancelot_12", None), ("12x", None),
     ("", None), ("-1", None), ("1" * 19, None)],
)
def test_how_a_task_may_be_named(word: str, number: int | None) -> None:
    assert task_number(word) == number


# --- the debugger ----------------------------------------------------------------------------------------------------


@contextmanager
def terminal(project: Project, task: int) -> Iterator[pexpect.spawn[str]]:
    words = [*COMMAND, "--replay", "prefix/.sqlstatus", str(task), "--pdb", "--directory", "new"]
    child = pexpect.spawn(
        sys.executable, words, cwd=str(project.root), env={**ENVIRONMENT, "TERM": "dumb"}, encoding="utf-8",
        timeout=PATIENCE,
    )
    try:
        yield child
        child.expect(pexpect.EOF)
    finally:
        child.close()


def typed(child: pexpect.spawn[str], *lines: str) -> str:
    """Answer the debugger, again and again; give what came after the last but one."""
    for line in lines:
        child.expect_exact("(Pdb) ")
        child.sendline(line)
    return str(child.before)


def test_it_stops_at_the_first_line_and_steps(ran: Project) -> None:
    with terminal(ran, 3) as child:
        assert "code/b.py(1)<module>()" in typed(child, "n")
        assert "code/b.py(2)<module>()" in typed(child, "number = 6")
        typed(child, "n")
        child.expect_exact("dividing by 6")
        # A function of the environment is no place to step into; a function and a hook of the user's are.
        typed(child, "n")
        assert "b.py(5)<module>()" in typed(child, "s")
        typed(child, "s")
        assert "code/b_more.py(1)<module>()" in typed(child, "b b.py:4")
        typed(child, "c")
        assert "b.py(4)inverse()" in typed(child, "p x")
        child.expect_exact("6")
        typed(child, "c")
        child.expect_exact("element 0 differs: 2.0 now, 4.0 recorded")
    assert child.exitstatus == 1
    assert "dividing by 6" in Path(ran.root, "new", "log", "3.log").read_text()


def test_it_stops_where_the_task_fails(ran: Project) -> None:
    with terminal(ran, 4) as child:
        typed(child, "c")
        child.expect_exact("ZeroDivisionError: division by zero")
        assert "code/b.py(4)inverse()" in typed(child, "p x, more")
        child.expect_exact("(0, 1)")
        typed(child, "up")
        assert "b.py(6)<module>()" in typed(child, "q")
        child.expect_exact("on record: failed: ZeroDivisionError")
    assert child.exitstatus == 1


def test_an_error_from_a_function_of_the_environment_shows_the_line_that_called_it(ran: Project) -> None:
    ran.write(b="get_input('nobody')\n")
    assert ran.ran("main.py").returncode == 0
    with terminal(ran, 5) as child:
        typed(child, "c")
        assert "code/b.py(1)<module>()" in typed(child, "q")
    assert child.exitstatus == 1


def test_the_debugger_can_be_left(ran: Project) -> None:
    with terminal(ran, 3) as child:
        typed(child, "q")
        child.expect_exact("left in the debugger")
        assert "Traceback" not in child.before
    assert child.exitstatus == 1


def test_stepping_past_the_end_ends(ran: Project) -> None:
    with terminal(ran, 1) as child:
        typed(child, "n", "n")
        child.expect_exact("equal to the recorded one")
    assert child.exitstatus == 0
