"""What holds for every page: nothing to complain of for assistive technology, small screens and the console."""

from __future__ import annotations

import os

import pytest
from browsing import PAGES, PHONE, USERS, serving, visiting
from playwright.sync_api import expect

from pipelet.accounts import add_user
from pipelet.statusdb import Writer
from pipelet.storage import Tree, job_log_dir, write_job_note


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wrong_with_a_page(ada, places, name):
    page = ada.go(PAGES[name](places))
    assert ada.violations() == [], "in the light theme"
    assert ada.sideways() == []
    page.emulate_media(color_scheme="dark")
    assert ada.violations() == [], "in the dark theme"
    page.set_viewport_size(PHONE)
    page.reload()
    assert ada.sideways() == [], "on a telephone"
    assert ada.violations() == [], "on a telephone"


def test_the_log_in_form_too(chromium, site):
    with visiting(chromium, site) as visitor:
        page = visitor.go("/p/cmb/log")
        assert page.get_by_label("Password").is_visible()
        assert visitor.violations() == []
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size(PHONE)
        assert visitor.violations() == []
        assert visitor.sideways() == []


def test_a_pipeline_that_has_never_run(chromium, tmp_path):
    sqlfile = tmp_path / "data" / ".sqlstatus"
    sqlfile.parent.mkdir()
    with Writer.open(sqlfile):
        pass
    add_user(sqlfile, "ada", *USERS["ada"])
    with serving(tmp_path, {"new": sqlfile}) as address, visiting(chromium, address) as visitor:
        page = visitor.log_in().go("/p/new/")
        expect(page.get_by_text("No segment has run yet")).to_be_visible()
        expect(page.locator("#chosen .actions")).to_be_hidden()
        expect(page.get_by_text("the newest of its segment")).to_have_count(0)
        visitor.go("/p/new/log")
        expect(page.locator("#log")).to_be_hidden()
        for place in ("", "failures", "compare", "space", "log", "time"):
            visitor.go(f"/p/new/{place}")
            assert visitor.violations() == []
            assert visitor.sideways() == []
        page = visitor.go("/p/other/")
        expect(page.get_by_text("You are logged in, but not for this page")).to_be_visible()


def test_jobs_and_what_one_of_them_printed(chromium, tmp_path):
    tree = Tree(str(tmp_path / "data"))
    tree.create()
    with Writer.open(tree.default_sqlfile):
        pass
    add_user(tree.default_sqlfile, "ada", *USERS["ada"])
    for number in range(3):
        name = f"spectra-0000000{number}"
        log = os.path.join(job_log_dir(tree.engine_dir), f"{name}.out")
        write_job_note(tree.engine_dir, name, str(81276 + number), "slurm", "login1.cluster", 1.75e9 + number, log)
        with open(log, "w") as file:
            file.write("joined the server at tls://192.0.2.17:50000\n" * 30)
    with serving(tmp_path, {"new": tree.default_sqlfile}) as address, visiting(chromium, address) as visitor:
        page = visitor.log_in().go("/p/new/log")
        for step in ("Jobs", "81277"):
            page.get_by_role("link", name=step, exact=True).click()
            for size in (page.viewport_size, PHONE):
                page.set_viewport_size(size)
                assert visitor.violations() == []
                assert visitor.sideways() == []
        expect(page.get_by_role("heading", name="Job 81277")).to_be_visible()
        expect(page.get_by_text("joined the server").first).to_be_visible()


def test_all_tabs_are_seen_on_a_telephone(ada):
    page = ada.go("/p/cmb/time")
    page.set_viewport_size(PHONE)
    ends = page.locator(".tabs a").evaluate_all("tabs => tabs.map(tab => tab.getBoundingClientRect().right)")
    assert len(ends) == 6
    assert max(ends) <= PHONE["width"]


def test_an_error_page_too(ada):
    ada.expected_statuses.add(404)
    ada.go("/p/cmb/nowhere")
    assert ada.violations() == []
    assert ada.sideways() == []


def test_the_theme_is_chosen_and_kept(ada):
    page = ada.go("/p/cmb/log")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Light or dark theme").click()
    assert page.evaluate(background) != light
    page.reload()
    assert page.evaluate(background) != light


def test_numbers_that_grow_stay_in_their_box(ada):
    many = "1\N{NARROW NO-BREAK SPACE}234\N{NARROW NO-BREAK SPACE}567"

    def grown(route):
        answer = route.fetch()
        found = answer.json()
        for segment in found["segments"]:
            segment["numbers"] = f"{many} of {many} done, {many} failed"
        route.fulfill(response=answer, json=found)

    ada.context.route("**/p/cmb/live**", grown)
    page = ada.go("/p/cmb/")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".box .numbers", has_text=many)).to_have_count(page.locator(".box").count())
    outside = page.locator(".box").evaluate_all(
        """boxes => boxes.map(box => box.querySelector(".numbers").getBoundingClientRect().right
        - box.querySelector(".body").getBoundingClientRect().right)"""
    )
    assert max(outside) <= 0
