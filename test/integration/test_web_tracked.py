"""The list of tracked pipelines."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from support import ENVIRONMENT

from pipelet.errors import DatabaseError, ForeignDatabaseError, MissingDatabaseError, WebError
from pipelet.statusdb import Writer
from pipelet.web.tracked import Registry, Tracked


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(str(tmp_path / "config" / "pipelet"))


def database(directory: Path) -> str:
    """A database with nothing in it."""
    directory.mkdir(exist_ok=True)
    path = directory / ".sqlstatus"
    Writer.open(path).close()
    return str(path)


def test_nothing_is_tracked_at_first_and_nothing_is_made_by_looking(registry: Registry) -> None:
    assert registry.load() == []
    assert not os.path.exists(os.path.dirname(registry.file))


def test_the_life_of_an_entry(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sky, cmb = database(tmp_path / "sky"), database(tmp_path / "cmb")
    monkeypatch.chdir(tmp_path / "sky")
    assert registry.track("sky", ".sqlstatus") == Tracked("sky", sky, str(tmp_path / "sky"))
    registry.track("cmb", cmb, prefix="../cmb")
    expected = [Tracked("cmb", cmb, str(tmp_path / "cmb")), Tracked("sky", sky, str(tmp_path / "sky"))]
    assert registry.load() == expected
    assert Registry(os.path.dirname(registry.file)).load() == expected
    assert registry.untrack("cmb").sqlfile == cmb
    assert registry.load() == expected[1:]
    assert os.path.exists(cmb)


def test_only_the_owner_may_read_the_list(registry: Registry, tmp_path: Path) -> None:
    registry.track("sky", database(tmp_path / "sky"))
    assert os.stat(registry.file).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(registry.file)).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a b", "a/b", "é", "a\n", "x" * 65, "a\0", "a?b", "<b>"])
def test_names_that_are_refused(registry: Registry, tmp_path: Path, name: str) -> None:
    with pytest.raises(WebError, match="can't be the name of a pipeline"):
        registry.track(name, database(tmp_path / "sky"))
    assert registry.load() == []


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "9", "x" * 64, "_", "-"])
def test_names_that_are_allowed(registry: Registry, tmp_path: Path, name: str) -> None:
    registry.track(name, database(tmp_path / "sky"))
    assert [tracked.name for tracked in registry.load()] == [name]


def test_a_name_that_is_taken(registry: Registry, tmp_path: Path) -> None:
    sky, cmb = database(tmp_path / "sky"), database(tmp_path / "cmb")
    registry.track("x", sky)
    with pytest.raises(WebError, match=r"x is the name of .*sky/.sqlstatus already: .*`pipeweb untrack x`"):
        registry.track("x", cmb)
    # the same file again is fine, also through a link, and may get another prefix
    (tmp_path / "link").symlink_to(tmp_path / "sky")
    registry.track("x", str(tmp_path / "link" / ".sqlstatus"), prefix=str(tmp_path / "cmb"))
    assert [tracked.prefix for tracked in registry.load()] == [str(tmp_path / "cmb")]
    # one file may have two names
    registry.track("y", sky)
    assert len(registry.load()) == 2


def test_what_is_no_database_of_ours_is_not_stored(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database\n" * 100)
    with closing(sqlite3.connect(tmp_path / "old")) as connection:
        connection.execute("CREATE TABLE segments (a)")
        connection.execute("CREATE TABLE tasks (a)")
    (tmp_path / "empty").touch()
    for name, kind, words in (
        ("missing", MissingDatabaseError, "there is no status database"),
        ("empty", MissingDatabaseError, "there is no status database"),
        ("text", ForeignDatabaseError, "no SQLite database"),
        ("old", ForeignDatabaseError, "Pipelet 1"),
        (".", DatabaseError, "is a directory"),
    ):
        with pytest.raises(kind, match=words):
            registry.track("x", str(tmp_path / name))
    with pytest.raises(WebError, match=r"there is no directory .*nowhere, the prefix"):
        registry.track("x", database(tmp_path / "sky"), prefix=str(tmp_path / "nowhere"))
    assert registry.load() == []


def test_an_unknown_name_lists_the_known_ones(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(WebError, match="no tracked pipeline 'sky'; none is tracked"):
        registry.untrack("sky")
    for name in ("b", "a"):
        registry.track(name, database(tmp_path / name))
    with pytest.raises(WebError, match="no tracked pipeline 'sky'; tracked: a, b"):
        registry.untrack("sky")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"format": 1}', b'{"format": 1, "pipelines": 3}',
        b'{"format": 1, "pipelines": [{"name": "x"}]}',
        b'{"format": 1, "pipelines": [{"name": "../x", "sqlfile": "/a", "prefix": "/b"}]}',
        b'{"format": 1, "pipelines": [{"name": "x", "sqlfile": "a", "prefix": "/b"}]}',
        b'{"format": 1, "pipelines": [{"name": 3, "sqlfile": "/a", "prefix": "/b"}]}',
    ],
)
def test_a_damaged_list_is_told_and_left_as_it_is(registry: Registry, tmp_path: Path, content: bytes) -> None:
    os.makedirs(os.path.dirname(registry.file))
    Path(registry.file).write_bytes(content)
    sky = database(tmp_path / "sky")
    for action in (registry.load, lambda: registry.track("x", sky), lambda: registry.untrack("x")):
        with pytest.raises(WebError, match=r"pipelines\.json is damaged\. It is left as it is"):
            action()
    assert Path(registry.file).read_bytes() == content


def test_a_list_of_a_newer_version(registry: Registry) -> None:
    os.makedirs(os.path.dirname(registry.file))
    Path(registry.file).write_text('{"format": 2, "pipelines": "elsewhere"}')
    with pytest.raises(WebError, match="written by a newer version"):
        registry.load()


def test_a_path_that_is_no_text(registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    sky = database(folder)
    registry.track("x", sky)
    assert registry.load() == [Tracked("x", sky, str(folder))]
    json.loads(Path(registry.file).read_text("ascii"))


TRACKS = "import sys; from pipelet.web.tracked import Registry; Registry(sys.argv[1]).track(sys.argv[2], sys.argv[3])"


def test_two_commands_at_once_lose_nothing(registry: Registry, tmp_path: Path) -> None:
    sky, directory = database(tmp_path / "sky"), os.path.dirname(registry.file)
    names = [f"n{number}" for number in range(12)]
    started = [
        subprocess.Popen([sys.executable, "-c", TRACKS, directory, name, sky], env=ENVIRONMENT) for name in names
    ]
    assert [process.wait() for process in started] == [0] * len(names)
    assert [tracked.name for tracked in registry.load()] == sorted(names)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    sky = database(tmp_path / "sky")
    with pytest.raises(WebError, match="should be a directory, and is a file"):
        Registry(str(tmp_path / "file")).track("x", sky)
    with pytest.raises(WebError, match="can't make the directory"):
        Registry(str(tmp_path / "file" / "below")).track("x", sky)
