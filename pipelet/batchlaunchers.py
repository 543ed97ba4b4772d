"""Starts runs in jobs of a batch system, and adds workers to them: wiring only, as `pipelet.launchers`."""

from __future__ import annotations

import difflib
import logging
import os
import re
import reprlib
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelet.background import BackgroundRun
from pipelet.errors import LauncherError
from pipelet.executors.cluster.plan import BatchPlan, need_packages
from pipelet.executors.cluster.serverfile import Timings
from pipelet.pipeline import Pipeline
from pipelet.progress import Tracker

if TYPE_CHECKING:
    from pipelet.executors.cluster.joining import AddedJobs
    from pipelet.executors.cluster.options import JobOptions

#: How others call what is meant.
_OTHER_WORDS = {
    "account": "project", "cpu_time": "walltime", "cpus": "cores", "job_dir": "script_dir", "mem": "memory",
    "multicores": "cores", "name": "job_name", "ncpus": "cores", "ntasks_per_worker": "tasks_per_worker",
    "partition": "queue", "processes": "cores", "time": "walltime", "vmem": "memory",
}
#: Arguments of `launch_batch` that are no options of its jobs.
_ARGUMENTS = ("address", "log_level", "server", "system", "timings")
#: What `launch_pbs` and its like call an option of a job.
_CPU_TIME = {"walltime": "cpu_time"}


def check_number(launcher: str, number: object, least: int = 1) -> None:
    """See to it that a number of workers is one.

    Raises
    ------
    LauncherError
        It is not.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise LauncherError(f"{launcher}: N={number!r} is no number of workers; give {least} or more")


def launch_batch(
    P: Pipeline,
    N: int,
    system: str | None = None,
    address: tuple[str, int] | None = None,
    server: bool = True,
    log_level: int = logging.WARNING,
    timings: Timings | None = None,
    **options: Any,
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """Run the tasks in jobs of a batch system.

    Parameters
    ----------
    P
        The pipeline. Its prefix is on a file system that all hosts share.
    N
        How many jobs to submit; 0 submits none and waits for workers that are added later.
    system
        ``"pbs"``, ``"torque"``, ``"slurm"``, ``"sge"``, ``"lsf"``, ``"htcondor"``, ``"oar"``, or ``"local"`` for
        processes of this machine. If not given, the one whose commands are there.
    address
        Host and port where the server listens: this host and any free port if not given.
    server
        Whether to run the server here. False only adds N jobs to a server that runs already for this prefix.
    log_level
        Messages from this level on are printed; 0 prints nothing. All go to the log files of the prefix.
    timings
        Who waits how long for whom, for sites where the usual values do not fit.
    **options
        What a job asks for, as in `JobOptions`: ``cores``, ``memory``, ``walltime``, ``queue``, ``project``,
        ``job_name``, ``job_header``, ``directives``, ...

    Returns
    -------
    w : BackgroundRun or AddedJobs
        ``w.run()`` waits for the end and gives the summary; where jobs were only added, it gives those.
    t : Tracker
        Watches the run.

    Raises
    ------
    LauncherError
        An option is wrong, a package is missing, the batch system refuses the jobs, or there is no server to add to.
    PrefixLocked
        Another run holds the prefix; it may be the server that is wanted.
    """
    return _launch("launch_batch", P, N, system, address, server, log_level, options, {}, timings)


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
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """Run the tasks in jobs of PBS: PBS Pro, OpenPBS or Torque.

    Parameters
    ----------
    P, N, address, server, log_level
        As for `launch_batch`.
    job_name
        Of the jobs.
    job_header
        Lines for the head of the job script, after the directives: what sets up the environment.
    cpu_time
        How long a job may last, ``"hh:mm:ss"``.
    **options
        As for `launch_batch`.

    Returns
    -------
    w, t
        As `launch_batch`.

    Raises
    ------
    LauncherError
        As `launch_batch`.
    """
    system = options.pop("system", None) or _which("pbs", ("pbs", "torque"))
    options = {"walltime": cpu_time, "job_name": job_name, "job_header": job_header, **options}
    return _launch("launch_pbs", P, N, system, address, server, log_level, options, _CPU_TIME)


def launch_slurm(
    P: Pipeline,
    N: int,
    address: tuple[str, int] | None = None,
    server: bool = True,
    job_name: str = "",
    job_header: str = "",
    cpu_time: str = "00:59:00",
    log_level: int = logging.WARNING,
    **options: Any,
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """Run the tasks in jobs of Slurm. Arguments, results and errors are those of `launch_pbs`."""
    options = {"walltime": cpu_time, "job_name": job_name, "job_header": job_header, **options}
    return _launch("launch_slurm", P, N, "slurm", address, server, log_level, options, _CPU_TIME)


def launch_sge(
    P: Pipeline,
    N: int,
    address: tuple[str, int] | None = None,
    server: bool = True,
    job_name: str = "",
    job_header: str = "",
    cpu_time: str = "00:59:00",
    log_level: int = logging.WARNING,
    **options: Any,
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """Run the tasks in jobs of Grid Engine. Arguments, results and errors are those of `launch_pbs`."""
    options = {"walltime": cpu_time, "job_name": job_name, "job_header": job_header, **options}
    return _launch("launch_sge", P, N, "sge", address, server, log_level, options, _CPU_TIME)


def launch_ccage_worker_2(
    P: Pipeline,
    N: int,
    address: tuple[str, int] | None = None,
    project: str | None = None,
    job_name: str = "",
    queue: str | None = None,
    cpu_time: str = "00:59:00",
    vmem: str | None = None,
    scratch: str | None = None,
    multicores: int = 1,
    log_level: int = logging.WARNING,
    ntasks_per_worker: int | None = None,
    job_dir: str | None = None,
    log_dir: str | None = None,
    **options: Any,
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """Add Grid Engine workers to a server that runs, with the keywords of Pipelet 1.

    Parameters
    ----------
    P, N, log_level
        As for `launch_batch`.
    address
        Accepted for scripts that give it; the server is found through the prefix.
    project, queue, job_name
        Of the jobs.
    cpu_time
        How long a job may last, ``"hh:mm:ss"``.
    vmem
        Memory of a job, ``"4G"``: it is asked for as ``-l h_vmem=4G``.
    scratch
        A directory for temporary files on the worker's host.
    multicores
        Cores of a job, and so many tasks at once.
    ntasks_per_worker
        A worker ends after so many tasks.
    job_dir, log_dir
        Where job scripts and the output of jobs are kept; in the prefix if not given.
    **options
        As for `launch_batch`.

    Returns
    -------
    w, t
        As `launch_batch` with ``server=False``.

    Raises
    ------
    LauncherError
        As `launch_batch`.
    """
    if vmem is not None and not re.fullmatch(r"\d+(\.\d+)?[kKmMgG]?", str(vmem)):
        raise LauncherError(f"launch_ccage_worker_2: vmem={vmem!r}: give a size as Grid Engine takes it, such as '4G'")
    words = {**_CPU_TIME, "cores": "multicores", "tasks_per_worker": "ntasks_per_worker", "script_dir": "job_dir"}
    options = {
        "project": project, "job_name": job_name, "queue": queue, "walltime": cpu_time,
        "resource_spec": None if vmem is None else f"h_vmem={vmem}",
        "scratch": scratch, "cores": multicores, "tasks_per_worker": ntasks_per_worker, "script_dir": job_dir,
        "log_dir": log_dir, **options,
    }
    return _launch("launch_ccage_worker_2", P, N, "sge", address, False, log_level, options, words)


def job_script(P: Pipeline, system: str | None = None, **options: Any) -> str:
    """Make the script of a job, without submitting it.

    Parameters
    ----------
    P, system, **options
        As for `launch_batch`.

    Returns
    -------
    str
        The script, as the batch system would get it; only the name of the worker differs from job to job.

    Raises
    ------
    LauncherError
        As `launch_batch`.
    """
    from pipelet.executors.cluster.submitter import Submitter
    from pipelet.executors.cluster.systems import import_dask_jobqueue
    from pipelet.storage import Tree

    need_packages()
    import_dask_jobqueue()
    jobs = _job_options("job_script", P, system, options, {})
    return Submitter(Tree(P.prefix).engine_dir, "").script(jobs, f"{jobs.job_name}-0")


def _launch(
    launcher: str,
    P: Pipeline,
    N: int,
    system: str | None,
    address: tuple[str, int] | None,
    server: bool,
    log_level: int,
    options: dict[str, Any],
    words: Mapping[str, str],
    timings: Timings | None = None,
) -> tuple[BackgroundRun | AddedJobs, Tracker]:
    """As `launch_batch`, for a launcher with some words of its own."""
    need_packages()
    if not isinstance(P, Pipeline):
        raise LauncherError(f"{launcher}: {reprlib.repr(P)} is no Pipeline; give that first, and then N")
    check_number(launcher, N, 0 if server else 1)
    timings = options.pop("timings", timings)
    if timings is not None and not isinstance(timings, Timings):
        raise LauncherError(f"{launcher}: timings={timings!r}: give Timings(lease=..., silence=...)")
    jobs = _job_options(launcher, P, system, options, words) if N or options or system is not None else None
    where = _address(launcher, address)
    tracker = Tracker()
    if not server:
        from pipelet.executors.cluster.joining import add_jobs

        assert jobs is not None
        tracker.finish()
        return add_jobs(P.prefix, N, jobs), tracker
    return BackgroundRun(P.snapshot(), BatchPlan(where, N, jobs, timings or Timings()), tracker, log_level), tracker


def _job_options(
    launcher: str, P: Pipeline, system: str | None, options: dict[str, Any], words: Mapping[str, str]
) -> JobOptions:
    """The options of jobs.

    Parameters
    ----------
    launcher, P, system, options
        What was called, and with what.
    words
        What the launcher calls an option, where that is something else.
    """
    from pipelet.executors.cluster.options import JobOptions

    code = os.path.basename(os.path.normpath(P.code_dir))
    known = sorted(set(JobOptions.__dataclass_fields__) - {"system"})
    for name in options:
        if name not in known:
            others = {*_ARGUMENTS, *words.values()} - {name}
            near = difflib.get_close_matches(name, [*known, *others], 1)
            meant = _OTHER_WORDS.get(name) or (near[0] if near else "")
            hint = f": did you mean {meant!r}? There are" if meant else "; there are"
            raise LauncherError(f"{launcher} has no option {name!r}{hint} {', '.join(known)}")
    name = options.get("job_name") or (code if re.search("[A-Za-z0-9]", code) else "pipelet")
    try:
        return JobOptions(system=system or _which(None, None), **{**options, "job_name": name})
    except LauncherError as error:
        text = str(error)
        for option, word in words.items():
            if text.startswith(f"{option}="):
                text = f"{word}{text[len(option):]}"
        raise LauncherError(f"{launcher}: {text}") from None


def _which(default: str | None, among: tuple[str, ...] | None) -> str:
    """The batch system whose commands are there."""
    from pipelet.executors.cluster.systems import detect

    try:
        found = detect()
    except LauncherError:
        if default is None:
            raise
        return default
    return default if among is not None and found not in among and default is not None else found


def _address(launcher: str, address: tuple[str, int] | None) -> tuple[str, int]:
    if address is None:
        return socket.gethostname(), 0
    wrong = LauncherError(f"{launcher}: address={address!r}: give (host, port), such as ('login1', 50000)")
    try:
        host, port = address
        number = int(port)
    except (TypeError, ValueError):
        raise wrong from None
    if not isinstance(host, str) or not host or not 0 <= number < 1 << 16:
        raise wrong
    return host, number
