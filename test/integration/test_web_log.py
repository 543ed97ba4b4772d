"""The page of the log: order, filters, places that outlive a rotation, hostile text."""

from __future__ import annotations

import html
import json
import logging
import os
import re
from datetime import datetime

import pytest
from webclient import WebSite

from pipelet import runlog
from pipelet.runlog import RunLog
from pipelet.statusdb import Writer
from pipelet.storage import Tree, joblogs
from pipelet.storage.logfiles import LogFiles
from pipelet.web.queries import log as queries

NOON = 1_750_000_000.0


@pytest.fixture
def tree(tmp_path):
    made = Tree(str(tmp_path / "data"))
    made.create()
    Writer.open(made.default_sqlfile).close()
    return made


@pytest.fixture
def log(tree):
    made = RunLog(tree.log_dir)
    yield made
    made.close()


@pytest.fixture
def visitor(tree):
    return WebSite(knights=tree.prefix).browser("ada")


def texts(page):
    return [html.unescape(found) for found in re.findall(r'class="log-text">(.*?)</span>', page, re.DOTALL)]


def link(page, word):
    found = re.search(rf'href="([^"]*)"[^>]*>{word}</a>', page)
    return found and html.unescape(found[1])


def fill(log, number, first=0):
    for count in range(first, first + number):
        log.write(logging.INFO, f"message {count}", "melt", count, when=NOON + count)


def test_the_newest_message_comes_first_with_its_further_lines_and_a_link_to_its_task(log, visitor):
    log.write(logging.INFO, "the first", when=NOON)
    log.write(logging.ERROR, "it broke\nTraceback:\n  line 3", "melt", 12, when=NOON + 1)
    page = visitor.get("/p/knights/log").text
    assert texts(page) == ["it broke\nTraceback:\n  line 3", "the first"]
    assert 'href="/p/knights/task/12"' in page
    assert "The log begins here" in page


def test_a_prefix_without_a_log_says_so(visitor):
    assert "Nothing was logged yet" in visitor.get("/p/knights/log").text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("level=warning", ["four", "two"]),
        ("segment=melt", ["four", "three"]),
        ("task=7", ["three"]),
        ("word=T", ["three", "two"]),
        ("level=error&segment=melt", ["four"]),
        ("word=nowhere", []),
    ],
)
def test_messages_are_filtered(log, visitor, query, found):
    log.write(logging.INFO, "one", when=NOON)
    log.write(logging.WARNING, "two", "rest", when=NOON)
    log.write(logging.INFO, "three", "melt", 7, when=NOON)
    log.write(logging.ERROR, "four", "melt", 8, when=NOON)
    page = visitor.get(f"/p/knights/log?{query}").text
    assert texts(page) == found
    assert ("No message passes" in page) == (not found)


def test_older_and_newer_lead_through_all_messages_once_across_rotated_files(log, visitor, monkeypatch):
    log._handler.maxBytes = 20_000
    fill(log, 900)
    assert len(os.listdir(os.path.dirname(log._handler.baseFilename))) > 2
    address, seen, pages = "/p/knights/log", [], 0
    while address:
        page = visitor.get(address).text
        seen += texts(page)
        last, address, pages = page, link(page, "Older"), pages + 1
    assert seen == [f"message {count}" for count in reversed(range(900))]
    assert pages == 5
    back, address = [], link(last, "Newer")
    while address:
        page = visitor.get(address).text
        back = texts(page) + back
        address = link(page, "Newer")
    assert back == seen[: len(back)]
    assert len(back) == 800


def test_a_link_still_leads_to_the_same_messages_after_a_rotation(log, visitor):
    fill(log, 450)
    address = link(visitor.get("/p/knights/log").text, "Older")
    before = texts(visitor.get(address).text)
    log._handler.doRollover()
    fill(log, 450, 450)
    assert texts(visitor.get(address).text) == before
    assert before[0] == "message 249"


def test_a_link_to_what_is_no_longer_kept_says_so(log, visitor, tree):
    fill(log, 450)
    address = link(visitor.get("/p/knights/log").text, "Older")
    log._handler.doRollover()
    fill(log, 3, 450)
    os.unlink(os.path.join(tree.log_dir, "pipelet.log.1"))
    page = visitor.get(address).text
    assert texts(page) == []
    assert "what this link pointed at is gone" in page


def test_what_is_new_comes_as_json_once(log, visitor):
    fill(log, 3)
    address = html.unescape(re.search(r'data-address="([^"]*)"', visitor.get("/p/knights/log").text)[1])
    nothing = json.loads(visitor.get(address, Accept="application/json").text)
    assert (nothing["count"], nothing["rows"].strip(), nothing["more"]) == (0, "", False)
    log._handler.doRollover()
    fill(log, 2, 3)
    answer = visitor.get(address, Accept="application/json")
    news = json.loads(answer.text)
    assert answer.headers["content-type"].startswith("application/json")
    assert texts(news["rows"]) == ["message 4", "message 3"]
    address = re.sub(r"after=[^&]*", f"after={news['after']}", address)
    assert json.loads(visitor.get(address, Accept="application/json").text)["count"] == 0


def test_a_message_that_is_still_being_written_waits(log, visitor, tree):
    fill(log, 2)
    with open(os.path.join(tree.log_dir, "pipelet.log"), "a") as file:
        file.write("2026-01-31 12:00:00.000 INFO     -     ")
    assert texts(visitor.get("/p/knights/log").text) == ["message 1", "message 0"]


def test_a_search_that_takes_long_says_how_far_it_came_and_goes_on(log, visitor, monkeypatch):
    monkeypatch.setattr(queries, "SEARCH_SECONDS", -1.0)
    log.write(logging.INFO, "the needle", when=NOON - 1)
    fill(log, 1000)
    address, rounds = "/p/knights/log?word=needle", 0
    page = visitor.get(address).text
    assert texts(page) == []
    assert "Searched back to 2025-06-15" in page
    while not texts(page):
        rounds += 1
        page = visitor.get(link(page, "Go on")).text
    assert texts(page) == ["the needle"]
    assert rounds == 3


def test_a_day_shows_what_was_said_up_to_its_end(log, visitor):
    for day in range(20):
        log.write(logging.INFO, f"day {day}", when=NOON + 86400 * day)
    assert texts(visitor.get("/p/knights/log?day=2025-06-18").text) == ["day 3", "day 2", "day 1", "day 0"]
    assert texts(visitor.get("/p/knights/log?day=2024-06-18").text) == []
    assert len(texts(visitor.get("/p/knights/log?day=2026-06-18").text)) == 20


def test_a_day_is_found_in_rotated_files(log, tree):
    log._handler.maxBytes = 5000
    for day in range(300):
        log.write(logging.INFO, f"day {day}\nwith more", when=NOON + 86400 * day)
    with LogFiles(tree) as files:
        found = [
            queries.older_page(files, queries.day_begins(files, f"{when:%Y-%m-%d}"), queries.Wanted(), 1).messages
            for when in map(datetime.fromtimestamp, (NOON + 86400 * 295, NOON + 86400 * 180, NOON))
        ]
    assert [messages and messages[0].text for messages in found] == ["day 294\nwith more", "day 179\nwith more", []]


@pytest.mark.parametrize(
    "query",
    ["level=loud", "task=x", "task=-1", "before=x", "after=../../etc/passwd", "day=today", "before=" + "0" * 99],
)
def test_what_is_no_filter_is_refused_in_words(visitor, query):
    answer = visitor.get(f"/p/knights/log?{query}")
    assert answer.status == 400
    assert "Traceback" not in answer.text


def test_a_place_in_the_middle_of_a_message_does_no_harm(log, visitor, tree):
    log.write(logging.INFO, "first\nsecond\nthird", when=NOON)
    log.write(logging.INFO, "next", when=NOON)
    with LogFiles(tree) as files:
        mark, _ = files.newest
    for offset in (0, 1, 50, 70, 10_000_000):
        for way in ("before", "after"):
            assert visitor.get(f"/p/knights/log?{way}={mark}.{offset}").status == 200


def test_hostile_messages_are_text(log, visitor):
    log.write(logging.INFO, "<script>alert(1)</script>\x1b[31mred\x1b[0m\x1b]0;title\x07 \r\x00 \u202eback", when=NOON)
    answer = visitor.get("/p/knights/log")
    assert b"<script>alert" not in answer.body
    assert texts(answer.text) == ["<script>alert(1)</script>red ␍␀ \N{REPLACEMENT CHARACTER}back"]


def test_a_message_cannot_pretend_to_be_another(log, visitor):
    log.write(logging.INFO, "mine\n2026-01-31 12:00:00.000 ERROR    other                   3 forged", when=NOON)
    assert len(texts(visitor.get("/p/knights/log").text)) == 1


def test_a_huge_message_is_cut_and_says_so(log, visitor):
    log.write(logging.INFO, "short", when=NOON)
    log.write(logging.INFO, "x" * 3_000_000, when=NOON)
    log.write(logging.INFO, "\n".join(["y" * 100] * 5000), when=NOON)
    page = visitor.get("/p/knights/log").text
    assert len(page) < 200_000
    assert page.count("this message is longer") == 2
    assert page.count("log-line log-info") == 3


@pytest.mark.parametrize("way", ["link", "pipe", "directory"])
def test_only_plain_files_are_read(log, visitor, tree, tmp_path, way):
    fill(log, 1)
    other = os.path.join(tree.log_dir, "pipelet.log.1")
    if way == "link":
        secret = tmp_path / "secret"
        secret.write_text("2026-01-31 12:00:00.000 INFO     -                       - secret\n")
        os.symlink(secret, other)
    elif way == "pipe":
        os.mkfifo(other)
    else:
        os.mkdir(other)
    assert texts(visitor.get("/p/knights/log").text) == ["message 0"]


# --- jobs of batch systems ------------------------------------------------------------------------------------------


def submit(tree, name, job, output=None, log=None, when=NOON):
    place = joblogs.job_log_dir(tree.engine_dir)
    joblogs.write_job_note(tree.engine_dir, name, job, "slurm", "login1", when, log or f"{place}/{name}.out")
    if output is not None:
        with open(f"{place}/{name}.out", "w") as file:
            file.write(output)


def test_without_jobs_nothing_speaks_of_them(log, visitor):
    fill(log, 1)
    assert "/p/knights/jobs" not in visitor.get("/p/knights/log").text
    assert "No job of a batch system was submitted" in visitor.get("/p/knights/jobs").text


def test_jobs_are_listed_by_their_ids_and_show_what_they_printed(tree, visitor):
    submit(tree, "melt-00000001", "81276", "joined the server\n<b>bold</b>\n")
    submit(tree, "melt-00000002", "12[].host", when=NOON + 60)
    submit(tree, "melt-00000003", "81278", log="/scratch/ada/melt-00000003.out", when=NOON + 30)
    assert 'href="/p/knights/jobs"' in visitor.get("/p/knights/log").text
    page = visitor.get("/p/knights/jobs").text
    found = re.findall(r'href="(/p/knights/job/[^"]*)">(.*?)</a>', page)
    assert [job for _, job in found] == ["12[].host", "81278", "81276"]
    waiting, elsewhere, ended = (visitor.get(address).text for address, _ in found)
    assert "It has printed nothing yet" in waiting
    assert "/scratch/ada/melt-00000003.out" in elsewhere
    assert "&lt;b&gt;bold&lt;/b&gt;" in ended
    assert "word=job%2081276" in ended or "word=job+81276" in ended


def test_the_end_of_a_long_output_can_be_asked_for(tree, visitor):
    submit(tree, "melt-00000001", "81276", "first\n" + "x" * 99 + ("\n" + "x" * 99) * 40_000 + "\nlast\n")
    begin, end = (visitor.get(f"/p/knights/job/melt-00000001{query}").text for query in ("", "?tail=1"))
    assert ("first" in begin, "last" in begin) == (True, False)
    assert ("first" in end, "last\n" in end) == (False, True)


@pytest.mark.parametrize("name", ["melt-00000009", "..%2F..%2F..%2F..%2Fetc%2Fpasswd", "", "a" * 300, "%00"])
def test_a_job_that_is_none_is_not_found(tree, visitor, name):
    submit(tree, "melt-00000001", "81276", "output")
    assert visitor.get(f"/p/knights/job/{name}").status in (400, 404)


def test_no_link_leads_out_of_the_jobs(tree, visitor, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret words")
    place = joblogs.job_log_dir(tree.engine_dir)
    submit(tree, "melt-00000001", "81276")
    os.symlink(secret, f"{place}/melt-00000001.out")
    submit(tree, "melt-00000002", "81277", "output")
    os.symlink(secret, f"{place}/melt-00000003.json")
    os.mkfifo(f"{place}/melt-00000004.json")
    assert re.findall(r'job/(melt-\d+)"', visitor.get("/p/knights/jobs").text) == ["melt-00000001", "melt-00000002"]
    answer = visitor.get("/p/knights/job/melt-00000001")
    assert answer.status == 404
    assert "secret words" not in answer.text


def test_heads_are_read_as_they_are_written():
    record = logging.LogRecord("pipelet", 15, "", 0, "words", None, None)
    record.created, record.segment, record.task = NOON, "a_segment_with_a_long_name", "1234567890"
    head = runlog.read_head(runlog._Line().format(record).encode())
    assert head[1:] == (15, "a_segment_with_a_long_name", 1234567890, "words")
    assert runlog.read_head(b"    2026-01-31 12:00:00.000 INFO     -     - no head") is None
