"""Which versions a visitor asks for: the filter that stands in the address of the index."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from pipelet.core.model import Status

#: Any tag will do.
ANY = "*"
#: Statuses that may be asked for: of tasks, and of a segment whose tasks can't be known.
STATUSES = (*(str(status) for status in Status), "waiting")
_LONGEST = 200
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})")


class Filter(NamedTuple):
    """What is asked for, as it stands in the address; an empty text asks for nothing."""

    tag: str = ""  #: part of a tag, or `ANY`
    since: str = ""  #: the first day, year-month-day
    until: str = ""  #: the last day
    segment: str = ""
    param: str = ""  #: ``name=value``, or part of a name or value
    status: str = ""

    def __bool__(self) -> bool:
        return any(self)

    @property
    def query(self) -> dict[str, str]:
        """Its part of the address."""
        return {name: value for name, value in self._asdict().items() if value}

    def words(self) -> list[str]:
        """What is asked for, in words."""
        said = []
        if self.tag:
            said.append("any tag" if self.tag == ANY else f"tag “{self.tag}”")
        if self.since:
            said.append(f"made from {self.since} on")
        if self.until:
            said.append(f"made until {self.until}")
        if self.segment:
            said.append(f"segment “{self.segment}”")
        if self.param:
            said.append(f"parameter “{self.param}”")
        if self.status:
            said.append("segment waiting" if self.status == "waiting" else f"tasks {self.status}")
        return said


class Asked(NamedTuple):
    """A filter as it was read."""

    filter: Filter
    begin: float | None  #: made at this moment or later
    end: float | None  #: made before this moment
    problems: list[str]  #: what could not be understood, a sentence each; then nothing is to be filtered


def read_filter(query: Mapping[str, object]) -> Asked:
    """Read the filter from a query.

    Parameters
    ----------
    query
        By name; names that are no part of a filter are passed over.
    """
    texts = {name: _text(query.get(name)) for name in Filter._fields}
    given = Filter(**texts)
    problems: list[str] = []
    begin, end = _day(given.since, problems), _day(given.until, problems)
    if begin is not None and end is not None and begin > end:
        problems.append(f"The first day, {given.since}, is after the last, {given.until}.")
    if given.status and given.status not in STATUSES:
        problems.append(f"“{given.status}” is no status: it is one of {', '.join(STATUSES)}.")
    first = None if begin is None else begin.timestamp()
    # A day may have 23 or 25 hours.
    last = None if end is None else (end + timedelta(days=1)).timestamp()
    return Asked(given, first, last, problems)


def _text(value: object) -> str:
    if isinstance(value, list):
        value = value[-1] if value else ""
    return value.strip()[:_LONGEST] if isinstance(value, str) else ""


def _day(text: str, problems: list[str]) -> datetime | None:
    if not text:
        return None
    found = _DATE.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        day = datetime(*map(int, found.groups()))  # type: ignore[arg-type]
        # Some years can be written and have no moment.
        for moment in day, day + timedelta(days=1):
            moment.timestamp()
    except (ValueError, OverflowError, OSError):
        problems.append(f"“{text}” is no date: write it as year-month-day, {datetime.now():%Y-%m-%d} for today.")
        return None
    return day


def candidates(value: str) -> list[str]:
    """The texts that a parameter may have which somebody gives as ``value``: a text with quotes, a number otherwise."""
    texts = [value, repr(value), f'"{value}"']
    try:
        number = float(value)
    except ValueError:
        return list(dict.fromkeys(texts))
    texts.append(repr(number))
    if number.is_integer() and abs(number) < 1e15:
        texts.append(str(int(number)))
    return list(dict.fromkeys(texts))
