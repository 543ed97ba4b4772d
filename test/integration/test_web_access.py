"""The server of the web pages as a process of its own, over real sockets."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import PATIENCE, REPOSITORY, alive, until
from webserver import Home, certificate, home_of

from pipelet.accounts import add_user
from pipelet.statusdb import Writer
from pipelet.web import http as http_module
from pipelet.web.http import THREADS, HTTPServer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with home_of(tmp_path) as found:
        yield found


def tracked(home: Home) -> Path:
    """A database that is tracked as ``cmb``, with the user ada."""
    prefix = home.root / "data"
    prefix.mkdir()
    sqlfile = prefix / ".sqlstatus"
    Writer.open(sqlfile).close()
    add_user(sqlfile, "ada", 2, "lovelace")
    assert home.typed("track", "cmb", sqlfile).returncode == 0
    return sqlfile


# --- over plain HTTP, TLS and proxies ---------------------------------------------------------------------------------


def test_a_log_in_over_a_socket(home: Home) -> None:
    tracked(home)
    assert home.start().returncode == 0
    status, head = home.log_in("ada", "lovelace")
    assert (status, head["location"]) == (303, "/")
    cookie = head["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Secure" not in cookie
    status, head, page = home.get("/", Cookie=cookie.split(";")[0])
    assert status == 200
    assert 'href="/p/cmb/"' in page
    assert head["server"] == "Pipelet"
    assert "ada logged in from 127.0.0.1 (user " in home.log
    # what is tracked while it runs is shown at once
    home.typed("track", "sky", home.root / "data" / ".sqlstatus")
    home.typed("untrack", "cmb")
    assert home.get("/", Cookie=cookie.split(";")[0])[0] == 303
    assert home.log_in("ada", "lovelace")[0] == 303


def test_tls(home: Home) -> None:
    tracked(home)
    cert, key = certificate(home.root)
    started = home.start("--cert", cert, "--key", key)
    assert started.returncode == 0, started.stderr
    assert f"https://localhost:{home.port}/" in started.stdout
    status, head = home.log_in("ada", "lovelace", tls=True)
    assert status == 303
    assert head["set-cookie"].startswith("__Host-pipelet-")
    assert "Secure" in head["set-cookie"]
    # who forgets the s is told
    with socket.create_connection(("127.0.0.1", home.port), timeout=PATIENCE) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        said = plain.makefile("rb").read()
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in said
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", home.port)) as plain, old.wrap_socket(plain) as secure:
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
    assert "Traceback" not in home.log


def test_clients_that_say_nothing_keep_nobody_waiting(home: Home) -> None:
    """Neither before the first byte, nor in the middle of a handshake."""
    cert, key = certificate(home.root)
    assert home.start("--cert", cert, "--key", key).returncode == 0
    with contextlib.ExitStack() as open_ones:
        for _ in range(3 * THREADS):
            open_ones.enter_context(socket.create_connection(("127.0.0.1", home.port)))
        began = time.monotonic()
        assert home.get(tls=True)[0] == 200
        assert time.monotonic() - began < 2 * http_module.SILENCE


def test_behind_a_proxy_that_takes_the_base_path_away_or_leaves_it(home: Home) -> None:
    tracked(home)
    base = "/user/ada/proxy/8080"
    started = home.start("--base-path", base + "/", "--proxy")
    assert f"http://localhost:{home.port}{base}/" in started.stdout
    forwarded = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https", "Host": "hub.example"}
    for given in (base, ""):
        status, head, page = home.get(f"{given}/login", **forwarded)
        assert status == 200
        assert f'action="{base}/login"' in page
        assert f'href="{base}/static/style.css' in page
        assert home.get(f"{given}/static/style.css", **forwarded)[0] == 200
        status, head = home.log_in("ada", "lovelace", given, **forwarded)
        assert (status, head["location"]) == (303, f"{base}/")
        assert f"Path={base};" in head["set-cookie"]
        assert "Secure" in head["set-cookie"]
        status, head, page = home.get(f"{given}/", Cookie=head["set-cookie"].split(";")[0], **forwarded)
        assert f'href="{base}/p/cmb/"' in page
        assert home.get(f"{given}/", **forwarded)[1]["location"] == f"{base}/login"
    assert "ada logged in from 192.0.2.7: cmb" in home.log
    # a proxy passes on what only looks like its own header
    home.log_in("ada", "lovelace", X_Forwarded_For="192.0.2.8")
    assert "192.0.2.8" not in home.log
    assert "ada logged in from 127.0.0.1" in home.log


def test_nobody_says_for_others_where_they_come_from(home: Home) -> None:
    tracked(home)
    home.start()
    spoofed = {"X-Forwarded-For": "192.0.2.7", "X_Forwarded_For": "192.0.2.8", "X-Forwarded-Proto": "https"}
    _, head = home.log_in("ada", "lovelace", **spoofed)
    assert "Secure" not in head["set-cookie"]
    assert "192.0.2." not in home.log


def test_a_name_of_somebody_else_that_leads_here(home: Home) -> None:
    home.start()
    status, _, page = home.get("/login", Host="evil.example")
    assert status == 421
    assert "localhost" in page
    assert "password" not in page


def test_another_address_warns_and_redirects_stay_relative(home: Home) -> None:
    started = home.start("--host", "0.0.0.0")
    assert started.returncode == 0
    assert "warning: it listens at 0.0.0.0 without TLS" in started.stderr
    assert home.get("/", Host="evil.example")[1]["location"] == "/login"


# --- requests that are out of order -----------------------------------------------------------------------------------


def said(home: Home, *pieces: bytes) -> bytes:
    """What the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", home.port), timeout=PATIENCE) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                answer += piece
        return answer


def test_requests_that_are_out_of_order_harm_nobody(home: Home) -> None:
    home.start()
    for request in (
        b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /%00%ff%2e%2e/ HTTP/1.1\r\nHost: localhost\r\nCookie: \xff=\xff; a\r\n\r\n",
    ):
        answer = said(home, request)
        assert not answer.startswith(b"HTTP/1.1 2"), request
        assert b"Traceback" not in answer
    long = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * (http_module.HEAD_BYTES + 10) + b"\r\n\r\n"
    assert b" 413 " in said(home, long).split(b"\r\n")[0]
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
    assert b" 413 " in said(home, head).split(b"\r\n")[0]
    assert home.get()[0] == 200


def test_a_client_that_drips_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then is no silence, and still holds a thread."""
    monkeypatch.setattr(http_module, "HEAD_TIME", 0.5)
    server = HTTPServer(("127.0.0.1", 0), lambda environ, start: [])
    with server._run_in_thread(), socket.create_connection(server.bind_addr, timeout=PATIENCE) as slow:
        began = time.monotonic()
        slow.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(OSError):
            while time.monotonic() - began < PATIENCE:
                slow.sendall(b"X: y\r\n")
                slow.settimeout(0.1)
                with contextlib.suppress(TimeoutError):
                    if not slow.recv(4096):
                        break
        assert time.monotonic() - began < PATIENCE


# --- the process ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_two_seconds_whatever_is_open(home: Home, signum: signal.Signals) -> None:
    home.start()
    pid = home.pid
    with socket.create_connection(("127.0.0.1", home.port)) as idle, socket.create_connection(
        ("127.0.0.1", home.port)
    ) as busy:
        idle.sendall(b"GET /login HTTP/1.1\r\nHost: localhost\r\n\r\n")
        idle.recv(10)
        busy.sendall(b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nname=")
        began = time.monotonic()
        os.kill(pid, signum)
        until(lambda: not alive([pid]), "the end of the server")
        # two seconds, and what a busy machine adds
        assert time.monotonic() - began < 15
    assert not list(home.state.glob("*.json"))
    assert "Traceback" not in home.log
    assert "ignored" not in home.log


HANGS = """
import sys, threading
from pipelet.web.server import serve
from pipelet.web.settings import Settings

def hangs(environ, start):
    start("200 OK", [])
    yield b"begun"
    threading.Event().wait()

serve(Settings(port=int(sys.argv[1])), lambda: hangs, lambda note: print("ready", flush=True))
"""


def test_a_page_that_hangs_does_not_hold_up_the_end(home: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANGS, str(home.port)], env=home.environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    with socket.create_connection(("127.0.0.1", home.port), timeout=PATIENCE) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(10)
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "ended with requests under way" in home.log
    assert not list(home.state.glob("*.json"))


def test_the_server_has_nothing_of_the_terminal_that_started_it(home: Home) -> None:
    home.start()
    assert os.getsid(home.pid) == home.pid
    assert os.readlink(f"/proc/{home.pid}/cwd") == "/"
    assert os.readlink(f"/proc/{home.pid}/fd/0") == "/dev/null"
    for descriptor in (1, 2):
        assert os.readlink(f"/proc/{home.pid}/fd/{descriptor}").endswith(".log")


def test_files_are_for_the_owner_alone(home: Home) -> None:
    home.start()
    assert home.state.stat().st_mode & 0o777 == 0o700
    for path in home.state.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_stays_in_the_foreground_and_ends_with_ctrl_c(home: Home) -> None:
    process = subprocess.Popen(
        home.command("start", "--foreground", "--port", home.port), env=home.environment, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )
    assert process.stdout is not None
    assert f"http://localhost:{home.port}/" in process.stdout.readline()
    assert home.get()[0] == 200
    assert home.typed("status").returncode == 0
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert home.typed("status").returncode == 1


def test_a_script_beside_the_pipeline_does_not_take_the_place_of_a_module(home: Home) -> None:
    """Segments may be called random.py or http.py; the server is started where they are."""
    for name in ("http", "random", "json", "cherrypy", "pipelet"):
        (home.root / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    environment = {name: value for name, value in home.environment.items() if name != "PYTHONPATH"}
    script = (
        f"import sys; sys.path[0] = {str(REPOSITORY)!r}; from pipelet.cli.pipeweb import main;"
        " sys.exit(main(sys.argv[1:]))"
    )
    started = subprocess.run(
        [sys.executable, "-c", script, "start", "--port", str(home.port)], cwd=home.root, env=environment,
        capture_output=True, text=True, check=False,
    )
    assert started.returncode == 0, started.stderr
    assert home.get()[0] == 200
