"""The benchmarks run, and what they say is so: tiny sizes, no verdicts on speed."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

# They are processes of their own, and many.
pytestmark = pytest.mark.no_cover

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
#: What the scripts import from their own directory.
OWN = ("batch", "floor", "makespan", "measuring", "overhead", "peers", "plots", "reporting", "saturation", "webdata")


def run(script: str, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def results(directory: Path, name: str) -> dict[str, Any]:
    assert (directory / f"{name}.md").read_text().startswith("**")
    assert ".. list-table::" in (directory / f"{name}.rst").read_text()
    content: dict[str, Any] = json.loads((directory / f"{name}.json").read_text())
    assert {"pipelet", "python", "processor"} <= set(content["machine"])
    for goal in content["goals"]:
        assert goal["met"] == (goal["value"] <= goal["limit"])
    return content


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Import a module of the benchmarks, and leave no trace of it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name in OWN:
        monkeypatch.delitem(sys.modules, name, raising=False)

    def imported(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield imported
    for name in OWN:
        sys.modules.pop(name, None)


# --- the floor -------------------------------------------------------------------------------------------------------


def floor(directory: Path, n: int, *options: str) -> dict[str, int]:
    outcome: dict[str, int] = json.loads(run("floor.py", directory, n, *options))
    return outcome


def rows(directory: Path) -> list[tuple[str, int, object, object]]:
    database = sqlite3.connect(directory / "tasks.sqlite")
    try:
        found = database.execute("SELECT segment, status, input, output FROM task").fetchall()
    finally:
        database.close()
    return [(name, status, pickle.loads(given), pickle.loads(output)) for name, status, given, output in found]


def test_the_floor_keeps_a_row_and_a_file_for_each_task(tmp_path: Path) -> None:
    assert floor(tmp_path, 25) == {"total": 625, "executed": 52}
    found = rows(tmp_path)
    assert {status for _, status, _, _ in found} == {2}
    expected = [("gen", 25, list(range(25))), ("total", [2 * value + 1 for value in range(25)], 625)]
    expected += [("double", value, 2 * value) for value in range(25)]
    expected += [("incr", 2 * value, 2 * value + 1) for value in range(25)]
    assert sorted(map(str, expected)) == sorted(str((name, given, output)) for name, _, given, output in found)
    for name, outputs in {"double": range(0, 50, 2), "incr": range(1, 51, 2)}.items():
        files = (tmp_path / "data" / name).glob("*/value.pkl")
        assert sorted(pickle.loads(path.read_bytes()) for path in files) == list(outputs)


def test_the_floor_runs_only_what_is_missing(tmp_path: Path) -> None:
    floor(tmp_path, 25)
    assert floor(tmp_path, 25) == {"total": 625, "executed": 0}
    assert floor(tmp_path, 26) == {"total": 676, "executed": 4}
    assert len(rows(tmp_path)) == 56
    removed = next((tmp_path / "data" / "incr").iterdir())
    shutil.rmtree(removed)
    # the one without its directory, and nothing else: its output, so the total's input, is what it was
    assert floor(tmp_path, 26)["executed"] == 1


def test_the_floor_without_directories_makes_none(tmp_path: Path) -> None:
    assert floor(tmp_path, 25, "--no-directories") == {"total": 625, "executed": 52}
    assert floor(tmp_path, 25, "--no-directories")["executed"] == 0
    assert not (tmp_path / "data").exists()
    assert len(rows(tmp_path)) == 52


# --- measuring -------------------------------------------------------------------------------------------------------

BURN = """
import os, time
def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
"""
#: A grandchild works on when its parent is gone, and nobody who knows it waits for it.
ORPHAN = BURN + """
if os.fork() == 0:
    if os.fork() == 0:
        burn(0.4)
    os._exit(0)
os.wait()
burn(0.2)
"""


def test_measuring_counts_processes_that_lost_their_parent(load: Any) -> None:
    reading = load("measuring").measure([sys.executable, "-c", ORPHAN])
    assert reading.ok
    # 0.6 s of work and the start of Python; without the orphan it would be 0.2
    assert 0.6 <= reading.cpu_reaped < 1.6
    assert not reading.lost


def test_measuring_sees_the_memory_of_all_and_of_the_one_asked_for(load: Any) -> None:
    hold = "x = b'x' * 40_000_000; import time; time.sleep(1.0)"
    both = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hold!r}, 'holder'])"
    measure = load("measuring").measure
    reading = measure([sys.executable, "-c", both], main="holder")
    assert min(reading.memory, reading.memory_main) > 40_000_000
    # the command itself holds next to nothing
    assert 0 < measure([sys.executable, "-c", both]).memory_main < 40_000_000


def test_measuring_stops_a_command_at_its_limit_with_all_that_it_started(load: Any, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = f"import os, time\nos.fork()\nopen({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(300)"
    reading = load("measuring").measure([sys.executable, "-c", command], limit=1.0)
    assert reading.stopped
    assert not reading.ok
    numbers = [int(line) for line in pids.read_text().split()]
    assert len(numbers) == 2
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


def test_a_command_that_fails_is_an_error_with_its_last_words(load: Any) -> None:
    measuring = load("measuring")
    reading = measuring.measure([sys.executable, "-c", "raise SystemExit('no such luck')"])
    assert reading.status == 1
    with pytest.raises(measuring.MeasuringError, match=r"(?s)the try ended with status 1.*no such luck"):
        measuring.checked(reading, "the try")


# --- overhead --------------------------------------------------------------------------------------------------------


def test_overhead_measures_pipelet_the_floor_and_a_peer(tmp_path: Path) -> None:
    peers = ["--peers", "make"] if shutil.which("make") else []
    printed = run("overhead.py", 24, 12, "--only", "files", "--results", tmp_path, *peers)
    content = results(tmp_path, "overhead")
    read = {(row["name"], row["variant"], row["n"], row["run"]): row for row in content["content"]}
    for name in ("pipelet", "floor"):
        for n in (12, 24):
            assert {key[3] for key in read if key[:3] == (name, "files", n)} == {"cold", "second", "third"}
    # the floor, and Pipelet twice: as it is, and asking nothing of the disk
    assert len(read) == 18 + (6 if peers else 0)
    for key, row in read.items():
        assert row["wall"] > 0 < row["cpu"], key
        assert not row["stopped"], key
        assert not row["lost"], key
    memory = [row["memory_main"] for row in read.values() if row["name"] == "pipelet"]
    # the process that schedules was recognised
    assert min(memory) > 10_000_000
    goals = {(goal["what"], goal["at"]): goal["value"] for goal in content["goals"]}
    cold = {name: read[name, "files", 24, "cold"]["cpu"] for name in ("pipelet", "floor")}
    assert goals["cold, files: cpu / floor's", "50 tasks"] == pytest.approx(cold["pipelet"] / cold["floor"])
    for words in ("cold run", "second run", "third run", "26 tasks", "50 tasks", "goals", "written: "):
        assert words in printed
    assert (tmp_path / "overhead.png").read_bytes().startswith(b"\x89PNG")


def test_the_check_of_the_work_sees_a_missing_file(tmp_path: Path) -> None:
    run("work.py", tmp_path, 6, "--files")
    assert json.loads(run("work.py", tmp_path, 6, "--files", "--check")) == {"checked": True}
    next(tmp_path.glob("prefix/**/data/*/value.pkl")).unlink()
    assert "files of " in run("work.py", tmp_path, 6, "--files", "--check", status=1)


def test_a_peer_with_a_wrong_result_is_refused(load: Any) -> None:
    overhead, measuring = load("overhead"), load("measuring")
    subject = overhead.Subject("make", "", lambda directory, n: [])
    overhead._verify(subject, 5, measuring.Reading(tail="words\n25"))
    with pytest.raises(measuring.MeasuringError, match="make gave 24 for N = 5, not 25"):
        overhead._verify(subject, 5, measuring.Reading(tail="24"))


def test_growth_is_told_from_10000_tasks_on(load: Any) -> None:
    overhead = load("overhead")

    def row(n: int, cpu: float) -> Any:
        return overhead.Row("pipelet", "files", n, "cold", cpu, cpu, 1, 1)

    def growth(*found: Any) -> list[Any]:
        return [goal for goal in overhead.find_goals(found) if goal.what.startswith("growth")]

    (goal,) = growth(row(1000, 9.0), row(5000, 1.0002), row(500_000, 150.0003))
    assert goal.value == pytest.approx(1.5)
    assert not goal.met
    assert not growth(row(1000, 1.0), row(5000, 1.0))


def test_another_engine_that_breaks_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "bin" / "make"
    broken.parent.mkdir()
    broken.write_text('#!/bin/sh\ntest "$1" = --version && echo "Broken Make 0.1" || exit 3\n')
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}{os.environ['PATH']}")
    printed = run("overhead.py", 3, "--only", "no-files", "--peers", "make", "--results", tmp_path)
    assert "left out from here on: make " in printed
    assert {row["name"] for row in results(tmp_path, "overhead")["content"]} == {"floor", "pipelet"}


def test_sizes_and_peers_are_checked() -> None:
    assert "there is no 'jobllib'; there are joblib, " in run("overhead.py", 5, "--peers", "jobllib", status=2)
    assert "1 or more" in run("overhead.py", 0, status=2)


# --- peers -----------------------------------------------------------------------------------------------------------

LIGHT = ("joblib", "doit", "ninja", "make")
HEAVY = ("luigi", "parsl", "dask", "redun", "snakemake")


@pytest.mark.parametrize("name", [*LIGHT, *(pytest.param(name, marks=pytest.mark.peers) for name in HEAVY)])
def test_a_peer_does_the_work_and_one_element_more(name: str, tmp_path: Path) -> None:
    assert run(f"peers/with_{name}.py", tmp_path / "work", 7).splitlines()[-1] == "49"
    assert run(f"peers/with_{name}.py", tmp_path / "work", 8).splitlines()[-1] == "64"


def test_a_peer_that_is_missing_is_told_with_the_cure(load: Any) -> None:
    peers = load("peers")
    peer = peers.Peer("other", "with_other.py", "nothing", "a-package-that-is-not-there")
    with pytest.raises(peers.PeerMissing, match=r"other is not installed; pip install '\.\[bench\]' brings it"):
        peers.prepare(peer, print)


def test_an_environment_that_cannot_be_made_leaves_nothing(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELET_BENCH_CACHE", str(tmp_path / "cache"))
    peers = load("peers")
    nowhere = str(tmp_path / "nowhere-1.0-py3-none-any.whl")
    peer = peers.Peer("other", "with_other.py", "nothing", "other", ("--no-index", nowhere))
    with pytest.raises(peers.PeerMissing, match=r"can't be installed into an environment of its own: .*nowhere"):
        peers.prepare(peer, print)
    assert list((tmp_path / "cache").iterdir()) == []


# --- the others ------------------------------------------------------------------------------------------------------


def test_the_list_schedule_takes_the_longest_path_first(load: Any) -> None:
    makespan = load("makespan")
    chain, diamond = makespan.SHAPES
    lengths = makespan.durations(chain, [(1.0, 1.0, 1.0), (1.0, 5.0, 1.0), (2.0, 0.5, 0.5)])
    assert makespan.paths(chain, lengths)["a", 1] == 7
    # one worker has the second line, the other one all the rest
    assert makespan.list_schedule(chain, lengths, 2) == 7
    assert makespan.lower_bound(chain, lengths, 2) == 7
    assert makespan.list_schedule(chain, lengths, 1) == 13
    lengths = makespan.durations(diamond, [(1.0, 2.0, 3.0, 1.0)])
    assert makespan.list_schedule(diamond, lengths, 2) == 5
    assert makespan.list_schedule(diamond, lengths, 1) == 7


def test_durations_are_heavy_tailed_and_the_same_for_a_seed(load: Any) -> None:
    makespan = load("makespan")
    chain = makespan.SHAPES[0]
    lines = makespan.draw(chain, 8, 10.0, seed=1)
    assert lines == makespan.draw(chain, 8, 10.0, seed=1) != makespan.draw(chain, 8, 10.0, seed=2)
    seconds = sorted(value for line in lines for value in line)
    assert seconds[0] >= 0.005
    assert seconds[-1] <= 5.0
    tenth = len(seconds) // 10
    assert sum(seconds[-tenth:]) > 0.5 * sum(seconds) >= 40


def test_makespan_reads_from_the_records_when_tasks_ran(tmp_path: Path) -> None:
    printed = run("makespan.py", "--seconds", 0.3, "--workers", 2, "--seed", 3, "--results", tmp_path)
    content = results(tmp_path, "makespan")
    assert [(one["shape"], one["workers"]) for one in content["content"]] == [("chain", 2), ("diamond", 2)]
    for one in content["content"]:
        # sleeping takes at least as long as it should, so nothing beats the bound
        assert one["wall"] > one["measured"] >= one["bound"] > 0
        assert one["listed"] >= one["bound"]
    assert "makespan / list schedule" in printed
    assert (tmp_path / "makespan.png").exists()


def test_expansion_tells_ratios_and_memory(tmp_path: Path) -> None:
    run("expansion.py", "--where", 60, "--group", 3000, "--results", tmp_path)
    content = results(tmp_path, "expansion")
    inputs = {(case["what"], case["size"]): case["inputs"] for case in content["content"]}
    assert inputs == {
        ("no directive", 60): 60, ("where a[0] == b[0]", 60): 60, ("no directive", 3000): 3000,
        ("a run, no directive", 60): 60, ("a run, where a[0] == b[0]", 60): 60,
        ("group_by 'all'", 3000): 1, ("group_by a[0] % 1000", 3000): 1000,
    }
    assert all(case["peak"] > 0 for case in content["content"])
    assert [goal["limit"] for goal in content["goals"]] == [1.5, 1.5, 1.5, 1.5]


def test_start_times_an_import_and_a_run_with_nothing_to_do(tmp_path: Path) -> None:
    run("start.py", "--repeat", 1, "--results", tmp_path)
    content = results(tmp_path, "start")
    assert [goal["what"] for goal in content["goals"]] == ["import pipelet", "a run with nothing to do"]


def test_all_together_end_in_one_table_of_goals(tmp_path: Path) -> None:
    options = ["--only", "expansion,overhead", "--peers", "none", "--group", "2000", "--results", tmp_path]
    printed = run("bench.py", 5, *options)
    names = [goal["what"] for goal in results(tmp_path, "goals")["goals"]]
    assert {"where a[0] == b[0] / no directive", "cold, files: cpu / floor's"} <= set(names)
    assert "cold, no files: CPU a task" in names
    assert len(names) == len(set(names))
    assert "All goals, at the largest size measured" in printed
    assert {path.stem for path in tmp_path.glob("*.json")} == {"expansion", "overhead", "goals"}
    assert "there is no 'overheat'" in run("bench.py", "--only", "overheat", status=2)


# --- batch systems ---------------------------------------------------------------------------------------------------


def test_batch_tells_the_overhead_and_how_well_workers_are_used(tmp_path: Path) -> None:
    options = ["--skip", "slurm,dask", "--drain", 0.3, "--workers", 2, "--wait", 0, "--results", tmp_path]
    printed = run("batch.py", 8, 40, *options)
    content = results(tmp_path, "batch")
    read = {(row["kind"], row["tasks"]): row for row in content["content"]["overhead"]}
    assert set(read) == {(kind, tasks) for kind in ("process", "local") for tasks in (8, 40)}
    for row in read.values():
        assert row["cpu"] > row["server"] > 0 < row["wall"]
        assert not row["lost"]
        assert row["commands"] == {}
    assert read["process", 8]["batches"] is None
    assert 4 <= read["local", 40]["batches"] <= 40
    for row in content["content"]["naps"]:
        # sleeping takes at least as long as it should
        assert row["tasks"] == 12
        assert row["busy"] >= 12 * 0.05
        assert row["seconds"] > row["span"] >= 6 * 0.05 * 0.9
    for words in ("overhead: trivial tasks", "for each further task, from 8 to 40", "local workers", "efficiency"):
        assert words in printed
    assert {goal["at"] for goal in content["goals"]} >= {"8 tasks", "40 tasks", "2 workers"}


def test_a_dask_cluster_does_the_same_work(tmp_path: Path) -> None:
    assert json.loads(run("batchrun.py", tmp_path, "dask", 1, 3).splitlines()[-1])["seconds"] > 0


def test_batch_without_slurm_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = run("batch.py", 8, status=2)
    assert "sbatch is not on PATH" in told
    assert "--skip slurm" in told
    assert "test/cluster/up" in told
    assert "there is no 'slrum'" in run("batch.py", 8, "--skip", "slrum", status=2)


def test_a_job_tells_what_it_has_cost_with_all_that_it_started(tmp_path: Path, load: Any) -> None:
    batch, measuring = load("batch"), load("measuring")
    reports = tmp_path / "re ports"
    program = batch.measured_python(reports)
    subprocess.run([program, "-c", ORPHAN], check=True)
    (reading,) = batch.job_readings(reports)
    assert reading.ok
    assert reading.cpu >= 0.6
    (reports / "other.begun").touch()
    batch.LATE_SECONDS = 0.0
    with pytest.raises(measuring.MeasuringError, match=r"other\.json is missing"):
        batch.job_readings(reports)


def test_commands_of_the_site_are_counted(tmp_path: Path, load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name in ("sbatch", "squeue"):
        (site / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (site / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{site}{os.pathsep}{os.environ['PATH']}")
    environment = {**os.environ, **load("batch").counting(tmp_path / "counts")}
    for words in (["sbatch", "a b"], ["squeue"], ["squeue"]):
        said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
        assert said.strip() == " ".join(words)
    assert (tmp_path / "counts").read_text().split() == ["sbatch", "squeue", "squeue"]


def test_the_sum_finds_the_prices_it_was_made_of(load: Any) -> None:
    saturation = load("saturation")
    price = saturation.Prices(task=4e-5, batch=3e-3, worker=4e-3, second=0.01, workers=8)

    def use(workers: int, seconds: float, tasks: int, batches: int) -> Any:
        start = 1.0 + 0.1 * workers
        contact = seconds * (price.second + workers * price.worker)
        return saturation.Use(start + tasks * price.task + batches * price.batch + contact, seconds, tasks, batches)

    waits = [(workers, use(workers, 2.0, workers, workers), use(workers, 22.0, workers, workers)) for workers in (2, 8)]
    few, many, naps = use(2, 2.0, 10_000, 20), use(2, 6.0, 100_000, 120), use(8, 20.0, 3200, 500)
    found = saturation.prices(few, many, naps, waits)
    for name in ("task", "batch", "worker", "second"):
        assert getattr(found, name) == pytest.approx(getattr(price, name)), name
    full = saturation.saturated(price, 1.0)
    assert full.whole == pytest.approx(1.0)
    # each part by hand: at so many workers a batch lasts a fiftieth of a second for each of them
    size = int(full.workers / 50)
    assert full.tasks == pytest.approx(full.workers)
    assert full.batches == pytest.approx(full.workers / size * (1 + saturation.reports(size, size) / 4))
    batches = ((1, 0.4), (1, 60.0), (9, 1.2), (9, 9.0), (99, 9.0))
    assert [saturation.reports(*batch) for batch in batches] == [0, 1, 2, 9, 17]
    assert [saturation.beats(workers) for workers in (8, 100, 1000)] == pytest.approx([2.1, 0.6, 1 / 6 + 0.1])
    assert full.parts[2] == pytest.approx(full.workers * 4e-3 * saturation.beats(full.workers) / 2.1)
    assert "us a task" in saturation.table(price, "here").note
    assert saturation.prices(few, few, waits[1][1], waits) is None


# --- the web pages ---------------------------------------------------------------------------------------------------


def test_made_records_are_many_and_the_same_for_a_seed(tmp_path: Path, load: Any) -> None:
    webdata = load("webdata")
    made = webdata.make(tmp_path / "a", 1000, seed=1)
    again = webdata.make(tmp_path / "b", 1000, seed=1)
    assert again[2:] == made[2:]
    query = "SELECT id, instance, status, current, digest, place, parents, begun, ended, host, error FROM task"
    with sqlite3.connect(made.sqlfile) as one, sqlite3.connect(again.sqlfile) as other:
        rows = one.execute(query).fetchall()
        assert rows == other.execute(query).fetchall()
        counted = {(at, status): n for at, status, n in one.execute("SELECT * FROM tally")}
        half = one.execute("SELECT id FROM instance WHERE key = ?", (made.dominant,)).fetchone()[0]
    assert len(rows) == 1000
    assert sum(row[1] == half for row in rows) == 500
    tally: dict[tuple[int, int], int] = {}
    for _, instance, status, current, *_ in rows:
        if current == 1:
            tally[instance, status] = tally.get((instance, status), 0) + 1
    assert tally == counted
    with pytest.raises(ValueError, match="600 or more"):
        webdata.make(tmp_path / "c", 10)


def test_pages_are_measured_alone_and_beside_a_run(tmp_path: Path) -> None:
    options = ["--pages", "home;index", "--requests", 4, "--repeats", 1, "--run", 5, "--results", tmp_path / "results"]
    run("web.py", 600, "--keep", tmp_path, *options)
    content = results(tmp_path / "results", "web")["content"]
    (pages,) = content["pages"]
    assert pages["tasks"] == 600
    assert set(pages["reached"]["home"]) == {"1", "20", "1, run", "20, run"}
    assert all(way["number"] == 4 and way["bytes"] > 500 for way in pages["reached"]["home"].values())
    assert set(content["runs"]) == {"waits", "computes"}
    assert "there is no 'hom'" in run("web.py", "--pages", "hom", status=2)
