"""What holds for every page: nothing to complain of for assistive technology, small screens and the console."""

from __future__ import annotations

import pytest
from browsing import PAGES, PHONE, visiting
from playwright.sync_api import expect


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
