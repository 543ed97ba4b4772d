"""A server by itself and its workers on a real Grid Engine, with the command and the keywords of Pipelet 1."""

from __future__ import annotations

import os
import pickle
import re
import signal
from pathlib import Path

import pytest
from batchsystems import BatchSystem, joined_jobs, log_of
from support import ENVIRONMENT, Project, alive, until

from pipelet.errors import LauncherError
from pipelet.launchers import launch_ccage_worker_2

TASK = """\
import os, time
time.sleep(0.1)
set_output([(get_input(), os.environ["JOB_ID"], get_tmp_fn(), os.environ["QUEUE"], os.environ["NSLOTS"])])
"""


def start(project: Project) -> int:
    """Start a server of a pickled pipeline; give its process."""
    project.write(a=TASK)
    with open(project.root / "pipe.pkl", "wb") as file:
        pickle.dump(project.pipeline("a", {"a": range(40)}), file)
    (project.root / "pipe.pkl").chmod(0o644)
    # In the environment of the batch system, since the server submits jobs as well: in place of those that have ended.
    environment = {**os.environ, "PYTHONPATH": ENVIRONMENT["PYTHONPATH"]}
    done = project.ran("-m", "pipelet.cli.pipeletd", "-l", "info", "pipe.pkl", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return int(re.findall(r"\(process (\d+)\)", done.stdout)[0])


def test_workers_with_the_keywords_of_pipelet_1(sge: BatchSystem, project: Project, tmp_path: Path) -> None:
    directories = {name: tmp_path / name for name in ("scratch", "jobs", "logs")}
    directories["scratch"].mkdir()
    pid = start(project)
    try:
        pipeline = pickle.loads((project.root / "pipe.pkl").read_bytes())
        w, t = launch_ccage_worker_2(
            pipeline, 2, address=("somewhere", 50000), job_name="knights", queue="all.q", cpu_time="00:10:00",
            vmem="8G", scratch=str(directories["scratch"]), multicores=2, log_level=0, ntasks_per_worker=12,
            job_dir=str(directories["jobs"]), log_dir=str(directories["logs"]),
        )
        assert t.finished
        assert w.run() is w
        first = set(w.jobs)
        assert len(first) == 2
        assert str(w).startswith("submitted 2 jobs for the server at tls://")
        until(lambda: not alive([pid]), "the end of the run", 200)
    finally:
        if alive([pid]):
            os.kill(pid, signal.SIGTERM)
            until(lambda: not alive([pid]), "the end of the server", 60)
    outputs = project.pipeline("a").outputs("a")
    assert [output[0] for output in outputs] == list(range(40))
    assert {output[2].startswith(f"{directories['scratch']}/") for output in outputs} == {True}
    assert {output[3:] for output in outputs} == {("all.q", "2")}
    # Each worker ended after some tasks, and others came in their place.
    by_job = [output[1] for output in outputs]
    assert max(map(by_job.count, by_job)) <= 12
    assert len(set(by_job)) >= 4
    assert set(by_job) <= set(joined_jobs(project.prefix))
    assert first <= set(joined_jobs(project.prefix))
    scripts = sorted(directories["jobs"].glob("knights-*.sh"))
    assert len(scripts) >= 4
    text = scripts[0].read_text()
    for line in ("-N knights", "-q all.q", "-l h_vmem=8G", "-l h_rt=00:10:00", "-pe smp 2"):
        assert f"#$ {line}\n" in text
    logs = sorted(directories["logs"].glob("knights-*.out"))
    assert any("joined the server" in log.read_text() for log in logs)
    # In the prefix there is only what the web pages need to find them.
    notes = list((project.prefix / ".pipelet" / "log").glob("jobs/*"))
    assert {note.suffix for note in notes} == {".json"}
    assert "it has run as many tasks as it should" in log_of(project.prefix)
    assert "40 tasks done" in (project.prefix / ".pipelet" / "log" / "pipeletd.out").read_text()


def test_workers_that_grid_engine_refuses(sge: BatchSystem, project: Project) -> None:
    pid = start(project)
    try:
        pipeline = pickle.loads((project.root / "pipe.pkl").read_bytes())
        with pytest.raises(LauncherError, match=r"(?s)qsub refused a job, exit status \d+: .*project.*nowhere"):
            launch_ccage_worker_2(pipeline, 2, project="nowhere", log_level=0)
        with pytest.raises(LauncherError, match=r"(?s)qsub refused a job, exit status \d+: .*memory|.*h_vmem"):
            launch_ccage_worker_2(pipeline, 2, vmem="4G", resource_spec="h_vmem=many", log_level=0)
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not alive([pid]), "the end of the server", 60)
    assert not (project.prefix / ".pipelet" / "server" / "server.json").exists()
    with pytest.raises(LauncherError, match=r"no batch server runs for the prefix .*: start one, ./main.py -b"):
        launch_ccage_worker_2(pipeline, 1, log_level=0)
