"""When segments ran, how the workers were used and where the time went, in a period."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipelet.statusdb import InstanceRow
from pipelet.web.queries.tasktimes import Columns, Floats

#: The picture's height in its own units; its width is the number of bins.
HEIGHT = 24
#: A step between two marks of the axis has so many bins, and there are at most so many steps.
BINS, STEPS = 30, 8
#: So many rows are drawn, those with the most time; so many gaps are listed.
MOST_ROWS, MOST_HOSTS, MOST_GAPS = 100, 12, 6
#: Shorter gaps, as a part of the period, are not told one by one.
SHORTEST_GAP = 0.01
#: What is further apart than so many seconds did not belong to one run.
APART = 3600.0
_DAY = 86400.0
_NICE = (
    *(digit * 10.0**power for power in range(-6, 0) for digit in (1, 2, 5)),
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0,
    3600.0, 7200.0, 10800.0, 21600.0, 43200.0,
    *(_DAY * days for days in (1, 2, 7, 14, 30, 90, 180, 365, 730, 1825, 3650, 18250)),
)


class Tick(NamedTuple):
    """A step of the axis."""

    begin: float
    end: float
    label: str
    date: str  #: where it is another day than at the step before


class Axis(NamedTuple):
    """A period in steps and bins."""

    begin: float
    end: float
    ticks: list[Tick]
    bins: int


class Row(NamedTuple):
    """A row of the chart and of the table: the tasks of a segment in the period, or those of a host."""

    name: str
    key: str | None  #: of the newest version that ran
    path: str  #: the outline of how many ran
    most: int  #: at once
    tasks: int
    seconds: float  #: within the period
    median: float
    late: float  #: the 95th percentile
    slowest: float
    slowest_id: int
    begun: float


class Gap(NamedTuple):
    """A time in which nothing ran."""

    begin: float
    end: float
    x: float
    width: float


class Timeline(NamedTuple):
    """What the page shows of a period."""

    axis: Axis
    whole: Row  #: all tasks together
    segments: list[Row]  #: by the begin of the first task
    by_time: list[Row]  #: the same, by the time they took
    hosts: list[Row]  #: empty where there is one only
    left_out: int  #: so many segments are not drawn
    mean: float  #: so many tasks ran on average
    idle: float  #: seconds in which nothing ran
    gaps: list[Gap]
    running: int


def extent(columns: Sequence[Columns], since: float, now: float | None) -> tuple[float, float] | None:
    """From the first to the last moment at which a task ran that began at or after a moment; None if there is none."""
    spans = [_ended(part, now)[:2] for part in columns]
    chosen = [(begun[begun >= since], ended[begun >= since]) for begun, ended in spans]
    chosen = [(begun, ended) for begun, ended in chosen if len(begun)]
    if not chosen:
        return None
    return min(float(begun.min()) for begun, _ in chosen), max(float(ended.max()) for _, ended in chosen)


def last_burst(columns: Sequence[Columns], now: float | None) -> tuple[float, float] | None:
    """As `extent`, of what ran after the last time in which nothing ran for `APART`."""
    spans = [_ended(part, now)[:2] for part in columns if len(part.ids)]
    if not any(len(begun) for begun, _ in spans):
        return None
    begun, ended = (np.concatenate(column) for column in zip(*spans, strict=True))
    order = np.argsort(begun, kind="stable")
    until = np.maximum.accumulate(ended[order])
    breaks = np.flatnonzero(begun[order][1:] - until[:-1] > APART)
    return float(begun[order][breaks[-1] + 1 if len(breaks) else 0]), float(until[-1])


def make_axis(begin: float, end: float) -> Axis:
    """Divide a period; it begins and ends with a step."""
    length = max(end - begin, 1e-3)
    step = next((step for step in _NICE if length / step <= STEPS - 1), length / (STEPS - 1))
    shift = (datetime.fromtimestamp(begin).astimezone().utcoffset() or _NO_TIME).total_seconds()
    first = math.floor((begin + shift) / step) * step - shift
    number = max(1, math.ceil((end - first) / step - 1e-9))
    ticks, date = [], ""
    for count in range(number):
        at = first + count * step
        when = datetime.fromtimestamp(at + 1e-7)
        day = f"{when:%Y}" if step >= _DAY else f"{when:%Y-%m-%d}"
        ticks.append(Tick(at, at + step, _label(when, step), day if day != date else ""))
        date = day
    return Axis(first, first + number * step, ticks, number * BINS)


def look(
    rows: Sequence[InstanceRow], columns: dict[int, Columns], hosts: Sequence[str], axis: Axis,
    period: tuple[float, float], now: float | None, every: int = 1,
) -> Timeline | None:
    """Make what the page shows.

    Parameters
    ----------
    rows
        The versions, the newest first.
    columns
        When their tasks ran, by the instance's id.
    hosts
        The names of the hosts.
    axis
        The steps.
    period
        From when to when.
    now
        The end so far of what runs; None where nothing can be running.
    every
        One task of so many is in the columns.

    Returns
    -------
    Timeline or None
        None where nothing ran.
    """
    by_segment: dict[str, tuple[str, list[Columns]]] = {}
    running = 0
    for row in rows:
        part = columns.get(row.id)
        if part is None:
            continue
        chosen, runs = _within(part, period, now)
        running += runs
        if len(chosen.ids):
            by_segment.setdefault(row.segment, (row.key, []))[1].append(chosen)
    if not by_segment:
        return None
    parts = {name: (key, _joined(found)) for name, (key, found) in by_segment.items()}
    everything = _joined([part for _, part in parts.values()])
    maker = _Maker(axis, period, every)
    whole = maker.row("all", None, everything, maker.density(everything))
    densities = {name: maker.density(part) for name, (_, part) in parts.items()}
    top = max(float(density.max()) for density in densities.values())
    by_time = [maker.row(name, key, part, densities[name], top) for name, (key, part) in parts.items()]
    by_time.sort(key=_most_time)
    shown = by_time[:MOST_ROWS]
    used = np.unique(everything.host)
    of_hosts = []
    for number in used if len(used) > 1 else []:
        part = Columns._make(column[everything.host == number] for column in everything)
        of_hosts.append(maker.row(hosts[number], None, part, maker.density(part)))
    idle, gaps = _gaps(everything, axis, period)
    return Timeline(
        axis, whole, sorted(shown, key=lambda row: row.begun), shown, sorted(of_hosts, key=_most_time)[:MOST_HOSTS],
        len(by_time) - len(shown), whole.seconds / max(period[1] - period[0], 1e-9), idle, gaps, running * every,
    )


class _Maker:
    def __init__(self, axis: Axis, period: tuple[float, float], every: int) -> None:
        self.axis, self.period, self.every = axis, period, every
        self.width = (axis.end - axis.begin) / axis.bins

    def density(self, part: Columns) -> Floats:
        """How many tasks ran, on average over each bin."""
        begun, ended = _clipped(part, self.period)
        last = self.axis.bins - 1
        ends = self.axis.begin + self.width * np.arange(1, self.axis.bins + 1)

        def at(moments: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
            bins = np.clip((moments - self.axis.begin) / self.width, 0, last).astype(np.intp)
            left: Floats = np.bincount(bins, ends[bins] - moments, minlength=last + 1).astype(np.float64)
            return np.bincount(bins, minlength=last + 1), left

        (started, after_start), (stopped, after_stop) = at(begun), at(ended)
        carried = np.concatenate([[0], np.cumsum(started - stopped)[:-1]])
        found: Floats = np.maximum(carried + (after_start - after_stop) / self.width, 0.0)
        return found * self.every

    def row(self, name: str, key: str | None, part: Columns, density: Floats, top: float | None = None) -> Row:
        """Draw and sum up some tasks; ``top`` is the number that fills the height, their own if not given."""
        lengths = part.ended - part.begun
        slowest = int(lengths.argmax())
        median, late = np.quantile(lengths, [0.5, 0.95])
        begun, ended = _clipped(part, self.period)
        return Row(
            name, key, _outline(density, top or float(density.max())), _most(begun, ended) * self.every,
            len(part.ids) * self.every, float((ended - begun).sum()) * self.every, float(median),
            float(late), float(lengths[slowest]), int(part.ids[slowest]), float(begun.min()),
        )


def _most_time(row: Row) -> tuple[float, str]:
    return -row.seconds, row.name


def _ended(part: Columns, now: float | None) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """Begin and end of the tasks, and which of them count: what a killed run left does not."""
    if now is None:
        counts = ~np.isnan(part.ended)
        return part.begun[counts], part.ended[counts], counts
    return part.begun, np.where(np.isnan(part.ended), np.maximum(part.begun, now), part.ended), part.begun > -math.inf


def _within(part: Columns, period: tuple[float, float], now: float | None) -> tuple[Columns, int]:
    """The tasks that ran in a period, and how many of them still do."""
    begun, ended, counts = _ended(part, now)
    chosen = (begun <= period[1]) & (ended >= period[0])
    runs = 0 if now is None else int((np.isnan(part.ended) & chosen).sum())
    return Columns(part.ids[counts][chosen], begun[chosen], ended[chosen], part.host[counts][chosen]), runs


def _joined(parts: list[Columns]) -> Columns:
    return parts[0] if len(parts) == 1 else Columns._make(np.concatenate(one) for one in zip(*parts, strict=True))


def _clipped(part: Columns, period: tuple[float, float]) -> tuple[Floats, Floats]:
    return np.clip(part.begun, *period), np.clip(part.ended, *period)


def _most(begun: Floats, ended: Floats) -> int:
    """How many ran at once at most: looked at when each begins, after those that end at that moment."""
    at = np.sort(begun)
    over = np.searchsorted(np.sort(ended), at, side="right")
    return max(1, int((np.arange(1, len(at) + 1) - over).max()))


def _gaps(part: Columns, axis: Axis, period: tuple[float, float]) -> tuple[float, list[Gap]]:
    """How long nothing ran between the first and the last task, and the longest of these times."""
    begun, ended = _clipped(part, period)
    order = np.argsort(begun, kind="stable")
    until, following = np.maximum.accumulate(ended[order])[:-1], begun[order][1:]
    lengths = following - until
    idle = float(lengths[lengths > 0].sum())
    scale = axis.bins / (axis.end - axis.begin)
    long = np.flatnonzero(lengths > SHORTEST_GAP * (period[1] - period[0]))
    longest = long[np.argsort(-lengths[long], kind="stable")][:MOST_GAPS]
    return idle, [
        Gap(float(until[at]), float(following[at]), (float(until[at]) - axis.begin) * scale, float(lengths[at]) * scale)
        for at in sorted(longest)
    ]


def _outline(density: Floats, top: float) -> str:
    """The area under a curve of steps, as the path of an SVG; what is not zero can be seen."""
    heights = np.where(density > 1e-9, np.clip(HEIGHT * density / max(top, 1e-9), 1.5, HEIGHT), 0.0)
    levels = np.round(HEIGHT - heights, 1)
    ends = np.flatnonzero(np.diff(levels, append=np.nan))
    steps = "".join(f"V{levels[end]:g}H{end + 1}" for end in ends)
    return f"M0 {HEIGHT}{steps}V{HEIGHT}Z"


def _label(when: datetime, step: float) -> str:
    if step >= _DAY:
        return f"{when:%d %b}"
    if step >= 60:
        return f"{when:%H:%M}"
    if step >= 1:
        return f"{when:%H:%M:%S}"
    return f"{when:%H:%M:%S.%f}"[: 12 if step >= 0.001 else 15]


_NO_TIME = datetime.min - datetime.min
