"""Runs whose workers belong to somebody's pool: threads, processes, a Dask cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import distributed
import pytest
from support import Project, alive, until, values

from pipelet.errors import LauncherError
from pipelet.launchers import launch_dask, launch_executor


def pools() -> dict[str, Executor]:
    return {
        "threads": ThreadPoolExecutor(2),
        "processes": ProcessPoolExecutor(2, multiprocessing.get_context("spawn")),
    }


@pytest.fixture(params=["threads", "processes"])
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    executor = pools()[request.param]
    yield executor
    executor.shutdown()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1",
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as made:
        yield made


def run(project: Project, pool: Any, dot: str = "a -> b", log_level: int = 0, **push: Any) -> Any:
    pipeline = project.pipeline(dot, push or {"a": range(30)})
    w, _ = launch_executor(pipeline, pool, log_level=log_level)
    return pipeline, w.run()


def test_a_pool_runs_a_pipeline(project: Project, pool: Executor) -> None:
    project.write(a="set_output([get_input() * 2])", b="set_output(get_input() + 1)")
    pipeline, summary = run(project, pool)
    assert (summary.done, summary.reused, summary.failed) == (60, 0, 0)
    assert pipeline.outputs("b") == [2 * number + 1 for number in range(30)]
    _, again = run(project, pool)
    assert (again.done, again.reused) == (0, 60)
    assert os.listdir(project.prefix / ".pipelet" / "shared") == []


def test_a_task_that_ends_its_process_is_the_only_one_that_fails(project: Project, pool: Executor) -> None:
    project.write(a="import os\nif get_input() == 5:\n    os.kill(os.getpid(), 11)\nset_output(get_input())")
    pipeline, summary = run(project, pool, "a")
    assert (summary.done, summary.failed) == (29, 1)
    (failed,) = pipeline.tasks("a", status="failed")
    assert failed.input == {"aphantom": 5}
    assert "SIGSEGV" in failed.error


def test_what_a_task_prints_and_where_it_is_are_those_of_a_worker(project: Project, pool: Executor) -> None:
    project.write(
        a="""\
        import os, sys
        print("printed by", get_input())
        sys.path.append("/nowhere")
        set_output(os.getpid())
        """
    )
    pipeline, summary = run(project, pool, "a", a=[1])
    assert summary.done == 1
    assert pipeline.outputs("a") != [os.getpid()]
    (log,) = project.prefix.glob("a_*/log/*")
    assert log.read_text() == "printed by 1\n"


def test_temporary_files_are_on_the_workers_host_and_go(project: Project, pool: Executor) -> None:
    project.write(a="name = get_tmp_fn()\nopen(name, 'w').close()\nset_output(name)")
    pipeline, summary = run(project, pool, "a", a=[1, 2])
    assert summary.done == 2
    assert not any(os.path.exists(name) for name in pipeline.outputs("a"))


def test_limits_hold_in_a_pool(project: Project, pool: Executor) -> None:
    project.write(a="import time\ntime.sleep(get_input())")
    pipeline = project.pipeline("a", {"a": [0, 60]}, timeout=1)
    w, _ = launch_executor(pipeline, pool, log_level=0)
    summary = w.run()
    assert (summary.done, summary.failed) == (1, 1)
    assert "TaskTimeout" in summary.failures[0].error


def test_a_pool_without_submit_is_refused(project: Project) -> None:
    project.write(a="")
    with pytest.raises(LauncherError, match=r"a dict has no submit"):
        launch_executor(project.pipeline("a"), {})  # type: ignore[arg-type]
    with pytest.raises(LauncherError, match=r"N=0"):
        launch_executor(project.pipeline("a"), ThreadPoolExecutor(1), N=0)


def test_a_pool_that_is_shut_down_ends_the_run_in_words(project: Project) -> None:
    project.write(a="")
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(LauncherError, match=r"takes no more tasks"):
        run(project, pool, "a")


class Losing(Executor):
    """A pool whose worker is lost with the batches that hold some task."""

    def __init__(self) -> None:
        self._inner = ThreadPoolExecutor(1)

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(RuntimeError("the worker was lost"))
        return future


def test_what_a_pool_raises_ends_the_run_in_words(project: Project) -> None:
    project.write(a="")
    with pytest.raises(LauncherError, match=r"could not run a batch: RuntimeError: the worker was lost"):
        run(project, Losing(), "a")


def test_no_process_stays_when_a_pool_has_ended(project: Project) -> None:
    project.write(a="import os\nset_output(os.getpid())")
    with ThreadPoolExecutor(2) as pool:
        pipeline, _ = run(project, pool, "a")
        pids = set(pipeline.outputs("a"))
    assert until(lambda: not alive(pids), "the workers' end", 20)


# --- Dask --------------------------------------------------------------------------------------------------------


def test_a_dask_cluster_runs_a_pipeline(project: Project, cluster: Any) -> None:
    project.write(a="set_output([get_input() * 2])", b="set_output(get_input() + 1)")
    pipeline = project.pipeline("a -> b", {"a": range(200)})
    w, _ = launch_dask(pipeline, cluster, log_level=0)
    summary = w.run()
    assert (summary.done, summary.failed) == (400, 0)
    assert pipeline.outputs("b") == [2 * number + 1 for number in range(200)]


def test_a_client_of_the_users_stays_open(project: Project, cluster: Any) -> None:
    project.write(a="set_output(get_input())")
    with distributed.Client(cluster, set_as_default=False) as client:
        w, _ = launch_dask(project.pipeline("a", {"a": [1, 2]}), client, log_level=0)
        assert w.run().done == 2
        assert client.status == "running"
        assert client.submit(sum, [1, 2]).result() == 3


def test_an_address_does_as_well(project: Project, cluster: Any) -> None:
    project.write(a="set_output(get_input())")
    w, _ = launch_dask(project.pipeline("a", {"a": [1, 2]}), cluster.scheduler_address, log_level=0)
    assert w.run().done == 2


def test_no_scheduler_there_is_told_in_words(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelet.executors.cluster.existing._CONNECT_SECONDS", "1s")
    project.write(a="")
    w, _ = launch_dask(project.pipeline("a"), "tcp://127.0.0.1:9", log_level=0)
    with pytest.raises(LauncherError, match=r"no Dask scheduler at 'tcp://127.0.0.1:9'"):
        w.run()


def test_large_outputs_do_not_travel_through_the_scheduler(project: Project, cluster: Any) -> None:
    project.write(a="set_output([bytes([get_input()]) * 3_000_000])", b="set_output(len(get_input()))")
    pipeline = project.pipeline("a -> b", {"a": [1, 2, 3]})
    w, _ = launch_dask(pipeline, cluster, log_level=0)
    assert w.run().done == 6
    assert pipeline.outputs("b") == [3_000_000] * 3


def test_long_batches_hand_over_what_they_have_done(project: Project, cluster: Any) -> None:
    """A result is on record while a neighbour in its batch still runs."""
    project.write(
        a="""\
        import os, time
        if get_input() == 39:
            while not os.path.exists("go"):
                time.sleep(0.01)
        set_output(get_input())
        """
    )
    # The file is looked for where the pool was started.
    script = (project.root / "a.py").read_text().replace('"go"', repr(str(project.root / "go")))
    (project.root / "a.py").write_text(script)
    pipeline = project.pipeline("a", {"a": range(40)})
    w, t = launch_dask(pipeline, cluster, log_level=0)
    thread = threading.Thread(target=w.run)
    thread.start()
    try:
        until(lambda: t.counts().get("a", {}).get("done") == 39, "39 results")
        assert not t.finished
    finally:
        (project.root / "go").touch()
        thread.join()
    assert pipeline.status()["a"]["done"] == 40


def test_a_lost_dask_worker_costs_no_result(project: Project, tmp_path: Path) -> None:
    project.write(
        a="""\
        import os, time
        with open(BESIDE + "/begun", "a") as file:
            file.write(f"{get_input()} {os.getppid()}\\n")
        time.sleep(0.05)
        set_output(get_input())
        """
    )
    (project.root / "a.py").write_text(f"BESIDE = {str(project.root)!r}\n" + (project.root / "a.py").read_text())
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1",
        local_directory=str(tmp_path),
    ) as made:
        pipeline = project.pipeline("a", {"a": range(60)})
        w, _ = launch_dask(pipeline, made, log_level=0)
        thread = threading.Thread(target=w.run)
        thread.start()
        until(lambda: len(project.lines("begun")) > 10)
        os.kill(int(project.lines("begun")[-1].split()[1]), signal.SIGKILL)
        thread.join()
    assert pipeline.outputs("a") == list(range(60))
    assert set(values(pipeline.tasks("a"), "status")) == {"done"}
