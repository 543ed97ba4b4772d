"""`kill -9` of anything at any moment: the next run goes on, nothing done is lost, nothing half-done is kept."""

from __future__ import annotations

import os
import random
import re
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from runs import PRELUDE, Runs
from support import PATIENCE, Project, alive, until

from pipelet.errors import PrefixLocked
from pipelet.storage import holding

FIRST = {("a", str(number)) for number in range(6)}


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path).prepare()
    yield runs
    runs.end()


def begun(runs: Runs) -> subprocess.Popen[str]:
    """A run with six tasks on record and two under way."""
    main = runs.start("main.py", "-p", "2")
    runs.wait_for_gate(2)
    until(lambda: len(runs.journalled()) == 6, "what is done to be on record")
    return main


def finishes(runs: Runs) -> None:
    """The next run, with the same code, does just the rest."""
    before = runs.executions()
    runs.go()
    ended = runs.ran("main.py", "-p", "2")
    assert (ended.returncode, ended.stderr) == (0, ""), ended.stdout + ended.stderr
    assert "6 tasks done, 6 taken from disk, 0 failed" in ended.stdout
    after = runs.executions()
    assert all(after[task] == before[task] == 1 for task in FIRST)
    texts = [path.read_text() for path in runs.prefix.glob("a_*/data/*/*")]
    assert texts == ["half and whole"] * 12


def test_main_alone(runs: Runs) -> None:
    main = begun(runs)
    boss = runs.boss()
    main.kill()
    main.communicate()
    # nobody starts another run: all of the old one goes by itself, and writes no more
    until(lambda: not alive([boss, *runs.workers(), *runs.children()]), "the orphans to go")
    assert not (runs.prefix / ".pipelet" / "lock").exists()
    finishes(runs)


def test_main_alone_and_a_new_run_at_once(runs: Runs) -> None:
    main = begun(runs)
    main.kill()
    main.communicate()
    finishes(runs)
    assert not alive([*runs.workers(), *runs.children()][:4])


def test_the_background_process(runs: Runs) -> None:
    main = begun(runs)
    os.kill(runs.boss(), signal.SIGKILL)
    out, err = main.communicate(timeout=PATIENCE)
    assert main.returncode == 1
    assert "ended without a word" in err
    assert "run again" in err
    assert "Traceback" not in out + err
    until(lambda: not alive([*runs.workers(), *runs.children()]), "the workers to go")
    finishes(runs)


def test_main_and_the_background_process_together(runs: Runs) -> None:
    main = begun(runs)
    workers = runs.workers()
    os.kill(main.pid, signal.SIGSTOP)
    os.kill(runs.boss(), signal.SIGKILL)
    main.kill()
    main.communicate()
    # workers die with the background process; what they had started is ended by who takes over
    until(lambda: not alive(workers), "the workers to go")
    children = runs.children()
    assert children
    # looked at from within the next run; what is dead, and that nobody has waited for, has no command line
    runs.write(b=f"""
        def command(pid):
            try:
                return open(f"/proc/{{pid}}/cmdline").read()
            except OSError:
                return ""
        set_output([command(pid) for pid in {children}])
        """)
    pipeline = runs.pipeline("b")
    assert runs.run(pipeline, 1).done == 1
    assert pipeline.outputs("b") == [""] * len(children)
    finishes(runs)


def test_a_worker(runs: Runs) -> None:
    main = begun(runs)
    victims = [int(line.split()[1]) for line in runs.lines("begun")]
    numbers = {line.split()[0] for line in runs.lines("begun")}
    runs.go()
    # with the sign given they may just be through
    (runs.root / "go").unlink()
    for victim in victims:
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    until(lambda: not alive(runs.children()[:2]), "the children to go")
    runs.go()
    out, _ = main.communicate(timeout=PATIENCE)
    found = re.search(r"(\d+) tasks? done, 0 taken from disk, (\d+) failed", out)
    assert found, out
    assert int(found[1]) + int(found[2]) == 12
    assert int(found[2]) <= len(numbers)
    assert main.returncode == (1 if int(found[2]) else 0)
    assert set(runs.executions().values()) == {1}
    assert not int(found[2]) or "was killed by SIGKILL (signal 9)" in out
    assert runs.ran("main.py", "-p", "2").returncode == 0
    assert sum(runs.executions().values()) == 12 + int(found[2])


# --- two runs at once --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [("-d",), ("-p", "2")], ids=["interactive", "process"])
def test_two_runs_at_once(runs: Runs, options: tuple[str, ...]) -> None:
    first = begun(runs)
    second = runs.ran("main.py", *options)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith("main.py: error: ")
    assert len(second.stderr.splitlines()) <= 2
    assert f"is held by host {socket.gethostname()}, pid {runs.boss()}, since 20" in second.stderr
    runs.go()
    out, err = first.communicate(timeout=PATIENCE)
    assert (first.returncode, err) == (0, "")
    assert "12 tasks done" in out
    assert set(runs.executions().values()) == {1}


def test_a_run_that_has_lost_its_prefix_writes_no_more(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "_HEARTBEAT_SECONDS", 0.02)
    project.write(
        a="""
        import json, os, time
        HERE = os.path.dirname(__file__)
        if get_input() == 3:
            path = os.path.join(HERE, "prefix", ".pipelet", "lock")
            with open(path) as lock:
                record = json.load(lock)
            record.update(token="0" * 32, host="elsewhere", pid=1)
            with open(path + ".x", "w") as lock:
                json.dump(record, lock)
            os.rename(path + ".x", path)
        time.sleep(0.02)
        set_output(get_input())
        """
    )
    pipeline = project.pipeline("a", {"a": range(2000)})
    with pytest.raises(PrefixLocked, match=r"lost its lock.*host elsewhere"):
        project.run(pipeline)
    assert pipeline.status()["a"].get("done", 0) < 2000
    assert "elsewhere" in (project.prefix / ".pipelet" / "lock").read_text()


# --- anything, at any moment -------------------------------------------------------------------------------------

STEP = PRELUDE + """
with open(get_data_fn("product"), "w") as product:
    product.write("begin ")
    product.flush()
    time.sleep(0.02)
    product.write(str(number))
"""
GROUP = "#multiplex cross_prod group_by 'b[0] % 5'\n" + PRELUDE + """
set_output((number, sorted(pair[0] for pair in get_input("b"))))
texts = [open(path).read() for path in glob_parent("product")]
assert all(text.startswith("begin ") and len(text) > 6 for text in texts), texts
"""


def make(runs: Runs) -> Runs:
    runs.prepare("a -> b -> c;", "a=range(40)")
    runs.write(a=STEP, b=STEP + "set_output([(number, number * number)])\n", c=GROUP)
    return runs


def results(runs: Runs) -> list[object]:
    pipeline = runs.pipeline("a -> b -> c", {"a": range(40)})
    outputs = [pipeline.outputs(segment) for segment in "abc"]
    products = {
        segment: sorted(path.read_text() for path in runs.prefix.glob(f"{place}/data/*/product"))
        for segment, place in (("a", "a_*"), ("b", "a_*/b_*"))
    }
    return [*outputs, products]


def strike(runs: Runs, main: subprocess.Popen[str], chance: random.Random) -> str:
    """Kill something of a run."""
    target = chance.choice(["main", "boss", "worker", "group", "everything"])
    boss = 0
    with suppress(OSError, ValueError, AttributeError):
        lock = (runs.prefix / ".pipelet" / "lock").read_text()
        boss = int(re.search(r'"pid": (\d+)', lock)[1])  # type: ignore[index]
    workers = alive(runs.workers())
    pids = {
        "main": [main.pid], "boss": [boss], "worker": workers[-1:], "group": [-main.pid],
        "everything": [main.pid, boss, *workers],
    }[target]
    for pid in pids:
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return target


@pytest.mark.parametrize("seed", [1, 2])
def test_anything_at_any_moment(tmp_path: Path, seed: int) -> None:
    (tmp_path / "calm").mkdir()
    (tmp_path / "wild").mkdir()
    calm, wild = make(Runs(tmp_path / "calm")), make(Runs(tmp_path / "wild"))
    assert calm.ran("main.py", "-p", "2").returncode == 0
    chance = random.Random(seed)
    struck: list[str] = []
    on_record: dict[tuple[str, str], int] = {}
    for _ in range(6):
        main = wild.start("main.py", "-p", "2")
        moment = time.monotonic() + chance.uniform(0.1, 1.6)
        # a moment like any other: either some time has passed, or some tasks have run
        goal = sum(wild.executions().values()) + chance.randrange(1, 30)
        until(
            lambda goal=goal, moment=moment, main=main: sum(wild.executions().values()) >= goal
            or time.monotonic() > moment + 3
            or main.poll() is not None,
            "the moment",
        )
        struck.append(strike(wild, main, chance))
        main.communicate(timeout=PATIENCE)
        now = wild.executions()
        for task in wild.journalled():
            on_record.setdefault(task, now[task])
    last = wild.ran("main.py", "-p", "2")
    assert (last.returncode, last.stderr) == (0, ""), (struck, last.stdout + last.stderr)
    assert results(wild) == results(calm)
    after = wild.executions()
    assert Counter({task: after[task] for task in on_record}) == Counter(on_record), struck
    assert not alive(wild.workers())
    assert not (wild.prefix / ".pipelet" / "lock").exists()
    idle = wild.ran("main.py", "-p", "2")
    assert "0 tasks done, 85 taken from disk, 0 failed" in idle.stdout
