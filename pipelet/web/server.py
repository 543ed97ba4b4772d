"""The process that serves the web pages."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from types import FrameType
from typing import Any

from pipelet.errors import PipeletError, WebError
from pipelet.web import listeners, pidfile
from pipelet.web.http import HTTPServer
from pipelet.web.outside import Application, Outside
from pipelet.web.settings import Settings, is_loopback, make_private, tls_context

#: Bytes of a log file, and how many older ones are kept.
LOG_BYTES = 5_000_000
LOG_KEPT = 4
#: Seconds after which an end is no longer waited for.
END_TIME = 1.5

logger = logging.getLogger("pipelet.web")


def serve(settings: Settings, application: Callable[[], Application], ready: Callable[[pidfile.Note], None]) -> None:
    """Serve until somebody ends it with SIGTERM, SIGINT or SIGHUP.

    To be called in the main thread of a process that does nothing else: it sets signal handlers, and may end the
    process when requests do not end.

    Parameters
    ----------
    settings
        How.
    application
        Makes the pages (WSGI).
    ready
        Called once it listens.

    Raises
    ------
    WebError
        It can't listen there, or runs already.
    """
    os.umask(0o077)
    only = pidfile.Only(settings.state)
    open_log(settings.state)
    ended, wake = os.pipe()
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, _writer(wake))
    context = tls_context(settings.cert, settings.key) if settings.cert and settings.key else None
    server = HTTPServer((settings.host, settings.port), Outside(application(), settings), context)
    try:
        server.prepare()
    except OSError as error:
        raise _explained(settings, error) from error
    own = pidfile.note(settings, server.bind_addr[1])
    try:
        pidfile.write(own)
        threading.Thread(target=_serve, args=(server, wake), name="pipelet-web", daemon=True).start()
        logger.info("started at %s, process %d", own.url, own.pid)
        ready(own)
        os.read(ended, 1)
        logger.info("ending")
    finally:
        pidfile.remove(settings.state, own.pid)
        _end(server)
        only.close()


def _writer(descriptor: int) -> Callable[[int, FrameType | None], None]:
    # Nothing but a write: a handler may come between any two steps, also those of a lock.
    def note(_signum: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):
            os.write(descriptor, b"x")

    return note


def _serve(server: HTTPServer, wake: int) -> None:
    try:
        server.serve()
    except BaseException:
        logger.exception("the server broke down")
    finally:
        with contextlib.suppress(OSError):
            os.write(wake, b"x")


def _end(server: HTTPServer) -> None:
    """Close everything; end the process where a request does not let go of it."""
    closing = threading.Thread(target=server.stop, name="pipelet-web-stop", daemon=True)
    closing.start()
    closing.join(END_TIME)
    if closing.is_alive():
        logger.warning("ended with requests under way")
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # Threads of requests can't be ended in any other way.
        os._exit(0)


def _explained(settings: Settings, error: OSError) -> WebError:
    where = f"{settings.host}, port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        who = listeners.who_listens(settings.port)
        free = _free_port(settings)
        advice = f"; try `pipeweb start --port {free}`" if free else ""
        return WebError(f"port {settings.port} is in use{f' by {who}' if who else ''}{advice}")
    if error.errno in (errno.EACCES, errno.EPERM) and settings.port < 1024:
        return WebError(f"port {settings.port} is kept for the system: give one from 1024 on, as in --port 8080")
    if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
        return WebError(f"this machine has no address {settings.host}: --host takes one of its own, or 0.0.0.0 for all")
    return WebError(f"can't listen at {where}: {error.strerror or error}")


def _free_port(settings: Settings) -> int:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    for port in range(settings.port + 1, min(settings.port + 50, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as trial, contextlib.suppress(OSError):
            trial.bind((settings.host, port))
            return port
    return 0


def open_log(state: str) -> None:
    """Have all messages go to the rotating log file, and none to the terminal."""
    make_private(state)
    handler = RotatingFileHandler(
        pidfile.log_file(state), maxBytes=LOG_BYTES, backupCount=LOG_KEPT, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-8s %(message)s"))
    # A full disk must not stop the pages.
    handler.handleError = lambda record: None  # type: ignore[method-assign]
    for name, level in (("pipelet.web", logging.INFO), ("cherrypy.error", logging.WARNING)):
        target = logging.getLogger(name)
        target.setLevel(level)
        target.propagate = False
        target.addHandler(handler)
    sys.unraisablehook = _unraisable


class _OneLine(logging.Formatter):
    """Further lines are indented, so that nobody can make up a line of the log by what is sent."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text).replace("\n", "\n    ")


def _unraisable(found: Any) -> None:
    # Connections that are collected after their end; there is nothing that anybody could do.
    logger.debug("ignored: %r in %r", found.exc_value, found.object)


def warnings_of(settings: Settings) -> list[str]:
    """Say what is unsafe about settings.

    Parameters
    ----------
    settings
        How the server listens.

    Returns
    -------
    list of str
        Sentences.
    """
    if settings.is_secure or is_loopback(settings.host):
        return []
    return [
        f"it listens at {settings.host} without TLS: passwords and data can be read on the way. Give --cert and --key,"
        " or let it listen at 127.0.0.1 behind a proxy or a tunnel of ssh."
    ]


def pages(settings: Settings) -> Application:
    """Make the pages.

    Parameters
    ----------
    settings
        Where the list of pipelines is, among others.

    Returns
    -------
    Application
        WSGI.
    """
    # cherrypy takes its time to import, and a port in use should be told at once.
    from pipelet.web.app import make_app, make_services
    from pipelet.web.housekeeping import Housekeeper
    from pipelet.web.tracked import Registry

    registry = Registry(settings.config)
    application: Application = make_app(make_services(settings, registry))
    Housekeeper(registry).start()
    return application


def main(arguments: list[str]) -> int:
    """Serve as a process of its own: ``python -m pipelet.web.server SETTINGS DESCRIPTOR``.

    Parameters
    ----------
    arguments
        The settings as JSON, and the descriptor of a pipe, which gets one line of JSON: the note, or the error.

    Returns
    -------
    int
        The exit status.
    """
    settings = Settings.from_json(arguments[0])
    pipe = os.fdopen(int(arguments[1]), "w", encoding="ascii")

    def tell(**words: object) -> None:
        # Whoever started it may have gone.
        with contextlib.suppress(OSError):
            pipe.write(json.dumps(words) + "\n")
            pipe.close()

    try:
        serve(settings, lambda: pages(settings), lambda own: tell(url=own.url, port=own.port, pid=own.pid))
    except PipeletError as error:
        logger.error("%s", error)
        tell(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
