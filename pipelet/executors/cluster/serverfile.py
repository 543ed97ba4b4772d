"""The file by which a batch server is found: where it listens, and the credentials that let others in.

Whoever can read it can run code as the owner of the prefix, so nobody else may: its directory has the mode 0700, and it
the mode 0600.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import stat
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from pipelet.errors import LauncherError, StorageError
from pipelet.executors.wire import read_late, write_whole

#: The parts of a `distributed.Security` that travel: certificates and keys as text.
_CREDENTIALS = (
    "tls_ca_file", "tls_client_cert", "tls_client_key", "tls_scheduler_cert", "tls_scheduler_key", "tls_worker_cert",
    "tls_worker_key",
)


@dataclass(frozen=True)
class Timings:
    """Who waits how long for whom, in seconds.

    Attributes
    ----------
    lease
        A worker that has not reached its server for so long kills what it runs: others may do that again from then on.
    silence
        A worker that was not heard of for so long is lost. More than the lease.
    rejoin
        Workers whose server is gone wait so long for a new one.
    status
        Between two questions to the batch system.
    start
        A job that runs for so long and has not joined is worth a warning.
    """

    lease: float = 90.0
    silence: float = 120.0
    rejoin: float = 300.0
    status: float = 60.0
    start: float = 300.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
                raise LauncherError(f"timings: {name}={value!r} is no number of seconds above 0")
        if not self.lease < self.silence:
            raise LauncherError(
                f"timings: lease={self.lease:g} must be less than silence={self.silence:g}: a worker that is taken for "
                "lost must have ended what it ran"
            )


@dataclass(frozen=True)
class ServerFile:
    """What the file says.

    Attributes
    ----------
    run
        A name that no other run has.
    address
        Of the Dask scheduler, ``tls://192.0.2.1:50000``.
    host, pid, since
        Who that is.
    credentials
        For `distributed.Security`.
    timings
        The server's.
    """

    run: str
    address: str
    host: str
    pid: int
    since: float
    credentials: dict[str, str] = field(repr=False)
    timings: Timings = field(default_factory=Timings)

    def security(self) -> Any:
        """The credentials as a `distributed.Security`."""
        from distributed.security import Security

        return Security(require_encryption=True, **self.credentials)

    def write(self, path: str) -> None:
        """Write the file, in a directory that only its owner may enter.

        Raises
        ------
        StorageError
            It can't be written, or others could read it.
        """
        directory = os.path.dirname(path)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            os.chmod(directory, 0o700)
            write_whole(path, json.dumps(asdict(self), indent=1).encode())
            mode = os.stat(path).st_mode
        except OSError as error:
            raise StorageError(f"can't write {path}: {error.strerror or error}") from error
        if stat.S_IMODE(mode) & 0o077:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise StorageError(
                f"{path}: this file system lets others read a server's credentials; choose a prefix on another one"
            )


def new_server_file(run: str, address: str, security: Any, timings: Timings) -> ServerFile:
    """Make what a server that has just begun puts down.

    Parameters
    ----------
    run, address, timings
        As in `ServerFile`.
    security
        A `distributed.Security` with certificates as text.
    """
    credentials = {name: getattr(security, name) for name in _CREDENTIALS}
    return ServerFile(run, address, socket.gethostname(), os.getpid(), time.time(), credentials, timings)


def read_server_file(path: str, patience: float = 0.0) -> ServerFile | None:
    """Read the file.

    Parameters
    ----------
    path
        The file.
    patience
        How many seconds a file system may take to show it.

    Returns
    -------
    ServerFile or None
        ``None`` where there is none.

    Raises
    ------
    LauncherError
        It can't be read, or makes no sense, or somebody else may have written it.
    """
    try:
        data = read_late(path, patience)
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LauncherError(f"can't read {path}: {error.strerror or error}") from error
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise LauncherError(f"{path} is not only yours (it should have the mode 600): others may have written it")
    try:
        table = json.loads(data)
        return ServerFile(**{**table, "timings": Timings(**table["timings"])})
    except (ValueError, TypeError, KeyError) as error:
        raise LauncherError(f"{path} is damaged: start the server anew") from error
