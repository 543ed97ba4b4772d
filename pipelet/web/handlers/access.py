"""Logging in and out."""

from __future__ import annotations

import ipaddress
import math
import secrets
import shlex
from urllib.parse import urlsplit

import cherrypy

from pipelet.errors import PipeletError
from pipelet.web.auth.gate import Denied, TooSoon
from pipelet.web.handlers.base import (
    LONGEST_NEXT,
    BadQuery,
    Body,
    Forbidden,
    Pages,
    check_token,
    cookie_value,
    current_session,
    redirect,
    route,
)
from pipelet.web.listeners import local_user

_TOKEN_BYTES = 32


class Access(Pages):
    """``/login`` and ``/logout``."""

    @route
    def login(self, name: object = "", password: object = "", next: object = "", token: object = "") -> Body:
        """Show the form, or take it."""
        fields = (name, password, next, token)
        if not all(isinstance(field, str) for field in fields):
            raise BadQuery("Each field of this form is wanted once.")
        typed, secret, wanted, sent = map(str, fields)
        target = own_address(wanted)
        if cherrypy.request.method == "POST":
            return self._take(typed, secret, target, sent)
        if current_session(self.services) is None and _comes_from_elsewhere():
            # A browser that follows somebody's link keeps the session's cookie back; not so when our page asks.
            return self.services.render("again.html", address=self.services.url("login", next=target or None))
        if target and self._is_open(target):
            raise redirect(self.services.settings.base_path + target)
        return self._form("", target)

    def _take(self, name: str, password: str, target: str, token: str) -> Body:
        session = current_session(self.services)
        try:
            check_token(session.token if session else _form_cookie(self._form_name), token)
        except Forbidden:
            # Most often the server was started anew, or the browser keeps no cookies.
            cherrypy.response.status = Forbidden.status
            return self._form("The form was too old, or your browser keeps no cookies. Try once more.", target, name)
        try:
            _, value = self.services.gate.log_in(name, password, visitor(), cookie_value(self.services.settings))
        except Denied:
            cherrypy.response.status = Forbidden.status
            return self._form("No pipeline has an account with this name and password.", target, name)
        except TooSoon as error:
            wait = math.ceil(error.seconds)
            cherrypy.response.status = 429
            cherrypy.response.headers["Retry-After"] = str(wait)
            words = "a second" if wait == 1 else f"{wait} seconds"
            return self._form(f"Too many attempts: wait {words}, then try again.", target, name)
        self._set_cookie(self.services.settings.cookie, value)
        self._set_cookie(self._form_name, "")
        raise redirect(self.services.settings.base_path + target if target else self.services.url(""))

    @route
    def logout(self, token: object = "") -> Body:
        """End the session."""
        if cherrypy.request.method != "POST":
            cherrypy.response.headers["Allow"] = "POST"
            raise BadQuery("Log out with the button at the head of each page.")
        session = current_session(self.services)
        if session is not None:
            check_token(session.token, str(token))
            self.services.gate.log_out(cookie_value(self.services.settings))
        self._set_cookie(self.services.settings.cookie, "")
        raise redirect(self.services.url("login"))

    @property
    def _form_name(self) -> str:
        """The cookie that goes with the form of those who have no session yet."""
        return f"{self.services.settings.cookie}-form"

    def _is_open(self, target: str) -> bool:
        """Tell whether the visitor may see what was asked for, and needs no form."""
        session, steps = current_session(self.services), target.split("?")[0].split("/")
        if session is None:
            return False
        if steps[1] != "p" or len(steps) < 3:
            return True
        try:
            every = [item for item in self.services.registry.load() if item.name == steps[2]]
            return any(self.services.gate.level(session, item) for item in every)
        except PipeletError:
            # The page itself says what is the matter.
            return True

    def _form(self, error: str, target: str, name: str = "") -> str:
        session = current_session(self.services)
        token = session.token if session else _form_cookie(self._form_name)
        if not token:
            token = secrets.token_urlsafe(_TOKEN_BYTES)
            self._set_cookie(self._form_name, token)
        advice = self._advice()
        return self.services.render(
            "login.html", error=error, next=target, name=name, token=token, advice=advice, inside=session is not None
        )

    def _advice(self) -> list[tuple[str, str]]:
        """Say what to type where nobody could log in: sentences, each with a command."""
        gate, personal = self.services.gate, self.services.settings.is_personal
        if not self.services.registry.load():
            return [("No pipeline is shown here yet. Type in a terminal:", "pipeweb track NAME SQLFILE")]
        bare = gate.without_account()
        if not personal:
            # Visitors from elsewhere are not told what there is.
            words = "A pipeline that is shown here has no account yet. Its owner can make one:"
            return [(words, "pipeutils -a USER -l 2 SQLFILE")] if bare else []
        return [
            (
                f"The pipeline {tracked.name} has no account yet. Make one in a terminal:",
                f"pipeutils -a USER -l 2 {shlex.quote(tracked.sqlfile)}",
            )
            for tracked in bare
        ] + [
            (f"The pipeline {tracked.name} can't be shown now: {error} To take it off the list:",
             f"pipeweb untrack {tracked.name}")
            for tracked, error in gate.unreadable()
        ]

    def _set_cookie(self, name: str, value: str) -> None:
        settings = self.services.settings
        cookie = cherrypy.response.cookie
        cookie[name] = value
        cookie[name].update({"path": settings.base_path or "/", "httponly": True, "samesite": "Strict"})
        if settings.is_secure or cherrypy.request.scheme == "https":
            cookie[name]["secure"] = True
        if not value:
            cookie[name]["max-age"] = 0


def own_address(text: str) -> str:
    """Give an address of ours to go to, without the base path; empty if it is not certainly one.

    Parameters
    ----------
    text
        What came with a form or an address; anything may.

    Returns
    -------
    str
        A path, perhaps with a query.
    """
    # Browsers take a backslash for a slash, leave out blanks and line ends, and read two slashes as another host.
    plain = text.isascii() and text.isprintable() and "\\" not in text and " " not in text
    if not plain or len(text) > LONGEST_NEXT or not text.startswith("/") or text.startswith("//"):
        return ""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    steps = parts.path.split("/")[1:]
    if parts.scheme or parts.netloc or parts.path in ("/login", "/logout") or steps[2:3] == ["do"]:
        return ""
    # Taken together, steps up and empty steps can leave two slashes at the head.
    if ".." in steps or "." in steps or "" in steps[:-1]:
        return ""
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def visitor() -> str:
    """Tell visitors apart: by address, and on this machine by user, since all have the same address there."""
    request = cherrypy.request
    address = str(request.remote.ip)
    try:
        local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address
    uid = local_user(request.remote.port, request.local.port) if local and request.remote.port else None
    return address if uid is None else f"{address} (user {uid})"


def _form_cookie(name: str) -> str:
    cookie = cherrypy.request.cookie.get(name)
    return "" if cookie is None else str(cookie.value)


def _comes_from_elsewhere() -> bool:
    return cherrypy.request.headers.get("Sec-Fetch-Site", "") in ("cross-site", "same-site")
