"""How values are written on the pages: numbers, sizes, moments and durations; and the templates that use them."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import datetime

import jinja2
from markupsafe import Markup, escape

from pipelet.core.model import Status
from pipelet.storage import printable
from pipelet.web.filenames import to_query

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def environment(static: str, base_path: str) -> jinja2.Environment:
    """Make the templates' environment: what they show is escaped.

    Parameters
    ----------
    static
        The directory of style sheets and scripts.
    base_path
        What stands before every path.
    """
    templates = os.path.join(os.path.dirname(static), "templates")
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    marks: dict[str, str] = {}

    def asset(name: str) -> str:
        """The address of a style sheet or script, another one when its content changes."""
        if name not in marks:
            with open(os.path.join(static, name), "rb") as file:
                marks[name] = hashlib.sha256(file.read()).hexdigest()[:10]
        return f"{base_path}/static/{name}?v={marks[name]}"

    made.filters.update(number=number, size=size, moment=moment, ago=ago, duration=duration, signed=signed)
    made.filters.update(minute=minute, printable=printable, counted=counted, to_query=to_query)
    made.globals.update(asset=asset, status_name=status_name)
    return made


def number(value: float) -> str:
    """A whole number with narrow spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def counted(value: float, word: str) -> str:
    """So many of something, in the singular or the plural."""
    return f"{number(value)} {word}{'' if value == 1 else 's'}"


def signed(value: float) -> str:
    """A number with its sign."""
    return f"{value:+.4g}".replace("-", "\N{MINUS SIGN}")


def size(value: float | None) -> str:
    """A number of bytes in the unit that leaves three digits."""
    if value is None:
        return "\N{EN DASH}"
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    digits = 0 if unit == "B" or value >= 99.5 else 1 if value >= 9.95 else 2
    return f"{value:.{digits}f}\N{NO-BREAK SPACE}{unit}"


def moment(seconds: float | None) -> Markup:
    """A moment in the server's time, to the second, as an element that machines can read."""
    if seconds is None:
        return Markup("\N{EN DASH}")
    when = datetime.fromtimestamp(seconds).astimezone()
    exact = when.isoformat(timespec="seconds")
    return Markup(f'<time datetime="{escape(exact)}" title="{escape(exact)}">{when:%Y-%m-%d %H:%M:%S}</time>')


def minute(seconds: float | None) -> Markup:
    """A moment as `moment` writes it, to the minute."""
    if seconds is None:
        return Markup("\N{EN DASH}")
    when = datetime.fromtimestamp(seconds).astimezone()
    exact = escape(when.isoformat(timespec="seconds"))
    return Markup(f'<time datetime="{exact}" title="{exact}">{when:%Y-%m-%d %H:%M}</time>')


def ago(seconds: float | None, now: float | None = None) -> Markup:
    """How long ago a moment was, in words; the moment itself is in its title."""
    if seconds is None:
        return Markup("\N{EN DASH}")
    passed = max((time.time() if now is None else now) - seconds, 0.0)
    exact = datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    words = "just now" if passed < 10 else f"{_coarse(passed)} ago"
    return Markup(f'<time datetime="{escape(exact)}" title="{escape(exact)}">{escape(words)}</time>')


def duration(seconds: float | None) -> str:
    """A duration with as many digits as a person reads."""
    if seconds is None:
        return "\N{EN DASH}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}\N{NO-BREAK SPACE}ms"
    if seconds < 59.95:
        return f"{seconds:.{2 if seconds < 9.995 else 1}f}\N{NO-BREAK SPACE}s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // 60}\N{NO-BREAK SPACE}min {whole % 60:02d}\N{NO-BREAK SPACE}s"
    if whole < _DAY:
        return f"{whole // 3600}\N{NO-BREAK SPACE}h {whole % 3600 // 60:02d}\N{NO-BREAK SPACE}min"
    return f"{whole // 86400}\N{NO-BREAK SPACE}d {whole % 86400 // 3600}\N{NO-BREAK SPACE}h"


def status_name(value: int) -> str:
    """The word for a status on record."""
    return str(Status(value))


def _coarse(seconds: float) -> str:
    for length, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute")):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return f"{seconds:.0f} seconds"
