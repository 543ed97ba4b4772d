"""``pipeweb`` as a person types it: exit statuses and words."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from support import PATIENCE, alive, until
from webserver import Home, certificate, home_of

from pipelet.accounts import add_user
from pipelet.statusdb import Writer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    with home_of(tmp_path) as found:
        yield found


def database(home: Home, name: str = "data") -> Path:
    """A database with nothing in it."""
    (home.root / name).mkdir()
    Writer.open(home.root / name / ".sqlstatus").close()
    return home.root / name / ".sqlstatus"


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One message on the standard error output, in words, and status 1."""
    assert result.returncode == 1, result.stdout
    assert result.stderr.startswith("pipeweb: error: ")
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


# --- track and untrack ------------------------------------------------------------------------------------------------


def test_track_and_untrack(home: Home) -> None:
    sqlfile = database(home)
    tracked = home.typed("track", "cmb", "data/.sqlstatus")
    assert (tracked.returncode, tracked.stderr) == (0, "")
    assert f"cmb shows {sqlfile}\n" in tracked.stdout
    # what one types next
    assert f"pipeutils -a USER -l 2 {sqlfile}" in tracked.stdout
    add_user(sqlfile, "ada", 1, "x")
    assert home.typed("track", "cmb", sqlfile).stdout == f"cmb shows {sqlfile}\n"
    refused(home.typed("track", "cmb", database(home, "other")), f"cmb is the name of {sqlfile}", "pipeweb untrack cmb")
    refused(home.typed("untrack", "sky"), "no tracked pipeline 'sky'", "tracked: cmb")
    gone = home.typed("untrack", "cmb")
    assert (gone.returncode, gone.stderr) == (0, "")
    assert "cmb is no longer shown" in gone.stdout
    assert sqlfile.exists()


def test_a_prefix_elsewhere(home: Home) -> None:
    database(home)
    refused(home.typed("track", "cmb", "data/.sqlstatus", "--prefix", "nowhere"), "there is no directory")
    (home.root / "tree").mkdir()
    assert home.typed("track", "cmb", "data/.sqlstatus", "--prefix", "tree").returncode == 0
    assert str(home.root / "tree") in (home.config / "pipelines.json").read_text()


def test_what_can_not_be_tracked(home: Home) -> None:
    refused(home.typed("track", "cmb", "missing"), "there is no status database", "run the pipeline first")
    (home.root / "text").write_text("no database")
    refused(home.typed("track", "cmb", "text"), "no SQLite database")
    refused(home.typed("track", "../cmb", database(home)), "can't be the name of a pipeline")
    assert not (home.config / "pipelines.json").exists()


@pytest.mark.parametrize(("word", "missing"), [("test", "SQLFILE"), ("./.sqlstatus", "NAME"), ("data", "NAME")])
def test_with_one_word_one_is_told_which_is_missing(home: Home, word: str, missing: str) -> None:
    database(home)
    result = home.typed("track", word)
    assert result.returncode == 2
    assert f"the {missing} is missing" in result.stderr
    assert "pipeweb track test ./.sqlstatus" in result.stderr


# --- start, status, stop ----------------------------------------------------------------------------------------------


def test_the_life_of_a_server(home: Home) -> None:
    sqlfile = database(home)
    home.typed("track", "cmb", sqlfile)
    before = home.typed("status")
    assert before.returncode == 1
    assert "No server of yours runs" in before.stdout
    started = home.start()
    assert (started.returncode, started.stderr) == (0, "")
    assert f"http://localhost:{home.port}/" in started.stdout
    assert "cmb: nobody has an account" in started.stdout
    # when it returns, the page answers
    assert home.get()[0] == 200
    shown = home.typed("status")
    assert shown.returncode == 0
    for word in (f"http://localhost:{home.port}/", f"process {home.pid}, since 20", "pipeweb-", "cmb", "no account"):
        assert word in shown.stdout
    add_user(sqlfile, "ada", 1, "x")
    assert "1 account\n" in home.typed("status").stdout
    sqlfile.unlink()
    assert "there is no status database" in home.typed("status").stdout
    pid = home.pid
    stopped = home.typed("stop")
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert stopped.stdout == f"Stopped http://localhost:{home.port}/ (process {pid})\n"
    assert not alive([pid])
    again = home.typed("stop")
    assert (again.returncode, again.stdout) == (0, "No server of yours runs on this machine.\n")


def test_a_second_start_says_where_it_runs(home: Home) -> None:
    home.start()
    where = f"http://localhost:{home.port}/ (process {home.pid})"
    same = home.typed("start")
    assert (same.returncode, same.stdout) == (0, f"Pipelet runs already at {where}\n")
    refused(home.typed("start", "--port", home.port + 1), where, "pipeweb stop")
    refused(home.typed("start", "--foreground"), where)
    assert home.get()[0] == 200


def test_of_many_starts_at_once_one_serves(home: Home) -> None:
    started = [
        subprocess.Popen(
            home.command("start", "--port", port), env=home.environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )
        for port in (home.port, home.port, 0, 0)
    ]
    ended = [(process.communicate(timeout=PATIENCE), process.returncode) for process in started]
    pids = {pid for (out, _), _ in ended for pid in re.findall(r"process (\d+)", out)}
    assert pids == {str(home.pid)}
    for (out, err), status in ended:
        assert "http://localhost:" in out if status == 0 else "error: " in err
        assert "Traceback" not in err
    assert home.typed("status").returncode == 0


def test_a_port_in_use(home: Home) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", home.port))
        other.listen()
        result = home.start()
        refused(result, f"port {home.port} is in use", f"process {os.getpid()}")
    proposed = re.search(r"pipeweb start --port (\d+)", result.stderr)
    assert proposed
    assert home.typed("start", "--port", proposed[1]).returncode == 0


def test_a_server_that_was_killed(home: Home) -> None:
    home.start()
    first = home.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive([first]), "the end of the server")
    assert home.typed("status").returncode == 1
    assert "No server of yours runs" in home.typed("stop").stdout
    started = home.start()
    assert (started.returncode, started.stderr) == (0, "")
    assert home.pid != first


def test_a_note_of_another_process_is_not_believed(home: Home) -> None:
    """After a restart of the machine the number may be anybody's."""
    home.start()
    first = home.pid
    (note,) = home.state.glob("*.json")
    text = note.read_text()
    os.kill(first, signal.SIGKILL)
    until(lambda: not alive([first]), "the end of the server")
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        note.write_text(text.replace(str(first), str(bystander.pid)))
        assert home.typed("status").returncode == 1
        note.write_text(text.replace(str(first), str(bystander.pid)))
        assert "No server" in home.typed("stop").stdout
        note.write_text(text.replace(str(first), str(bystander.pid)))
        assert home.start().returncode == 0
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "settings": {}}'])
def test_a_note_that_can_not_be_read_is_no_trouble(home: Home, text: str) -> None:
    home.start()
    home.typed("stop")
    (lock,) = home.state.glob("*.lock")
    lock.with_suffix(".json").write_text(text)
    assert home.typed("status").returncode == 1
    assert home.typed("stop").returncode == 0
    assert home.start().returncode == 0


def test_a_server_that_does_not_end_is_killed(home: Home) -> None:
    home.start()
    pid = home.pid
    os.kill(pid, signal.SIGSTOP)
    stopped = home.typed("stop")
    assert stopped.returncode == 0
    assert "does not end by itself; it is killed" in stopped.stdout
    assert not alive([pid])


def test_a_start_that_dies_shows_the_end_of_its_log(home: Home) -> None:
    (home.root / "broken").mkdir()
    (home.root / "broken" / "cherrypy.py").write_text("raise RuntimeError('this is not cherrypy')\n")
    home.environment["PYTHONPATH"] = f"{home.root / 'broken'}{os.pathsep}{home.environment['PYTHONPATH']}"
    refused(home.start(), "the server did not start", "The end of its log", "this is not cherrypy")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--port", "99999"], "no port 99999"),
        (["--cert", "a.pem"], "needs both"),
        (["--cert", "a.pem", "--key", "a.key"], "a.pem can't be read"),
        (["--base-path", "/a b"], "--base-path"),
        (["--proxy", "nobody"], "--proxy takes the address"),
        (["--host", "192.0.2.1"], "this machine has no address 192.0.2.1"),
        (["--host", "nowhere.invalid"], "this machine has no address nowhere.invalid"),
    ],
)
def test_options_that_can_not_be_meant(home: Home, words: list[str], told: str) -> None:
    result = home.typed("start", "--port", home.port, *words)
    assert result.returncode == 1
    assert told in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_a_key_that_belongs_to_another_certificate(home: Home) -> None:
    cert, _ = certificate(home.root)
    _, other = certificate(home.root, "other")
    refused(home.start("--cert", cert, "--key", other), f"the key {other} does not belong to the certificate {cert}")
    locked = home.root / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", other, "-aes256", "-passout", "pass:x", "-out", locked],
        check=True, capture_output=True,
    )
    refused(home.start("--cert", cert, "--key", locked), "locked with a password")


def test_a_damaged_list_is_told_and_does_not_keep_the_server_from_running(home: Home) -> None:
    home.config.mkdir()
    (home.config / "pipelines.json").write_text("{")
    for words in (("status",), ("untrack", "cmb"), ("track", "cmb", database(home))):
        refused(home.typed(*words), "pipelines.json is damaged")
    assert (home.config / "pipelines.json").read_text() == "{"
    started = home.start()
    assert started.returncode == 0
    assert "warning: the list of pipelines" in started.stderr
    status, _, page = home.get()
    assert status == 503
    assert "The list of the tracked pipelines can't be read" in unescape(page)
    assert "is damaged" in home.log
    assert home.log.count("Traceback") == 0


def test_a_state_directory_that_can_not_be_written(home: Home) -> None:
    home.state.write_text("")
    refused(home.start(), "should be a directory, and is a file")
