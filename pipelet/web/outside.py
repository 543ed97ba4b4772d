"""What stands between the HTTP server and the pages: the base path, proxies, and the name that was asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipelet.web.settings import Settings, is_loopback

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")
#: Names that lead to this machine wherever they are looked up.
_OURS = ("localhost", "127.0.0.1", "[::1]")

#: Addresses of more steps are no one's; to find out what is there takes long.
_MOST_STEPS = 300

_WRONG_HOST = """\
This server answers to the names localhost and 127.0.0.1 only, and was asked for another one.

Open it under one of these. If it stands behind a proxy, start it with --proxy or --base-path; if other machines
should reach it, with --host.
"""


class Outside:
    """Makes of each request what it would be without a proxy, and refuses those for somebody else.

    Parameters
    ----------
    application
        The pages.
    settings
        Whom to believe, and where the pages are.
    """

    def __init__(self, application: Application, settings: Settings) -> None:
        self._application = application
        self._settings = settings
        self._names = _names(settings)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer a request (WSGI)."""
        head = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]
        if not self._is_for_us(environ.get("HTTP_HOST", "")):
            start_response("421 Misdirected Request", head)
            return [_WRONG_HOST.encode()]
        if environ.get("PATH_INFO", "").count("/") > _MOST_STEPS:
            start_response("414 URI Too Long", head)
            return [b"There is no page at this address.\n"]
        self._believe(environ)
        self._place(environ)
        environ["HTTP_COOKIE"] = self._own_cookies(environ.get("HTTP_COOKIE", ""))

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [_relative(*header) for header in headers], *rest)

        return self._application(environ, start)

    def _is_for_us(self, host: str) -> bool:
        # A name of somebody else's that leads here would make our pages part of their site in the eyes of a browser.
        found = _HOST.fullmatch(host)
        if found is None:
            return not host
        return self._names is None or found["name"].lower() in self._names

    def _own_cookies(self, header: str) -> str:
        # Those of other programs at other ports of this host come, too; one that can't be read would hide ours.
        parts = [part.strip() for part in header.split(";")]
        return "; ".join(part for part in parts if part.startswith(self._settings.cookie))

    def _believe(self, environ: dict[str, Any]) -> None:
        forwarded = {
            name: environ.pop(f"HTTP_{name}", "") for name in ("X_FORWARDED_FOR", "X_FORWARDED_PROTO", "FORWARDED")
        }
        for name in ("X_FORWARDED_HOST", "X_FORWARDED_PORT", "X_FORWARDED_PREFIX", "X_SCRIPT_NAME"):
            environ.pop(f"HTTP_{name}", None)
        if environ.get("REMOTE_ADDR") not in self._settings.proxy:
            return
        # The last one was added by the proxy that is believed; those before it, by anybody.
        address = forwarded["X_FORWARDED_FOR"].rpartition(",")[2].strip()
        if address:
            environ["REMOTE_ADDR"] = address[:64]
            environ["REMOTE_PORT"] = ""
        scheme = forwarded["X_FORWARDED_PROTO"].rpartition(",")[2].strip().lower()
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme

    def _place(self, environ: dict[str, Any]) -> None:
        """Some proxies take the base path away before they pass a request on, others leave it."""
        base, path = self._settings.base_path, environ.get("PATH_INFO", "")
        environ["SCRIPT_NAME"] = base
        if base and (path == base or path.startswith(base + "/")):
            environ["PATH_INFO"] = path[len(base) :]


def _relative(name: str, value: str) -> tuple[str, str]:
    """Leave the host out of where somebody is sent: the browser knows it, and behind a proxy nobody else does."""
    if name.lower() != "location":
        return name, value
    parts = urlsplit(value)
    return name, urlunsplit(("", "", "/" + parts.path.lstrip("/"), parts.query, parts.fragment))


def _names(settings: Settings) -> frozenset[str] | None:
    if not is_loopback(settings.host) or settings.proxy or settings.base_path:
        return None
    own = f"[{settings.host}]" if ":" in settings.host else settings.host
    return frozenset((*_OURS, own))
