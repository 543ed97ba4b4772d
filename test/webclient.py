"""Asks the web application without a socket: as a browser would, cookies included."""

from __future__ import annotations

import io
from http.cookies import SimpleCookie
from typing import NamedTuple
from urllib.parse import unquote_to_bytes, urlencode

from pipelet.accounts import add_user
from pipelet.web.app import make_app, make_services
from pipelet.web.settings import Settings
from pipelet.web.tracked import Tracked

PASSWORD = "lovelace"


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes
    cookies: SimpleCookie

    @property
    def text(self) -> str:
        return self.body.decode()


class Listed:
    """A registry that is given its list."""

    def __init__(self, *tracked: Tracked) -> None:
        self.tracked = list(tracked)

    def load(self) -> list[Tracked]:
        return list(self.tracked)


class Browser:
    """One visitor of an application.

    Parameters
    ----------
    app
        From `make_app`.
    """

    def __init__(self, app, base_path: str = "") -> None:
        self.app = app
        self.base_path = base_path
        self.cookies: dict[str, str] = {}

    def request(
        self, method: str, address: str, form=None, headers=None, follow: bool = False,
        content_type: str = "application/x-www-form-urlencoded",
    ) -> Answer:
        path, _, query = address.partition("?")
        body = b"" if form is None else form if isinstance(form, bytes) else urlencode(form, doseq=True).encode()
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "8080",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost:8080",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        if form is not None:
            environ["CONTENT_TYPE"] = content_type
        if self.cookies:
            environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        for name, value in (headers or {}).items():
            environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
        got: list = []
        pieces = self.app(environ, lambda status, found, info=None: got.append((status, found)))
        try:
            data = b"".join(pieces)
        finally:
            getattr(pieces, "close", list)()
        status, found = got[-1]
        cookies: SimpleCookie = SimpleCookie()
        for name, value in found:
            if name.lower() == "set-cookie":
                cookies.load(value)
        for name, morsel in cookies.items():
            if morsel["max-age"] == "0" or not morsel.value:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        answer = Answer(int(status.split()[0]), {name.lower(): value for name, value in found}, data, cookies)
        if follow and answer.status in (302, 303):
            location = answer.headers["location"].removeprefix("http://localhost:8080")
            return self.get(location, follow=True)
        return answer

    def get(self, address: str, follow: bool = False, **headers: str) -> Answer:
        return self.request("GET", address, headers=headers, follow=follow)

    def post(self, address: str, follow: bool = False, **form) -> Answer:
        return self.request("POST", address, form=form, follow=follow)

    def token(self, address: str | None = None) -> str:
        """The token of the forms that this visitor gets."""
        page = self.get(address or f"{self.base_path}/").text
        return page.split('name="token" value="', 1)[1].split('"', 1)[0]

    def log_in(self, name: str, password: str = PASSWORD) -> Browser:
        page = self.get(f"{self.base_path}/login").text
        token = page.split('name="token" value="', 1)[1].split('"', 1)[0] if 'name="token"' in page else ""
        answer = self.post(f"{self.base_path}/login", name=name, password=password, token=token)
        assert answer.status == 303, answer.text
        return self


class WebSite:
    """The web application over some pipelines, each with the users ada (level 2) and guest (level 1).

    Parameters
    ----------
    tracked
        Name -> prefix.
    """

    def __init__(self, settings: Settings | None = None, **tracked) -> None:
        self.registry = Listed()
        for name, prefix in tracked.items():
            sqlfile = f"{prefix}/.sqlstatus"
            add_user(sqlfile, "ada", 2, PASSWORD)
            add_user(sqlfile, "guest", 1, PASSWORD)
            self.registry.tracked.append(Tracked(name, sqlfile, str(prefix)))
        self.services = make_services(settings or Settings(), self.registry)
        self.app = make_app(self.services)

    def browser(self, name: str | None = None) -> Browser:
        """A new visitor, logged in if a name is given."""
        visitor = Browser(self.app, self.services.settings.base_path)
        return visitor.log_in(name) if name else visitor
