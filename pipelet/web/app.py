"""The application: which handler answers at which address, and what every answer carries."""

from __future__ import annotations

import inspect
import logging
import os
import re
import secrets
from collections.abc import Iterable

import cherrypy
from cherrypy._cpreqbody import process_urlencoded

from pipelet.web import formats
from pipelet.web.auth.gate import Gate
from pipelet.web.handlers.access import Access
from pipelet.web.handlers.base import Body, Pages, Services, answer, check_call, error_page, guarded
from pipelet.web.handlers.code import Code
from pipelet.web.handlers.compare import Compare
from pipelet.web.handlers.failures import Failures
from pipelet.web.handlers.files import Files
from pipelet.web.handlers.home import Home
from pipelet.web.handlers.index import Index
from pipelet.web.handlers.log import Log
from pipelet.web.handlers.products import Products
from pipelet.web.handlers.space import Space
from pipelet.web.handlers.timeline import Timeline
from pipelet.web.settings import Settings
from pipelet.web.tracked import Tracking

#: The pages of a pipeline.
PIPELINE_PAGES: tuple[type[Pages], ...] = (
    Index,
    Code,
    Compare,
    Products,
    Files,
    Failures,
    Log,
    Timeline,
    Space,
)

#: For our own pages: nothing inline, nothing from elsewhere.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " font-src 'self'; media-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Frame-Options": "SAMEORIGIN",
    "Cache-Control": "private, no-store",
}
#: Forms are small; nothing is uploaded.
LARGEST_BODY = 1 << 20
#: Whoever asks for more pieces than this, or for something else, gets the whole file.
_RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})(, ?(\d{1,18}-\d{0,18}|-\d{1,18})){0,3}")

_STATIC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "static", "web")
_LOGGER = logging.getLogger("pipelet.web")


class _Node:
    """A part of an address below which others are."""

    exposed = False


class _Pipelines:
    """``/p/<pipeline>/...``: without a page of its own, since any word may be the name of a pipeline."""

    def __init__(self, pages: _Node) -> None:
        self._cp_dispatch = cherrypy.popargs("pipeline", handler=pages)


def make_services(settings: Settings, registry: Tracking) -> Services:
    """Make what the handlers share.

    Parameters
    ----------
    settings
        How the server runs.
    registry
        The tracked pipelines.
    """
    return Services(settings, registry, Gate(settings, registry), formats.environment(_STATIC, settings.base_path))


def make_app(services: Services, pages: Iterable[type[Pages]] = PIPELINE_PAGES) -> cherrypy.Application:
    """Make the application.

    Parameters
    ----------
    services
        What the handlers share.
    pages
        The pages of a pipeline.

    Returns
    -------
    cherrypy.Application
        To be called by any WSGI server.
    """
    root = _Node()
    for kind in (Home, Access):
        for name, method in _marked(kind(services), "pipelet_route"):
            setattr(root, name, _plain(services, method))
    pipelines = _Node()
    root.p = _Pipelines(pipelines)  # type: ignore[attr-defined]
    pipelines.do = _Node()  # type: ignore[attr-defined]
    for page in pages:
        for name, method in _marked(page(services), "pipelet_level"):
            node = pipelines.do if name.startswith("do_") else pipelines  # type: ignore[attr-defined]
            setattr(node, name.removeprefix("do_"), answer(services, method, method.pipelet_level))
    made = cherrypy.Application(root, services.settings.base_path, _config(services))
    made.log.screen = False
    made.log.access_log.propagate = False
    return made


def _marked(pages: Pages, mark: str) -> list[tuple[str, cherrypy.Application]]:
    methods = [(name, getattr(pages, name)) for name in dir(pages) if not name.startswith("_")]
    return [(name, method) for name, method in methods if hasattr(method, mark)]


def _plain(services: Services, method: cherrypy.Application) -> cherrypy.Application:
    call = inspect.signature(method)

    def handler(*path: str, **query: object) -> Body:
        def work() -> Body:
            check_call(call, *path, **query)
            body: Body = method(*path, **query)
            return body

        return guarded(services, work)

    handler.exposed = True  # type: ignore[attr-defined]
    return handler


def _config(services: Services) -> dict[str, dict[str, object]]:
    def finalize() -> None:
        headers = cherrypy.serving.response.headers
        headers["Server"] = "Pipelet"
        for name, value in HEADERS.items():
            if name not in headers:
                headers[name] = value

    def ranges() -> None:
        headers = cherrypy.serving.request.headers
        if not _RANGE.fullmatch(headers.get("Range", "bytes=0-")):
            del headers["Range"]

    def page_of(status: str, message: str, traceback: str, version: str) -> str:
        # What CherryPy says of an error is for programmers.
        code = int(status.split(" ", 1)[0])
        cherrypy.serving.response.headers.update({**HEADERS, "Content-Type": "text/html;charset=utf-8"})
        words = "There is no page at this address." if code == 404 else message if code == 401 else "It can't be done."
        return error_page(services, code, words)

    def failed() -> None:
        number = secrets.token_hex(4)
        _LOGGER.exception("error %s at %s", number, cherrypy.request.path_info)
        words = f"This is a fault of the server. It is in its log, under the number {number}."
        page = error_page(services, 500, words)
        response = cherrypy.serving.response
        response.headers.update(HEADERS)
        response.headers["Content-Type"] = "text/html;charset=utf-8"
        response.headers.pop("Content-Length", None)
        response.body = [page.encode()]

    cherrypy.tools.pipelet_headers = cherrypy.Tool("before_finalize", finalize, priority=90)
    cherrypy.tools.pipelet_ranges = cherrypy.Tool("on_start_resource", ranges)
    return {
        "/": {
            "tools.pipelet_ranges.on": True,
            "tools.pipelet_headers.on": True,
            "tools.log_headers.on": False,
            "tools.encode.on": True,
            "tools.encode.encoding": "utf-8",
            # Of names that are no UTF-8; otherwise such a page would be refused as a whole.
            "tools.encode.errors": "backslashreplace",
            "tools.trailing_slash.on": False,
            "error_page.default": page_of,
            "request.error_response": failed,
            "request.show_tracebacks": False,
            "request.show_mismatched_params": False,
            # Our forms are of one kind; what cheats in another, or in a charset, would be a fault of the server.
            "request.body.processors": {"application/x-www-form-urlencoded": process_urlencoded},
            "request.body.attempt_charsets": ["utf-8"],
            "server.max_request_body_size": LARGEST_BODY,
        },
        "/static": {
            "tools.staticdir.on": True,
            "tools.staticdir.dir": _STATIC,
            "tools.staticdir.content_types": {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"},
            "tools.response_headers.on": True,
            "tools.response_headers.headers": [("Cache-Control", "public, max-age=86400")],
        },
    }

