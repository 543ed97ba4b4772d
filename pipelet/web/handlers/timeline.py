"""The page of the time: when segments ran, how the workers were used, where the time went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import cherrypy

from pipelet.errors import StorageError
from pipelet.statusdb import InstanceRow
from pipelet.storage import PrefixLock
from pipelet.storage.lastrun import last_run_began, read_last_run
from pipelet.web.handlers.base import BadQuery, Pages, Services, Site, reads
from pipelet.web.queries import timeline
from pipelet.web.queries.tasktimes import Known, TaskTimes

#: So many answers are kept, and those with something that runs so many seconds.
_KEPT, _SECONDS = 32, 2.0
_SHORTEST = 0.002
#: In the year 9800: later moments can't be written.
_LATEST = 2.47e11


class _Period(NamedTuple):
    begin: float
    end: float


class Timeline(Pages):
    """``/p/<pipeline>/time``"""

    def __init__(self, services: Services) -> None:
        super().__init__(services)
        self._times = TaskTimes()
        self._made: dict[object, tuple[float, timeline.Timeline | None]] = {}

    @reads
    def time(self, site: Site, period: str = "", begin: str = "", end: str = "") -> str:
        """Show a period: that of the last run, all the time (``period=all``), or one that is given."""
        rows = site.reader.instances()
        asked = _asked(begin, end)
        if period not in ("", "all"):
            raise BadQuery("There is no period of that name: leave it out, or write period=all.")
        now = time.time() if _runs(site) else None
        last = None if asked or period else _of_last_run(site, rows)
        chosen = rows if last is None else last
        if asked:
            chosen = [row for row in rows if row.created <= asked.end]
        known = self._times.of(site.reader, chosen)
        found, quiet = asked, False
        if found is None:
            parts = list(known.columns.values())
            began = None if last is None else last_run_began(site.tree)
            extent = timeline.extent(parts, began or 0.0, now)
            if extent is None and began:
                quiet, extent = True, timeline.last_burst(parts, now)
            found = None if extent is None else _Period(*extent)
        if known.missing:
            # A picture of a part is none; without a script, too, the visitor sees how far it is.
            cherrypy.response.headers["Refresh"] = "0"
        shown = None if found is None or known.missing else self._look(site, chosen, known, found, now, asked or period)
        frame = found or _Period(0.0, 0.0)
        return site.render(
            "time.html", shown=shown, period=frame, known=known, quiet=quiet and shown is not None,
            now=time.time(), which="given" if asked else "all" if period else "last", height=timeline.HEIGHT,
            stale=time.time() - known.as_of > 1.0, links=_links(site, frame) if found else {}, zoom=_zoom(site),
            field=_field,
        )

    def _look(
        self, site: Site, rows: Sequence[InstanceRow], known: Known, period: _Period, now: float | None, name: object
    ) -> timeline.Timeline | None:
        place = (site.sqlfile, known.state, known.missing, name, now is None)
        made = self._made.get(place)
        if made is None or (now is not None and time.monotonic() - made[0] > _SECONDS):
            axis = timeline.make_axis(*period)
            found = timeline.look(rows, known.columns, self._times.hosts, axis, period, now, known.every)
            made = self._made[place] = (time.monotonic(), found)
            while len(self._made) > _KEPT:
                self._made.pop(next(iter(self._made)), None)
        return made[1]


def _runs(site: Site) -> bool:
    try:
        return PrefixLock(site.tree.lock_path).holder() is not None
    except StorageError:
        return False


def _of_last_run(site: Site, rows: Sequence[InstanceRow]) -> list[InstanceRow]:
    keys = set(read_last_run(site.tree).values())
    newest: dict[str, InstanceRow] = {}
    for row in reversed(rows):
        newest[row.segment] = row
    return [row for row in rows if row.key in keys] or list(newest.values())


def _asked(begin: str, end: str) -> _Period | None:
    if not begin and not end:
        return None
    try:
        period = _Period(
            datetime.fromisoformat(begin).timestamp() if begin else 0.0,
            datetime.fromisoformat(end).timestamp() if end else time.time(),
        )
    except (ValueError, OverflowError, OSError) as error:
        raise BadQuery("A moment is written as 2026-01-31T12:00:00.") from error
    period = period._replace(end=min(period.end, _LATEST))
    # Moments in an address are whole milliseconds, and floats are not exact.
    if round(period.end - period.begin, 4) < _SHORTEST or period.begin < 0:
        raise BadQuery("The end of the period must be after its beginning.")
    return period


def _field(moment: float) -> str:
    return datetime.fromtimestamp(moment).isoformat(timespec="seconds")


def _text(moment: float) -> str:
    return datetime.fromtimestamp(min(moment, _LATEST)).isoformat(timespec="milliseconds")


def _zoom(site: Site) -> object:
    def link(begin: float, end: float) -> str | None:
        return site.url("time", begin=_text(begin), end=_text(end)) if end - begin >= _SHORTEST else None

    return link


def _links(site: Site, period: _Period) -> dict[str, str]:
    length = period.end - period.begin

    def at(begin: float, end: float) -> str:
        return site.url("time", begin=_text(max(begin, 0.0)), end=_text(max(end, begin + _SHORTEST * 2, 1.0)))

    return {
        "Earlier": at(period.begin - length / 2, period.end - length / 2),
        "Later": at(period.begin + length / 2, period.end + length / 2),
        "Wider": at(period.begin - length / 2, period.end + length / 2),
    }
