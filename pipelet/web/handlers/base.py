"""What the handlers of all pages have in common: who asks, for which pipeline, and how an error becomes a page."""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import cherrypy
import jinja2

from pipelet.core.model import Status
from pipelet.errors import (
    DatabaseError,
    LockedDatabaseError,
    MissingProductError,
    PipeletError,
    PrefixError,
    PrefixLocked,
    RefusedProductError,
    WebError,
)
from pipelet.statusdb import InstanceRow, Reader
from pipelet.storage import Tree
from pipelet.web.auth.gate import Gate, Session
from pipelet.web.settings import DATABASE_PATIENCE, Settings
from pipelet.web.tracked import Tracked, Tracking

#: So many characters of a key stand in an address; any unique beginning of at least `SHORTEST_KEY` is understood.
KEY_SHOWN = 12
SHORTEST_KEY = 6

#: Longer addresses are not gone back to.
LONGEST_NEXT = 2000

#: What a handler may return: text, bytes, or pieces of them as they come.
Body = str | bytes | Iterator[bytes]
Handler = TypeVar("Handler", bound=Callable[..., Any])


class PageError(Exception):
    """A request that can't be answered as it was asked; its text is for the visitor."""

    status = 500


class BadQuery(PageError):
    """Something in the address or in a form is not as it must be."""

    status = 400


class Forbidden(PageError):
    """The account's level does not allow it, or the form is not one of ours."""

    status = 403


class NotFound(PageError):
    """There is no such thing, or no longer."""

    status = 404


class Refused(PageError):
    """It can't be done now; the text gives the reason."""

    status = 409


class Unavailable(PageError):
    """The data can't be read now."""

    status = 503


@dataclass(frozen=True)
class Services:
    """What all handlers share."""

    settings: Settings
    registry: Tracking
    gate: Gate
    templates: jinja2.Environment

    def url(self, *parts: object, **query: object) -> str:
        """The address of a page: the parts of its path, each quoted, and its query; what is ``None`` is left out."""
        # Names of files may be no UTF-8.
        raw = [str(part).encode("utf-8", "surrogateescape") for part in parts]
        path = "/".join(quote(part, safe="/" if index > 3 else "") for index, part in enumerate(raw))
        given = [(name, value) for name, value in query.items() if value is not None and value != ""]
        asked = urlencode(given, doseq=True, errors="surrogateescape")
        return f"{self.settings.base_path}/{path}{'?' + asked if asked else ''}"

    def render(self, template: str, **data: object) -> str:
        """Fill in a template that belongs to no pipeline."""
        session = current_session(self)
        shared = {"site": None, "token": session.token if session else "", "url": self.url, "settings": self.settings}
        return self.templates.get_template(template).render(
            {**shared, "signed_in": session is not None, "notices": take_notices(), **data}
        )


class Site:
    """One tracked pipeline in one request.

    Attributes
    ----------
    name, sqlfile, tree
        Which pipeline, and where it is.
    user, level
        Who asks; level 1 reads, 2 also writes.
    token
        Stands in each form that changes something.
    """

    def __init__(self, services: Services, tracked: Tracked, user: str, level: int, token: str) -> None:
        self.services = services
        self.name = tracked.name
        self.sqlfile = tracked.sqlfile
        self.tree = Tree(tracked.prefix)
        self.user = user
        self.level = level
        self.token = token
        self._reader: Reader | None = None

    @property
    def reader(self) -> Reader:
        """Its database, open until the request ends."""
        if self._reader is None:
            self._reader = Reader.open(self.sqlfile, busy_timeout=DATABASE_PATIENCE)
        return self._reader

    def close(self) -> None:
        """Close the database."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def url(self, *parts: object, **query: object) -> str:
        """The address of a page of this pipeline; without parts, its index."""
        return self.services.url("p", self.name, *(parts or ("",)), **query)

    def instance(self, key: str) -> InstanceRow:
        """The version of a segment whose key begins so.

        Raises
        ------
        NotFound
            There is none, or more than one.
        """
        found = [row for row in self.reader.instances() if row.key.startswith(key)] if len(key) >= SHORTEST_KEY else []
        if len(found) != 1:
            raise NotFound(f"No version of a segment has a key that begins with {key[:60]}. It may have been deleted.")
        return found[0]

    def render(self, template: str, **data: object) -> str:
        """Fill in a template."""
        shared = {"site": self, "token": self.token, "url": self.services.url, "settings": self.services.settings}
        return self.services.templates.get_template(template).render(
            {**shared, "signed_in": True, "statuses": [str(status) for status in Status],
             "notices": take_notices(), **data}
        )


class Pages:
    """The base of the handlers: each method that `reads` or `changes` marks answers at its own name.

    ``do_tag`` answers at ``do/tag``. The first argument is the `Site`, then come the parts of the path, then the query
    or the form by name.
    """

    def __init__(self, services: Services) -> None:
        self.services = services


def reads(method: Handler) -> Handler:
    """Mark a handler that shows something: level 1 will do."""
    method.pipelet_level = 1  # type: ignore[attr-defined]
    return method


def changes(method: Handler) -> Handler:
    """Mark a handler that changes something: it wants a form with its token, and level 2."""
    method.pipelet_level = 2  # type: ignore[attr-defined]
    return method


def route(method: Handler) -> Handler:
    """Mark a handler that belongs to no pipeline, and looks itself who asks."""
    method.pipelet_route = True  # type: ignore[attr-defined]
    return method


def answer(services: Services, method: Callable[..., Body], level: int) -> Callable[..., Body]:
    """Make what CherryPy calls of a marked method.

    Parameters
    ----------
    services
        What the handlers share.
    method
        The bound method.
    level
        The level that it wants; from 2 on it also wants a form with its token.
    """

    single = _single(method)
    call = inspect.signature(method)

    def handler(*path: str, pipeline: object = "", **query: object) -> Body:
        def work() -> Body:
            if level > 1 and cherrypy.request.method != "POST":
                cherrypy.response.headers["Allow"] = "POST"
                raise BadQuery("This address takes a form only: go back to the page that has it.")
            if level <= 1 and cherrypy.request.method not in ("GET", "HEAD"):
                raise BadQuery("This page takes no form.")
            site = _site(services, str(pipeline))
            # After the body went out: a page may be made while it is sent.
            cherrypy.serving.request.hooks.attach("on_end_request", site.close)
            if level > 1:
                check_token(site.token, str(query.pop("token", "")))
                if site.level < level:
                    raise Forbidden(
                        f"The account {site.user} may look at {site.name} but not change anything. An account of level"
                        f" 2 may: pipeutils -a {site.user} -l 2 SQLFILE"
                    )
            names = query if single is None else single
            wrong = next((name for name in names if not isinstance(query.get(name, ""), str)), None)
            if wrong is not None:
                raise BadQuery(f"What is called {wrong} is wanted once, as text.")
            check_call(call, site, *path, **query)
            return method(site, *path, **query)

        return guarded(services, work if level > 1 else partial(_twice, work))

    handler.exposed = True  # type: ignore[attr-defined]
    return handler


def _twice(work: Callable[[], Body]) -> Body:
    """Do what only reads; a run that begins or ends just then changes how its database is kept, so: once more."""
    try:
        return work()
    except LockedDatabaseError:
        # It was waited for already.
        raise
    except DatabaseError:
        return work()


def _single(method: Callable[..., Body]) -> list[str] | None:
    """The fields that a handler takes as one text (``None``: all); one that is given twice comes as a list."""
    found = inspect.signature(method).parameters.values()
    texts = [field for field in found if field.annotation in ("str", "str | None", str)]
    if any(field.kind is inspect.Parameter.VAR_KEYWORD for field in texts):
        return None
    return [field.name for field in texts if field.kind is not inspect.Parameter.VAR_POSITIONAL]


def guarded(services: Services, work: Callable[[], Body]) -> Body:
    """Do something; an error that a visitor can understand becomes a page."""
    try:
        return work()
    except PageError as error:
        return error_page(services, error.status, str(error))
    except MissingProductError as error:
        return error_page(services, NotFound.status, sentence(error))
    except RefusedProductError as error:
        return error_page(services, Forbidden.status, sentence(error))
    except PrefixLocked as error:
        return error_page(services, Refused.status, str(error))
    except (DatabaseError, PrefixError) as error:
        return error_page(services, Unavailable.status, str(error))
    except WebError as error:
        # Also those see this who have no account.
        cherrypy.log(str(error))
        words = "The list of the tracked pipelines can't be read; the log of this server says why (pipeweb status)."
        return error_page(services, Unavailable.status, words)
    except PipeletError as error:
        return error_page(services, PageError.status, str(error))


def check_call(call: inspect.Signature, *path: object, **query: object) -> None:
    """Raise `NotFound` if an address has parts that its page does not take, or lacks some."""
    try:
        call.bind(*path, **query)
    except TypeError:
        raise NotFound("There is no page at this address.") from None


def sentence(error: Exception) -> str:
    """Write what an error says as a sentence."""
    words = str(error)
    return f"{words[:1].upper()}{words[1:]}."


_TITLES = {
    400: "That can't be read",
    403: "Not allowed",
    404: "Not found",
    405: "Not this way",
    409: "Not now",
    413: "Too large",
    429: "Too soon",
    503: "Can't be read now",
}


def error_page(services: Services, status: int, message: str) -> str:
    """Make the page of an error, and set the status of the answer."""
    cherrypy.response.status = status
    title = _TITLES.get(status, "Something went wrong")
    return services.render("error.html", title=title, message=message, status=status)


def check_token(expected: str, given: str) -> None:
    """Raise `Forbidden` unless a form came from a page of ours."""
    sent = given or cherrypy.request.headers.get("X-Pipelet-Token", "")
    if not expected or not secrets.compare_digest(expected.encode(), sent.encode("utf-8", "replace")):
        raise Forbidden("This form is not of a page that was made for you, or it is too old: load the page again.")


def redirect(address: str) -> cherrypy.HTTPRedirect:
    """Send the visitor to another page of ours: to be raised."""
    return cherrypy.HTTPRedirect(address, 303)


def notice(services: Services, text: str, kind: str = "done") -> None:
    """Say something at the head of the next page that this visitor sees.

    Parameters
    ----------
    services
        What the handlers share.
    text
        A sentence.
    kind
        ``done`` or ``warning``.
    """
    session = current_session(services)
    if session is None:
        return
    waiting = _NOTICES.setdefault(session.token, [])
    waiting.append((kind, text))
    del waiting[:-_MOST_NOTICES]
    # Those who never came back for them.
    while len(_NOTICES) > _MOST_WAITING:
        _NOTICES.pop(next(iter(_NOTICES)), None)


_NOTICES: dict[str, list[tuple[str, str]]] = {}
_MOST_NOTICES = 5
_MOST_WAITING = 1000


def take_notices() -> list[tuple[str, str]]:
    """What is to be said now, and then no more."""
    session = getattr(cherrypy.serving.request, "pipelet_session", None)
    return _NOTICES.pop(session.token, []) if session is not None else []


def cookie_value(settings: Settings) -> str | None:
    """The session's cookie that came with the request."""
    cookie = cherrypy.request.cookie.get(settings.cookie)
    return None if cookie is None else str(cookie.value)


def current_session(services: Services) -> Session | None:
    """The session of this request, if there is one."""
    request = cherrypy.serving.request
    if not hasattr(request, "pipelet_session"):
        request.pipelet_session = services.gate.visit(cookie_value(services.settings))
    session: Session | None = request.pipelet_session
    return session


def _site(services: Services, name: str) -> Site:
    session = current_session(services)
    tracked = next((item for item in services.registry.load() if item.name == name), None)
    level = services.gate.level(session, tracked) if tracked else 0
    if tracked is None or session is None or not level:
        # The same for a pipeline that is not there and for one that is not for this visitor.
        raise _log_in_first(services)
    return Site(services, tracked, session.grants[name], level, session.token)


def _log_in_first(services: Services) -> cherrypy.CherryPyException:
    request = cherrypy.request
    if "application/json" in request.headers.get("Accept", ""):
        return cherrypy.HTTPError(401, "log in first")
    query = f"?{request.query_string}" if request.query_string else ""
    back = f"{quote(request.path_info)}{query}" if request.method in ("GET", "HEAD") else ""
    return redirect(services.url("login", next=back if len(back) <= LONGEST_NEXT else None))
