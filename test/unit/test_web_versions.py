"""What the index of the web pages shows, without a database: filters, the tree, the graph, the time left."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pipelet.statusdb.versions import Exposed
from pipelet.web.queries import graph, live
from pipelet.web.queries.filters import Filter, candidates, read_filter
from pipelet.web.queries.versions import NAMES, VALUES, Version, Versions, summarised, walk


def version(id, segment, parents=(), last=False, created=None):
    return Version(
        id, segment, f"KEY{id}", f"{segment}_KEY{id}", float(created or id), None, None, {"done": 1}, (), 0, None, last,
        tuple(parents),
    )


def versions(*every):
    newest = sorted(every, key=lambda one: -one.created)
    return Versions({one.id: one for one in newest}, [one for one in every if one.last], True)


def outline(items):
    """Each version and group with how deep it is, and whether it is open."""
    shown, depth = [], 0
    for item in items:
        if item.kind == "down":
            depth += 1
        elif item.kind == "up":
            depth -= 1
        elif item.kind == "row":
            shown.append(f"{depth} {item.version.segment}{item.version.id}{'' if item.matches else ' context'}"
                         f"{' open' if item.open and item.below else ''}")
        elif item.kind == "others":
            shown.append(f"{depth} {item.below} others of {item.segment}{' open' if item.open else ''}")
    assert depth == 0
    return shown


TWO_RUNS = versions(
    version(1, "a", last=True),
    version(2, "b", [1]),
    version(3, "c", [2]),
    version(4, "b", [1], last=True),
    version(5, "c", [4], last=True),
)


def test_the_versions_of_the_last_run_are_open_and_the_others_reduced():
    assert outline(walk(TWO_RUNS)) == ["0 a1 open", "1 b4 open", "2 c5", "1 1 others of b", "2 b2", "3 c3"]


def test_everything_can_be_expanded_or_reduced_at_once():
    assert outline(walk(TWO_RUNS, expand="all")) == [
        "0 a1 open", "1 b4 open", "2 c5", "1 1 others of b open", "2 b2 open", "3 c3",
    ]
    assert not [line for line in outline(walk(TWO_RUNS, expand="none")) if "open" in line]


def test_a_filter_shows_what_matches_with_its_ancestors():
    assert outline(walk(TWO_RUNS, {3})) == ["0 a1 context open", "1 b2 context open", "2 c3"]
    assert outline(walk(TWO_RUNS, set())) == []


def test_a_version_is_below_its_first_parent_and_names_the_others():
    found = versions(version(1, "a", last=True), version(2, "b", last=True), version(3, "c", [2, 1], last=True))
    items = [item for item in walk(found) if item.kind == "row"]
    assert [(item.version.id, item.level, [one.id for one in item.beside]) for item in items] == [
        (1, 0, []), (2, 0, []), (3, 1, [1]),
    ]


def test_a_version_whose_parent_is_gone_is_shown_all_the_same():
    assert outline(walk(versions(version(7, "orphan", [3], last=True)))) == ["0 orphan7"]


def test_the_newest_version_comes_first():
    found = versions(version(1, "a", created=10), version(2, "a", created=30), version(3, "a", created=20))
    assert [item.version.id for item in walk(found) if item.kind == "row"] == [2, 3, 1]


def test_a_very_long_chain_is_walked_through_whole():
    chain = [version(1, "s1", last=True), *(version(n, f"s{n}", [n - 1], last=True) for n in range(2, 401))]
    items = list(walk(versions(*chain)))
    assert [item.version.id for item in items if item.kind == "row"] == list(range(1, 401))
    assert sum(item.kind == "down" for item in items) == sum(item.kind == "up" for item in items)
    assert sum(item.kind in ("row", "others") for item in items) == sum(item.kind == "end" for item in items)


def test_values_of_one_name_are_put_together_and_many_are_cut():
    many = [Exposed("n", str(i)) for i in range(VALUES + 1)]
    params, more = summarised([*many, Exposed("n", "0"), Exposed("m", "1")])
    assert [(one.name, len(one.values), one.more) for one in params] == [("n", VALUES, True), ("m", 1, False)]
    assert more == 0
    params, more = summarised([Exposed(f"n{i}", "1") for i in range(NAMES + 3)])
    assert (len(params), more) == (NAMES, 3)


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"until": "2026-02-30"},
        {"since": "0000-01-01"},
        {"until": "9999-12-31"},
        {"since": "2026-03-02", "until": "2026-03-01"},
        {"status": "broken"},
    ],
)
def test_what_can_not_be_understood_is_said(query):
    asked = read_filter(query)
    (problem,) = asked.problems
    assert next(iter(query.values())) in problem


def test_a_range_of_days_holds_both_days_whole():
    asked = read_filter({"since": "2026-03-28", "until": "2026-03-30"})
    assert not asked.problems
    assert datetime.fromtimestamp(asked.begin) == datetime(2026, 3, 28)
    assert datetime.fromtimestamp(asked.end) == datetime(2026, 3, 30) + timedelta(days=1)


def test_an_odd_query_is_no_filter():
    assert not read_filter({}).filter
    assert not read_filter({"tag": "  ", "nothing": "x", "segment": []}).filter
    assert read_filter({"tag": ["a", "b"]}).filter == Filter(tag="b")


def test_the_words_of_a_filter_name_each_part_of_it():
    given = Filter("*", "2026-01-01", "2026-01-02", "a", "n=1", "failed")
    words = given.words()
    assert len(words) == len(given)
    assert words[0] == "any tag"


def test_a_number_is_sought_as_it_may_be_written():
    assert set(candidates("5")) >= {"5", "5.0", "'5'"}
    assert "5" in candidates("5.0")
    assert "1.5" in candidates("1.50")
    assert "'abc'" in candidates("abc")
    assert candidates("nan")
    assert candidates("inf")


@pytest.mark.parametrize(
    ("counts", "waiting", "colour", "words"),
    [
        ({}, None, "empty", "no tasks"),
        ({}, "a failed", "waiting", "waiting"),
        ({"done": 4}, None, "done", "4 done"),
        ({"done": 4, "queued": 1200}, None, "queued", "4 of 1\u202f204 done"),
        ({"done": 3, "failed": 1}, None, "failed", "3 done, 1 failed"),
        ({"failed": 2, "queued": 1}, None, "failed", "2 of 3 failed"),
        ({"running": 1}, "x", "running", "0 of 1 done, waiting"),
    ],
)
def test_the_box_of_a_segment_tells_how_it_stands(counts, waiting, colour, words):
    assert graph.colour(counts, waiting) == colour
    assert graph.numbers(counts, waiting) == words


def test_a_bar_has_a_piece_for_each_status():
    assert graph.shares({"done": 1, "queued": 2, "failed": 1}) == [
        ("done", 0.0, 25.0), ("failed", 25.0, 25.0), ("queued", 50.0, 50.0),
    ]
    assert graph.shares({}) == []


def test_the_places_of_boxes_are_read():
    text = "graph 1 4 2\nnode n0 1 1.5 2 1 x solid box black white\nnode n1 3 0.5 1 1 x solid box black white\n"
    found = graph.read_plain(text + "edge n0 n1 4 1 1 1.5 1 2 1 3 0.5 solid black\nstop\n", 2)
    first, second = found.places
    assert first.x < second.x
    assert first.y < second.y
    assert (first.width, first.height) == (144.0, 72.0)
    (line,) = found.lines
    assert line.startswith("M")
    assert line.count(",") == 4


@pytest.mark.parametrize("text", ["", "graph 1 x y", "node n0 1 1", "something else"])
def test_anything_else_is_no_layout(text):
    with pytest.raises((ValueError, IndexError)):
        graph.read_plain(text, 1)


def test_without_the_program_there_is_no_layout(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    graph._lay_out.cache_clear()
    try:
        assert graph.lay_out([graph.Segment(1, "alone", "K", (), {}, None)]) is None
    finally:
        graph._lay_out.cache_clear()


@pytest.mark.parametrize(
    ("seconds", "more", "words"),
    [
        (None, False, ""),
        (3, False, "a few seconds left"),
        (3, True, "at least a few seconds left"),
        (42, False, "about 50 s left"),
        (100, False, "about 2 min left"),
        (100, True, "at least 2 min left"),
        (3 * 3600, False, "about 3 h left"),
        (86400 * 3, False, "about 3 days left"),
    ],
)
def test_the_time_left_is_said_roughly(seconds, more, words):
    assert live.words_left(seconds, more) == words


def test_a_box_has_room_for_tasks_that_may_yet_fail():
    counts = ({"done": 9, "running": 1}, {"done": 8, "failed": 1, "running": 1})
    widths = [graph.lay_out([graph.Segment(1, "a", "K", (), one, None)]) for one in counts]
    if None not in widths:
        assert widths[0].places[0].width == widths[1].places[0].width
