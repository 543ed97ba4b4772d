"""Starts runs: each launcher returns ``w, t``; ``w.run()`` gives the summary, ``t`` watches the run."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

from pipelet.background import BackgroundRun
from pipelet.errors import LauncherError
from pipelet.pipeline import Pipeline
from pipelet.progress import Tracker

if TYPE_CHECKING:
    from pipelet.runner import InteractiveRun

__all__ = ["launch_ccage_worker_2", "launch_interactive", "launch_pbs", "launch_process"]


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
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise LauncherError(f"launch_process: N={N!r} is no number of processes; give 1 or more")
    tracker = Tracker()
    return BackgroundRun(P.snapshot(), workers, tracker, log_level), tracker


def launch_pbs(
    P: Pipeline,
    N: int,
    address: tuple[str, int] | None = None,
    server: bool = True,
    job_name: str = "",
    job_header: str = "",
    cpu_time: str = "00:59:00",
    log_level: int = logging.WARNING,
    **options: Any,
) -> tuple[Any, Tracker]:
    """Run the tasks in batch jobs. Not available in this version.

    Raises
    ------
    LauncherError
        Always.
    """
    raise LauncherError(_NO_BATCH)


def launch_ccage_worker_2(P: Pipeline, N: int, **options: Any) -> tuple[Any, Tracker]:
    """Add Grid Engine workers to a server. Not available in this version.

    Raises
    ------
    LauncherError
        Always.
    """
    raise LauncherError(_NO_BATCH)


_NO_BATCH = "batch systems come with a later version of Pipelet; use launch_process to run on this machine"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
