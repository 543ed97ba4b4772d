"""Who is at the other end of a port of this machine, as far as the system tells."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from typing import NamedTuple

_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_ESTABLISHED, _LISTEN = "01", "0A"


class _Socket(NamedTuple):
    port: int
    remote_port: int
    state: str
    uid: int
    inode: str


def _sockets() -> Iterator[_Socket]:
    for table in _TABLES:
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            next(file, None)
            for line in file:
                words = line.split()
                local, remote = words[1].rpartition(":")[2], words[2].rpartition(":")[2]
                yield _Socket(int(local, 16), int(remote, 16), words[3], int(words[7]), words[9])


def user_name(uid: int) -> str:
    """Give the name of a user of this machine, or the number in words."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"number {uid}"


def who_listens(port: int) -> str:
    """Say in words who listens on a port of this machine.

    Parameters
    ----------
    port
        The port.

    Returns
    -------
    str
        As in "process 4711 (jupyter-lab)" or "a process of user ada"; empty if the system does not tell.
    """
    for found in _sockets():
        if found.port == port and found.state == _LISTEN:
            pid = _owner(found.inode)
            return f"process {pid} ({_program(pid)})" if pid else f"a process of user {user_name(found.uid)}"
    return ""


def local_user(port: int, server_port: int) -> int | None:
    """Tell whose connection it is that comes from a port of this machine.

    All users of a machine have one address in common, 127.0.0.1. The user who holds the other end of a connection is
    what tells them apart; for a tunnel of ssh, that is the one who logged in.

    Parameters
    ----------
    port
        The client's port.
    server_port
        The port that it is connected to.

    Returns
    -------
    int or None
        The number of the user; ``None`` if the system does not tell.
    """
    for found in _sockets():
        if (found.port, found.remote_port, found.state) == (port, server_port, _ESTABLISHED):
            return found.uid
    return None


def _owner(inode: str) -> int | None:
    """Find the process that has a socket; those of other users can't be looked into."""
    wanted = f"socket:[{inode}]"
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            directory = f"/proc/{name}/fd"
            for descriptor in os.listdir(directory):
                with contextlib.suppress(OSError):
                    if os.readlink(f"{directory}/{descriptor}") == wanted:
                        return int(name)
    return None


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return "?"
