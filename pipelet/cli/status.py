"""The verb ``pipeutils --status``: how a pipeline stands, in a terminal."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

from pipelet.core.model import Status
from pipelet.errors import PipeletError

if TYPE_CHECKING:
    from pipelet.overview import Overview

EXAMPLES = """\
  pipeutils --status .sqlstatus     how many tasks are done, what runs now, what failed
  pipeutils --status .sqlstatus --watch  the same every two seconds, until Ctrl-C
"""

_SECONDS = 2.0
_LEAST_SECONDS = 0.1
#: So many running tasks are shown.
_RUNNING = 10
_NARROW = 60
_RED, _GREEN, _CYAN, _BOLD, _DIM = "31", "32", "36", "1", "2"

_COLUMNS = (
    (Status.DONE, "done", "done", _GREEN),
    (Status.RUNNING, "running", "run", _CYAN),
    (Status.QUEUED, "queued", "queue", ""),
    (Status.FAILED, "failed", "fail", _RED),
)


def add_options(options: argparse.ArgumentParser, verbs: argparse._MutuallyExclusiveGroup) -> None:
    """Add the verb and the option that goes with it."""
    verbs.add_argument("--status", action="store_true", help="show how the pipeline of SQLFILE stands")
    group = options.add_argument_group("with --status")
    group.add_argument(
        "--watch",
        nargs="?",
        type=_seconds,
        const=_SECONDS,
        metavar="SECONDS",
        help="show it again and again, every 2 seconds if not given otherwise; Ctrl-C ends",
    )


def misused(given: argparse.Namespace) -> str | None:
    """What is wrong with the options, if anything is."""
    return "--watch goes with --status only" if given.watch is not None and not given.status else None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not _LEAST_SECONDS <= seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"{text} is none of the seconds from {_LEAST_SECONDS} on")
    return seconds


def run(sqlfile: str, seconds: float | None, stream: TextIO | None = None) -> int:
    """Show the status once, or until the user has seen enough.

    Parameters
    ----------
    sqlfile
        The database.
    seconds
        Between two looks; ``None``: once.
    stream
        Where to; the standard output unless given.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    DatabaseError
        The database can't be read at the first look.
    """
    screen = Screen(sys.stdout if stream is None else stream)
    try:
        screen.show(_page(sqlfile, screen, ()))
        while seconds is not None:
            time.sleep(seconds)
            every = f"every {seconds:g} s, Ctrl-C ends"
            try:
                screen.show(_page(sqlfile, screen, (every,) if screen.terminal else ()))
            except PipeletError as error:
                screen.show([_cut(f"{_clock()} {error}", screen.width)])
    except KeyboardInterrupt:
        if seconds is None:
            raise
        screen.leave()
    except BrokenPipeError as error:
        # Whoever read has seen enough.
        from pipelet.bars import let_go

        let_go(screen.stream, error)
    return 0


def _page(sqlfile: str, screen: Screen, notes: Sequence[str]) -> list[str]:
    # the engine is slow to import beside the other verbs
    from pipelet.overview import look

    lines = page(look(sqlfile), screen.width, screen.paint, time.time())
    words = [f"{_clock()} {sqlfile}", *notes]
    return [screen.paint(_cut(", ".join(words), screen.width), _DIM), *lines]


class Screen:
    """A terminal, or something else, to which pages are written: on a terminal each in the place of the last.

    Parameters
    ----------
    stream
        Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.terminal = stream.isatty() and os.environ.get("TERM") not in (None, "", "dumb")
        self._colours = self.terminal and not os.environ.get("NO_COLOR")
        self._shown: list[int] | None = None

    @property
    def width(self) -> int:
        """Columns; as many as there may be where it is no terminal."""
        return self._size().columns if self.terminal else 100

    def paint(self, text: str, colour: str) -> str:
        """A text in a colour, where there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours and colour and text.strip() else text

    def show(self, lines: Sequence[str]) -> None:
        """Write a page."""
        if not self.terminal:
            self.stream.write("".join([*([] if self._shown is None else ["\n"]), *(f"{line}\n" for line in lines)]))
            self._shown = []
        else:
            width, height = self._size()
            if self._shown is not None:
                # A window that was made narrower has broken long lines in two.
                above = sum(max(1, -(-length // width)) for length in self._shown)
                self.stream.write(f"\r\x1b[{min(above, height - 1)}A\x1b[J" if above else "")
            room = max(1, height - 1)
            if len(lines) > room:
                lines = [*lines[: room - 1], _cut(f"... and {len(lines) - room + 1} lines more", width)]
            self.stream.write("".join(f"{line}\n" for line in lines))
            self._shown = [_length(line) for line in lines]
        self.stream.flush()

    def leave(self) -> None:
        """Let what follows begin on a line of its own: the terminal has written ``^C``."""
        if self.terminal:
            self.stream.write("\n")
            self.stream.flush()

    def _size(self) -> os.terminal_size:
        try:
            size = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return os.terminal_size((80, 24))
        # Some terminals say that they have no size.
        return os.terminal_size((size.columns or 80, size.lines or 24))


# --- the page --------------------------------------------------------------------------------------------------------

Paint = Callable[[str, str], str]


class _Cell(NamedTuple):
    text: str
    colour: str


def page(overview: Overview, width: int, paint: Paint, now: float) -> list[str]:
    """The lines that tell how a pipeline stands.

    Parameters
    ----------
    overview
        What `pipelet.overview.look` found.
    width
        No line is longer.
    paint
        Gives a text a colour.
    now
        Seconds since the epoch.
    """
    lines = [_cut(line, width) for line in _head(overview, now)]
    if not overview.segments:
        return [*lines, "", _cut("no segment has run yet", width)]
    lines += ["", *_table(overview, width, paint)]
    if overview.running:
        lines += ["", *_running(overview, width, paint, now)]
    failed = overview.count(Status.FAILED)
    if failed:
        words = f"{failed} {'task' if failed == 1 else 'tasks'} failed"
        aside = sum(item.aside for item in overview.segments)
        if aside:
            words += f", of which {aside} set aside"
        more = f"{words}; P.tasks(SEGMENT, 'failed') has the errors"
        lines += ["", paint(more if len(more) <= width else _cut(words, width), _RED)]
    return lines


def _head(overview: Overview, now: float) -> list[str]:
    lines = []
    holder = overview.holder
    if holder is not None and holder.alive:
        who = f"{holder.host}, pid {holder.pid}" if holder.host else "another process"
        lines.append(f"held by {who}, for {_duration(now - holder.since)}")
    elif holder is not None:
        lines.append("held by a run that died; the next one goes on from there")
    elif overview.prefix is not None:
        lines.append("no run at the moment")
    if overview.segments and not overview.last_run:
        lines.append("the newest version of each segment")
    return lines


def _table(overview: Overview, width: int, paint: Paint) -> list[str]:
    narrow = width < _NARROW
    rows = [(item.segment, item.counts, item.waiting) for item in overview.segments]
    if len(rows) > 1:
        rows.append(("all segments", {status: overview.count(status) for status in Status}, None))
    heads = [short if narrow else head for _, head, short, _ in _COLUMNS]
    sizes = [
        max(len(head), *(len(str(counts.get(column[0], 0))) for _, counts, _ in rows))
        for head, column in zip(heads, _COLUMNS, strict=True)
    ]
    gap = 1 if narrow else 2
    room = max(4, width - sum(sizes) - gap * len(sizes))
    names = min(room, max(len("segment"), *(len(name) for name, _, _ in rows)))
    lines = [paint(_line("segment", names, [_Cell(head, "") for head in heads], sizes, gap, lambda t, c: t), _BOLD)]
    for place, (name, counts, waiting) in enumerate(rows):
        if place == len(overview.segments):
            lines.append(paint("-" * (names + sum(sizes) + gap * len(sizes)), _DIM))
        numbers = [(counts.get(status, 0), colour) for status, _, _, colour in _COLUMNS]
        cells = [_Cell(str(number or "-"), colour if number else _DIM) for number, colour in numbers]
        lines.append(_line(name, names, cells, sizes, gap, paint))
        if waiting:
            lines.append(paint(_cut(f"  waits: {waiting}", width), _DIM))
    return lines


def _line(name: str, names: int, cells: Sequence[_Cell], sizes: Sequence[int], gap: int, paint: Paint) -> str:
    parts = [_middle(name, names).ljust(names)]
    parts += [paint(cell.text.rjust(size), cell.colour) for cell, size in zip(cells, sizes, strict=True)]
    return (" " * gap).join(parts)


def _running(overview: Overview, width: int, paint: Paint, now: float) -> list[str]:
    shown = overview.running[:_RUNNING]
    holders = overview.holder.host if overview.holder is not None else ""
    rows = [("running now", "since", "host", "input")]
    for task in shown:
        since = "" if task.since is None else f"{_duration(now - task.since)}"
        rows.append((f"{task.segment} {task.id}", since, task.host or holders, task.input))
    names, times, hosts = (max(len(row[at]) for row in rows) for at in range(3))
    names = min(names, max(11, width // 3))
    with_times = any(row[1] for row in rows[1:])
    # In a narrow window the input is worth more than the machine.
    with_hosts = width >= _NARROW and any(row[2] for row in rows[1:])
    lines = []
    for name, since, host, text in rows:
        parts = [_middle(name, names).ljust(names)]
        parts += [since.rjust(times)] if with_times else []
        parts += [host.ljust(hosts)] if with_hosts else []
        start = "  ".join(parts)
        lines.append(_cut(f"{start}  {_middle(text, max(8, width - len(start) - 2))}".rstrip(), width))
    lines[0] = paint(lines[0], _BOLD)
    more = overview.count(Status.RUNNING) - len(shown)
    if more > 0:
        lines.append(_cut(f"and {more} more", width))
    return lines


# --- words -----------------------------------------------------------------------------------------------------------


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: max(0, width - 2)]}.."


def _middle(text: str, width: int) -> str:
    """A text without its middle where it is too long: both ends tell most."""
    if len(text) <= width:
        return text
    half = (width - 2) // 2
    return f"{text[: width - 2 - half]}..{text[len(text) - half :] if half else ''}"


def _length(line: str) -> int:
    """How many columns a line takes: colours take none."""
    shown, place = 0, 0
    while place < len(line):
        if line[place] == "\x1b":
            place = line.index("m", place) + 1
        else:
            shown, place = shown + 1, place + 1
    return shown
