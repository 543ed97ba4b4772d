"""What is said of a batch server when it is started."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelet.errors import MissingPackageError
from pipelet.executors.cluster.serverfile import Timings
from pipelet.executors.plan import Site

if TYPE_CHECKING:
    from pipelet.executors.base import Executor
    from pipelet.executors.cluster.options import JobOptions


@dataclass(frozen=True)
class BatchPlan:
    """Plans a batch server.

    Attributes
    ----------
    address
        Host and port where it listens; port 0 takes any that is free.
    jobs
        How many jobs it submits.
    options
        How; needed where there are some.
    timings
        Who waits how long for whom.
    """

    address: tuple[str, int]
    jobs: int
    options: JobOptions | None
    timings: Timings = field(default_factory=Timings)
    #: For all that the end does but cancelling jobs, which end by themselves as well.
    last_seconds: float = 30.0
    may_fail: bool = True

    def make(self, site: Site) -> Executor:
        """Start the server, and submit the jobs.

        Raises
        ------
        LauncherError
            A package is missing, the address can't be had, or the batch system takes no job.
        """
        need_packages()
        from pipelet.executors.cluster.batchexecutor import BatchExecutor

        return BatchExecutor(self, site)


def need_packages() -> None:
    """Make sure that what the batch mode needs is installed.

    Raises
    ------
    MissingPackageError
        It is not; the words say how to get it.
    """
    for name in ("cryptography", "distributed"):
        # Whoever starts a run in another process needs none of it, and importing takes half a second.
        if importlib.util.find_spec(name) is None:
            raise MissingPackageError(f"the batch mode needs the package {name}: pip install 'pipelet-engine[batch]'")
