"""Adds workers to a batch server that runs already, here or on another host."""

from __future__ import annotations

import os
from dataclasses import dataclass

from pipelet.errors import LauncherError
from pipelet.executors.cluster.options import JobOptions
from pipelet.executors.cluster.server import SERVER_FILE
from pipelet.executors.cluster.serverfile import ServerFile, read_server_file
from pipelet.executors.cluster.submitter import JobRecord, Submitter
from pipelet.executors.cluster.systems import import_dask_jobqueue
from pipelet.storage import PrefixLock, Tree


@dataclass(frozen=True)
class AddedJobs:
    """Jobs that were submitted for a server; it watches over them from now on.

    Attributes
    ----------
    records
        The jobs.
    address
        Of the server.
    """

    records: tuple[JobRecord, ...]
    address: str

    @property
    def jobs(self) -> tuple[str, ...]:
        """The batch system's ids."""
        return tuple(record.job for record in self.records)

    def run(self) -> AddedJobs:
        """Nothing to wait for: the server runs the pipeline."""
        return self

    def __str__(self) -> str:
        return f"submitted {len(self.records)} jobs for the server at {self.address}: {', '.join(self.jobs)}"


def running_server(prefix: str) -> ServerFile:
    """Find the server of a prefix.

    Parameters
    ----------
    prefix
        The prefix.

    Raises
    ------
    LauncherError
        None runs, or it is not ours.
    """
    tree = Tree(prefix)
    server = read_server_file(os.path.join(tree.engine_dir, "server", SERVER_FILE))
    holder = PrefixLock(tree.lock_path).holder() if os.path.isdir(tree.engine_dir) else None
    if server is None:
        other = "" if holder is None or not holder.alive else f" ({holder.words}, but that is no batch server)"
        raise LauncherError(f"no batch server runs for the prefix {tree.prefix}{other}: start one, ./main.py -b")
    if holder is None or not holder.alive:
        raise LauncherError(
            f"the batch server of {tree.prefix} has died (it was pid {server.pid} on {server.host}): start it again, "
            "./main.py -b"
        )
    return server


def add_jobs(prefix: str, number: int, options: JobOptions) -> AddedJobs:
    """Submit jobs that join the server of a prefix.

    Parameters
    ----------
    prefix
        The prefix.
    number
        How many.
    options
        How.

    Raises
    ------
    LauncherError
        No server runs, or the batch system refuses the jobs; then the words say how many it took before.
    """
    import_dask_jobqueue()
    server = running_server(prefix)
    submitter = Submitter(Tree(prefix).engine_dir, server.run)
    records: list[JobRecord] = []
    for _ in range(number):
        try:
            records.append(submitter.submit(options))
        except LauncherError as error:
            before = f"only {len(records)} of {number} jobs were submitted: " if records else ""
            raise LauncherError(f"{before}{error}") from error
    return AddedJobs(tuple(records), server.address)
