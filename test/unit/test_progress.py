"""What is seen of a run: its state, its bars, and the summary at the end."""

from __future__ import annotations

import io
import os
import pickle
import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelet.bars import Bars, can_show, printer
from pipelet.progress import Failure, SegmentProgress, Summary, Tracker, WorkerProgress
from pipelet.summary import SHOWN_FAILURES, Kind, _shares, duration, grouped, kind_of, plain


class Terminal(io.StringIO):
    """A terminal of so many columns; `screen` is what a person would see on it."""

    encoding = "utf-8"

    def __init__(self) -> None:
        super().__init__()
        self.broken = False

    def isatty(self) -> bool:
        if self.closed:
            raise ValueError("I/O operation on closed file")
        return True

    def write(self, text: str) -> int:
        if self.broken:
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(text)

    @property
    def screen(self) -> list[str]:
        lines, row, column = [""], 0, 0
        for token in re.findall(r"\x1b\[A|\r|\n|[^\x1b\r\n]+", self.getvalue()):
            if token == "\x1b[A":
                row -= 1
            elif token == "\r":
                column = 0
            elif token == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            else:
                line = lines[row].ljust(column)
                lines[row] = line[:column] + token + line[column + len(token) :]
                column += len(token)
        return [line.rstrip() for line in lines if line.strip()]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return Terminal()


def at_work(segment: str = "melt", total: int = 10, done: int = 3, reused: int = 2, failed: int = 1) -> SegmentProgress:
    left = total - done - reused - failed
    return SegmentProgress(segment, total, max(0, left - 1), min(1, left), done, reused, failed)


def failure(
    segment: str = "melt", task: int | None = 7, line: int = 4, kind: str = "ValueError", log: str | None = None
) -> Failure:
    error = f"{kind}: no such weight"
    frame = f'  File "/home/ada/{segment}.py", line {line}, in <module>\n    x\n'
    text = f"Traceback (most recent call last):\n{frame}{error}\n"
    return Failure(segment, task, "Lancelot_the_Brave", error, text, log)


# --- the state of a run


def test_a_tracker_keeps_the_newest_state_of_each_segment_in_order() -> None:
    tracker = Tracker()
    tracker.update([SegmentProgress("knights", 1, queued=1), SegmentProgress("melt", None)])
    tracker.update([SegmentProgress("melt", 4, running=2, done=1, reused=1)])
    assert [item.segment for item in tracker.snapshot()] == ["knights", "melt"]
    assert tracker.counts() == {
        "knights": {"queued": 1, "running": 0, "done": 0, "reused": 0, "failed": 0},
        "melt": {"queued": 0, "running": 2, "done": 1, "reused": 1, "failed": 0},
    }


def test_a_waiting_segment_is_counted_as_waiting() -> None:
    tracker = Tracker()
    tracker.update([SegmentProgress("plot", None, waiting=True)])
    assert tracker.counts()["plot"]["waiting"] == 1
    assert "waiting" in tracker.text()


def test_waiting_for_a_run_ends_when_it_is_over() -> None:
    tracker = Tracker()
    assert not tracker.wait(0)
    assert not tracker.finished
    waiting = threading.Thread(target=tracker.wait)
    waiting.start()
    tracker.finish()
    waiting.join(10)
    assert not waiting.is_alive()
    assert tracker.finished
    assert tracker.wait(0)


def test_the_text_of_a_tracker_is_a_table() -> None:
    tracker = Tracker()
    assert str(tracker) == "running: 0 of 0 tasks ended, 0 of them failed"
    tracker.update([at_work(), SegmentProgress("later", None)])
    head, columns, melt, later = str(tracker).splitlines()
    assert head == "running: 6 of 10 or more tasks ended, 1 of them failed"
    assert columns.split("  ")[0].strip() == "segment"
    assert melt.split() == ["melt", "3", "1", "3", "2", "1"]
    assert later.split() == ["later", "-", "-", "-", "-", "-"]
    assert len(columns) == len(melt) == len(later)
    assert "6 of 10" in repr(tracker)


def test_a_tracker_in_a_notebook_is_an_escaped_table() -> None:
    tracker = Tracker()
    tracker.update([SegmentProgress("<b>", 1, done=1)])
    assert "&lt;b&gt;" in tracker._repr_html_()
    assert "<b>" not in tracker._repr_html_()


# --- bars


def test_no_bars_where_the_output_is_no_terminal() -> None:
    stream = io.StringIO()
    bars = Bars(stream)
    bars.show([at_work()])
    bars.close()
    assert stream.getvalue() == ""


def test_no_bars_where_the_user_or_the_terminal_does_not_want_them(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert can_show(terminal)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert not can_show(terminal)
    monkeypatch.setenv("TQDM_DISABLE", "0")
    monkeypatch.setenv("TERM", "dumb")
    assert not can_show(terminal)
    monkeypatch.setenv("TERM", "xterm")
    terminal.close()
    assert not can_show(terminal)


def test_a_bar_tells_done_from_disk_failed_and_the_time_left(terminal: Terminal) -> None:
    clock = Clock()
    bars = Bars(terminal, clock=clock)
    bars.show([at_work(done=0, failed=0)])
    clock.now = 40.0
    bars.show([at_work()])
    # four tasks ran in 40 seconds, and four are left: what was taken from disk took no time
    (line,) = terminal.screen
    assert line.startswith("melt  6/10 |")
    assert line.endswith("| 1 failed, 3 done, 2 from disk, 00:40 left")


def test_hours_left_are_told_as_hours(terminal: Terminal) -> None:
    clock = Clock()
    bars = Bars(terminal, clock=clock)
    bars.show([at_work(total=1000, done=0, reused=0, failed=0)])
    clock.now = 10.0
    bars.show([at_work(total=1001, done=1, reused=0, failed=0)])
    assert terminal.screen[-1].endswith("2:46:40 left")


def test_a_segment_that_ended_leaves_one_line_and_the_others_move_up(terminal: Terminal) -> None:
    clock = Clock()
    bars = Bars(terminal, clock=clock)
    bars.show([at_work("a"), at_work("b"), at_work("c")])
    clock.now = 2.0
    for _ in range(2):
        bars.show([at_work("a"), SegmentProgress("b", 10, done=8, failed=2), at_work("c")])
    assert [line.split()[0] for line in terminal.screen] == ["b", "a", "c"]
    assert terminal.screen[0] == "b  2 failed, 8 done, in 2.0 s"


def test_segments_that_have_not_begun_or_have_no_task_have_no_bar(terminal: Terminal) -> None:
    bars = Bars(terminal)
    bars.show([SegmentProgress("later", None), SegmentProgress("empty", 0), SegmentProgress("queued", 5, queued=5)])
    bars.show([SegmentProgress("growing", None, running=1, done=2)])
    assert terminal.screen == []


def test_a_message_stands_above_the_bars(terminal: Terminal) -> None:
    bars = Bars(terminal)
    bars.write("before")
    bars.show([at_work("a"), at_work("b")])
    bars.write("WARNING: look here")
    bars.show([at_work("a"), at_work("b")])
    assert [line.split()[0] for line in terminal.screen] == ["before", "WARNING:", "a", "b"]


def test_of_fifty_segments_only_those_that_run_are_shown(terminal: Terminal) -> None:
    bars = Bars(terminal)
    stalled = [SegmentProgress(f"stalled{index}", 5, queued=4, done=1) for index in range(25)]
    running = [at_work(f"running{index}") for index in range(25)]
    bars.show([*stalled, *running])
    names = [line.split()[0] for line in terminal.screen]
    assert names == [f"running{index}" for index in range(12)]


def test_a_large_pipeline_that_is_taken_from_disk_whole_prints_nothing(terminal: Terminal) -> None:
    Bars(terminal).show([SegmentProgress(f"s{index}", 3, reused=3) for index in range(50)])
    assert terminal.screen == []


def test_a_small_pipeline_that_is_taken_from_disk_says_so(terminal: Terminal) -> None:
    Bars(terminal).show([SegmentProgress("knights", 1, reused=1), SegmentProgress("melt", 4, reused=4)])
    assert terminal.screen == ["knights  1 from disk", "melt     4 from disk"]


def test_a_narrow_and_low_terminal_loses_the_bar_before_the_numbers(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bars, "_size", lambda self: os.terminal_size((36, 5)))
    bars = Bars(terminal)
    bars.show([at_work("a" * 100), at_work("b"), at_work("c")])
    assert terminal.screen == [
        "aaa..aaa   6/10 1 failed, 3 done, 2 from disk",
        "b          6/10 1 failed, 3 done, 2 from disk",
    ]


def test_a_segment_that_gets_more_tasks_gets_its_bar_again(terminal: Terminal) -> None:
    bars = Bars(terminal)
    bars.show([SegmentProgress("melt", 2, done=2)])
    bars.show([SegmentProgress("melt", 4, running=1, done=3)])
    assert "3/4" in terminal.screen[-1]
    bars.show([SegmentProgress("melt", 4, done=4)])
    assert terminal.screen == ["melt  2 done", "melt  4 done"]


def test_closing_tells_what_was_reached(terminal: Terminal) -> None:
    bars = Bars(terminal)
    bars.show([at_work()])
    bars.close()
    bars.show([at_work()])
    assert terminal.screen == ["melt  6/10, 1 failed, 3 done, 2 from disk"]


@pytest.mark.parametrize("first", ["show", "write", "close"])
def test_a_terminal_that_goes_away_does_not_stop_the_run(terminal: Terminal, first: str) -> None:
    bars = Bars(terminal)
    bars.show([at_work()])
    terminal.broken = True
    calls = {"show": lambda: bars.show([at_work(done=4)]), "write": lambda: bars.write("unseen"), "close": bars.close}
    calls[first]()
    assert not bars.enabled
    for call in calls.values():
        call()


def test_bars_start_no_thread(terminal: Terminal) -> None:
    before = threading.active_count()
    Bars(terminal).show([at_work()])
    assert threading.active_count() == before


# --- the summary


def test_a_summary_says_done_from_disk_failed_and_what_waits() -> None:
    text = str(Summary(done=12, reused=4, failed=2, waiting=["plot", "table"], seconds=200))
    assert text.splitlines() == [
        "12 tasks done, 4 taken from disk, 2 failed, in 3 min 20 s",
        "waiting for what failed before: plot, table",
    ]
    assert str(Summary(done=1, seconds=0.04)) == "1 task done, 0 taken from disk, 0 failed, in 0.0 s"


def test_each_failure_is_told_with_segment_input_error_and_log() -> None:
    text = str(Summary(failed=1, failures=[failure(log="/data/melt_ABCDEF/log/7.log")]))
    assert text.splitlines() == [
        "melt: ValueError in melt.py, line 4",
        "  task 7, input Lancelot_the_Brave",
        "    ValueError: no such weight",
        "    log: /data/melt_ABCDEF/log/7.log",
        "",
        "0 tasks done, 0 taken from disk, 1 failed, in 0.0 s",
    ]


def test_an_error_that_is_always_the_same_is_told_once_for_each_kind() -> None:
    other = failure(task=3)._replace(error="ValueError: no such height")
    lines = str(Summary(failed=4, failures=[failure(task=1), failure(task=2), other, failure(task=4)])).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("    ")] == ["weight", "height", "weight"]


def test_a_failure_without_task_is_one_of_the_inputs() -> None:
    failed = Failure("melt", None, "", "where a[0] == b: name 'c' is not defined", "", None)
    text = str(Summary(failures=[failed]))
    assert "melt: its inputs could not be made\n    where a[0] == b: name 'c' is not defined" in text


def test_failures_of_one_kind_are_told_together_and_not_all() -> None:
    failures = [failure(task=number) for number in range(1000)]
    failures += [failure("plot", task=2000, kind="OSError"), failure(task=2001, line=9)]
    text = str(Summary(failed=1002, failures=failures))
    assert "melt: ValueError in melt.py, line 4, 1000 times" in text
    assert "\n  and 982 more of this kind\n" in text
    assert "plot: OSError in plot.py, line 4" in text
    assert "melt: ValueError in melt.py, line 9" in text
    assert text.count("  task ") == SHOWN_FAILURES


def test_kinds_beyond_the_first_are_counted() -> None:
    failures = [failure(task=line, line=line) for line in range(30)]
    assert str(Summary(failed=35, failures=failures)).splitlines()[-3] == "and 15 more, of 10 other kinds"
    assert str(Summary(failed=5, failures=failures[:3])).splitlines()[-3] == "and 2 more"


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 30))
def test_the_places_are_shared_out_whole(sizes: list[int], places: int) -> None:
    shares = _shares(sizes, places)
    assert sum(shares) == min(places, sum(sizes))
    assert all(share <= size for share, size in zip(shares, sizes, strict=True))
    assert sum(1 for share in shares if share) == min(places, len(sizes))


TRACE = """Traceback (most recent call last):
  File "/home/ada/melt.py", line 3, in <module>
    heraldry.colour_of(x)
  File "/home/ada/heraldry.py", line 12, in colour_of
    return json.loads(text)
           ^^^^^^^^^^^^^^^^
  File "{stdlib}", line 346, in loads
    raise Broken(
json.decoder.JSONDecodeError: Expecting value: line 1
and a second line
"""


def test_the_kind_is_the_exception_and_the_last_line_of_the_users_code() -> None:
    import json

    trace = TRACE.format(stdlib=json.__file__)
    assert kind_of(Failure("melt", 1, "", "and a second line", trace, None)) == Kind(
        "melt", "json.decoder.JSONDecodeError", "heraldry.py, line 12"
    )


def test_frames_of_the_engine_and_of_packages_are_not_the_users() -> None:
    import pipelet.summary

    trace = 'Traceback:\n  File "/home/ada/melt.py", line 3, in <module>\n    x\n'
    trace += f'  File "{pipelet.summary.__file__}", line 8, in y\n'
    trace += '  File "/opt/lib/site-packages/numpy/core.py", line 9, in z\n'
    trace += '  File "<string>", line 1, in w\nKeyError: 3\n'
    assert kind_of(Failure("melt", 1, "", "KeyError: 3", trace, None)) == Kind("melt", "KeyError", "melt.py, line 3")


def test_of_chained_exceptions_the_last_one_counts() -> None:
    trace = 'Traceback:\n  File "/a/melt.py", line 1, in f\n    x\nKeyError: 1\n\nDuring handling:\n\n'
    trace += 'Traceback:\n  File "/a/melt.py", line 5, in g\n    y\nValueError\n'
    assert kind_of(Failure("melt", 1, "", "ValueError", trace, None)) == Kind("melt", "ValueError", "melt.py, line 5")


def test_a_failure_without_traceback_has_the_kind_of_its_error() -> None:
    died = Failure("melt", 3, "x", "WorkerDied: killed by signal 9 (SIGKILL)", "", None)
    assert kind_of(died) == Kind("melt", "WorkerDied", "")
    assert list(grouped([died, died._replace(task=4)]).values()) == [[died, died._replace(task=4)]]


def test_control_characters_of_an_input_do_not_reach_the_terminal() -> None:
    evil = failure()._replace(input="\x1b[2Jgone\nnew line", error="ValueError: \x07")
    text = str(Summary(failed=1, failures=[evil]))
    assert "\x1b" not in text
    assert r"\x1b[2Jgone\nnew line" in text
    assert "\x07" not in text


@given(st.text(), st.integers(12, 60))
def test_plain_text_fits_on_one_line(text: str, limit: int) -> None:
    result = plain(text, limit)
    assert result.isprintable()
    assert len(result) <= limit
    if text.isprintable() and len(text) <= limit:
        assert result == text


def test_the_middle_of_a_long_text_is_cut() -> None:
    assert plain("a" * 50 + "end", 20) == "aaaaaaaa ... aaaaend"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.26, "0.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
        (86400 * 3 + 3600 * 4, "3 d 4 h"),
    ],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_summary_is_good_only_when_nothing_failed() -> None:
    assert Summary(done=3).ok
    assert not Summary(failed=1).ok
    assert not Summary(failures=[failure(task=None)]).ok


def test_a_summary_has_a_short_repr_and_can_be_pickled() -> None:
    summary = Summary(3, 2, 1, ["plot"], 2.0, [failure()], {"melt": {"done": 3}})
    assert repr(summary) == "<Summary: 3 done, 2 reused, 1 failed, 1 waiting, 2.0 s>"
    assert pickle.loads(pickle.dumps(summary)) == summary


def test_a_summary_in_a_notebook_is_escaped_and_bounded() -> None:
    failures = [failure(task=number)._replace(input="<script>", traceback="<i>", log="<u>") for number in range(30)]
    page = Summary(0, 0, 40, ["<b>"], 1.0, failures, {"<melt>": {"failed": 40}})._repr_html_()
    assert not re.search("<(script|i|u|melt)>|<b><", page)
    assert page.count("<details>") == SHOWN_FAILURES
    assert "<p>and 10 more of this kind</p>" in page
    assert "<p>and 10 more</p>" in page


def test_a_tracker_says_which_worker_runs_which_tasks() -> None:
    tracker = Tracker()
    tracker.update([SegmentProgress("melt", 4, running=2, done=2)])
    tracker.workers = [WorkerProgress("81276", "node3", 2, 2, (3, 4)), WorkerProgress(None, "laptop", 1, 0)]
    assert str(tracker).splitlines()[-2:] == [
        "job 81276 on node3: 2 tasks ended, runs 3, 4", "a worker on laptop: 0 tasks ended"
    ]
    tracker.workers = [WorkerProgress(str(number), "node3", 1, 0) for number in range(30)]
    assert str(tracker).splitlines()[-1] == "and 10 more workers"


class Unread:
    """A stream of a user's own; what it writes to is no longer read."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self) -> None:
        """Nothing."""


class Numberless(Unread):
    """One that has no number, and says so with nothing."""

    def fileno(self) -> None:
        """Nothing."""


class Plain:
    """One that can only take text."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)


@pytest.mark.parametrize("stream", [Unread(), Numberless()])
def test_messages_that_nobody_reads_raise_nothing_whatever_the_stream_is(
    stream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    printer(1, None)(20, "melted")
    Bars(stream=stream, enabled=False).write("melted")


def test_messages_go_also_to_a_stream_that_can_only_take_text(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Any = Plain()
    monkeypatch.setattr("sys.stderr", stream)
    printer(1, None)(20, "melted")
    Bars(stream=stream, enabled=False).write("frozen")
    assert stream.text == "melted\nfrozen\n"


def test_messages_go_nowhere_else_where_there_is_no_stream_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    stream: Any = Plain()
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr("sys.stdout", stream)
    printer(1, None)(20, "melted")
    assert stream.text == ""
