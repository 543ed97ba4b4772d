"""The code page: all that a version was made of, whatever became of its files."""

from __future__ import annotations

import re
import shutil

import pytest
from twoversions import HOSTILE, HOSTILE_VALUE, make_two
from webclient import WebSite

from pipelet.statusdb import Writer


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return make_two(tmp_path_factory.mktemp("two"))


@pytest.fixture
def own(tmp_path, two):
    """A copy that a test may damage."""
    return two._replace(prefix=shutil.copytree(two.prefix, tmp_path / "data", symlinks=True))


def page(two, key=None, user="ada", query=""):
    return WebSite(knights=two.prefix).browser(user).get(f"/p/knights/code/{key or two.b}{query}")


def test_every_file_that_was_applied_is_shown_with_numbered_lines(two):
    text = page(two).text
    for name in ("knights.py", "knights_draw.py", "lib/helpers.py"):
        assert f'id="{name}-1"' in text
    assert 'href="#knights.py-3"' in text
    assert '<span class="kn">import</span>' in text
    assert "SCALE" in text


def test_of_a_binary_file_the_size_and_the_first_bytes_are_shown(two):
    text = page(two).text
    assert "1.02\N{NO-BREAK SPACE}kB" in text
    assert "00 01 02 03" in text


def test_nothing_of_files_parameters_and_names_becomes_markup(two):
    text = page(two).text
    assert HOSTILE_VALUE not in text
    assert HOSTILE not in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#39;file&#39;)" in text
    assert "style=" not in text
    assert "&lt;script&gt;alert(&#39;value&#39;)" in text


def test_facts_parameters_relatives_and_other_versions_are_there(two):
    text = page(two).text
    assert str(two.prefix / two.newer.path / "data") in text
    assert two.newer.key in text
    assert '>60<' in text
    assert "galahad, lancelot, tim" in text
    assert "numpy" in text
    assert f"/p/knights/compare?a={two.a}&amp;b={two.b}" in text
    assert f'href="/p/knights/products/{two.b}?status=done"' in text
    assert "#depend lib/" in text
    with_relatives = text.split('class="lineage"', 1)[1].split("</nav>", 1)[0]
    assert with_relatives.index(">first<") < with_relatives.index(">knights<") < with_relatives.index(">last<")


def test_one_file_has_an_address_of_its_own(two):
    text = page(two, query="?file=lib/helpers.py").text
    assert 'id="lib/helpers.py-1"' in text
    assert 'id="knights.py-1"' not in text
    assert page(two, query="?file=../../secret").status == 404


def test_who_may_read_sees_it_and_nobody_else_does(two):
    assert page(two, user="guest").status == 200
    assert page(two, user=None).status == 303


@pytest.mark.parametrize("key", ["AAAAAAAAAAAA", "A", "..%2f..%2fetc", "%00", "<script>"])
def test_an_unknown_version_is_not_found_in_words(two, key):
    answer = page(two, key=key)
    assert answer.status == 404
    assert "<script>" not in answer.text


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no json", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"script": 3, "hooks": [1], "modules": {}}'],
)
def test_where_the_description_is_missing_or_damaged_words_say_so_and_the_code_is_there(own, content):
    meta = own.prefix / own.newer.path / "knights.meta"
    meta.unlink() if content is None else meta.write_bytes(content)
    answer = page(own)
    assert answer.status == 200
    if content is None or b"script" not in content:
        assert "is not all here" in answer.text
        assert 'id="knights.py-1"' in answer.text


def test_an_instance_that_is_gone_from_the_disk_is_told(own):
    shutil.rmtree(own.prefix / own.newer.path)
    answer = page(own)
    assert answer.status == 200
    assert "its directory is not on disk" in answer.text


def test_a_file_that_is_gone_or_leads_out_is_told(own, tmp_path):
    (tmp_path / "secret").write_text("sesame")
    directory = own.prefix / own.newer.path
    (directory / "knights_draw.py").unlink()
    (directory / "knights.py").unlink()
    (directory / "knights.py").symlink_to(tmp_path / "secret")
    text = page(own).text
    assert "sesame" not in text
    assert text.count("It can&#39;t be shown") == 2


def test_a_name_in_the_description_that_leads_out_opens_nothing(own, tmp_path):
    (own.prefix.parent / "secret").write_text("sesame")
    meta = own.prefix / own.newer.path / "knights.meta"
    meta.write_text(meta.read_text().replace('"knights_draw.py"', '"../../../secret"'))
    answer = page(own)
    assert answer.status == 200
    assert "sesame" not in answer.text


def test_a_large_file_is_cut(own):
    with open(own.prefix / own.newer.path / "knights.py", "r+b") as file:
        file.truncate(5_000_000_000)
    answer = page(own)
    assert "too large to be shown as a whole" in answer.text
    assert len(answer.body) < 1_000_000


def test_why_a_segment_waits_and_what_was_deleted_is_told(own):
    with Writer.open(str(own.prefix / ".sqlstatus"), "keep", create=False) as writer:
        writer.apply(own.newer.id, [["waiting", "first <b>failed</b>"]])
    meta = own.prefix / own.newer.path / "knights.meta"
    was = meta.read_text()
    meta.write_text(was.replace("{", '{"purged": "2999-01-02T03:04:05+0000",', 1))
    text = page(own).text
    assert "Waiting: first &lt;b&gt;failed" in text
    assert re.search(r"The products of this version were deleted on <time[^>]*>2999-01-0\d \d\d:\d\d<", text)
    # A run has made others since.
    meta.write_text(was.replace("{", '{"purged": "2001-01-02T03:04:05+0000",', 1))
    assert "were deleted" not in page(own).text
