"""The page of the space: sizes, previews, deletion, the trash; and what the server does about it by itself."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from html import unescape
from pathlib import Path

import pytest
from support import ENVIRONMENT, PATIENCE, Project, until
from webclient import Answer, Browser, WebSite

from pipelet import utils
from pipelet.accounts import add_user
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.trash import Bag, were_cut
from pipelet.web import sizes
from pipelet.web.housekeeping import keep_house
from pipelet.web.tracked import Tracked

EVIL = "<script>alert(1)</script>"
DOT = "a -> b; c;"
SCRIPT = """\
    with open(get_data_fn("product"), "wb") as file:
        file.write(b"x" * 100_000)
    set_output([get_input()])
    """


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sizes, "MEASURER", sizes.Measurer())
    monkeypatch.setattr(sizes, "AGAIN", 0.0)
    return tmp_path / "cache"


@pytest.fixture
def lab(project: Project) -> Project:
    project.write(a=SCRIPT, b=SCRIPT, c=SCRIPT.replace("100_000", "1_000_000"))
    run(project)
    return project


@pytest.fixture
def site(lab: Project) -> WebSite:
    return WebSite(knights=lab.prefix)


def run(project: Project):
    return project.run(project.pipeline(DOT, {"a": [1, EVIL], "c": ["x"]}))


def key(project: Project, segment: str) -> str:
    return project.pipeline(DOT).instances(segment)[0].key[:12]


def segments(project: Project) -> set[str]:
    return {name for name in "abc" if project.pipeline(DOT).instances(name)}


def text_of(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def space(visitor: Browser, query: str = "") -> str:
    answer = visitor.get(f"/p/knights/space{query}")
    assert answer.status == 200, answer.text
    return answer.text


def measured(project: Project, visitor: Browser) -> str:
    space(visitor)
    assert sizes.MEASURER.wait(PATIENCE)
    return space(visitor)


def moments(project: Project, measurer: sizes.Measurer) -> dict[int, float]:
    """When each version was measured."""
    known = measurer.of(Tree(str(project.prefix)), f"{project.prefix}/.sqlstatus")
    return {number: item.measured_at for number, item in known.items()}


def post(visitor: Browser, verb: str, follow: bool = False, **form) -> Answer:
    token = visitor.token("/p/knights/space")
    return visitor.post(f"/p/knights/do/{verb}", follow=follow, token=token, **form)


def fields(page: str) -> dict[str, list[str]]:
    """What a preview's form would send."""
    form = page[page.index('action="/p/knights/do/delete"') :]
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form):
        if name != "token":
            found.setdefault(name, []).append(unescape(value))
    return found


def confirm(visitor: Browser, page: str, **more) -> Answer:
    return post(visitor, "delete", follow=True, **{**fields(page), **more})


# --- the page --------------------------------------------------------------------------------------------------------


def test_sizes_come_by_themselves(lab: Project, site: WebSite, cache: Path) -> None:
    visitor = site.browser("guest")
    assert "measuring" in text_of(space(visitor))
    page = measured(lab, visitor)
    words = text_of(page)
    assert re.search(r"1\.\d+ MB in 3 versions", words), words
    assert re.findall(r"products/[^>]*>(\w) <", page) == ["c", "a", "b"] or page.index(">c <") < page.index(">a <")
    assert words.count("in use") >= 3
    assert "checkbox" not in page
    assert 'do/restore"' not in page
    (file,) = (cache / "pipelet").iterdir()
    assert file.stat().st_mode & 0o077 in (0, 0o044)
    # What was measured is there at the next start, and nothing is measured again for nothing.
    before = moments(lab, sizes.MEASURER)
    again = sizes.Measurer()
    assert moments(lab, again) == before
    assert again.wait(PATIENCE)
    lab.run(lab.pipeline(DOT, {"a": [1, EVIL, 3], "c": ["x"]}))
    measured(lab, visitor)
    now = moments(lab, sizes.MEASURER)
    assert sum(now[number] != before[number] for number in before) == 2


@pytest.mark.parametrize("query", ["?sort=age", "?sort=segment&days=0", "?sort=tasks&days=1e3"])
def test_the_page_in_other_orders(site: WebSite, query: str) -> None:
    assert "Trash" in space(site.browser("ada"), query)


@pytest.mark.parametrize("query", ["?sort=no", "?days=x", "?days=nan", "?days=-1", "?days=1e9"])
def test_what_can_not_be_read(site: WebSite, query: str) -> None:
    assert site.browser("ada").get(f"/p/knights/space{query}").status == 400


def test_old_and_tagged_versions(lab: Project, site: WebSite) -> None:
    lab.write(a=SCRIPT.rstrip() + "\n    more = 1\n")
    utils.tag_instances(lab.prefix, [key_of_old(lab, "b")], EVIL)
    run(lab)
    page = space(site.browser("ada"), "?days=0")
    assert EVIL not in page
    assert "a version that descends from it is tagged" in text_of(page)
    assert page.count('type="checkbox"') == 3
    utils.tag_instances(lab.prefix, [key_of_old(lab, "b")], None)
    page = space(site.browser("ada"), "?days=0")
    assert page.count("chip-old") == 2
    assert page.count('type="checkbox"') == 5


def key_of_old(lab: Project, segment: str) -> str:
    with_reader = lab.pipeline(DOT).instances(segment)
    return with_reader[-1].key


# --- deleting --------------------------------------------------------------------------------------------------------


def test_delete_restore_and_delete_for_good(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    measured(lab, visitor)
    preview = post(visitor, "delete-preview", key=[key(lab, "a")])
    words = text_of(preview.text)
    assert preview.status == 200
    assert "4 tasks of 2 versions, 1 directory" in words
    assert re.search(r"\d+ kB", words)
    (path,) = [Path(item.path) for item in lab.pipeline(DOT).instances("a")]
    assert os.path.relpath(path, lab.prefix) in words
    assert segments(lab) == {"a", "b", "c"}
    done = confirm(visitor, preview.text)
    assert "2 versions are in the trash, for 30 days" in text_of(done.text)
    assert segments(lab) == {"c"}
    (trashed,) = utils.trash(lab.prefix)
    assert trashed.by == "ada"
    assert "in 30 days" in text_of(space(visitor))
    back = post(visitor, "restore", follow=True, id=trashed.id)
    assert "2 versions are back" in text_of(back.text)
    assert segments(lab) == {"a", "b", "c"}
    confirm(visitor, post(visitor, "delete-preview", key=[key(lab, "c")]).text, days="7")
    (trashed,) = utils.trash(lab.prefix)
    assert round((trashed.until - trashed.made) / 86400) == 7
    asked = post(visitor, "empty", id=trashed.id)
    assert "After this it can't be restored" in text_of(asked.text)
    assert len(utils.trash(lab.prefix)) == 1
    post(visitor, "empty", id=trashed.id, sure="yes")
    until(lambda: not os.listdir(Tree(str(lab.prefix)).trash_dir), "the files to go")
    assert post(visitor, "restore", id=trashed.id).status == 409
    assert post(visitor, "empty", id=trashed.id).status == 404
    assert utils.check_prefix(lab.prefix).clean
    assert run(lab).done == 1


def test_no_days_is_final_at_once(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    done = confirm(visitor, post(visitor, "delete-preview", key=key(lab, "c")).text, days="0")
    assert "1 version is deleted for good" in text_of(done.text)
    until(lambda: not os.listdir(Tree(str(lab.prefix)).trash_dir), "the files to go")


def test_purge(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    preview = post(visitor, "purge-preview", key=key(lab, "a"))
    assert "A later run that wants one of these tasks computes it again" in text_of(preview.text)
    done = confirm(visitor, preview.text)
    assert "The data of 1 version are in the trash" in text_of(done.text)
    assert "purged just now" in text_of(done.text)
    assert segments(lab) == {"a", "b", "c"}
    assert run(lab).done == 2


def test_delete_a_task(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    one = lab.pipeline(DOT, {"a": [1, EVIL]}).tasks("a")[0]
    preview = post(visitor, "delete-task", task=str(one.id))
    assert "2 tasks of 2 versions" in text_of(preview.text)
    assert EVIL not in preview.text
    done = confirm(visitor, preview.text)
    assert "2 tasks are in the trash" in text_of(done.text)
    assert len(lab.pipeline(DOT).tasks("b")) == 1
    assert post(visitor, "delete-task", task=str(one.id)).status == 409
    for bad in ("x", "-1", "9" * 30, "²"):
        assert post(visitor, "delete-task", task=bad).status == 400
    assert run(lab).done == 2


def test_what_changed_since_is_shown_again(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    preview = post(visitor, "delete-preview", key=key(lab, "a")).text
    lab.run(lab.pipeline(DOT, {"a": [1, EVIL, 3], "c": ["x"]}))
    again = confirm(visitor, preview)
    assert "Something has changed since you looked" in text_of(again.text)
    assert segments(lab) == {"a", "b", "c"}
    confirm(visitor, again.text)
    assert segments(lab) == {"c"}


def test_two_people(lab: Project, site: WebSite) -> None:
    one, other = site.browser("ada"), site.browser("ada")
    first, second = (post(visitor, "delete-preview", key=key(lab, "a")).text for visitor in (one, other))
    confirm(one, first)
    late = confirm(other, second)
    assert late.status == 404
    assert "was deleted at" in text_of(late.text)
    assert "by ada, and is in the trash" in text_of(late.text)
    assert len(utils.trash(lab.prefix)) == 1


def test_tagged_versions_ask_for_their_tags_first(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    preview = post(visitor, "delete-preview", key=key(lab, "a")).text
    utils.tag_instances(lab.prefix, [key(lab, "b")], "published")
    page = post(visitor, "delete-preview", key=key(lab, "a")).text
    assert "take the tag away first" in text_of(page)
    assert "<button class=\"danger\">" not in page
    assert "take the tag away first" in text_of(confirm(visitor, preview).text)
    forged = fields(page)
    assert post(visitor, "delete", **forged).status == 409
    assert segments(lab) == {"a", "b", "c"}


def test_what_runs_is_not_deleted(lab: Project, site: WebSite) -> None:
    visitor = site.browser("ada")
    preview = post(visitor, "delete-preview", key=key(lab, "a")).text
    with PrefixLock(str(lab.prefix / ".pipelet" / "lock")):
        refused = confirm(visitor, preview)
    assert refused.status == 409
    assert f"is held by host {socket.gethostname()}, pid {os.getpid()}" in text_of(refused.text)
    assert segments(lab) == {"a", "b", "c"}
    assert utils.trash(lab.prefix) == []


# --- who may ---------------------------------------------------------------------------------------------------------

VERBS = ["delete-preview", "purge-preview", "delete-task", "delete", "restore", "empty"]


def _forms(lab: Project) -> dict[str, dict[str, str]]:
    digest = utils.preview_deletion(lab.prefix, [key(lab, "a")]).digest
    return {
        "delete-preview": {"key": key(lab, "a")},
        "purge-preview": {"key": key(lab, "a")},
        "delete-task": {"task": "1"},
        "delete": {"what": "instances", "chosen": key(lab, "a"), "digest": digest},
        "restore": {"id": utils.trash(lab.prefix)[0].id},
        "empty": {"id": utils.trash(lab.prefix)[0].id, "sure": "yes"},
    }


@pytest.mark.parametrize("verb", VERBS)
def test_only_level_2_with_a_token_by_post(lab: Project, site: WebSite, verb: str) -> None:
    utils.delete_instances(lab.prefix, [key(lab, "c")])
    form = _forms(lab)[verb]
    ada, guest = site.browser("ada"), site.browser("guest")
    assert post(guest, verb, **form).status == 403
    assert ada.post(f"/p/knights/do/{verb}", **form).status == 403
    assert ada.post(f"/p/knights/do/{verb}", token="x" * 32, **form).status == 403
    assert ada.get(f"/p/knights/do/{verb}?token={ada.token('/p/knights/space')}").status == 400
    assert site.browser().post(f"/p/knights/do/{verb}", **form).status == 303
    assert segments(lab) == {"a", "b"}
    assert len(utils.trash(lab.prefix)) == 1
    assert post(ada, verb, **form).status in (200, 303)


@pytest.mark.parametrize("verb", VERBS)
def test_forms_without_sense(lab: Project, site: WebSite, verb: str) -> None:
    ada = site.browser("ada")
    wild = {"key": "../../etc", "task": "../1", "id": "../../etc", "what": "x", "chosen": "../", "digest": "y"}
    for form in ({}, wild):
        assert post(ada, verb, **form).status in (400, 404, 409)
    assert post(ada, "delete-preview", key="A").status in (200, 404)


# --- the server ------------------------------------------------------------------------------------------------------


def test_the_server_keeps_house(lab: Project) -> None:
    utils.delete_instances(lab.prefix, [key(lab, "c")], days=1e-9)
    utils.delete_instances(lab.prefix, [key(lab, "b")])
    tree = Tree(str(lab.prefix))
    away = Tracked("away", str(lab.root / "no" / ".sqlstatus"), str(lab.root / "no"))
    keep_house([away, Tracked("knights", f"{lab.prefix}/.sqlstatus", str(lab.prefix))])
    (left,) = utils.trash(lab.prefix)
    assert [item.segment for item in left.instances] == ["b"]
    (bag,) = [Bag(tree, left.id, "")]
    bag.turn(".moving")
    with PrefixLock(tree.lock_path):
        keep_house([Tracked("knights", f"{lab.prefix}/.sqlstatus", str(lab.prefix))])
        assert were_cut(tree)
    keep_house([Tracked("knights", f"{lab.prefix}/.sqlstatus", str(lab.prefix))])
    assert not were_cut(tree)


SERVER = """
import os, sys
from pipelet.storage.trash import Bag
from pipelet.web import server

right = Bag.take
def slow(self):
    right(self)
    open(sys.argv[3], "w").close()
    import time
    time.sleep(600)
if sys.argv[3:]:
    Bag.take = slow
sys.exit(server.main(sys.argv[1:3]))
"""


def test_a_server_that_is_killed_in_the_middle(lab: Project) -> None:
    import http.client
    import threading
    from urllib.parse import urlencode

    from pipelet.web.settings import Settings
    from pipelet.web.tracked import Registry

    sqlfile = f"{lab.prefix}/.sqlstatus"
    for name, level in (("ada", 2),):
        add_user(sqlfile, name, level, "lovelace")
    settings = Settings(config=str(lab.root / "config"), state=str(lab.root / "state"), port=0)
    Registry(settings.config).track("knights", sqlfile)
    middle = lab.root / "middle"

    def start(*words: str):
        ours, theirs = os.pipe()
        process = lab.start(
            "-c", SERVER, settings.to_json(), str(theirs), *words, pass_fds=(theirs,), env=ENVIRONMENT
        )
        os.close(theirs)
        with os.fdopen(ours) as pipe:
            return process, json.loads(pipe.readline())["port"]

    class Remote(Browser):
        def __init__(self, port: int) -> None:
            self.port, self.base_path, self.cookies = port, "", {}

        def request(self, method, address, form=None, headers=None, follow=False):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
            head = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
            body = None if form is None else urlencode(form, doseq=True)
            if body is not None:
                head["Content-Type"] = "application/x-www-form-urlencoded"
            connection.request(method, address, body, head)
            answer = connection.getresponse()
            for value in answer.headers.get_all("Set-Cookie") or ():
                name, _, rest = value.partition("=")
                self.cookies[name] = rest.split(";")[0]
            got = Answer(answer.status, dict(answer.headers), answer.read(), None)
            connection.close()
            return got

    process, port = start(str(middle))
    try:
        visitor = Remote(port).log_in("ada")
        preview = post(visitor, "delete-preview", key=key(lab, "a")).text

        def ask() -> None:
            with contextlib.suppress(OSError):
                confirm(visitor, preview)

        asking = threading.Thread(target=ask)
        asking.start()
        until(middle.exists, "the middle of the deletion")
        process.send_signal(signal.SIGKILL)
        process.wait()
        asking.join()
    finally:
        process.kill()
        process.communicate()
    tree = Tree(str(lab.prefix))
    assert len(were_cut(tree)) == 1
    process, port = start()
    try:
        until(lambda: not were_cut(tree), "the housekeeping")
        until(lambda: not os.path.exists(tree.lock_path), "the lock to go")
        assert segments(lab) == {"c"}
        assert utils.check_prefix(lab.prefix).clean
        assert [item.state for item in utils.trash(lab.prefix)] == ["kept"]
    finally:
        process.terminate()
        process.communicate()
    utils.restore(lab.prefix, utils.trash(lab.prefix)[0].id)
    assert run(lab).done == 0
