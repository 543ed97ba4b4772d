"""Two hosts on one machine: network namespaces with addresses and names of their own, and a cable that can be cut.

Made with ``ip``, so by root only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


class Host:
    """One of the two.

    Attributes
    ----------
    name
        Its host name, and that of its namespace.
    address
        Its address on the cable.
    """

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    def words(self, *words: str) -> list[str]:
        """A command as it is typed to run on this host."""
        # The name of a host is a matter of another namespace, and looked up in a file of its own.
        setup = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'
        inside = ["unshare", "--uts", "--mount", "bash", "-c", setup, self.name, str(self._hosts_file), *words]
        return ["ip", "netns", "exec", self.name, *inside]

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command on this host."""
        defaults: dict[str, Any] = {"stdin": subprocess.DEVNULL, "text": True, "start_new_session": True}
        return subprocess.Popen(self.words(*words), **{**defaults, **options})

    def ran(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on this host."""
        return subprocess.run(
            self.words(*words), capture_output=True, text=True, timeout=120, check=False, **options
        )

    _hosts_file = Path("/etc/hosts")


class Network:
    """The two hosts, and their cable.

    Attributes
    ----------
    login, compute
        The hosts.
    """

    def __init__(self, directory: Path) -> None:
        tag = uuid.uuid4().hex[:6]
        number = int(tag, 16)
        net = f"10.{100 + number % 100}.{number // 100 % 250}"
        self.login = Host(f"login-{tag}", f"{net}.1")
        self.compute = Host(f"compute-{tag}", f"{net}.2")
        hosts = directory / "hosts"
        rows = ["127.0.0.1 localhost", *(f"{host.address} {host.name}" for host in (self.login, self.compute))]
        hosts.write_text("".join(f"{row}\n" for row in rows))
        self.login._hosts_file = self.compute._hosts_file = hosts

    def build(self) -> None:
        """Make them."""
        for host in (self.login, self.compute):
            _ip("netns", "add", host.name)
        ends = ["type", "veth", "peer", "name", "cable", "netns", self.compute.name]
        _ip("link", "add", "cable", "netns", self.login.name, *ends)
        for host in (self.login, self.compute):
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", "cable")
            for device in ("lo", "cable"):
                _ip("-n", host.name, "link", "set", device, "up")

    def cut(self) -> None:
        """Let nothing through, without a word to either side."""
        for host, other in ((self.login, self.compute), (self.compute, self.login)):
            _ip("-n", host.name, "route", "add", "blackhole", f"{other.address}/32")

    def heal(self) -> None:
        """Let everything through again."""
        for host, other in ((self.login, self.compute), (self.compute, self.login)):
            _ip("-n", host.name, "route", "del", "blackhole", f"{other.address}/32")

    def remove(self) -> None:
        """End what runs on them, and take them away."""
        for host in (self.login, self.compute):
            told = subprocess.run(["ip", "netns", "pids", host.name], capture_output=True, text=True, check=False)
            for pid in told.stdout.split():
                try:
                    os.kill(int(pid), 9)
                except ProcessLookupError:
                    continue
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


@contextmanager
def two_hosts(directory: Path) -> Iterator[Network]:
    """A login node and a compute node; they go at the end."""
    network = Network(directory)
    try:
        network.build()
        yield network
    finally:
        network.remove()


def python(*words: str) -> Sequence[str]:
    """A call of this Python."""
    return [sys.executable, *words]
