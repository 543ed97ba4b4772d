"""The compare page: two versions side by side, and their products matched by input."""

from __future__ import annotations

import io
import os
import re
import shutil
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from twoversions import HOSTILE, HOSTILE_VALUE, make_two
from webclient import WebSite

from pipelet.statusdb import Reader


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_two(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def site(two):
    return WebSite(knights=two.prefix)


@pytest.fixture(scope="module")
def ada(site):
    return site.browser("ada")


@pytest.fixture
def own(tmp_path, two):
    """A copy that a test may damage."""
    return two._replace(prefix=shutil.copytree(two.prefix, tmp_path / "data", symlinks=True))


def tasks(two):
    """The tasks of both versions for the input lancelot, and their directories."""
    with Reader.open(two.prefix / ".sqlstatus") as reader:
        rows = [next(t for t in reader.tasks(row.id) if t.text == "lancelot") for row in (two.older, two.newer)]
    directories = [two.prefix / row.path / "data" / task.place for row, task in zip(two[2:], rows, strict=True)]
    return [row.id for row in rows], directories


def address(two, **query):
    return f"/p/knights/compare?a={two.a}&b={two.b}" + "".join(f"&{name}={value}" for name, value in query.items())


def pair_page(two, browser=None, **query):
    browser = browser or WebSite(knights=two.prefix).browser("ada")
    return browser.get(address(two, task=tasks(two)[0][0], **query))


class Elements(HTMLParser):
    """The elements of a page, as a browser sees them."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    @classmethod
    def of(cls, text):
        parser = cls()
        parser.feed(text)
        return parser.found


def plain(page):
    """The words of a page."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page.text)).split())


def test_one_sentence_says_what_differs(two, ada):
    said = plain(ada.get(address(two)))
    assert "knights.py, knights_draw.py, lib/helpers.py and the parent first differ; so do the parameters" in said
    assert "motto, name and width." in said


def test_the_differences_of_script_hook_and_dependency_are_shown_in_lines(two, ada):
    text = ada.get(address(two)).text
    assert re.search(r'<tr class="del">.*width = 90', text)
    assert re.search(r'<tr class="add">.*width = 60', text)
    assert re.search(r'<tr class="add">.*SCALE = 2', text)
    assert re.search(r'<tr class="del">.*\(200, 0, 0\)', text)
    assert "Equal: " in text
    assert "table.bin" in text.split("Equal: ", 1)[1].split("</p>")[0]
    assert "Side by side" in text


def test_parents_that_are_others_lead_to_their_own_comparison(two, ada):
    text = ada.get(address(two)).text
    links = re.findall(r'href="(/p/knights/compare\?a=\w+&amp;b=\w+)">compare them', text)
    assert len(links) == 1
    assert "first.py differs" in plain(ada.get(unescape(links[0])))


def test_parameters_stand_side_by_side_with_the_difference_of_numbers(two, ada):
    said = plain(ada.get(address(two)))
    assert "width 90 60 \N{MINUS SIGN}30" in said
    assert "galahad, lancelot, robin galahad, lancelot, tim" in said


def test_equal_modules_are_shown_on_demand(two, ada):
    few, all_of_them = ada.get(address(two)).text, ada.get(address(two, modules="all")).text
    assert '<th scope="row" class="mono">numpy</th>' not in few
    assert '<th scope="row" class="mono">numpy</th>' in all_of_them


def test_tasks_are_matched_by_input(two, ada):
    both = plain(ada.get(address(two)))
    assert "In both 2 Only in the older 1 Only in the newer 1" in both
    shown = both.split("Only in the newer 1", 1)[1]
    assert "lancelot" in shown
    assert "galahad" in shown
    assert "robin" not in shown
    older = plain(ada.get(address(two, list="old"))).split("Only in the newer 1", 1)[1]
    assert "robin" in older
    assert "lancelot" not in older
    newer = plain(ada.get(address(two, list="new"))).split("Only in the newer 1", 1)[1]
    assert "tim" in newer
    assert "lancelot" not in newer


def test_files_are_said_to_be_identical_or_not(two, ada):
    said = plain(ada.get(address(two)))
    for words in ("same.npy identical", "values.npy differs", "table.csv differs", "notes.txt differs"):
        assert words in said


def test_images_stand_side_by_side_blink_or_are_subtracted_as_the_address_says(two, ada):
    (old, new), _ = tasks(two)
    for view in ("side", "blink", "difference"):
        text = pair_page(two, ada, view=view).text
        assert f"/p/knights/thumb/{old}/picture.png" in text
        assert f"/p/knights/thumb/{new}/picture.png" in text
        assert ('class="frames blink"' in text) == (view == "blink")
        assert (f"/p/knights/difference?a={old}&amp;b={new}&amp;path=picture.png" in text) == (view == "difference")


def test_the_difference_of_two_images_is_drawn(two, ada):
    (old, new), _ = tasks(two)
    answer = ada.get(f"/p/knights/difference?a={old}&b={new}&path=picture.png")
    assert answer.headers["content-type"] == "image/png"
    picture = Image.open(io.BytesIO(answer.body))
    assert picture.size == (8, 6)
    # (200, 0, 0) and (100, 50, 0), stretched so that 100 becomes 255
    assert picture.getpixel((3, 3)) == (255, 128, 0)
    assert picture.text == {"largest": "100", "share": "1"}


def test_where_images_can_t_be_subtracted_the_picture_says_so(own):
    (old, new), (directory, _) = tasks(own)
    ada = WebSite(knights=own.prefix).browser("ada")
    for path in ("sizes.png", "picture.png"):
        if path == "picture.png":
            (directory / path).write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
        answer = ada.get(f"/p/knights/difference?a={old}&b={new}&path={path}")
        assert answer.status == 200
        assert Image.open(io.BytesIO(answer.body)).size[0] == 320


@pytest.mark.parametrize(
    "query",
    [
        "a=1&b=99999&path=picture.png",
        "a=x&b=1&path=picture.png",
        "a={0}&b={1}&path=none.png",
        "a={0}&b={1}&path=../../../../etc/passwd",
        "a={0}&b={1}&path=%00",
        "a={0}&b={1}&path=",
        "a={0}&b={1}",
        "a={0}&b={1}&path=picture.png&size=huge",
    ],
)
def test_a_difference_of_what_is_not_there_is_refused_in_words(two, ada, query):
    answer = ada.get(f"/p/knights/difference?{query.format(*tasks(two)[0])}")
    assert answer.status in (400, 404)
    assert answer.headers["content-type"].startswith("text/html")


def test_tables_numbers_and_texts_are_compared(two, ada):
    page = pair_page(two, ada)
    said = plain(page)
    assert "1 of 4 cells differs; the largest difference is +2 (row 1, score)" in said
    assert "2 of 6 1 1 [0, 0] 0 1" in said
    assert re.search(r'<tr class="del">.*two', page.text)


def test_one_file_of_a_pair_has_an_address(two, ada):
    said = plain(pair_page(two, ada, file="values.npy"))
    assert "2 of 6" in said
    assert "cells" not in said
    assert "There is nothing to compare" in plain(pair_page(two, ada, file="same.npy"))


def test_nothing_of_code_names_parameters_and_contents_becomes_markup(two, ada):
    (old, _), _ = tasks(two)
    for page in (ada.get(address(two)), ada.get(address(two, task=old)), ada.get("/p/knights/compare")):
        assert HOSTILE_VALUE not in page.text
        assert HOSTILE not in page.text
        assert "<script>alert" not in page.text
        assert "<b>2</b>" not in page.text
        for tag, attributes in Elements.of(page.text):
            assert not [name for name in attributes if name.startswith("on") or name == "style"]
            assert tag != "script" or attributes["src"].startswith("/static/")
            assert tag != "img" or attributes["src"].startswith("/p/knights/")


def test_without_versions_the_newest_two_are_offered(two, ada):
    text = ada.get("/p/knights/compare").text
    chosen = re.findall(r'<option value="(\w+)" selected', text)
    with Reader.open(two.prefix / ".sqlstatus") as reader:
        newest = reader.instances()[0].segment
        assert chosen == [row.key[:12] for row in reversed(reader.instances(newest))]
    assert f"/p/knights/compare?a={two.a}&amp;b={two.b}" in text


def test_one_version_alone_is_offered_with_the_one_beside_it(two, ada):
    text = ada.get(f"/p/knights/compare?b={two.b}").text
    assert re.findall(r'<option value="(\w+)" selected', text) == [two.a, two.b]


def test_the_order_of_the_address_does_not_matter(two, ada):
    turned = ada.get(f"/p/knights/compare?a={two.b}&b={two.a}").text
    assert turned == ada.get(address(two)).text


def test_a_version_compared_with_itself_says_so(two, ada):
    assert "one and the same version" in plain(ada.get(f"/p/knights/compare?a={two.a}&b={two.a}"))


def test_versions_of_two_segments_are_compared_with_a_word(two, ada):
    with Reader.open(two.prefix / ".sqlstatus") as reader:
        last = reader.instances("last")[0].key[:12]
    page = ada.get(f"/p/knights/compare?a={two.b}&b={last}")
    assert page.status == 200
    said = plain(page)
    assert "versions of two segments" in said
    # Neither is an older state of the other: they are called by their names.
    assert "Only in last" in said
    assert "older" not in said.lower()
    assert "newer" not in said.lower()
    alone = plain(ada.get(f"/p/knights/compare?a={two.b}&b={last}&list=old"))
    assert "older" not in alone.lower()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("a=AAAAAAAAAAAA&b={b}", 404),
        ("a={a}&b=%3Cscript%3E", 404),
        ("a={a}&b={b}&view=upside", 400),
        ("a={a}&b={b}&list=none", 400),
        ("a={a}&b={b}&after=x", 400),
        ("a={a}&b={b}&after=-1", 400),
        ("a={a}&b={b}&task=99999999", 404),
        ("a={a}&b={b}&task=1", 404),
        ("a={a}&b={b}&nonsense=1", 400),
    ],
)
def test_what_is_wrong_in_the_address_is_told(two, ada, query, status):
    answer = ada.get(f"/p/knights/compare?{query.format(a=two.a, b=two.b)}")
    assert answer.status == status
    assert "<script>" not in answer.text


def test_who_may_read_sees_it_and_nobody_else_does(two, site):
    assert site.browser("guest").get(address(two)).status == 200
    assert site.browser().get(address(two)).status == 303
    (old, new), _ = tasks(two)
    assert site.browser().get(f"/p/knights/difference?a={old}&b={new}&path=picture.png").status == 303


def test_what_is_deleted_while_somebody_looks_is_told(own):
    ada = WebSite(knights=own.prefix).browser("ada")
    (_, _), (_, newer) = tasks(own)
    shutil.rmtree(newer)
    assert "only in the older" in plain(pair_page(own, ada))
    shutil.rmtree(own.prefix / own.newer.path)
    page = ada.get(address(own))
    assert page.status == 200
    assert "is not all here" in plain(page)


def test_a_link_that_leads_out_is_not_followed(own, tmp_path):
    (tmp_path / "secret").write_text("sesame\nopen\n")
    _, (older, newer) = tasks(own)
    for directory in (older, newer):
        (directory / "notes.txt").unlink()
    (older / "notes.txt").symlink_to(tmp_path / "secret")
    (newer / "notes.txt").write_text("other\n")
    page = pair_page(own)
    assert page.status == 200
    assert "sesame" not in page.text


def test_damaged_files_are_told_of(own):
    _, (older, newer) = tasks(own)
    (older / "values.npy").write_bytes(b"no array at all, of the same length")
    (newer / "table.csv").write_bytes(bytes(range(256)))
    page = pair_page(own)
    assert page.status == 200
    assert "It can't be compared: it is no file of numpy" in plain(page)
    assert "The bytes differ from byte 0 on." in plain(page)


def test_large_files_are_cut_with_a_word(own):
    _, (older, newer) = tasks(own)
    for directory in (older, newer):
        with open(directory / "notes.txt", "w") as file:
            file.write(f"{directory}\n" + "all the same\n" * 200_000)
        with open(directory / "values.npy", "wb") as file:
            file.truncate(5_000_000_000)
    page = pair_page(own)
    assert "Only the beginnings were compared." in plain(page)
    assert "of one size, too large to be compared" in plain(page)
    assert len(page.body) < 1_000_000


def test_a_pipe_blocks_nothing(own):
    _, (older, newer) = tasks(own)
    for directory in (older, newer):
        os.mkfifo(directory / "pipe.txt")
    assert "pipe.txt no file" in plain(pair_page(own))


def test_pages_go_through_all_inputs_by_id(own, monkeypatch):
    monkeypatch.setattr("pipelet.web.queries.pairs.PAGE", 1)
    ada = WebSite(knights=own.prefix).browser("ada")
    seen = []
    link = address(own)
    while link:
        text = ada.get(link).text
        seen += re.findall(r'<h3><a href="[^"]*">(\w+)</a></h3>', text)
        following = re.search(r'href="([^"]*)">Next page', text)
        link = unescape(following[1]).split("#")[0] if following else None
    assert seen == ["lancelot", "galahad"]


def test_a_search_that_takes_too_long_is_told_and_can_be_continued(own, monkeypatch):
    monkeypatch.setattr("pipelet.statusdb.matching._CHUNK", 1)
    monkeypatch.setattr("pipelet.web.queries.pairs._PATIENCE", -1.0)
    ada = WebSite(knights=own.prefix).browser("ada")
    page = ada.get(address(own))
    assert "too many tasks to look through" in plain(page)
    following = unescape(re.search(r'href="([^"]*)">Look further', page.text)[1]).split("#")[0]
    said = plain(ada.get(following))
    assert "too many tasks" not in said
    assert "galahad" in said.split("Only in the newer", 1)[1]


def test_arrays_of_an_archive_that_one_version_alone_has_are_told(own):
    _, (older, newer) = tasks(own)
    np.savez(older / "several.npz", both=np.arange(3), dropped=np.ones(2))
    np.savez(newer / "several.npz", both=np.arange(3), added=np.ones(2))
    said = plain(pair_page(own))
    assert "added only in the newer" in said
    assert "dropped only in the older" in said
