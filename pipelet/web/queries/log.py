"""The messages of a log, filtered, a page at a time, from any place in either direction."""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from pipelet.runlog import LogHead, read_head
from pipelet.storage.logfiles import Line, LogFiles

#: So many messages are on a page.
PAGE = 200
#: So long is looked for messages that pass the filter, in seconds.
SEARCH_SECONDS = 0.5
#: Of a longer message only the beginning is shown, in bytes.
LONGEST = 20_000
#: The levels that can be chosen.
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

Place = tuple[str, int]

#: Colours, titles of windows and moves of the cursor: what a terminal obeys and never shows.
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;:<=>?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
#: Marks that turn the direction of what follows, so that a line could show as another one.
_CONTROLS |= dict.fromkeys((0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD)
_PLACE = re.compile(r"([0-9a-f]{12})\.(\d{1,15})", re.ASCII)


class Wanted(NamedTuple):
    """Which messages are shown."""

    level: int = 0  #: at least this
    segment: str = ""
    task: int | None = None
    word: str = ""  #: in small letters

    def __bool__(self) -> bool:
        return self != Wanted()


class Message(NamedTuple):
    """One message of the log."""

    begin: Place
    end: Place
    when: str
    level: int
    segment: str
    task: int | None
    text: str
    cut: bool  #: whether it is longer than what is given

    @property
    def level_name(self) -> str:
        """The level as a word in small letters."""
        names = [name for name, level in LEVELS.items() if self.level >= level]
        return names[-1] if names else "debug"


class LogPage(NamedTuple):
    """Some messages, the newest first."""

    messages: list[Message]
    older: Place | None  #: from where it goes on backward; None at the beginning of the log
    newer: Place  #: from where it goes on forward
    at_end: bool  #: whether nothing newer was left
    gave_up: str  #: the moment that the search had come to when its time was over
    gone: bool  #: whether the place asked for is in the log no longer


def place_text(place: Place | None) -> str | None:
    """A place as part of an address."""
    return None if place is None else f"{place[0]}.{place[1]}"


def read_place(text: str) -> Place | None:
    """A place from an address; None if it is none."""
    match = _PLACE.fullmatch(text)
    return None if match is None else (match[1], int(match[2]))


def harmless(text: str) -> str:
    """Text with what controls a terminal or the direction of writing taken out, or made visible."""
    return _ESCAPES.sub("", text).translate(_CONTROLS)


def day_begins(log: LogFiles, day: str) -> Place:
    """The place of the first message on a day (``2026-01-31``) or after it."""

    def earlier(line: bytes) -> bool | None:
        head = read_head(line)
        return None if head is None else head.when[:10] < day

    return log.locate(earlier)


def older_page(log: LogFiles, place: Place | None, wanted: Wanted, count: int = PAGE) -> LogPage:
    """Read the messages before a place.

    Parameters
    ----------
    log
        The files.
    place
        The end of the log if not given.
    wanted
        Which messages.
    count
        How many at most.
    """
    start = place or log.newest
    gone = place is not None and not log.holds(place)
    found: list[Message] = []
    lines = _Limited(log.backward(start), SEARCH_SECONDS if wanted else None)
    older: Place | None = None
    for message in _messages_back(lines):
        if _passes(message, wanted):
            found.append(message)
        older = message.begin
        if len(found) >= count or lines.over:
            break
    at_beginning = older is None or older == log.oldest
    newer = found[0].end if found else start
    return LogPage(
        found, None if at_beginning else older, newer, newer == log.newest or place is None,
        message.when if lines.over and len(found) < count and not at_beginning else "", gone,
    )


def newer_page(log: LogFiles, place: Place, wanted: Wanted, count: int = PAGE) -> LogPage:
    """Read the messages after a place; arguments as for `older_page`."""
    found: list[Message] = []
    lines = _Limited(log.forward(place), SEARCH_SECONDS if wanted else None)
    newer, gave_up, full = place, "", False
    for message in _messages_on(lines):
        if len(found) >= count:
            full = True
            break
        newer = message.end
        if _passes(message, wanted):
            found.append(message)
        if lines.over:
            gave_up = message.when
            break
    gone = not log.holds(place)
    older = found[0].begin if found else place
    return LogPage(
        found[::-1], None if older == log.oldest or (gone and not found) else older, newer,
        not full and not gave_up, gave_up, gone,
    )


class _Limited:
    """Lines as they come; from a moment on `over` says that enough time was spent."""

    def __init__(self, lines: Iterator[Line], seconds: float | None) -> None:
        self._lines = lines
        self._until = None if seconds is None else time.monotonic() + seconds
        self.over = False

    def __iter__(self) -> Iterator[Line]:
        for number, line in enumerate(self._lines):
            if number % 256 == 255 and self._until is not None and time.monotonic() > self._until:
                self.over = True
            yield line


def _messages_back(lines: _Limited) -> Iterator[Message]:
    further: deque[Line] = deque()
    length, cut, end = 0, False, None
    for line in lines:
        end = end or (line.mark, line.end)
        head = read_head(line.text)
        if head is not None:
            yield _message(head, line, end, [one.text for one in reversed(further)], cut)
            further.clear()
            length, cut, end = 0, False, None
            continue
        further.append(line)
        length += len(line.text)
        # The lines that are dropped are the last ones of the message.
        while length > LONGEST and len(further) > 1:
            length -= len(further.popleft().text)
            cut = True


def _messages_on(lines: _Limited) -> Iterator[Message]:
    first: tuple[LogHead, Line] | None = None
    further: list[bytes] = []
    length, cut, end = 0, False, ("", 0)
    for line in lines:
        head = read_head(line.text)
        if head is not None:
            if first is not None:
                yield _message(*first, end, further, cut)
            first, further, length, cut = (head, line), [], 0, False
        elif length > LONGEST:
            cut = True
        else:
            further.append(line.text)
            length += len(line.text)
        end = (line.mark, line.end)
    if first is not None:
        yield _message(*first, end, further, cut)


def _message(head: LogHead, line: Line, end: Place, further: list[bytes], cut: bool) -> Message:
    rest = [one.removeprefix(b"    ").decode("utf-8", "replace") for one in further]
    return Message(
        (line.mark, line.begin), end, head.when, head.level, head.segment, head.task, "\n".join([head.text, *rest]), cut
    )


def _passes(message: Message, wanted: Wanted) -> bool:
    return (
        message.level >= wanted.level
        and (not wanted.segment or message.segment == wanted.segment)
        and (wanted.task is None or message.task == wanted.task)
        and (not wanted.word or wanted.word in message.text.lower())
    )


def shown(message: Message) -> Message:
    """A message as it can stand on a page."""
    text = harmless(message.text)
    return message._replace(
        text=text[:LONGEST], cut=message.cut or len(text) > LONGEST, segment=harmless(message.segment)
    )
