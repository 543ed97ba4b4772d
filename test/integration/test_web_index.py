"""The index page over real pipelines: the tree, filters, tags, the graph, what runs, and what goes wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from webclient import WebSite

from pipelet.launchers import launch_interactive, launch_process
from pipelet.pipeline import Pipeline
from pipelet.statusdb import Reader, Writer
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.lastrun import last_run_began
from pipelet.utils import delete_instances, tag_instances
from pipelet.web.queries import live

HOSTILE = "<img src=x onerror=alert(1)>\"'"


def run(tmp_path, push, dot="first -> second"):
    pipeline = Pipeline(dot, code_dir=str(tmp_path), prefix=str(tmp_path / "data"))
    pipeline.push(first=push)
    launch_interactive(pipeline, log_level=0)[0].run()
    return pipeline


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One version of a segment, and two of its child."""
    tmp_path = tmp_path_factory.mktemp("made")
    (tmp_path / "first.py").write_text("n = get_input()\nexpose(['n'])\nset_output(n)\n")
    (tmp_path / "second.py").write_text("width = 5.0\nlabel = 'narrow'\nexpose(['width', 'label'])\n")
    run(tmp_path, [1, 2, 3])
    (tmp_path / "second.py").write_text("width = 7.5\nlabel = 'wide'\nexpose(['width', 'label'])\n")
    run(tmp_path, [1, 2, 3])
    return tmp_path


@pytest.fixture
def prefix(tmp_path, made):
    """The same to be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "data"


@pytest.fixture
def site(prefix):
    return WebSite(knights=prefix)


@pytest.fixture
def ada(site):
    return site.browser("ada")


def rows_of(prefix, segment=None):
    """The newest first."""
    with Reader.open(f"{prefix}/.sqlstatus") as reader:
        return reader.instances(segment)


def shown(page):
    """The versions on a page, in their order."""
    return re.findall(r'name="key" value="([^"]*)"', page.text)


def keys(rows):
    return [row.key[:12] for row in rows]


# ---- the tree


def test_all_versions_are_there_those_of_the_last_run_marked_and_first(prefix, ada):
    page = ada.get("/p/knights/")
    (first,), (newer, older) = rows_of(prefix, "first"), rows_of(prefix, "second")
    assert page.status == 200
    assert shown(page) == keys([first, newer, older])
    assert page.text.count('class="node last"') == 2
    assert "1 other version of second" in page.text
    for row in (first, newer, older):
        assert f'href="/p/knights/code/{row.key[:12]}"' in page.text
        assert f'href="/p/knights/products/{row.key[:12]}?status=done">3 done' in page.text


def test_exposed_parameters_are_shown(ada):
    text = re.sub(r"<[^>]*>", "", ada.get("/p/knights/").text)
    assert "n 1, 2, 3" in text
    assert "width 5.0" in text
    assert "width 7.5" in text


def test_parameters_follow_a_new_run(tmp_path, prefix, ada):
    ada.get("/p/knights/")
    run(tmp_path, [1, 2, 3, 44])
    assert "1, 2, 3, 44" in ada.get("/p/knights/").text


def test_many_values_are_cut(tmp_path):
    (tmp_path / "first.py").write_text("n = get_input()\nexpose(['n'])\nset_output(n)\n")
    run(tmp_path, list(range(100)), "first")
    text = WebSite(knights=tmp_path / "data").browser("ada").get("/p/knights/").text
    assert "0, 1, 2, 3, 4, 5, 6, 7, …" in text


def test_everything_can_be_expanded_and_reduced_without_javascript(ada):
    usual = ada.get("/p/knights/").text.count(" open>")
    assert ada.get("/p/knights/?expand=all").text.count(" open>") > usual
    assert ada.get("/p/knights/?expand=none").text.count(" open>") == 0


def test_a_pipeline_that_never_ran_says_so(tmp_path):
    (tmp_path / "data").mkdir()
    Writer.open(str(tmp_path / "data" / ".sqlstatus")).close()
    page = WebSite(knights=tmp_path / "data").browser("ada").get("/p/knights/")
    assert page.status == 200
    assert "No segment has run yet" in page.text


def test_a_segment_that_waits_says_why(tmp_path):
    (tmp_path / "first.py").write_text("if get_input() == 2: raise ValueError('two')\nset_output(1)\n")
    (tmp_path / "second.py").write_text("#multiplex cross_prod group_by '0'\n")
    with pytest.raises(ValueError, match="two"):
        run(tmp_path, [1, 2])
    page = WebSite(knights=tmp_path / "data").browser("ada").get("/p/knights/").text
    assert "1 failed" in page


@pytest.mark.parametrize("name", ["live", "index", "do", "products", "time", "a.b-c"])
def test_a_pipeline_may_have_the_name_of_a_page(prefix, name):
    browser = WebSite(**{name: prefix}).browser("ada")
    assert len(shown(browser.get(f"/p/{name}/"))) == 3
    assert json.loads(browser.get(f"/p/{name}/live").text)["total"] == 6


# ---- filters


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("segment=second", ["newer", "older"]),
        ("segment=seco", []),
        ("param=width%3D5", ["older"]),
        ("param=width=5.0", ["older"]),
        ("param=width%3D6", []),
        ("param=n=3", ["first"]),
        ("param=label=wide", ["newer"]),
        ("param=WIDE", ["newer"]),
        ("param=%25", []),
        ("param=widt", ["newer", "older"]),
        ("tag=draft", ["older"]),
        ("tag=*", ["older"]),
        ("tag=nothing", []),
        ("status=done", ["first", "newer", "older"]),
        ("status=failed", []),
        ("since=2001-01-01", ["first", "newer", "older"]),
        ("until=2001-01-01", []),
        ("since=2001-01-01&param=label=wide&segment=second", ["newer"]),
        ("param=label=wide&tag=draft", []),
    ],
)
def test_a_filter_shows_what_matches(prefix, ada, query, found):
    newer, older = rows_of(prefix, "second")
    known = {"first": rows_of(prefix, "first")[0], "newer": newer, "older": older}
    tag_instances(str(prefix), [older.key], "draft version")
    page = ada.get(f"/p/knights/?{query}")
    assert page.status == 200
    # What only leads to a match can't be chosen.
    assert shown(page) == keys([known[name] for name in found])
    assert "Only versions: " in page.text
    assert 'href="/p/knights/">Show all' in page.text
    if not found:
        assert "No version is like that" in page.text


def test_a_date_that_is_none_is_refused_in_words(ada):
    page = ada.get("/p/knights/?since=yesterday")
    assert page.status == 400
    assert "“yesterday” is no date" in page.text
    assert len(shown(page)) == 3


def test_the_search_in_parameters_ends_in_time(monkeypatch, ada):
    monkeypatch.setattr("pipelet.web.queries.versions.SEARCH", -1.0)
    monkeypatch.setattr("pipelet.statusdb.versions._STEPS", 1)
    page = ada.get("/p/knights/?param=w")
    assert page.status == 200
    assert "took too long" in page.text


# ---- tags


def test_versions_are_tagged_and_untagged(prefix, ada):
    page = ada.get("/p/knights/")
    chosen = keys(rows_of(prefix, "second"))
    token = ada.token("/p/knights/")
    answer = ada.post("/p/knights/do/tag", key=chosen, tag="  for   the paper ", token=token, follow=True)
    assert answer.text.count('<span class="tag">for the paper</span>') == 2
    assert "2 versions have the tag" in answer.text
    tree = Tree(str(prefix))
    assert {tree.read_tag(row.path) for row in rows_of(prefix, "second")} == {"for the paper"}
    answer = ada.post("/p/knights/do/untag", key=chosen[0], token=token, back="tag=paper", follow=True)
    assert shown(answer) == chosen[1:]
    assert shown(page)


def test_the_way_back_leads_nowhere_else(prefix, ada):
    key = keys(rows_of(prefix))[0]
    answer = ada.post(
        "/p/knights/do/tag", key=key, tag="x", token=ada.token("/p/knights/"), back="//evil.example/?tag=a&next=http://b"
    )
    assert answer.status == 303
    assert answer.headers["location"].startswith("http://localhost:8080/p/knights/")
    assert "evil" not in answer.headers["location"]


@pytest.mark.parametrize(
    ("form", "status", "words"),
    [
        ({"tag": "x"}, 400, "Nothing is chosen"),
        ({"tag": " ", "key": "KEY"}, 400, "Write a tag"),
        ({"tag": "x", "key": "AAAAAAAAAAAA"}, 404, "deleted"),
        ({"tag": "x", "key": "../../x"}, 404, "deleted"),
    ],
)
def test_a_tag_that_can_not_be_given_is_refused_in_words(prefix, ada, form, status, words):
    form = {name: keys(rows_of(prefix))[0] if value == "KEY" else value for name, value in form.items()}
    answer = ada.post("/p/knights/do/tag", token=ada.token("/p/knights/"), **form)
    assert answer.status == status
    assert words in answer.text


@pytest.mark.parametrize("verb", ["tag", "untag"])
def test_nobody_changes_tags_without_the_right(prefix, site, ada, verb):
    key = keys(rows_of(prefix))[0]
    guest = site.browser("guest")
    assert guest.post(f"/p/knights/do/{verb}", key=key, tag="x", token=guest.token("/p/knights/")).status == 403
    assert ada.post(f"/p/knights/do/{verb}", key=key, tag="x").status == 403
    assert ada.post(f"/p/knights/do/{verb}", key=key, tag="x", token=guest.token("/p/knights/")).status == 403
    assert ada.get(f"/p/knights/do/{verb}?key={key}&tag=x&token={ada.token('/p/knights/')}").status == 400
    assert site.browser().post(f"/p/knights/do/{verb}", key=key, tag="x", token="").status in (303, 403)
    with Reader.open(f"{prefix}/.sqlstatus") as reader:
        assert reader.tags() == {}


def test_level_one_sees_no_action_but_may_compare(site):
    page = site.browser("guest").get("/p/knights/").text
    assert "/do/" not in page
    assert ">Compare</button>" in page


def test_two_boxes_lead_to_the_comparison_the_older_first(prefix, site):
    newer, older = keys(rows_of(prefix, "second"))
    guest = site.browser("guest")
    answer = guest.get(f"/p/knights/pair?key={newer}&key={older}&back=x&tag=y")
    assert answer.status == 303
    assert answer.headers["location"].endswith(f"/p/knights/compare?a={older}&b={newer}")
    assert guest.get(f"/p/knights/pair?key={newer}").status == 400
    assert guest.get(f"/p/knights/pair?key={newer}&key={newer}").status == 400
    assert guest.get("/p/knights/pair").status == 400
    assert guest.get(f"/p/knights/pair?key={newer}&key=AAAAAAAAAAAA").status == 404


# ---- what is hostile


def test_nothing_that_people_wrote_becomes_markup(tmp_path):
    (tmp_path / "first.py").write_text(
        f"n = {HOSTILE!r}\nexpose(['n'])\nimport sys\nlogger.info(n)\nset_output(n)\n"
    )
    run(tmp_path, [HOSTILE], "first")
    prefix = tmp_path / "data"
    row = rows_of(prefix)[0]
    tag_instances(str(prefix), [row.key], HOSTILE)
    with closing(sqlite3.connect(prefix / ".sqlstatus")) as connection, connection:
        connection.execute("UPDATE instance SET waiting = ?, segment = ?", (HOSTILE, HOSTILE))
    ada = WebSite(knights=prefix).browser("ada")
    for address in ("/", "/p/knights/", f"/p/knights/?tag={HOSTILE}&param={HOSTILE}&since={HOSTILE}&segment={HOSTILE}"):
        page = ada.get(address.replace(" ", "%20").replace('"', "%22").replace("<", "%3C").replace(">", "%3E"))
        assert "<img" not in page.text, address
        assert "onerror=alert(1)>" not in page.text, address


def test_an_input_that_runs_is_escaped(tmp_path, prefix):
    with closing(sqlite3.connect(prefix / ".sqlstatus")) as connection, connection:
        connection.execute("UPDATE task SET status = 1, text = ? WHERE id = 1", (HOSTILE,))
        connection.execute("UPDATE tally SET status = 1 WHERE instance = 1")
    ada = WebSite(knights=prefix).browser("ada")
    with PrefixLock(Tree(str(prefix)).lock_path):
        page = ada.get("/p/knights/")
        answer = ada.get("/p/knights/live")
    assert "Running now" in page.text
    assert "&lt;img src=x" in page.text
    assert "<img" not in page.text
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["tasks"][0]["input"] == HOSTILE


# ---- the graph


def test_the_graph_links_to_the_code_of_the_last_run(prefix, ada):
    page = ada.get("/p/knights/").text
    (first,), (newer, _) = rows_of(prefix, "first"), rows_of(prefix, "second")
    boxes = re.findall(r'<a class="box box-(\w+)" href="([^"]*)"', page)
    assert boxes == [("done", f"/p/knights/code/{row.key[:12]}") for row in (first, newer)]
    assert page.count('class="edge"') == 1
    assert "style=" not in page


def test_without_dot_the_segments_are_a_list(monkeypatch, prefix, ada):
    monkeypatch.setattr("pipelet.web.queries.graph.lay_out", lambda segments: None)
    page = ada.get("/p/knights/").text
    assert '<ol class="graph-list">' in page
    assert "from first" in page


# ---- live


def test_a_run_is_followed(tmp_path, prefix, ada, monkeypatch):
    monkeypatch.setattr("pipelet.web.queries.live.FRESH", 0.0)
    gate = tmp_path / "gate"
    (tmp_path / "second.py").write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    )
    pipeline = Pipeline("first -> second", code_dir=str(tmp_path), prefix=str(prefix))
    pipeline.push(first=[1, 2, 3])
    before = json.loads(ada.get("/p/knights/live").text)
    assert (before["on"], before["done"], before["total"], before["holder"]) == (False, 6, 6, None)
    worker, _ = launch_process(pipeline, 1, log_level=0)
    try:
        now = waited_for(ada, lambda now: now["tasks"])
        assert now["on"]
        assert now["holder"]["alive"]
        assert (now["done"], now["total"], now["running"]) == (3, 6, 1)
        assert now["versions"] != before["versions"]
        assert now["revision"] != before["revision"]
        assert [task["segment"] for task in now["tasks"]] == ["second"]
        page = ada.get("/p/knights/").text
        assert "3 of 6 done" in page
        assert f'href="{now["tasks"][0]["url"]}"' in page
        assert "Load again" in page
        assert "running now" in ada.get("/").text
    finally:
        gate.touch()
        worker.run()
    after = json.loads(ada.get("/p/knights/live").text)
    assert (after["on"], after["done"], after["total"], after["tasks"], after["left"]) == (False, 6, 6, [], "")
    assert "No run at the moment" in ada.get("/p/knights/").text


def waited_for(browser, wanted):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        now = json.loads(browser.get("/p/knights/live").text)
        if wanted(now):
            return now
        time.sleep(0.02)
    raise AssertionError(f"it did not come: {now}")


def test_what_has_not_changed_is_not_sent_again(ada):
    first = ada.get("/p/knights/live")
    again = ada.get("/p/knights/live", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (304, b"")
    assert ada.get("/p/knights/live", If_None_Match='"other"').status == 200


def test_many_who_look_ask_the_database_once(monkeypatch, site):
    looked = []
    look = live.look
    monkeypatch.setattr(live, "look", lambda *given: looked.append(1) or look(*given))
    monkeypatch.setattr(live, "FRESH", 3600.0)
    monkeypatch.setattr(live, "_UNSETTLED", 1e9)
    visitors = [site.browser("ada"), site.browser("guest")]
    for visitor in visitors * 5:
        assert visitor.get("/p/knights/live").status == 200
    assert len(looked) == 1


def test_a_database_that_has_not_changed_is_not_asked_again(monkeypatch, prefix, site):
    looked = []
    look = live.look
    monkeypatch.setattr(live, "look", lambda *given: looked.append(1) or look(*given))
    monkeypatch.setattr(live, "FRESH", 0.0)
    monkeypatch.setattr(live, "_UNSETTLED", -1e9)
    ada = site.browser("ada")
    for _ in range(3):
        ada.get("/p/knights/live")
    assert len(looked) == 1
    tag_instances(str(prefix), [rows_of(prefix)[0].key], "changed")
    ada.get("/p/knights/live")
    assert len(looked) == 2


def test_who_holds_the_prefix_is_told_and_that_it_died(prefix, site, monkeypatch):
    monkeypatch.setattr("pipelet.web.queries.live.FRESH", 0.0)
    ada = site.browser("ada")
    with PrefixLock(Tree(str(prefix)).lock_path):
        assert f"pid {os.getpid()}" in ada.get("/p/knights/").text
    assert "No run at the moment" in ada.get("/p/knights/").text
    with PrefixLock(Tree(str(prefix)).lock_path):
        monkeypatch.setattr(PrefixLock, "_alive", lambda *given: False)
        assert "The last run died" in ada.get("/p/knights/").text
        assert "and died" in ada.get("/").text


# ---- what goes wrong


def test_a_locked_database_is_told_in_words(prefix, site, monkeypatch):
    monkeypatch.setattr("pipelet.web.handlers.index.PATIENCE", 0.1)
    ada = site.browser("ada")
    token = ada.token("/p/knights/")
    key = keys(rows_of(prefix))[0]
    with closing(sqlite3.connect(prefix / ".sqlstatus", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert ada.get("/p/knights/").status == 200
        answer = ada.post("/p/knights/do/tag", key=key, tag="x", token=token)
        assert answer.status == 503
        assert "is locked" in answer.text
        # What was refused is not half done, either.
        assert not list(prefix.rglob("*.tag"))
        connection.execute("ROLLBACK")
    assert ada.post("/p/knights/do/tag", key=key, tag="x", token=token).status == 303


def test_a_damaged_database_is_told_in_words(prefix, site):
    ada = site.browser("ada")
    content = bytearray((prefix / ".sqlstatus").read_bytes())
    content[100:] = b"x" * (len(content) - 100)
    (prefix / ".sqlstatus").write_bytes(bytes(content))
    for address in ("/p/knights/", "/p/knights/live"):
        answer = ada.get(address)
        assert answer.status == 503
        assert "Traceback" not in answer.text
    home = ada.get("/")
    assert home.status == 200
    assert "pipeutils -r" in home.text


def test_a_missing_database_is_told_in_words(prefix, site):
    ada = site.browser("ada")
    assert ada.get("/p/knights/").status == 200
    for path in prefix.glob(".sqlstatus*"):
        path.unlink()
    answer = ada.get("/p/knights/")
    assert answer.status == 503
    assert "pipeutils -r" in answer.text
    home = ada.get("/").text
    assert f"There is no database {prefix}/.sqlstatus" in home
    assert f"pipeutils -r {prefix} {prefix}/.sqlstatus" in home


def test_a_prefix_that_is_not_mounted_is_told_in_words(prefix, site):
    ada = site.browser("ada")
    shutil.move(prefix, f"{prefix}.away")
    home = ada.get("/").text
    assert f"There is no directory {prefix}" in home
    assert "pipeweb untrack knights" in home
    assert ada.get("/p/knights/").status == 503


def test_records_are_shown_where_only_the_data_are_gone(prefix, site, tmp_path):
    sqlfile = str(tmp_path / "apart.sqlite")
    shutil.copy(prefix / ".sqlstatus", sqlfile)
    site.registry.tracked[0] = site.registry.tracked[0]._replace(sqlfile=sqlfile)
    ada = site.browser("ada")
    shutil.rmtree(prefix)
    page = ada.get("/p/knights/")
    assert page.status == 200
    assert "not where they were" in page.text
    assert len(shown(page)) == 3
    assert "missing" in ada.get("/").text


def test_what_was_deleted_is_gone_from_the_page(prefix, ada):
    assert len(shown(ada.get("/p/knights/"))) == 3
    delete_instances(str(prefix), [rows_of(prefix, "second")[0].key])
    assert len(shown(ada.get("/p/knights/"))) == 2


# ---- the first page


def test_the_first_page_tells_how_each_pipeline_stands(prefix, ada):
    page = ada.get("/").text
    assert "6 done" in page
    assert str(prefix) in page
    assert "3 of 2 segments" in page
    assert "read only" not in page


def test_when_the_last_run_began_goes_with_a_copied_tree(made, prefix):
    before = last_run_began(Tree(str(prefix)))
    assert 0 < before <= time.time()
    os.utime(os.path.join(Tree(str(prefix)).log_dir, "last_run"))
    assert last_run_began(Tree(str(prefix))) == before
    assert before >= max(row.created for row in rows_of(made / "data")) - 60


def test_the_first_page_says_who_may_only_read(site):
    assert "read only" in site.browser("guest").get("/").text
