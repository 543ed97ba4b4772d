"""The web application as a whole: who is let in, what each answer carries, and how errors look."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from webclient import PASSWORD, Browser, WebSite

from pipelet.errors import DatabaseError
from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader, opening
from pipelet.web.app import make_app, make_services
from pipelet.web.handlers import base
from pipelet.web.settings import DATABASE_PATIENCE, Settings
from pipelet.web.tracked import Registry


@pytest.fixture
def prefix(tmp_path):
    (tmp_path / "a.py").write_text("set_output([1, 2, 3])\n")
    pipeline = Pipeline("a;", code_dir=str(tmp_path), prefix=str(tmp_path / "data"))
    launch_interactive(pipeline, log_level=0)[0].run()
    return tmp_path / "data"


def test_without_a_log_in_every_page_of_a_pipeline_leads_to_the_form(prefix):
    site = WebSite(knights=prefix)
    answer = site.browser().get("/")
    assert answer.status == 303
    assert answer.headers["location"].endswith("/login")


def test_a_wrong_password_opens_nothing(prefix):
    visitor = WebSite(knights=prefix).browser()
    page = visitor.get("/login").text
    token = page.split('name="token" value="', 1)[1].split('"', 1)[0] if 'name="token" value="' in page else ""
    answer = visitor.post("/login", name="ada", password=PASSWORD + "x", token=token)
    assert answer.status == 403
    assert visitor.get("/").status == 303


def test_the_first_page_lists_the_pipelines_of_the_account(prefix):
    page = WebSite(knights=prefix).browser("ada").get("/")
    assert page.status == 200
    assert 'href="/p/knights/"' in page.text


@pytest.mark.parametrize("address", ["/", "/login", "/nowhere", "/static/style.css", "/static/../app.py"])
def test_each_answer_forbids_what_is_inline_or_from_elsewhere(prefix, address):
    headers = WebSite(knights=prefix).browser("ada").get(address).headers
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


def test_nothing_outside_of_the_static_files_is_served(prefix):
    visitor = WebSite(knights=prefix).browser("ada")
    for address in ("/static/../app.py", "/static/..%2f..%2fapp.py", "/static/%2e%2e/templates/base.html"):
        answer = visitor.get(address)
        assert answer.status in (403, 404)
        assert b"make_app" not in answer.body


def test_every_address_begins_with_the_base_path(prefix):
    site = WebSite(Settings(base_path="/user/ada"), knights=prefix)
    page = site.browser("ada").get("/user/ada/").text
    assert 'href="/user/ada/p/knights/"' in page
    assert 'href="/static' not in page


def test_a_page_that_was_read_while_a_run_began_is_read_once_more(prefix, monkeypatch):
    visitor = WebSite(knights=prefix).browser("ada")
    token = visitor.token("/p/knights/")
    real, failures = Reader.open, []

    def once(sqlfile, *rest, **named):
        if not failures:
            failures.append(sqlfile)
            raise DatabaseError("it can't be opened")
        return real(sqlfile, *rest, **named)

    monkeypatch.setattr(base.Reader, "open", once)
    assert visitor.get("/p/knights/").status == 200
    assert failures
    failures.clear()
    # What changes something is not done twice.
    assert visitor.post("/p/knights/do/tag", token=token, key="nothing", tag="x").status == 503


def test_a_page_does_not_wait_long_for_a_locked_database(prefix, monkeypatch):
    visitor = WebSite(knights=prefix).browser("ada")
    visitor.get("/p/knights/")
    asked = []
    real = opening._connect

    def connect(path, options, timeout=opening.BUSY_TIMEOUT):
        asked.append(timeout)
        return real(path, options, 0.0)

    monkeypatch.setattr(opening, "_connect", connect)
    holder = sqlite3.connect(prefix / ".sqlstatus", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        answer = visitor.get("/p/knights/failures")
        assert answer.status == 503
        assert "locked" in answer.text
        # Once: a second attempt would take as long again.
        assert asked == [DATABASE_PATIENCE]
        assert visitor.get("/").status == 200
        assert Browser(visitor.app).get("/login").status == 200
        assert set(asked) == {DATABASE_PATIENCE}
    finally:
        holder.close()


def test_a_damaged_list_of_pipelines_is_told_without_where_it_is(tmp_path, monkeypatch):
    registry = Registry(str(tmp_path))
    Path(registry.file).write_text("{")
    settings = Settings()
    visitor = Browser(make_app(make_services(settings, registry)))
    for address in ("/", "/login", "/p/knights/"):
        answer = visitor.get(address)
        if answer.status == 303:
            continue
        assert answer.status == 503
        assert str(tmp_path) not in answer.text
        assert "pipeweb status" in answer.text


def test_what_is_to_be_said_waits_for_the_visitor_but_not_in_any_number(prefix, monkeypatch):
    monkeypatch.setattr(base, "_NOTICES", {})
    monkeypatch.setattr(base, "_MOST_WAITING", 3)
    sessions = [SimpleNamespace(token=str(number)) for number in range(5)]
    for session in sessions:
        monkeypatch.setattr(base, "current_session", lambda services, session=session: session)
        for number in range(8):
            base.notice(None, f"deleted {number}")
    assert list(base._NOTICES) == ["2", "3", "4"]
    assert [text for _, text in base._NOTICES["4"]] == [f"deleted {number}" for number in (3, 4, 5, 6, 7)]
