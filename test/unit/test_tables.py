"""Tables for people, as text and as HTML; and the records that show themselves as such."""

from __future__ import annotations

import os
import pickle
import xml.etree.ElementTree as ET
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pipelet.records import InstanceList, StatusCounts, Task, TaskList
from pipelet.tables import html_table, short_path, shortened, text_table

NOON = datetime(2026, 11, 30, 12, tzinfo=timezone.utc)


def task(number: int, **fields: Any) -> Task:
    known: dict[str, Any] = {
        "input": {"a": number}, "output": [number], "status": "done", "path": None, "begun": NOON, "ended": NOON,
        "error": None, "parents": (), "segment": "melt", "text": str(number),
    }
    return Task(number, **{**known, **fields})


def cells(page: str) -> list[list[str]]:
    return [["".join(cell.itertext()) for cell in row] for row in ET.fromstring(f"<page>{page}</page>").iter("tr")]


def test_numbers_stand_to_the_right_and_words_to_the_left() -> None:
    lines = text_table(("name", "n", "share"), [("a", 1, "0.5"), ("bcdef", 200, "-")]).splitlines()
    assert lines == ["name     n  share", "a        1    0.5", "bcdef  200      -"]


def test_wide_letters_and_line_ends_do_not_disturb_the_columns() -> None:
    assert text_table(("name", "x"), [("太陽", "y"), ("a\nb", "z")]).splitlines() == ["name  x", "太陽  y", "a\\nb  z"]


def test_html_has_the_same_cells_and_takes_none_for_html() -> None:
    page = html_table(("<name>", "path"), [("<b>&", "/a/b"), ("x", "")])
    assert cells(page) == [["<name>", "path"], ["<b>&", "/a/b"], ["x", ""]]
    assert "<style" not in page
    assert "<script" not in page


@pytest.mark.parametrize("draw", [text_table, html_table])
def test_of_many_rows_the_first_are_shown(draw: Any) -> None:
    drawn = draw(("n",), [(number,) for number in range(1000)])
    assert "49" in drawn
    assert "51" not in drawn
    assert "and 950 more" in drawn


def test_paths_below_the_current_directory_are_told_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(f"{tmp_path}/results/a_ABCDEF") == "results/a_ABCDEF"
    assert short_path(f"{tmp_path}2/results") == f"{tmp_path}2/results"
    assert short_path(None) == ""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert short_path("/a/b") == "/a/b"
    monkeypatch.chdir("/")
    assert short_path("/a/b") == "/a/b"


def test_a_long_text_loses_its_middle() -> None:
    assert shortened("a  b\nc", 10) == "a b c"
    assert shortened("abcdefghijklmnop", 10) == "abcd...nop"


def test_a_list_of_tasks_is_a_list_that_shows_itself_as_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = os.path.join(tmp_path, "data", "1_1")
    tasks = TaskList([task(1, path=path), task(2, output=None), task(3, output=["<b>"])])
    assert tasks == list(tasks)
    assert str(tasks).splitlines() == [
        "task  input  output  status  seconds  path",
        "   1      1  1       done      0.000  data/1_1",
        "   2      2          done      0.000",
        "   3      3  <b>     done      0.000",
    ]
    assert repr(tasks) == str(tasks)
    assert cells(tasks._repr_html_())[3][:4] == ["3", "3", "<b>", "done"]
    # a part of it is shown in the same way
    assert isinstance(tasks[1:], TaskList)
    assert tasks[1:]._repr_html_().count("<tr>") == 3
    assert tasks[1] is tasks[1:][0]
    again = pickle.loads(pickle.dumps(tasks))
    assert (type(again), again) == (TaskList, tasks)


def test_only_where_something_failed_errors_have_a_column() -> None:
    error = 'Traceback (most recent call last):\n  File "melt.py", line 3\nValueError: too <b>hot</b>\n'
    tasks = TaskList([task(1), task(2, status="failed", error=error, output=None, begun=None)])
    assert cells(tasks._repr_html_()) == [
        ["task", "input", "output", "status", "error", "seconds", "path"],
        ["1", "1", "1", "done", "", "0.000", ""],
        ["2", "2", "", "failed", "ValueError: too <b>hot</b>", "", ""],
    ]
    assert "ValueError: too <b>hot</b>" in str(tasks)


def test_an_output_that_can_not_be_shown_or_is_long_does_no_harm() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no text")

    lines = str(TaskList([task(1, output=[Odd()]), task(2, output=list(range(100_000)))])).splitlines()
    assert "without a text" in lines[1]
    assert max(map(len, lines)) < 100


def test_lists_without_anything_say_so() -> None:
    assert (str(TaskList()), TaskList()._repr_html_()) == ("no tasks", "<p>no tasks</p>")
    assert (repr(InstanceList()), InstanceList()._repr_html_()) == ("no versions", "<p>no versions</p>")


def test_counts_by_status_are_a_dict_that_shows_itself_as_a_table() -> None:
    counts = StatusCounts({"melt": {"failed": 2, "done": 10}, "pour": {}})
    assert counts == {"melt": {"done": 10, "failed": 2}, "pour": {}}
    assert str(counts).splitlines() == [
        "segment  done  failed  running  queued",
        "melt       10       2        -       -",
        "pour        -       -        -       -",
    ]
    assert cells(counts._repr_html_())[1] == ["melt", "10", "2", "-", "-"]
