"""The lines of ``pipeutils --status``, at any width."""

from __future__ import annotations

import io
import re

import pytest

from pipelet.cli import status
from pipelet.core.model import Status
from pipelet.overview import Overview, RunningTask, SegmentState
from pipelet.storage import Holder

NOW = 1_000_000.0
HOLDER = Holder("node7", 4711, NOW - 3725, True, "held")
SEGMENTS = [
    SegmentState("observe", "observe_AAAAAA", {Status.DONE: 1}, None),
    SegmentState(
        "a_segment_with_a_long_name", "a_BBBBBB",
        {Status.DONE: 99_000, Status.RUNNING: 12, Status.QUEUED: 900, Status.FAILED: 88}, None,
    ),
    SegmentState("fit", "fit_CCCCCC", {}, "tasks of a_segment_with_a_long_name failed or wait"),
]
RUNNING = [RunningTask("a_segment_with_a_long_name", n, f"{n}_mars", NOW - n, None) for n in range(12)]
OVERVIEW = Overview(SEGMENTS, RUNNING, True, "/data", HOLDER)


def plain(text: str, colour: str) -> str:
    return text


def coloured(text: str, colour: str) -> str:
    return f"<{colour}>{text}</>" if colour and text.strip() else text


def test_a_page_tells_all() -> None:
    lines = status.page(OVERVIEW, 80, plain, NOW)
    assert lines == [
        "held by node7, pid 4711, for 1 h 02 min",
        "",
        "segment                      done  running  queued  failed",
        "observe                         1        -       -       -",
        "a_segment_with_a_long_name  99000       12     900      88",
        "fit                             -        -       -       -",
        "  waits: tasks of a_segment_with_a_long_name failed or wait",
        "-" * 58,
        "all segments                99001       12     900      88",
        "",
        "running now                 since  host   input",
        *(f"a_segment_wi.._long_name {n}    {n} s  node7  {n}_mars" for n in range(10)),
        "and 2 more",
        "",
        "88 tasks failed; P.tasks(SEGMENT, 'failed') has the errors",
    ]


@pytest.mark.parametrize("width", range(28, 120))
def test_no_line_is_longer_than_the_window_and_columns_stand_below_each_other(width: int) -> None:
    lines = status.page(OVERVIEW, width, plain, NOW)
    assert max(map(len, lines)) <= width
    table = [line for line in lines if re.match(r"(segment|observe|a_.*88$|fit|all)", line)]
    assert len({len(line) for line in table[:5]}) == 1


def test_a_narrow_page_keeps_both_ends_of_names_and_drops_the_machine() -> None:
    lines = status.page(OVERVIEW, 40, plain, NOW)
    assert any(line.startswith("a_segme") and line.endswith("99000  12   900   88") for line in lines), lines
    assert not any("node7" in line for line in lines[2:])
    assert lines[-1] == "88 tasks failed"


def test_colours_are_no_more_than_colours() -> None:
    lines = status.page(OVERVIEW, 80, coloured, NOW)
    assert [re.sub("<.*?>", "", line) for line in lines] == status.page(OVERVIEW, 80, plain, NOW)
    assert any("<31>" in line for line in lines)


@pytest.mark.parametrize(
    ("overview", "first"),
    [
        (OVERVIEW._replace(holder=None), "no run at the moment"),
        (OVERVIEW._replace(holder=Holder("", 0, NOW, True, "")), "held by another process, for 0 s"),
        (OVERVIEW._replace(holder=Holder("h", 1, NOW, False, "")), "held by a run that died; the next one goes on"),
        (OVERVIEW._replace(holder=None, prefix=None), ""),
        (OVERVIEW._replace(holder=None, prefix=None, last_run=False), "the newest version of each segment"),
        (Overview([], [], False, "/data", None), "no run at the moment"),
    ],
)
def test_who_holds_the_prefix(overview: Overview, first: str) -> None:
    line = status.page(overview, 80, plain, NOW)[0]
    assert line.startswith(first)
    assert bool(line) == bool(first)


def test_nothing_has_run() -> None:
    assert status.page(Overview([], [], False, None, None), 80, plain, NOW) == ["", "no segment has run yet"]


def test_of_one_segment_there_is_no_sum() -> None:
    lines = status.page(Overview(SEGMENTS[:1], [], True, None, None), 80, plain, NOW)
    assert lines == ["", "segment  done  running  queued  failed", "observe     1        -       -       -"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("term", [None, "dumb"])
def test_pages_follow_each_other_where_it_is_no_terminal(term: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO() if term is None else Terminal()
    monkeypatch.setenv("TERM", term or "xterm")
    screen = status.Screen(stream)
    screen.show(["a", screen.paint("b", "31")])
    screen.show(["c"])
    assert stream.getvalue() == "a\nb\n\nc\n"


def test_a_page_takes_the_place_of_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = status.Screen(Terminal())
    screen.show(["a", screen.paint("b", "31")])
    screen.show(["c"])
    # Two lines up, and all below away.
    assert screen.stream.getvalue() == "a\n\x1b[31mb\x1b[0m\n\r\x1b[2A\x1b[Jc\n"  # type: ignore[attr-defined]


def test_a_low_window_gets_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    status.Screen(stream).show([str(n) for n in range(40)])
    assert stream.getvalue().splitlines()[-2:] == ["21", "... and 18 lines more"]


def test_lines_that_a_narrower_window_has_broken_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    screen = status.Screen(stream)
    monkeypatch.setattr(status.Screen, "_size", lambda self: status.os.terminal_size((30, 24)))
    screen.show(["x" * 30, "y"])
    monkeypatch.setattr(status.Screen, "_size", lambda self: status.os.terminal_size((10, 24)))
    screen.show(["z"])
    assert "\x1b[4A" in stream.getvalue()


def test_no_colours_for_those_who_want_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert status.Screen(Terminal()).paint("b", "31") == "b"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (61, "1 min 01 s"), (3661, "1 h 01 min"), (90_000, "1 d 1 h"), (-5, "0 s")],
)
def test_durations(seconds: float, words: str) -> None:
    assert status._duration(seconds) == words
