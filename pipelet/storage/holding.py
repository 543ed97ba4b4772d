"""Holding a prefix for some time: its lock, and the heartbeat that shows others that the holder lives."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from pipelet.errors import PipeletError, PrefixLocked
from pipelet.storage.lock import PrefixLock
from pipelet.storage.tree import Tree

_HEARTBEAT_SECONDS = 5.0
_PAUSE = 0.1


@contextlib.contextmanager
def held(
    tree: Tree, scratch: str | None = None, patience: float = 0.0
) -> Iterator[tuple[PrefixLock, Callable[[], None]]]:
    """Hold the lock of a prefix.

    Parameters
    ----------
    tree
        The prefix; it is there (`Tree.create`).
    scratch
        As for `PrefixLock`.
    patience
        How many seconds to wait for a holder that is just about to end.

    Yields
    ------
    tuple
        The lock, and a function that raises once somebody else has taken it from us.

    Raises
    ------
    PrefixLocked
        A living process holds it; the words say which.
    StorageError
        The lock can't be written.
    """
    lock = PrefixLock(tree.lock_path, scratch)
    end = time.monotonic() + patience
    while True:
        try:
            lock.acquire()
            break
        except PrefixLocked:
            if time.monotonic() > end:
                raise
            time.sleep(_PAUSE)
    ended = threading.Event()
    lost: list[PrefixLocked] = []
    beat = threading.Thread(target=_beat, args=(lock, ended, lost), daemon=True, name="pipelet-heartbeat")
    beat.start()

    def still_ours() -> None:
        if lost:
            raise lost[0]

    try:
        yield lock, still_ours
    finally:
        ended.set()
        beat.join()
        lock.release()


def _beat(lock: PrefixLock, ended: threading.Event, lost: list[PrefixLocked]) -> None:
    while not lost and not ended.wait(_HEARTBEAT_SECONDS):
        try:
            lock.heartbeat()
        except PrefixLocked as error:
            lost.append(error)
        except PipeletError:
            # A file system that is away for a moment is no reason to end.
            continue
