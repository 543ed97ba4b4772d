"""What the launchers promise when all goes well, and when a task fails in an ordinary way."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT, Project, until

from pipelet.errors import CodeError, LauncherError, PipelineError
from pipelet.launchers import launch_interactive, launch_process

MODES = pytest.mark.parametrize("processes", [0, 2], ids=["interactive", "process"])

LAUNCH = """
from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline
open("body", "a").write("once\\n")
P = Pipeline({dot!r}, prefix="prefix")
P.push(a=[1, 2, 3])
"""


def script(project: Project, dot: str, rest: str) -> None:
    (project.root / "main.py").write_text(LAUNCH.format(dot=dot) + rest)


def test_a_plain_script_runs_its_body_once_and_finishes_without_waiting(project: Project) -> None:
    project.write(a="set_output(get_input() * 2)", b="open(get_data_fn('b.txt'), 'w').write(str(get_input()))")
    script(project, "a -> b", "w, t = launch_process(P, 2)\nprint('end of main')\n")
    ended = project.ran("main.py")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "end of main\n", "")
    assert project.lines("body") == ["once"]
    assert project.pipeline("a -> b").status() == {"a": {"done": 3}, "b": {"done": 3}}


def test_a_script_that_does_not_wait_still_tells_what_failed(project: Project) -> None:
    project.write(a="if get_input() == 2:\n    raise ValueError('no twos')")
    script(project, "a", "w, t = launch_process(P, 2, log_level=0)\n")
    ended = project.ran("main.py")
    assert "2 tasks done, 0 taken from disk, 1 failed" in ended.stderr
    assert "ValueError: no twos" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_work_starts_at_once_and_the_tracker_watches_it(project: Project) -> None:
    project.write(a="open(__file__ + '.begun', 'w').close()")
    w, t = launch_process(project.pipeline("a"), 1)
    until(lambda: (project.root / "a.py.begun").exists(), "the task to begin")
    until(lambda: t.counts().get("a", {}).get("done") == 1, "the tracker to tell")
    summary = w.run()
    assert (summary.done, summary.failed, t.finished) == (1, 0, True)
    assert w.run() is summary


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "2"])
def test_the_number_of_processes_is_checked_before_anything_is_made(project: Project, number: Any) -> None:
    project.write(a="")
    with pytest.raises(LauncherError, match="N="):
        launch_process(project.pipeline("a"), number)
    assert not project.prefix.exists()


def test_the_number_of_processes_need_not_be_given(project: Project) -> None:
    project.write(a="")
    w, _ = launch_process(project.pipeline("a"))
    assert w.run().done == 1


def test_no_socket_is_opened(project: Project) -> None:
    project.write(
        a="""
        import os
        links = []
        for process in (os.getpid(), os.getppid()):
            for name in os.listdir(f"/proc/{process}/fd"):
                try:
                    links.append(os.readlink(f"/proc/{process}/fd/{name}"))
                except FileNotFoundError:
                    pass
        set_output([link for link in links if link.startswith("socket")])
        """
    )
    pipeline = project.pipeline("a")
    w, _ = launch_process(pipeline, 1, address=("localhost", 50000))
    assert w.run().done == 1
    assert pipeline.outputs("a") == []


@MODES
def test_level_0_prints_nothing_and_info_tells_the_segments(project: Project, processes: int) -> None:
    project.write(a="logger.info('from the task')\nprint('printed')", b="1 / 0")
    launch = f"launch_process(P, {processes}" if processes else "launch_interactive(P"
    for level in (0, logging.INFO):
        rest = f"w, t = {launch}, log_level={level})\ntry:\n    w.run()\nexcept ZeroDivisionError:\n    pass\n"
        script(project, "a -> b", rest)
        ended = project.ran("main.py")
        assert ended.returncode == 0
        # the interactive mode leaves sys.stdout to the task
        assert ended.stdout == ("printed\n" * 3 if not processes and level == 0 else "")
        if level:
            assert re.search(r"^INFO: a: 0 of 3 to run, 3 taken from disk$", ended.stderr, re.MULTILINE)
            assert re.search(r"^ERROR: b\[\d+\]: failed on input \w+: ZeroDivisionError", ended.stderr, re.MULTILINE)
        else:
            assert ended.stderr == ""
    # the log of the prefix has it all, whatever is printed
    log = (project.prefix / ".pipelet" / "log" / "pipelet.log").read_text()
    ids = {task.id for task in project.pipeline("a -> b").tasks("a")}
    told = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} INFO +a +(\d+) from the task$", log, re.MULTILINE)
    assert {int(number) for number in told} == ids


@pytest.mark.parametrize("rest", ["w.run()", "t.wait()", "", "launch_interactive(P, log_level=1)[0].run()"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_messages_to_nobody_do_not_stop_a_run(project: Project, rest: str, unbuffered: str) -> None:
    # more than the pipes between the processes hold
    project.write(a="for _ in range(100):\n    logger.warning('x' * 1000)")
    launch = "" if "launch" in rest else "w, t = launch_process(P, 1, log_level=1)\n"
    script(project, "a", f"{launch}{rest}\n")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        # Whether or not Python keeps what it could not write for its end.
        ended = project.ran("main.py", stderr=writing, env={**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered})
    finally:
        os.close(writing)
    assert ended.returncode == 0
    assert project.pipeline("a").status() == {"a": {"done": 3}}


@MODES
def test_the_summary(project: Project, processes: int) -> None:
    project.write(a="if get_input() == 'bad':\n    print('so')\n    raise ValueError('no bads')\nset_output(1)")
    project.write(b="", c="#multiplex cross_prod group_by 'all'\n")
    pipeline = project.pipeline("a -> b; a -> c", {"a": ["good", "bad"]})
    if not processes:
        with pytest.raises(ValueError, match="no bads"):
            project.run(pipeline)
        assert [task.error.splitlines()[-1] for task in pipeline.tasks("a", "failed")] == ["ValueError: no bads"]
        return
    summary = project.run(pipeline, processes)
    assert (summary.done, summary.reused, summary.failed, summary.waiting) == (2, 0, 1, ["c"])
    assert summary.seconds > 0
    assert not summary.ok
    (failure,) = summary.failures
    (task,) = pipeline.tasks("a", "failed")
    assert (failure.segment, failure.task, failure.input) == ("a", task.id, "bad")
    assert failure.error == "ValueError: no bads"
    assert failure.log is not None
    assert Path(failure.log).read_text() == "so\n"
    text = str(summary)
    assert "2 tasks done, 0 taken from disk, 1 failed" in text
    assert "waiting for what failed before: c" in text
    assert all(part in text for part in ("input bad", "ValueError: no bads", failure.log))

    again = project.run(pipeline, processes)
    assert (again.done, again.reused, again.failed, again.waiting) == (0, 2, 1, ["c"])


def test_partial_takes_what_there_is_and_runs_again_when_there_is_more(project: Project) -> None:
    project.write(a="import os\nif get_input() == 2 and not os.path.exists(__file__ + '.ok'):\n    1 / 0\n")
    with (project.root / "a.py").open("a") as a:
        a.write("set_output(get_input())")
    project.write(b="#multiplex cross_prod group_by 'all'\nset_output(sorted(get_input('a')))")
    project.write(c="set_output(seg_input)")
    dot, push = "a -> b -> c", {"a": [1, 2, 3]}

    patient = project.run(project.pipeline(dot, push), 2)
    assert (patient.done, patient.failed, patient.waiting) == (2, 1, ["b", "c"])
    pipeline = project.pipeline(dot, push, partial=True)
    assert project.run(pipeline, 2).done == 3
    assert pipeline.outputs("b") == [1, 3]
    assert project.run(pipeline, 2).reused == 5

    (project.root / "a.py.ok").touch()
    more = project.run(pipeline, 2)
    assert (more.failed, more.waiting) == (0, [])
    assert pipeline.outputs("b") == [1, 2, 3]
    assert sorted(value["b"] for value in pipeline.outputs("c")) == [1, 2, 3]


def test_children_of_what_succeeded_run_and_a_class_waits(project: Project) -> None:
    project.write(a="if get_input() % 5 == 0:\n    1 / 0\nset_output(get_input())", b="set_output(get_input())")
    project.write(c="#multiplex union group_by 'all'\n", d="")
    pipeline = project.pipeline("a -> b -> c -> d", {"a": range(10)})
    summary = project.run(pipeline, 2)
    assert (summary.done, summary.failed, summary.waiting) == (16, 2, ["c", "d"])
    assert pipeline.outputs("b") == [1, 2, 3, 4, 6, 7, 8, 9]
    assert pipeline.status() == {"a": {"done": 8, "failed": 2}, "b": {"done": 8}, "c": {}, "d": {}}


def test_a_segment_whose_inputs_all_failed_waits(project: Project) -> None:
    project.write(a="1 / 0", b="", c="")
    summary = project.run(project.pipeline("a -> b -> c"), 1)
    assert (summary.done, summary.failed, summary.waiting) == (0, 1, ["b", "c"])


def test_the_standard_input_of_tasks_is_empty(project: Project) -> None:
    project.write(a="import subprocess, sys\nset_output([sys.stdin.read(), subprocess.getoutput('cat')])")
    script(project, "a", "w, t = launch_process(P, 1)\nw.run()\n")
    reading, writing = os.pipe()
    try:
        ended = project.ran("main.py", stdin=reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert ended.returncode == 0, ended.stderr
    assert project.pipeline("a", {"a": [1, 2, 3]}).outputs("a") == ["", ""] * 3


def test_many_small_segments_leave_no_open_files_and_little_memory(project: Project) -> None:
    measure = """
    import os
    boss = f"/proc/{os.getppid()}"
    memory = next(line for line in open(f"{boss}/status") if line.startswith("VmRSS")).split()[1]
    set_output([[len(os.listdir(f"{boss}/fd")), int(memory), len(os.listdir("/proc/self/fd"))]])
    """
    number = 120
    project.write(s=measure)
    pipeline = project.pipeline(" -> ".join(f"s{index:03d}" for index in range(number)))
    assert project.run(pipeline, 1).done == number
    early, late = (pipeline.outputs(f"s{index:03d}")[0] for index in (number // 3, number - 1))
    assert late[0] <= early[0] + 2
    assert late[2] <= early[2] + 2
    assert late[1] - early[1] < 8000


@pytest.mark.parametrize("launch", [launch_process, launch_interactive])
def test_code_that_is_no_python_stops_everything_before_it_begins(project: Project, launch: Callable[..., Any]) -> None:
    project.write(a="open(__file__ + '.ran', 'w')", b="x = (1,\ny = 2\n", c="def f(:\n    pass\n")
    with pytest.raises(PipelineError) as caught:
        launch(project.pipeline("a -> b -> c"))[0].run()
    assert all(re.search(rf"{name}\.py.*line \d", str(caught.value)) for name in "bc")
    assert not project.prefix.exists()
    assert not (project.root / "a.py.ran").exists()
    with pytest.raises(CodeError, match=r"code directory .*nowhere does not exist"):
        launch(project.pipeline("a", code_dir=project.root / "nowhere"))[0].run()
