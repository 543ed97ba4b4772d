"""A batch server by itself: here, or in a process of its own that outlives whoever has started it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipelet.errors import LauncherError, PipeletError
from pipelet.executors.cluster.joining import running_server
from pipelet.launchers import launch_batch
from pipelet.pickled import load_pipeline
from pipelet.pipeline import Pipeline
from pipelet.storage import Tree
from pipelet.summary import Summary

#: What the new process runs. It has no parent that waits for it, and no terminal to which it could belong.
_PROGRAM = """\
import os, sys
if os.fork():
    os._exit(0)
sys.path[:] = [sys.argv.pop(1), *filter(None, sys.path)]
from pipelet.daemon import main
sys.exit(main(sys.argv[1:]))
"""
#: What it says beside what the log of the prefix tells.
_OUTPUT = "pipeletd.out"


@dataclass(frozen=True)
class Started:
    """What became of a server that was started.

    Attributes
    ----------
    pid
        Its process.
    address
        Where it listens; empty if the run is over already.
    log
        The log of its prefix.
    ok
        Whether no task has failed until now.
    summary
        How the run ended, if it is over already.
    """

    pid: int
    address: str
    log: str
    ok: bool
    summary: str


def serve(
    pipeline: Pipeline, host: str | None, port: int, log_level: int, tell: Callable[[str], None] | None = None
) -> Summary:
    """Run a pipeline as a batch server, until it is done.

    Parameters
    ----------
    pipeline
        Which.
    host, port
        Where to listen: this host if not given, and any port that is free for 0.
    log_level
        What is printed.
    tell
        Is told where the server listens.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, or SIGTERM: what is done is kept.
    PipeletError
        The run can't begin or can't go on.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    # A shell that begins something in the background makes it deaf to that.
    signal.signal(signal.SIGINT, _interrupt)
    run, _ = launch_batch(pipeline, 0, address=(host or socket.gethostname(), port), log_level=log_level)
    if tell is not None:
        with contextlib.suppress(LauncherError):  # it has had nothing to do, and is over
            tell(running_server(pipeline.prefix).address)
    summary = run.run()
    assert isinstance(summary, Summary)
    return summary


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def detach(pipeline: Pipeline, file: BinaryIO, path: str, host: str | None, port: int, log_level: int) -> Started:
    """Start a server that goes on by itself, and wait until it listens.

    Parameters
    ----------
    pipeline
        As it was loaded.
    file, path
        From where: the new process loads it from the same open file.
    host, port, log_level
        As for `serve`.

    Raises
    ------
    LauncherError
        It does not listen; the words are its own.
    OSError
        Its log can't be written.
    """
    home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    logs = os.path.join(Tree(pipeline.prefix).engine_dir, "log")
    os.makedirs(logs, exist_ok=True)
    file.seek(0)
    reading, writing = os.pipe()
    words = [str(file.fileno()), str(writing), os.path.abspath(path), host or "", str(port), str(log_level)]
    with os.fdopen(reading) as told, open(os.path.join(logs, _OUTPUT), "a") as output:
        try:
            subprocess.run(
                [sys.executable, "-c", _PROGRAM, home, *words], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=(file.fileno(), writing), start_new_session=True, cwd="/", check=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise LauncherError(f"the process of the server can't be started: {error}") from error
        finally:
            os.close(writing)
        said = _hear(told)
    if "error" in said:
        raise LauncherError(str(said["error"]))
    if "ok" not in said:
        raise LauncherError(f"the server has ended without a word; see {os.path.join(logs, _OUTPUT)}")
    return Started(said["pid"], said["address"], os.path.join(logs, "pipelet.log"), said["ok"], said["summary"])


def _hear(told: Any) -> dict[str, Any]:
    """All that the new process tells until it listens or has ended."""
    said: dict[str, Any] = {}
    try:
        for line in told:
            said.update(json.loads(line))
    except KeyboardInterrupt:
        if "pid" in said:
            with contextlib.suppress(ProcessLookupError):
                os.kill(said["pid"], signal.SIGTERM)
        raise
    return said


def main(words: list[str]) -> int:
    """The main function of that process.

    Parameters
    ----------
    words
        As `detach` gives them.

    Returns
    -------
    int
        The exit status.
    """
    number, writing, path, host, port, log_level = words
    report = os.fdopen(int(writing), "w")
    os.set_inheritable(report.fileno(), False)
    os.set_inheritable(int(number), False)

    def tell(**what: object) -> None:
        if not report.closed:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(what), file=report, flush=True)

    def listening(address: str) -> None:
        tell(address=address, ok=True, summary="")
        report.close()

    tell(pid=os.getpid())
    try:
        with os.fdopen(int(number), "rb") as file:
            pipeline = load_pipeline(file, path)
        summary = serve(pipeline, host or None, int(port), int(log_level), listening)
    except KeyboardInterrupt:
        print("stopped: what is done is kept, the next run goes on from there", flush=True)
        return 130
    except (PipeletError, OSError) as error:
        tell(error=str(error))
        logging.getLogger(__name__).error("%s", error)
        return 1
    tell(address="", ok=summary.ok, summary=str(summary))
    print(summary, flush=True)
    return 0 if summary.ok else 1
