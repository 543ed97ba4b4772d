"""The page of the time: what ran when, how many at once, gaps, durations; and its cache."""

from __future__ import annotations

import html
import json
import os
import re
from datetime import datetime

import numpy as np
import pytest
from webclient import WebSite

from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.statusdb import InstanceRow, Reader, Writer
from pipelet.web.queries import tasktimes, timeline
from pipelet.web.queries.tasktimes import Columns, TaskTimes

NOON = 1_750_000_000.0


def row(number, segment, key=None):
    return InstanceRow(number, segment, key or segment * 12, segment, (), 0.0, None, None, 0, None)


def columns(*spans, first=1, host=0):
    begun, ended = np.array(spans, float).reshape(-1, 2).T + NOON
    return Columns(np.arange(first, first + len(spans)), begun, ended, np.full(len(spans), host, np.int32))


def shown(parts, period=None, now=None, hosts=("here", "there")):
    begin, end = period or timeline.extent(list(parts.values()), 0.0, now)
    rows = [row(number, "abc"[number - 1]) for number in parts]
    return timeline.look(rows, parts, hosts, timeline.make_axis(begin, end), (begin, end), now)


def levels(path):
    """The heights of an outline, bin by bin."""
    found = []
    for level, end in re.findall(r"V([\d.]+)H(\d+)", path):
        found += [timeline.HEIGHT - float(level)] * (int(end) - len(found))
    return found


def test_sums_and_counts_are_those_of_the_tasks():
    found = shown({1: columns((0, 4), (1, 3), (3, 10)), 2: columns((12, 20), first=8)})
    assert (found.whole.tasks, found.whole.most, found.whole.seconds) == (4, 2, 21.0)
    assert [(one.name, one.tasks, one.seconds, one.median, one.slowest, one.slowest_id) for one in found.by_time] == [
        ("a", 3, 13.0, 4.0, 7.0, 3), ("b", 1, 8.0, 8.0, 8.0, 8),
    ]
    assert found.idle == 2.0
    assert [(gap.begin - NOON, gap.end - NOON) for gap in found.gaps] == [(10.0, 12.0)]
    assert found.mean == pytest.approx(21 / 20)


def test_one_task_after_the_other_is_one_at_once():
    assert shown({1: columns((0, 1), (1, 2), (2, 3))}).whole.most == 1


def test_the_density_is_the_time_of_the_tasks_in_each_bin():
    draw = np.random.default_rng(4)
    begun = draw.uniform(0, 50, 300)
    part = columns(*zip(begun, begun + draw.exponential(5, 300), strict=True))
    period = (NOON + 10, NOON + 40)
    axis = timeline.make_axis(*period)
    found = timeline._Maker(axis, period, 1).density(part)
    width = (axis.end - axis.begin) / axis.bins
    for number in range(axis.bins):
        low = max(axis.begin + number * width, period[0])
        high = min(axis.begin + (number + 1) * width, period[1])
        expected = np.clip(np.minimum(part.ended, high) - np.maximum(part.begun, low), 0, None).sum() * (high > low)
        assert found[number] * width == pytest.approx(expected, abs=1e-4)


def test_what_is_short_can_be_seen():
    path = shown({1: columns((0, 0.001), (50, 100)), 2: columns((0, 100), (0, 100), (0, 100))}).segments
    heights = levels(next(one.path for one in path if one.name == "a"))
    assert heights[next(at for at, height in enumerate(heights) if height)] >= 1.5


@pytest.mark.parametrize("length", [1e-4, 0.01, 1, 59, 3600, 86400, 86400 * 40, 86400 * 3650])
def test_the_axis_holds_the_period_in_few_steps(length):
    axis = timeline.make_axis(NOON, NOON + length)
    assert axis.begin <= NOON
    assert axis.end >= NOON + length - 1e-6
    assert 1 <= len(axis.ticks) <= timeline.STEPS
    assert axis.bins == timeline.BINS * len(axis.ticks)


def test_hosts_are_told_apart_where_there_are_several():
    found = shown({1: columns((0, 4)), 2: columns((0, 9), (0, 9), host=1)})
    assert [(one.name, one.tasks, one.most) for one in found.hosts] == [("there", 2, 2), ("here", 1, 1)]
    assert shown({1: columns((0, 4))}).hosts == []


def test_what_runs_lasts_until_now_and_what_a_killed_run_left_does_not_count():
    parts = {1: columns((0, 4), (2, float("nan")))}
    assert shown(parts, now=NOON + 12).whole.seconds == 14.0
    assert shown(parts, now=NOON + 12).running == 1
    assert shown(parts).whole.seconds == 4.0


def test_the_last_burst_begins_after_the_last_long_pause():
    part = columns((0, 4), (5, 6), (9000, 9010), (9020, 9030))
    assert timeline.last_burst([part], None) == (NOON + 9000, NOON + 9030)
    assert timeline.last_burst([columns((0, 1))], None) == (NOON, NOON + 1)
    assert timeline.last_burst([], None) is None


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "a.py").write_text("set_output([1, 2, 3])\n")
    (tmp_path / "b.py").write_text("import time; time.sleep(0.01 * get_input())\n")
    run(tmp_path)
    return tmp_path / "data"


def run(root):
    pipeline = Pipeline("a -> b;", code_dir=str(root), prefix=str(root / "data"))
    launch_interactive(pipeline, log_level=0)[0].run()


def test_the_page_shows_the_last_run(prefix):
    visitor = WebSite(knights=prefix).browser("ada")
    page = html.unescape(visitor.get("/p/knights/time").text)
    assert "4 tasks in" in page
    assert 'aria-label="b: 3 tasks, at most 1 at once"' in page
    assert "computed nothing" not in page
    with Reader.open(f"{prefix}/.sqlstatus") as reader:
        (b,) = reader.instances("b")
        slowest = max(reader.tasks(b.id), key=lambda task: task.ended - task.begun)
    assert f'href="/p/knights/task/{slowest.id}"' in page
    assert f'href="/p/knights/products/{b.key[:12]}"' in page


def test_a_last_run_that_computed_nothing_shows_what_was_computed_before(prefix):
    site = WebSite(knights=prefix)
    file = prefix / ".pipelet" / "log" / "last_run"
    file.write_text(json.dumps({**json.loads(file.read_text()), "began": 4e9}))
    os.utime(file, (4e9, 4e9))
    page = site.browser("ada").get("/p/knights/time").text
    assert "computed nothing" in page
    assert "4 tasks in" in page


def test_other_periods_are_in_the_address(prefix):
    visitor = WebSite(knights=prefix).browser("ada")
    assert "4 tasks in" in visitor.get("/p/knights/time?period=all").text
    long_ago = visitor.get("/p/knights/time?begin=2001-01-01T00:00&end=2001-01-02T00:00").text
    assert "Nothing ran in this period" in long_ago
    year = datetime.now().year
    page = visitor.get(f"/p/knights/time?begin={year - 1}-01-01T00:00&end={year + 1}-01-01T00:00").text
    assert "4 tasks in" in page
    for link in re.findall(r'href="(/p/knights/time\?[^"]*)"', page):
        assert visitor.get(html.unescape(link)).status == 200


def test_before_the_first_run_there_is_nothing(tmp_path):
    Writer.open(str(tmp_path / ".sqlstatus")).close()
    visitor = WebSite(knights=tmp_path).browser("ada")
    for address in ("time", "time?period=all"):
        assert "Nothing has run yet" in visitor.get(f"/p/knights/{address}").text


@pytest.mark.parametrize(
    "query",
    ["begin=x", "end=2026-01-01T00:00:00Zjunk", "begin=0001-01-01T00:00", "begin=9999-12-31T23:59", "period=x",
     "begin=2026-01-02T00:00&end=2026-01-01T00:00"],
)
def test_what_is_no_period_is_refused_in_words(prefix, query):
    answer = WebSite(knights=prefix).browser("ada").get(f"/p/knights/time?{query}")
    assert answer.status == 400
    assert "Traceback" not in answer.text


def test_nothing_is_read_again_until_something_changes(prefix, monkeypatch):
    read = []
    real = tasktimes.times
    monkeypatch.setattr(tasktimes, "times", lambda *words: read.append(words[1]) or real(*words))
    visitor = WebSite(knights=prefix).browser("ada")
    visitor.get("/p/knights/time")
    assert sorted(set(read)) == [1, 2]
    read.clear()
    visitor.get("/p/knights/time")
    assert read == []
    monkeypatch.setattr(tasktimes, "PATIENCE", 0.0)
    (prefix.parent / "b.py").write_text("import time; time.sleep(0.02 * get_input())\n")
    run(prefix.parent)
    page = visitor.get("/p/knights/time").text
    assert set(read) == {3}
    assert "3 tasks in" in page


def test_reading_stops_when_its_time_is_over_and_goes_on_at_the_next_visit(prefix, monkeypatch):
    monkeypatch.setattr(tasktimes, "READ_SECONDS", 0.0)
    monkeypatch.setattr("pipelet.statusdb.timing.PIECE", 1)
    visitor = WebSite(knights=prefix).browser("ada")
    answer, visits = visitor.get("/p/knights/time"), 1
    assert "tasks ran: 1 so far" in answer.text
    while answer.headers.get("refresh") == "0":
        answer, visits = visitor.get("/p/knights/time"), visits + 1
        assert visits < 20
    assert visits > 3
    assert "4 tasks in" in answer.text


def test_of_very_many_tasks_a_part_is_read_and_the_page_says_so(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("")
    pipeline = Pipeline("a;", code_dir=str(tmp_path), prefix=str(tmp_path / "data"))
    pipeline.push(a=list(range(200)))
    launch_interactive(pipeline, log_level=0)[0].run()
    monkeypatch.setattr(tasktimes, "MOST_OF_PIPELINE", 50)
    page = WebSite(knights=tmp_path / "data").browser("ada").get("/p/knights/time").text
    assert "one of 4 was looked at" in page
    assert 100 < int(re.search(r"<p>(\d+) tasks in", page)[1]) < 300


def test_what_was_not_used_for_long_is_dropped(prefix, monkeypatch):
    monkeypatch.setattr(tasktimes, "MOST_TASKS", 3)
    held = TaskTimes()
    with Reader.open(f"{prefix}/.sqlstatus") as reader:
        a, b = reader.instances("a"), reader.instances("b")
        assert sum(len(part.ids) for part in held.of(reader, b).columns.values()) == 3
        assert sum(len(part.ids) for part in held.of(reader, a).columns.values()) == 1
    assert len(held._read) == 1
