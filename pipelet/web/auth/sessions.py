"""Who has logged in: in memory only, so that nothing outlives the server."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

#: Seconds without a request after which a session ends, and those that it lasts at most.
IDLE = 8 * 3600.0
LONGEST = 7 * 86400.0
#: More sessions than that are not kept; those that were not used for longest go.
MOST = 10_000
_BYTES = 32


class Grant(NamedTuple):
    """What a log-in opened: one pipeline, for one account as it was then."""

    user: str
    sqlfile: str
    digest: bytes  #: of the stored password hash
    level: int


@dataclass(eq=False)
class Session:
    """A visitor who has logged in.

    Attributes
    ----------
    token
        Stands in each form that changes something.
    granted
        What is open, by the name of the pipeline.
    begun, used
        When, on the clock of the sessions.
    """

    granted: dict[str, Grant]
    begun: float
    used: float
    token: str = field(default_factory=lambda: secrets.token_urlsafe(_BYTES))

    @property
    def grants(self) -> Mapping[str, str]:
        """The user in each pipeline that is open."""
        return {name: grant.user for name, grant in list(self.granted.items())}


class Sessions:
    """The sessions of a server.

    Parameters
    ----------
    clock
        Gives the present in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Only the hash of a cookie is kept: who reads this memory can't take over a session.
        self._known: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, cookie: str | None) -> Session | None:
        """Give the session of a cookie, and take down that it was used."""
        if not cookie:
            return None
        key, now = _digest(cookie), self._clock()
        with self._lock:
            session = self._known.get(key)
            if session is None:
                return None
            if _is_over(session, now):
                del self._known[key]
                return None
            session.used = now
            # The order is that of the last use.
            self._known[key] = self._known.pop(key)
            return session

    def open(self, granted: Mapping[str, Grant]) -> tuple[Session, str]:
        """Begin a session; give it and its cookie."""
        now, cookie = self._clock(), secrets.token_urlsafe(_BYTES)
        session = Session(dict(granted), now, now)
        with self._lock:
            for key in [key for key, old in self._known.items() if _is_over(old, now)]:
                del self._known[key]
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            self._known[_digest(cookie)] = session
        return session, cookie

    def close(self, cookie: str | None) -> None:
        """End the session of a cookie, if there is one."""
        if cookie:
            with self._lock:
                self._known.pop(_digest(cookie), None)

    def withdraw(self, session: Session, pipeline: str, grant: Grant) -> None:
        """Close one pipeline to a session, which ends with its last one."""
        with self._lock:
            if session.granted.get(pipeline) == grant:
                del session.granted[pipeline]
            if not session.granted:
                for key in [key for key, known in self._known.items() if known is session]:
                    del self._known[key]


def _is_over(session: Session, now: float) -> bool:
    return now - session.used > IDLE or now - session.begun > LONGEST


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).digest()
