"""The main module of a job: one Dask worker, which joins the server of a prefix and drives slots on this host.

``python -m pipelet.executors.cluster.job SERVERFILE --name NAME ...``, as job scripts have it. No task runs in this
process. It ends by itself: when the run is over, when its shift is (see `shift`), when the batch system says so, or
when no server has been there for some time. Whenever it loses its server it first kills what it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.serverfile import ServerFile, read_server_file
from pipelet.executors.cluster.shift import JobShift
from pipelet.executors.post import POSTS
from pipelet.storage import process_age

#: On this topic jobs tell the server about themselves.
TOPIC = "pipelet-jobs"
_LOOK_SECONDS = 0.5
#: Between two questions whether the server still is there, and two attempts to find one.
_CONTACT_SECONDS, _ATTEMPT_SECONDS = 10.0, 2.0
#: Dask can't tell a connection that is dead from one that is slow any sooner.
_LEAST_TCP_SECONDS = 12.0
#: How long the last results may take to get away.
_FLUSH_SECONDS = 3.0
_log = logging.getLogger("pipelet.job")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker of a job.

    Returns
    -------
    int
        0 if it was of use, or was not needed; 1 if it could not join or could not run tasks.
    """
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    # It sets up its own logging when it is imported.
    import distributed

    logging.getLogger(distributed.__name__).setLevel(logging.ERROR)
    scratch = tempfile.mkdtemp(prefix="pipelet-job-", dir=options.scratch)
    try:
        return asyncio.run(_Job(options, scratch).serve())
    except LauncherError as error:
        _log.error("%s", error)
        return 1
    finally:
        POSTS.close()
        _remove(scratch)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A worker of Pipelet in a batch job.")
    parser.add_argument("server_file")
    parser.add_argument("--name", required=True)
    parser.add_argument("--nthreads", type=int, default=1, help="how many tasks run at once")
    parser.add_argument("--memory-limit", help="what the job asked for; the batch system sees to it")
    parser.add_argument("--death-timeout", type=float, default=60.0, help="seconds to find the server at first")
    parser.add_argument("--lifetime", type=float, help="seconds after which no task begins")
    parser.add_argument("--lifetime-stagger", type=float, default=0.0, help="so many seconds less, by chance")
    parser.add_argument("--tasks", type=int, help="how many tasks to run")
    parser.add_argument("--idle", type=float, default=600.0, help="end after so many seconds without a task")
    parser.add_argument("--scratch", help="a directory for temporary files")
    return parser


class _Job:
    """The life of a job."""

    def __init__(self, options: argparse.Namespace, scratch: str) -> None:
        from pipelet.executors.cluster.systems import current_job_id

        self._options = options
        self._scratch = scratch
        self._job_id = current_job_id(os.environ)
        lifetime = options.lifetime
        if lifetime is not None:
            # The script of the job has become this process, so it is as old as the job.
            age = process_age()
            lifetime -= random.uniform(0, options.lifetime_stagger) + age
            if lifetime <= 0:
                # Said before it has joined: else there would be one such job after the other, as with any that ends.
                raise LauncherError(
                    f"the job is {age:.0f} s old before its worker begins, and no task may begin after "
                    f"{options.lifetime:.0f} s: give it more walltime, or a job_header that takes less"
                )
        words = f"job {self._job_id}" if self._job_id else options.name
        self._shift = JobShift(f"{words} on {socket.gethostname()}", self._job_id, lifetime, options.tasks)
        self._told_to_end = asyncio.Event()
        self._attempt = 0
        POSTS.shift, POSTS.scratch = self._shift, scratch

    async def serve(self) -> int:
        """Join server after server, until there is nothing more to do."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU):
            loop.add_signal_handler(number, self._end, signal.Signals(number).name)
        joined = False
        patience = self._options.death_timeout
        end = time.monotonic() + patience
        while not self._told_to_end.is_set() and not self._shift.over.is_set():
            try:
                server = read_server_file(self._options.server_file)
            except LauncherError as error:
                # A file system may have a bad moment. What it can't read yet is no word that the run is over.
                if time.monotonic() > end:
                    raise
                _log.info("%s", error)
                await self._pause()
                continue
            if server is None and joined:
                _log.info("the run is over")
                return 0
            if server is not None and await self._join(server):
                joined = True
                end = time.monotonic() + server.timings.rejoin
                if not os.path.exists(self._options.server_file):
                    continue
            elif time.monotonic() > end:
                _log.error("no server is there: %s", self._options.server_file)
                return 0 if joined else 1
            await self._pause()
        return 1 if self._shift.broken else 0

    async def _pause(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._told_to_end.wait(), _ATTEMPT_SECONDS)

    def _end(self, name: str) -> None:
        _log.info("the batch system ends this job (%s)", name)
        self._told_to_end.set()

    async def _join(self, server: ServerFile) -> bool:
        """Work for a server until one of the two ends; gives false if it can't be reached."""
        import dask

        self._attempt += 1
        POSTS.open()
        name = self._options.name if self._attempt == 1 else f"{self._options.name}~{self._attempt}"
        with dask.config.set(dask_settings(server)):
            worker = _worker_class()(
                server.address, nthreads=self._options.nthreads, name=name, security=server.security(),
                host=_own_address(server.address), dashboard=False, dashboard_address="127.0.0.1:0", memory_limit=0,
                local_directory=self._scratch, death_timeout=_CONTACT_SECONDS, nanny=None,
            )
            try:
                await worker
            except (OSError, RuntimeError, asyncio.TimeoutError) as error:
                _log.info("can't join the server at %s: %s", server.address, error)
                with contextlib.suppress(Exception):
                    await worker.close()
                return False
            _log.info("joined the server at %s as %s", server.address, name)
            self._tell(worker, "joined")
            try:
                await self._work(worker, server)
            finally:
                POSTS.close()
                if worker.status.name not in ("closed", "failed"):
                    with contextlib.suppress(Exception):
                        await worker.close(executor_wait=False)
        return True

    async def _work(self, worker: Any, server: ServerFile) -> None:
        gone = asyncio.ensure_future(worker.finished())
        contact = asyncio.ensure_future(self._keep_contact(worker, server.timings.lease))
        try:
            while not gone.done() and not contact.done():
                await asyncio.wait([gone, contact], timeout=_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                self._shift.look(POSTS.busy > 0, self._options.idle)
                if self._told_to_end.is_set():
                    await self._leave(worker, "the batch system ended the job", hurry=True)
                elif self._shift.over.is_set():
                    await self._leave(worker, self._shift.why, hurry=False)
            if not self._told_to_end.is_set() and not self._shift.over.is_set():
                _log.info("the server is gone" if gone.done() else "the server can't be reached")
        finally:
            for future in (gone, contact):
                future.cancel()

    async def _leave(self, worker: Any, why: str, hurry: bool) -> None:
        """End with the server's knowledge: it sends nothing more, and gets what is done."""
        from distributed.core import Status

        _log.info("ending: %s", why)
        self._tell(worker, "broken" if self._shift.broken else "cut" if hurry else "leaving", why)
        # Nothing new begins on a worker that is paused.
        worker.status = Status.paused
        if hurry:
            await asyncio.get_running_loop().run_in_executor(None, POSTS.close)
        while POSTS.busy and worker.status is Status.paused:
            if self._told_to_end.is_set() and not hurry:
                return await self._leave(worker, "the batch system ended the job", hurry=True)
            await asyncio.sleep(0.05)
        end = time.monotonic() + _FLUSH_SECONDS
        while time.monotonic() < end and (worker.state.tasks and worker.status is Status.paused):
            await asyncio.sleep(0.05)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(worker.close_gracefully(restart=False), _FLUSH_SECONDS)

    async def _keep_contact(self, worker: Any, lease: float) -> None:
        """Return when the server was not to be reached for so long that others may do what we do."""
        last = time.monotonic()
        while time.monotonic() - last < lease:
            left = lease - (time.monotonic() - last)
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(worker.scheduler.identity(n_workers=0), left)
                last = time.monotonic()
            await asyncio.sleep(min(_CONTACT_SECONDS, lease / 4))

    def _tell(self, worker: Any, what: str, why: str = "") -> None:
        worker.log_event(TOPIC, {
            "what": what, "why": why, "name": self._options.name, "job": self._job_id, "host": socket.gethostname(),
            "pid": os.getpid(), "address": worker.address,
        })


def _worker_class() -> Any:
    from distributed import Worker

    class JobWorker(Worker):  # type: ignore[misc]
        """A Dask worker that first of all ends what it runs."""

        async def close(self, *arguments: Any, **options: Any) -> Any:
            await asyncio.get_running_loop().run_in_executor(None, POSTS.close)
            return await super().close(*arguments, **options)

    return JobWorker


def dask_settings(server: ServerFile) -> dict[str, Any]:
    """What server and workers tell Dask, beside credentials.

    Connections outlive a network that is cut for less than the server's silence; nothing is served over HTTP.
    """
    return {
        "distributed.comm.timeouts.tcp": f"{max(server.timings.silence, _LEAST_TCP_SECONDS):g}s",
        "distributed.comm.timeouts.connect": "20s",
        "distributed.scheduler.worker-ttl": f"{server.timings.silence:g}s",
        "distributed.scheduler.allowed-failures": 0,
        # Each batch goes to a worker at once, since the run sends no more than they should have.
        "distributed.scheduler.worker-saturation": "inf",
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
        # What a process that waits does for its own statistics, fifty times a second by itself.
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "10s",
        "distributed.admin.low-level-log-length": 10,
        "distributed.admin.large-graph-warning-threshold": "1GB",
    }


def _own_address(server: str) -> str:
    """The address of this host on the way to the server."""
    host = server.rpartition("://")[2].rpartition(":")[0].strip("[]")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        own = str(probe.getsockname()[0])
    return f"[{own}]" if ":" in own else own


def _remove(directory: str) -> None:
    import shutil

    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    # Under its own name, since what the workers are sent refers to that.
    from pipelet.executors.cluster.job import main as _main

    sys.exit(_main())
