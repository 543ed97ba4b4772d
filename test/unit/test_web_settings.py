"""What the server is told, and what it makes of requests before the pages see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelet.errors import WebError
from pipelet.web.handlers.access import own_address
from pipelet.web.outside import Outside
from pipelet.web.server import warnings_of
from pipelet.web.settings import Settings, checked, checked_base_path, config_directory, state_directory


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", ""), ("/", ""), ("x", "/x"), ("/user/ada/", "/user/ada"), ("//a//b", "/a/b"), ("a@b/~c", "/a@b/~c")],
)
def test_base_paths(given: str, expected: str) -> None:
    assert checked_base_path(given) == expected


@pytest.mark.parametrize("given", ["/a b", "/../x", "/a/./b", "/é", "/<x>", "/a?b", "/p", "p/x", "/login", "/static/a"])
def test_base_paths_that_are_refused(given: str) -> None:
    with pytest.raises(WebError, match="--base-path"):
        checked_base_path(given)


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_are_refused(port: int) -> None:
    with pytest.raises(WebError, match=f"no port {port}"):
        checked(Settings(port=port))


def test_tls_needs_certificate_and_key(tmp_path: Path) -> None:
    for settings in (Settings(cert="/a"), Settings(key="/a"), Settings(cert="/a", key="")):
        with pytest.raises(WebError, match="needs both"):
            checked(settings)
    with pytest.raises(WebError, match="--cert /nowhere can't be read"):
        checked(Settings(cert="/nowhere", key="/nowhere"))
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(WebError, match="must be PEM files"):
        checked(Settings(cert=str(tmp_path / "text"), key=str(tmp_path / "text")))


def test_a_proxy_is_an_address() -> None:
    with pytest.raises(WebError, match="--proxy takes the address"):
        checked(Settings(proxy=("proxy.example",)))
    assert checked(Settings(proxy=("10.0.0.7", "::1"))).proxy == ("10.0.0.7", "::1")


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://localhost:8080/"), ("::1", "http://[::1]:8080/"), ("10.0.0.7", "http://10.0.0.7:8080/")],
)
def test_the_address_for_the_browser(host: str, url: str) -> None:
    assert Settings(host=host).url() == url
    assert Settings(host=host, cert="c", key="k", base_path="/a").url(9) == url.replace("http:", "https:").replace(
        "8080/", "9/a/"
    )


@pytest.mark.parametrize(("host", "safe"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
                                            ("::", False), ("10.0.0.7", False), ("node7", False)])
def test_another_address_without_tls_warns(host: str, safe: bool) -> None:
    assert (warnings_of(Settings(host=host)) == []) == safe
    assert warnings_of(Settings(host=host, cert="c", key="k")) == []


def test_settings_go_to_another_process_and_back() -> None:
    settings = Settings("::1", 1, "c", "k", "/b", ("10.0.0.7",), "/config", "/state")
    assert Settings.from_json(settings.to_json()) == settings


def test_where_the_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIPELET_CONFIG_DIR", "PIPELET_STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    assert (config_directory(), state_directory()) == ("/home/ada/.config/pipelet", "/home/ada/.local/state/pipelet")
    monkeypatch.setenv("XDG_CONFIG_HOME", "relative")
    assert config_directory() == "/home/ada/.config/pipelet"
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg/c")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg/s")
    assert (config_directory(), state_directory()) == ("/xdg/c/pipelet", "/xdg/s/pipelet")
    monkeypatch.setenv("PIPELET_CONFIG_DIR", "/own/c")
    monkeypatch.setenv("PIPELET_STATE_DIR", "~/s")
    assert (config_directory(), state_directory()) == ("/own/c", "/home/ada/s")


def test_each_server_has_a_cookie_of_its_own() -> None:
    names = {Settings(port=port, state=state).cookie for port in (1, 2) for state in ("/a", "/b")}
    assert len(names) == 4
    secure = Settings(cert="c", key="k")
    assert secure.cookie.startswith("__Host-pipelet-")
    assert Settings(cert="c", key="k", base_path="/x").cookie.startswith("__Secure-pipelet-")


# --- where somebody is sent after the log-in --------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/", "/p/cmb/", "/p/cmb/products/abc?status=failed&page=2", "/p/cmb/task/7",
                                     "/p/cmb/file/7/do/a.txt", "/p/a/code/x%20y"])
def test_addresses_of_ours(address: str) -> None:
    assert own_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "", "p/cmb", "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example",
        "https:evil.example", "javascript:alert(1)", " /p", "/\t/evil.example", "/\n/evil.example",
        "/p\r\nSet-Cookie: a",
        "/login", "/login?next=/", "/logout", "/p/cmb/do/delete", "/p/caf\u00e9", "/x" * 1001, "@evil.example",
    ],
)
def test_addresses_that_are_not_gone_to(address: str) -> None:
    assert own_address(address) == ""


# --- before the pages -------------------------------------------------------------------------------------------------


def asked(settings: Settings, location: str = "", **environ: str) -> tuple[str, dict[str, Any], dict[str, str]]:
    """The status of an answer, what the pages were told, and the head of the answer."""
    seen: dict[str, Any] = {}
    got: list[Any] = []

    def pages(told: dict[str, Any], start: Any) -> list[bytes]:
        seen.update(told)
        start("303 See Other" if location else "200 OK", [("Location", location)] if location else [])
        return []

    usual = {"HTTP_HOST": "localhost:8080", "REMOTE_ADDR": "127.0.0.1", "PATH_INFO": "/", "wsgi.url_scheme": "http"}
    Outside(pages, settings)({**usual, **environ}, lambda status, headers, *rest: got.append((status, headers)))
    return got[0][0], seen, dict(got[0][1])


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST:9", "127.0.0.1:1", "[::1]:8080", ""])
def test_names_that_lead_here(host: str) -> None:
    assert asked(Settings(), HTTP_HOST=host)[0] == "200 OK"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "localhost@evil.example", "127.0.0.1.x", "a b"],
)
def test_another_name_that_leads_here_is_refused(host: str) -> None:
    status, seen, _ = asked(Settings(), HTTP_HOST=host)
    assert status == "421 Misdirected Request"
    assert seen == {}


@pytest.mark.parametrize(
    "settings", [Settings(host="0.0.0.0"), Settings(proxy=("127.0.0.1",)), Settings(base_path="/x")]
)
def test_where_others_may_come_from_each_name_will_do(settings: Settings) -> None:
    assert asked(settings, HTTP_HOST="data.lab.example")[0] == "200 OK"
    assert asked(settings, HTTP_HOST='"><script>')[0] == "421 Misdirected Request"


FORWARDED = {"HTTP_X_FORWARDED_FOR": "1.1.1.1, 10.1.2.3", "HTTP_X_FORWARDED_PROTO": "https",
             "HTTP_X_FORWARDED_HOST": "evil.example"}


def test_nobody_is_believed_unless_told() -> None:
    for settings, address in ((Settings(), "127.0.0.1"), (Settings(proxy=("10.0.0.7",)), "127.0.0.1")):
        _, seen, _ = asked(settings, REMOTE_ADDR=address, **FORWARDED)
        assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("127.0.0.1", "http")
        assert not [name for name in seen if "FORWARDED" in name]


def test_a_proxy_is_believed_in_what_it_added_itself() -> None:
    _, seen, _ = asked(Settings(proxy=("127.0.0.1",)), **FORWARDED)
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"]) == ("10.1.2.3", "https")
    assert not [name for name in seen if "FORWARDED" in name]


@pytest.mark.parametrize(
    ("path", "inner"), [("/a/b", "/"), ("/a/b/", "/"), ("/a/b/p/x", "/p/x"), ("/p/x", "/p/x"), ("/a/bc", "/a/bc")]
)
def test_the_base_path_may_be_taken_away_by_the_proxy_or_not(path: str, inner: str) -> None:
    _, seen, _ = asked(Settings(base_path="/a/b"), PATH_INFO=path)
    assert (seen["SCRIPT_NAME"] + seen["PATH_INFO"]).rstrip("/") == ("/a/b" + inner).rstrip("/")


@pytest.mark.parametrize(
    ("location", "sent"),
    [("http://evil.example/login", "/login"), ("/p/x?a=b", "/p/x?a=b"), ("http://h//evil.example/", "/evil.example/")],
)
def test_nobody_is_sent_to_another_host(location: str, sent: str) -> None:
    assert asked(Settings(host="0.0.0.0"), location, HTTP_HOST="evil.example")[2]["Location"] == sent
