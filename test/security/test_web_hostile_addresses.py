"""Addresses and forms that no page of ours makes: they get a sentence, never a fault of the server."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from webclient import Browser, WebSite

from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader
from pipelet.web.handlers import base
from pipelet.web.outside import Outside
from pipelet.web.settings import Settings


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("knights")
    script = "with open(get_data_fn('x.txt'), 'w') as f:\n    f.write('x')\nset_output([1, 2, 3])\n"
    (tmp_path / "a.py").write_text(script)
    pipeline = Pipeline("a;", code_dir=str(tmp_path), prefix=str(tmp_path / "data"))
    launch_interactive(pipeline, log_level=0)[0].run()
    return tmp_path / "data"


@pytest.fixture(scope="module")
def site(prefix: Path) -> WebSite:
    return WebSite(knights=prefix)


@pytest.mark.parametrize(
    "address",
    [
        "products/KEY?search=a&search=b",
        "products/KEY?status=a&status=b",
        "products/KEY?sort=a&sort=b",
        "products/KEY?after=1&after=2",
        "code/KEY?file=a&file=b",
        "zip?page=1&page=2",
        "failures?start=1&start=2",
        "failures?kind=1&kind=2",
        "log?word=a&word=b",
        "log?task=1&task=2",
        "time?begin=1&begin=2",
        "thumb/1/x.txt?size=1&size=2",
        "raw/1/x.txt?download=1&download=2",
        "file/1/x.txt?tail=1&tail=2",
        "task/1?children=1&children=2",
        "compare?a=KEY&b=KEY&after=1&after=2",
        "compare?a=KEY&a=KEY",
        "difference?a=1&b=1&path=x.txt&path=x.txt",
        "?since=0001-01-01",
        "?until=9999-12-31",
        "time?begin=0001-01-01",
    ],
)
def test_what_stands_twice_or_is_out_of_range_is_told_to_the_visitor(site, prefix, address):
    with Reader.open(str(prefix / ".sqlstatus")) as reader:
        (row,) = reader.instances()
    answer = site.browser("ada").get(f"/p/knights/{address.replace('KEY', row.key[:12])}")
    assert answer.status == 400, answer.text


@pytest.mark.parametrize("end", ["9999-12-31", "9999-12-31T23:59:59", "9800-01-01"])
def test_a_period_may_end_when_it_likes(site, end):
    assert site.browser("ada").get(f"/p/knights/time?end={end}").status == 200


def test_the_shortest_period_that_a_link_gives_is_one(site):
    visitor = site.browser("ada")
    for begin in range(358, 398, 2):
        address = f"time?begin=2026-11-24T03:00:48.{begin}&end=2026-11-24T03:00:48.{begin + 2}"
        assert visitor.get(f"/p/knights/{address}").status == 200
    assert visitor.get("/p/knights/time?begin=2026-11-24T03:00:48&end=2026-11-24T03:00:48").status == 400


@pytest.mark.parametrize("pipeline", ["?pipeline=other", "?pipeline=a&pipeline=b"])
def test_a_pipeline_is_chosen_by_the_path_alone(site, pipeline):
    answer = site.browser("ada").get(f"/p/knights/{pipeline}")
    assert answer.status in (200, 303)
    assert answer.status == 303 or "knights" in answer.text


def test_a_form_with_a_field_twice_changes_nothing(site):
    visitor = site.browser("ada")
    token = visitor.token("/p/knights/")
    for name in ("task", "kind", "next"):
        form = {"token": token, "task": "1", name: ["1", "2"]}
        assert visitor.request("POST", "/p/knights/do/set-aside", form=form).status == 400


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=X", b"--X\r\nfoo\r\n\r\n"),
        ("application/x-www-form-urlencoded; charset=none", b"token=%ff"),
        ("application/x-www-form-urlencoded", b"token=%ff"),
        ("application/json", b"{"),
    ],
)
@pytest.mark.parametrize("address", ["/login", "/logout", "/p/knights/", "/p/knights/do/tag"])
def test_a_form_that_can_not_be_read_is_refused(site, address, kind, body):
    visitor = site.browser("ada")
    answer = visitor.request("POST", address, body, content_type=kind)
    assert answer.status in (400, 403), answer.text


@pytest.mark.parametrize("next", ["/..//evil", "/p/..//..//evil", "/p//evil", "/p/./x", "/p/knights/../../..//evil"])
def test_no_way_back_goes_up_or_around(site, next):
    visitor = site.browser("ada")
    assert visitor.get(f"/login?next={next}").status == 200
    answer = visitor.post("/p/knights/do/release", token=visitor.token("/p/knights/"), task="1", next=next)
    assert answer.headers["location"].endswith("/p/knights/failures")


@pytest.mark.parametrize(
    "address",
    [
        "products/KEY?nobody=knows", "products/KEY?site=1", "products/KEY?self=1", "code/KEY?x=1&x=2", "task",
        "live/x", "time?x", "difference?a=1", "zip?x=1", "thumb/1/x.txt?size[]=1",
    ],
)
def test_what_no_page_knows_is_not_there(site, prefix, address):
    with Reader.open(str(prefix / ".sqlstatus")) as reader:
        (row,) = reader.instances()
    assert site.browser("ada").get(f"/p/knights/{address.replace('KEY', row.key[:12])}").status == 404


def test_a_mistake_of_ours_does_not_pass_for_a_page_that_is_not_there(site, monkeypatch):
    monkeypatch.setattr(base.Site, "render", lambda self, template, **data: len(None))
    assert site.browser("ada").get("/p/knights/failures").status == 500


@pytest.mark.parametrize("path", ["", "p/knights/", "static/"])
def test_an_address_of_very_many_steps_is_not_walked(site, path):
    visitor = Browser(Outside(site.app, Settings()))
    assert visitor.get("/" + path + "a/" * 30_000).status == 414
    assert visitor.get("/" + path + "a/" * 200).status < 414


def test_where_a_visitor_wanted_to_go_is_forgotten_if_it_is_too_long(site):
    answer = site.browser().get(f"/p/knights/file/1/{'x' * 20_000}?y={'z' * 20_000}")
    assert answer.status == 303
    assert answer.headers["location"].endswith("/login")
    # What is kept is no longer than what the form takes back.
    address = f"/p/knights/file/1/{'x' * 1900}"
    assert site.browser().get(address).headers["location"].endswith(quote(address, safe=""))


@pytest.mark.parametrize("asked", ["bytes=a-b", "bytes=", "bytes", "x", "bytes=-", "bytes=1-2-3", f"bytes={10**4000}-"])
@pytest.mark.parametrize("address", ["/static/style.css", "/p/knights/raw/1/x.txt"])
def test_a_range_that_is_none_gets_the_whole_file(site, address, asked):
    visitor = site.browser("ada")
    answer = visitor.get(address, Range=asked)
    assert (answer.status, answer.body) == (200, visitor.get(address).body)


def test_many_ranges_do_not_make_a_file_larger(site):
    visitor = site.browser()
    whole = visitor.get("/static/style.css").body
    assert len(visitor.get("/static/style.css", Range="bytes=" + ",".join(["0-"] * 1000)).body) == len(whole)


@pytest.mark.parametrize("other", ["a[]=b", 'a={"b": 1}', "a/b=c", "a,b=c", 'a="', "=;;=", "a=\xe9", "$Version=1"])
@pytest.mark.parametrize("first", [True, False])
def test_cookies_of_other_programs_at_this_host_do_no_harm(site, other, first):
    # A browser sends the cookies of all ports alike.
    visitor = site.browser("ada")
    (own,) = [f"{name}={value}" for name, value in visitor.cookies.items()]
    app = Outside(site.app, site.services.settings)
    together = f"{other}; {own}" if first else f"{own}; {other}"
    assert Browser(app).get("/p/knights/", Cookie=together).status == 200
    assert Browser(app).get("/login", Cookie=other).status == 200
