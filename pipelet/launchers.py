"""Starts runs: each launcher returns ``w, t``; ``w.run()`` gives the summary, ``t`` watches the run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from pipelet.background import BackgroundRun
from pipelet.batchlaunchers import (
    check_number,
    job_script,
    launch_batch,
    launch_ccage_worker_2,
    launch_pbs,
    launch_sge,
    launch_slurm,
)
from pipelet.errors import LauncherError
from pipelet.executors.cluster.plan import need_packages
from pipelet.executors.plan import LocalWorkers, Site
from pipelet.pipeline import Pipeline
from pipelet.progress import Tracker

if TYPE_CHECKING:
    from pipelet.executors.cluster.daskexecutor import DaskExecutor
    from pipelet.executors.far import FarExecutor
    from pipelet.runner import InteractiveRun

__all__ = [
    "job_script", "launch_batch", "launch_ccage_worker_2", "launch_dask", "launch_executor", "launch_interactive",
    "launch_pbs", "launch_process", "launch_sge", "launch_slurm",
]


def launch_interactive(P: Pipeline, log_level: int = logging.WARNING) -> tuple[InteractiveRun, Tracker]:
    """Run every task in this process, one after the other: the mode for debugging.

    Parameters
    ----------
    P
        The pipeline.
    log_level
        Messages from this level on are printed; 0 prints nothing. All go to the log files of the prefix.

    Returns
    -------
    w : InteractiveRun
        ``w.run()`` runs the pipeline. A failing task is put on record, then its exception is raised there.
    t : Tracker
        Watches the run.
    """
    # Here, since a script that runs in the background only watches, and starts sooner without the engine.
    from pipelet.runner import InteractiveRun

    tracker = Tracker()
    return InteractiveRun(P.snapshot, tracker, log_level), tracker


def launch_process(
    P: Pipeline,
    N: int | None = None,
    log_level: int = logging.WARNING,
    address: tuple[str, int] | None = None,
) -> tuple[BackgroundRun, Tracker]:
    """Run the tasks in processes of this machine. Work starts at once.

    Parameters
    ----------
    P
        The pipeline.
    N
        How many worker processes; one for each core if not given.
    log_level
        Messages from this level on are printed; 0 prints nothing. All go to the log files of the prefix.
    address
        Accepted for scripts that give it; no socket is opened.

    Returns
    -------
    w : BackgroundRun
        ``w.run()`` waits for the end and gives the summary. A script that does not call it still finishes its work
        before it exits.
    t : Tracker
        Watches the run.

    Raises
    ------
    PipelineError
        The code can't be read.
    PrefixLocked
        Another run holds the prefix.
    LauncherError
        ``N`` is no positive number.
    """
    workers = _cores() if N is None else N
    check_number("launch_process", workers)
    tracker = Tracker()
    return BackgroundRun(P.snapshot(), LocalWorkers(workers), tracker, log_level), tracker


def launch_executor(
    P: Pipeline, executor: Executor, N: int | None = None, log_level: int = logging.WARNING
) -> tuple[InteractiveRun, Tracker]:
    """Run the tasks in somebody's pool: any object with the interface of `concurrent.futures.Executor` (PEP 3148).

    Parameters
    ----------
    P
        The pipeline.
    executor
        The pool: processes, threads, MPI, Parsl, ... Its workers see the prefix and can import Pipelet. It is not shut
        down at the end.
    N
        How many workers it has; asked of the pool itself if not given, where that tells.
    log_level
        Messages from this level on are printed; 0 prints nothing. All go to the log files of the prefix.

    Returns
    -------
    w : InteractiveRun
        ``w.run()`` runs the pipeline: the run itself goes on in this process.
    t : Tracker
        Watches the run.

    Raises
    ------
    LauncherError
        It is no such pool, or ``N`` is no positive number.
    """
    if not callable(getattr(executor, "submit", None)):
        raise LauncherError(
            f"launch_executor: a {type(executor).__name__} has no submit(); give a pool as in concurrent.futures"
        )
    workers = getattr(executor, "_max_workers", None) or _cores() if N is None else N
    check_number("launch_executor", workers)

    def make(site: Site) -> FarExecutor:
        from pipelet.executors.pool import PoolExecutor

        return PoolExecutor(executor, workers, site.engine_dir, site.limits)

    return _run_here(P, log_level, make)


def launch_dask(
    P: Pipeline, client_or_address: Any, log_level: int = logging.WARNING
) -> tuple[InteractiveRun, Tracker]:
    """Run the tasks on a Dask cluster that exists.

    Parameters
    ----------
    P
        The pipeline.
    client_or_address
        A `distributed.Client`, a cluster object, or the address of a scheduler, such as ``"tcp://192.0.2.1:8786"``. The
        workers see the prefix and can import Pipelet.
    log_level
        Messages from this level on are printed; 0 prints nothing. All go to the log files of the prefix.

    Returns
    -------
    w : InteractiveRun
        ``w.run()`` runs the pipeline: the run itself goes on in this process.
    t : Tracker
        Watches the run.

    Raises
    ------
    LauncherError
        The package is missing, or there is no such scheduler.
    """
    need_packages()
    return _run_here(P, log_level, lambda site: _existing_cluster(client_or_address, site))


def _existing_cluster(client_or_address: Any, site: Site) -> DaskExecutor:
    from pipelet.executors.cluster.existing import ExistingCluster

    return ExistingCluster(client_or_address, site)


def _run_here(P: Pipeline, log_level: int, make: Callable[[Site], FarExecutor]) -> tuple[InteractiveRun, Tracker]:
    from pipelet.runner import InteractiveRun

    tracker = Tracker()
    return InteractiveRun(P.snapshot, tracker, log_level, make), tracker


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
