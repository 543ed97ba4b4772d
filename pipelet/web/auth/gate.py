"""Who a visitor is, and what that allows."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelet.accounts import check_password
from pipelet.errors import PipeletError
from pipelet.statusdb import Reader
from pipelet.web.settings import Settings
from pipelet.web.tracked import Tracked, Tracking


class Denied(Exception):
    """The name or the password is wrong."""


class TooSoon(Exception):
    """Too many attempts failed: the next is looked at after some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass
class Session:
    """A visitor who has logged in."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32))  #: stands in each form that changes something
    grants: Mapping[str, str] = field(default_factory=dict)  #: pipeline -> user


class Gate:
    """Knows the sessions.

    Parameters
    ----------
    settings, registry
        How the server runs, and what it shows.
    """

    def __init__(self, settings: Settings, registry: Tracking) -> None:
        self._settings = settings
        self._registry = registry
        self._sessions: dict[str, Session] = {}

    def visit(self, cookie: str | None) -> Session | None:
        """The session of a cookie, if there is one."""
        return self._sessions.get(_digest(cookie)) if cookie else None

    def log_in(self, name: str, password: str, address: str, previous: str | None = None) -> tuple[Session, str]:
        """Open a session, with all pipelines that know this name and password.

        Returns
        -------
        tuple
            The session, and the value of its cookie.

        Raises
        ------
        Denied
            None knows them.
        TooSoon
            Too many attempts failed.
        """
        old = self.visit(previous)
        grants = dict(old.grants) if old else {}
        found = {}
        for tracked in self._registry.load():
            try:
                if check_password(tracked.sqlfile, name, password) is not None:
                    found[tracked.name] = name
            except PipeletError:
                continue
        if not found:
            raise Denied
        self.log_out(previous)
        session, cookie = Session(grants={**grants, **found}), secrets.token_urlsafe(32)
        self._sessions[_digest(cookie)] = session
        return session, cookie

    def log_out(self, cookie: str | None) -> None:
        """End the session of a cookie."""
        if cookie:
            self._sessions.pop(_digest(cookie), None)

    def level(self, session: Session | None, tracked: Tracked) -> int:
        """What a session may do with a pipeline: 0 nothing, 1 read, 2 also write."""
        user = session.grants.get(tracked.name) if session else None
        if user is None:
            return 0
        try:
            with Reader.open(tracked.sqlfile) as reader:
                found = reader.user(user)
        except PipeletError:
            return 0
        return found[1] if found else 0

    def granted(self, session: Session | None) -> list[tuple[Tracked, str, int]]:
        """The pipelines that a session may see, with the user and the level in each."""
        if session is None:
            return []
        every = [(item, session.grants.get(item.name, ""), self.level(session, item)) for item in self._registry.load()]
        return [found for found in every if found[2]]


def _digest(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "replace")).hexdigest()
