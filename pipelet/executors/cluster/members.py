"""Who has joined a batch server, and what those may still do who had joined one that was killed."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from dataclasses import dataclass
from typing import Any


class Fence:
    """Keeps work from new workers until those of a server that was killed have ended what they ran for it.

    Parameters
    ----------
    names
        Who was there when it was killed. Whoever joins anew has ended what it ran before.
    lease
        After so many seconds the others have ended it too.
    """

    def __init__(self, names: set[str], lease: float) -> None:
        self._names = names
        self._end = time.monotonic() + lease

    def open(self, present: set[str]) -> bool:
        """Whether work may begin."""
        self._names -= present
        if self._names and time.monotonic() < self._end:
            return False
        self._names = set()
        return True


@dataclass
class Member:
    """A worker that has joined."""

    name: str  #: of the job
    address: str
    threads: int
    host: str = ""
    job: str | None = None
    leaving: bool = False
    why: str = ""

    @property
    def words(self) -> str:
        """Who it is, for people."""
        who = f"job {self.job}" if self.job else self.name
        return f"{who} on {self.host}" if self.host else who


class Members:
    """Who has joined the server, as the scheduler tells it. Thread-safe.

    Parameters
    ----------
    path
        A file for the names of those that are there.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._gone: list[Member] = []
        self._told: set[str] = set()
        self._closed = False

    def add(self, address: str, name: str, host: str, threads: int) -> None:
        """A worker has joined."""
        with self._lock:
            self._members[address] = Member(name.partition("~")[0], address, threads, host)
            self._write()

    def remove(self, address: str) -> None:
        """A worker is gone."""
        with self._lock:
            member = self._members.pop(address, None)
            if member is not None:
                self._gone.append(member)
                self._write()

    def tell(self, message: dict[str, Any]) -> None:
        """A worker has told something about itself."""
        with self._lock:
            member = self._members.get(message.get("address", ""))
            if member is None:
                return
            member.job, member.host = message["job"], message["host"]
            if message["what"] != "joined":
                member.leaving, member.why = message["what"] == "leaving", message["why"]

    def take_gone(self) -> list[Member]:
        """Those that have gone since the last call."""
        with self._lock:
            gone, self._gone = self._gone, []
            return gone

    def present(self) -> list[Member]:
        """Those that are there."""
        with self._lock:
            return list(self._members.values())

    @property
    def threads(self) -> int:
        """How many batches can run at once."""
        with self._lock:
            return sum(member.threads for member in self._members.values() if not member.leaving)

    def words(self, name: str, host: str) -> str:
        """Who a worker is that the scheduler knows by name."""
        name = name.partition("~")[0]
        with self._lock:
            known = [*self._members.values(), *self._gone]
        return next((member.words for member in known if member.name == name), f"{name} on {host}")

    def close(self) -> None:
        """Write nothing more."""
        self._closed = True

    def _write(self) -> None:
        names = {member.name for member in self._members.values()}
        if names == self._told or self._closed:
            return
        self._told = names
        with contextlib.suppress(OSError):  # it only shortens the waiting after a crash
            with open(f"{self._path}.new", "w") as file:
                json.dump(sorted(names), file)
            os.replace(f"{self._path}.new", self._path)


def still_named(path: str) -> set[str]:
    """The names that `Members` left in a file."""
    try:
        with open(path) as file:
            return set(json.load(file))
    except (OSError, ValueError, TypeError):
        return set()


def scheduler_plugin(members: Members) -> Any:
    """A plugin of the Dask scheduler that keeps `Members` informed."""
    from distributed.diagnostics.plugin import SchedulerPlugin

    from pipelet.executors.cluster.job import TOPIC

    class Plugin(SchedulerPlugin):  # type: ignore[misc]
        """Tells who comes and goes."""

        def add_worker(self, scheduler: Any, worker: str) -> None:
            state = scheduler.workers[worker]
            members.add(worker, str(state.name), str(state.host), int(state.nthreads))

        def remove_worker(self, scheduler: Any, worker: str, *, stimulus_id: str, **more: Any) -> None:
            members.remove(worker)

        def log_event(self, topic: str, msg: Any) -> None:
            if topic == TOPIC:
                members.tell(msg)

    return Plugin()
