"""Logging in and out."""

from __future__ import annotations

import cherrypy

from pipelet.web.auth.gate import Denied, TooSoon
from pipelet.web.handlers.base import (
    BadQuery,
    Body,
    Pages,
    check_token,
    cookie_name,
    cookie_value,
    current_session,
    redirect,
    route,
)


class Access(Pages):
    """``/login`` and ``/logout``."""

    @route
    def login(self, name: str = "", password: str = "", next: str = "", token: str = "") -> Body:
        """Show the form, or take it."""
        if cherrypy.request.method != "POST":
            return self._form("", next)
        gate, settings = self.services.gate, self.services.settings
        try:
            _, value = gate.log_in(name, password, cherrypy.request.remote.ip, cookie_value(settings))
        except Denied:
            cherrypy.response.status = 403
            return self._form("No pipeline has an account with this name and password.", next, name)
        except TooSoon as error:
            cherrypy.response.status = 429
            cherrypy.response.headers["Retry-After"] = str(int(error.seconds) + 1)
            return self._form(f"Too many attempts: try again in {error.seconds:.0f} seconds.", next, name)
        self._set_cookie(value)
        # One slash only: two would be another host.
        safe = next.startswith("/") and not next.startswith(("//", "/\\")) and "\n" not in next and "\r" not in next
        raise redirect(settings.base_path + next if safe else self.services.url(""))

    @route
    def logout(self, token: str = "") -> Body:
        """End the session."""
        if cherrypy.request.method != "POST":
            raise BadQuery("Log out with the button at the head of each page.")
        session = current_session(self.services)
        if session is not None:
            check_token(session.token, token)
            self.services.gate.log_out(cookie_value(self.services.settings))
        self._set_cookie("")
        raise redirect(self.services.url("login"))

    def _form(self, error: str, next: str, name: str = "") -> str:
        return self.services.render("login.html", error=error, next=next, name=name)

    def _set_cookie(self, value: str) -> None:
        settings = self.services.settings
        name = cookie_name(settings)
        cookie = cherrypy.response.cookie
        cookie[name] = value
        cookie[name].update({"path": settings.base_path or "/", "httponly": True, "samesite": "Strict"})
        if settings.is_secure:
            cookie[name]["secure"] = True
        if not value:
            cookie[name]["max-age"] = 0
