"""Runs on real batch systems, as a user starts them."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batchsystems import BatchSystem, joined_jobs, log_of, worker_pids
from support import ENVIRONMENT, Project, until

from pipelet.errors import LauncherError, PrefixLocked
from pipelet.launchers import job_script, launch_batch, launch_pbs, launch_sge, launch_slurm
from pipelet.utils import rebuild_db_from_disk

LAUNCHERS = {"slurm": launch_slurm, "pbs": launch_pbs, "sge": launch_sge}


def test_a_launcher_runs_a_pipeline_in_jobs(batch: BatchSystem, project: Project) -> None:
    project.write(
        a="""\
        import os
        print("from task", get_input())
        if get_input() == 7:
            raise ValueError("seven")
        if get_input() == 8:
            os.kill(os.getpid(), 11)
        set_output([(get_input() * 2, os.environ.get("GREETING"), os.environ.get("MODULE"))])
        """,
        b="set_output(get_input()[0] + 1)\nopen(get_data_fn('product.txt'), 'w').write('kept')",
    )
    pipeline = project.pipeline("a -> b", {"a": range(40)})
    w, t = LAUNCHERS[batch.name](
        pipeline, 2, job_name="knights", job_header="export MODULE='loaded here'", cpu_time="00:10:00", log_level=0,
        environment={"GREETING": "it's me; $HOME"},
    )
    summary = w.run()
    assert (summary.done, summary.failed) == (76, 2)
    assert t.finished
    wanted = [number for number in range(40) if number not in (7, 8)]
    assert pipeline.outputs("a") == [(2 * number, "it's me; $HOME", "loaded here") for number in wanted]
    assert pipeline.outputs("b") == [2 * number + 1 for number in wanted]
    errors = sorted(failure.error for failure in summary.failures)
    assert errors[0] == "ValueError: seven"
    assert "SIGSEGV" in errors[1]
    jobs = joined_jobs(project.prefix)
    assert 1 <= len(set(jobs)) <= 2
    records = [task for segment in "ab" for task in pipeline.tasks(segment)]
    assert {(task.host, task.job in jobs) for task in records} == {(socket.gethostname(), True)}
    assert {worker.job for worker in t.workers} <= set(jobs)
    assert sum(worker.ended for worker in t.workers) == len(records)
    on_record = [(task.id, task.host, task.job) for task in records]
    rebuild_db_from_disk(project.prefix, project.root / "rebuilt")
    again = project.pipeline("a -> b", {"a": range(40)}, sqlfile=project.root / "rebuilt")
    assert [(task.id, task.host, task.job) for segment in "ab" for task in again.tasks(segment)] == on_record
    until(lambda: not batch.jobs() & set(jobs), "the end of the jobs", 30)
    assert worker_pids(project.prefix) == {}
    # And again without those that failed: nothing is to be done, and nothing is submitted for it.
    project_log = len(log_of(project.prefix))
    w, _ = LAUNCHERS[batch.name](project.pipeline("a -> b", {"a": wanted}), 0, log_level=0)
    assert (w.run().done, log_of(project.prefix)[project_log:].count("submitted job")) == (0, 0)


def test_job_logs_are_in_the_prefix(batch: BatchSystem, project: Project) -> None:
    project.write(a="set_output(1)")
    w, _ = LAUNCHERS[batch.name](project.pipeline("a"), 1, log_level=0, job_header="echo the header was here")
    assert w.run().done == 1
    (log,) = (project.prefix / ".pipelet" / "log" / "jobs").glob("*.out")
    until(lambda: "joined the server" in log.read_text(), "the job's own log", 20)
    assert "the header was here" in log.read_text()
    assert re.search(r"submitted jobs?: \d+", log_of(project.prefix))


def test_a_job_script_is_what_would_be_submitted(batch: BatchSystem, project: Project) -> None:
    project.write(a="")
    options: dict[str, Any] = {"cores": 2, "memory": "300 MB", "walltime": "01:30:00", "job_header": "module load x"}
    script = job_script(project.pipeline("a"), "torque" if batch.name == "pbs" else batch.name, **options)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
    lines = script.splitlines()
    mark = {"slurm": "#SBATCH", "pbs": "#PBS", "sge": "#$"}[batch.name]
    directives = [place for place, line in enumerate(lines) if line.startswith(mark)]
    assert directives
    assert lines.index("module load x") > directives[-1]
    assert "01:30:00" in "".join(lines[place] for place in directives)
    assert lines[-1].startswith("exec ")
    assert not project.prefix.exists()


def test_a_refused_submission_shows_what_the_system_said(batch: BatchSystem, project: Project) -> None:
    project.write(a="")
    words = {"slurm": "invalid partition", "pbs": "sbatch", "sge": "nowhere"}[batch.name]
    with pytest.raises(LauncherError, match=rf"(?is)refused a job.*{words}"):
        LAUNCHERS[batch.name](project.pipeline("a"), 2, queue="nowhere", log_level=0)
    assert not (project.prefix / ".pipelet" / "server" / "server.json").exists()
    assert not (project.prefix / ".pipelet" / "lock").exists()


def main_script(project: Project, batch: BatchSystem, dot: str, push: str) -> None:
    """The template's ``main.py``, for a pipeline and a batch system."""
    text = (Path(ENVIRONMENT["PYTHONPATH"]) / "pipelet" / "static" / "main.py").read_text()
    text = re.sub(r'pipedot = """.*?"""', f'pipedot = """{dot}"""', text, flags=re.DOTALL)
    text = re.sub(r"P\.push\(.*\)", f"P.push({push})", text)
    text = text.replace('"system": None', f'"system": {batch.name!r}').replace("50000", "0")
    text = text.replace("PREFIX = HERE", "PREFIX = HERE + '/prefix'")
    (project.root / "main.py").write_text(text)


def test_a_server_and_workers_that_are_added(batch: BatchSystem, project: Project) -> None:
    """The tutorial's way: ``main.py -b`` here, ``main.py -a N`` there, and more of them later."""
    project.write(a="import time\ntime.sleep(0.2)\nset_output(get_input())", b="set_output(get_input())")
    main_script(project, batch, "a -> b", "a=range(60)")
    environment = {**ENVIRONMENT, **batch.environment}

    alone = project.ran("main.py", "-a", "2", env=environment)
    assert alone.returncode == 1
    assert alone.stderr.splitlines() == [
        f"main.py: error: no batch server runs for the prefix {project.prefix}: start one, ./main.py -b"
    ]

    told = project.root / "told"
    with open(told, "w") as stream:
        server = project.start("main.py", "-b", env=environment, stderr=stream)
    until(lambda: "the server listens at tls://" in told.read_text(), "the server", 60)
    place = project.prefix / ".pipelet" / "server"
    assert stat.S_IMODE(os.stat(place).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(place / "server.json").st_mode) == 0o600
    assert batch.jobs() & set(joined_jobs(project.prefix)) == set()

    second = project.ran("main.py", "-b", env=environment)
    assert second.returncode == 1
    assert f"pid {json.loads((place / 'server.json').read_text())['pid']}," in second.stderr

    added = project.ran("main.py", "-a", "1", env=environment)
    assert (added.returncode, added.stderr) == (0, "")
    assert added.stdout.startswith("submitted 1 jobs for the server at tls://")
    until(lambda: len(joined_jobs(project.prefix)) == 1, "the first worker", 60)
    assert project.ran("main.py", "-a", "2", env=environment).returncode == 0

    out, _ = server.communicate(timeout=120)
    assert server.returncode == 0, told.read_text()
    assert "120 tasks done" in out
    jobs = set(joined_jobs(project.prefix))
    assert len(jobs) == 3
    until(lambda: not batch.jobs() & jobs, "the end of the jobs", 30)
    assert not (place / "server.json").exists()


def test_a_run_that_is_stopped_cancels_jobs_that_have_not_begun(slurm: BatchSystem, project: Project) -> None:
    project.write(a="import time\ntime.sleep(600)")
    w, _ = launch_batch(
        project.pipeline("a", {"a": range(3)}), 2, "slurm", log_level=0, submit_options=["--hold"], walltime="00:10:00"
    )
    jobs = until(lambda: re.findall(r"submitted jobs: (\d+), (\d+)", log_of(project.prefix)), "submission")[0]
    assert set(jobs) <= slurm.jobs()
    w.stop()
    until(lambda: not set(jobs) & slurm.jobs(), "the end of the jobs", 30)


def test_a_second_server_is_told_who_holds_the_prefix(slurm: BatchSystem, project: Project) -> None:
    project.write(a="")
    w, _ = launch_batch(project.pipeline("a"), 0, log_level=0)
    try:
        with pytest.raises(PrefixLocked, match=r"is held by host \S+, pid \d+, since "):
            launch_batch(project.pipeline("a"), 0, log_level=0)
    finally:
        w.stop()


def test_the_environment_of_a_job_needs_no_variable_of_the_shell(slurm: BatchSystem, project: Project) -> None:
    """PBS and Grid Engine begin jobs without the variables of the shell that submits them."""
    project.write(a="import os\nset_output(os.environ.get('FROM_THE_SHELL'))")
    os.environ["FROM_THE_SHELL"] = "yes"
    try:
        w, _ = launch_slurm(project.pipeline("a"), 1, log_level=0, submit_options=["--export=NONE"])
        assert w.run().done == 1
    finally:
        del os.environ["FROM_THE_SHELL"]
    assert project.pipeline("a").outputs("a") == [None]
    assert sys.executable
