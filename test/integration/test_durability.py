"""What is waited for before a task counts as done, and what becomes of the doubts when the machine died."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from support import Project, run_to_end, until

from pipelet.errors import PipelineError, StorageError
from pipelet.storage import Tree, durability
from pipelet.storage.durability import ALWAYS, POWER, PROCESS, Products, read_durability
from pipelet.storage.files import replacement
from pipelet.storage.journal import Journal

SCRIPTS = {
    "a": "with open(get_data_fn('a.txt'), 'w') as f:\n    f.write('a')\nset_output([get_input(), get_input() + 10])\n",
    "b": "set_output(get_input())\n",
}


class Disk:
    """Counts the synchronisations, and refuses them if told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.broken = False
        for module, name in ((durability, "sync_file_system"), (os, "fsync")):
            monkeypatch.setattr(module, name, self._noting(name, getattr(module, name)))
        append = Journal.append

        def noting(journal, events, *more):
            if any(event[0] == "task" and event[5] is not None for event in events):
                self.calls.append("record")
            return append(journal, events, *more)

        monkeypatch.setattr(Journal, "append", noting)

    def _noting(self, name, real):
        def call(where):
            if self.broken and name == "sync_file_system":
                raise OSError(5, "Input/output error")
            self.calls.append(name)
            return real(where)

        return call


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


class Accounts(Products):
    """Products of a prefix whose journals have the sizes that are given."""

    def __init__(self, root: Path, level: str) -> None:
        self.sizes = {"a_ABCDEF": 100, "b_ABCDEF": 0}
        self.path = root / "unsynced"
        super().__init__(str(root), str(self.path), level, lambda path: self.sizes[path], str(root / "trash"))

    @property
    def begin(self) -> dict[str, int]:
        """What the mark says."""
        return json.loads(self.path.read_text())["begin"]


# --- the mark --------------------------------------------------------------------------------------------------------


def test_the_mark_stands_until_the_end(tmp_path, disk):
    products = Accounts(tmp_path, POWER)
    assert products.doubtful() == {}
    products.expect(["a_ABCDEF", "b_ABCDEF"])
    assert products.begin == {"a_ABCDEF": 100, "b_ABCDEF": 0}
    products.sizes["a_ABCDEF"] = 200
    products.expect(["a_ABCDEF", "b_ABCDEF"])
    assert products.begin == {"a_ABCDEF": 100, "b_ABCDEF": 0}
    assert "sync_file_system" not in disk.calls
    products.close()
    assert not products.path.exists()
    assert disk.calls[-2:] == ["sync_file_system", "fsync"]


def test_the_mark_moves_on_while_the_run_lasts(tmp_path, monkeypatch, disk):
    monkeypatch.setattr(durability, "SYNC_SECONDS", 0.01)
    products = Accounts(tmp_path, POWER)
    products.expect(["a_ABCDEF"])
    products.sizes["a_ABCDEF"] = 200
    until(lambda: products.begin == {"a_ABCDEF": 200}, "the mark to move")
    products.expect(["a_ABCDEF", "b_ABCDEF"])
    assert products.begin["b_ABCDEF"] == 0
    products.close()


def test_after_a_boot_what_is_behind_the_mark_is_doubtful(tmp_path, monkeypatch):
    Accounts(tmp_path, POWER).expect(["a_ABCDEF"])
    assert Accounts(tmp_path, POWER).doubtful() == {}
    monkeypatch.setattr(durability, "boot", lambda: "the next one")
    products = Accounts(tmp_path, POWER)
    assert products.doubtful() == {"a_ABCDEF": 100}
    products.trust()
    assert products.doubtful() == {}


def test_a_run_takes_over_the_mark_of_one_that_was_killed(tmp_path):
    Accounts(tmp_path, POWER).expect(["a_ABCDEF"])
    products = Accounts(tmp_path, POWER)
    products.sizes["a_ABCDEF"] = 200
    products.expect(["a_ABCDEF", "b_ABCDEF"])
    assert products.begin == {"a_ABCDEF": 100, "b_ABCDEF": 0}


def test_a_run_that_wrote_nothing_synchronises_what_a_killed_one_left(tmp_path, disk):
    Accounts(tmp_path, POWER).expect(["a_ABCDEF"])
    Accounts(tmp_path, POWER).close()
    assert disk.calls[-2:] == ["sync_file_system", "fsync"]
    assert not (tmp_path / "unsynced").exists()


def test_a_run_that_wrote_nothing_waits_for_nothing(tmp_path, disk):
    for level in (PROCESS, POWER, ALWAYS):
        Accounts(tmp_path, level).close()
    assert disk.calls == []


def test_always_waits_each_time_and_needs_no_mark(tmp_path, disk):
    Accounts(tmp_path, POWER).expect(["a_ABCDEF"])
    disk.calls.clear()
    products = Accounts(tmp_path, ALWAYS)
    products.expect(["a_ABCDEF"])
    assert not products.path.exists()
    products.expect(["a_ABCDEF"])
    products.close()
    assert disk.calls.count("sync_file_system") == 2


def test_process_waits_for_nothing_and_leaves_the_mark_of_others(tmp_path, disk):
    Accounts(tmp_path, POWER).expect(["a_ABCDEF"])
    disk.calls.clear()
    products = Accounts(tmp_path, PROCESS)
    products.expect(["a_ABCDEF"])
    products.close()
    assert disk.calls == []
    assert products.begin == {"a_ABCDEF": 100}


@pytest.mark.parametrize("level", [POWER, ALWAYS])
def test_a_disk_that_refuses_is_an_error_in_words(tmp_path, monkeypatch, disk, level):
    monkeypatch.setattr(durability, "SYNC_SECONDS", 0.0)
    disk.broken = True
    products = Accounts(tmp_path, level)

    def refused() -> str:
        try:
            products.expect(["a_ABCDEF"])
        except StorageError as error:
            return str(error)
        return ""

    assert "can't write the products to the disk" in until(refused, "the error")
    if level == POWER:
        with pytest.raises(StorageError, match="can't write the products to the disk"):
            products.close()


@pytest.mark.parametrize("text", ["", "[1]", '{"boot": "x"}', '{"boot": "x", "begin": {"a": "b"}}'])
def test_a_damaged_mark_is_an_error_in_words(tmp_path, text):
    (tmp_path / "unsynced").write_text(text)
    with pytest.raises(StorageError, match=r"unsynced is damaged: .* \(delete it, and "):
        Accounts(tmp_path, POWER).doubtful()


@pytest.mark.parametrize("level", ["products", "", None, 1, ["power"]])
def test_a_level_that_does_not_exist(level):
    with pytest.raises(PipelineError, match="is none of 'process', 'power', 'always'; 'power' is taken if nothing"):
        read_durability(level)


def test_where_the_system_can_not_synchronise_one_file_system_it_does_all(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(os, "sync", lambda: calls.append("sync"))
    monkeypatch.setattr(durability, "_syncfs", lambda: None)
    durability.sync_file_system(str(tmp_path))

    def unknown(descriptor: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(durability, "_syncfs", lambda: unknown)
    durability.sync_file_system(str(tmp_path))
    assert calls == ["sync", "sync"]


# --- runs ------------------------------------------------------------------------------------------------------------


def test_products_are_on_the_disk_before_the_record(project: Project, disk):
    run_to_end(project.write(**SCRIPTS).pipeline("a -> b", {"a": [1]}, durability=ALWAYS))
    record = disk.calls.index("record")
    assert "sync_file_system" in disk.calls[:record]
    assert "fsync" in disk.calls[record:]


def test_one_wait_for_the_products_at_the_end(project: Project, disk):
    run_to_end(project.write(**SCRIPTS).pipeline("a -> b", {"a": [1, 2]}))
    assert disk.calls.count("sync_file_system") == 1
    assert "record" in disk.calls[: disk.calls.index("sync_file_system")]
    disk.calls.clear()
    assert run_to_end(project.pipeline("a -> b", {"a": [1, 2]})).reused == 6
    assert disk.calls == []


def test_tasks_without_files_are_not_waited_for(project: Project, disk):
    run_to_end(project.write(**SCRIPTS).pipeline("b", {"b": [1, 2]}, durability=ALWAYS))
    assert "sync_file_system" not in disk.calls


def test_a_level_for_those_who_can_repeat(project: Project, disk):
    run_to_end(project.write(**SCRIPTS).pipeline("a -> b", {"a": [1, 2]}, durability=PROCESS))
    assert set(disk.calls) == {"record"}


def test_a_disk_that_fails_at_the_end_ends_the_run(project: Project, disk):
    disk.broken = True
    with pytest.raises(StorageError, match="can't write the products to the disk"):
        run_to_end(project.write(**SCRIPTS).pipeline("a -> b", {"a": [1, 2]}))
    assert (project.prefix / ".pipelet" / "unsynced").exists()
    disk.broken = False
    assert run_to_end(project.pipeline("a -> b", {"a": [1, 2]})).reused == 6


def test_what_a_power_cut_may_have_cost_runs_again(project: Project, disk, monkeypatch):
    """Those that left files behind the mark, and only they; what explain says before is what happens."""
    project.write(**SCRIPTS)
    run_to_end(project.pipeline("a -> b", {"a": [1]}))
    disk.broken = True
    with pytest.raises(StorageError):
        run_to_end(project.pipeline("a -> b", {"a": [1, 2, 3]}))
    disk.broken = False
    monkeypatch.setattr(durability, "boot", lambda: "the next one")
    # Their contents never reached the disk.
    for task in project.pipeline("a -> b").tasks("a"):
        if task.text != "1":
            Path(str(task.path), "a.txt").write_text("")
    pipeline = project.pipeline("a -> b", {"a": [1, 2, 3]})
    said = pipeline.explain()
    assert (said["a"].to_run, said["a"].reused, said["b"].to_run) == (2, 1, 0)
    messages: list[str] = []
    summary = run_to_end(pipeline, messages)
    assert (summary.done, summary.reused) == (2, 7)
    assert any("the machine died before it had written all files: 2 tasks run again" in text for text in messages)
    assert {Path(str(task.path), "a.txt").read_text() for task in pipeline.tasks("a")} == {"a"}
    assert run_to_end(pipeline).done == 0


def test_a_run_with_nothing_to_do_waits_for_what_the_one_before_did_not(project: Project, disk):
    project.write(**SCRIPTS)
    disk.broken = True
    with pytest.raises(StorageError):
        run_to_end(project.pipeline("a -> b", {"a": [1, 2]}))
    mark = project.prefix / ".pipelet" / "unsynced"
    # The machine may die here as well: a run that could not wait must not forget.
    with pytest.raises(StorageError):
        run_to_end(project.pipeline("a -> b", {"a": [1, 2]}))
    assert mark.exists()
    disk.broken = False
    disk.calls.clear()
    assert run_to_end(project.pipeline("a -> b", {"a": [1, 2]})).done == 0
    assert "sync_file_system" in disk.calls
    assert not mark.exists()


def test_doubts_outlive_the_database(project: Project, disk, monkeypatch):
    project.write(**SCRIPTS)
    disk.broken = True
    with pytest.raises(StorageError):
        run_to_end(project.pipeline("a -> b", {"a": [1, 2]}))
    disk.broken = False
    (project.prefix / ".sqlstatus").unlink()
    monkeypatch.setattr(durability, "boot", lambda: "the next one")
    pipeline = project.pipeline("a -> b", {"a": [1, 2]})
    assert pipeline.explain()["a"].to_run == 2
    assert (run_to_end(pipeline).done, run_to_end(pipeline).done) == (2, 0)


def test_files_of_tasks_on_no_record_go_with_a_lost_database(project: Project):
    pipeline = project.write(**SCRIPTS).pipeline("a -> b", {"a": [1, 2]})
    run_to_end(pipeline)
    [instance] = project.prefix.glob("a_*")
    stray, named_alike, log = instance / "data" / "77_5", instance / "data" / "77 theirs", instance / "log" / "77.log"
    for directory in (stray, named_alike, log.parent):
        directory.mkdir(exist_ok=True)
    log.write_text("killed")
    assert run_to_end(pipeline).done == 0
    assert stray.exists()
    (project.prefix / ".sqlstatus").unlink()
    assert run_to_end(pipeline).done == 0
    assert not stray.exists()
    assert not log.exists()
    assert named_alike.exists()
    assert len(list((instance / "data").iterdir())) == 3


def test_products_that_look_like_strays_stay(project: Project):
    """The one task of a segment has ``data/`` itself, and may call its directories what it likes."""
    project.write(a="import os\nos.makedirs(get_data_fn('77_mine'))\n")
    pipeline = project.pipeline("a")
    run_to_end(pipeline)
    (project.prefix / ".sqlstatus").unlink()
    assert run_to_end(pipeline).done == 0
    assert len(list(project.prefix.glob("a_*/data/77_mine"))) == 1


def test_a_database_that_was_begun_and_not_made_counts_as_none(project: Project, tmp_path):
    """A run was killed between the making of the file and that of the tables."""
    pipeline = project.write(**SCRIPTS).pipeline("a -> b", {"a": [1, 2]})
    run_to_end(pipeline)
    (project.prefix / ".sqlstatus").unlink()
    database = sqlite3.connect(project.prefix / ".sqlstatus")
    database.execute("PRAGMA journal_mode = WAL")
    database.close()
    assert (project.prefix / ".sqlstatus").stat().st_size > 0
    assert len(pipeline.tasks("a")) == 2
    assert pipeline.explain()["a"].reused == 2
    assert run_to_end(pipeline).reused == 6


# --- unfinished files ------------------------------------------------------------------------------------------------


def test_a_killed_writer_leaves_nothing_beside_the_file(tmp_path, project: Project):
    """Unfinished files lie where they can't be in the way, in a directory which each run empties."""
    pipeline = project.write(**SCRIPTS).pipeline("a -> b", {"a": [1]})
    run_to_end(pipeline)
    tree = Tree(str(project.prefix))
    before = sorted(project.prefix.rglob("*"))
    child = os.fork()
    if child == 0:
        with replacement(str(project.prefix / "x"), True, tree.discard_dir) as file:
            file.write(b"half")
            os._exit(0)
    os.waitpid(child, 0)
    assert len(os.listdir(tree.discard_dir)) == 1
    run_to_end(pipeline)
    assert sorted(project.prefix.rglob("*")) == before


def test_a_file_on_another_file_system_is_replaced_as_well(tmp_path, monkeypatch):
    (tmp_path / "trash").mkdir()
    real = os.replace

    def refuse(source, target):
        if os.path.dirname(source) != os.path.dirname(target):
            raise OSError(18, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with replacement(str(tmp_path / "file"), True, str(tmp_path / "trash")) as file:
        file.write(b"whole")
    assert (tmp_path / "file").read_bytes() == b"whole"
    assert os.listdir(tmp_path / "trash") == []
    shutil.rmtree(tmp_path / "trash")
