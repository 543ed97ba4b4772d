"""The note that a running server leaves: who it is and where it listens. One for each user and machine."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from dataclasses import asdict, dataclass

from pipelet.errors import WebError
from pipelet.storage.files import write_atomic
from pipelet.storage.processes import boot, is_running, process_start
from pipelet.web.settings import Settings, make_private

#: How long a start waits for a server that is just ending.
_LOCK_PATIENCE = 2.0


@dataclass(frozen=True)
class Note:
    """What is known of a server.

    Attributes
    ----------
    pid, start, boot
        The process: its number, its start as `process_start` gives it, and the boot of the machine.
    machine
        Where it runs.
    url
        The address for a browser.
    port
        Where it listens, also where the system chose it.
    since
        When it began, in seconds since the epoch.
    settings
        With what it was started.
    """

    pid: int
    start: float | None
    boot: str
    machine: str
    url: str
    port: int
    since: float
    settings: Settings

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; only to be asked on its own machine."""
        return self.boot == boot() and bool(is_running(self.pid, self.start))


def machine() -> str:
    """Give the name of this machine, as it is in the names of files."""
    return re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname()).lstrip(".") or "unknown"


def _path(state: str, kind: str) -> str:
    # The home directory may be the same on many machines.
    return os.path.join(state, f"pipeweb-{machine()}.{kind}")


def log_file(state: str) -> str:
    """Give the path of the log of this machine's server."""
    return _path(state, "log")


def note(settings: Settings, port: int) -> Note:
    """Make the note of this process."""
    pid = os.getpid()
    return Note(pid, process_start(pid), boot(), machine(), settings.url(port), port, time.time(), settings)


def write(own: Note) -> None:
    """Leave a note.

    Raises
    ------
    StorageError
        It can't be written.
    """
    text = json.dumps({**asdict(own), "settings": json.loads(own.settings.to_json())}, indent=2)
    write_atomic(_path(own.settings.state, "json"), text.encode("ascii") + b"\n", sync=False)


def read(state: str) -> Note | None:
    """Read the note of this machine; ``None`` if there is none, or none that can be read."""
    return _read(_path(state, "json"))


def _read(path: str) -> Note | None:
    # A note that is torn or of another version says nothing of a server; the port will tell if there is one.
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError), open(path, encoding="ascii") as file:
        values = json.load(file)
        return Note(**{**values, "settings": Settings.from_json(json.dumps(values["settings"]))})
    return None


def elsewhere(state: str) -> list[Note]:
    """Give the notes of servers on other machines that share this directory; whether they run can't be told here."""
    found = []
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(state)):
            if name.startswith("pipeweb-") and name.endswith(".json"):
                other = _read(os.path.join(state, name))
                if other is not None and other.machine != machine():
                    found.append(other)
    return found


def remove(state: str, pid: int) -> None:
    """Take away the note of a process; that of another stays."""
    found = read(state)
    if found is not None and found.pid == pid:
        with contextlib.suppress(OSError):
            os.unlink(_path(state, "json"))


class Only:
    """The right to be the one server of this user on this machine; the system takes it back when the process ends.

    Parameters
    ----------
    state
        The directory of notes, which is made if need be.

    Raises
    ------
    WebError
        Another server has it, or the directory can't be written.
    """

    def __init__(self, state: str) -> None:
        make_private(state)
        path = _path(state, "lock")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise WebError(f"can't write in {state}: {error.strerror or error}") from error
        deadline = time.monotonic() + _LOCK_PATIENCE
        while not self._try():
            if time.monotonic() > deadline:
                self.close()
                other = read(state)
                if other and other.alive:
                    raise WebError(f"it runs already at {other.url} (process {other.pid})")
                raise WebError("it is just being started, or ended: `pipeweb status` says where it runs")
            time.sleep(0.05)

    def _try(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:
            # A file system without locks: the note and the port are what is left to tell.
            return True
        return True

    def close(self) -> None:
        """Give it back."""
        os.close(self._descriptor)
