"""Tasks that never end, workers that grow, tasks that kill their worker: only the task at fault fails."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Project, alive, until

from pipelet.core.calls import TaskResult
from pipelet.core.model import Status
from pipelet.errors import MemoryExceeded, PipelineError, TaskTimeout, UnknownSegmentError
from pipelet.executors.base import InlineExecutor
from pipelet.executors.family import memory
from pipelet.executors.process import _Slot
from pipelet.executors.wire import BatchPacker, framed
from pipelet.launchers import launch_interactive, launch_process
from pipelet.limits import Limits
from pipelet.pipeline import Pipeline

#: Each task makes a file that nobody else may have made, so a second execution would fail.
ONCE = """
import os, signal, subprocess, sys, time
HERE = os.path.dirname(__file__)
number = get_input()
os.close(os.open(get_data_fn("once"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
with open(os.path.join(HERE, "ran"), "a") as ran:
    print(number, os.getpid(), file=ran)
set_output(number)
"""


def executions(project: Project) -> Counter[int]:
    return Counter(int(line.split()[0]) for line in project.lines("ran"))


def started(project: Project, name: str = "children") -> list[int]:
    return [int(line) for line in project.lines(name)]


# --- what is allowed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"timeout": "600"}, "timeout: '600' is no number of seconds above 0; give for example timeout=600"),
        ({"timeout": 0}, "timeout: 0 is no number of seconds"),
        ({"timeout": -1}, "timeout: -1 is no number of seconds"),
        ({"timeout": True}, "timeout: True is no number of seconds"),
        ({"timeout": float("nan")}, "timeout: nan is no number of seconds"),
        ({"timeout": float("inf")}, "timeout: inf is no number of seconds"),
        ({"timeout": [600]}, r"timeout: \[600\] is no number of seconds"),
        ({"timeout": {"a": None}}, "timeout of 'a': None is no number of seconds"),
        ({"timeout": {1: 600}}, "1 is no name of a segment"),
        ({"memory": "much"}, "memory='much' is no size; give bytes, or a text such as '2 GB'"),
        ({"memory": True}, "memory=True is no size"),
        ({"memory": [1]}, r"memory=\[1\] is no size"),
        ({"memory": "10 MB"}, "memory='10 MB' is too little .* at least 100 MB"),
        ({"memory": 2}, "memory=2 is too little"),
        ({"memory": -5e9}, "memory=-5000000000.0 is too little"),
    ],
)
def test_what_is_no_limit_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PipelineError, match=words):
        Pipeline("a -> b", **options)


def test_a_limit_for_a_segment_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownSegmentError, match="no segment named 'melk'; did you mean 'melt'"):
        Pipeline("freeze -> melt", timeout={"freeze": 1, "melk": 2})


@pytest.mark.parametrize(
    ("given", "size"),
    [("2 GB", 2 * 10**9), ("1.5GiB", 3 << 29), ("350m", 350 * 10**6), (" 500000 kB ", 5 * 10**8), (10**9, 10**9)],
)
def test_sizes(given: float | str, size: int) -> None:
    assert Pipeline("a", memory=given).limits.memory == size


def test_limits_go_with_a_pickled_pipeline() -> None:
    pipeline = Pipeline("a -> b", timeout={"a": 5}, memory="2 GB")
    again = pickle.loads(pickle.dumps(pipeline))
    assert again.limits == pipeline.limits
    assert (again.limits.seconds("a"), again.limits.seconds("b")) == (5, None)
    assert Pipeline("a -> b", timeout=7).limits.seconds("b") == 7
    assert repr(again) == repr(Pipeline("a -> b"))


def test_another_limit_recomputes_nothing(project: Project) -> None:
    project.write(a=ONCE)
    assert project.run(project.pipeline("a", {"a": range(3)}, timeout=100, memory="2 GB"), 1).done == 3
    summary = project.run(project.pipeline("a", {"a": range(3)}, timeout={"a": 200}), 1)
    assert (summary.done, summary.reused) == (0, 3)


# --- tasks that never end ----------------------------------------------------------------------------------------

#: A child, one in a session of its own, one of those without a parent, and a fork without one.
FAMILY = """
def note(pid):
    with open(os.path.join(HERE, "children"), "a") as file:
        print(pid, file=file)
def start():
    note(subprocess.Popen(["sleep", "300"]).pid)
    note(subprocess.Popen(["setsid", "sleep", "300"]).pid)
    subprocess.run(["sh", "-c", "setsid sleep 300 & echo $! >> children"], cwd=HERE)
    child = os.fork()
    if not child:
        os.setsid()
        grandchild = os.fork()
        if grandchild:
            note(grandchild)
            os._exit(0)
        time.sleep(300)
        os._exit(0)
    os.waitpid(child, 0)
"""
HANG = ONCE + FAMILY + """
def wait_long():
    while True:
        time.sleep(0.01)
if number == 17:
    print("last words")
    start()
    wait_long()
"""


def test_a_task_that_never_ends_is_ended_with_all_that_it_started(project: Project) -> None:
    project.write(a=HANG)
    pipeline = project.pipeline("a", {"a": range(200)}, timeout=1)
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (199, 1)
    assert executions(project) == Counter(range(200))
    assert pipeline.outputs("a") == [number for number in range(200) if number != 17]
    children = started(project)
    assert len(children) == 4
    until(lambda: not alive(children), "the children to go", 10)
    (task,) = pipeline.tasks("a", "failed")
    lines = task.error.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'a.py", line {len((project.root / "a.py").read_text().splitlines())}, in <module>' in lines[1]
    assert lines[-1].startswith(
        "pipelet.errors.TaskTimeout: the task had not ended after 1 s, the limit of segment 'a' (Pipeline(..., timeout"
    )
    assert Path(task.log).read_text() == "last words\n"
    assert "a: pipelet.errors.TaskTimeout in a.py, line " in str(summary)
    # its directory is emptied before it runs again: else the file would be in its way
    (project.root / "children").unlink(missing_ok=True)
    pipeline = project.pipeline("a", {"a": range(200)}, timeout=2)
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.reused, summary.failed) == (0, 199, 1)
    assert "TaskTimeout" in pipeline.tasks("a", "failed")[0].error
    until(lambda: not alive(started(project)), "the children to go", 10)


def test_two_tasks_that_hang_at_once_and_one_segment_without_limit(project: Project) -> None:
    slow = ONCE + "if number == 'hang':\n    time.sleep(300)\n"
    project.write(a=slow, b=ONCE + "time.sleep(3)\n")
    pipeline = project.pipeline("a; b", {"a": ["hang", "x"], "b": [1, 2]}, timeout={"a": 2})
    summary = project.run(pipeline, 2)
    assert summary.counts["a"] == {"done": 1, "reused": 0, "failed": 1}
    assert summary.counts["b"] == {"done": 2, "reused": 0, "failed": 0}


def test_a_batch_may_take_longer_than_one_of_its_tasks(tmp_path: Path) -> None:
    slot = _Slot(0, str(tmp_path), Limits(timeout=50), BatchPacker(str(tmp_path)), ())
    slot._submitted = now = time.monotonic() - 1000
    spool = Path(slot._files.spool)
    spool.write_bytes(framed(None, 7, now + 990, 0))
    assert slot._excess("a", os.getpid()) is None
    with spool.open("ab") as file:
        file.write(framed(TaskResult(7, Status.DONE, 0.0, 0.0, "", 0), 8, now + 949, 0))
    assert "after 50 s, the limit of segment 'a'" in (slot._excess("a", os.getpid()) or "")
    # what it has read on the way is not lost
    assert [result.id for result in slot._results()] == [7]
    with spool.open("ab") as file:
        file.write(framed(TaskResult(8, Status.DONE, 0.0, 0.0, "", 0), None, now, 0))
    assert slot._excess("a", os.getpid()) is None


def test_a_task_that_stops_itself_is_ended(project: Project) -> None:
    project.write(a=ONCE + "if number == 40:\n    os.kill(os.getpid(), signal.SIGSTOP)\n")
    pipeline = project.pipeline("a", {"a": range(300)}, timeout=2)
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (299, 1)
    assert executions(project) == Counter(range(300))
    assert "TaskTimeout: the task had not ended after 2 s" in pipeline.tasks("a", "failed")[0].error


@pytest.mark.parametrize(
    "hang",
    [
        "signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)))\n    time.sleep(300)",
        "import ctypes; ctypes.PyDLL(None).sleep(300)",  # which the look at its stack interrupts
        "import ctypes\n    while True:\n        ctypes.PyDLL(None).sleep(300)",
        "subprocess.run(['sleep', '300'])",
        "import itertools; max(itertools.count())",
    ],
    ids=["signals blocked", "interrupted", "holding the interpreter", "waiting", "looping"],
)
def test_whatever_a_task_hangs_in(project: Project, hang: str) -> None:
    project.write(a=ONCE + f"if number == 3:\n    {hang}\n")
    summary = project.run(project.pipeline("a", {"a": range(20)}, timeout=2), 1)
    assert (summary.done, summary.failed) == (19, 1)
    assert executions(project) == Counter(range(20))


def test_a_hanging_task_leaves_its_neighbours_on_other_workers_alone(project: Project) -> None:
    project.write(a=ONCE + "time.sleep(300 if number in (0, 5, 9) else 0.05)\n")
    pipeline = project.pipeline("a", {"a": range(30)}, timeout=2)
    summary = project.run(pipeline, 2)
    assert (summary.done, summary.failed) == (27, 3)
    assert executions(project) == Counter(range(30))


# --- the interactive mode ----------------------------------------------------------------------------------------


SWALLOWING = """
while True:
    try:
        time.sleep(300)
    except Exception:
        swallowed += 1
        if swallowed == 2:
            raise
"""


@pytest.mark.parametrize("hang", ["time.sleep(300)", SWALLOWING], ids=["sleeping", "swallowing"])
def test_the_interactive_mode_raises(project: Project, hang: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelet.executors.base._AGAIN_SECONDS", 0.1)
    project.write(a=f"import time\nswallowed = 0\nset_output(1)\n{hang}\n")
    pipeline = project.pipeline("a", timeout=1)
    handler = signal.getsignal(signal.SIGALRM)
    signal.setitimer(signal.ITIMER_REAL, 0)
    with pytest.raises(TaskTimeout, match=r"had not ended after 1 s, the limit of segment 'a'"):
        project.run(pipeline)
    (task,) = pipeline.tasks("a")
    assert task.status == "failed"
    assert f'File "{project.root}/a.py"' in task.error
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler


def test_the_interactive_mode_gives_back_the_alarm_of_its_user(project: Project) -> None:
    project.write(a="")
    rung = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.set())
    try:
        signal.setitimer(signal.ITIMER_REAL, 1000)
        assert project.run(project.pipeline("a", timeout=100)).done == 1
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        assert 0 < left <= 1000
        assert left > 100
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        assert rung.wait(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_the_interactive_mode_in_another_thread_has_no_limit(project: Project) -> None:
    project.write(a="import time; time.sleep(0.3)")
    pipeline = project.pipeline("a", timeout=0.05)
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(launch_interactive(pipeline)[0].run().done))
    thread.start()
    thread.join()
    assert ended == [1]


def test_a_timeout_while_the_task_is_put_away_is_a_failure_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def save(*_: object) -> None:
        time.sleep(300)

    monkeypatch.setattr("pipelet.capture.TeeCapture.save", save)
    project.write(a="print(1)")
    pipeline = project.pipeline("a", timeout=0.1)
    with pytest.raises(TaskTimeout):
        project.run(pipeline)
    assert pipeline.tasks("a")[0].status == "failed"


def test_a_task_that_is_put_away_slowly_is_told_where_it_hung(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelet.executors.base._AGAIN_SECONDS", 0.1)
    monkeypatch.setattr("pipelet.capture.TeeCapture.save", lambda *_: time.sleep(300))
    project.write(a="import time\nprint(1)\ntime.sleep(300)\n")
    pipeline = project.pipeline("a", timeout=1)
    with pytest.raises(TaskTimeout):
        project.run(pipeline)
    assert f'File "{project.root}/a.py", line 3' in pipeline.tasks("a")[0].error


def test_a_debugger_has_all_the_time_that_it_wants() -> None:
    import bdb
    import sys

    from pipelet.executors import base

    class Debugger(bdb.Bdb):
        def trace_dispatch(self, frame: Any, event: str, arg: Any) -> Any:
            """Nothing is traced."""

    before = sys.gettrace()
    assert not base._debugging()
    sys.settrace(Debugger().trace_dispatch)
    try:
        assert base._debugging()
    finally:
        sys.settrace(before)


def test_the_default_has_no_limit() -> None:
    executor = InlineExecutor()
    executor.close()
    assert not executor._limits.any


# --- memory ------------------------------------------------------------------------------------------------------

LEAK = ONCE + """
import leaking
leaking.kept.append(bytearray(os.urandom(1) * 20_000_000))
"""


def test_a_worker_that_leaks_is_replaced_between_tasks(project: Project) -> None:
    project.write(a=LEAK + "time.sleep(0.02)\n", leaking="kept = []\n")
    pipeline = project.pipeline("a", {"a": range(40)}, memory="150 MB")
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (40, 0)
    assert executions(project) == Counter(range(40))
    by_worker = Counter(int(line.split()[1]) for line in project.lines("ran"))
    # 150 MB hold at most seven times 20 MB, and a worker ends after the task that goes beyond
    assert max(by_worker.values()) <= 8
    assert min(list(by_worker.values())[:-1]) >= 2
    assert not alive(by_worker)
    log = (project.prefix / ".pipelet" / "log" / "pipelet.log").read_text()
    assert log.count("(the limit is 150 MB): another one takes its place") in (len(by_worker) - 1, len(by_worker))


def test_without_a_limit_a_worker_stays_however_large_it_is(project: Project) -> None:
    project.write(a=LEAK + "time.sleep(0.06)\n", leaking="kept = []\n")
    summary = project.run(project.pipeline("a", {"a": range(30)}), 1)
    assert summary.done == 30
    assert len({line.split()[1] for line in project.lines("ran")}) == 1


def test_what_is_freed_again_is_no_leak(project: Project) -> None:
    project.write(a=ONCE + "loop = [bytearray(20_000_000)]\nloop.append(loop)\n")
    summary = project.run(project.pipeline("a", {"a": range(60)}, memory="150 MB"), 1)
    assert summary.done == 60
    assert len({line.split()[1] for line in project.lines("ran")}) == 1


HUNGRY = {
    "itself": "block = []\n    while True:\n        block.append(b'x' * 10_000_000)\n        time.sleep(0.01)",
    "a child": "subprocess.run([sys.executable, '-c', \"import time; x = b'x' * 400_000_000; time.sleep(300)\"])",
    "an endless generator": "import itertools\n    set_output(bytes([n % 256]) * 1_000_000 for n in itertools.count())",
}


@pytest.mark.parametrize("who", HUNGRY)
def test_a_task_that_takes_more_than_the_limit_alone_is_ended(project: Project, who: str) -> None:
    project.write(a=ONCE + f"if number == 5:\n    print('last words')\n    {HUNGRY[who]}\n")
    pipeline = project.pipeline("a", {"a": range(50)}, memory="200 MB")
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed) == (49, 1)
    assert executions(project) == Counter(range(50))
    (task,) = pipeline.tasks("a", "failed")
    assert f'File "{project.root}/a.py", line' in task.error
    assert "MemoryExceeded: the task alone took" in task.error
    assert "and the limit is 200 MB (Pipeline(..., memory=...))" in task.error
    assert Path(task.log).read_text() == "last words\n"


def test_what_earlier_tasks_have_left_behind_is_not_this_ones(project: Project) -> None:
    # 130 MB stay, then 120 MB are taken for a while: together too much, for each task alone not
    project.write(
        a=ONCE + "import leaking\nif number == 0:\n    leaking.kept.append(b'x' * 80_000_000)\n"
        "else:\n    block = b'x' * 120_000_000\n    time.sleep(0.5)\n",
        leaking="kept = []\n",
    )
    summary = project.run(project.pipeline("a", {"a": range(4)}, memory="170 MB"), 1)
    assert (summary.done, summary.failed) == (4, 0)
    assert len({line.split()[1] for line in project.lines("ran")}) == 1


def test_memory_that_forks_share_counts_once(project: Project) -> None:
    project.write(
        a=ONCE + """
block = b"x" * 100_000_000
children = [os.fork() for _ in range(3)]
if 0 in children:
    time.sleep(1)
    os._exit(0)
for child in children:
    os.waitpid(child, 0)
"""
    )
    summary = project.run(project.pipeline("a", {"a": range(2)}, memory="250 MB"), 1)
    assert (summary.done, summary.failed) == (2, 0)


def test_files_that_are_mapped_do_not_count(tmp_path: Path) -> None:
    import mmap

    path = tmp_path / "large"
    path.write_bytes(b"x" * 50_000_000)
    before = memory(os.getpid(), exact=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert sum(mapped[::4096]) > 0
        assert memory(os.getpid(), exact=True) - before < 25_000_000
        block = b"y" * 50_000_000
        assert memory(os.getpid(), exact=True) - before > 40_000_000
        assert memory(os.getpid()) > 40_000_000
    del block


# --- workers that are killed by one of very many tasks -----------------------------------------------------------


DEATHS = {
    "exit": "os._exit(3)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "import ctypes; ctypes.string_at(0)",
}


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("processes", [1, 2])
def test_one_of_hundreds_in_a_batch_kills_its_worker(project: Project, death: str, processes: int) -> None:
    victims = {700, 701, 1100, 1999}
    project.write(a=ONCE + f"if number in {victims}:\n    {DEATHS[death]}\n")
    pipeline = project.pipeline("a", {"a": range(2000)})
    summary = project.run(pipeline, processes)
    assert (summary.done, summary.failed) == (2000 - len(victims), len(victims))
    # else O_EXCL would have failed a task, or a number would be missing
    assert executions(project) == Counter(range(2000))
    failed = pipeline.tasks("a", "failed")
    assert {task.input["aphantom"] for task in failed} == victims
    assert all("WorkerDied" in task.error for task in failed)
    assert pipeline.outputs("a") == [number for number in range(2000) if number not in victims]


# --- generators --------------------------------------------------------------------------------------------------


def test_a_generator_that_raises_in_the_middle_fails_the_task_at_the_users_line(project: Project) -> None:
    project.write(
        a="def numbers():\n    yield from range(1000)\n    raise ValueError('no more')\nset_output(numbers())\n", b=""
    )
    pipeline = project.pipeline("a -> b")
    summary = project.run(pipeline, 1)
    assert (summary.done, summary.failed, summary.waiting) == (0, 1, ["b"])
    lines = pipeline.tasks("a")[0].error.splitlines()
    assert f'  File "{project.root}/a.py", line 3, in numbers' in lines
    assert lines[-1] == "ValueError: no more"
    assert "a: ValueError in a.py, line 3" in str(summary)


def test_an_endless_generator_is_ended_by_the_timeout(project: Project) -> None:
    project.write(a="import itertools, time\nset_output(time.sleep(0.01) for _ in itertools.count())\n")
    pipeline = project.pipeline("a", timeout=2)
    assert project.run(pipeline, 1).failed == 1
    error = pipeline.tasks("a")[0].error
    assert f'  File "{project.root}/a.py", line 2, in <genexpr>' in error
    assert "TaskTimeout" in error


# --- odds and ends -----------------------------------------------------------------------------------------------


@pytest.fixture
def _children_end(project: Project) -> Iterator[None]:
    yield
    for pid in alive(started(project)):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.usefixtures("_children_end")
def test_what_earlier_tasks_have_started_in_peace_ends_only_with_the_worker(project: Project) -> None:
    project.write(
        a=ONCE + "if number == 0:\n    child = subprocess.Popen(['setsid', 'sleep', '300'])\n"
        "    print(child.pid, file=open(os.path.join(HERE, 'children'), 'a'))\n"
        "if number == 20:\n    open(os.path.join(HERE, 'reached'), 'w')\n    time.sleep(300)\n"
    )
    pipeline = project.pipeline("a", {"a": range(21)}, timeout=1)
    w, _ = launch_process(pipeline, 1, log_level=0)
    until((project.root / "reached").exists, "the last task to begin")
    assert alive(started(project))
    assert w.run().failed == 1
    until(lambda: not alive(started(project)), "the child to go", 10)


def test_the_errors_can_be_named() -> None:
    assert issubclass(TaskTimeout, Exception)
    assert issubclass(MemoryExceeded, Exception)
