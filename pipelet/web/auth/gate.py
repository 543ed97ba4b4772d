"""Who a visitor is, and what that allows."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter

from pipelet.accounts import NOBODY, typed_name, verify
from pipelet.errors import PipeletError
from pipelet.web.auth.roll import Account, Roll
from pipelet.web.auth.sessions import Grant, Session, Sessions
from pipelet.web.auth.throttle import Throttle, TooSoon
from pipelet.web.settings import Settings
from pipelet.web.tracked import Tracked, Tracking

__all__ = ["Denied", "Gate", "Session", "TooSoon"]

#: Passwords that are checked at once, each with 64 MB; and log-ins that may wait for that, each with a thread.
AT_ONCE = 2
IN_LINE = 6
#: Seconds after which somebody who found the line too long may try again.
_LINE_WAIT = 3.0
_LONGEST_NAME, _LONGEST_PASSWORD = 256, 1024

_LOGGER = logging.getLogger("pipelet.web")


class Denied(Exception):
    """The name or the password is wrong."""


class Gate:
    """Knows the sessions.

    Parameters
    ----------
    settings, registry
        How the server runs, and what it shows.
    sessions, throttle
        With clocks of their own, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Tracking,
        sessions: Sessions | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._sessions = Sessions() if sessions is None else sessions
        self._throttle = Throttle() if throttle is None else throttle
        self._roll = Roll()
        self._line = threading.BoundedSemaphore(AT_ONCE + IN_LINE)
        self._checking = threading.BoundedSemaphore(AT_ONCE)

    def visit(self, cookie: str | None) -> Session | None:
        """Give the session of a cookie, if there is one."""
        return self._sessions.find(cookie)

    def log_in(self, name: str, password: str, address: str, previous: str | None = None) -> tuple[Session, str]:
        """Open a session, with all pipelines that know this name and password.

        Parameters
        ----------
        name, password
            As they were typed; anything may come.
        address
            Where the visitor is.
        previous
            The cookie of the session before, whose pipelines stay open, and which ends.

        Returns
        -------
        tuple
            The session, and the value of its cookie.

        Raises
        ------
        Denied
            None knows them.
        TooSoon
            Too many attempts failed, or too many are under way.
        """
        if len(name) > _LONGEST_NAME or len(password) > _LONGEST_PASSWORD:
            raise Denied
        name = typed_name(name)
        if not self._line.acquire(blocking=False):
            raise TooSoon(_LINE_WAIT)
        try:
            self._throttle.begin(name, address)
            found = self._matching(name, password)
        finally:
            self._line.release()
        if not found:
            _LOGGER.warning("log-in refused from %s", address)
            raise Denied
        self._throttle.succeeded(name, address)
        old = self._sessions.find(previous)
        self._sessions.close(previous)
        _LOGGER.info("%s logged in from %s: %s", name, address, ", ".join(found))
        return self._sessions.open({**(old.granted if old else {}), **found})

    def _matching(self, name: str, password: str) -> dict[str, Grant]:
        """Check the password wherever there is an account of this name; always as often, whatever the name."""
        known: list[tuple[Tracked, Account]] = []
        users: Counter[str] = Counter()
        for tracked in self._registry.load():
            try:
                accounts = self._roll.accounts(tracked.sqlfile)
            except PipeletError as error:
                _LOGGER.warning("%s: no log-in there: %s", tracked.name, error)
                continue
            users.update(accounts.keys())
            if name in accounts:
                known.append((tracked, accounts[name]))
        found = {}
        for tracked, account in known:
            if self._is_right(account.hash, password, tracked.name):
                found[tracked.name] = Grant(name, tracked.sqlfile, account.digest, account.level)
        for _ in range(max(users.values(), default=1) - len(known)):
            self._is_right(NOBODY, password, "")
        return found

    def _is_right(self, stored: str, password: str, pipeline: str) -> bool:
        with self._checking:
            try:
                return verify(stored, password)
            except PipeletError as error:
                _LOGGER.warning("%s: %s", pipeline, error)
                return False

    def log_out(self, cookie: str | None) -> None:
        """End the session of a cookie."""
        self._sessions.close(cookie)

    def level(self, session: Session | None, tracked: Tracked) -> int:
        """Tell what a session may do with a pipeline: 0 nothing, 1 read, 2 also write.

        The database is asked each time. Where the account is gone, or has another password or a lower level than
        when it was last seen, the pipeline is closed to the session.

        Raises
        ------
        DatabaseError
            The database can't be read; only for a pipeline that was open to the session.
        """
        grant = session.granted.get(tracked.name) if session else None
        if session is None or grant is None:
            return 0
        account = None
        if grant.sqlfile == tracked.sqlfile:
            account = self._roll.accounts(tracked.sqlfile).get(grant.user)
        if account is None or account.digest != grant.digest or account.level < grant.level:
            _LOGGER.info("%s: the session of %s ends, since the account was changed", tracked.name, grant.user)
            self._sessions.withdraw(session, tracked.name, grant)
            return 0
        if account.level > grant.level:
            session.granted[tracked.name] = grant._replace(level=account.level)
        return account.level

    def granted(self, session: Session | None) -> list[tuple[Tracked, str, int]]:
        """List the pipelines that a session may see, with the user and the level in each.

        One whose database can't be read now is among them, with the level that was last seen.
        """
        found = []
        for tracked in self._registry.load() if session else []:
            grant = session.granted.get(tracked.name) if session else None
            if grant is None:
                continue
            try:
                level = self.level(session, tracked)
            except PipeletError:
                level = grant.level
            if level:
                found.append((tracked, grant.user, level))
        return found

    def unreadable(self) -> list[tuple[Tracked, PipeletError]]:
        """List the pipelines whose accounts can't be read now, so that nobody can log in to them, and why."""
        found = []
        for tracked in self._registry.load():
            try:
                self._roll.accounts(tracked.sqlfile)
            except PipeletError as error:
                found.append((tracked, error))
        return found

    def without_account(self) -> list[Tracked]:
        """List the pipelines that nobody can see, since they have no account."""
        found = []
        for tracked in self._registry.load():
            # What can't be read is not to be helped by an account.
            with contextlib.suppress(PipeletError):
                if not self._roll.accounts(tracked.sqlfile):
                    found.append(tracked)
        return found
