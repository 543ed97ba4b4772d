"""The tree below a prefix: names, files of instances, and moves of task directories that can be cut anywhere."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import pipelet.storage.tree as module
from pipelet.core.text import task_name
from pipelet.errors import PrefixError, StorageError
from pipelet.storage import Tree

ROOT = Path(module.__file__).parents[2]
KEY = "YFLJ65" + "A" * 46
A = "a_YFLJ65"
#: What must never be taken for the path of an instance.
BAD_PATHS = ["", ".", "..", "/", "/etc", "../x_YFLJ65", f"{A}/..", f"{A}/../..", f"/{A}", f"{A}/", f"{A}//{A}",
             ".pipelet", ".pipelet/trash", f"{A}/data", f"{A}/superseded", "a_yflj65", "a b_YFLJ65", "a\0_YFLJ65",
             "a_YFLJ6", f"./{A}"]  # fmt: skip


@pytest.fixture
def tree(tmp_path):
    tree = Tree(str(tmp_path / "prefix"))
    tree.create()
    return tree


@pytest.fixture
def instance(tree):
    tree.create_instance(A, {"a.py": b"1\n"}, {"key": KEY})
    return A


def put(tree: Tree, relative: str, text: str = "") -> None:
    path = Path(tree.prefix, relative)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text or relative)


def picture(directory: str | Path) -> dict[str, str]:
    """Tell everything below a directory: files with their content, directories, links."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for name in folders + files:
            path = Path(folder, name)
            key = str(path.relative_to(directory))
            if path.is_symlink():
                found[key] = f"-> {os.readlink(path)}"
            else:
                found[key] = "directory" if path.is_dir() else path.read_text(errors="replace")
    return found


# -- the prefix ----------------------------------------------------------------------------------------------------


def test_create_makes_the_prefix_and_can_be_repeated(tmp_path):
    tree = Tree(str(tmp_path / "new" / "prefix"))
    assert not os.path.exists(tree.prefix)
    tree.create()
    before = picture(tree.prefix)
    tree.create()
    made = {".pipelet", ".pipelet/log", ".pipelet/discard"}
    assert before == picture(tree.prefix) == dict.fromkeys(made, "directory")
    assert tree.default_sqlfile == f"{tree.prefix}/.sqlstatus"
    assert tree.lock_path == f"{tree.prefix}/.pipelet/lock"
    assert repr(tree) == f"Tree({tree.prefix!r})"


def test_the_prefix_is_made_absolute_and_double_slashes_are_harmless(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Tree("./p//q/").prefix == str(tmp_path / "p" / "q")
    assert Tree(f"/{tmp_path}//p").prefix == str(tmp_path / "p")


def test_a_file_in_the_way_of_the_prefix(tmp_path):
    (tmp_path / "prefix").write_text("")
    with pytest.raises(PrefixError, match=r"can't use the prefix .*prefix: Not a directory"):
        Tree(str(tmp_path / "prefix")).create()


AS_NOBODY = """
import os, sys
from pipelet.errors import PrefixError
from pipelet.storage import Tree
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for prefix in sys.argv[1:]:
    try:
        Tree(prefix).create()
    except PrefixError as error:
        print(error)
"""


def test_a_prefix_that_can_not_be_written(tmp_path):
    made = Tree(str(tmp_path / "made"))
    made.create()
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o555)
    for folder in (made.engine_dir, made.prefix, tmp_path):
        os.chmod(folder, 0o555)
    try:
        command = [sys.executable, "-c", AS_NOBODY, str(tmp_path / "new"), made.prefix]
        child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    finally:
        for folder in (tmp_path, made.prefix, made.engine_dir):
            os.chmod(folder, 0o755)
    lines = child.stdout.splitlines()
    assert len(lines) == 2
    assert all("Permission denied (check who may write there)" in line for line in lines)


# -- names ---------------------------------------------------------------------------------------------------------


def test_an_instance_is_named_by_segment_and_six_characters(tree):
    assert tree.instance_path("", "a", KEY) == "a_YFLJ65"
    assert tree.instance_path("a_YFLJ65", "b_c", "PLMBH9".replace("9", "7") + "B" * 46) == "a_YFLJ65/b_c_PLMBH7"


def test_a_colliding_key_gets_a_longer_name_and_keeps_it(tree, instance):
    other, third = "YFLJ65AB" + "C" * 44, "YFLJ65AA" + "D" * 44
    assert tree.instance_path("", "a", KEY) == instance
    assert tree.instance_path("", "a", other) == "a_YFLJ65A"
    tree.create_instance("a_YFLJ65A", {}, {"key": other})
    assert tree.instance_path("", "a", other) == "a_YFLJ65A"
    assert tree.instance_path("", "a", third) == "a_YFLJ65AA"
    tree.remove_instance(instance)
    # The shorter name is free now, and the instance still stands where it was.
    assert tree.instance_path("", "a", other) == "a_YFLJ65A"
    assert tree.instance_path("", "a", KEY) == "a_YFLJ65"


def test_a_segment_whose_name_continues_another_s_does_not_collide(tree, instance):
    tree.create_instance("a_YFLJ65A_YFLJ65", {}, {"key": KEY})
    assert tree.instance_path("", "a", KEY) == instance


def test_a_directory_without_meta_was_being_made_and_is_used(tree):
    put(tree, f"{A}/a.py")
    assert tree.instance_path("", "a", KEY) == A


def test_when_all_names_are_taken_it_says_so(tree):
    for length in range(6, 9):
        name = "a_YFLJ65AA"[: 2 + length]
        put(tree, f"{name}/a.meta", json.dumps({"key": "other"}))
    with pytest.raises(StorageError, match="no name is free for a_YFLJ65AA"):
        tree.instance_path("", "a", "YFLJ65AA")


@pytest.mark.parametrize(("segment", "key"), [("a/b", KEY), ("..", KEY), ("", KEY), ("a", "ABC"), ("a", "../../x"),
                                              ("a", "abcdefgh"), ("a", KEY + "\n")])  # fmt: skip
def test_names_and_keys_that_are_none(tree, segment, key):
    with pytest.raises(StorageError, match="can't name a segment instance"):
        tree.instance_path("", segment, key)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_no_path_leaves_the_prefix(tree, path):
    before = picture(Path(tree.prefix).parent)
    calls = [
        lambda: tree.instance_path(path or "/", "b", KEY),
        lambda: tree.create_instance(path, {}, {"key": KEY}),
        lambda: tree.read_meta(path),
        lambda: tree.write_meta(path, {}),
        lambda: tree.write_args(path, ""),
        lambda: tree.read_args(path),
        lambda: tree.write_tag(path, None),
        lambda: tree.write_tag(path, "x"),
        lambda: tree.read_tag(path),
        lambda: tree.journal(path),
        lambda: tree.log_path(path, 1),
        lambda: tree.data_dir(path),
        lambda: tree.task_dir(path, "", 1, "", True),
        lambda: tree.present(path),
        lambda: tree.present_superseded(path),
        lambda: tree.supersede(path, "", 1, "", ()),
        lambda: tree.revive(path, "", 1, "", ()),
        lambda: tree.mend(path, [("", 1, "", True)], ()),
        lambda: tree.remove_task(path, "", 1, "", True, ()),
        lambda: tree.remove_instance(path),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="is no path of a segment instance"):
            call()
    assert picture(Path(tree.prefix).parent) == before


@pytest.mark.parametrize("place", [".", "..", "../x", "a/b", "/etc", "a\0b"])
def test_no_place_leaves_the_instance(tree, instance, place):
    before = picture(tree.prefix)
    for call in (
        lambda: tree.task_dir(instance, place, 1, "x", True),
        lambda: tree.task_dir(instance, "1_x", 1, f"/{place}/", False),
        lambda: tree.supersede(instance, place, 1, "x", ()),
        lambda: tree.revive(instance, place, 1, "x", ()),
        lambda: tree.remove_task(instance, place, 1, "x", True, ()),
        lambda: tree.remove_task(instance, "1_x", 1, f"/{place}/", False, ()),
    ):
        with pytest.raises(StorageError, match="is no name of a task's directory"):
            call()
    assert picture(tree.prefix) == before


def test_task_directories_have_their_places(tree):
    data = f"{tree.prefix}/{A}/data"
    assert tree.data_dir(A) == data
    assert tree.task_dir(A, "", 7, "x", True) == data
    assert tree.task_dir(A, "7_x", 7, "x", True) == f"{data}/7_x"
    assert tree.task_dir(A, "", 7, "x", False) == f"{tree.prefix}/{A}/superseded/{task_name(7, 'x')}"
    assert tree.log_path(A, 7) == f"{tree.prefix}/{A}/log/7.log"
    assert tree.journal(A).path == f"{tree.prefix}/{A}/a.journal"


# -- files of an instance ------------------------------------------------------------------------------------------


def test_an_instance_keeps_its_files(tree, instance):
    files = {"a.py": b"1\n", "a_plot.py": b"2\n", "tables/deep/t.txt": b"\xff\0", "data.txt": b""}
    tree.create_instance(instance, files, {"key": KEY, "parents": ["é", "\udc80"]})
    directory = Path(tree.prefix, instance)
    assert {name: (directory / name).read_bytes() for name in files} == files
    assert tree.read_meta(instance) == {"key": KEY, "parents": ["é", "\udc80"]}
    assert "é" in (directory / "a.meta").read_text()
    assert not [name for name in picture(directory) if name.endswith(".tmp")]


def test_kept_files_and_logs_are_found_again(tree, instance):
    assert tree.read_kept(instance, "a.py") == b"1\n"
    assert tree.read_kept(instance, "gone.py") is None
    assert tree.read_kept(instance, "") is None
    with pytest.raises(StorageError, match="a kept file can't be named"):
        tree.read_kept(instance, "../../secret")
    assert tree.absolute(instance) == f"{tree.prefix}/{A}"
    assert tree.existing_log(instance, 1) is None
    put(tree, f"{A}/log/1.log")
    assert tree.existing_log(instance, 1) == tree.log_path(instance, 1)


def test_making_an_instance_again_rewrites_only_what_differs(tree, instance):
    directory = Path(tree.prefix, instance)
    files = {"a.py": b"1\n", "b.py": b"2\n"}
    tree.create_instance(instance, files, {"key": KEY})
    (directory / "b.py").write_bytes(b"3\n")
    before = {name: (directory / name).stat().st_ino for name in ("a.py", "b.py", "a.meta")}
    tree.create_instance(instance, files, {"key": KEY})
    after = {name: (directory / name).stat().st_ino for name in before}
    assert (after["a.py"], after["a.meta"]) == (before["a.py"], before["a.meta"])
    assert after["b.py"] != before["b.py"]
    assert (directory / "b.py").read_bytes() == b"2\n"


def test_the_directory_of_another_key_is_never_taken(tree, instance):
    with pytest.raises(StorageError, match=f"belongs to the key {KEY}, not to OTHER"):
        tree.create_instance(instance, {"a.py": b"other"}, {"key": "OTHER"})
    assert Path(tree.prefix, instance, "a.py").read_bytes() == b"1\n"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "", ".", "a/../../x", "x//y", "x\0", "data/x", "data", "log",
                                  "superseded/1", "b_PLMBHA/x", "a.meta", "a.journal", "a.tag", "a.args"])  # fmt: skip
def test_kept_files_stay_in_their_instance_and_off_its_own_names(tree, instance, name):
    before = picture(tree.prefix)
    with pytest.raises(StorageError, match="a kept file can't be named"):
        tree.create_instance(instance, {"ok.py": b"", name: b""}, {"key": KEY})
    assert picture(tree.prefix) == before


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_damaged_meta_is_named(tree, instance, content):
    Path(tree.prefix, instance, "a.meta").write_bytes(content)
    with pytest.raises(StorageError, match=r"a_YFLJ65/a\.meta is damaged"):
        tree.read_meta(instance)
    with pytest.raises(StorageError, match=r"a_YFLJ65/a\.meta is damaged"):
        tree.instance_path("", "a", KEY)


def test_a_missing_meta_is_named(tree):
    with pytest.raises(StorageError, match=r"can't read .*a_YFLJ65/a\.meta: No such file"):
        tree.read_meta(A)


def test_tags_and_parameters_come_back(tree, instance):
    assert tree.read_tag(instance) is None
    assert tree.read_args(instance) is None
    tree.write_tag(instance, "best fit\n")
    tree.write_args(instance, "x = 1\n")
    assert (tree.read_tag(instance), tree.read_args(instance)) == ("best fit\n", "x = 1\n")
    tree.write_tag(instance, None)
    tree.write_tag(instance, None)
    assert tree.read_tag(instance) is None


def test_writing_to_an_instance_that_is_gone_does_not_make_it_again(tree):
    with pytest.raises(StorageError, match="can't write"):
        tree.write_tag(A, "x")
    assert not os.path.exists(f"{tree.prefix}/{A}")


@pytest.mark.parametrize("fails", ["replace", "fsync"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(tree, instance, monkeypatch, fails):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = picture(tree.prefix)
    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(StorageError, match=r"can't write .*a\.meta: No space left on device \(make room"):
        tree.write_meta(instance, {"key": "new"})
    assert picture(tree.prefix) == before


@pytest.mark.parametrize(("mask", "file", "folder"), [(0o022, 0o644, 0o755), (0o007, 0o660, 0o770)])
def test_modes_follow_the_umask(tmp_path, mask, file, folder):
    old = os.umask(mask)
    try:
        tree = Tree(str(tmp_path / "prefix"))
        tree.create()
        tree.create_instance(A, {"sub/a.py": b""}, {"key": KEY})
        tree.write_tag(A, "x")
        for name in ("sub/a.py", "a.meta", "a.tag"):
            assert stat.S_IMODE(os.stat(f"{tree.prefix}/{A}/{name}").st_mode) == file
        for name in ("", A, f"{A}/sub", ".pipelet"):
            assert stat.S_IMODE(os.stat(f"{tree.prefix}/{name}").st_mode) == folder
    finally:
        os.umask(old)


def test_a_name_that_is_too_long_is_said_in_words(tree):
    path = tree.instance_path("", "s" * 300, KEY)
    with pytest.raises(StorageError, match="File name too long"):
        tree.create_instance(path, {}, {"key": KEY})


# -- walking and deleting ------------------------------------------------------------------------------------------


def test_instances_are_found_and_only_they(tree, instance, tmp_path):
    for path in ("a_YFLJ65/b_PLMBHA", "a_YFLJ65/b_PLMBHA/c_AAAAAA", "z_AAAAAA"):
        tree.create_instance(path, {}, {"key": "A" * 52})
    for hidden in ("data/x_AAAAAA/x.meta", "superseded/x_AAAAAA/x.meta", "sub/x_AAAAAA/x.meta", "d_AAAAAA/other.meta"):
        put(tree, f"{A}/{hidden}")
    outside = Tree(str(tmp_path / "outside"))
    outside.create()
    outside.create_instance("y_AAAAAA", {}, {"key": "A" * 52})
    os.symlink(f"{outside.prefix}/y_AAAAAA", f"{tree.prefix}/y_AAAAAA")
    os.symlink(tree.prefix, f"{tree.prefix}/a_YFLJ65/l_AAAAAA")
    assert list(tree.find_instances()) == [A, f"{A}/b_PLMBHA", f"{A}/b_PLMBHA/c_AAAAAA", "z_AAAAAA"]


def test_below_a_directory_that_lost_its_meta_instances_are_found(tree, instance):
    tree.create_instance(f"{A}/b_PLMBHA", {}, {"key": "A" * 52})
    os.unlink(f"{tree.prefix}/{A}/a.meta")
    assert list(tree.find_instances()) == [f"{A}/b_PLMBHA"]


def test_an_empty_prefix_has_no_instances(tmp_path):
    assert list(Tree(str(tmp_path / "nothing")).find_instances()) == []


def test_removing_an_instance_removes_what_descends_from_it(tree, instance):
    tree.create_instance(f"{A}/b_PLMBHA", {}, {"key": KEY})
    tree.create_instance("z_AAAAAA", {}, {"key": KEY})
    tree.remove_instance(instance)
    tree.remove_instance(instance)
    assert list(tree.find_instances()) == ["z_AAAAAA"]
    assert os.listdir(tree.discard_dir) == []


def test_removing_goes_through_another_place_in_one_step(tree, instance, monkeypatch):
    put(tree, f"{A}/data/x")

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            tree.remove_instance(instance)
    assert not os.path.exists(f"{tree.prefix}/{A}")
    assert len(os.listdir(tree.discard_dir)) == 1
    tree.empty_discards()
    assert os.listdir(tree.discard_dir) == []


def test_another_disk_is_deleted_in_place(tree, instance, monkeypatch):
    def other_disk(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "rename", other_disk)
    tree.remove_instance(instance)
    assert not os.path.exists(f"{tree.prefix}/{A}")


def test_links_are_deleted_and_never_followed(tree, instance, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("keep")
    for name in ("data/1_x/link", "data/link", "sub"):
        path = Path(tree.prefix, A, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(precious)
    tree.remove_task(A, "1_x", 1, "x", True, ())
    tree.remove_task(A, "", 2, "", True, ())
    tree.remove_instance(A)
    assert picture(precious) == {"file": "keep"}
    assert not os.path.exists(f"{tree.prefix}/{A}")


def test_nothing_is_moved_or_deleted_through_a_link(tree, tmp_path):
    other = Tree(str(tmp_path / "other"))
    other.create()
    other.create_instance(A, {}, {"key": KEY})
    put(other, f"{A}/data/1_x/f")
    before = picture(other.prefix)
    os.symlink(f"{other.prefix}/{A}", f"{tree.prefix}/{A}")
    tree.create_instance("z_AAAAAA", {}, {"key": KEY})
    os.symlink(f"{other.prefix}/{A}/data", f"{tree.prefix}/z_AAAAAA/data")
    for path in (A, "z_AAAAAA"):
        for call in (
            lambda path=path: tree.remove_instance(path),
            lambda path=path: tree.remove_task(path, "1_x", 1, "x", True, ()),
            lambda path=path: tree.supersede(path, "1_x", 1, "x", ()),
            lambda path=path: tree.revive(path, "1_x", 1, "x", ()),
            lambda path=path: tree.mend(path, [("1_x", 1, "x", False)], ()),
        ):
            with pytest.raises(StorageError, match="is a link, and nothing is moved or deleted through links"):
                call()
    assert picture(other.prefix) == before


PROTECTED = """
import os, sys
from pipelet.storage import Tree
if os.geteuid() == 0:
    os.chown(sys.argv[1], 65534, 65534)
    os.setgid(65534)
    os.setuid(65534)
tree = Tree(sys.argv[1] + "/prefix")
tree.create()
path = "a_YFLJ65"
tree.create_instance(path, {}, {"key": "YFLJ65"})
for place in ("1_x", "2_y"):
    directory = tree.task_dir(path, place, 1, "x", True)
    os.makedirs(directory + "/sub/deep")
    open(directory + "/sub/deep/file", "w").close()
    for folder in ("/sub/deep", "/sub", ""):
        os.chmod(directory + folder, 0o555)
tree.supersede(path, "1_x", 1, "x", ())
moved = tree.task_dir(path, "1_x", 1, "x", False)
assert os.stat(moved).st_mode & 0o777 == 0o555
tree.remove_task(path, "2_y", 2, "y", True, ())
assert tree.present(path) == {""}
tree.remove_instance(path)
assert os.listdir(tree.discard_dir) == []
"""


def test_directories_that_their_owner_has_protected_are_moved_and_deleted(tmp_path):
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o555)
    command = [sys.executable, "-c", PROTECTED, str(tmp_path)]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr


def test_what_may_not_be_deleted_is_said_in_words(tree, instance, monkeypatch):
    put(tree, f"{A}/data/file")

    def refuse(*_, **__):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", refuse)
        with pytest.raises(StorageError, match=r"can't delete .*: Operation not permitted \(check who may write"):
            tree.remove_instance(instance)
    put(tree, f"{A}/log/1.log")
    put(tree, f"{A}/data/1_x/f")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(StorageError, match=r"can't delete .*/log/1\.log: Operation not permitted"):
            tree.remove_task(A, None, 1, "", True, ())
        with pytest.raises(StorageError, match="can't move to superseded/"):
            tree.supersede(A, "1_x", 1, "x", ())


def test_removing_a_task_leaves_the_others(tree, instance):
    for name in ("data/1_x/f", "data/2_y/f", "data/own", "data/dir/f", "superseded/3_z/f", "log/1.log", "log/2.log"):
        put(tree, f"{A}/{name}")
    before = picture(f"{tree.prefix}/{A}")
    tree.remove_task(A, "1_x", 1, "x", True, ["2_y"])
    gone = {"data/1_x", "data/1_x/f", "log/1.log"}
    assert picture(f"{tree.prefix}/{A}") == {name: what for name, what in before.items() if name not in gone}
    tree.remove_task(A, "3_z", 3, "z", False, ())
    tree.remove_task(A, "", 4, "", True, ["2_y"])
    tree.remove_task(A, None, 2, "y", True, ())
    assert tree.present(A) == {"", "2_y"}
    assert tree.present_superseded(A) == set()
    assert os.listdir(f"{tree.prefix}/{A}/log") == []
    assert picture(f"{tree.prefix}/{A}/data") == {"2_y": "directory", "2_y/f": f"{A}/data/2_y/f"}
    tree.remove_task(A, "2_y", 2, "y", True, ())
    tree.remove_task(A, "", 4, "", True, ())
    assert tree.present(A) == set()


def test_removing_a_superseded_task_that_had_data_to_itself_leaves_its_successor(tree, instance):
    put(tree, f"{A}/superseded/1_x/f")
    put(tree, f"{A}/data/new")
    tree.remove_task(A, "", 1, "x", False, ())
    assert picture(f"{tree.prefix}/{A}/data") == {"new": f"{A}/data/new"}
    assert tree.present_superseded(A) == set()


def test_present_tells_directories_only(tree, instance, tmp_path):
    assert tree.present(A) == set()
    assert tree.present_superseded(A) == set()
    put(tree, f"{A}/data/1_x/f")
    put(tree, f"{A}/data/file")
    os.symlink(tmp_path, f"{tree.prefix}/{A}/data/2_y")
    put(tree, f"{A}/superseded/3_z/f")
    put(tree, f"{A}/superseded/4_z.moving/f")
    assert tree.present(A) == {"", "1_x"}
    assert tree.present_superseded(A) == {"3_z"}


# -- superseded versions -------------------------------------------------------------------------------------------

SIBLINGS = ("3_c", "4_d")


def fill(tree: Tree) -> None:
    """An instance whose task 1 has data/ itself, 2 a directory of its own; 3 and 4 are others."""
    tree.create_instance(A, {}, {"key": KEY})
    for name in ("data/f", "data/sub/g", "data/5_own/h", "data/2_b/f", "data/3_c/f", "data/4_d/f"):
        put(tree, f"{A}/{name}", name.rsplit("/", 1)[-1])


def data(tree: Tree) -> dict[str, str]:
    return {name: what for name, what in picture(f"{tree.prefix}/{A}").items() if "meta" not in name}


def test_a_task_goes_aside_and_comes_back(tree):
    fill(tree)
    before = data(tree)
    for _ in range(2):
        tree.supersede(A, "2_b", 2, "b", SIBLINGS)
    assert tree.present(A) == {"", "3_c", "4_d", "sub", "5_own"}
    assert tree.present_superseded(A) == {"2_b"}
    for _ in range(2):
        tree.revive(A, "2_b", 2, "b", SIBLINGS)
    assert data(tree) == {**before, "superseded": "directory"}


def test_a_task_with_data_to_itself_goes_aside_without_the_others_and_comes_back(tree):
    fill(tree)
    before = data(tree)
    for _ in range(2):
        tree.supersede(A, "", 1, "a", [*SIBLINGS, "2_b"])
    assert set(os.listdir(tree.data_dir(A))) == {"2_b", *SIBLINGS}
    assert picture(f"{tree.prefix}/{A}/superseded/1_a") == {
        "f": "f", "sub": "directory", "sub/g": "g", "5_own": "directory", "5_own/h": "h"
    }  # fmt: skip
    put(tree, f"{A}/data/new")
    tree.supersede(A, "", 1, "a", [*SIBLINGS, "2_b"])
    os.unlink(f"{tree.prefix}/{A}/data/new")
    for _ in range(2):
        tree.revive(A, "", 1, "a", [*SIBLINGS, "2_b"])
    assert data(tree) == {**before, "superseded": "directory"}


def test_a_task_whose_directory_is_gone_leaves_none_aside(tree, instance):
    tree.supersede(A, "2_b", 2, "b", ())
    tree.supersede(A, "", 1, "a", ())
    assert tree.present_superseded(A) == set()
    tree.revive(A, "2_b", 2, "b", ())
    tree.revive(A, "", 1, "a", ())
    assert tree.present(A) == set()


def test_an_empty_data_directory_goes_aside_too(tree, instance):
    os.mkdir(tree.data_dir(A))
    tree.supersede(A, "", 1, "", ())
    assert tree.present_superseded(A) == {"1"}


def test_what_an_unrecorded_version_left_is_kept_out_of_a_revived_one(tree):
    fill(tree)
    tree.supersede(A, "", 1, "a", [*SIBLINGS, "2_b"])
    put(tree, f"{A}/data/f", "half-written")
    tree.revive(A, "", 1, "a", [*SIBLINGS, "2_b"])
    assert Path(tree.data_dir(A), "f").read_text() == "f"
    assert picture(f"{tree.prefix}/{A}/superseded") == {"1_a.displaced": "directory", "1_a.displaced/f": "half-written"}


def test_an_older_copy_of_the_same_task_is_never_lost(tree):
    fill(tree)
    put(tree, f"{A}/superseded/2_b/old")
    tree.revive(A, "2_b", 2, "b", ())
    assert Path(tree.data_dir(A), "2_b", "f").read_text() == "f"
    tree.supersede(A, "2_b", 2, "b", ())
    aside = picture(f"{tree.prefix}/{A}/superseded")
    assert aside["2_b/f"] == "f"
    assert aside["2_b.displaced/old"] == f"{A}/superseded/2_b/old"


def test_a_revived_product_never_goes_into_a_sibling(tree):
    fill(tree)
    put(tree, f"{A}/superseded/1_a/3_c/mine")
    with pytest.raises(StorageError, match=r"3_c stands where .*3_c belongs: move one of them away"):
        tree.revive(A, "", 1, "a", [*SIBLINGS, "2_b"])
    assert picture(f"{tree.prefix}/{A}/data/3_c") == {"f": "f"}


def test_an_empty_directory_gives_way_to_the_revived_one(tree, instance):
    put(tree, f"{A}/superseded/2_b/f")
    os.makedirs(f"{tree.prefix}/{A}/data/2_b")
    tree.revive(A, "2_b", 2, "b", ())
    assert os.listdir(f"{tree.prefix}/{A}/data/2_b") == ["f"]


#: What the records say after each change: place, number, text, current.
OLD = ("", 1, "a")
OWN = ("2_b", 2, "b")
NEXT = ("", 6, "a")
OTHERS = [("3_c", 3, "c", True), ("4_d", 4, "d", True), (None, 9, "n", True)]


def change_nothing(tree: Tree) -> None:
    fill(tree)


def with_both_aside(tree: Tree) -> None:
    fill(tree)
    tree.supersede(A, *OLD, [*SIBLINGS, "2_b"])
    tree.supersede(A, *OWN, [*SIBLINGS, "2_b"])


def with_a_successor(tree: Tree) -> None:
    with_both_aside(tree)
    put(tree, f"{A}/data/f", "of the next")
    put(tree, f"{A}/data/more/f", "of the next")


CASES = {
    "aside": (change_nothing, [(*OLD, False), (*OWN, False)]),
    "back": (with_both_aside, [(*OLD, True), (*OWN, True)]),
    "crosswise": (with_a_successor, [(*OLD, True), (*OWN, True), (*NEXT, False)]),
}


def move(tree: Tree, tasks) -> None:
    siblings = [*SIBLINGS, "2_b"]
    for *task, current in tasks:
        if not current:
            tree.supersede(A, *task, siblings)
    for *task, current in tasks:
        if current:
            tree.revive(A, *task, siblings)


class Killed(BaseException):
    """Not an Exception, as a kill is none: nothing may catch it."""


def kill_after(patch: pytest.MonkeyPatch, count: int) -> None:
    """Let `count` changes of names through, and raise at the next."""
    calls = []

    def counted(real):
        def step(*args, **kwargs):
            if len(calls) >= count:
                raise Killed
            result = real(*args, **kwargs)
            calls.append(1)
            return result

        return step

    for name in ("rename", "replace", "rmdir", "mkdir"):
        patch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backwards", [False, True], ids=["finish", "undo"])
def test_a_move_that_is_cut_anywhere_is_mended(tmp_path, monkeypatch, case, backwards):
    prepare, tasks = CASES[case]
    undisturbed = Tree(str(tmp_path / "undisturbed"))
    undisturbed.create()
    prepare(undisturbed)
    if not backwards:
        move(undisturbed, tasks)
    # Where the records are written after the moves, a crash leaves those of before.
    records = [(*task, current != backwards) for *task, current in tasks] + OTHERS
    finished, count = False, 0
    while not finished:
        tree = Tree(str(tmp_path / str(count)))
        tree.create()
        prepare(tree)
        with monkeypatch.context() as patch:
            kill_after(patch, count)
            try:
                move(tree, tasks)
                finished = True
            except Killed:
                pass
        for _ in range(2):
            tree.mend(A, records, [*SIBLINGS, "2_b"])
        for each in (tree, undisturbed):
            os.makedirs(f"{each.prefix}/{A}/superseded", exist_ok=True)
        assert data(tree) == data(undisturbed), f"cut after {count} steps"
        count += 1
    assert count > 5


@pytest.mark.parametrize("case", CASES)
def test_mending_itself_can_be_cut_anywhere(tmp_path, monkeypatch, case):
    prepare, tasks = CASES[case]
    undisturbed = Tree(str(tmp_path / "undisturbed"))
    undisturbed.create()
    prepare(undisturbed)
    move(undisturbed, tasks)
    tree = Tree(str(tmp_path / "cut"))
    tree.create()
    prepare(tree)
    cuts = 0
    while cuts < 100:
        with monkeypatch.context() as patch:
            kill_after(patch, 1)
            try:
                tree.mend(A, [*((*task, current) for *task, current in tasks), *OTHERS], [*SIBLINGS, "2_b"])
                break
            except Killed:
                cuts += 1
    assert 5 <= cuts < 100
    assert data(tree) == data(undisturbed)


def test_mending_leaves_a_successor_alone_when_the_older_version_was_deleted_by_hand(tree):
    fill(tree)
    before = data(tree)
    tree.mend(A, [(*OLD, False), (*NEXT, True), *OTHERS], [*SIBLINGS, "2_b"])
    assert data(tree) == before


def test_mending_takes_the_newest_of_several_old_versions_for_the_one_in_data(tree):
    fill(tree)
    tree.mend(A, [("", 7, "x", False), ("", 8, "y", False), ("", 1, "a", False)], [*SIBLINGS, "2_b"])
    assert tree.present_superseded(A) == {"8_y"}


def test_moves_that_were_cut_leave_a_mark_until_it_is_settled(tree):
    with tree.moving():
        assert tree.moves_were_cut
    assert not tree.moves_were_cut
    with pytest.raises(Killed), tree.moving():
        raise Killed
    assert Tree(tree.prefix).moves_were_cut
    tree.settle()
    tree.settle()
    assert not tree.moves_were_cut


def test_mending_what_is_in_order_renames_nothing(tree, monkeypatch):
    with_both_aside(tree)
    kill_after(monkeypatch, 0)
    tree.mend(A, [(*OLD, False), (*OWN, False), *OTHERS], SIBLINGS)


def test_a_move_that_the_system_refuses_is_said_in_words(tree, monkeypatch):
    fill(tree)

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(StorageError, match=r"can't move to superseded/ .*data/2_b: Read-only file system") as caught:
        tree.supersede(A, *OWN, ())
    assert isinstance(caught.value.__cause__, OSError)
