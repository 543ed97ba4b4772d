"""The tracked pipelines, and how each stands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from pipelet.errors import MissingDatabaseError, PipeletError
from pipelet.statusdb import Reader
from pipelet.storage import Holder, Tree
from pipelet.storage.lastrun import last_run_began
from pipelet.web.queries.graph import shares
from pipelet.web.queries.live import holder_of
from pipelet.web.queries.versions import last_rows, measured
from pipelet.web.settings import DATABASE_PATIENCE
from pipelet.web.tracked import Tracked


class Card(NamedTuple):
    """What is shown of a tracked pipeline.

    Attributes
    ----------
    user, level
        Who looks, and what that account may do.
    problem, cure
        What is wrong with it and what helps, both empty where nothing is.
    counts
        Tasks of the last run by status.
    shares
        The same as a bar.
    segments, versions
        How many segments the last run had, and how many versions there are of any.
    began
        When the last run began.
    holder
        Who holds the prefix.
    size
        Bytes on disk, if that was measured.
    """

    name: str
    prefix: str
    user: str
    level: int
    problem: str = ""
    cure: str = ""
    counts: Mapping[str, int] = {}
    shares: tuple[tuple[str, float, float], ...] = ()
    segments: int = 0
    versions: int = 0
    began: float | None = None
    holder: Holder | None = None
    size: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether a run goes on."""
        return self.holder is not None and self.holder.alive


def card(tracked: Tracked, user: str, level: int) -> Card:
    """Look at a pipeline. What is wrong with it is part of the answer.

    Parameters
    ----------
    tracked
        Which pipeline.
    user, level
        Who looks.
    """
    tree = Tree(tracked.prefix)
    problem, cure = "", ""
    if not os.path.isdir(tree.prefix):
        problem = f"There is no directory {tree.prefix}."
        cure = _cure(tracked.name)
    found = Card(tracked.name, tracked.prefix, user, level, problem, cure)
    try:
        return _look(found, tracked, tree)
    except MissingDatabaseError:
        if problem:
            return found
        words = f"There is no database {tracked.sqlfile}."
        return found._replace(
            problem=words,
            cure=f"If the tree is there, pipeutils -r {tracked.prefix} {tracked.sqlfile} makes it anew; accounts are"
            f" added with pipeutils -a. If the pipeline is gone: pipeweb untrack {tracked.name}",
        )
    except (PipeletError, OSError) as error:
        return found._replace(problem=problem or "It can't be read now.", cure=cure or str(error))


def _look(found: Card, tracked: Tracked, tree: Tree) -> Card:
    with Reader.open(tracked.sqlfile, busy_timeout=DATABASE_PATIENCE) as reader:
        rows = reader.instances()
        chosen, _ = last_rows(rows, tree)
        counts: dict[str, int] = {}
        for tally in reader.tally([row.id for row in chosen]).values():
            for status, number in tally.items():
                counts[str(status)] = counts.get(str(status), 0) + number
    sizes = [size for size in measured(tree, tracked.sqlfile).values() if size is not None]
    return found._replace(
        counts=counts,
        shares=tuple(shares(counts)),
        segments=len(chosen),
        versions=len(rows),
        began=last_run_began(tree) or max((row.created for row in rows), default=None),
        holder=holder_of(tree),
        size=sum(sizes) if sizes else None,
    )


def _cure(name: str) -> str:
    return (
        "If the disk is not mounted, mount it. If the data were moved: pipeweb untrack "
        f"{name}, then pipeweb track {name} SQLFILE with the new place."
    )
