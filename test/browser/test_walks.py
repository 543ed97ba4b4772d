"""The walks of a user: from the first visit to the log-out, with and without scripts, by keyboard, beside a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from browsing import DESK, PHONE, Places, visiting
from playwright.sync_api import Page, expect
from support import ENVIRONMENT, REPOSITORY

from pipelet.statusdb import Reader
from tools.demo_site import USERS

MAIN = REPOSITORY / "tools" / "demo_site" / "main.py"


def version(page: Page, key: str):
    """The row of a version in the tree."""
    return page.locator(".tree .row", has=page.locator(f'input[name="key"][value^="{key}"]')).first


def choose(page: Page, *keys: str) -> None:
    for key in keys:
        version(page, key).locator('input[name="key"]').check()


@pytest.mark.parametrize("scripts", [True, False], ids=["with-scripts", "without-scripts"])
@pytest.mark.parametrize("screen", [None, PHONE], ids=["desk", "telephone"])
def test_from_the_first_visit_to_the_log_out(chromium, own_site, own_demo, scripts, screen):
    places = Places(own_demo)
    old, new = places.key("spectrum", -1), places.key("spectrum")
    options = {"java_script_enabled": scripts, **({"viewport": screen} if screen else {})}
    with visiting(chromium, own_site, **options) as visitor:
        page = visitor.page
        # Nobody sees anything without an account.
        visitor.go("/p/cmb/")
        expect(page).to_have_title(re.compile("Log in"))
        visitor.expected_statuses.add(403)
        page.get_by_label("Name").fill("ada")
        page.get_by_label("Password").fill("babbage")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("alert")).to_be_visible()
        page.get_by_label("Password").fill(USERS["ada"][1])
        page.get_by_role("button", name="Log in").click()

        # The form leads to where she wanted to go: the tree, with all versions of it.
        expect(page).to_have_url(f"{own_site}/p/cmb/")
        page.get_by_role("link", name="Expand all").click()
        expect(version(page, old)).to_be_visible()

        # To the products of a version, a task, an image.
        visitor.go("/p/cmb/?expand=all")
        version(page, places.key("observe")).get_by_role("link", name=re.compile("done")).click()
        page.locator("table a[href*='/task/']").first.click()
        page.locator(".gallery a").first.click()
        image = page.locator("main img").first
        expect(image).to_be_visible()
        if scripts:
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 50

        # Two versions side by side.
        visitor.go("/p/cmb/?expand=all")
        choose(page, old, new)
        page.get_by_role("button", name="Compare").click()
        expect(page).to_have_url(f"{own_site}/p/cmb/compare?a={old}&b={new}")
        expect(page.get_by_text("width = 60").first).to_be_visible()
        expect(page.get_by_text("width = 90").first).to_be_visible()

        # A tag.
        visitor.go("/p/cmb/?expand=all")
        choose(page, new)
        page.locator("#chosen input[name=tag]").fill("for the paper")
        page.get_by_role("button", name="Tag", exact=True).click()
        expect(page.locator(".notice-done")).to_contain_text("for the paper")

        # What is tagged can't be deleted; another one can, once it was shown what goes.
        doomed = places.key("poster", 1)
        with Reader.open(own_demo.sqlfile) as reader:
            directory = own_demo.prefix / reader.instances("poster")[1].path
        visitor.go("/p/cmb/?expand=all")
        choose(page, doomed)
        page.get_by_role("button", name="Untag").click()
        expect(page.locator(".notice-done")).to_be_visible()
        visitor.go("/p/cmb/?expand=all")
        choose(page, doomed)
        page.get_by_role("button", name="Delete…").click()
        expect(page.get_by_role("heading", name="Delete these versions?")).to_be_visible()
        expect(page.locator("main")).to_contain_text(directory.name)
        assert directory.is_dir()
        page.get_by_role("button", name="Delete", exact=True).click()
        expect(page.locator(".notice-done")).to_be_visible()
        assert not directory.exists()
        expect(page.get_by_role("button", name="Restore")).to_be_visible()
        if scripts:
            page.set_viewport_size({**PHONE, "width": 320})
            assert visitor.sideways() == [], "the trash on a small telephone"
            assert visitor.violations() == []
            page.set_viewport_size(DESK)
        visitor.go("/p/cmb/?expand=all")
        expect(page.locator(f'input[name="key"][value^="{doomed}"]')).to_have_count(0)

        # And out.
        page.get_by_role("button", name="Log out").click()
        visitor.go("/p/cmb/")
        expect(page).to_have_title(re.compile("Log in"))
        with Reader.open(own_demo.sqlfile) as reader:
            assert len(reader.instances("poster")) == 2


def test_a_guest_may_look_and_change_nothing(chromium, own_site, own_demo):
    with visiting(chromium, own_site) as visitor:
        page = visitor.log_in("guest").go("/p/cmb/?expand=all")
        expect(page.get_by_text("read only")).to_be_visible()
        for name in ("Tag", "Untag", "Delete…"):
            expect(page.get_by_role("button", name=name, exact=True)).to_have_count(0)
        visitor.go("/p/cmb/space")
        expect(page.get_by_role("button", name="Delete…")).to_have_count(0)


def test_by_keyboard_alone(chromium, own_site, own_demo):
    places = Places(own_demo)
    with visiting(chromium, own_site) as visitor:
        page = visitor.go("/p/cmb/")
        keys = page.keyboard
        # The browser gives the focus some time after the page is there: a key before that goes nowhere.
        expect(page.locator("input[name=name]")).to_be_focused()
        keys.type("ada")
        keys.press("Tab")
        keys.type(USERS["ada"][1])
        keys.press("Enter")
        expect(page).to_have_url(f"{own_site}/p/cmb/")
        page.wait_for_load_state()
        # The first stop of each page leads past its head.
        keys.press("Tab")
        focused = page.locator(":focus")
        expect(focused).to_have_text("Skip to the content")
        keys.press("Enter")
        expect(page.locator("main")).to_be_focused()

        def tab_to(selector: str, most: int = 60) -> None:
            for _ in range(most):
                keys.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
            raise AssertionError(f"no way to {selector}")

        # Into the tree; the arrows move in it, and + and - open and close.
        tab_to(".tree .row")
        first = focused.get_attribute("data-row")
        keys.press("ArrowDown")
        assert focused.get_attribute("data-row") != first
        keys.press("ArrowUp")
        shown = page.locator(".tree .row:visible").count()
        keys.press("-")
        expect(page.locator(".tree .row:visible")).not_to_have_count(shown)
        keys.press("+")
        expect(page.locator(".tree .row:visible")).to_have_count(shown)
        # From a row on, Tab goes through what is in it.
        tab_to(".tree a.segment")
        keys.press("Enter")
        expect(page).to_have_url(re.compile("/p/cmb/code/"))

        # To a task, and to its image.
        visitor.go(f"/p/cmb/products/{places.key('observe')}")
        tab_to("table a[href*='/task/']")
        keys.press("Enter")
        expect(page).to_have_url(re.compile("/p/cmb/task/"))
        tab_to(".gallery a")
        keys.press("Enter")
        expect(page).to_have_url(re.compile("/p/cmb/file/"))

        # A filter of the log.
        visitor.go("/p/cmb/log")
        tab_to("select[name=level]")
        keys.type("err")
        keys.press("Enter")
        tab_to("form.filter button.primary")
        keys.press("Enter")
        expect(page).to_have_url(re.compile("level=error"))
        page.wait_for_load_state()
        assert page.locator(".log-line").count() == page.locator(".log-error").count() > 0

        # Out again.
        tab_to("form[action$='/logout'] button")
        keys.press("Enter")
        expect(page).to_have_title(re.compile("Log in|Pipelines"))


def test_a_run_is_followed_without_a_reload(chromium, own_site, own_demo, tmp_path):
    gate = tmp_path / "gate"
    script = own_demo.code / "spectrum.py"
    wait = "import os, time\nwhile not os.path.exists({!r}): time.sleep(0.05)\nlogger.info('through the gate')\n"
    script.write_text(script.read_text() + wait.format(str(gate)))
    with visiting(chromium, own_site) as visitor:
        page = visitor.log_in().go("/p/cmb/")
        other = visitor.context.new_page()
        other.goto(f"{own_site}/p/cmb/log")
        said = other.locator(".log-line").count()
        for one in (page, other):
            one.evaluate("window.untouched = true")
        expect(page.locator("[data-run=state]")).to_have_text("No run at the moment")
        with _run(own_demo.code, own_demo.prefix) as run:
            try:
                page.bring_to_front()
                expect(page.locator("[data-run=state]")).to_have_text("Running")
                running = page.locator("[data-run=tasks] li")
                expect(running.first).to_contain_text("spectrum")
            finally:
                gate.touch()
            out, _ = run.communicate(timeout=120)
            assert run.returncode == 0, out
        expect(page.locator("[data-run=state]")).to_have_text("No run at the moment")
        expect(page.locator("[data-run=tasks]")).to_be_hidden()
        key = Places(own_demo).key("spectrum")
        expect(version(page, key)).to_contain_text("done")
        assert page.evaluate("window.untouched")
        other.bring_to_front()
        expect(other.locator(".log-line", has_text="through the gate").first).to_be_visible()
        assert other.locator(".log-line").count() > said
        assert other.evaluate("window.untouched")


def _run(code: Path, prefix: Path) -> subprocess.Popen[str]:
    words = [sys.executable, str(MAIN), str(code), str(prefix), "2"]
    return subprocess.Popen(words, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_following_stops_where_nobody_wants_it(ada):
    page = ada.go("/p/cmb/log")
    page.get_by_label("Follow").uncheck()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(2600)
    assert asked == []
    with page.expect_request(re.compile("after=")):
        page.get_by_label("Follow").check()
