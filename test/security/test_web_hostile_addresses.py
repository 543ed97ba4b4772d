"""Addresses and forms that no page of ours makes: they get a sentence, never a fault of the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from webclient import WebSite

from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader


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
