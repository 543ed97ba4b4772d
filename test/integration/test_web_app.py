"""The web application as a whole: who is let in, what each answer carries, and how errors look."""

from __future__ import annotations

import pytest
from webclient import PASSWORD, WebSite

from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.web.settings import Settings


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
