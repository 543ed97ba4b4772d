"""The directory of one task: made or emptied, walked, globbed; the neighbours' files are never touched or shown."""

from __future__ import annotations

import glob
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelet.storage.taskfiles as module
from pipelet.errors import StorageError
from pipelet.storage import glob_products, make_task_directory, products

ROOT = Path(module.__file__).parents[2]


def fill(directory: Path, *names: str) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return directory


def below(directory: Path, paths) -> list[str]:
    return [os.path.relpath(path, directory) for path in paths]


# -- making --------------------------------------------------------------------------------------------------------


def test_a_directory_is_made_with_those_above_it(tmp_path):
    make_task_directory(str(tmp_path / "a_YFLJ65" / "data" / "1_x"))
    assert (tmp_path / "a_YFLJ65" / "data" / "1_x").is_dir()


def test_the_mode_follows_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        make_task_directory(str(tmp_path / "data" / "1_x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "data" / "1_x").stat().st_mode) == 0o750


def test_what_an_earlier_try_left_is_emptied_but_not_the_siblings(tmp_path):
    data = fill(tmp_path / "data", "half", "sub/deep/half", ".hidden", "2_y/f", "3_z", "4_own/f")
    outside = fill(tmp_path / "outside", "keep")
    (data / "link").symlink_to(outside)
    (data / "sub" / "link").symlink_to(outside)
    make_task_directory(str(data), ["2_y", "3_z"])
    assert sorted(os.listdir(data)) == ["2_y", "3_z"]
    assert (data / "2_y" / "f").read_text() == "2_y/f"
    assert (outside / "keep").exists()


def test_a_file_in_the_way_is_not_deleted(tmp_path):
    fill(tmp_path, "1_x")
    with pytest.raises(StorageError, match="is a file or a link: move it away"):
        make_task_directory(str(tmp_path / "1_x"))
    with pytest.raises(StorageError, match="Not a directory") as caught:
        make_task_directory(str(tmp_path / "1_x" / "deeper"))
    assert isinstance(caught.value.__cause__, OSError)
    assert (tmp_path / "1_x").read_text() == "1_x"


def test_a_link_in_the_way_is_not_emptied(tmp_path):
    outside = fill(tmp_path / "outside", "keep")
    (tmp_path / "1_x").symlink_to(outside)
    with pytest.raises(StorageError, match="is a file or a link"):
        make_task_directory(str(tmp_path / "1_x"))
    assert (outside / "keep").exists()


def test_a_name_that_is_too_long_is_said_in_words(tmp_path):
    with pytest.raises(StorageError, match=r"can't make the task's directory .*File name too long \(use a shorter"):
        make_task_directory(str(tmp_path / ("x" * 300)))


# -- walking -------------------------------------------------------------------------------------------------------


def test_the_files_of_one_task_in_order_without_the_siblings(tmp_path):
    data = fill(tmp_path, "b.txt", "a.txt", "sub/c.txt", "sub/2_y/d.txt", ".hidden", "2_y/other", "3_foo/mine")
    found = below(tmp_path, products(str(data), ["2_y"]))
    assert found == [".hidden", "a.txt", "b.txt", "3_foo/mine", "sub/c.txt", "sub/2_y/d.txt"]


def test_links_are_listed_when_they_lead_to_files_and_never_entered(tmp_path):
    outside = fill(tmp_path / "outside", "keep")
    data = fill(tmp_path / "data", "a.txt")
    (data / "file").symlink_to(outside / "keep")
    (data / "folder").symlink_to(outside)
    (data / "loop").symlink_to(data)
    (data / "broken").symlink_to(tmp_path / "nothing")
    assert below(data, products(str(data))) == ["a.txt", "file"]


def test_what_can_not_be_read_as_a_file_is_no_product(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert list(products(str(tmp_path))) == []


def test_a_directory_that_is_not_there_has_no_files(tmp_path):
    assert list(products(str(tmp_path / "nothing"))) == []
    assert glob_products(str(tmp_path / "nothing"), "") == []
    assert glob_products(str(tmp_path / "nothing"), "*", virtual="1_x") == []


def test_odd_names_are_kept(tmp_path):
    names = ["a\nb", "é", "[x]", "-rf", os.fsdecode(b"\xff")]
    fill(tmp_path)
    for name in names:
        (tmp_path / name).touch()
    assert sorted(below(tmp_path, products(str(tmp_path)))) == sorted(names)
    assert sorted(below(tmp_path, glob_products(str(tmp_path), "*"))) == sorted(names)


UNREADABLE = """
import os, sys
from pipelet.errors import StorageError
from pipelet.storage import glob_products, products
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for call in (lambda: list(products(sys.argv[1])), lambda: glob_products(sys.argv[1], "*/*")):
    try:
        print(call())
    except StorageError as error:
        print(error)
"""


def test_a_directory_that_can_not_be_read_is_named(tmp_path):
    fill(tmp_path, "sub/f")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o555)
    (tmp_path / "sub").chmod(0o000)
    command = [sys.executable, "-c", UNREADABLE, str(tmp_path)]
    try:
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    finally:
        (tmp_path / "sub").chmod(0o755)
    lines = child.stdout.splitlines()
    assert len(lines) == 2
    assert all(f"can't read {tmp_path}/sub: Permission denied" in line for line in lines)


# -- globbing ------------------------------------------------------------------------------------------------------

FILES = ("a.fits", "b.txt", "sub/c.txt", "sub/deep/d.txt", "2_y/e.txt", ".hidden", ".dot/f.txt", "sub/.g.txt")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["."]),
        (".", ["."]),
        ("*.fits", ["a.fits"]),
        ("*.txt", ["b.txt"]),
        ("*/*.txt", ["2_y/e.txt", "sub/c.txt"]),
        ("**/*.txt", ["2_y/e.txt", "b.txt", "sub/c.txt", "sub/deep/d.txt"]),
        ("sub/**", ["sub", "sub/c.txt", "sub/deep", "sub/deep/d.txt"]),
        ("sub/**/", ["sub", "sub/deep"]),
        ("*/", ["2_y", "sub"]),
        ("?.txt", ["b.txt"]),
        ("[!a]*.*", ["b.txt"]),
        ("sub/c.txt", ["sub/c.txt"]),
        ("./sub//c.txt", ["sub/c.txt"]),
        ("sub/../b.txt", ["b.txt"]),
        ("*/../b.txt", ["b.txt"]),
        ("sub/..", ["."]),
        (".*", [".dot", ".hidden"]),
        (".dot/*", [".dot/f.txt"]),
        ("*/.*", ["sub/.g.txt"]),
        ("nothing", []),
        ("b.txt/x", []),
        ("b.txt/**", []),
        ("x" * 300, []),
        ("a\0b", []),
    ],
)
def test_patterns_are_those_of_the_shell(tmp_path, pattern, expected):
    directory = fill(tmp_path / "d[0-9]*?", *FILES)
    found = glob_products(str(directory), pattern)
    assert below(directory, found) == sorted(expected)
    assert all(os.path.isabs(path) for path in found)


@pytest.mark.parametrize("pattern", ["..", "../*", "../x", "sub/../../x", "/etc/passwd", "/", "*/../../*", "./.."])
def test_a_pattern_that_leaves_the_directory_is_refused(tmp_path, pattern):
    directory = fill(tmp_path / "data" / "1_x", *FILES)
    fill(tmp_path, "data/x")
    for virtual in (None, "1_x"):
        with pytest.raises(StorageError, match="leaves the task's directory"):
            glob_products(str(directory), pattern, virtual=virtual)


def test_siblings_are_hidden_where_they_are_and_only_real_ones(tmp_path):
    data = fill(tmp_path, "own.txt", "3_foo/mine.txt", "sub/2_y/mine.txt", "2_y/other.txt")
    for pattern in ("*", "**", "2_y", "2_y/other.txt", "*/other.txt", "**/*.txt", "[2]_y/*", "./2_y", "sub/../2_y"):
        for virtual, prefix in ((None, ""), ("1_x", "*/")):
            found = below(data, glob_products(str(data), prefix + pattern, ["2_y"], virtual))
            assert not [name for name in found if name.startswith("2_y")]
    assert below(data, glob_products(str(data), "**/*.txt", ["2_y"])) == [
        "3_foo/mine.txt", "own.txt", "sub/2_y/mine.txt"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*/x.txt", ["x.txt"]),
        ("12_*/x.txt", ["x.txt"]),
        ("*_Lancelot/*.txt", ["x.txt", "y.txt"]),
        ("12_Lancelot/sub/*", ["sub/z.txt"]),
        ("**/x.txt", ["x.txt"]),
        ("**/**/z.txt", ["sub/z.txt"]),
        ("**/sub/*", ["sub/z.txt"]),
        ("*", ["."]),
        ("*/", ["."]),
        ("12_Lancelot", ["."]),
        ("x.txt", []),
        ("13_*/x.txt", []),
        ("[12_Lancelot]/x.txt", []),
    ],
)
@pytest.mark.parametrize("own", [True, False], ids=["own directory", "data itself"])
def test_patterns_as_if_each_task_had_its_own_directory(tmp_path, pattern, expected, own):
    directory = fill(tmp_path / "data" / ("12_Lancelot" if own else ""), "x.txt", "y.txt", "sub/z.txt")
    fill(tmp_path / "data", "13_Galahad/x.txt")
    found = glob_products(str(directory), pattern, () if own else ["13_Galahad"], "12_Lancelot")
    assert below(directory, found) == expected


@pytest.mark.parametrize("name", ["12_Lancelot", ""])
@pytest.mark.parametrize("pattern", ["", "**"])
def test_the_directory_of_all_the_tasks_stands_for_the_empty_pattern(tmp_path, name, pattern):
    directory = fill(tmp_path / "data" / name, "x")
    found = glob_products(str(directory), pattern, (), "12_Lancelot")
    assert str(tmp_path / "data") in found
    assert (str(directory / "x") in found) == bool(pattern)


def test_links_are_entered_where_the_pattern_says_so_and_not_by_two_stars(tmp_path):
    outside = fill(tmp_path / "outside", "x.txt")
    data = fill(tmp_path / "data", "y.txt")
    (data / "link").symlink_to(outside)
    (data / "loop").symlink_to(data)
    assert below(data, glob_products(str(data), "link/*.txt")) == ["link/x.txt"]
    assert below(data, glob_products(str(data), "**/*.txt")) == ["y.txt"]
    assert below(data, glob_products(str(data), "**")) == [".", "link", "loop", "y.txt"]


NAMES = st.sampled_from(["a", "b.txt", "ab", ".h", "[a]", "a*", "-", "A"])
PARTS = st.sampled_from(["*", "**", "a", "?", "*.txt", "[a]", "[[]a]", "a*", ".*", "[!a]*", ".h", "*b*", "A", "[", "."])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=8), st.lists(PARTS, min_size=1, max_size=4),
    st.booleans(),
)  # fmt: skip
def test_globbing_agrees_with_the_standard_library(files, parts, final_slash):
    pattern = "/".join(parts) + ("/" if final_slash else "")
    with tempfile.TemporaryDirectory(prefix="[x]*") as top:
        for names in files:
            path = Path(top, *names)
            if not any(parent.is_file() for parent in path.parents) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        expected = {os.path.normpath(path) for path in glob.glob(f"{glob.escape(top)}/{pattern}", recursive=True)}
        assert glob_products(top, pattern) == sorted(expected)
        parent, name = os.path.split(top)
        inner = os.path.join(parent, name, "task")
        os.mkdir(inner)
        for entry in os.listdir(top):
            if entry != "task":
                os.rename(os.path.join(top, entry), os.path.join(inner, entry))
        expected = {os.path.normpath(path) for path in glob.glob(f"{glob.escape(top)}/{pattern}", recursive=True)}
        assert glob_products(inner, pattern, virtual="task") == sorted(expected)
