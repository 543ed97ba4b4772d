"""The accounts of a database as they are at this moment, read again only when the file may have changed."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import NamedTuple

from pipelet.statusdb import Reader
from pipelet.web.settings import DATABASE_PATIENCE

#: A file that was written less than so many seconds ago may be written again without that its state tells; the clock
#: of a file server may be off, too.
_UNSURE = 5.0
_SIDE_FILES = ("", "-wal", "-journal")

_State = tuple[tuple[int, int, int] | None, ...]


class Account(NamedTuple):
    """An account."""

    hash: str
    level: int

    @property
    def digest(self) -> bytes:
        """What tells one password from the next."""
        return hashlib.sha256(self.hash.encode()).digest()


class Roll:
    """Looks up accounts; may be used by many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[_State, dict[str, Account]]] = {}

    def accounts(self, sqlfile: str) -> dict[str, Account]:
        """Give the accounts of a database, by name.

        Raises
        ------
        DatabaseError
            It can't be read.
        """
        state = _state(sqlfile)
        with self._lock:
            kept = self._kept.get(sqlfile)
        if kept is not None and kept[0] == state:
            return kept[1]
        with Reader.open(sqlfile, busy_timeout=DATABASE_PATIENCE) as reader:
            found = {name: Account(*row) for name in reader.users() if (row := reader.user(name))}
        # What was seen before it was read, so a change meanwhile is noticed the next time.
        newest = max((file[2] for file in state if file), default=0) / 1e9
        with self._lock:
            if abs(time.time() - newest) > _UNSURE:
                self._kept[sqlfile] = state, found
            else:
                self._kept.pop(sqlfile, None)
        return found


def _state(sqlfile: str) -> _State:
    found: list[tuple[int, int, int] | None] = []
    for suffix in _SIDE_FILES:
        try:
            file = os.stat(sqlfile + suffix)
        except OSError:
            found.append(None)
        else:
            found.append((file.st_ino, file.st_size, file.st_mtime_ns))
    return tuple(found)
