"""Tasks that fail, in every way in which a task can fail: only they fail, and the error says what happened."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pexpect
import pytest
from support import ENVIRONMENT, Project, alive, until

from pipelet.core.calls import Batch, TaskCall, TaskResult
from pipelet.core.model import Status
from pipelet.environment import Environment
from pipelet.errors import OutputError, TaskError
from pipelet.launchers import launch_process
from pipelet.worker import run_batch

MODES = pytest.mark.parametrize("processes", [0, 1], ids=["interactive", "process"])
NUMBERS = range(40)
VICTIM = 17

#: Each execution leaves a line: the input, and who ran it.
PRELUDE = """
import os, signal, sys, time
HERE = os.path.dirname(__file__)
number = get_input()
with open(os.path.join(HERE, "ran"), "a") as ran:
    print(number, os.getpid(), file=ran)
set_output(number)
def wait_for(name):
    end = time.monotonic() + 120
    while not os.path.exists(os.path.join(HERE, name)):
        assert time.monotonic() < end
        time.sleep(0.01)
"""


def executions(project: Project) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in project.lines("ran"))


# --- ordinary exceptions -----------------------------------------------------------------------------------------


@MODES
def test_the_traceback_begins_with_the_users_own_file_and_line(project: Project, processes: int) -> None:
    project.write(a="x = 0\nhook('low', globals())\n", a_low="import helper\nhelper.divide(x)\n")
    project.write(helper="def divide(x):\n    return 1 / x\n")
    pipeline = project.pipeline("a")
    if processes:
        project.run(pipeline, processes)
    else:
        with pytest.raises(ZeroDivisionError):
            project.run(pipeline)
    (task,) = pipeline.tasks("a", "failed")
    lines = task.error.splitlines()
    root = project.root
    assert lines[:3] == [
        "Traceback (most recent call last):", f'  File "{root}/a.py", line 2, in <module>', "    hook('low', globals())"
    ]
    assert f'  File "{root}/a_low.py", line 2, in <module>' in lines
    assert f'  File "{root}/helper.py", line 2, in divide' in lines
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_the_interactive_mode_raises_the_very_exception_with_its_frames(project: Project) -> None:
    project.write(
        a="""
        class Mine(Exception):
            pass
        secret = 42
        def inner(deep):
            raise Mine("as it is", deep)
        set_output(1)
        inner("down")
        """
    )
    pipeline = project.pipeline("a")
    with pytest.raises(Exception, match="as it is") as caught:
        project.run(pipeline)
    assert type(caught.value).__name__ == "Mine"
    assert caught.value.args == ("as it is", "down")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    mine = [frame for frame in frames if frame.f_code.co_filename == str(project.root / "a.py")]
    assert frames[-1] is mine[-1]
    assert frames[-1].f_locals["deep"] == "down"
    assert frames[-1].f_globals["secret"] == 42
    (task,) = pipeline.tasks("a")
    assert (task.status, task.output, "as it is" in task.error) == ("failed", None, True)
    with pytest.raises(Exception, match="as it is"):
        project.run(pipeline)


def test_post_mortem_debugging_at_a_terminal(project: Project) -> None:
    project.write(a="secret = 6 * 7\ndef inner(deep):\n    raise ValueError(deep)\ninner('down')\n")
    project.write(
        main="""
        import pdb, sys
        from pipelet.launchers import launch_interactive
        from pipelet.pipeline import Pipeline
        w, _ = launch_interactive(Pipeline("a", prefix="prefix"))
        try:
            w.run()
        except ValueError:
            pdb.post_mortem(sys.exc_info()[2])
        """
    )
    terminal = pexpect.spawn(
        sys.executable, ["main.py"], cwd=str(project.root), env=ENVIRONMENT, encoding="utf-8", timeout=120
    )
    try:
        terminal.expect_exact("(Pdb) ")
        assert f"{project.root}/a.py(3)inner()" in terminal.before
        terminal.sendline("p deep, secret")
        terminal.expect_exact("('down', 42)")
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("q")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)


def test_pdb_within_a_task_at_a_terminal(project: Project) -> None:
    project.write(a="x = 41\nbreakpoint()\nset_output(x)\n")
    project.write(
        main="""
        from pipelet.launchers import launch_interactive
        from pipelet.pipeline import Pipeline
        P = Pipeline("a", prefix="prefix")
        w, _ = launch_interactive(P)
        print(w.run().done, P.outputs("a"))
        """
    )
    terminal = pexpect.spawn(
        sys.executable, ["main.py"], cwd=str(project.root), env=ENVIRONMENT, encoding="utf-8", timeout=120
    )
    try:
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("x = x + 1")
        terminal.expect_exact("(Pdb) ")
        terminal.sendline("c")
        terminal.expect_exact("1 [42]")
        terminal.expect(pexpect.EOF)
    finally:
        terminal.close(force=True)


@MODES
@pytest.mark.parametrize(
    ("raising", "last"),
    [
        ("raise KeyboardInterrupt('from the code')", "KeyboardInterrupt: from the code"),
        ("import asyncio; raise asyncio.CancelledError", "asyncio.exceptions.CancelledError"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("sys.exit('no')", "the segment called sys.exit('no')"),
        ("sys.exit(3)", "the segment called sys.exit(3)"),
    ],
)
def test_what_is_no_ordinary_exception_fails_the_task_too(
    project: Project, processes: int, raising: str, last: str
) -> None:
    project.write(a=PRELUDE + f"if number == {VICTIM}:\n    {raising}\n")
    pipeline = project.pipeline("a", {"a": NUMBERS})
    if not processes:
        if "Interrupt" in raising:
            pytest.skip("in the interactive mode that is Ctrl-C")
        with pytest.raises((TaskError, BaseException)):
            project.run(pipeline)
        assert executions(project) == Counter(range(VICTIM + 1))
    else:
        summary = project.run(pipeline, processes)
        assert (summary.done, summary.failed) == (len(NUMBERS) - 1, 1)
        assert executions(project) == Counter(NUMBERS)
    (task,) = pipeline.tasks("a", "failed")
    lines = task.error.splitlines()
    assert lines[-1].endswith(last)
    assert [line for line in lines if line.startswith("  File ") and "a.py" not in line] == []


@MODES
def test_leaving_a_script_by_sys_exit_0_is_no_failure(project: Project, processes: int) -> None:
    project.write(a="import sys\nset_output(1)\nsys.exit(0)\nset_output(2)")
    pipeline = project.pipeline("a")
    assert project.run(pipeline, processes).failed == 0
    assert pipeline.outputs("a") == [1]


@MODES
def test_an_output_that_cannot_be_pickled_names_the_element(project: Project, processes: int) -> None:
    project.write(a="set_output(['fine', 'fine', lambda: 0])", b="")
    pipeline = project.pipeline("a -> b")
    if processes:
        assert project.run(pipeline, processes).waiting == ["b"]
    else:
        with pytest.raises(OutputError):
            project.run(pipeline)
    (task,) = pipeline.tasks("a")
    assert task.status == "failed"
    assert "OutputError: element 2 of the output" in task.error


def test_memory_that_a_task_cannot_have_fails_it_alone(project: Project) -> None:
    project.write(
        a=PRELUDE
        + f"""
import resource
if number == {VICTIM}:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, before[1]))
    try:
        block = bytearray(4 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
"""
    )
    pipeline = project.pipeline("a", {"a": NUMBERS})
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (len(NUMBERS) - 1, 1)
    assert pipeline.tasks("a", "failed")[0].error.splitlines()[-1] == "MemoryError"
    assert executions(project) == Counter(NUMBERS)


@MODES
def test_a_message_that_cannot_be_formatted_fails_nothing(project: Project, processes: int) -> None:
    project.write(a="logger.warning('%d', 'no number')\nlogger.warning('next')")
    assert project.run(project.pipeline("a"), processes).done == 1
    assert "WARNING" in (project.prefix / ".pipelet" / "log" / "pipelet.log").read_text()


# --- the death of a worker ---------------------------------------------------------------------------------------

DEATHS = {
    "exit": ("os._exit(3)", "ended with exit status 3"),
    "exit0": ("os._exit(0)", "ended with exit status 0"),
    "exit255": ("os._exit(255)", "ended with exit status 255"),
    "segfault": ("import ctypes; ctypes.string_at(0)", "was killed by SIGSEGV (signal 11)"),
    "kill": ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL (signal 9)"),
    "abort": ("os.abort()", "was killed by SIGABRT (signal 6)"),
    "realtime": ("os.kill(os.getpid(), 40)", "was killed by signal 40"),
    "background": ("os.system('sleep 300 &'); os._exit(3)", "ended with exit status 3"),
    "fork": ("os.fork() or time.sleep(300); os._exit(3)", "ended with exit status 3"),
    "daemon": ("os.fork() or (os.setsid(), time.sleep(20)); os._exit(3)", "ended with exit status 3"),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_fails_its_task_and_no_other(project: Project, death: str) -> None:
    how, words = DEATHS[death]
    project.write(a=PRELUDE + f"print('last words', flush=True)\nif number in (0, {VICTIM}, 39):\n    {how}\n")
    pipeline = project.pipeline("a", {"a": NUMBERS})
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (len(NUMBERS) - 3, 3)
    # neither lost nor run twice
    assert executions(project) == Counter(NUMBERS)
    victims = {0, VICTIM, 39}
    assert pipeline.outputs("a") == [number for number in NUMBERS if number not in victims]
    failed = pipeline.tasks("a", "failed")
    assert {task.input["aphantom"] for task in failed} == victims
    for task in failed:
        assert f"WorkerDied: the process that ran this task {words}" in task.error
        assert "last words" in Path(task.log).read_text()
    # each of the four workers was another one
    pids = {int(line.split()[1]) for line in project.lines("ran")}
    assert len(pids) == 3
    if death != "daemon":
        assert not alive(pids)


def test_a_worker_killed_from_outside_fails_the_running_task_alone(project: Project) -> None:
    project.write(a=PRELUDE + "if number == 3 and not os.path.exists(os.path.join(HERE, 'go')):\n    wait_for('go')\n")
    pipeline = project.pipeline("a", {"a": range(8)})
    w, _ = launch_process(pipeline, 1, log_level=0)
    until(lambda: any(line.startswith("3 ") for line in project.lines("ran")), "the task to begin")
    (victim,) = (int(line.split()[1]) for line in project.lines("ran") if line.startswith("3 "))
    os.kill(victim, signal.SIGKILL)
    (project.root / "go").touch()
    summary = w.run()
    assert (summary.done, summary.failed) == (7, 1)
    assert executions(project) == Counter(range(8))
    again = project.run(pipeline, 1)
    assert (again.done, again.reused, again.failed) == (1, 7, 0)
    assert pipeline.outputs("a") == list(range(8))


def test_an_idle_worker_that_is_killed_costs_nothing(project: Project) -> None:
    # a single task of `b` keeps one worker while the other idles
    project.write(a=PRELUDE, b=PRELUDE + "wait_for('go')\n", c=PRELUDE)
    project.write(b="#multiplex cross_prod group_by 'all'\n" + PRELUDE.replace("number = get_input()", "number = 100"))
    with (project.root / "b.py").open("a") as b:
        b.write("set_output(range(200, 240))\nset_output(list(range(200, 240)))\nwait_for('go')\n")
    pipeline = project.pipeline("a -> b -> c", {"a": range(20)})
    w, _ = launch_process(pipeline, 2, log_level=0)
    until(lambda: "100" in [line.split()[0] for line in project.lines("ran")], "the task of b to begin")
    by_pid = {int(line.split()[1]): line.split()[0] for line in project.lines("ran")}
    idle = [pid for pid, last in by_pid.items() if last != "100"]
    for pid in idle:
        os.kill(pid, signal.SIGKILL)
    (project.root / "go").touch()
    summary = w.run()
    assert (summary.done, summary.failed) == (61, 0)
    assert set(executions(project).values()) == {1}


def test_workers_that_cannot_begin_end_the_run_in_words(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write(a="")
    (project.root / "sitecustomize.py").write_text(
        "import os, sys\nif 'loky.backend.popen_loky_posix' in ' '.join(sys.orig_argv):\n    os._exit(7)\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{project.root}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(Exception, match="workers die before they run anything: ended with exit status 7"):
        project.run(project.pipeline("a"), 1)


# --- what a task leaves behind in its process --------------------------------------------------------------------


@pytest.mark.parametrize(
    "deed",
    [
        "sys.stdout.close()",
        "sys.stderr.close()",
        "os.close(1); os.close(2)",
        "sys.stdout = None",
        "sys.stdout = open(os.devnull, 'w')",
        "os.fork()",
        "os.fork() or sys.exit(1)",
    ],
)
def test_neighbours_do_not_suffer_from_what_a_task_does_to_its_process(project: Project, deed: str) -> None:
    project.write(a=PRELUDE + f"if number == {VICTIM}:\n    {deed}\nelse:\n    print('here is', number)\n")
    pipeline = project.pipeline("a", {"a": NUMBERS})
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (len(NUMBERS), 0)
    assert executions(project) == Counter(NUMBERS)
    for task in pipeline.tasks("a"):
        if task.output != [VICTIM]:
            assert Path(task.log).read_text() == f"here is {task.output[0]}\n"


def test_a_fork_that_comes_to_the_end_of_the_script_is_no_second_run(project: Project) -> None:
    project.write(a=PRELUDE + "child = os.fork()\nif child:\n    os.waitpid(child, 0)\n")
    project.write(
        main="""
        from pipelet.launchers import launch_interactive
        from pipelet.pipeline import Pipeline
        P = Pipeline("a", prefix="prefix")
        P.push(a=[1, 2])
        print(launch_interactive(P)[0].run().done)
        """
    )
    assert project.ran("main.py").stdout == "2\n"
    assert executions(project) == Counter([1, 2])


class Fragile:
    """A bench that itself breaks down at one task."""

    def run(self, context: Any, call: TaskCall) -> tuple[TaskResult, None]:
        if call.id == 2:
            raise MemoryError("no room")
        return TaskResult(call.id, Status.DONE, 0.0, 0.0, "", 0), None


def test_what_goes_wrong_around_a_task_is_a_failure_of_this_task() -> None:
    calls = tuple(TaskCall(number, "", "", "", ()) for number in (1, 2, 3))
    told: list[TaskResult | None] = []
    context: Any = None
    bench: Any = Fragile()
    left = run_batch(bench, Batch(context, calls, patience=1e6), lambda result, running: told.append(result))
    assert left == ()
    results = [result for result in told if result is not None]
    assert [(result.id, result.status) for result in results] == [
        (1, Status.DONE), (2, Status.FAILED), (3, Status.DONE)
    ]
    assert "MemoryError: no room" in (results[1].error or "")


def test_an_environment_that_fails_in_one_task_fails_this_one(project: Project) -> None:
    class Refusing(Environment):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            if self.get_input() == VICTIM:
                raise OSError("not this one")

    project.write(a=PRELUDE)
    pipeline = project.pipeline("a", {"a": NUMBERS}, env=Refusing)
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (len(NUMBERS) - 1, 1)
    assert "OSError: not this one" in pipeline.tasks("a", "failed")[0].error
