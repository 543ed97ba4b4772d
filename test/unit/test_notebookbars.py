"""The bars of a notebook: one output, drawn anew, that says the same as text and as HTML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

from pipelet.bars import Bars
from pipelet.notebookbars import NotebookBars, open_bars
from pipelet.progress import SegmentProgress


class Cell:
    """An output of a cell: all that it has shown."""

    def __init__(self) -> None:
        self.shown: list[dict[str, str]] = []
        self.outputs = 0

    def show(self, bundle: dict[str, str]) -> Callable[[dict[str, str]], None]:
        self.outputs += 1
        self.shown.append(bundle)
        return self.shown.append

    @property
    def lines(self) -> list[str]:
        return self.shown[-1]["text/plain"].splitlines()

    @property
    def widths(self) -> list[list[float]]:
        """How far each bar is filled, by its parts."""
        page = ET.fromstring(self.shown[-1]["text/html"])
        bars = [row.findall("./td/div/div") for row in page.iter("tr")]
        return [[float(*re.findall(r"width:([\d.]+)%", piece.get("style", ""))) for piece in bar] for bar in bars]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def cell() -> Cell:
    return Cell()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def bars(cell: Cell, clock: Clock) -> NotebookBars:
    return NotebookBars(cell.show, True, clock)


def at_work(segment: str, done: int = 0, reused: int = 0, failed: int = 0, total: int = 8) -> SegmentProgress:
    return SegmentProgress(segment, total, total - done - reused - failed - 1, 1, done, reused, failed)


def test_a_bar_has_a_part_for_what_is_done_taken_from_disk_and_failed(
    bars: NotebookBars, cell: Cell, clock: Clock
) -> None:
    bars.show([at_work("melt", reused=2)])
    clock.now = 10.0
    bars.show([at_work("melt", done=1, reused=2, failed=1)])
    assert cell.lines == ["melt  4/8  1 failed, 1 done, 2 from disk, 00:20 left"]
    assert cell.widths == [[12.5, 25.0, 12.5]]
    assert cell.outputs == 1


def test_the_last_state_stays_and_tells_how_long_each_segment_took(
    bars: NotebookBars, cell: Cell, clock: Clock
) -> None:
    bars.show([at_work("knights"), SegmentProgress("melt", None)])
    clock.now = 2.0
    knights = SegmentProgress("knights", 8, done=8)
    bars.show([knights, at_work("melt", total=100)])
    clock.now = 5.0
    bars.show([knights, at_work("melt", done=99, total=100)])
    bars.close()
    bars.show([knights, SegmentProgress("melt", 100, done=100)])
    # without the time that would be left, since nothing goes on
    assert cell.lines == ["knights  8/8     8 done, in 2.0 s", "melt     99/100  99 done"]
    assert cell.widths == [[100.0], [99.0]]


def test_what_shows_the_bars_is_not_flooded(bars: NotebookBars, cell: Cell, clock: Clock) -> None:
    for step in range(1000):
        clock.now = step / 1000
        bars.show([at_work("melt", done=step, total=2000)])
    assert 4 <= len(cell.shown) <= 6
    bars.close()
    assert cell.lines == ["melt  999/2000  999 done"]


def test_nothing_is_drawn_where_nothing_has_changed_or_nothing_has_begun(
    bars: NotebookBars, cell: Cell, clock: Clock
) -> None:
    for step in range(10):
        clock.now = float(step)
        bars.show([SegmentProgress("knights", 4, queued=4), SegmentProgress("melt", None)])
    assert cell.shown == []
    for step in range(10, 20):
        clock.now = float(step)
        bars.show([SegmentProgress("knights", 4, reused=4)])
    bars.close()
    assert len(cell.shown) == 1


def test_names_are_not_taken_for_html(bars: NotebookBars, cell: Cell) -> None:
    bars.show([at_work("<b>&")])
    assert "&lt;b&gt;&amp;" in cell.shown[-1]["text/html"]
    ET.fromstring(cell.shown[-1]["text/html"])


def test_of_hundreds_of_segments_those_that_need_attention_are_shown(bars: NotebookBars, cell: Cell) -> None:
    items = [SegmentProgress(f"s{number}", 2, reused=2) for number in range(300)]
    items[250] = SegmentProgress("s250", 2, done=1, failed=1)
    items[280] = at_work("s280")
    bars.show(items)
    assert cell.lines == [
        "s250  2/2  1 failed, 1 done", "s280  0/8", "and 298 more segments: 596 from disk",
    ]
    ET.fromstring(cell.shown[-1]["text/html"])


def test_messages_go_to_the_standard_output(bars: NotebookBars, capsys: pytest.CaptureFixture[str]) -> None:
    bars.write("WARNING: look here")
    assert capsys.readouterr() == ("WARNING: look here\n", "")


def test_who_wants_no_bars_gets_none(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TQDM_DISABLE", "1")
    bars = NotebookBars(cell.show)
    bars.show([at_work("melt")])
    bars.close()
    assert cell.shown == []


def test_outside_of_a_notebook_the_bars_are_those_of_a_terminal() -> None:
    assert isinstance(open_bars(), Bars)
