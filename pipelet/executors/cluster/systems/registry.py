"""Finds batch systems: by name, by the commands on this host, and from within a job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping

from pipelet.errors import LauncherError
from pipelet.executors.cluster.systems.base import System, run_command
from pipelet.executors.cluster.systems.htcondor import HTCondor
from pipelet.executors.cluster.systems.local import Local
from pipelet.executors.cluster.systems.lsf import LSF
from pipelet.executors.cluster.systems.oar import OAR
from pipelet.executors.cluster.systems.pbs import PBS, Torque
from pipelet.executors.cluster.systems.sge import SGE
from pipelet.executors.cluster.systems.slurm import Slurm

_SYSTEMS: Mapping[str, System] = {
    item.name: item for item in (PBS(), Torque(), Slurm(), SGE(), LSF(), HTCondor(), OAR(), Local())
}


def system(name: str) -> System:
    """The batch system of a name.

    Raises
    ------
    LauncherError
        There is none.
    """
    found = _SYSTEMS.get(name)
    if found is None:
        raise LauncherError(f"{name!r} is no batch system: there are {', '.join(_SYSTEMS)}")
    return found


def detect() -> str:
    """Find out which batch system's commands are on this host.

    Raises
    ------
    LauncherError
        None, or more than one.
    """
    found = []
    if shutil.which("sbatch"):
        found.append("slurm")
    if shutil.which("bsub"):
        found.append("lsf")
    if shutil.which("oarsub"):
        found.append("oar")
    if shutil.which("condor_submit"):
        found.append("htcondor")
    if shutil.which("qsub"):
        found.append(_which_qsub())
    if not found:
        raise LauncherError(
            "no batch system is on this host: sbatch, qsub, bsub, condor_submit and oarsub are not on PATH; go to a "
            "login node, or run here with main.py -p"
        )
    if found[0] == "slurm" and found[1:] == ["torque"]:
        # Slurm can be had with the commands of Torque; its own are the better ones.
        return "slurm"
    if len(found) > 1:
        names = " and of ".join(found)
        raise LauncherError(f"there are commands of {names} on this host: say which, system={found[0]!r}")
    return found[0]


def _which_qsub() -> str:
    """Whose ``qsub`` that is: three batch systems have one of that name."""
    places = [os.path.dirname(os.path.realpath(shutil.which(name) or name)) for name in ("qsub", "qconf")]
    # The commands of two systems may be on one host; those of one lie together.
    if places[0] == places[1]:
        return "sge"
    answer = run_command(["qstat", "--version"]) if shutil.which("qstat") else None
    if answer is not None and "pbs_version" in (answer.out + answer.err).lower():
        return "pbs"
    return "torque"


def current_job_id(environment: Mapping[str, str] = os.environ) -> str | None:
    """The id of the job that this process runs in, if it does."""
    for item in _SYSTEMS.values():
        for name in item.job_variables:
            if environment.get(name):
                return environment[name]
    return None
