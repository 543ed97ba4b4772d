"""Deletion, purge, the trash: what goes, what comes back, and that nothing is ever left half-done."""

from __future__ import annotations

import json
import os
import posix
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT, Project

from pipelet import deletion, utils
from pipelet.errors import PrefixLocked, PreviewChanged, StorageError, TaggedError, TrashError, UnknownSegmentError
from pipelet.statusdb import Reader
from pipelet.storage import PrefixLock, Tree
from pipelet.storage.trash import Bag, bags, were_cut

NAMED = """\
    with open(get_data_fn("product.txt"), "w") as file:
        file.write(repr(get_input()))
    expose(["value"]) if (value := 3) else None
    print("to the log")
    set_output([get_input()])
    """
GROUP = """\
    #multiplex cross_prod group_by 'all'
    with open(get_data_fn("product.txt"), "w") as file:
        file.write(str(sorted(glob_parent("product.txt"))))
    set_output([1])
    """
DOT = "a -> c; b -> c; c -> d; b -> e;"
PUSH = {"a": [1, 2], "b": ["x"]}


@pytest.fixture
def lab(project: Project) -> Project:
    """Five segments that have run: c lives below a and descends from b too, d groups c, e hangs on b."""
    project.write(a=NAMED, b=NAMED, c=NAMED, d=GROUP, e=NAMED)
    run(project)
    return project


def run(project: Project) -> Any:
    return project.run(project.pipeline(DOT, PUSH))


def keys(project: Project) -> dict[str, str]:
    pipeline = project.pipeline(DOT, PUSH)
    return {name: found[0].key for name in "abcde" if (found := pipeline.instances(name))}


def paths(project: Project) -> dict[str, str]:
    pipeline = project.pipeline(DOT, PUSH)
    found = {name: pipeline.instances(name) for name in "abcde"}
    return {name: os.path.relpath(rows[0].path, project.prefix) for name, rows in found.items() if rows}


def tasks(project: Project, segment: str) -> list[Any]:
    return list(project.pipeline(DOT, PUSH).tasks(segment))


def sqlfile(project: Project) -> str:
    return str(project.prefix / ".sqlstatus")


def tree_of(project: Project) -> Tree:
    return Tree(str(project.prefix))


def picture(prefix: Path) -> dict[str, Any]:
    """All that is below the prefix but the engine's own, and the rows of the database."""
    found: dict[str, Any] = {}
    for path in sorted(prefix.rglob("*")):
        name = str(path.relative_to(prefix))
        if not name.startswith((".pipelet", ".sqlstatus")):
            found[name] = path.read_bytes() if path.is_file() else None
    with closing(sqlite3.connect(prefix / ".sqlstatus")) as database:
        for table in ("instance", "task", "param", "tag", "tally"):
            found[f"rows of {table}"] = sorted(database.execute(f"SELECT * FROM {table}").fetchall(), key=repr)
    return found


def alike(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The same tree and rows; journals that were added to tell the same."""

    def comparable(found: dict[str, Any]) -> dict[str, Any]:
        lines = {name: value for name, value in found.items() if not name.endswith(".journal")}
        end = 8
        lines["rows of instance"] = [row[:end] + row[end + 1 :] for row in lines["rows of instance"]]
        return lines

    return comparable(one) == comparable(other)


def clean(project: Project) -> None:
    report = utils.check_prefix(project.prefix)
    assert report.clean, str(report)


def agree(project: Project, step: int) -> None:
    """Tree and database agree; the lock of the dead and the like may wait for who needs the prefix."""
    harmless = {"lock", "unclosed", "discard", "temporary"} if step % 3 != 2 else set()
    left = [finding for finding in utils.check_prefix(project.prefix).findings if finding.kind not in harmless]
    assert not left, str(left)


# --- instances -------------------------------------------------------------------------------------------------------


def test_a_preview_names_what_goes_and_changes_nothing(lab: Project) -> None:
    key, path = keys(lab), paths(lab)
    before = picture(lab.prefix)
    preview = utils.preview_deletion(lab.prefix, [key["b"]])
    assert preview.instances[0].segment == "b"
    expected = {path["b"]: 1, path["c"]: 2, path["d"]: 1, path["e"]: 1}
    assert {item.path: item.tasks for item in preview.instances} == expected
    assert sorted(preview.directories) == sorted([path["b"], path["c"]])
    assert (preview.tasks, preview.kind, preview.tagged) == (5, "instances", ())
    assert f"{path['c']}: 2 tasks" in str(preview)
    assert deletion.measured(tree_of(lab), preview).files > 10
    assert picture(lab.prefix) == before
    assert utils.preview_deletion(lab.prefix, [key["b"]]).digest == preview.digest
    assert utils.preview_deletion(lab.prefix, [key["c"]]).digest != preview.digest


def test_what_is_deleted_is_in_the_trash_and_nowhere_else(lab: Project) -> None:
    key, path = keys(lab), paths(lab)
    gone = utils.delete_instances(lab.prefix, [key["b"]])
    assert sorted(gone) == sorted(path[name] for name in "bcde")
    assert os.listdir(lab.prefix / path["a"] / "data")
    assert not any((lab.prefix / path[name]).exists() for name in "bcde")
    assert list(tree_of(lab).find_instances()) == [path["a"]]
    clean(lab)
    (trashed,) = utils.trash(lab.prefix)
    assert (trashed.kind, trashed.state, trashed.tasks, len(trashed.instances)) == ("instances", "kept", 5, 4)
    assert not trashed.expired
    assert trashed.until - trashed.made == 30 * 86400
    assert trashed.id in str(trashed)
    assert utils.rebuild_db_from_disk(lab.prefix).instances == 1
    assert run(lab).done == 5


@pytest.mark.parametrize("rebuilt", [False, True])
def test_what_is_restored_is_as_it_was(lab: Project, rebuilt: bool) -> None:
    key = keys(lab)
    utils.tag_instances(lab.prefix, [key["c"]], "good")
    before = picture(lab.prefix)
    utils.delete_instances(lab.prefix, [key["b"]], force=True)
    (trashed,) = utils.trash(lab.prefix)
    if rebuilt:
        os.unlink(lab.prefix / ".sqlstatus")
        lab.run(lab.pipeline("a;", {"a": [1, 2, 3]}))
        clean(lab)
    utils.restore(lab.prefix, trashed.id)
    clean(lab)
    if not rebuilt:
        assert picture(lab.prefix) == before
    assert utils.trash(lab.prefix) == []
    assert lab.pipeline(DOT, PUSH).instances("c")[0].tag == "good"
    assert run(lab).done == 0
    with Reader.open(sqlfile(lab)) as reader:
        ids = [row.id for row in reader.instances()]
    assert len(set(ids)) == 5


def test_what_is_tagged_stays_unless_forced(lab: Project) -> None:
    key, path = keys(lab), paths(lab)
    utils.tag_instances(lab.prefix, [key["d"]], "published")
    assert [item.path for item in utils.preview_deletion(lab.prefix, [key["a"]]).tagged] == [path["d"]]
    for verb in (utils.delete_instances, utils.purge_instances):
        with pytest.raises(TaggedError, match=r"d_.* \(published\); take the tag away"):
            verb(lab.prefix, [key["a" if verb is utils.delete_instances else "d"]])
    with pytest.raises(TaggedError):
        utils.delete_tasks(lab.prefix, [tasks(lab, "a")[0].id])
    assert utils.trash(lab.prefix) == []
    utils.delete_instances(lab.prefix, [key["a"]], force=True)
    assert set(keys(lab)) == {"b", "e"}


def test_the_second_of_two_people_gets_a_clear_word(lab: Project) -> None:
    key = keys(lab)
    deletion.delete_instances(tree_of(lab), sqlfile(lab), [key["c"]], by="ada")
    with pytest.raises(UnknownSegmentError, match=r"c was deleted at .* by ada, and is in the trash"):
        utils.delete_instances(lab.prefix, [key["c"]])
    with pytest.raises(UnknownSegmentError, match="no segment instance has"):
        utils.delete_instances(lab.prefix, [""])


def test_two_at_once(lab: Project) -> None:
    key = keys(lab)
    ends: list[object] = []

    def delete() -> None:
        try:
            ends.append(utils.delete_instances(lab.prefix, [key["a"]]))
        except (UnknownSegmentError, PrefixLocked) as error:
            ends.append(str(error))

    threads = [threading.Thread(target=delete) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(end, list) for end in ends) == 1
    assert all("in the trash" in end or "is held by" in end for end in ends if isinstance(end, str))
    assert len(utils.trash(lab.prefix)) == 1
    clean(lab)


def test_a_run_that_holds_the_prefix_is_named(lab: Project) -> None:
    key = keys(lab)
    number = tasks(lab, "a")[0].id
    utils.delete_instances(lab.prefix, [key["e"]])
    (trashed,) = utils.trash(lab.prefix)
    verbs: list[Callable[[], object]] = [
        lambda: utils.delete_instances(lab.prefix, [key["a"]]),
        lambda: utils.purge_instances(lab.prefix, [key["a"]]),
        lambda: utils.delete_tasks(lab.prefix, [number]),
        lambda: utils.restore(lab.prefix, trashed.id),
    ]
    before = picture(lab.prefix)
    with PrefixLock(str(lab.prefix / ".pipelet" / "lock")):
        for verb in verbs:
            with pytest.raises(PrefixLocked, match="pid"):
                verb()
        # That needs no lock: a run may need the room.
        assert utils.empty_trash(lab.prefix) == 1
    assert picture(lab.prefix) == before


def test_what_was_confirmed_must_be_what_goes(lab: Project) -> None:
    key = keys(lab)
    preview = utils.preview_deletion(lab.prefix, [key["e"]])
    lab.run(lab.pipeline(DOT, {**PUSH, "b": ["x", "y"]}))
    with pytest.raises(PreviewChanged, match="look at it again"):
        deletion.delete_instances(tree_of(lab), sqlfile(lab), [key["e"]], expected=preview.digest)
    again = utils.preview_deletion(lab.prefix, [key["e"]])
    deletion.delete_instances(tree_of(lab), sqlfile(lab), [key["e"]], expected=again.digest)
    assert "e" not in keys(lab)


def test_what_lies_below_and_does_not_descend_is_not_lost(lab: Project) -> None:
    key, path = keys(lab), paths(lab)
    with closing(sqlite3.connect(lab.prefix / ".sqlstatus")) as database, database:
        database.execute("UPDATE instance SET parents = '[]' WHERE segment = 'd'")
    with pytest.raises(TrashError, match=rf"{path['d']} lies below .* does not descend"):
        utils.delete_instances(lab.prefix, [key["c"]])
    assert (lab.prefix / path["d"]).is_dir()


def test_nothing_is_moved_through_links(lab: Project, tmp_path: Path) -> None:
    key, path = keys(lab), paths(lab)
    shutil.move(lab.prefix / path["a"], tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", lab.prefix / path["a"])
    for verb in (utils.delete_instances, utils.purge_instances):
        with pytest.raises(StorageError, match="is a link"):
            verb(lab.prefix, [key["a"]])
    assert set(keys(lab)) == set("abcde")
    assert utils.trash(lab.prefix) == []


# --- the trash -------------------------------------------------------------------------------------------------------


def test_restoring_says_what_stands_in_its_way(lab: Project) -> None:
    key = keys(lab)
    utils.delete_instances(lab.prefix, [key["d"]])
    (first,) = utils.trash(lab.prefix)
    run(lab)
    with pytest.raises(TrashError, match="computed again since"):
        utils.restore(lab.prefix, first.id)
    utils.delete_instances(lab.prefix, [key["a"]])
    with pytest.raises(TrashError, match="descends from what is deleted"):
        utils.restore(lab.prefix, first.id)
    with pytest.raises(TrashError, match="not in the trash"):
        utils.restore(lab.prefix, "20200101-000000-abcdef")
    second = utils.trash(lab.prefix)[0]
    utils.restore(lab.prefix, second.id)
    with pytest.raises(TrashError, match="computed again"):
        utils.restore(lab.prefix, first.id)
    clean(lab)


def test_emptying_is_final_and_can_be_gone_on_with(lab: Project) -> None:
    key = keys(lab)
    utils.delete_instances(lab.prefix, [key["d"]])
    utils.delete_instances(lab.prefix, [key["e"]], days=1e-9)
    kept, expired = sorted(utils.trash(lab.prefix), key=lambda item: item.expired)
    assert (kept.expired, expired.expired) == (False, True)
    assert utils.empty_trash(lab.prefix, expired=True) == 1
    assert [item.id for item in utils.trash(lab.prefix)] == [kept.id]
    os.chmod(next(Path(tree_of(lab).trash_dir).iterdir()) / "0" / "data", 0o500)

    def stop(files: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        utils.empty_trash(lab.prefix, progress=stop)
    (item,) = utils.trash(lab.prefix) or [None]
    if item is not None:
        assert item.state == "going"
        with pytest.raises(TrashError, match="being deleted for good"):
            utils.restore(lab.prefix, kept.id)
    utils.empty_trash(lab.prefix, expired=True)
    assert os.listdir(tree_of(lab).trash_dir) == []
    with pytest.raises(TrashError, match="not in the trash"):
        utils.empty_trash(lab.prefix, [kept.id])


def test_no_days_is_at_once(lab: Project) -> None:
    utils.delete_instances(lab.prefix, [keys(lab)["b"]], days=0)
    assert utils.trash(lab.prefix) == []
    assert os.listdir(tree_of(lab).trash_dir) == []
    clean(lab)


def test_a_run_leaves_the_trash_alone_and_clears_the_old_place(lab: Project) -> None:
    utils.delete_instances(lab.prefix, [keys(lab)["e"]])
    left = lab.prefix / ".pipelet" / "trash" / ("0" * 32)
    left.mkdir()
    run(lab)
    assert not left.exists()
    assert len(utils.trash(lab.prefix)) == 1


def bagged(lab: Project, name: str) -> deletion.Trashed:
    return deletion.delete_instances(tree_of(lab), sqlfile(lab), [keys(lab)[name]])


DAMAGES = {
    "no manifest": ("manifest.json", None),
    "half a manifest": ("manifest.json", '{"made": 1'),
    "another manifest": ("manifest.json", "[]"),
    "no kind": ("manifest.json", '{"made": 1, "until": 1, "by": "ada", "instances": []}'),
    "no date": ("manifest.json", '{"kind": "tasks", "made": NaN, "until": 1, "by": "ada", "instances": []}'),
    "no instance": ("manifest.json", '{"kind": "tasks", "made": 1, "until": 1, "by": "ada", "instances": [{}]}'),
    "no moves": ("moves.json", None),
    "half of the moves": ("moves.json", '{"moves": [["a"'),
    "odd moves": ("moves.json", '{"moves": [["a"]]}'),
    "moves from elsewhere": ("moves.json", '{"moves": [["../a", "0"]]}'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_in_the_trash_is_neither_lost_nor_in_the_way(lab: Project, damage: str) -> None:
    trashed = bagged(lab, "e")
    other = bagged(lab, "d")
    name, text = DAMAGES[damage]
    bag = Path(tree_of(lab).trash_dir) / trashed.id
    (bag / name).unlink()
    if text is not None:
        (bag / name).write_text(text)
    kept = sorted(path for path in bag.rglob("*") if path.name == "product.txt")
    assert kept
    assert [item.id for item in utils.trash(lab.prefix)] == [other.id, trashed.id]
    assert trashed.id in str(utils.trash(lab.prefix)[1])
    with pytest.raises(TrashError, match=r"is damaged .* by hand"):
        utils.restore(lab.prefix, trashed.id)
    # Time does not make it final, since nobody knows which time.
    deletion.keep_house(tree_of(lab), sqlfile(lab))
    assert all(path.exists() for path in kept)
    utils.restore(lab.prefix, other.id)
    run(lab)
    clean(lab)
    assert utils.empty_trash(lab.prefix, [trashed.id]) == 1
    assert not bag.exists()


def test_links_in_the_trash_are_no_deletions(lab: Project, tmp_path: Path) -> None:
    trashed = bagged(lab, "e")
    trash = Path(tree_of(lab).trash_dir)
    (trash / trashed.id).rename(tmp_path / "elsewhere")
    (trash / trashed.id).symlink_to(tmp_path / "elsewhere")
    assert utils.trash(lab.prefix) == []
    assert utils.empty_trash(lab.prefix) == 0
    assert list((tmp_path / "elsewhere").iterdir())


def test_a_cut_deletion_that_is_damaged_stops_who_would_go_on_and_says_where(lab: Project) -> None:
    trashed = bagged(lab, "e")
    trash = Path(tree_of(lab).trash_dir)
    (trash / trashed.id).rename(trash / f"{trashed.id}.moving")
    (trash / f"{trashed.id}.moving" / "moves.json").unlink()
    with pytest.raises(StorageError, match=rf"{trashed.id}\.moving.* is damaged"):
        run(lab)
    (trash / f"{trashed.id}.moving").rename(lab.prefix.parent / "away")
    run(lab)
    clean(lab)


def test_keeping_house_finishes_and_deletes_what_has_expired(lab: Project) -> None:
    utils.delete_instances(lab.prefix, [keys(lab)["d"]], days=1e-9)
    utils.delete_instances(lab.prefix, [keys(lab)["e"]])
    deletion.keep_house(tree_of(lab), sqlfile(lab))
    (left,) = utils.trash(lab.prefix)
    assert [item.segment for item in left.instances] == ["e"]


# --- purge -----------------------------------------------------------------------------------------------------------


def test_a_purge_keeps_the_record(lab: Project) -> None:
    key, path = keys(lab), paths(lab)
    before = picture(lab.prefix)
    preview = utils.preview_purge(lab.prefix, [key["a"], key["d"]])
    assert sorted(preview.directories) == sorted([f"{path['a']}/data", f"{path['d']}/data"])
    assert "computes them again: data missing on disk" in str(preview)
    trashed = utils.purge_instances(lab.prefix, [key["a"], key["d"]])
    assert not (lab.prefix / path["a"] / "data").exists()
    assert {"a.py", "a.args", "a.meta", "a.journal", "log"} <= set(os.listdir(lab.prefix / path["a"]))
    assert json.loads((lab.prefix / path["a"] / "a.meta").read_text())["purged"].startswith("20")
    assert len(tasks(lab, "a")) == 2
    clean(lab)
    said = lab.pipeline(DOT, PUSH).explain()
    assert said["a"].counts == {"data missing on disk": 2}
    utils.restore(lab.prefix, trashed.id)
    assert picture(lab.prefix) == before
    clean(lab)
    utils.purge_instances(lab.prefix, [key["a"]])
    assert run(lab).counts["a"]["done"] == 2
    assert (lab.prefix / path["a"] / "data").exists()
    clean(lab)
    with pytest.raises(TrashError, match="computed again since"):
        utils.restore(lab.prefix, utils.trash(lab.prefix)[0].id)
    shutil.rmtree(lab.prefix / path["a"] / "data")
    assert not utils.check_prefix(lab.prefix).clean


def test_a_strict_umask_shuts_nobody_out(lab: Project) -> None:
    path = paths(lab)["a"]
    before = os.umask(0o077)
    try:
        trashed = utils.purge_instances(lab.prefix, [keys(lab)["a"]])
    finally:
        os.umask(before)
    trash = lab.prefix / ".pipelet" / "trash"
    modes = [trash, trash / trashed.id, trash / trashed.id / "manifest.json", lab.prefix / path / "a.meta"]
    assert [oct(file.stat().st_mode & 0o777) for file in modes] == ["0o755", "0o755", "0o644", "0o644"]


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_deleting_a_task_takes_what_depends_on_it(lab: Project) -> None:
    one, two = tasks(lab, "a")
    before = picture(lab.prefix)
    preview = utils.preview_task_deletion(lab.prefix, [one.id])
    doomed = [one.id, *(task.id for name in "cd" for task in tasks(lab, name) if name == "d" or task.input != ("x",))]
    assert {item.segment: item.tasks for item in preview.instances} == {"a": 1, "c": 1, "d": 1}
    assert set(preview.task_ids) <= set(doomed)
    trashed = utils.delete_tasks(lab.prefix, [one.id])
    assert trashed.tasks == 3
    clean(lab)
    assert [task.id for task in tasks(lab, "a")] == [two.id]
    assert not os.path.exists(one.path)
    assert os.path.exists(two.path)
    assert tasks(lab, "d") == []
    utils.restore(lab.prefix, trashed.id)
    clean(lab)
    assert alike(picture(lab.prefix), before)
    trashed = utils.delete_tasks(lab.prefix, [one.id])
    rebuilt = utils.rebuild_db_from_disk(lab.prefix)
    assert rebuilt.tasks == 4
    summary = run(lab)
    assert summary.done == 3
    clean(lab)
    with pytest.raises(TrashError, match="computed again since"):
        utils.restore(lab.prefix, trashed.id)
    with pytest.raises(TrashError, match="no task 999"):
        utils.delete_tasks(lab.prefix, [999])


def test_the_file_of_the_parameters_tells_of_the_tasks_that_are_left(project: Project) -> None:
    project.write(a='value = f"of {get_input()}"\nexpose(["value"])\n')
    project.run(project.pipeline("a;", {"a": [1, 2, 3]}))
    (file,) = project.prefix.glob("a_*/a.args")
    before = file.read_text()
    ids = [task.id for task in project.pipeline("a;").tasks("a")]
    one = utils.delete_tasks(project.prefix, ids[:1])
    assert "of 1" not in file.read_text()
    assert "of 3" in file.read_text()
    clean(project)
    rest = utils.delete_tasks(project.prefix, ids[1:])
    assert "of" not in file.read_text()
    clean(project)
    for trashed in (rest, one):
        utils.restore(project.prefix, trashed.id)
        clean(project)
    assert file.read_text() == before


def test_the_task_that_has_data_itself_goes_without_the_others(project: Project) -> None:
    project.write(a=NAMED)
    project.run(project.pipeline("a;", {"a": [1]}))
    pipeline = project.pipeline("a;", {"a": [1, 2]})
    project.run(pipeline)
    one, two = pipeline.tasks("a")
    assert os.path.dirname(two.path) == one.path
    trashed = utils.delete_tasks(project.prefix, [one.id])
    clean(project)
    assert sorted(os.listdir(one.path)) == [os.path.basename(two.path)]
    utils.restore(project.prefix, trashed.id)
    clean(project)
    assert "product.txt" in os.listdir(one.path)
    assert project.run(pipeline).done == 0


def test_tasks_come_back_as_not_wanted_where_a_run_wanted_others(project: Project) -> None:
    project.write(a=NAMED)
    pipeline = project.pipeline("a;", {"a": [1, 2, 3]})
    project.run(pipeline)
    trashed = utils.delete_tasks(project.prefix, [pipeline.tasks("a")[2].id])
    less = project.pipeline("a;", {"a": [1]})
    project.run(less)
    utils.restore(project.prefix, trashed.id)
    clean(project)
    assert less.outputs("a") == [1]
    assert less.status()["a"] == {"done": 1}
    assert project.run(pipeline).done == 0
    clean(project)


# --- cut at every step -----------------------------------------------------------------------------------------------

_STEPS = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate", "os.utime", "os.chmod"}
#: Of the database, also those that triggers begin.
_STATEMENTS = {"BEGIN", "INSERT", "UPDATE", "DELETE", "COMMIT"}


def gone() -> None:
    """End as a cut does: what measures the coverage saves its data in `os._exit`, and would be counted."""
    os.kill(os.getpid(), signal.SIGKILL)


def cut_at(step: int, verb: Callable[[], object]) -> bool:
    """Do something in a process that is gone before its n-th change of disk or database; tell whether it ended."""
    child = os.fork()
    if not child:
        count = 0
        connect = sqlite3.connect
        status = 1

        def one_more() -> None:
            nonlocal count
            count += 1
            if count == step:
                gone()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            if event in _STEPS or writes:
                one_more()

        def told(statement: str) -> None:
            if statement.lstrip("- ").split(None, 1)[0].upper() in _STATEMENTS:
                one_more()

        def traced(*arguments: Any, **named: Any) -> sqlite3.Connection:
            connection = connect(*arguments, **named)
            connection.set_trace_callback(told)
            return connection

        try:
            sys.addaudithook(hook)
            sqlite3.connect = traced
            verb()
            status = 0
        finally:
            posix._exit(status)
    _, ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    assert code in (0, -signal.SIGKILL)
    return code == 0


def recovered(project: Project, step: int) -> None:
    """The next start, one of several."""
    tree = tree_of(project)
    if step % 3 == 0:
        deletion.keep_house(tree, sqlfile(project))
    elif step % 3 == 1:
        utils.rebuild_db_from_disk(project.prefix)
    else:
        utils.check_prefix(project.prefix, repair=True)
    assert were_cut(tree) == []


def _verbs(lab: Project) -> dict[str, Callable[[Path], object]]:
    key = keys(lab)
    number = tasks(lab, "a")[0].id
    return {
        "delete": lambda prefix: utils.delete_instances(prefix, [key["b"]]),
        "purge": lambda prefix: utils.purge_instances(prefix, [key["a"], key["c"]]),
        "tasks": lambda prefix: utils.delete_tasks(prefix, [number]),
    }


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["delete", "purge", "tasks"])
def test_cut_at_every_step_of_a_deletion(lab: Project, name: str) -> None:
    verb = _verbs(lab)[name]
    untouched = picture(lab.prefix)
    whole = lab.root / "whole"
    lab.prefix.rename(whole)
    shutil.copytree(whole, lab.prefix)
    verb(lab.prefix)
    deleted = picture(lab.prefix)
    ends = set()
    step = 0
    ended = False
    while not ended:
        step += 1
        shutil.rmtree(lab.prefix)
        shutil.copytree(whole, lab.prefix)
        ended = cut_at(step, lambda: verb(lab.prefix))
        recovered(lab, step)
        agree(lab, step)
        after = picture(lab.prefix)
        kept = [item for item in utils.trash(lab.prefix) if item.state == "kept"]
        assert len(kept) == len(list(lab.prefix.glob(".pipelet/trash/*")))
        if name == "purge":
            after = {path: value for path, value in after.items() if not path.endswith(".meta")}
            one, other = ({p: v for p, v in x.items() if not p.endswith(".meta")} for x in (untouched, deleted))
        else:
            one, other = untouched, deleted
        assert alike(after, one if not kept else other), f"step {step}"
        ends.add(len(kept))
        if step % 10 == 0:
            run(lab)
            clean(lab)
    assert ends == {0, 1}
    assert step > 10


@pytest.mark.no_cover
@pytest.mark.parametrize("name", ["delete", "purge", "tasks"])
def test_cut_at_every_step_of_a_restoration(lab: Project, name: str) -> None:
    untouched = picture(lab.prefix)
    _verbs(lab)[name](lab.prefix)
    deleted = picture(lab.prefix)
    (trashed,) = utils.trash(lab.prefix)
    whole = lab.root / "whole"
    lab.prefix.rename(whole)
    step = 0
    ended = False
    ends = set()
    while not ended:
        step += 1
        shutil.rmtree(lab.prefix, ignore_errors=True)
        shutil.copytree(whole, lab.prefix)
        ended = cut_at(step, lambda: utils.restore(lab.prefix, trashed.id))
        recovered(lab, step)
        agree(lab, step)
        kept = [item for item in utils.trash(lab.prefix) if item.state == "kept"]
        assert alike(picture(lab.prefix), deleted if kept else untouched), f"step {step}"
        ends.add(len(kept))
    assert ends == {0, 1}
    assert run(lab).done == 0


@pytest.mark.no_cover
def test_cut_at_every_step_of_the_emptying_of_the_trash(lab: Project) -> None:
    verbs = _verbs(lab)
    for name in ("purge", "tasks", "delete"):
        verbs[name](lab.prefix)
    deleted = picture(lab.prefix)
    whole = lab.root / "whole"
    lab.prefix.rename(whole)
    step = 0
    ended = False
    states = set()
    while not ended:
        step += 1
        shutil.rmtree(lab.prefix, ignore_errors=True)
        shutil.copytree(whole, lab.prefix)
        ended = cut_at(step, lambda: utils.empty_trash(lab.prefix))
        agree(lab, step)
        assert picture(lab.prefix) == deleted, f"step {step}"
        states.update(item.state for item in utils.trash(lab.prefix))
        deletion.keep_house(tree_of(lab), sqlfile(lab))
        assert {item.state for item in utils.trash(lab.prefix)} <= {"kept"}
    assert states == {"kept", "going"}
    assert os.listdir(tree_of(lab).trash_dir) == []
    assert step > 30


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["take", "turn"])
@pytest.mark.parametrize("name", ["delete", "purge", "tasks"])
def test_what_fails_is_undone(lab: Project, name: str, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verb = _verbs(lab)[name]
    before = picture(lab.prefix)
    right = getattr(Bag, where)
    failed = []

    def broken(self: Bag, *arguments: Any) -> None:
        if where == "take":
            right(self)
        if not failed:
            failed.append(True)
            raise StorageError("no room")
        right(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Bag, where, broken)
        with pytest.raises(StorageError, match="no room"):
            verb(lab.prefix)
    assert bags(tree_of(lab)) == []
    assert alike(picture(lab.prefix), before)
    clean(lab)
    assert run(lab).done == 0


def test_a_full_database_undoes_it(lab: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = picture(lab.prefix)
    program = f"""
import sqlite3
from pipelet import utils
from pipelet.statusdb import writer
writer.sql.DELETE_INSTANCE = ("SELECT no such thing",)
utils.delete_instances({str(lab.prefix)!r}, [{keys(lab)["b"]!r}])
"""
    ended = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 1
    assert picture(lab.prefix) == before
    clean(lab)


def cut_before_rows(lab: Project) -> None:
    """A deletion of b and its descendants whose directories are gone, and whose rows are there."""
    key = keys(lab)

    def verb() -> None:
        right = Bag.take

        def last(self: Bag) -> None:
            right(self)
            gone()

        Bag.take = last  # type: ignore[method-assign]
        utils.delete_instances(lab.prefix, [key["b"]])

    assert not cut_at(10**9, verb)


def test_a_run_finishes_what_was_cut_and_explain_knew_it(lab: Project) -> None:
    cut_before_rows(lab)
    assert [finding.kind for finding in utils.check_prefix(lab.prefix).findings].count("trash") == 1
    said = lab.pipeline(DOT, PUSH).explain()
    summary = run(lab)
    assert {name: item.to_run for name, item in said.items()} == {"a": 0, "b": 1, "c": 0, "d": 0, "e": 0}
    assert {name: counts["done"] for name, counts in summary.counts.items()} == {"a": 0, "b": 1, "c": 2, "d": 1, "e": 1}
    assert [item.state for item in utils.trash(lab.prefix)] == ["kept"]
    assert "cut off" in (lab.prefix / ".pipelet" / "log" / "pipelet.log").read_text()
    clean(lab)


def test_what_was_cut_is_finished_without_a_database(lab: Project) -> None:
    cut_before_rows(lab)
    for file in lab.prefix.glob(".sqlstatus*"):
        file.unlink()
    assert run(lab).done == 5
    clean(lab)


def test_what_was_cut_is_finished_by_a_repair_of_a_damaged_database(lab: Project) -> None:
    cut_before_rows(lab)
    with closing(sqlite3.connect(lab.prefix / ".sqlstatus")) as database:
        database.execute("PRAGMA journal_mode = DELETE")
    content = (lab.prefix / ".sqlstatus").read_bytes()
    (lab.prefix / ".sqlstatus").write_bytes(content[:4096] + b"x" * (len(content) - 4096))
    report = utils.check_prefix(lab.prefix, repair=True)
    assert report.clean, str(report)
    assert [item.state for item in utils.trash(lab.prefix)] == ["kept"]
    assert set(keys(lab)) == {"a"}
