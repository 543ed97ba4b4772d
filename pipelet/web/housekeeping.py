"""What the server does beside its pages: finishes deletions that were cut, and empties the trash."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence

from pipelet import deletion
from pipelet.errors import PipeletError
from pipelet.storage import Tree
from pipelet.web.tracked import Tracked, Tracking

#: From one time to the next, in seconds.
EVERY = 86400.0

logger = logging.getLogger("pipelet.web")


class Housekeeper:
    """A thread of the server.

    Parameters
    ----------
    registry
        The tracked pipelines.
    """

    def __init__(self, registry: Tracking) -> None:
        self._registry = registry
        self._wake = threading.Event()

    def start(self) -> None:
        """Begin, now and then once a day."""
        threading.Thread(target=self._work, daemon=True, name="pipelet-housekeeping").start()

    def _work(self) -> None:
        while True:
            try:
                keep_house(self._registry.load())
            except PipeletError as error:
                logger.warning("the trash could not be looked after: %s", error)
            self._wake.wait(EVERY)


def keep_house(tracked: Sequence[Tracked]) -> None:
    """Look after some prefixes, as far as they may be written."""
    for item in tracked:
        tree = Tree(item.prefix)
        if not os.access(tree.engine_dir, os.W_OK):
            continue
        try:
            deletion.keep_house(tree, item.sqlfile)
        except (PipeletError, OSError) as error:
            # One that is damaged or away must not keep the others from it.
            logger.warning("the trash of %s could not be looked after: %s", item.name, error)


def empty_beside(tree: Tree) -> threading.Thread:
    """Delete for good, in a thread of its own, what somebody has begun to delete for good."""

    def work() -> None:
        try:
            deletion.empty_trash(tree, ids=())
        except (PipeletError, OSError) as error:
            logger.warning("the trash of %s could not be emptied: %s", tree.prefix, error)

    thread = threading.Thread(target=work, daemon=True, name="pipelet-trash")
    thread.start()
    return thread
