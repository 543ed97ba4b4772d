"""The bars of a run in a terminal, one for each segment, and the messages beside them."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from pipelet.progress import SegmentProgress
from pipelet.summary import duration

if TYPE_CHECKING:
    from tqdm import tqdm

#: Takes the level of a message and the message.
Echo = Callable[[int, str], None]

#: So many bars at once; the terminal's height may allow fewer.
_MOST_BARS = 12
#: Segments that were taken from disk whole get a line of their own in pipelines up to this size.
_SMALL_PIPELINE = 20
_NAME_WIDTH = 24
_BAR_WIDTH = 30
_LEAST_BAR = 5


def unwanted() -> bool:
    """Whether the user wants no bars."""
    return os.environ.get("TQDM_DISABLE", "0") not in ("", "0")


def can_show(stream: TextIO) -> bool:
    """Whether bars make sense on this stream: a terminal that can move its cursor."""
    if unwanted():
        return False
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except (AttributeError, ValueError):  # no stream at all (pythonw), or a closed one
        return False


class Display(Protocol):
    """What shows how a run goes on."""

    def show(self, snapshot: Sequence[SegmentProgress]) -> None:
        """Draw the newest state; call it as often as wanted, a few times a second is enough."""

    def write(self, text: str) -> None:
        """Print a message without disturbing the bars."""

    def close(self) -> None:
        """Stop drawing; what was reached stays to be read."""


class Pace:
    """When segments began, and what can be said from that.

    Parameters
    ----------
    clock
        Gives seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun: dict[str, tuple[float, int]] = {}

    def note(self, item: SegmentProgress) -> None:
        """Hear of a segment that has begun."""
        self._begun.setdefault(item.segment, (self._clock(), item.done + item.failed))

    def at_work(self, item: SegmentProgress) -> str:
        """The numbers of a segment, and how long the rest will take."""
        since, before = self._begun[item.segment]
        ran = item.done + item.failed - before
        left = (item.total or 0) - item.ended
        known = ran and left and not item.growing
        time_left = [f"{_clock_text((self._clock() - since) * left / ran)} left"] if known else []
        return ", ".join([*numbers(item), *time_left])

    def ended(self, item: SegmentProgress) -> str:
        """The numbers of a segment that has ended, and how long it took."""
        seconds = self._clock() - self._begun[item.segment][0]
        return ", ".join([*numbers(item), *([f"in {duration(seconds)}"] if seconds >= 0.1 else [])])


class Bars:
    """Progress bars in a terminal, one for each segment that is at work.

    A segment that has ended leaves one line. Where the output is no terminal nothing is shown, and every method may be
    called all the same.

    Parameters
    ----------
    stream
        Where to draw; the standard error unless given.
    enabled
        None finds out; True and False decide.
    clock
        Gives seconds; for the time left.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        enabled: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._lock = threading.RLock()
        self._bars: dict[str, tqdm[Any]] = {}
        self._bar_class: type[tqdm[Any]] | None = None
        self._pace = Pace(clock)
        self._told: set[str] = set()
        self._last: Sequence[SegmentProgress] = ()
        self.enabled = can_show(self._stream) if enabled is None else enabled

    def show(self, snapshot: Sequence[SegmentProgress]) -> None:
        """Draw the newest state; call it as often as wanted, a few times a second is enough."""
        with self._lock:
            if not self.enabled:
                return
            self._last = list(snapshot)
            try:
                self._draw(self._last)
            except (OSError, ValueError) as error:
                self._give_up(error)

    def write(self, text: str) -> None:
        """Print a message without disturbing the bars."""
        with self._lock:
            try:
                if self._bars:
                    self._class().write(text, file=self._stream)
                else:
                    print(text, file=self._stream, flush=True)
            except (OSError, ValueError, AttributeError) as error:
                self._give_up(error)

    def close(self) -> None:
        """Remove the bars; segments that had not ended leave a line with what they had reached."""
        with self._lock:
            if not self.enabled:
                return
            try:
                self._end([item for item in self._last if item.segment in self._bars])
            except (OSError, ValueError) as error:
                self._give_up(error)
            self.enabled = False

    def _give_up(self, error: Exception) -> None:
        # the terminal has gone away: the run goes on without bars
        self.enabled = False
        let_go(self._stream, error)
        for bar in self._bars.values():
            bar.disable = True  # or it would try to write once more when it is collected
        self._bars.clear()

    def _draw(self, snapshot: Sequence[SegmentProgress]) -> None:
        begun = [item for item in snapshot if item.total and (item.running or item.ended)]
        at_work = [item for item in begun if not item.finished]
        for item in begun:
            self._pace.note(item)
        self._told.difference_update(item.segment for item in at_work)
        self._end([item for item in begun if item.finished and item.segment not in self._told])
        # those that run come before those that only have a start behind them
        shown = sorted(at_work, key=lambda item: not item.running)[: max(1, min(_MOST_BARS, self._size()[1] - 3))]
        shown = [item for item in at_work if item in shown]
        self._place([item.segment for item in shown])
        self._refresh(shown)

    def _place(self, segments: Sequence[str]) -> None:
        """Make exactly these bars stand, without gaps between them."""
        if list(self._bars) == segments:
            return
        for bar in self._bars.values():
            bar.clear()
        for segment in [segment for segment in self._bars if segment not in segments]:
            self._bars.pop(segment).close()
        bars = {segment: self._bars.get(segment) or self._new_bar() for segment in segments}
        for position, bar in enumerate(bars.values()):
            bar.pos = -position
        self._bars = bars

    def _new_bar(self) -> tqdm[Any]:
        # a bar draws itself when it is made: delayed, so that it first gets its place and its numbers
        options: dict[str, Any] = {"total": 1, "leave": False, "file": self._stream, "disable": False}
        return self._class()(**options, dynamic_ncols=True, delay=1e-9, bar_format="{desc}", position=0)

    def _refresh(self, shown: Sequence[SegmentProgress]) -> None:
        lefts = [self._left_text(item) for item in shown]
        rights = [self._pace.at_work(item) for item in shown]
        longest = max((len(left) + len(right) for left, right in zip(lefts, rights, strict=True)), default=0)
        room = min(_BAR_WIDTH, self._size()[0] - longest - len(" ||  "))
        for item, left, right in zip(shown, lefts, rights, strict=True):
            bar = self._bars[item.segment]
            bar.n, bar.total = item.ended, item.total or 0
            bar.bar_format = f"{left} |{{bar:{room}}}| {right}" if room >= _LEAST_BAR else f"{left} {right}"
            bar.refresh()

    def _left_text(self, item: SegmentProgress) -> str:
        digits = max(len(str(other.total or 0)) for other in self._last)
        of_all = f"{item.ended}/{item.total}{'+' if item.growing else ''}"
        return f"{self._name(item)} {of_all:>{2 * digits + 1}}"

    def _name(self, item: SegmentProgress) -> str:
        widest = min(_NAME_WIDTH, max(8, self._size()[0] // 4))
        width = max(min(widest, len(other.segment)) for other in self._last)
        name = item.segment
        if len(name) > width:
            name = f"{name[: width // 2 - 1]}..{name[1 - width // 2 :]}"
        return name.ljust(width)

    def _last_words(self, item: SegmentProgress) -> str:
        if not item.finished:
            return ", ".join([self._left_text(item), *numbers(item)])
        return f"{self._name(item)}  {self._pace.ended(item)}"

    def _end(self, items: Sequence[SegmentProgress]) -> None:
        """Take the bars of these segments away, and tell in one line how each has ended."""
        if not items:
            return
        ending = {item.segment for item in items}
        self._place([segment for segment in self._bars if segment not in ending])
        self._told |= ending
        for item in items:
            if item.done or item.failed or len(self._last) <= _SMALL_PIPELINE:
                self.write(self._last_words(item))

    def _size(self) -> os.terminal_size:
        try:
            return os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError, AttributeError):  # drawn into something that is no terminal
            return os.terminal_size((80, 24))

    def _class(self) -> type[tqdm[Any]]:
        if self._bar_class is None:
            # imported here: it takes longer than a run that has nothing to do
            from tqdm import tqdm

            # tqdm would start a thread to watch its bars
            self._bar_class = type("Bar", (tqdm,), {"monitor_interval": 0})
        return self._bar_class


def numbers(item: SegmentProgress) -> list[str]:
    """The numbers of a segment in words."""
    # what failed stands first: the end of the line is what a narrow terminal loses
    parts = ((item.failed, "failed"), (item.done, "done"), (item.reused, "from disk"))
    return [f"{number} {word}" for number, word in parts if number]


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def printer(log_level: int, bars: Display | None) -> Echo:
    """How messages are printed: beside the progress bars, if there are any."""
    def echo(level: int, message: str) -> None:
        if not log_level or level < log_level or sys.stderr is None:
            return
        if bars is not None:
            bars.write(message)
            return
        try:
            print(message, file=sys.stderr, flush=True)
        except (OSError, ValueError, AttributeError) as error:
            # Nobody may be reading any more, or a stream of the user's own can't do all: the run goes on.
            let_go(sys.stderr, error)

    return echo


def let_go(stream: TextIO, error: Exception) -> None:
    """Send a stream nowhere from now on if nobody reads it any more.

    What is left in its buffer would fail again when Python ends, and give the process the exit status 120.

    Parameters
    ----------
    stream
        The stream.
    error
        What writing to it raised.
    """
    if getattr(error, "errno", None) in (errno.EPIPE, errno.EIO):
        # A stream of the user's own may have no number; then it has to see to that itself.
        with contextlib.suppress(AttributeError, OSError, TypeError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nothing, stream.fileno())
            finally:
                os.close(nothing)
