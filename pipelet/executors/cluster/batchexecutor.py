"""The executor of a batch server: Dask for the batches, a fleet of jobs for the workers."""

from __future__ import annotations

import contextlib
import logging
import os
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.daskexecutor import DaskExecutor
from pipelet.executors.cluster.fleet import Fleet
from pipelet.executors.cluster.plan import BatchPlan
from pipelet.executors.cluster.server import Server
from pipelet.executors.cluster.submitter import Submitter
from pipelet.executors.cluster.systems import import_dask_jobqueue
from pipelet.executors.plan import Site
from pipelet.progress import WorkerProgress


class BatchExecutor(DaskExecutor):
    """Runs batches in jobs.

    Parameters
    ----------
    plan
        What the user wants.
    site
        Where the run is.

    Raises
    ------
    LauncherError
        The server can't listen, or the batch system takes no job.
    """

    def __init__(self, plan: BatchPlan, site: Site) -> None:
        import_dask_jobqueue()
        directory = os.path.join(site.engine_dir, "server")
        self._server = Server(directory, plan.address, plan.timings, site.log)
        self._jobs = plan.jobs
        self._log = site.log
        self._fleet: Fleet | None = None
        self._is_down = False
        self._site = site
        self._last_word: tuple[str, list[WorkerProgress]] = "", []
        try:
            super().__init__(self._server.client, self._slots_here, self._name_of, site.engine_dir, site.limits)
            submitter = Submitter(site.engine_dir, self._server.run)
            self._fleet = Fleet(
                submitter, self._server.run, self._server.members, plan.timings, site.log, self._is_busy, self._tell
            )
            self._fleet.begin(plan.jobs, plan.options)
        except BaseException:
            self.close()
            raise
        self._tell(f"the server listens at {self._server.address}, no worker yet")

    def _slots_here(self) -> int:
        members = self._server.members
        here = {member.name for member in members.present()}
        return members.threads if self._server.fence.open(here) else 0

    def _name_of(self, worker: Any) -> str:
        return self._server.members.words(str(worker.name), str(worker.host))

    def _tell(self, text: str) -> None:
        activity = self.activity()
        workers = []
        for member in self._server.members.present():
            ended, running = activity.get(member.words, (0, ()))
            workers.append(WorkerProgress(member.job, member.host, member.threads, ended, running))
        if (text, workers) != self._last_word:
            self._last_word = text, workers
            self._site.fleet(text, workers)

    def _is_busy(self) -> bool:
        # A batch may have gone to Dask when its last worker was about to leave: then it waits there for another one.
        return self._more or len(self._flying) > self._server.members.threads

    def wait(self, seconds: float) -> None:
        """Wait until there is a worker.

        Raises
        ------
        LauncherError
            All jobs are lost, and none of them will be replaced.
        """
        if self._jobs and self._fleet is not None and self._fleet.hopeless:
            raise LauncherError(f"no job is left that could run tasks: {self._fleet.hopeless}")
        super().wait(seconds)

    def close(self, kill: bool = False) -> None:
        """End the server and its workers; without ``kill`` also cancel jobs that have not begun.

        That is the last thing: it takes long where the batch system does not answer, and with ``kill``
        somebody waits to record what was done. Jobs that are not cancelled find no server, and end by themselves.
        """
        if not self._is_down:
            self._is_down = True
            with contextlib.ExitStack() as steps:  # the last one first, and all of them whatever happens
                steps.callback(self._server.close)
                if hasattr(self, "_flying"):
                    steps.callback(super().close, kill)
                    self._log(logging.INFO, f"{self._count} batches were sent")
                if self._fleet is not None:
                    steps.callback(self._fleet.stop)
        if not kill and self._fleet is not None:
            self._fleet.cancel()

    def _end_posts(self) -> None:
        """Nothing: they end with their jobs."""
