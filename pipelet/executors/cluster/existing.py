"""A Dask cluster that somebody else keeps."""

from __future__ import annotations

import threading
import time
from typing import Any

from pipelet.errors import LauncherError
from pipelet.executors.cluster.daskexecutor import DaskExecutor
from pipelet.executors.plan import Site

#: What the scheduler said of its workers counts for so long.
_FRESH_SECONDS = 0.5
_CONNECT_SECONDS = "20s"


class ExistingCluster(DaskExecutor):
    """Runs batches on a Dask cluster that is there, and stays.

    Parameters
    ----------
    client_or_address
        A `distributed.Client`, a cluster, or the address of a scheduler.
    site
        Where the run is.

    Raises
    ------
    LauncherError
        There is no scheduler.
    """

    def __init__(self, client_or_address: Any, site: Site) -> None:
        from distributed import Client

        self._own = not isinstance(client_or_address, Client)
        if self._own:
            try:
                client = Client(client_or_address, set_as_default=False, timeout=_CONNECT_SECONDS)
            except (OSError, ValueError, TypeError) as error:
                raise LauncherError(f"no Dask scheduler at {client_or_address!r}: {error}") from error
        else:
            client = client_or_address
            if client.status != "running":
                raise LauncherError(f"launch_dask: the client is {client.status}; give one that is connected")
        self._count_lock = threading.Lock()
        self._counted, self._total = 0.0, 0
        self._client = client
        super().__init__(client, self._threads_there, _name, site.engine_dir, site.limits)

    def _threads_there(self) -> int:
        with self._count_lock:
            now = time.monotonic()
            if now - self._counted > _FRESH_SECONDS:
                self._counted = now
                try:
                    self._total = sum(self._client.nthreads().values())
                except (OSError, TimeoutError) as error:
                    raise LauncherError(f"the Dask scheduler is gone: {error}") from error
            return self._total

    def close(self, kill: bool = False) -> None:
        """Let go of batches under way, and end what the run has left in the workers."""
        super().close(kill)
        if self._own:
            self._client.close()


def _name(worker: Any) -> str:
    return f"Dask worker {worker.name} on {worker.host}"
