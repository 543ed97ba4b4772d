"""The pictures of the documentation: ``PIPELET_SCREENSHOTS=docs/_static/pages`` makes them anew."""

from __future__ import annotations

import re

import pytest
from browsing import PAGES
from playwright.sync_api import expect
from support import REPOSITORY

#: Name of the file -> the page, and the height of the picture.
PICTURES = {
    "versions": ("index", 900),
    "products": ("products-gallery", 720),
    "task": ("task-failed", 900),
    "image": ("image", 900),
    "code": ("code", 900),
    "compare": ("compare-images", 900),
    "failures": ("failures", 620),
    "space": ("space", 900),
    "log": ("log", 720),
    "time": ("time-of-the-last-run", 900),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_page_can_be_shown(ada, places, pictures, name):
    page_name, height = PICTURES[name]
    ada.page.set_viewport_size({"width": 1280, "height": height})
    page = ada.go(PAGES[page_name](places))
    page.wait_for_load_state("networkidle")
    expect(page.locator("h1").first).to_be_visible()
    broken = page.evaluate("() => [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    assert broken == []
    if pictures is not None:
        pictures.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=pictures / f"{name}.png")


def test_the_documentation_shows_these_pictures():
    text = (REPOSITORY / "docs" / "browsing.rst").read_text()
    shown = re.findall(r"^\.\. (?:figure|image):: _static/pages/(\w+)\.png$", text, re.MULTILINE)
    assert sorted(shown) == sorted(PICTURES)
    for name in shown:
        assert (REPOSITORY / "docs" / "_static" / "pages" / f"{name}.png").stat().st_size < 400_000
