"""The batch server of a run: a Dask scheduler in this process, found through a file in the prefix."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import time
import uuid
from collections.abc import Callable
from typing import Any

from pipelet.errors import LauncherError, StorageError
from pipelet.executors.cluster.members import Fence, Members, scheduler_plugin, still_named
from pipelet.executors.cluster.serverfile import ServerFile, Timings, new_server_file, read_server_file

#: In the server's directory: the file by which it is found.
SERVER_FILE = "server.json"
#: The names of the workers that are there, for whoever comes after a server that was killed.
_PRESENT = "workers.json"
_DISMISS_SECONDS, _CLOSE_SECONDS = 8.0, 5.0
_LOOPBACK = "127."


class Server:
    """The scheduler, and who has joined it.

    Parameters
    ----------
    directory
        Where the server's files are, in the prefix.
    address, timings
        Where it listens, and who waits how long for whom.
    log
        Takes messages.
    """

    def __init__(
        self, directory: str, address: tuple[str, int], timings: Timings, log: Callable[[int, str], None]
    ) -> None:
        from distributed import Client
        from distributed.security import Security

        self._directory = directory
        self._path = os.path.join(directory, SERVER_FILE)
        self._log = log
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _to_file("distributed", os.path.join(directory, "dask.log"))
        self.run = uuid.uuid4().hex
        self.members = Members(os.path.join(directory, _PRESENT))
        self.fence = self._fence(timings)
        security = Security.temporary()
        self._cluster = self._start(address, security, timings)
        try:
            self.address = str(self._cluster.scheduler_address)
            self._cluster.scheduler.add_plugin(scheduler_plugin(self.members), name="pipelet")
            self.client = Client(self.address, security=security, set_as_default=False)
            self.file = new_server_file(self.run, self.address, security, timings)
            self.file.write(self._path)
        except BaseException:
            self._close_dask()
            raise

    def _fence(self, timings: Timings) -> Fence:
        """What the workers of a server that was killed may still do, if there was one."""
        with contextlib.suppress(LauncherError):
            before = read_server_file(self._path)
            if before is not None:
                names = still_named(os.path.join(self._directory, _PRESENT))
                return Fence(names, before.timings.lease)
        return Fence(set(), 0.0)

    def _start(self, address: tuple[str, int], security: Any, timings: Timings) -> Any:
        import dask
        from distributed import Scheduler
        from distributed.deploy.spec import SpecCluster

        from pipelet.executors.cluster.job import dask_settings

        host = _own_address(address[0])
        port = _free_port(host, address[1])
        if port != address[1]:
            self._log(logging.WARNING, f"port {address[1]} of {host} is in use: the server takes {port}")
        # Not only here: the scheduler reads some of them when they are needed.
        dask.config.set(dask_settings(ServerFile("", "", "", 0, 0.0, {}, timings)))
        options = {
            "host": f"[{host}]" if ":" in host else host, "port": port, "protocol": "tls", "security": security,
            "dashboard": False, "dashboard_address": "127.0.0.1:0",
        }
        try:
            scheduler = {"cls": Scheduler, "options": options}
            return SpecCluster(workers={}, scheduler=scheduler, security=security, name=f"pipelet-{self.run}")
        except (OSError, RuntimeError) as error:
            raise LauncherError(f"the server can't listen at {host}:{port}: {error}") from error

    def close(self) -> None:
        """End the server: workers that are there end as well."""
        # First of all, so that workers know that nobody comes after us.
        with contextlib.suppress(OSError):
            os.unlink(self._path)
        self._dismiss()
        self.members.close()
        lost = self.members.present()
        self._close_dask()
        if lost:
            # They are not to be reached, and may run tasks until they notice: the next server must wait for that.
            names = ", ".join(member.words for member in lost)
            self._log(logging.WARNING, f"could not be told that the run is over: {names}")
            with contextlib.suppress(StorageError):
                self.file.write(self._path)
            return
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self._directory, _PRESENT))

    def _close_dask(self) -> None:
        for part in (getattr(self, "client", None), self._cluster):
            if part is not None:
                with contextlib.suppress(Exception):  # whatever is in its way, the run is over
                    part.close(timeout=_CLOSE_SECONDS)

    def _dismiss(self) -> None:
        """Have the workers end, and wait for that: then nothing of this run goes on anywhere."""
        scheduler = self._cluster.scheduler
        for member in self.members.present():
            self._cluster.loop.add_callback(scheduler.close_worker, member.address)
        end = time.monotonic() + _DISMISS_SECONDS
        while self.members.present() and time.monotonic() < end:
            time.sleep(0.02)


def _own_address(host: str) -> str:
    """The address at which this host is to be reached under the name that a user gives."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        if host != socket.gethostname():
            raise LauncherError(
                f"address=({host!r}, ...): this name is not known ({error.strerror}); give this host's name or number"
            ) from error
        found = []
    numbers = [str(item[4][0]) for item in found]
    best = next((number for number in numbers if ":" not in number), numbers[0] if numbers else "127.0.0.1")
    if best.startswith(_LOOPBACK) and host == socket.gethostname():
        # Many systems give a host's own name an address that nobody else can reach.
        from distributed.utils import get_ip

        return str(get_ip())
    return best


def _free_port(host: str, port: int) -> int:
    """The port, or any that is free if that is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port and _is_ours(family, host):
                return 0
            raise LauncherError(
                f"the server can't listen at {host}:{port}: {error.strerror}; give an address of this host"
            ) from error
    return port


def _is_ours(family: int, host: str) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _to_file(name: str, path: str) -> None:
    """Send what a package logs to a file, and nowhere else."""
    from logging.handlers import RotatingFileHandler

    logger = logging.getLogger(name)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
    handler = RotatingFileHandler(path, maxBytes=1_000_000, backupCount=1, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
