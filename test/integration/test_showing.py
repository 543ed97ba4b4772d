"""The files of a task for those who look on: listed and opened, and never anybody else's."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pipelet.storage.showing as module
from pipelet.errors import MissingProductError, PrefixError, RefusedProductError, StorageError
from pipelet.storage import Kind, TaskFiles, Tree, printable

INSTANCE = "melt_YFLJ65"
Make = Callable[..., TaskFiles]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The files of task 1 of an instance in whose ``data/`` task 2 has a directory as well."""
    prefix = tmp_path / "prefix"
    (prefix / INSTANCE / "data" / "1_x").mkdir(parents=True)
    (prefix / INSTANCE / "data" / "2_y").mkdir()
    (prefix / INSTANCE / "data" / "2_y" / "theirs").write_text("theirs")
    (prefix / ".pipelet").mkdir()
    (prefix / ".sqlstatus").write_text("accounts")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")

    def files(place: str | None = "1_x", current: bool = True, sqlfile: str = str(prefix / ".sqlstatus")) -> TaskFiles:
        return TaskFiles(
            Tree(str(prefix)), INSTANCE, 1, "x", place, current, lambda names: {"2_y"} & set(names), sqlfile
        )

    return files


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "prefix" / INSTANCE / "data" / "1_x"


def read(files: TaskFiles, path: str) -> bytes:
    with files.open(path) as file:
        return file.read()


def test_a_file_is_opened_also_below_folders(make: Make, data: Path) -> None:
    (data / "a" / "b").mkdir(parents=True)
    (data / "a" / "b" / "c.txt").write_text("c")
    assert read(make(), "a/b/c.txt") == b"c"
    assert make().entry("a/b") == (
        "b", Kind.FOLDER, (data / "a" / "b").stat().st_size, (data / "a" / "b").stat().st_mtime, None, None, None,
    )
    assert make().directory == f"{INSTANCE}/data/1_x"


def test_what_is_not_there_is_missing(make: Make, data: Path) -> None:
    (data / "file").write_text("")
    for path in ("nothing", "nothing/deeper", "file/deeper", "x" * 300):
        with pytest.raises(MissingProductError, match="there is no"):
            make().open(path)
        with pytest.raises(MissingProductError, match="there is no"):
            make().entry(path)


def test_a_task_without_a_directory_has_no_files(make: Make) -> None:
    files = make(place=None)
    assert files.directory is None
    assert list(files.walk(10)) == []
    with pytest.raises(MissingProductError, match="has no directory"):
        files.folder()


def test_a_folder_is_listed_page_by_page(make: Make, data: Path) -> None:
    for number in range(5):
        (data / f"f{number}").write_text("." * number)
    first = make().folder(limit=2)
    assert [(entry.name, entry.size) for entry in first.entries] == [("f0", 0), ("f1", 1)]
    assert first.more
    last = make().folder(after="f2", limit=2)
    assert [entry.name for entry in last.entries] == ["f3", "f4"]
    assert not last.more
    assert not last.cut


def test_of_a_huge_folder_not_all_names_are_looked_at(make: Make, data: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "MOST_NAMES", 3)
    for number in range(5):
        (data / f"f{number}").write_text("")
    folder = make().folder()
    assert len(folder.entries) == 3
    assert folder.cut


def test_data_itself_never_shows_other_tasks(make: Make, data: Path) -> None:
    (data.parent / "mine").write_text("mine")
    files = make(place="")
    assert [entry.name for entry in files.folder().entries] == ["1_x", "mine"]
    assert [path for path, _ in files.walk(10)] == ["mine"]
    for path in ("2_y", "2_y/theirs"):
        with pytest.raises(MissingProductError, match="another task"):
            files.open(path)
        with pytest.raises(MissingProductError, match="another task"):
            files.folder(path)


def test_a_superseded_task_is_found_where_it_went(make: Make, data: Path) -> None:
    aside = data.parent.parent / "superseded" / "1_x"
    aside.mkdir(parents=True)
    (aside / "2_y").write_text("a file of its own")
    assert read(make(place="", current=False), "2_y") == b"a file of its own"
    assert [entry.name for entry in make(current=False).folder().entries] == ["2_y"]


def test_links_that_stay_inside_are_followed(make: Make, data: Path) -> None:
    (data / "sub").mkdir()
    (data / "sub" / "f").write_text("f")
    (data / "relative").symlink_to("sub/./f")
    (data / "up").symlink_to("../2_y/theirs")
    (data / "absolute").symlink_to(data / "sub")
    (data / "chain").symlink_to("absolute")
    (data / "round").symlink_to("sub/../relative")
    assert read(make(), "relative") == b"f"
    assert read(make(), "up") == b"theirs"
    assert read(make(), "absolute/f") == b"f"
    assert read(make(), "chain/f") == b"f"
    assert read(make(), "round") == b"f"
    entry = make().entry("absolute")
    assert (entry.kind, entry.leads, entry.target) == (Kind.LINK, Kind.FOLDER, str(data / "sub"))
    assert [item.name for item in make().folder("chain").entries] == ["f"]


def test_the_prefix_may_be_a_link(make: Make, data: Path, tmp_path: Path) -> None:
    (data / "f").write_text("f")
    (data / "real").symlink_to(data / "f")
    (data / "by_name").symlink_to(tmp_path / "alias" / INSTANCE / "data" / "1_x" / "f")
    (tmp_path / "alias").symlink_to(tmp_path / "prefix")
    files = TaskFiles(Tree(str(tmp_path / "alias")), INSTANCE, 1, "x", "1_x", True, lambda names: (), "/none")
    assert read(files, "real") == b"f"
    assert read(files, "by_name") == b"f"


def test_links_that_lead_out_are_shown_and_not_followed(make: Make, data: Path, tmp_path: Path) -> None:
    (data / "absolute").symlink_to(tmp_path / "outside" / "secret")
    (data / "relative").symlink_to("../" * 5 + "outside/secret")
    (data / "folder").symlink_to(tmp_path / "outside")
    (data / "neighbour").symlink_to(str(tmp_path / "prefix") + "-of-another")
    for name in ("absolute", "relative", "folder", "neighbour"):
        entry = make().entry(name)
        assert (entry.kind, entry.leads) == (Kind.LINK, None)
        assert entry.target == os.readlink(data / name)
        assert entry.refusal is not None
        assert "leads out of the prefix" in entry.refusal
    for path in ("absolute", "relative", "folder/secret"):
        with pytest.raises(RefusedProductError, match="leads out of the prefix"):
            make().open(path)
    with pytest.raises(RefusedProductError, match="leads out"):
        make().folder("folder")
    assert "folder/secret" not in dict(make().walk(100))


@pytest.mark.parametrize("target", ["../../../.sqlstatus", "../../../.SQLSTATUS", "../../../.pipelet/lock", "hard"])
def test_the_engines_own_files_are_closed(make: Make, data: Path, target: str) -> None:
    (data.parents[2] / ".pipelet" / "lock").write_text("secret")
    os.link(data.parents[2] / ".sqlstatus", data / "hard")
    (data / "link").symlink_to(target)
    with pytest.raises(StorageError, match="engine's own files"):
        make().open("link")
    refusal = make().entry("link").refusal
    assert refusal is not None
    assert "engine's own files" in refusal


def test_a_database_elsewhere_in_the_prefix_is_closed(make: Make, data: Path) -> None:
    other = data.parents[2] / "status.db"
    other.write_text("accounts")
    (data / "link").symlink_to(other)
    (data / "log").symlink_to(f"{other}-wal")
    Path(f"{other}-wal").write_text("accounts")
    for name in ("link", "log"):
        with pytest.raises(RefusedProductError, match="engine's own"):
            make(sqlfile=str(other)).open(name)


def test_links_in_circles_end(make: Make, data: Path) -> None:
    (data / "a").symlink_to("b")
    (data / "b").symlink_to("a")
    (data / "self").symlink_to(".")
    (data / "f").write_text("f")
    with pytest.raises(RefusedProductError, match="too many links"):
        make().open("a")
    with pytest.raises(RefusedProductError, match="too many links"):
        make().open("self/" * 60 + "f")
    assert read(make(), "self/self/f") == b"f"


def test_pipes_and_sockets_are_shown_and_never_opened(make: Make, data: Path) -> None:
    os.mkfifo(data / "pipe")
    (data / "link").symlink_to("pipe")
    listener = socket.socket(socket.AF_UNIX)
    here = os.getcwd()
    try:
        os.chdir(data)
        listener.bind("socket")
    finally:
        os.chdir(here)
        listener.close()
    assert {entry.name: entry.kind for entry in make().folder().entries} == {
        "link": Kind.LINK, "pipe": Kind.PIPE, "socket": Kind.SOCKET,
    }
    for name in ("pipe", "link", "socket", ""):
        with pytest.raises(RefusedProductError, match="not a file"):
            make().open(name)


def test_a_pipe_that_takes_the_place_of_a_file_does_not_block(make: Make, data: Path, monkeypatch: Any) -> None:
    (data / "f").write_text("f")
    real = os.open

    def swap(name: str, flags: int, *rest: Any, **options: Any) -> int:
        if name == "f":
            (data / "f").unlink()
            os.mkfifo(data / "f")
        return real(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(RefusedProductError, match="a pipe, not a file"):
        make().open("f")


@pytest.mark.parametrize("at", ["sub", "f"])
def test_a_link_that_takes_a_place_after_the_look_is_not_followed(
    make: Make, data: Path, tmp_path: Path, monkeypatch: Any, at: str
) -> None:
    (data / "sub").mkdir()
    (data / "sub" / "f").write_text("f")
    (tmp_path / "outside" / "f").write_text("secret")
    real = os.open

    def swap(name: str, flags: int, *rest: Any, **options: Any) -> int:
        if name == at:
            os.rename(data / "sub", data / "gone") if at == "sub" else (data / "sub" / "f").unlink()
            (data / "sub" if at == "sub" else data / "sub" / "f").symlink_to(
                tmp_path / "outside" if at == "sub" else tmp_path / "outside" / "f"
            )
        return real(name, flags, *rest, **options)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(MissingProductError):
        make().open("sub/f")


def test_walk_ends_after_so_many(make: Make, data: Path) -> None:
    for folder in ("a", "b"):
        (data / folder).mkdir()
        for number in range(3):
            (data / folder / f"{number}").write_text("")
    (data / "z").write_text("")
    assert [path for path, _ in make().walk(5)] == ["z", "a/0", "a/1", "a/2", "b/0"]


def test_the_log(make: Make, data: Path, tmp_path: Path) -> None:
    assert make().log() is None
    log = data.parents[1] / "log"
    log.mkdir()
    (log / "1.log").write_text("printed")
    entry = make().log()
    assert entry is not None
    assert entry.size == 7
    with make().open_log() as file:
        assert file.read() == b"printed"
    (log / "1.log").unlink()
    (log / "1.log").symlink_to(tmp_path / "outside" / "secret")
    with pytest.raises(RefusedProductError, match="leads out"):
        make().open_log()


def test_a_prefix_that_is_gone_says_so(make: Make, tmp_path: Path) -> None:
    files = make()
    os.rename(tmp_path / "prefix", tmp_path / "moved")
    with pytest.raises(PrefixError, match="can't read the prefix"):
        files.folder()


def test_no_handle_stays_open(make: Make, data: Path) -> None:
    (data / "sub").mkdir()
    (data / "out").symlink_to("/etc")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("sub", "out", "nothing", "../x", "sub/../..", "out/passwd"):
        for ask in (make().entry, make().open, make().folder):
            with contextlib.suppress(StorageError):
                ask(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_names_are_shown_as_what_they_are() -> None:
    assert printable("plain é.txt") == "plain é.txt"
    assert printable("a\nb\u202egnp\udc80") == "a\\nb\\u202egnp\\x80"
