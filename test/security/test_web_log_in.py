"""Who gets in, and what that opens: attacks on the log-in, the sessions and the forms."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from webclient import PASSWORD, Answer, Browser, WebSite

from pipelet import accounts
from pipelet.errors import DatabaseError
from pipelet.statusdb import Writer
from pipelet.web.app import make_app
from pipelet.web.auth import gate as gate_module
from pipelet.web.auth.gate import Gate, TooSoon
from pipelet.web.auth.sessions import Sessions
from pipelet.web.auth.throttle import Throttle
from pipelet.web.handlers.base import Body, Pages, Site, changes, reads
from pipelet.web.settings import Settings


class Probe(Pages):
    """A page that reads, and an action."""

    @reads
    def index(self, site: Site) -> Body:
        return f"{site.user} {site.level}"

    @changes
    def do_it(self, site: Site) -> Body:
        return "changed"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes that take no time; that they take long is tested elsewhere."""
    monkeypatch.setattr(accounts, "TIME_COST", 1)
    monkeypatch.setattr(accounts, "MEMORY_COST", 64)


def pipeline(tmp_path: Path, name: str = "knights") -> Path:
    """A prefix with an empty database."""
    prefix = tmp_path / name
    prefix.mkdir()
    Writer.open(prefix / ".sqlstatus").close()
    return prefix


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    return pipeline(tmp_path)


def site_of(settings: Settings | None = None, **tracked: Path) -> WebSite:
    """The pages over these pipelines, with the probe."""
    site = WebSite(settings, **tracked)
    site.app = make_app(site.services, (Probe,))
    return site


@pytest.fixture
def site(prefix: Path) -> WebSite:
    return site_of(knights=prefix)


def form(visitor: Browser, name: str = "ada", password: str = PASSWORD, next: str = "", **more: Any) -> Answer:
    """Fill in the form as a person does."""
    page = visitor.get(f"{visitor.base_path}/login").text
    # the log-in form's own, not the one of the button for logging out
    token = re.findall(r'name="token" value="([^"]*)"', page)[-1]
    return visitor.post(f"{visitor.base_path}/login", **{"name": name, "password": password, "next": next,
                                                         "token": token, **more})


# --- the form ---------------------------------------------------------------------------------------------------------


def test_nothing_is_open_without_a_log_in(site: WebSite) -> None:
    visitor = site.browser()
    for address in ("/", "/p/knights/", "/p/knights", "/p/other/"):
        answer = visitor.get(address)
        assert answer.status in (301, 303), address
        assert "/login" in visitor.get(address, follow=True).text
    assert visitor.get("/p/knights/").headers["location"].endswith("/login?next=%2Fp%2Fknights%2F")


def test_one_comes_to_the_page_that_one_had_asked_for(site: WebSite) -> None:
    visitor = site.browser()
    page = visitor.get("/p/knights/?a=1&b=%C3%A9", follow=True).text
    (wanted,) = re.findall(r'name="next" value="([^"]*)"', page)
    answer = form(visitor, next=wanted.replace("&amp;", "&"))
    assert answer.status == 303
    assert answer.headers["location"].endswith("/p/knights/?a=1&b=%C3%A9")


@pytest.mark.parametrize("address", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/logout", "\r\n"])
def test_one_is_never_sent_elsewhere(site: WebSite, address: str) -> None:
    answer = form(site.browser(), next=address)
    assert answer.status == 303
    assert answer.headers["location"] == "http://localhost:8080/"
    answer = site.browser("ada").get("/login?next=" + address.replace("\r\n", "%0d%0a"), follow=True)
    assert "evil.example" not in answer.text


def test_what_was_typed_comes_back_as_text(site: WebSite) -> None:
    answer = form(site.browser(), name='"><script>alert(1)</script>', next='/"><script>')
    assert answer.status == 403
    assert "<script>alert" not in answer.text
    assert 'value="/"' not in answer.text
    assert PASSWORD not in form(site.browser(), name="nobody").text


def test_the_form_wants_its_token(site: WebSite) -> None:
    visitor = site.browser()
    for token in ("", "x", "é"):
        assert form(visitor, token=token).status == 403
        assert visitor.get("/").status == 303
    # nor does the token of another visitor do, or one without its cookie
    page = site.browser().get("/login").text
    (foreign,) = re.findall(r'name="token" value="([^"]*)"', page)
    assert form(visitor, token=foreign).status == 403
    assert Browser(site.app).post("/login", name="ada", password=PASSWORD, token=foreign).status == 403
    assert form(visitor).status == 303


def test_fields_that_come_twice_are_refused(site: WebSite) -> None:
    assert form(site.browser(), name=["ada", "guest"]).status == 400
    assert site.browser().get("/login?next=/a&next=/b").status == 400


@pytest.mark.parametrize("name", ["", " ada", "ADA", "ada\0", "\ud800".encode("utf-8", "surrogatepass"), "a" * 100_000])
def test_other_names_open_nothing(site: WebSite, name: Any) -> None:
    assert form(site.browser(), name=name).status in (400, 403)
    assert form(site.browser(), password="x" * 100_000).status == 403


def test_a_name_in_another_form_of_unicode_is_the_same(prefix: Path) -> None:
    site = site_of(knights=prefix)
    accounts.add_user(prefix / ".sqlstatus", "Andr\u00e9", 1, "x")
    assert form(site.browser(), name="Andre\u0301", password="x").status == 303


# --- cookies ----------------------------------------------------------------------------------------------------------


def test_the_cookie(site: WebSite) -> None:
    settings = site.services.settings
    answer = form(site.browser())
    cookie = answer.cookies[settings.cookie]
    assert len(cookie.value) >= 43
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Strict", "/")
    assert not cookie["secure"]
    assert not cookie["domain"]
    assert not cookie["max-age"]
    assert not cookie["expires"]


def test_the_cookie_with_tls_and_a_base_path(prefix: Path) -> None:
    for base_path in ("", "/user/ada"):
        settings = Settings(cert="c", key="k", base_path=base_path)
        visitor = site_of(settings, knights=prefix).browser()
        cookie = form(visitor).cookies[settings.cookie]
        assert cookie["secure"]
        assert cookie["path"] == (base_path or "/")


def test_a_session_has_a_new_name_after_the_log_in(site: WebSite) -> None:
    """Nobody can have somebody else log in to a session that was prepared."""
    name = site.services.settings.cookie
    visitor = site.browser()
    visitor.cookies[name] = "x" * 43
    form(visitor)
    first = visitor.cookies[name]
    assert first != "x" * 43
    assert site.services.gate.visit("x" * 43) is None
    token = visitor.token()
    form(visitor, name="guest")
    assert visitor.cookies[name] != first
    assert visitor.token() != token
    assert site.services.gate.visit(first) is None


def test_the_log_out_ends_the_session_at_the_server(site: WebSite) -> None:
    visitor = site.browser("ada")
    kept = dict(visitor.cookies)
    assert visitor.get("/logout").status == 400
    assert visitor.post("/logout", token="wrong").status == 403
    assert visitor.get("/").status == 200
    assert visitor.post("/logout", token=visitor.token()).status == 303
    visitor.cookies = kept
    assert visitor.get("/").status == 303
    assert visitor.post("/logout").status == 303


def test_a_link_from_elsewhere_finds_the_session(site: WebSite) -> None:
    """The browser keeps the cookie back once; it is asked again by a page of ours, which it gives the cookie."""
    stranger = site.browser()
    page = stranger.get("/login?next=/p/knights/", **{"Sec-Fetch-Site": "cross-site"})
    assert 'http-equiv="refresh" content="0;url=/login?next=%2Fp%2Fknights%2F"' in page.text
    assert 'name="password"' in stranger.get("/login", **{"Sec-Fetch-Site": "same-origin"}).text
    answer = site.browser("ada").get("/login?next=/p/knights/")
    assert answer.headers["location"].endswith("/p/knights/")
    # to what the account does not open, the form leads
    assert 'name="password"' in site.browser("ada").get("/login?next=/p/other/").text


# --- forms that change something --------------------------------------------------------------------------------------


def test_an_action_wants_a_form_its_token_and_level_2(site: WebSite) -> None:
    ada, guest = site.browser("ada"), site.browser("guest")
    assert ada.post("/p/knights/do/it", token=ada.token()).text == "changed"
    assert ada.request("POST", "/p/knights/do/it", form={}, headers={"X-Pipelet-Token": ada.token()}).status == 200
    for token in ("", "x", guest.token()):
        assert ada.post("/p/knights/do/it", token=token).status == 403
    assert ada.get(f"/p/knights/do/it?token={ada.token()}").status == 400
    assert guest.post("/p/knights/do/it", token=guest.token()).status == 403
    assert site.browser().post("/p/knights/do/it", token="").status == 303


# --- the account changes while the session lasts ----------------------------------------------------------------------


def test_the_session_ends_when_the_account_is_removed(site: WebSite, prefix: Path) -> None:
    ada, guest = site.browser("ada"), site.browser("guest")
    assert ada.get("/p/knights/").text == "ada 2"
    accounts.remove_user(prefix / ".sqlstatus", "ada")
    assert ada.get("/p/knights/").status == 303
    # also if there is one of this name again
    accounts.add_user(prefix / ".sqlstatus", "ada", 2, PASSWORD)
    assert ada.get("/p/knights/").status == 303
    assert ada.get("/").status == 303
    assert guest.get("/p/knights/").text == "guest 1"


def test_the_session_ends_when_the_level_is_lowered(site: WebSite, prefix: Path) -> None:
    ada = site.browser("ada")
    token = ada.token()
    with Writer.open(prefix / ".sqlstatus") as writer:
        stored = writer.user("ada")
        assert stored is not None
        writer.put_user("ada", stored[0], 1)
    assert ada.post("/p/knights/do/it", token=token).status == 303
    assert ada.get("/p/knights/").status == 303
    assert site.browser("ada").get("/p/knights/").text == "ada 1"


def test_the_session_ends_when_the_password_is_changed(site: WebSite, prefix: Path) -> None:
    ada = site.browser("ada")
    accounts.add_user(prefix / ".sqlstatus", "ada", 2, "another")
    assert ada.get("/p/knights/").status == 303


def test_a_level_that_is_raised_counts_at_once_and_may_not_be_lowered_again(site: WebSite, prefix: Path) -> None:
    guest = site.browser("guest")
    token = guest.token()

    def put(level: int) -> None:
        with Writer.open(prefix / ".sqlstatus") as writer:
            stored = writer.user("guest")
            assert stored is not None
            writer.put_user("guest", stored[0], level)

    put(2)
    assert guest.post("/p/knights/do/it", token=token).text == "changed"
    put(1)
    assert guest.get("/p/knights/").status == 303


def test_what_was_seen_of_a_quiet_file_is_kept_and_a_change_is_noticed(
    site: WebSite, prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlfile = prefix / ".sqlstatus"
    os.utime(sqlfile, (1e9, 1e9))
    ada = site.browser("ada")
    assert ada.get("/p/knights/").status == 200
    with monkeypatch.context() as patch:
        patch.setattr("pipelet.web.auth.roll.Reader.open", lambda *_: pytest.fail("the file is read again"))
        assert ada.get("/p/knights/").status == 200
    accounts.remove_user(sqlfile, "ada")
    assert ada.get("/p/knights/").status == 303


def test_what_was_just_written_is_read_each_time(site: WebSite, prefix: Path) -> None:
    """A second change in one tick of the clock leaves size and time as they were."""
    sqlfile = prefix / ".sqlstatus"
    ada = site.browser("ada")
    before = os.stat(sqlfile)
    accounts.remove_user(sqlfile, "ada")
    os.utime(sqlfile, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert ada.get("/p/knights/").status == 303


def test_a_database_that_is_gone_is_told_and_does_not_end_the_session(site: WebSite, prefix: Path) -> None:
    ada = site.browser("ada")
    (prefix / ".sqlstatus").rename(prefix / "away")
    answer = ada.get("/p/knights/")
    assert answer.status == 503
    assert "no status database" in answer.text
    # strangers learn nothing of it
    assert site.browser().get("/p/knights/").status == 303
    (prefix / "away").rename(prefix / ".sqlstatus")
    assert ada.get("/p/knights/").text == "ada 2"


def test_another_database_under_the_same_name_is_not_open(site: WebSite, tmp_path: Path) -> None:
    ada = site.browser("ada")
    other = pipeline(tmp_path, "other")
    (old,) = site.registry.tracked
    (other / ".sqlstatus").write_bytes(Path(old.sqlfile).read_bytes())
    site.registry.tracked[:] = [old._replace(sqlfile=str(other / ".sqlstatus"), prefix=str(other))]
    assert ada.get("/p/knights/").status == 303


# --- several pipelines ------------------------------------------------------------------------------------------------


def test_a_log_in_opens_what_knows_name_and_password_and_a_second_one_adds(tmp_path: Path) -> None:
    site = site_of(cmb=pipeline(tmp_path, "cmb"), sky=pipeline(tmp_path, "sky"), sea=pipeline(tmp_path, "sea"))
    accounts.add_user(tmp_path / "sea" / ".sqlstatus", "ada", 2, "another")
    accounts.add_user(tmp_path / "sea" / ".sqlstatus", "bob", 1, "bob's")
    visitor = site.browser("ada")
    assert [visitor.get(f"/p/{name}/").status for name in ("cmb", "sky", "sea")] == [200, 200, 303]
    assert form(visitor, "bob", "bob's", next="/p/sea/").status == 303
    assert [visitor.get(f"/p/{name}/").text for name in ("cmb", "sky", "sea")] == ["ada 2", "ada 2", "bob 1"]
    # what fails takes nothing away
    assert form(visitor, "guest", "wrong").status == 403
    assert visitor.get("/p/sea/").text == "bob 1"
    # one account that goes closes its own pipelines only
    accounts.remove_user(tmp_path / "sea" / ".sqlstatus", "bob")
    assert [visitor.get(f"/p/{name}/").status for name in ("cmb", "sky", "sea")] == [200, 200, 303]


def test_a_database_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    site = site_of(cmb=pipeline(tmp_path, "cmb"), sky=pipeline(tmp_path, "sky"))
    (tmp_path / "cmb" / ".sqlstatus").write_bytes(b"damaged" * 1000)
    assert site.browser("ada").get("/p/sky/").text == "ada 2"


def test_a_stored_hash_that_cannot_be_read_is_passed_over(site: WebSite, prefix: Path) -> None:
    with Writer.open(prefix / ".sqlstatus") as writer:
        writer.put_user("ada", "plain text", 2)
    assert form(site.browser()).status == 403
    assert form(site.browser(), "guest").status == 303


def test_each_name_costs_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_of(cmb=pipeline(tmp_path, "cmb"), sky=pipeline(tmp_path, "sky"))
    accounts.add_user(tmp_path / "sky" / ".sqlstatus", "bob", 1, "bob's")
    checked: list[str] = []
    monkeypatch.setattr(gate_module, "verify", lambda stored, password: checked.append(stored))
    costs = set()
    for name in ("ada", "bob", "nobody", ""):
        checked.clear()
        form(site.browser(), name=name, password="wrong")
        costs.add(len(checked))
    assert costs == {2}


# --- what to type -----------------------------------------------------------------------------------------------------


def test_the_form_says_what_to_type_where_nobody_has_an_account(tmp_path: Path) -> None:
    site = site_of(cmb=pipeline(tmp_path, "cmb"))
    sqlfile = tmp_path / "cmb" / ".sqlstatus"
    assert "pipeutils" not in site.browser().get("/login").text
    for name in ("ada", "guest"):
        accounts.remove_user(sqlfile, name)
    assert f"pipeutils -a USER -l 2 {sqlfile}" in site.browser().get("/login").text
    site.registry.tracked.clear()
    assert "pipeweb track NAME SQLFILE" in site.browser().get("/login").text


def test_a_pipeline_that_has_gone_missing_is_told_of_at_this_machine_only(tmp_path: Path) -> None:
    paths = {name: pipeline(tmp_path, name) for name in ("cmb", "dust")}
    sites = site_of(**paths), site_of(Settings(host="0.0.0.0"), **paths)
    (tmp_path / "dust" / ".sqlstatus").unlink()
    for site, told in zip(sites, (True, False), strict=True):
        for page in (site.browser().get("/login").text, site.browser("ada").get("/").text):
            assert ("be shown now: there is no status database" in page) == told
            assert ("pipeweb untrack dust" in page) == told
            assert told or "dust" not in page


@pytest.mark.parametrize("settings", [Settings(host="0.0.0.0"), Settings(proxy=("127.0.0.1",))])
def test_visitors_from_elsewhere_are_not_told_of_files(tmp_path: Path, settings: Settings) -> None:
    site = site_of(settings, cmb=pipeline(tmp_path, "cmb"))
    for name in ("ada", "guest"):
        accounts.remove_user(tmp_path / "cmb" / ".sqlstatus", name)
    page = site.browser().get("/login").text
    assert "pipeutils -a USER -l 2 SQLFILE" in page
    assert str(tmp_path) not in page
    assert "cmb" not in page


# --- guessing ---------------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_guesses_get_slower_and_the_page_says_how_long(prefix: Path) -> None:
    site, clock = site_of(knights=prefix), Clock()
    gate = site.services.gate
    gate._throttle = Throttle(clock)
    visitor = site.browser()
    answers = [form(visitor, password=f"guess {number}") for number in range(5)]
    assert [answer.status for answer in answers] == [403] * 4 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    assert "wait a second" in answers[-1].text
    # the right password has to wait as well, but not for good
    assert form(visitor).status == 429
    clock.now += 1
    assert form(visitor, password="guess").status == 403
    late = form(visitor)
    assert (late.status, late.headers["retry-after"]) == (429, "2")
    assert "wait 2 seconds" in late.text
    # from elsewhere it works at once
    token = re.findall(r'name="token" value="([^"]*)"', site.browser().get("/login").text)
    assert token
    gate.log_in("ada", PASSWORD, "192.0.2.1")
    clock.now += 2
    assert form(visitor).status == 303


def test_unknown_names_are_slowed_down_in_the_same_way(prefix: Path) -> None:
    site = site_of(knights=prefix)
    site.services.gate._throttle = Throttle(Clock())
    assert [form(site.browser(), "nobody", "wrong").status for _ in range(5)] == [403] * 4 + [429]


def test_only_so_many_passwords_are_checked_at_once(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 64 MB; and those who wait must leave threads for the others."""
    site = site_of(knights=prefix)
    gate, go = site.services.gate, threading.Event()
    busy, most, lock = [0], [0], threading.Lock()

    def slow(stored: str, password: str) -> bool:
        with lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        go.wait(60)
        with lock:
            busy[0] -= 1
        return False

    monkeypatch.setattr(gate_module, "verify", slow)
    refused: list[float] = []
    ended: list[object] = []

    def attempt(number: int) -> None:
        try:
            gate.log_in("ada", "x", f"10.0.{number}.1")
        except TooSoon as error:
            refused.append(error.seconds)
        except Exception as error:
            ended.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    while len(refused) < 12 - gate_module.AT_ONCE - gate_module.IN_LINE:
        assert any(thread.is_alive() for thread in threads)
    go.set()
    for thread in threads:
        thread.join()
    assert most[0] == gate_module.AT_ONCE
    assert len(ended) == gate_module.AT_ONCE + gate_module.IN_LINE
    assert all(isinstance(error, gate_module.Denied) for error in ended)


def test_the_log_names_no_unknown_user(prefix: Path, caplog: pytest.LogCaptureFixture) -> None:
    """People type their password where the name belongs."""
    site = site_of(knights=prefix)
    with caplog.at_level("INFO", "pipelet.web"):
        form(site.browser(), name="my secret password", password="x")
        form(site.browser())
    assert "refused" in caplog.text
    assert "ada logged in" in caplog.text
    assert "my secret" not in caplog.text
    assert PASSWORD not in caplog.text


def test_level_asks_only_where_something_was_open(prefix: Path) -> None:
    site = site_of(knights=prefix)
    gate = Gate(site.services.settings, site.registry, Sessions(), Throttle())
    session, _ = gate.log_in("ada", PASSWORD, "a")
    (tracked,) = site.registry.load()
    assert gate.level(None, tracked) == 0
    assert gate.level(session, tracked._replace(name="other")) == 0
    assert gate.granted(None) == []
    assert gate.granted(session) == [(tracked, "ada", 2)]
    Path(tracked.sqlfile).unlink()
    with pytest.raises(DatabaseError):
        gate.level(session, tracked)
    assert gate.granted(session) == [(tracked, "ada", 2)]
