"""What goes wrong on clusters, done on purpose to real jobs of real batch systems."""

from __future__ import annotations

import collections
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from batchsystems import BatchSystem, joined_jobs, kill, log_of, worker_pids
from support import ENVIRONMENT, Project, alive, until

from pipelet.errors import LauncherError
from pipelet.executors.cluster.serverfile import Timings
from pipelet.launchers import launch_batch
from pipelet.pipeline import Pipeline
from pipelet.summary import Summary

#: Nobody waits for long here.
QUICK = Timings(lease=6, silence=9, rejoin=60, status=1, start=2)

#: Notes each beginning, and takes a while.
NOTING = """\
import os, time
with open({notes!r}, "a") as file:
    file.write(f"{{get_input()}} {{os.environ.get('SLURM_JOB_ID') or os.environ.get('JOB_ID')}} {{os.getpid()}}\\n")
time.sleep({seconds})
while get_input() >= {kept} and not os.path.exists({gate!r}):
    time.sleep(0.05)
set_output(get_input())
"""


def noting(project: Project, seconds: float, kept: float = 1e9) -> Path:
    """A segment whose tasks note that they begin, and sleep; from the input `kept` on they wait for `open_gate`."""
    notes = project.root / "begun"
    gate = str(project.root / "gate")
    project.write(a=NOTING.format(notes=str(notes), seconds=seconds, kept=kept, gate=gate))
    return notes


def open_gate(project: Project) -> None:
    """Let the tasks go on that `noting` keeps."""
    (project.root / "gate").touch()


class Running:
    """A run that goes on in a thread."""

    def __init__(self, pipeline: Pipeline, jobs: int, system: str, **options: Any) -> None:
        name = "torque" if system == "pbs" else system
        options = {"walltime": "00:10:00", "timings": QUICK, "log_level": 0, **options}
        self.run, self.tracker = launch_batch(pipeline, jobs, name, **options)
        self.summary = Summary()
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        try:
            summary = self.run.run()
            assert isinstance(summary, Summary)
            self.summary = summary
        except BaseException as error:  # told by `end`
            self.error = error

    def end(self) -> Summary:
        """Wait for the end."""
        self._thread.join(200)
        assert not self._thread.is_alive(), "the run does not end"
        if self.error is not None:
            raise self.error
        return self.summary


@contextmanager
def running(pipeline: Pipeline, jobs: int, system: str, **options: Any) -> Iterator[Running]:
    """A run that is stopped when its test has failed."""
    run = Running(pipeline, jobs, system, **options)
    try:
        yield run
    except BaseException:
        run.run.stop()
        raise


def begun(notes: Path) -> list[list[str]]:
    """What was noted: input, job and process."""
    return [line.split() for line in notes.read_text().splitlines()] if notes.exists() else []


def recorded_once(pipeline: Pipeline, segment: str, inputs: list[int]) -> None:
    """Each input has one result, and that is a good one."""
    tasks = pipeline.tasks(segment)
    assert collections.Counter(next(iter(task.input.values())) for task in tasks) == collections.Counter(inputs)
    assert {task.status for task in tasks} == {"done"}
    assert pipeline.outputs(segment) == inputs


def test_a_worker_that_is_killed_costs_one_repetition(slurm: BatchSystem, project: Project) -> None:
    notes = noting(project, 0.5, kept=30)
    pipeline = project.pipeline("a", {"a": range(60)})
    with running(pipeline, 2, "slurm") as run:
        until(lambda: len(begun(notes)) > 8 and len(joined_jobs(project.prefix)) == 2, "both workers")
        kill([next(iter(worker_pids(project.prefix).values()))])
        until(lambda: len(set(joined_jobs(project.prefix))) == 3, "the job in place of it")
        open_gate(project)
        assert run.end().done == 60
    recorded_once(pipeline, "a", list(range(60)))
    assert len(begun(notes)) <= 60 + 4  # what the lost worker ran, and what it had but not told
    assert re.search(r"WARNING .* was lost: it is gone without a word; its log .* ends with", log_of(project.prefix))
    assert "in place of one that has ended" in log_of(project.prefix)
    assert len(set(joined_jobs(project.prefix))) == 3


def test_a_host_that_is_lost_with_all_its_jobs(slurm: BatchSystem, project: Project) -> None:
    notes = noting(project, 0.6, kept=30)
    pipeline = project.pipeline("a", {"a": range(60)})
    with running(pipeline, 3, "slurm") as run:
        until(lambda: len(begun(notes)) > 8 and len(joined_jobs(project.prefix)) == 3, "all workers")
        kill(list(worker_pids(project.prefix).values()))
        open_gate(project)
        assert run.end().done == 60
    recorded_once(pipeline, "a", list(range(60)))
    assert len(begun(notes)) <= 60 + 9


def test_a_job_that_the_site_cancels_is_replaced(batch: BatchSystem, project: Project) -> None:
    notes = noting(project, 0.3, kept=30)
    pipeline = project.pipeline("a", {"a": range(60)})
    with running(pipeline, 2, batch.name) as run:
        until(lambda: len(begun(notes)) > 6 and len(joined_jobs(project.prefix)) == 2, "both workers")
        batch.cancel(joined_jobs(project.prefix)[0])
        until(lambda: len(set(joined_jobs(project.prefix))) == 3, "the job in place of it")
        open_gate(project)
        assert run.end().done == 60
    recorded_once(pipeline, "a", list(range(60)))
    assert len(set(joined_jobs(project.prefix))) == 3


def test_a_task_longer_than_any_job_fails_with_the_reason(sge: BatchSystem, project: Project) -> None:
    """Jobs reach their walltime in the middle of the task; its neighbours are done all the same."""
    noting(project, "600 if get_input() == 3 else 0.1")  # type: ignore[arg-type]
    pipeline = project.pipeline("a", {"a": range(8)})
    with running(pipeline, 1, "sge", walltime="00:00:20") as run:
        summary = run.end()
    assert (summary.done, summary.failed) == (7, 1)
    error = summary.failures[0].traceback
    assert "was lost 3 times, so it is not tried again" in error
    jobs = joined_jobs(project.prefix)
    assert all(f"job {job} on " in error for job in jobs[:3])


def test_a_task_that_kills_its_worker_three_times_has_failed(slurm: BatchSystem, project: Project) -> None:
    project.write(
        a="""\
        import os, signal
        if get_input() == 5:
            os.kill(os.getppid(), signal.SIGKILL)
        set_output(get_input())
        """
    )
    pipeline = project.pipeline("a", {"a": range(40)})
    with running(pipeline, 2, "slurm") as run:
        summary = run.end()
    assert (summary.done, summary.failed) == (39, 1)
    failure = summary.failures[0]
    assert failure.input == "5"
    assert len(re.findall(r"\d\. job \d+ on \S+ was lost", failure.traceback)) == 3


def test_a_job_that_never_begins_is_told_and_cancelled(slurm: BatchSystem, project: Project) -> None:
    noting(project, 0.2)
    pipeline = project.pipeline("a", {"a": range(40)})
    with running(pipeline, 1, "slurm", submit_options=["--hold"]) as run:
        until(lambda: "is held by the batch system" in log_of(project.prefix), "the word on the held job", 60)
        (job,) = re.findall(r"submitted jobs: (\d+)", log_of(project.prefix))
        until(lambda: run.tracker.fleet == "no worker, 1 jobs not begun", "the word on the job", 20)
        environment = {**ENVIRONMENT, **slurm.environment}
        add = "from pipelet.launchers import launch_slurm; from pipelet.pipeline import Pipeline; import sys; "
        add += "print(launch_slurm(Pipeline('a', code_dir='.', prefix='prefix'), 1, server=False)[0])"
        assert project.ran("-c", add, env=environment).returncode == 0
        assert run.end().done == 40
    until(lambda: job not in slurm.jobs(), "the end of the held job", 30)


def test_jobs_that_end_before_they_join_end_the_run_with_their_log(batch: BatchSystem, project: Project) -> None:
    project.write(a="")
    header = "echo this site is not what it was; exit 3"
    with pytest.raises(LauncherError, match=r"(?s)no job is left .* has ended before .*this site is not what it was"):
        Running(project.pipeline("a"), 1, batch.name, job_header=header).end()
    assert log_of(project.prefix).count("in place of one that has ended") == 3
    assert "3 jobs before it were lost as well" in log_of(project.prefix)


def test_workers_join_a_server_that_takes_the_place_of_a_killed_one(slurm: BatchSystem, project: Project) -> None:
    notes = noting(project, 0.5, kept=30)
    (project.root / "serve.py").write_text(
        "import sys\n"
        "from pipelet.executors.cluster.serverfile import Timings\n"
        "from pipelet.launchers import launch_batch\n"
        "from pipelet.pipeline import Pipeline\n"
        "P = Pipeline('a', code_dir='.', prefix='prefix')\n"
        "P.push(a=range(60))\n"
        f"w, t = launch_batch(P, int(sys.argv[1]), 'slurm', log_level=0, timings={QUICK!r})\n"
        "print(w.run())\n"
    )
    environment = {**ENVIRONMENT, **slurm.environment}
    first = project.start("serve.py", "2", env=environment)
    until(lambda: len(begun(notes)) > 10 and len(set(joined_jobs(project.prefix))) == 2, "both workers")
    (server,) = re.findall(r'"pid": (\d+)', (project.prefix / ".pipelet" / "server" / "server.json").read_text())
    ran = {int(pid) for _, _, pid in begun(notes)}
    os.kill(int(server), signal.SIGKILL)
    first.communicate(timeout=60)
    assert first.returncode != 0
    until(lambda: not alive(ran), "the end of what the workers ran", 30)
    before = len(begun(notes))
    assert len(worker_pids(project.prefix)) == 2
    open_gate(project)
    second = project.start("serve.py", "0", env=environment)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert re.search(r"\d+ tasks done, \d+ taken from disk, 0 failed", out)
    pipeline = project.pipeline("a", {"a": range(60)})
    recorded_once(pipeline, "a", list(range(60)))
    jobs = {job for _, job, _ in begun(notes)}
    assert len(jobs) == 2, "the same two jobs did it all"
    assert len(begun(notes)) - before <= 60 - before + 4
    assert not (project.prefix / ".pipelet" / "server" / "server.json").exists()


def test_workers_without_a_server_end_by_themselves(slurm: BatchSystem, project: Project) -> None:
    notes = noting(project, 60)
    quick = Timings(lease=6, silence=9, rejoin=3, status=1, start=2)
    (project.root / "serve.py").write_text(
        "from pipelet.executors.cluster.serverfile import Timings\n"
        "from pipelet.launchers import launch_batch\n"
        "from pipelet.pipeline import Pipeline\n"
        "P = Pipeline('a', code_dir='.', prefix='prefix')\n"
        f"w, t = launch_batch(P, 1, 'slurm', log_level=0, timings={quick!r})\n"
        "w.run()\n"
    )
    process = project.start("serve.py", env={**ENVIRONMENT, **slurm.environment})
    until(lambda: len(begun(notes)) == 1, "the task")
    pids = [int(begun(notes)[0][2]), *worker_pids(project.prefix).values()]
    (server,) = re.findall(r'"pid": (\d+)', (project.prefix / ".pipelet" / "server" / "server.json").read_text())
    os.kill(int(server), signal.SIGKILL)
    process.communicate(timeout=60)
    until(lambda: not alive(pids), "the end of the worker", 30)
    until(lambda: not slurm.jobs() & set(joined_jobs(project.prefix)), "the end of the job", 30)
    # For the fixture that looks after jobs: nobody was there who could have done it.
    for record in (project.prefix / ".pipelet" / "server" / "jobs").glob("*.json"):
        record.unlink()


def test_a_worker_that_has_run_its_tasks_ends_and_is_replaced(slurm: BatchSystem, project: Project) -> None:
    noting(project, 0.05)
    pipeline = project.pipeline("a", {"a": range(30)})
    with running(pipeline, 1, "slurm", tasks_per_worker=10) as run:
        assert run.end().done == 30
    recorded_once(pipeline, "a", list(range(30)))
    assert len(joined_jobs(project.prefix)) == 3
    assert "it has run as many tasks as it should" in log_of(project.prefix)


def test_a_worker_with_nothing_to_do_ends(slurm: BatchSystem, project: Project) -> None:
    noting(project, "15 if get_input() == 0 else 0.1")  # type: ignore[arg-type]
    pipeline = project.pipeline("a", {"a": range(6)})
    with running(pipeline, 2, "slurm", idle_seconds=2) as run:
        assert run.end().done == 6
    assert "there was nothing to do for 2 s" in log_of(project.prefix)
    assert "in place of one" not in log_of(project.prefix)


def test_no_task_begins_that_does_not_fit_before_the_walltime(sge: BatchSystem, project: Project) -> None:
    notes = noting(project, 4)
    pipeline = project.pipeline("a", {"a": range(6)})
    with running(pipeline, 1, "sge", walltime="00:00:24") as run:
        summary = run.end()
    assert (summary.done, summary.failed) == (6, 0)
    assert len(begun(notes)) == 6, "no task was cut"
    assert re.search(r"does not fit before its walltime|its walltime is near", log_of(project.prefix))
    assert len(joined_jobs(project.prefix)) >= 2


def test_the_batch_system_is_asked_seldom_and_for_all_jobs_at_once(slurm: BatchSystem, project: Project) -> None:
    noting(project, 0.01)
    tools = project.root / "tools"
    tools.mkdir()
    for name in ("sbatch", "squeue", "scancel", "sinfo", "scontrol"):
        (tools / name).write_text(f"#!/bin/sh\necho {name} >> {project.root}/asked\nexec /usr/bin/{name} \"$@\"\n")
        (tools / name).chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{tools}:{path}"
    try:
        pipeline = project.pipeline("a", {"a": range(3000)})
        with running(pipeline, 4, "slurm", timings=Timings()) as run:
            assert run.end().done == 3000
    finally:
        os.environ["PATH"] = path
    asked = collections.Counter(project.lines("asked"))
    assert asked["sbatch"] == 4
    assert asked["squeue"] <= 1
    assert set(asked) <= {"sbatch", "squeue", "scancel"}


def test_a_file_system_that_shows_files_late(project: Project) -> None:
    """Tasks wait for the directories of their parents, and see all that is in them."""
    project.write(
        a="for part in 'xyz':\n    open(get_data_fn(part), 'w').write(part * get_input())\nset_output(get_input())",
        b="""\
        set_output(sum(len(open(get_data_fn(part, 'a')).read()) for part in 'xyz'))
        open(get_data_fn("seen"), "w").close()
        """,
        c="""\
        #multiplex cross_prod group_by 'all'
        set_output((len(glob_parent("seen")), len(glob_seg("a", "*"))))
        """,
    )
    late = Path(__file__).parent / "late"
    pipeline = project.pipeline("a -> b -> c", {"a": range(1, 7)})
    path = os.pathsep.join([str(late), ENVIRONMENT["PYTHONPATH"]])
    environment = {"PYTHONPATH": path, "LATE_ROOT": str(project.prefix), "LATE_SECONDS": "2"}
    with running(pipeline, 2, "local", environment=environment) as run:
        summary = run.end()
    assert [failure.traceback for failure in summary.failures] == []
    assert sorted(pipeline.outputs("b")) == [3 * number for number in range(1, 7)]
    assert pipeline.outputs("c") == [(6, 18)]
