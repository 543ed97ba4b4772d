"""Ctrl-C and other ways to stop a run on purpose: running tasks are stopped, what is done is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pexpect
import pytest
from runs import PRELUDE, Runs
from support import ENVIRONMENT, PATIENCE, Project, alive, until

from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.executors.base import InlineExecutor
from pipelet.runner import Hooks, execute
from pipelet.scheduler import Stopped

MODES = pytest.mark.parametrize("options", [("-d",), ("-p", "2")], ids=["interactive", "process"])


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path).prepare()
    yield runs
    runs.end()


def goes_on(runs: Runs, options: tuple[str, ...] = ("-p", "2")) -> None:
    """The next run does just the rest."""
    before = runs.executions()
    first = {("a", str(number)) for number in range(6)}
    assert {task: number for task, number in before.items() if task in first} == dict.fromkeys(first, 1)
    done = runs.journalled()
    assert first <= done
    runs.go()
    ended = runs.ran("main.py", *options)
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    assert f"{12 - len(done)} tasks done, {len(done)} taken from disk, 0 failed" in ended.stdout
    after = runs.executions()
    assert all(after[task] == 1 for task in first)
    assert all(after[task] == before[task] + 1 for task in after if task not in done)
    texts = [path.read_text() for path in runs.prefix.glob("a_*/data/*/*") if path.name != "ticks"]
    assert texts == ["half and whole"] * 12
    # nothing of a half-done task is left
    assert not list(runs.prefix.glob("a_*/data/*/ticks"))


@MODES
def test_ctrl_c(runs: Runs, options: tuple[str, ...]) -> None:
    main = runs.start("main.py", *options)
    runs.wait_for_gate(2 if "-p" in options else 1)
    os.killpg(main.pid, signal.SIGINT)
    out, err = main.communicate(timeout=PATIENCE)
    assert main.returncode == 130
    assert "What is done is kept" in err
    assert "Traceback" not in out + err
    if "-p" in options:
        assert not alive([*runs.workers(), *runs.children()])
        # nothing was called a failure, and nothing is under way
        assert runs.pipeline("a", {"a": range(12)}).status() == {"a": {"done": 6, "queued": 6}}
    else:
        until(lambda: not alive(runs.children()), "the child to hear of Ctrl-C")
    assert not (runs.prefix / ".pipelet" / "lock").exists()
    goes_on(runs, options)


@MODES
def test_ctrl_c_at_a_terminal(runs: Runs, options: tuple[str, ...]) -> None:
    terminal = pexpect.spawn(
        sys.executable, ["main.py", *options], cwd=str(runs.root), env=ENVIRONMENT, encoding="utf-8", timeout=PATIENCE
    )
    try:
        runs.wait_for_gate(2 if "-p" in options else 1)
        terminal.sendintr()
        terminal.expect_exact("What is done is kept")
        terminal.expect(pexpect.EOF)
        terminal.wait()
    finally:
        terminal.close(force=True)
    assert terminal.exitstatus == 130
    runs.all_gone()
    goes_on(runs)


@MODES
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals(runs: Runs, options: tuple[str, ...], number: signal.Signals) -> None:
    main = runs.start("main.py", *options)
    runs.wait_for_gate(2 if "-p" in options else 1)
    if "-p" in options:
        os.kill(main.pid, number)
    else:
        os.killpg(main.pid, number)
    main.communicate(timeout=PATIENCE)
    assert main.returncode == -number
    if "-p" in options:
        runs.all_gone()
    else:
        # in one process: what the last fraction of a second did may not be on record, and is simply done again
        runs.go()
        assert runs.ran("main.py", "-p", "2").returncode == 0
        return
    goes_on(runs)


LAUNCH = """
import time
from pipelet.launchers import launch_process
from pipelet.pipeline import Pipeline
P = Pipeline("a", prefix="prefix")
P.push(a=range(12))
w, t = launch_process(P, 2)
"""


@pytest.mark.parametrize("rest", ["", "time.sleep(1000)", "raise SystemExit(5)", "w.stop()"])
def test_ctrl_c_in_a_script_that_does_not_wait(runs: Runs, rest: str) -> None:
    (runs.root / "main.py").write_text(LAUNCH + ("" if "stop" in rest else rest))
    main = runs.start("main.py")
    runs.wait_for_gate(2)
    os.kill(main.pid, signal.SIGINT)
    _, err = main.communicate(timeout=PATIENCE)
    assert "stopped: what is done is kept" in err
    assert not alive([*runs.workers(), *runs.children()])
    assert main.returncode == {"": 0, "w.stop()": 0, "raise SystemExit(5)": 5}.get(rest, -signal.SIGINT)
    runs.prepare()
    goes_on(runs)


def test_ctrl_c_twice_is_enough_whatever_happens(runs: Runs) -> None:
    main = runs.start("main.py", "-p", "2")
    runs.wait_for_gate(2)
    boss = runs.boss()
    until(lambda: len(runs.journalled()) == 6, "what is done to be on record")
    os.kill(boss, signal.SIGSTOP)

    def interrupted() -> bool:
        os.kill(main.pid, signal.SIGINT)
        try:
            main.wait(0.5)
        except subprocess.TimeoutExpired:
            return False
        return True

    try:
        until(interrupted, "main to end")
    finally:
        main.kill()
        main.communicate()
    assert not alive([boss])
    runs.all_gone()
    goes_on(runs)


def test_ctrl_c_while_the_run_is_being_started(runs: Runs) -> None:
    # the prefix is held, so that the launcher still waits for it
    other = runs.start("main.py", "-p", "1")
    runs.wait_for_gate(1)
    script = LAUNCH.replace("import time\n", "import time\nprint('here', flush=True)\n")
    script = script.replace("w, t =", "print('launching', flush=True)\nw, t =")
    (runs.root / "second.py").write_text(script)
    second = runs.start("second.py")
    assert second.stdout is not None
    assert [second.stdout.readline() for _ in range(2)] == ["here\n", "launching\n"]
    os.kill(second.pid, signal.SIGINT)
    _, err = second.communicate(timeout=PATIENCE)
    assert second.returncode != 0
    # either it was interrupted, or it had already heard that the prefix is held
    assert "KeyboardInterrupt" in err or "is held by host" in err
    runs.go()
    other.communicate(timeout=PATIENCE)
    assert other.returncode == 0
    assert set(runs.executions().values()) == {1}


def test_what_a_task_finishes_in_the_last_moment_is_kept(runs: Runs) -> None:
    """Many short tasks: those that have ended when Ctrl-C comes are not run again, but those few that it hit."""
    runs.prepare("a;", "a=range(4000)").write(a=PRELUDE)
    main = runs.start("main.py", "-p", "2")
    until(lambda: len(runs.lines("ran")) > 300, "some tasks to end")
    os.killpg(main.pid, signal.SIGINT)
    main.communicate(timeout=PATIENCE)
    assert main.returncode == 130
    assert runs.ran("main.py", "-p", "2").returncode == 0
    twice = [task for task, number in runs.executions().items() if number > 1]
    assert len(twice) <= 2
    assert Counter(runs.executions().keys()).total() == 4000


class Late(InlineExecutor):
    """What a batch has finished is known when the workers have ended, and not before."""

    def __init__(self) -> None:
        super().__init__()
        self.finished: list[TaskResult] = []
        self.closed = False

    def submit(self, batch: Batch) -> Future[BatchResult]:
        self.finished += super().submit(batch).result().results
        return Future()

    def partial(self, future: Future[BatchResult]) -> list[TaskResult]:
        return self.finished if self.closed else []

    def close(self, kill: bool = False) -> None:
        self.closed = True
        super().close()


def test_what_ends_while_the_workers_are_being_stopped_is_kept(project: Project) -> None:
    project.write(a="set_output(get_input())")
    pipeline = project.pipeline("a", {"a": [7]})
    hooks = Hooks(lambda level, message: None, lambda items: None, lambda: True)
    with pytest.raises(Stopped):
        execute(pipeline.snapshot(), lambda scratch: Late(), hooks, lambda: None)
    assert pipeline.outputs("a") == [7]
    assert project.run(pipeline).reused == 1
