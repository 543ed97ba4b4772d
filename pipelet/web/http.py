"""The HTTP server below the pages: cheroot, with patience for slow clients only where it costs others nothing."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
import time
import traceback as tracebacks
from typing import Any

import cheroot.server
import cheroot.ssl
import cheroot.wsgi
from cheroot import errors
from cheroot.makefile import StreamReader, StreamWriter

THREADS = 16
#: Seconds without a byte after which a connection is given up.
SILENCE = 10
#: Seconds that a request's head, or the handshake of TLS, may take in all.
HEAD_TIME = 15.0
#: Seconds that the body of a request may take in all: forms are small.
BODY_TIME = 60.0
HEAD_BYTES = 64 << 10
BODY_BYTES = 4 << 20
#: Connections that are kept open for a browser's next request.
KEPT_OPEN = 200
#: Connections that the system keeps until they are accepted.
BACKLOG = 128

_PLAIN_ON_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"This server speaks TLS only: open the address that begins with https://\n"
)

logger = logging.getLogger("pipelet.web")


class _HeaderReader(cheroot.server.HeaderReader):
    """Drops headers with an underscore, which would pass for the one with a dash that a proxy sets."""

    def _allow_header(self, key_name: bytes) -> bool:
        return b"_" not in key_name


class _Request(cheroot.server.HTTPRequest):
    """A request whose head and body have a time limit."""

    header_reader = _HeaderReader()

    def parse_request(self) -> None:
        self.conn.deadline = time.monotonic() + HEAD_TIME
        super().parse_request()
        self.conn.deadline = time.monotonic() + BODY_TIME if self._has_body() else None

    def _has_body(self) -> bool:
        return self.ready and (self.chunked_read or self.inheaders.get(b"Content-Length", b"0") != b"0")

    def send_headers(self) -> None:
        # The answer has begun: from here on it is the client's reading that takes time, which SILENCE limits.
        self.conn.deadline = None
        super().send_headers()


class _Connection(cheroot.server.HTTPConnection):
    """A connection that takes a thread only once there is something to read."""

    RequestHandlerClass = _Request

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.waited = False
        self.shaken = not isinstance(self.socket, ssl.SSLSocket)
        #: When it is given up, whatever it sends, on the clock `time.monotonic`.
        self.deadline: float | None = None

    def communicate(self) -> bool:
        self.server.busy.add(self)
        try:
            if not self.shaken and not self._shake():
                return False
            return bool(super().communicate())  # type: ignore[no-untyped-call]
        finally:
            self.deadline = None
            self.server.busy.discard(self)

    def _shake(self) -> bool:
        # Here and not where connections are accepted: one client that says nothing would keep all others waiting.
        self.deadline = time.monotonic() + HEAD_TIME
        try:
            self.socket.do_handshake()
        except ssl.SSLError as error:
            if error.reason == "HTTP_REQUEST":
                with contextlib.suppress(OSError):
                    socket.socket.sendall(self.socket, _PLAIN_ON_TLS)
            return False
        except OSError:
            return False
        self.shaken = True
        return True

    def close(self) -> None:
        # What cheroot leaves open is closed when it is collected, with an error that nobody can catch.
        with contextlib.suppress(OSError, ValueError):
            self.wfile.close()
        with contextlib.suppress(OSError, ValueError):
            super().close()

    def cut(self) -> None:
        """End it from another thread, which makes its thread give up."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)


class _TLS(cheroot.ssl.Adapter):
    """TLS whose handshake takes place in the connection's own thread."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__("", "")
        self.context = context

    def bind(self, sock: socket.socket) -> socket.socket:
        return sock

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        try:
            wrapped = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError as error:
            raise errors.FatalSSLAlert(*error.args) from error
        return wrapped, self.get_environ()

    def get_environ(self) -> dict[str, str]:
        return {"wsgi.url_scheme": "https", "HTTPS": "on"}

    def makefile(self, sock: socket.socket, mode: str = "r", bufsize: int = -1) -> Any:
        return (StreamReader if "r" in mode else StreamWriter)(sock, mode, bufsize)


class HTTPServer(cheroot.wsgi.Server):
    """The server.

    Parameters
    ----------
    address
        Host and port.
    application
        What answers (WSGI).
    context
        With certificate and key, for TLS.
    """

    ConnectionClass = _Connection
    version = "Pipelet"

    def __init__(self, address: tuple[str, int], application: Any, context: ssl.SSLContext | None = None) -> None:
        super().__init__(
            address, application, numthreads=THREADS, max=THREADS, server_name="Pipelet", request_queue_size=BACKLOG,
            timeout=SILENCE, shutdown_timeout=1,
        )
        self.max_request_header_size = HEAD_BYTES
        self.max_request_body_size = BODY_BYTES
        self.keep_alive_conn_limit = KEPT_OPEN
        self.nodelay = True
        self.ssl_adapter = _TLS(context) if context else None
        self._connections: Any
        self._refused: OSError | None = None
        #: Connections that have a thread.
        self.busy: set[_Connection] = set()

    def prepare(self) -> None:
        """Bind and listen, and start the threads.

        Raises
        ------
        OSError
            The address can't be had.
        """
        try:
            super().prepare()
        except OSError as error:
            # cheroot puts the system's word in a text of its own, without the number.
            raise self._refused or error from None
        threading.Thread(target=self._watch, name="pipelet-web-watch", daemon=True).start()

    def bind(self, family: int, type: int, proto: int = 0) -> Any:
        """Bind to one address; what the system says against it is kept."""
        try:
            return super().bind(family, type, proto)
        except OSError as error:
            self._refused = error
            raise

    def process_conn(self, conn: _Connection) -> None:
        """Give a connection to a thread; one that is new waits first until it says something.

        Browsers open connections in advance, and some clients never say a word.
        """
        if conn.waited:
            super().process_conn(conn)
        else:
            conn.waited = True
            self._connections.put(conn)

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        """Write to our log what cheroot would write to the terminal."""
        logger.log(level, "%s%s", msg, "\n" + tracebacks.format_exc().rstrip() if traceback else "")

    def _watch(self) -> None:
        while self.ready:
            now = time.monotonic()
            for connection in list(self.busy):
                if connection.deadline is not None and connection.deadline < now:
                    connection.cut()
            time.sleep(0.5)
