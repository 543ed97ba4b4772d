"""The other engines that do the same work W(N), each in its own most efficient form, and the environments they need."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: What installs the peers that can live together.
EXTRA = "pip install '.[bench]'"


@dataclass(frozen=True)
class Peer:
    """One other engine."""

    name: str
    script: str
    keeps: str  #: what is on disk when a task has ended
    package: str = ""  #: on the package index; empty for a program of the system
    #: What is installed into an environment of its own; empty if it stands in the extra ``bench``.
    pins: tuple[str, ...] = ()
    #: It is slow enough that the quick benchmark runs it at the smallest size only.
    slow: bool = False
    #: Second and third runs mean nothing where nothing is kept.
    again: bool = True


PEERS = (
    Peer("joblib", "with_joblib.py", "two files and a directory a call", "joblib"),
    Peer("doit", "with_doit.py", "a file and a row a task", "doit"),
    Peer("ninja", "with_ninja.py", "a file a task, a log", "ninja"),
    Peer("make", "with_make.py", "a file a task"),
    Peer("dask", "with_dask.py", "nothing", "dask", again=False),
    Peer("parsl", "with_parsl.py", "a checkpoint at the end", "parsl", slow=True),
    Peer("luigi", "with_luigi.py", "a file a task", "luigi", slow=True),
    # These two ask for versions of other packages that the rest does not want.
    Peer("redun", "with_redun.py", "rows of calls and values", "redun", ("redun==0.44.1",), slow=True),
    Peer("snakemake", "with_snakemake.py", "a file a task, metadata", "snakemake", ("snakemake==9.27.1",), slow=True),
)
BY_NAME = {peer.name: peer for peer in PEERS}


@dataclass(frozen=True)
class Ready:
    """A peer that can run."""

    peer: Peer
    python: str
    version: str

    def command(self, directory: str, n: int) -> list[str]:
        """What runs W(N) in a directory."""
        return [self.python, str(HERE / self.peer.script), directory, str(n)]


class PeerMissing(Exception):
    """A peer can't run here; the message says why and what to do."""


def prepare(peer: Peer, say: Callable[[str], None]) -> Ready:
    """Make sure that a peer can run.

    Parameters
    ----------
    peer
        Which one.
    say
        Takes a line for the user, before something that takes long.

    Raises
    ------
    PeerMissing
        It is not installed and can't be.
    """
    if not peer.package:
        return _program(peer)
    if not peer.pins:
        try:
            return Ready(peer, sys.executable, importlib.metadata.version(peer.package))
        except importlib.metadata.PackageNotFoundError:
            if peer.name == "ninja" and shutil.which("ninja"):
                return _program(peer)
            raise PeerMissing(f"{peer.name} is not installed; {EXTRA} brings it") from None
    python = _environment(peer, say)
    code = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))"
    version = subprocess.run([python, "-c", code, peer.package], capture_output=True, text=True, check=True).stdout
    return Ready(peer, python, version.strip())


def _program(peer: Peer) -> Ready:
    path = shutil.which(peer.name)
    if path is None:
        raise PeerMissing(f"there is no program {peer.name}; install the system's package of that name")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return Ready(peer, sys.executable, version.rpartition(" ")[2])


def environments() -> Path:
    """Where environments are kept from one run to the next."""
    home = os.environ.get("PIPELET_BENCH_CACHE")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(home) if home else cache / "pipelet-benchmarks"


def _environment(peer: Peer, say: Callable[[str], None]) -> str:
    """A virtual environment with the pins of a peer, made if it is not there; gives its Python."""
    tag = hashlib.sha256("\n".join([sys.version, sys.base_prefix, *peer.pins]).encode()).hexdigest()[:8]
    home = environments() / f"{peer.name}-{tag}"
    python = home / "bin" / "python"
    if (home / "complete").exists():
        return str(python)
    say(f"{peer.name}: making an environment of its own in {home} (once)")
    shutil.rmtree(home, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.pins]
    for command in ([sys.executable, "-m", "venv", str(home)], [str(python), *install]):
        made = subprocess.run(command, capture_output=True, text=True)
        if made.returncode:
            shutil.rmtree(home, ignore_errors=True)
            last = (made.stderr.strip() or made.stdout.strip() or "no word").splitlines()[-1]
            raise PeerMissing(f"{' '.join(peer.pins)} can't be installed into an environment of its own: {last}")
    (home / "complete").touch()
    return str(python)
