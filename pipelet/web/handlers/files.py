"""One product: its page, its bytes and its picture."""

from __future__ import annotations

import os
import re
from urllib.parse import quote

import cherrypy
from cherrypy.lib.static import serve_fileobj

from pipelet.errors import BusyError, MissingProductError, ViewError
from pipelet.statusdb import InstanceRow, TaskRow
from pipelet.storage import Entry, Kind, TaskFiles, printable
from pipelet.web.filenames import from_query
from pipelet.web.handlers.base import (
    KEY_SHOWN,
    BadQuery,
    Body,
    NotFound,
    Pages,
    Site,
    Unavailable,
    reads,
    sentence,
)
from pipelet.web.handlers.products import find_task
from pipelet.web.queries import products as queries
from pipelet.web.viewers import thumbnails
from pipelet.web.viewers.base import Source
from pipelet.web.viewers.kinds import content_type, kind_by_name
from pipelet.web.viewers.views import view

#: What a product may do in the browser: be seen. Scripts, forms and whatever is elsewhere are closed to it.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
#: A browser plays and shows these itself, in a document of its own that has to load the same address.
_PLAYED = SANDBOX.replace("img-src data:", "img-src 'self' data:; media-src 'self'")
#: The viewer of a browser does not work in a sandbox; it is one of its own.
_PDF = "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; frame-ancestors 'self'"


class Files(Pages):
    """``file/<id>/<path>``, ``raw/<id>/<path>`` and ``thumb/<id>/<path>``."""

    @reads
    def file(self, site: Site, number: str, *path: str, after: str = "", tail: str = "") -> Body:
        """Show a product, or a folder of products."""
        task, instance, files = _files(site, number)
        place, entry = _entry(files, path)
        kind = entry.leads if entry.kind is Kind.LINK else entry.kind
        name = place.rpartition("/")[2]
        shared = {
            "task": task, "instance": instance, "key": instance.key[:KEY_SHOWN], "files": files, "place": place,
            "name": name, "entry": entry, "crumbs": _crumbs(place), "folder": None, "view": None, "before": None,
            "after": None,
        }
        if kind is Kind.FOLDER:
            return site.render("file.html", **{**shared, "folder": files.folder(place, from_query(after))})
        if kind is not Kind.FILE:
            return site.render("file.html", **shared)
        before, later = queries.neighbours(files, place)
        with files.open(place) as file:
            source = Source(file, name, os.fstat(file.fileno()).st_size)
            shown = view(source, bool(tail))
        return site.render("file.html", **{**shared, "view": shown, "before": before, "after": later})

    @reads
    def raw(self, site: Site, number: str, *path: str, download: str = "") -> Body:
        """Send the bytes of a product."""
        _, _, files = _files(site, number)
        place, _ = _entry(files, path)
        file = files.open(place)
        name = place.rpartition("/")[2]
        headers = cherrypy.response.headers
        headers["Content-Security-Policy"] = _policy(name)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Content-Disposition"] = disposition(name, bool(download))
        headers["Cache-Control"] = "private, no-cache"
        info = os.fstat(file.fileno())
        headers["ETag"] = f'"{info.st_ino:x}-{info.st_size:x}-{info.st_mtime_ns:x}"'
        # Else it would all be read before the first byte is sent.
        cherrypy.response.stream = True
        cherrypy.serving.request.hooks.attach("on_end_request", file.close)
        sent: Body = serve_fileobj(file, content_type(name), disposition=None)
        return sent

    @reads
    def thumb(self, site: Site, number: str, *path: str, size: str = "small", part: str = "") -> Body:
        """Send a small picture of a product."""
        if size not in thumbnails.SIDES:
            raise BadQuery("There is no such size.")
        _, _, files = _files(site, number)
        place, _ = _entry(files, path)
        headers = cherrypy.response.headers
        try:
            with files.open(place) as file:
                source = Source(file, place.rpartition("/")[2], os.fstat(file.fileno()).st_size)
                mark = '"{}"'.format("-".join(f"{item:x}" for item in thumbnails.mark(source)))
                headers["ETag"] = mark
                headers["Cache-Control"] = "private, max-age=60"
                if mark in cherrypy.request.headers.get("If-None-Match", ""):
                    cherrypy.response.status = 304
                    return b""
                data = thumbnails.picture(source, size, part)
        except ViewError as error:
            headers.pop("ETag", None)
            headers.pop("Cache-Control", None)
            if isinstance(error, BusyError):
                headers["Retry-After"] = "5"
                raise Unavailable(sentence(error)) from None
            raise NotFound(f"There is no picture: {error}.") from None
        headers["Content-Type"] = thumbnails.picture_type(data)
        headers["Content-Security-Policy"] = SANDBOX
        return data


def disposition(name: str, download: bool) -> str:
    """Write the header that gives a file its name, whatever the name is (RFC 6266).

    Parameters
    ----------
    name
        The file's name.
    download
        Whether the browser shall keep the file rather than show it.
    """
    shown = printable(name).replace("/", "_")
    plain = re.sub(r'[^ -~]|["\\%;]', "_", shown)[:150]
    exact = quote(shown[:150].encode("utf-8", "replace"), safe="")
    return f"{'attachment' if download else 'inline'}; filename=\"{plain}\"; filename*=UTF-8''{exact}"


def _policy(name: str) -> str:
    kind = kind_by_name(name)
    if kind == "pdf":
        return _PDF
    return _PLAYED if kind in ("image", "video", "audio") else SANDBOX


def _files(site: Site, number: str) -> tuple[TaskRow, InstanceRow, TaskFiles]:
    found, instance = find_task(site, number)
    return found.row, instance, queries.files_of(site.tree, site.reader, instance, found.row)


def _entry(files: TaskFiles, path: tuple[str, ...]) -> tuple[str, Entry]:
    """Find what stands under the path of an address."""
    # Names that hold the signs %2F come with a slash instead, and those that are no UTF-8 as Latin-1.
    plain = "/".join(path)
    exact = "/".join(part.replace("/", "%2F") for part in path)
    found: MissingProductError | None = None
    for place in (exact, plain, _other_bytes(exact), _other_bytes(plain)):
        try:
            if place is not None:
                return place, files.entry(place)
        except MissingProductError as error:
            found = error
    raise found or MissingProductError("there is no such file")


def _other_bytes(place: str) -> str | None:
    try:
        data = place.encode("latin-1")
        return None if data.isascii() else data.decode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return None


def _crumbs(place: str) -> list[tuple[str, str]]:
    parts = place.split("/") if place else []
    return [(part, "/".join(parts[: count + 1])) for count, part in enumerate(parts)]
