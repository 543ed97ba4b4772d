"""The page of the failures: by kind, with examples, and what can be done about them."""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import Project, run_to_end
from webclient import WebSite

from pipelet.core.model import Mark
from pipelet.statusdb import Reader, Writer
from pipelet.storage import PrefixLock, Tree
from pipelet.utils import rebuild_db_from_disk, set_aside
from pipelet.web.handlers import failures as handlers
from pipelet.web.queries import failures as queries
from pipelet.web.queries.failures import OTHERS, FailureCache

EVIL = '<script>alert("1")</script>'
DOT = "melt -> cast"


@pytest.fixture
def melted(project: Project) -> Project:
    project.write(
        lib=f"""
        def cut(number):
            if number == 4:
                raise RuntimeError({EVIL!r})
        """,
        melt="""
        #depend lib.py
        import lib
        number = get_input()
        if number in (1, 2):
            print("about to <b>fail</b>")
            raise ValueError(f"no planet\\nfor {number}")
        if number == 3:
            set_output([lambda: 1])
        elif number == 5:
            logged_subprocess(["sh", "-c", "exit 4"])
        else:
            lib.cut(number)
            set_output(number)
        """,
        cast="1 / 0",
    )
    run_to_end(project.pipeline(DOT, {"melt": [*range(7), EVIL]}))
    return project


@pytest.fixture
def site(melted: Project) -> WebSite:
    return WebSite(knights=melted.prefix)


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def ids_of(melted: Project, exception: str) -> list[int]:
    tasks = melted.pipeline(DOT, {"melt": [*range(7), EVIL]}).tasks("melt", "failed")
    return [task.id for task in tasks if exception in (task.error or "")]


def kinds(page: str) -> dict[str, str]:
    """Exception -> id of its group."""
    return dict(reversed(found) for found in re.findall(r'failures\?kind=(\w+)">([^<]+)</a>', page))


def marks(melted: Project) -> dict[int, int]:
    with Reader.open(melted.prefix / ".sqlstatus") as reader:
        return {task: mark for row in reader.instances() for task, mark in reader.marked(row.id).items()}


def test_failures_by_kind(site: WebSite) -> None:
    answer = site.browser("guest").get("/p/knights/failures")
    page, text = answer.text, text_of(answer.text)
    assert answer.status == 200
    assert set(kinds(page)) == {"ZeroDivisionError", "ValueError", "OutputError", "RuntimeError", "SubprocessFailed"}
    assert "8 tasks failed." in text
    assert "3 ZeroDivisionError cast.py, line 1" in text
    assert "2 ValueError melt.py, line 7" in text
    assert "1 RuntimeError lib.py, line 4, in cut" in text
    assert "melt.py, line 7 no planet" in text
    assert "for 2" in text
    assert '<span class="gr">ValueError</span>' in page
    assert f'href="/p/knights/task/{3}"' in page
    assert "about to <b>fail</b>" in text
    # level 1 has nothing to press but "Log out"
    assert page.count("<form") == 1
    assert site.browser("ada").get("/p/knights/failures").text.count("<form") == 6


def test_what_products_say_is_text(site: WebSite) -> None:
    visitor = site.browser("ada")
    page = visitor.get("/p/knights/failures").text
    one = visitor.get(f"/p/knights/failures?kind={kinds(page)['RuntimeError']}").text
    for shown in (page, one):
        assert "<script>alert" not in shown
        assert EVIL in unescape(re.sub(r"<[^>]*>", "", shown))
        assert " style=" not in shown
        assert "onclick" not in shown


def test_the_tasks_of_a_kind_in_pages(site: WebSite, melted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = site.browser("guest")
    kind = kinds(visitor.get("/p/knights/failures").text)["ValueError"]
    first, second = ids_of(melted, "ValueError")
    page = visitor.get(f"/p/knights/failures?kind={kind}").text
    assert re.findall(r'class="num"><a href="/p/knights/task/(\d+)"', page) == [str(first), str(second)]
    assert 'rel="next"' not in page
    monkeypatch.setattr(handlers, "TASKS", 1)
    page = visitor.get(f"/p/knights/failures?kind={kind}").text
    assert re.findall(r'class="num"><a href="/p/knights/task/(\d+)"', page) == [str(first)]
    (following,) = re.findall(r'rel="next" href="([^"]+)"', page)
    page = visitor.get(unescape(following)).text
    assert re.findall(r'class="num"><a href="/p/knights/task/(\d+)"', page) == [str(second)]
    assert 'rel="next"' not in page


def test_the_kinds_in_pages(site: WebSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "GROUPS", 2)
    visitor, address, seen = site.browser("guest"), "/p/knights/failures", []
    while address:
        page = visitor.get(unescape(address)).text
        seen += list(kinds(page))
        address = next(iter(re.findall(r'rel="next" href="([^"]+)"', page)), "")
    assert len(seen) == len(set(seen)) == 5


def test_set_aside_and_released_by_kind(site: WebSite, melted: Project) -> None:
    visitor = site.browser("ada")
    page = visitor.get("/p/knights/failures").text
    form = {"token": visitor.token("/p/knights/failures"), "kind": kinds(page)["ValueError"]}
    after = visitor.post("/p/knights/do/set-aside", follow=True, next="/p/knights/failures", **form)
    assert after.status == 200
    assert "2 tasks set aside. No run tries them until released." in text_of(after.text)
    assert "8 tasks failed, of which 2 set aside" in text_of(after.text)
    assert marks(melted) == dict.fromkeys(ids_of(melted, "ValueError"), Mark.ASIDE)
    again = visitor.post("/p/knights/do/set-aside", follow=True, **form)
    assert "Nothing was set aside" in text_of(again.text)
    assert run_to_end(melted.pipeline(DOT, {"melt": [*range(7), EVIL]})).aside == 2
    after = visitor.post("/p/knights/do/release", follow=True, **form)
    assert "2 tasks released." in text_of(after.text)
    assert marks(melted) == {}


def test_set_aside_and_released_one_by_one(site: WebSite, melted: Project) -> None:
    visitor = site.browser("ada")
    page = visitor.get("/p/knights/failures").text
    back = f"/p/knights/failures?kind={kinds(page)['ValueError']}"
    token, (task, _) = visitor.token("/p/knights/failures"), ids_of(melted, "ValueError")
    answer = visitor.post("/p/knights/do/set-aside", task=task, next=back, token=token)
    assert answer.headers["location"].endswith(back)
    assert "One task set aside. No run tries it until released." in text_of(visitor.get(back).text)
    page = visitor.get(back).text
    assert f'aria-label="Release task {task}"' in page
    assert "set aside" in text_of(site.browser("guest").get(back).text)
    visitor.post("/p/knights/do/release", task=task, next=back, token=token)
    assert marks(melted) == {}


def test_run_again(site: WebSite, melted: Project) -> None:
    visitor = site.browser("ada")
    token = visitor.token("/p/knights/failures")
    (done, *_) = (item for item in melted.pipeline(DOT, {"melt": [*range(7), EVIL]}).tasks("melt", "done"))
    after = visitor.post("/p/knights/do/rerun", task=done.id, token=token, follow=True)
    assert "One task will run again in the next run that wants it." in text_of(after.text)
    assert marks(melted) == {done.id: Mark.AGAIN}
    key = melted.pipeline(DOT).instances("melt")[0].key
    visitor.post("/p/knights/do/rerun", key=key[:12], token=token, follow=True)
    assert set(marks(melted)) == {
        item.id for item in melted.pipeline(DOT, {"melt": [*range(7), EVIL]}).tasks("melt", "done")
    }
    for form in ({}, {"task": done.id, "key": key}, {"task": "x"}, {"task": "-1"}, {"task": "9" * 30}):
        assert visitor.post("/p/knights/do/rerun", token=token, **form).status == 400
    for form in ({"task": 999}, {"key": "QQQQQQQQ"}, {"key": "Q"}):
        assert visitor.post("/p/knights/do/rerun", token=token, **form).status == 404


@pytest.mark.parametrize("verb", ["set-aside", "release", "rerun"])
def test_who_may_not(site: WebSite, melted: Project, verb: str) -> None:
    guest, ada = site.browser("guest"), site.browser("ada")
    form = {"task": ids_of(melted, "ValueError")[0]}
    address = f"/p/knights/do/{verb}"
    before = marks(melted)
    assert guest.post(address, token=guest.token("/p/knights/failures"), **form).status == 403
    assert ada.post(address, **form).status == 403
    assert ada.post(address, token=guest.token("/p/knights/failures"), **form).status == 403
    assert ada.get(f"{address}?task={form['task']}").status == 400
    assert site.browser().post(address, **form).status == 303
    with PrefixLock(Tree(str(melted.prefix)).lock_path):
        answer = ada.post(address, token=ada.token("/p/knights/failures"), **form)
        assert answer.status == 409
        assert f"pid {os.getpid()}" in text_of(answer.text)
    assert marks(melted) == before


@pytest.mark.parametrize(
    "back", ["https://evil.org/", "//evil.org", "/p/other/", "/p/knights/\\evil", "/p/knights/\r\nX: 1", "x", ""]
)
def test_back_is_a_page_of_this_pipeline(site: WebSite, melted: Project, back: str) -> None:
    visitor = site.browser("ada")
    form = {"token": visitor.token("/p/knights/failures"), "task": ids_of(melted, "ValueError")[0]}
    answer = visitor.post("/p/knights/do/release", next=back, **form)
    assert answer.headers["location"] == "http://localhost:8080/p/knights/failures"


@pytest.mark.parametrize("query", ["kind=x", "start=x", "start=-1", "after=" + "9" * 40, "kind=%00", "versions=x"])
def test_odd_addresses(site: WebSite, query: str) -> None:
    assert site.browser("guest").get(f"/p/knights/failures?{query}").status in (200, 400, 404)


def test_nothing_failed(project: Project) -> None:
    project.write(a="")
    run_to_end(project.pipeline("a;"))
    page = WebSite(knights=project.prefix).browser("guest").get("/p/knights/failures").text
    assert "No task has failed in the last run." in text_of(page)


def test_all_versions_or_those_of_the_last_run(site: WebSite, melted: Project) -> None:
    (melted.root / "cast.py").write_text("2 / 0")
    run_to_end(melted.pipeline(DOT, {"melt": [0, 6]}))
    visitor = site.browser("ada")
    assert "2 tasks failed" in text_of(visitor.get("/p/knights/failures").text)
    page = visitor.get("/p/knights/failures?versions=all").text
    assert "5 tasks failed" in text_of(page)
    found = kinds(page.replace("&amp;versions=all", ""))
    form = {"token": visitor.token("/p/knights/failures"), "kind": found["ZeroDivisionError"]}
    visitor.post("/p/knights/do/set-aside", **form)
    assert len(marks(melted)) == 2
    visitor.post("/p/knights/do/set-aside", versions="all", **form)
    assert len(marks(melted)) == 5


def test_a_log_that_is_a_link_is_not_followed(site: WebSite, melted: Project, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the grail")
    (_, last) = ids_of(melted, "ValueError")
    (log,) = melted.prefix.rglob(f"log/{last}.log")
    log.unlink()
    log.symlink_to(secret)
    page = site.browser("guest").get("/p/knights/failures")
    assert page.status == 200
    assert "the grail" not in page.text
    log.unlink()
    log.write_bytes(b"x" * 5000 + b"\nthe \xff end <i>\n")
    text = text_of(site.browser("guest").get("/p/knights/failures").text)
    assert "The end of its log the \ufffd end <i>" in text
    assert "xxx" not in text


# ---- many


def many(prefix: Path, number: int, start: int = 1) -> None:
    """Let so many tasks of an instance have failed, in ten ways."""
    with Writer.open(prefix / ".sqlstatus") as writer:
        (row,) = writer.instances()
        events = []
        for task in range(start, start + number):
            error = f'Traceback (most recent call last):\n  File "/c/a.py", line {task % 10}, in <module>\nE: {task}\n'
            events.append(["task", task, task.to_bytes(16, "big"), 3, 1, None, f"{task}", None, None, None, None, "[]",
                           None, 1.0, float(task), "node", 1, error, 0, []])
        writer.apply(row.id, events)


@pytest.fixture
def lots(project: Project) -> Path:
    project.write(a="")
    run_to_end(project.pipeline("a;", {"a": []}))
    many(project.prefix, 3000)
    return project.prefix


def look(prefix: Path, cache: FailureCache) -> Any:
    with Reader.open(prefix / ".sqlstatus") as reader:
        return cache.look(reader, reader.instances())


def read_of(cache: FailureCache, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Which errors are read from now on."""
    seen: list[int] = []
    errors = queries.marking.errors
    spy = SimpleNamespace(errors=lambda reader, ids: seen.extend(ids) or errors(reader, ids))
    monkeypatch.setattr(queries, "marking", spy)
    return seen


def test_errors_are_read_once_as_long_as_nothing_changes(lots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = FailureCache(60)
    seen = read_of(cache, monkeypatch)
    found = look(lots, cache)
    assert [group.number for group in found.groups] == [300] * 10
    assert (found.number, found.unread, len(seen)) == (3000, 0, 3000)
    assert {group.kind.line: (group.first, group.last, group.example) for group in found.groups} == {
        line: (line or 10, 2990 + line, 2990 + line) if line else (10, 3000, 3000) for line in range(10)
    }
    assert look(lots, cache) == found
    assert len(seen) == 3000
    # Some fail again, others are new: only these are read.
    many(lots, 5, start=2998)
    with Writer.open(lots / ".sqlstatus") as writer:
        writer.apply(1, [["task", 7, *writer.task(7)._replace(ended=9e9)[2:], []]])
    assert look(lots, cache).number == 3002
    assert sorted(seen[3000:]) == [7, 3001, 3002]
    set_aside(lots, [1, 2, 11])
    found = look(lots, cache)
    assert (found.aside, {group.kind.line: group.aside for group in found.groups if group.aside}) == (3, {1: 2, 2: 1})
    assert len(seen) == 3003


def test_where_time_does_not_suffice_the_next_page_goes_on(lots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(lots, 1, start=4000)
    assert look(lots, FailureCache(0.0)).unread == 3001
    page = WebSite(knights=lots).browser("guest").get("/p/knights/failures").text
    assert "still to be read" not in text_of(page)
    cache = FailureCache(60.0)
    unread = []
    while not unread or unread[-1]:
        # as if an hour went by while a page of errors is read
        ticks = iter([0.0, 0.0, *[3600.0] * 99])
        monkeypatch.setattr(queries, "time", SimpleNamespace(monotonic=ticks.__next__))
        unread.append(look(lots, cache).unread)
    assert unread == [2501, 2001, 1501, 1001, 501, 1, 0]


def test_a_database_that_was_made_anew_is_read_anew(melted: Project) -> None:
    cache = FailureCache(60)
    with Reader.open(melted.prefix / ".sqlstatus") as reader:
        before = cache.look(reader, reader.instances())
    rebuild_db_from_disk(melted.prefix)
    with Reader.open(melted.prefix / ".sqlstatus") as reader:
        assert cache.look(reader, reader.instances()) == before


def test_very_many_kinds_are_one_at_last(lots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_MOST_KINDS", 4)
    found = look(lots, FailureCache(60))
    assert [(group.kind == OTHERS, group.number) for group in found.groups] == [(True, 1800), *[(False, 300)] * 4]
    site = WebSite(knights=lots)
    page = site.browser("ada").get("/p/knights/failures").text
    assert "1 800 many other errors" in text_of(page)
    assert page.count("do/set-aside") == 4


