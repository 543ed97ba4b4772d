"""Power cuts: the writes of real runs are recorded and cut at many points; from each the next run must go on.

``PIPELET_CUTS`` says how many cuts are tried; ``all`` tries every point with every kind of state.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import look
import pytest
from powercut import KINDS, acknowledged, after_cut, named
from shapes import COPY, FILES, Shape, Stage
from support import ENVIRONMENT, run_to_end
from writes import Recording, can_record, record

from pipelet.storage import Journal, durability

SCRIPTS = {
    "a": FILES.replace("0.08", "0"),
    "b": COPY.replace("0.04", "0").replace("(x, len(read(path)))", "x"),
    "c": "set_output([x])\n",
    "t": "#multiplex cross_prod group_by \"'all'\"\nwrite('sum.txt', '+'.join(sorted(map(str, get_input('b')))))\n"
    "glob_parent('*')\nset_output([len(get_input('b'))])\n",
}
#: The first segment leaves no files, so its records come before any wait for products. The second stage makes a new
#: version of t, so that directories move.
SHAPE = Shape(
    "powercut", "c -> a -> b -> t", (Stage({"c": [1, 2]}, SCRIPTS), Stage({"c": [1, 2, 3]}, SCRIPTS)), frozenset("t")
)
#: Two runs, one after the other, in processes of their own.
DRIVER = """
import subprocess, sys
for spec in ("first.json", "second.json"):
    open("spec.json", "w").write(open(spec).read())
    subprocess.run([sys.executable, "main.py"], check=True)
"""
CUTS = os.environ.get("PIPELET_CUTS", "20")


class Recorded:
    """Two runs on a disk, recorded at one level of durability."""

    def __init__(self, root: Path, level: str) -> None:
        self.root, self.level = root / "code", level
        self.disk = root / "disk"
        self.root.mkdir(parents=True)
        self.disk.mkdir()
        options = {"prefix": str(self.disk / "prefix"), "durability": level}
        for number, name in enumerate(("first.json", "second.json")):
            SHAPE.write(self.root, number, 2, options)
            shutil.copy(self.root / "spec.json", self.root / name)
        (self.root / "driver.py").write_text(DRIVER)
        environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
        self.recording: Recording = record(
            [sys.executable, "driver.py"], self.disk, root / "trace", self.root, environment
        )
        self.calm = look.view(self.root, self.disk / "prefix")


@pytest.fixture(scope="module", params=["power", "always"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    if not can_record():
        if sys.platform == "linux" and os.environ.get("CI"):
            pytest.fail("strace is missing, or may not watch processes here")
        pytest.skip("strace is missing, or may not watch processes here")
    return Recorded(tmp_path_factory.mktemp(request.param), request.param)


def test_the_recording_is_whole(recorded: Recorded, tmp_path: Path) -> None:
    """Replaying all operations gives what the runs have left, byte for byte."""
    ops = recorded.recording.ops
    after_cut(ops, len(ops), "whole", random.Random(0)).build(tmp_path)
    assert _files(tmp_path) == _files(recorded.disk)
    assert {op.kind for op in ops} >= {"make", "remove", "rename", "write", "sync", "sync all"}


def test_the_end_of_a_run_is_on_the_disk(recorded: Recorded, tmp_path: Path) -> None:
    """When a run has told its end, nothing but the database is behind."""
    ops = recorded.recording.ops
    after_cut(ops, len(ops), "strict", random.Random(0)).build(tmp_path)
    kept, there = _files(tmp_path), _files(recorded.disk)
    lost = {name for name in there if there[name] != kept.get(name) and ".pipelet" not in name and ".sql" not in name}
    assert lost == set()


@pytest.mark.timeout(0 if CUTS == "all" else 600)
def test_every_cut_is_gone_on_from(recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "boot", lambda: "the next one")
    monkeypatch.setattr("pipelet.storage.lock.boot", lambda: "the next one")
    ops = recorded.recording.ops
    journals = named(recorded.recording.paths, recorded.recording.root, ".journal")
    for number, (cut, kind) in enumerate(_cuts(len(ops))):
        disk = tmp_path / str(number)
        disk.mkdir()
        after_cut(ops, cut, kind, random.Random(f"{cut} {kind}")).build(disk)
        try:
            _goes_on(recorded, disk, acknowledged(ops, cut, journals), tmp_path / "scratch")
        except Exception as error:
            op, path = ops[cut - 1], recorded.recording.paths[ops[cut - 1].node]
            raise AssertionError(f"{kind} cut behind operation {cut} of {len(ops)}: {op.kind} {path}") from error
        shutil.rmtree(disk)


def _cuts(operations: int) -> Iterator[tuple[int, str]]:
    cuts = [(cut, kind) for cut in range(1, operations + 1) for kind in KINDS]
    if CUTS == "all":
        yield from cuts
        return
    rng = random.Random(4711)
    yield from rng.sample(cuts, int(CUTS))


def _goes_on(recorded: Recorded, disk: Path, journals: dict[str, bytes], scratch: Path) -> None:
    """The next run ends as without a cut, and does nothing again that must be there."""
    prefix = disk / "prefix"
    done = _acknowledged(journals, scratch)
    for entry in (prefix / ".pipelet").glob("lock*"):
        # The machine takes its time to come back.
        os.utime(entry, (1, 1))
    with look.copied(prefix, scratch) as copy:
        there, known = look.done(recorded.root, copy), _done_ids(copy)
    assert done <= known, f"lost although the journal was on the disk: {done - known}"
    before = look.executed(recorded.root)
    pipeline = look.pipeline(recorded.root, prefix)
    said = pipeline.explain()
    summary = run_to_end(pipeline)
    assert summary.ok, summary
    again = look.executed(recorded.root) - before
    for name, item in said.items():
        if item.certain:
            ran = sum(number for (segment, _), number in again.items() if segment == name)
            assert ran == item.to_run, f"explain said {item}, the run did {again}"
    twice = {task for task in again if task in there and task[0] not in SHAPE.askers}
    if recorded.level == "power":
        # c leaves no files.
        twice = {task for task in twice if task[0] == "c"}
    assert not twice, f"executed although it was on record: {twice}"
    found = look.view(recorded.root, prefix)
    for place, task in found.items():
        # A log alone is nothing that is waited for.
        if place[0] == "c" and "printed" in task:
            task["printed"] = recorded.calm[place]["printed"]
    assert look.differences(recorded.calm, found) == []
    assert look.litter(prefix) == []
    assert look.rebuilt_differently(prefix, scratch) == []
    shutil.rmtree(scratch)


def _acknowledged(journals: dict[str, bytes], scratch: Path) -> set[int]:
    """The tasks whose records were on the disk, since their journal was waited for."""
    scratch.mkdir(exist_ok=True)
    done: set[int] = set()
    for content in journals.values():
        (scratch / "journal").write_bytes(content)
        last = {}
        for events, _ in Journal(str(scratch / "journal")).read():
            last.update({event[1]: event[3] for event in events if event[0] == "task"})
        done |= {int(str(task)) for task, status in last.items() if status == 2}
    shutil.rmtree(scratch)
    return done


def _done_ids(copy: Path | None) -> set[int]:
    if copy is None:
        return set()
    with closing(sqlite3.connect(copy / ".sqlstatus")) as database:
        return {task for (task,) in database.execute("SELECT id FROM task WHERE status = 2")}


def _files(root: Path) -> dict[str, bytes]:
    names = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {str(path.relative_to(root)): path.read_bytes() for path in names}
