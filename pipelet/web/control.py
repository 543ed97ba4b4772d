"""Starting, stopping and asking after the server's process."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from typing import IO, Any, NamedTuple

from pipelet.errors import PipeletError, WebError
from pipelet.statusdb import Reader
from pipelet.web import pidfile
from pipelet.web.settings import Settings, is_wildcard, make_private
from pipelet.web.tracked import Registry, Tracked

#: Seconds that a start may take: a cold network file system reads Python's packages slowly.
START_TIME = 90.0
#: Seconds after which a server that does not end is killed, and after which that is given up.
STOP_TIME, KILL_TIME = 8.0, 5.0
_PROBE_TIME = 5.0
_TAIL_LINES = 12
_PROGRAM = """\
import sys
home = sys.argv.pop(1)
sys.path.insert(0, home)
import pipelet
sys.path.remove(home)
from pipelet.web.server import main
sys.exit(main(sys.argv[1:]))
"""


class Found(NamedTuple):
    """How a tracked pipeline stands."""

    tracked: Tracked
    accounts: int
    problem: str  #: why it can't be shown; empty if it can


def running(state: str) -> pidfile.Note | None:
    """Give the note of the server that runs here; one whose process has gone is taken away."""
    found = pidfile.read(state)
    if found is None or found.alive:
        return found
    pidfile.remove(state, found.pid)
    return None


def answers(note: pidfile.Note) -> bool:
    """Ask the server for its log-in page.

    Parameters
    ----------
    note
        Which.

    Returns
    -------
    bool
        Whether a page came, be it one that tells of an error.
    """
    settings = note.settings
    host = settings.host
    if is_wildcard(host):
        host = "::1" if ":" in host else "127.0.0.1"
    connection: http.client.HTTPConnection
    if settings.is_secure:
        # It is asked whether it is there, not who it is.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, note.port, timeout=_PROBE_TIME, context=context)
    else:
        connection = http.client.HTTPConnection(host, note.port, timeout=_PROBE_TIME)
    try:
        with contextlib.closing(connection):
            connection.request("GET", f"{settings.base_path}/login")
            connection.getresponse()
            return True
    except (OSError, http.client.HTTPException):
        return False


def start(settings: Settings) -> pidfile.Note:
    """Start the server as a process of its own, and wait until its page answers.

    Parameters
    ----------
    settings
        How it listens.

    Returns
    -------
    Note
        Of the server.

    Raises
    ------
    WebError
        It did not start; the message holds the end of its log where it did not say why.
    """
    make_private(settings.state)
    log = pidfile.log_file(settings.state)
    end, told = os.pipe()
    with os.fdopen(end, "rb", buffering=0) as words:
        try:
            process = _spawn(settings, log, told)
        finally:
            os.close(told)
        try:
            return _await(settings, process, words, log)
        except BaseException:
            _end(process)
            raise


def _spawn(settings: Settings, log: str, told: int) -> subprocess.Popen[bytes]:
    # The very package that this process has, also where it was found through the current directory.
    home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", _PROGRAM, home, settings.to_json(), str(told)]
    try:
        # What goes wrong before the log is open, and what no handler catches, is to be found there as well.
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise WebError(f"the log {log} can't be written: {error.strerror or error}") from error
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
            pass_fds=(told,),
        )
    finally:
        os.close(output)


def _await(settings: Settings, process: subprocess.Popen[bytes], words: IO[bytes], log: str) -> pidfile.Note:
    deadline = time.monotonic() + START_TIME
    heard = _heard(words, deadline)
    if "error" in heard:
        process.wait()
        raise WebError(heard["error"])
    while heard and time.monotonic() < deadline and process.poll() is None:
        note = pidfile.read(settings.state)
        if note is not None and note.pid == process.pid and answers(note):
            # The server goes on, and nobody waits for its end.
            process.returncode = 0
            return note
        time.sleep(0.05)
    try:
        how = f"it ended with status {process.wait(timeout=1)}"
    except subprocess.TimeoutExpired:
        how = f"its page did not answer within {START_TIME:.0f} s"
    raise WebError(f"the server did not start: {how}. The end of its log, {log}:\n{_tail(log)}")


def _heard(words: IO[bytes], deadline: float) -> dict[str, Any]:
    """Read the line that the server sends; nothing if it ends without one."""
    text = b""
    while not text.endswith(b"\n"):
        if not select.select([words], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        piece = words.read(4096)
        if not piece:
            break
        text += piece
    found: dict[str, Any] = json.loads(text) if text.endswith(b"\n") else {}
    return found


def _tail(log: str) -> str:
    with contextlib.suppress(OSError), open(log, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
        lines = file.read().decode("utf-8", "replace").splitlines()
        return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:]) or "  (it is empty)"
    return "  (it can't be read)"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop(state: str, tell: Callable[[str], None]) -> pidfile.Note | None:
    """End the server that runs here, and wait until it has gone.

    Parameters
    ----------
    state
        The directory of its note.
    tell
        Called with words when it takes long.

    Returns
    -------
    Note or None
        Of the server that was ended; ``None`` if none ran.

    Raises
    ------
    WebError
        It can't be ended.
    """
    note = running(state)
    if note is None:
        return None
    for signum, patience in ((signal.SIGTERM, STOP_TIME), (signal.SIGKILL, KILL_TIME)):
        try:
            os.kill(note.pid, signum)
        except ProcessLookupError:
            pass
        except PermissionError as error:
            raise WebError(f"process {note.pid} can't be ended: it belongs to somebody else") from error
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not note.alive:
                pidfile.remove(state, note.pid)
                return note
            time.sleep(0.02)
        if signum == signal.SIGTERM:
            tell(f"process {note.pid} does not end by itself; it is killed")
    raise WebError(f"process {note.pid} does not end, perhaps because a file system does not answer")


def look(registry: Registry) -> list[Found]:
    """See how each tracked pipeline stands.

    Parameters
    ----------
    registry
        The list.

    Returns
    -------
    list of Found
        By name.

    Raises
    ------
    WebError
        The list can't be read.
    """
    found = []
    for tracked in registry.load():
        try:
            with Reader.open(tracked.sqlfile) as reader:
                found.append(Found(tracked, len(reader.users()), ""))
        except PipeletError as error:
            found.append(Found(tracked, 0, str(error)))
    return found
