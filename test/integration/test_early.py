"""Tasks that begin before their segment's parents have ended: in the end all is as if each segment had waited."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from support import Project, run_to_end
from test_explain_property import READ, World
from told_segments import ROOT

import pipelet.core.model
import pipelet.core.plan
import pipelet.early
import pipelet.flights
import pipelet.scheduler
import pipelet.segmentrun
import pipelet.taskqueue
import pipelet.turns
from pipelet.bars import Bars
from pipelet.core.calls import Batch, BatchResult, TaskResult
from pipelet.errors import PipeletError
from pipelet.executors.base import BATCH_SECONDS, InlineExecutor
from pipelet.forerunner import Forerunner
from pipelet.pipeline import Pipeline
from pipelet.progress import SegmentProgress, Tracker
from pipelet.runner import Hooks, execute
from pipelet.scheduler import Stopped
from pipelet.statusdb import QueuedTask, Reader, Writer, unpack_ids
from pipelet.summary import Summary
from pipelet.taskqueue import TaskQueue
from pipelet.utils import rebuild_db_from_disk


class Workers:
    """Some workers without processes: which of them ends first, and what it hands over when, is a matter of chance.

    A task is executed when its batch is submitted, or at the moment when its result is collected: then it sees what
    became of its ancestors meanwhile. Those of the segments `last` end only when nothing else is left.
    """

    def __init__(self, chance: random.Random, slots: int, last: str = "") -> None:
        self.slots = slots
        self.batch_seconds = BATCH_SECONDS
        self._last = last
        self._closed = False
        self._chance = chance
        self._inline = InlineExecutor()
        self._pending: dict[Future[BatchResult], tuple[Batch, list[TaskResult]]] = {}
        self._given: dict[Future[BatchResult], int] = {}

    def submit(self, batch: Batch) -> Future[BatchResult]:
        future: Future[BatchResult] = Future()
        results: list[TaskResult] = []
        if self._chance.random() < 0.5:
            results += self._execute(batch, len(batch.calls))
        self._pending[future] = (batch, results)
        self._given[future] = 0
        return future

    def _execute(self, batch: Batch, number: int, start: int = 0) -> list[TaskResult]:
        found = []
        for call in batch.calls[start:number]:
            future = self._inline.submit(Batch(batch.context, (call,)))
            found += future.result().results
        return found

    def expect(self, more: bool) -> None:
        pass

    def wait(
        self, futures: Iterable[Future[BatchResult]], timeout: float = 0.0, return_when: str = ""
    ) -> tuple[set[Future[BatchResult]], set[Future[BatchResult]]]:
        """Stands for `concurrent.futures.wait`."""
        known = list(futures)
        if not timeout and self._chance.random() < 0.7:
            return set(), set(known)
        first = [future for future in known if self._pending[future][0].context.segment not in self._last]
        ended = self._chance.choice(first or known)
        batch, results = self._pending.pop(ended)
        number = len(batch.calls) if self._chance.random() < 0.7 else self._chance.randint(1, len(batch.calls))
        results += self._execute(batch, number, len(results))
        given = self._given.pop(ended)
        left = tuple(call.id for call in batch.calls[len(results) :])
        ended.set_result(BatchResult(tuple(results[given:]), left))
        return {ended}, set(known) - {ended}

    def partial(self, future: Future[BatchResult]) -> Sequence[TaskResult]:
        if future not in self._pending:
            return ()
        results = self._pending[future][1]
        given = self._given[future]
        number = len(results) if self._closed else self._chance.randint(given, len(results))
        self._given[future] = number
        return results[given:number]

    def processes(self) -> list[tuple[int, float | None]]:
        return []

    def close(self, kill: bool = False) -> None:
        if kill:
            # they had just finished
            for batch, results in self._pending.values():
                results += self._execute(batch, len(batch.calls), len(results))
        self._closed = True
        self._inline.close()


def run_by_chance(
    pipeline: Pipeline, chance: random.Random, patch: pytest.MonkeyPatch, slots: int = 3,
    stop: Callable[[], bool] = lambda: False,
    report: Callable[[Sequence[SegmentProgress]], None] = lambda items: None,
    last: str = "",
) -> Summary:
    """Run a pipeline by `Workers`."""
    made: list[Workers] = []

    def make(scratch: str) -> Workers:
        made.append(Workers(chance, slots, last))
        patch.setattr(pipelet.flights, "wait", made[0].wait)
        return made[0]

    hooks = Hooks(lambda level, text: None, report, stop)
    return execute(pipeline.snapshot(), make, hooks, lambda: None)


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each result may let others begin at once, and all is done in small pieces."""
    monkeypatch.setattr(pipelet.scheduler, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(pipelet.scheduler, "CALM_SECONDS", 0.0)
    monkeypatch.setattr(pipelet.early, "_SHARE", 1e9)
    monkeypatch.setattr(pipelet.core.plan, "_AT_ONCE", 2)
    monkeypatch.setattr(pipelet.core.model, "_PIECE", 2)
    monkeypatch.setattr(pipelet.taskqueue, "_HELD", 3)


def state(pipeline: Pipeline) -> dict[str, Any]:
    """What there is of each segment, without ids."""
    found: dict[str, Any] = {}
    snapshot = pipeline.snapshot()
    with Reader.open(pipeline.sqlfile) as reader:
        rows = {name: reader.instance(key) for name, key in snapshot.keys.items()}
        inputs: dict[int, Any] = {}
        for name, row in rows.items():
            assert row is not None
            wanted = list(unpack_ids(row.wanted)) if row.wanted is not None else []
            tasks = {task.id: task for task in pipeline.tasks(name)}
            records = {task.id: task for task in reader.tasks(row.id, current=None)}
            inputs.update((number, (name, record.text)) for number, record in records.items())
            listed = []
            for number in wanted:
                task, record = tasks[number], records[number]
                place = record.place
                product = None
                if task.path is not None:
                    file = Path(task.path, "result")
                    product = file.read_text() if file.exists() else ""
                listed.append(
                    (
                        task.input, task.status, task.output, product,
                        place if not place else place.partition("_")[2],
                        sorted(inputs[parent] for parent in task.parents),
                        (task.error or "").rpartition("\n")[2],
                    )
                )
            current = {number for number, record in records.items() if record.current == 1}
            assert current >= set(wanted), f"{name}: current {current}, wanted {wanted}"
            counts: dict[str, int] = {}
            for number in current:
                status = str(records[number].status)
                counts[status] = counts.get(status, 0) + 1
            tally = {str(int(status)): number for status, number in reader.tally([row.id])[row.id].items()}
            assert tally == counts, f"{name}: tally {tally}, counted {counts}"
            assert not {records[number].status for number in current} & {0, 1}, f"{name}: not ended"
            found[name] = {
                "tasks": listed, "outputs": pipeline.outputs(name), "waiting": row.waiting, "tally": tally,
                "whole": row.whole_task is not None,
            }
    return found


def versions(pipeline: Pipeline) -> Counter[tuple[str, str, int]]:
    """How many versions there are of each task, wanted or not."""
    with Reader.open(pipeline.sqlfile) as reader:
        return Counter(
            (row.key, task.text, task.current) for row in reader.instances() for task in reader.plan_rows(row.id)
        )


def dump(sqlfile: str | Path) -> dict[str, Any]:
    with Reader.open(sqlfile) as reader:
        return {
            row.key: (row, list(reader.tasks(row.id, current=None)), reader.tally([row.id]))
            for row in reader.instances()
        }


def check_rebuild(pipeline: Pipeline) -> None:
    """A database made anew from the tree has the same rows."""
    fresh = Path(pipeline.sqlfile).with_name("anew")
    rebuild_db_from_disk(pipeline.prefix, str(fresh))
    before, after = dump(pipeline.sqlfile), dump(fresh)
    fresh.unlink()
    assert before == after


class Pair(World):
    """A world with children that may begin early."""

    def build(self) -> None:
        super().build()
        for segment in self.segments.values():
            if segment.output in ("silent", "mixed") and self.chance.random() < 0.7:
                segment.output = self.chance.choice(["one", "list"])
                self._write(segment)

    def _directive(self, parents: list[str]) -> str:
        if not parents or self.chance.random() < 0.15:
            return super()._directive(parents)
        kind = self.chance.choice(["cross_prod", "cross_prod", "cross_prod", "union"])
        values = " + ".join(f"({name} or 0)" for name in parents)
        wheres = ["", "", "", f' where "({values}) % 2 == 0"']
        if len(parents) > 1 and kind == "cross_prod":
            wheres.append(f' where "{parents[0]} == {parents[1]}"')
        if self.chance.random() < 0.1:
            # raises for one of the elements
            wheres = [f' where "[1, 1, 1][{parents[0]} or 0]"']
        return f"#multiplex {kind}{self.chance.choice(wheres)}"

    def _asks(self, parents: list[str], ancestors: list[str]) -> list[str]:
        few = 'if len(glob_parent("")) < 2:\n    raise RuntimeError("too few")'
        return [*super()._asks(parents, ancestors), READ.format('glob_parent("result")'), few]

    def _push(self, name: str) -> None:
        if self.chance.random() < 0.1:
            self.pushed.pop(name, None)
        else:
            self.pushed[name] = [self.chance.randrange(12) for _ in range(self.chance.randrange(3, 12))]


class Twins:
    """The same pipeline twice: one begins tasks as soon as it can, the other one waits."""

    def __init__(self, root: Path, seed: int, patch: pytest.MonkeyPatch) -> None:
        self.chance = random.Random(seed)
        self.patch = patch
        self.worlds = []
        for name in ("early", "late"):
            (root / name).mkdir()
            os.environ[ROOT] = str(root / name)
            world = Pair(Project(root / name), random.Random(seed))
            world.build()
            self.worlds.append(world)
        self.order = self.chance.choice(["depth", "depth", "breadth"])
        self.slots = self.chance.choice([1, 2, 4])
        if self.chance.random() < 0.7:
            # one task at a time
            patch.setattr(pipelet.segmentrun, "BATCH_TASKS", 1)
        self.story: list[str] = []
        self.level = True

    def both(self, run: Callable[[Pair], Any]) -> list[Any]:
        given = []
        may_begin = Forerunner._may_begin
        for place, world in enumerate(self.worlds):
            os.environ[ROOT] = str(world.project.root)
            with self.patch.context() as patch:
                if place:
                    patch.setattr(Forerunner, "_may_begin", lambda self, run: False)
                given.append(run(world))
        assert Forerunner._may_begin is may_begin
        return given

    def pipeline(self, world: Pair) -> Pipeline:
        edges = "; ".join(f"{parent} -> {name}" for name, item in world.segments.items() for parent in item.parents)
        return world.project.pipeline(
            f"{'; '.join(world.segments)}; {edges}", world.pushed, partial=world.partial, order=self.order,
            durability="process",
        )

    def run(self, compared: bool = True) -> None:
        seed = self.chance.randrange(1 << 30)

        def one(world: Pair) -> tuple[Summary, dict[str, Any], Pipeline]:
            pipeline = self.pipeline(world)
            summary = run_by_chance(pipeline, random.Random(seed), self.patch, self.slots)
            return summary, state(pipeline), pipeline

        (early, early_state, pipeline), (late, late_state, other) = self.both(one)
        self.story.append(f"ran: {early.counts} and {late.counts}")
        if not self.level and list(self.worlds[0].project.root.glob("fail_*")):
            # what becomes current again can't fail, as it may where it has to run
            check_rebuild(pipeline)
            return
        assert early.waiting == late.waiting
        assert early_state == late_state
        assert pipeline.status() == other.status()
        # A task that was begun before all that it looks at was there, and ran again, leaves a version more.
        before, self.level = self.level, versions(pipeline) == versions(other)
        if compared and before and self.level:
            assert early.counts == late.counts
        said, also = self.both(lambda world: self.pipeline(world).explain())
        assert {name: (item.to_run, item.reused) for name, item in said.items()} == {
            name: (item.to_run, item.reused) for name, item in also.items()
        }
        if early.ok:
            assert said.up_to_date, str(said)
        check_rebuild(pipeline)

    def interrupt(self) -> None:
        seed = self.chance.randrange(1 << 30)
        number = self.chance.randint(1, 8)

        def one(world: Pair) -> None:
            before = len(world.project.lines("executed"))

            def stop() -> bool:
                return len(world.project.lines("executed")) - before >= number

            with suppress(Stopped):
                run_by_chance(self.pipeline(world), random.Random(seed), self.patch, self.slots, stop)

        self.both(one)
        self.story.append(f"stopped after {number}")

    def edit(self) -> bool:
        """Change something for both; tells whether numbers may still be compared."""
        chance = self.chance
        edits = ["push", "push", "push", "code", "code", "code", "remove", "remove", "fail", "heal", "stop", "order"]
        edit = chance.choice(edits)
        world = self.worlds[0]
        segment = chance.choice(list(world.segments.values()))
        if edit == "push":
            world.chance = chance
            world.push()
            self.worlds[1].pushed = dict(world.pushed)
            self.story.append(world.story[-1])
        elif edit == "code":
            version = chance.randrange(4)
            self.story.append(f"{segment.name} is version {version}")
            for each in self.worlds:
                each.segments[segment.name].version = version
                each._write(each.segments[segment.name])
        elif edit == "remove":
            texts = {task.text for task in self.pipeline(world).tasks(segment.name) if task.path}
            if texts:
                text = chance.choice(sorted(texts))
                self.story.append(f"removed the data of {segment.name} {text}")
                for each in self.worlds:
                    for task in self.pipeline(each).tasks(segment.name):
                        if task.text == text and task.path is not None:
                            shutil.rmtree(task.path, ignore_errors=True)
        elif edit == "fail":
            executed = sorted(set(world.project.lines("executed")))
            line = chance.choice(executed)
            self.story.append(f"{line} is to fail")
            for each in self.worlds:
                (each.project.root / f"fail_{line.replace(' ', '_')}").touch()
        elif edit == "heal":
            self.story.append("nothing is to fail")
            for each in self.worlds:
                for path in each.project.root.glob("fail_*"):
                    path.unlink()
        elif edit == "stop":
            self.interrupt()
            return False
        else:
            self.order = chance.choice(["depth", "breadth"])
        return True

    def __str__(self) -> str:
        world = self.worlds[0]
        scripts = "\n\n".join(f"{item.name} {item.parents}\n{item.source()}" for item in world.segments.values())
        told = "\n".join(self.story)
        return f"{told}\npartial={world.partial} slots={self.slots} order={self.order} {world.pushed}\n{scripts}"


# --- pipelines that end in one way, whatever comes first

#: What a segment notes of what it sees, and gives on.
SEES = """\
from pathlib import Path
def texts(paths):
    return sorted(Path(path).read_text() for path in paths)
def leave(*what):
    Path(get_data_fn("result")).write_text(repr(what))
"""
LEAVES = "leave(seg_input)\nset_output(get_input())"
READS = 'leave(seg_input, texts(glob_parent("result")))\nset_output(get_input())'
COUNTS = 'found = glob_parent("result")\nleave(texts(found))\nset_output((get_input(), len(found)))'
MANY = {"a": list(range(7))}
#: graph, scripts, and what is pushed in one run after the other
CASES: dict[str, tuple[str, dict[str, str], list[dict[str, list[Any]]]]] = {
    "chain": ("a -> b -> c", {"a": LEAVES, "b": LEAVES, "c": READS}, [MANY, {"a": [3, 9]}, MANY]),
    "diamond": (
        "a -> b; a -> c; b -> d; c -> d",
        {"a": LEAVES, "b": READS, "c": LEAVES, "d": '#multiplex cross_prod where "b == c"\n' + READS},
        [MANY, {"a": [2, 3, 11]}],
    ),
    "inequality": (
        "a; b; a -> c; b -> c",
        {"a": LEAVES, "b": LEAVES, "c": '#multiplex cross_prod where "a < b"\n' + READS},
        [{"a": [1, 2, 3], "b": [2, 3, 1]}, {"a": [1, 2, 3, 0], "b": [2, 3]}],
    ),
    "three": (
        "a; b; c; a -> d; b -> d; c -> d; d -> e",
        dict.fromkeys("abcde", LEAVES),
        [{"a": [1, 2], "b": [1, 2, 3], "c": [4, 5]}, {"a": [1, 2], "b": [2], "c": [4, 5, 6]}],
    ),
    "union": (
        "a; b; a -> c; b -> c; c -> d",
        {"a": LEAVES, "b": "set_output([get_input()] * 2)", "c": "#multiplex union\n" + READS, "d": LEAVES},
        [{"a": [1, 2, 3], "b": [2, 3, 4]}, {"a": [2, 5, 6], "b": [7]}],
    ),
    "equal elements": (
        "a -> b -> c",
        {"a": "leave(seg_input)\nset_output(get_input() % 2)", "b": LEAVES, "c": LEAVES},
        [MANY, {"a": [2, 4, 1]}, MANY],
    ),
    "a union with a silent parent": (
        "a; b; a -> c; b -> c",
        {"a": LEAVES, "b": "leave(seg_input)", "c": "#multiplex union\n" + LEAVES},
        [{"a": [1, 2, 3], "b": [2, 3, 4]}],
    ),
    "equal elements for one that counts": (
        "a -> b -> c -> d",
        {"a": "leave(seg_input)\nset_output(get_input() % 2)", "b": COUNTS, "c": READS, "d": READS},
        [MANY, {"a": [2, 4, 1]}, MANY, {"a": [2]}],
    ),
    "equal elements for one that reads": (
        "a -> b -> c -> d",
        {
            "a": "leave(seg_input)\nset_output(get_input() % 2)",
            "b": 'leave(texts(glob_parent("result")))\nset_output(get_input())', "c": READS, "d": READS,
        },
        # once more what the first ones were, so that their versions may be current again
        [MANY, *({"a": list(range(number))} for number in (2, 3, 4, 5, 6)), {"a": [0]}, {"a": [1]}, MANY],
    ),
    "fails alone": (
        "a -> b -> c",
        {
            "a": "leave(seg_input)\nset_output(get_input() % 2)",
            "b": 'assert len(glob_parent("")) > 2\n' + LEAVES,
            "c": READS,
        },
        [MANY, {"a": [2, 4, 1]}],
    ),
    "fails whatever comes": (
        "a -> b -> c",
        {"a": "leave(seg_input)\nset_output(get_input() % 2)", "b": "assert get_input()\n" + LEAVES, "c": READS},
        [MANY, {"a": [2, 4, 1]}],
    ),
    "fails in company": (
        "a -> b -> c",
        {
            "a": "leave(seg_input)\nset_output(get_input() % 2)",
            "b": 'assert len(glob_parent("")) < 3\n' + LEAVES,
            "c": READS,
        },
        [MANY, {"a": [2, 4, 1]}],
    ),
    "one ancestor": (
        "a -> b -> c",
        {
            "a": "leave(seg_input)\nset_output(get_input() % 4)",
            "b": LEAVES,
            "c": 'leave(Path(get_data_fn("result", "a")).read_text())',
        },
        [{"a": [0, 1, 2, 3, 6]}, {"a": [0, 1, 5, 2]}, {"a": [0, 1, 2]}],
    ),
    "parameters": (
        "a -> b -> c",
        {
            "a": 'twice = get_input() // 2\nsave_param(["twice"])\nset_output(get_input() % 4)',
            "b": 'load_param("a", globals(), ["twice"])\nleave(twice)\nset_output(twice)',
            "c": 'load_param("a", globals(), ["twice"])\nleave(twice)',
        },
        [{"a": [0, 1, 2, 3, 6]}, {"a": [0, 1, 5, 2]}],
    ),
    "all of an ancestor": (
        "a -> b -> c -> d",
        {"a": LEAVES, "b": LEAVES, "c": 'leave(texts(glob_seg("a", "result")))\nset_output(1)', "d": LEAVES},
        [{"a": [1, 2, 3]}, {"a": [1, 2, 4]}],
    ),
    "failing parents": (
        "a -> b -> c; a -> d; b -> d",
        {"a": "assert get_input() % 3\n" + LEAVES, "b": "assert get_input() % 4\n" + LEAVES, "c": LEAVES, "d": LEAVES},
        [MANY, {"a": [1, 2]}, MANY],
    ),
    "some give nothing": (
        "a -> b -> c",
        {
            "a": "set_output([get_input()] * (get_input() % 3))",
            "b": "if get_input() % 2:\n    set_output(1)", "c": LEAVES,
        },
        [MANY, {"a": [2, 3]}],
    ),
    "none gives anything": ("a -> b -> c", {"a": "leave(seg_input)", "b": LEAVES, "c": LEAVES}, [MANY, {"a": [2]}]),
    "one task": (
        "a -> b -> c",
        {
            "a": LEAVES, "b": LEAVES,
            "c": 'leave([Path(path).name.lstrip("0123456789") for path in glob_parent("*")])',
        },
        [{"a": [1]}, {"a": [1, 2, 3, 4, 5]}, {"a": [2]}],
    ),
    "one that remains": (
        "a -> b -> c -> d",
        {"a": "set_output(get_input() // 9)", "b": "set_output(get_input())", "c": LEAVES, "d": LEAVES},
        [MANY, {"a": [1]}, MANY],
    ),
    "one of two": (
        "a -> b -> c",
        {"a": LEAVES, "b": "leave(seg_input)\nset_output([1] * (get_input() == 2))", "c": LEAVES},
        [MANY, {"a": [2]}],
    ),
    "raises for a later one": (
        "a -> b -> c -> d; a -> d",
        {
            "a": "leave(seg_input)\nset_output([1, 2, 3, 3, 'x', 5, 6][get_input()])",
            "b": '#multiplex cross_prod where "a < 9"\n' + LEAVES, "c": LEAVES, "d": "#multiplex union\n" + LEAVES,
        },
        [MANY, MANY, {"a": [0, 1, 2]}, {"a": [1, 2, 4]}],
    ),
    "groups": (
        "a -> b -> c -> d",
        {
            "a": LEAVES, "b": READS, "d": LEAVES,
            "c": '#multiplex group_by "b % 5"\nleave(sorted(get_input("b")))\nset_output(sum(get_input("b")))',
        },
        [{"a": list(range(12))}, {"a": list(range(13))}],
    ),
}


def alike(
    root: Path, patch: pytest.MonkeyPatch, case: str, seed: int, last: str = "", **options: Any
) -> list[tuple[Summary, dict[str, Any]]]:
    """Run a case with tasks that begin early and without; what is there must be the same after each run."""
    dot, scripts, steps = CASES[case]
    found: list[list[tuple[Summary, dict[str, Any]]]] = []
    for late in (False, True):
        place = root / f"{case} {'late' if late else 'early'} {seed}".replace(" ", "_")
        place.mkdir()
        project = Project(place).write(**{name: SEES + text for name, text in scripts.items()})
        chance = random.Random(seed)
        found.append([])
        with patch.context() as inner:
            if late:
                inner.setattr(Forerunner, "_may_begin", lambda self, run: False)
            for push in steps:
                pipeline = project.pipeline(dot, push, durability="process", **options)
                summary = run_by_chance(pipeline, chance, inner, 4 if last else 1 + seed % 3, last=last)
                found[-1].append((summary, state(pipeline)))
                said = pipeline.explain()
                assert said.up_to_date or not summary.ok, str(said)
                check_rebuild(pipeline)
    for number, ((early, now), (plain, then)) in enumerate(zip(*found, strict=True)):
        for name in now:
            assert now[name].pop("tasks") == then[name].pop("tasks"), f"{name} in run {number}"
        assert now == then, f"run {number}"
        assert early.waiting == plain.waiting, f"run {number}"
        assert early.failed == plain.failed, f"run {number}"
        assert sorted((item.segment, item.input, item.error) for item in early.failures) == sorted(
            (item.segment, item.input, item.error) for item in plain.failures
        )
    return found[0]


@pytest.mark.no_cover
@pytest.mark.parametrize("order", ["depth", "breadth"])
@pytest.mark.parametrize("case", CASES)
def test_in_the_end_all_is_as_if_each_segment_had_waited(
    case: str, order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(int(os.environ.get("EARLY_FROM", "0")), int(os.environ.get("EARLY_SEEDS", "2"))):
        with monkeypatch.context() as patch:
            if seed % 2:
                patch.setattr(pipelet.segmentrun, "BATCH_TASKS", 1)
            alike(tmp_path, patch, case, seed, ("", "cd", "", "d")[seed % 4], order=order)


# --- what runs when

NOTE = """\
import os
with open(os.environ["PIPELET_TEST_ORDER"], "a") as _file:
    print(Path(__file__).stem, file=_file)
"""
CHAIN = {"a": "set_output(get_input())", "b": "set_output(get_input())", "c": ""}


def executed(
    project: Project, dot: str, scripts: dict[str, str], push: dict[str, Any], patch: pytest.MonkeyPatch, **options: Any
) -> str:
    """Run it in this process; the segments of the tasks in the order in which they were executed."""
    patch.setenv("PIPELET_TEST_ORDER", str(project.root / "order"))
    # a task that the machine holds up would make the rest look like little, and turn the order
    patch.setattr(pipelet.turns, "_LONGEST_LEFT", 0.0)
    project.write(**{name: "from pathlib import Path\n" + NOTE + text for name, text in scripts.items()})
    (project.root / "order").unlink(missing_ok=True)
    assert project.run(project.pipeline(dot, push, **options)).ok
    return "".join(project.lines("order"))


def test_chains_end_early(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    order = executed(project, "a -> b -> c", CHAIN, {"a": list(range(6))}, monkeypatch)
    assert Counter(order) == {"a": 6, "b": 6, "c": 6}
    assert order.index("c") < order.rindex("a")


def test_segment_after_segment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    order = executed(project, "a -> b -> c", CHAIN, {"a": list(range(6))}, monkeypatch, order="breadth")
    assert order == "a" * 6 + "b" * 6 + "c" * 6


@pytest.mark.parametrize(
    ("early", "child", "parent"),
    [
        (True, "", "set_output(get_input())"),
        (True, '#multiplex cross_prod where "a % 2"', "set_output(get_input())"),
        (True, "#multiplex union", "set_output([get_input()] * 2)"),
        (True, 'found = glob_parent("")', "set_output(get_input())"),
        (False, "#multiplex zip", "set_output(get_input())"),
        (False, '#multiplex group_by "a"', "set_output(get_input())"),
        (False, 'found = glob_seg("a", "")', "set_output(get_input())"),
        (False, "", ""),
    ],
)
def test_what_may_begin_before_all_parents_have_ended(
    early: bool, child: str, parent: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the child must be the last line of the scripts: a directive is a comment of its own
    order = executed(project, "a -> b", {"a": parent, "b": f"\n{child}\n"}, {"a": list(range(6))}, monkeypatch)
    assert order.count("a") == 6
    assert "b" in order
    assert (order.index("b") < order.rindex("a")) == early


def test_of_a_product_each_pair_begins_when_both_are_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    # however long the first pairs take to find
    monkeypatch.setattr("pipelet.early._SHARE", float("inf"))
    scripts = {"a": "set_output(get_input())", "b": "set_output(get_input())", "c": ""}
    order = executed(project, "a; b; a -> c; b -> c", scripts, {"a": [1, 2, 3], "b": [1, 2, 3]}, monkeypatch)
    assert Counter(order) == {"a": 3, "b": 3, "c": 9}
    assert order.index("c") < max(order.rindex("a"), order.rindex("b"))


@pytest.mark.parametrize("elements", [1, 2])
def test_what_might_have_data_to_itself_waits(
    elements: int, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task of the parent that has ended is no proof that there will be more than one."""
    scripts = {"a": "set_output(get_input())", "b": "set_output(get_input() % 1)", "c": 'get_data_fn("x")'}
    pushed = {"a": list(range(elements))}
    order = executed(project, "a -> b -> c", scripts, pushed, monkeypatch)
    assert order == "a" * elements + "b" * elements + "c"
    (task,) = project.pipeline("a -> b -> c", pushed).tasks("c")
    assert task.path is not None
    assert Path(task.path).name == ("data" if elements == 1 else f"{task.id}_0")


#: One of the tasks ends only when the other one's chain has ended.
SLOW = """\
import time
from pathlib import Path
end = time.monotonic() + 60
while get_input() == 0 and not Path({mark!r}).exists():
    assert time.monotonic() < end, "the other chain does not get on"
    time.sleep(0.01)
set_output(get_input())
"""


def test_a_long_task_does_not_hold_up_the_children_of_others(project: Project) -> None:
    mark = str(project.root / "mark")
    project.write(
        a=SLOW.format(mark=mark),
        b="set_output(get_input())",
        c=f"if get_input() == 2:\n    open({mark!r}, 'w').close()",
    )
    summary = project.run(project.pipeline("a -> b -> c", {"a": [0, 1, 2]}), 2)
    assert (summary.ok, summary.done) == (True, 9)


def test_a_long_task_in_the_middle_does_not_hold_up_others(project: Project) -> None:
    mark = str(project.root / "mark")
    project.write(
        a="set_output(get_input())",
        b=SLOW.format(mark=mark),
        c=f"if get_input() == 5:\n    open({mark!r}, 'w').close()",
    )
    summary = project.run(project.pipeline("a -> b -> c", {"a": list(range(6))}), 2)
    assert (summary.ok, summary.done) == (True, 18)


def test_worker_processes_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks of different lengths, by two workers; what is there is what a run gives in which all wait."""
    wait = "import time\ntime.sleep(get_input() % 3 * 0.2)\n"
    scripts = {
        "a": SEES + wait + LEAVES, "b": SEES + "set_output(get_input() % 5)\n" + 'leave(seg_input)',
        "c": SEES + '#multiplex cross_prod where "b <= a"\n' + READS, "d": SEES + COUNTS,
    }
    dot = "a -> b; a -> c; b -> c; c -> d"
    found = []
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
        project = Project(tmp_path / name).write(**scripts)
        pipeline = project.pipeline(dot, {"a": list(range(8))})
        if name == "early":
            assert project.run(pipeline, 2).ok
        else:
            monkeypatch.setattr(Forerunner, "_may_begin", lambda self, run: False)
            assert project.run(pipeline).ok
        found.append(state(pipeline))
        assert pipeline.explain().up_to_date
        check_rebuild(pipeline)
    assert found[0] == found[1]


def test_in_this_process_a_failure_is_raised_and_the_next_run_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {"a": "set_output(get_input())", "b": "assert get_input() != 2\nset_output(get_input())", "c": ""}
    pushed = {"a": list(range(5))}
    with pytest.raises(AssertionError):
        executed(project, "a -> b -> c", scripts, pushed, monkeypatch)
    begun = "".join(project.lines("order"))
    assert begun.endswith("b")
    assert begun.count("a") < 5
    executed(project, "a -> b -> c", {**scripts, "b": scripts["b"].replace("2", "7")}, pushed, monkeypatch)
    executed(project, "a -> b -> c", scripts, {"a": [0, 1, 3]}, monkeypatch)


# --- what was begun in vain


def test_the_result_of_a_task_whose_ancestors_were_superseded_meanwhile_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the workers were at, what a task read is what its parents have left."""
    seen: Counter[str] = Counter()
    for name in ("_doubt", "_disregard"):
        old = getattr(pipelet.scheduler.Scheduler, name)

        def counted(self: Any, *arguments: Any, old: Any = old, name: str = name) -> Any:
            seen[name] += 1
            return old(self, *arguments)

        monkeypatch.setattr(pipelet.scheduler.Scheduler, name, counted)
    monkeypatch.setattr(pipelet.segmentrun, "BATCH_TASKS", 1)
    for seed in range(3):
        alike(tmp_path, monkeypatch, "equal elements for one that reads", seed, "cd")
    assert seen["_disregard"]
    assert seen["_doubt"]


def test_a_failure_that_did_not_last_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten = []
    old = pipelet.scheduler.FailureBook.forget
    monkeypatch.setattr(
        pipelet.scheduler.FailureBook, "forget", lambda self, task: (forgotten.append(task), old(self, task))
    )
    for seed in range(6):
        for summary, _ in alike(tmp_path, monkeypatch, "fails alone", seed):
            assert sum(summary.kinds.values()) == len(summary.failures) == summary.failed
    assert forgotten


def test_what_was_begun_for_inputs_that_could_not_be_made_leaves_nothing_behind(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = {
        "a": "set_output(get_input())", "b": '#multiplex cross_prod where "a < 9"\nset_output(get_input())', "c": "",
    }
    project.write(**scripts)
    # Not by every chance something of b begins before the last task of a has ended.
    for seed in range(30):
        prefix = project.root / str(seed)
        pipeline = project.pipeline("a -> b -> c", {"a": [1, 2, 3, "x"]}, prefix=prefix)
        summary = run_by_chance(pipeline, random.Random(seed), monkeypatch, 1)
        if summary.counts["b"]["done"]:
            break
    assert summary.counts["b"]["done"]
    assert (summary.waiting, summary.failed) == (["b", "c"], 1)
    assert pipeline.status()["b"] == project.pipeline("a -> b -> c", prefix=prefix).status()["b"]
    assert not any(pipeline.status()["b"].values())
    assert pipeline.outputs("b") == []
    begun = {task.id for task in pipeline.tasks("b")}
    # what is there is taken, once the inputs can be made
    mended = project.pipeline("a -> b -> c", {"a": [1, 2, 3]}, prefix=prefix)
    summary = run_by_chance(mended, random.Random(1), monkeypatch, 1)
    assert summary.ok
    assert summary.counts["b"] == {"done": 3 - len(begun), "reused": len(begun), "failed": 0}
    assert begun <= {task.id for task in mended.tasks("b")}


def test_what_followed_inputs_that_could_not_be_made_after_all_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grandchildren of a segment that is given up may have begun, and may have other parents that go on."""
    monkeypatch.setattr(pipelet.segmentrun, "BATCH_TASKS", 1)
    monkeypatch.setattr(pipelet.turns, "_LONGEST_LEFT", 0.0)
    for seed, last in {2: "d", 6: "d", 7: "", 9: "cd", 11: "d", 15: "d"}.items():
        alike(tmp_path, monkeypatch, "raises for a later one", seed, last)


def test_no_version_is_superseded_for_inputs_that_could_not_be_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.write(
        a="set_output([0, 1, 0, 1, 'x'][get_input()])", b="found = glob_parent('')\nset_output(get_input())",
        c="#multiplex cross_prod where 'b < 9'\nset_output(get_input())",
    )
    pipeline = project.pipeline("a -> b -> c", {"a": [0, 1]})
    assert run_by_chance(pipeline, random.Random(0), monkeypatch, 1).ok
    before = [(task.id, task.text, task.status) for task in pipeline.tasks("c")]
    monkeypatch.setattr(pipelet.segmentrun, "BATCH_TASKS", 1)
    # two inputs of b have other parents now, and run again; the last one is none for c
    pipeline = project.pipeline("a -> b -> c", {"a": [0, 1, 2, 3, 4]})
    summary = run_by_chance(pipeline, random.Random(0), monkeypatch, 1)
    assert (summary.counts["b"]["done"], summary.waiting) == (3, ["c"])
    assert [(task.id, task.text, task.status) for task in pipeline.tasks("c")] == before


def test_a_dropped_task_that_is_wanted_again_is_current_again(project: Project) -> None:
    project.write(a="")
    for pushed in ([1, 2], [1, 3], [1, 2]):
        assert run_to_end(project.pipeline("a", {"a": pushed})).ok
    with Reader.open(project.pipeline("a").sqlfile) as reader:
        (row,) = reader.instances()
        assert {task.text for task in reader.tasks(row.id) if task.current == 1} == {"1", "2"}


def test_whoever_follows_early_does_not_see_the_parents_of_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is taken from disk, but whose element another task gives now, has other parents than on record."""
    found = []
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
        project = Project(tmp_path / name)
        with monkeypatch.context() as patch:
            if name == "late":
                patch.setattr(Forerunner, "_may_begin", lambda self, run: False)
            for number, pushed in enumerate([range(4), range(4, 8)]):
                project.write(
                    a=SEES + "leave(seg_input)\nset_output(get_input() % 4)", b=SEES + LEAVES,
                    c=SEES + f"leave({number}, Path(get_data_fn('result', 'a')).read_text())",
                )
                pipeline = project.pipeline("a -> b -> c", {"a": list(pushed)})
                # all that is queued runs at once
                assert run_by_chance(pipeline, random.Random(number), patch, 1).ok
        found.append((state(pipeline), versions(pipeline)))
    assert found[0] == found[1]


def test_a_task_that_has_data_to_itself_never_sees_those_that_begin_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path).write(
        a="set_output(get_input())",
        b="open(get_data_fn('mine'), 'w').close()\nset_output(get_input())",
        c="import os\nassert 'PIPELET_TEST_READY' in os.environ\n"
        "set_output([path.rpartition('/')[2] for path in glob_parent('*')])",
    )
    assert run_by_chance(project.pipeline("a -> b -> c", {"a": [1]}), random.Random(1), monkeypatch, 4).failed == 1
    monkeypatch.setenv("PIPELET_TEST_READY", "1")
    pipeline = project.pipeline("a -> b -> c", {"a": [1, 2, 3, 4, 5, 6]})
    assert run_by_chance(pipeline, random.Random(1), monkeypatch, 4, last="c").ok
    assert pipeline.outputs("c") == ["mine"] * 6


def test_a_run_that_is_stopped_keeps_nothing_that_saw_its_ancestors_superseded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dot, scripts, (pushed, *_) = CASES["equal elements for one that reads"]
    halted: list[str] = []
    old = Forerunner.halt
    monkeypatch.setattr(Forerunner, "halt", lambda self, name: (halted.append(name), old(self, name))[1])
    revived = 0
    for seed in range(4):
        (tmp_path / str(seed)).mkdir()
        project = Project(tmp_path / str(seed)).write(**{name: SEES + text for name, text in scripts.items()})
        halted.clear()
        pipeline = project.pipeline(dot, pushed, durability="process")
        with pytest.raises(Stopped):
            run_by_chance(pipeline, random.Random(seed), monkeypatch, 4, lambda: bool(halted), last="cd")
        assert run_by_chance(pipeline, random.Random(seed), monkeypatch, 1).ok
        # exactly what the superseded ones had makes them current again, and with them those that followed
        with Reader.open(pipeline.sqlfile) as reader:
            row = reader.instance(pipeline.snapshot().keys["b"])
            assert row is not None
            before = [json.loads(task.parents)[0] for task in reader.tasks(row.id, current=False)]
        taken = {task.id: task.input["aphantom"] for task in pipeline.tasks("a")}
        for parents in before:
            push = {"a": [taken[task] for task in parents]}
            revived += 1
            found = []
            for prefix in (project.prefix, project.root / f"fresh{revived}"):
                again = project.pipeline(dot, push, durability="process", prefix=prefix)
                assert run_by_chance(again, random.Random(seed), monkeypatch, 1).ok
                found.append({name: [item[:4] for item in state(again)[name]["tasks"]] for name in "abcd"})
            assert found[0] == found[1]
    assert revived


# --- the queue


class Queued:
    """A queue, a plain list of what is to be in it, and a database of the records."""

    def __init__(self, path: Path) -> None:
        self.writer = Writer.open(path / "db")
        self.writer.add_instance("a", "key", "a_KEY", [], 0.0, 1)
        self.queue = TaskQueue(self.writer)
        self.model: list[QueuedTask] = []
        self.next = 1

    def add(self, number: int) -> None:
        tasks = [
            QueuedTask(task, task.to_bytes(16, "big"), 1, str(task), b"\x90", f"[[{task}]]", 1000 - task)
            for task in range(self.next, self.next + number)
        ]
        self.next += number
        self.writer.add_new(1, tasks)
        self.queue.extend(tasks)
        self.model += tasks

    def take(self, number: int) -> list[QueuedTask]:
        taken = self.queue.take(number)
        expected, self.model = self.model[:number], self.model[number:]
        assert taken == expected
        return taken

    def put_back(self, tasks: list[QueuedTask]) -> None:
        self.queue.put_back(tasks)
        self.model = tasks + self.model

    def set_parents(self, tasks: Iterable[int]) -> None:
        texts = {task: f"[[{task},{task + 1}]]" for task in tasks}
        self.writer.apply(1, [["parents", task, text] for task, text in texts.items()])
        self.queue.set_parents(texts)
        self.model = [task._replace(parents=texts.get(task.id, task.parents)) for task in self.model]

    def remove(self, tasks: set[int]) -> None:
        assert self.queue.remove(tasks) == [task.id for task in self.model if task.id in tasks]
        self.model = [task for task in self.model if task.id not in tasks]


@pytest.mark.parametrize("seed", range(20))
def test_a_queue_of_more_tasks_than_it_holds_is_a_queue(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    queued = Queued(tmp_path)
    with closing(queued.writer):
        for _ in range(60):
            step = chance.randrange(6)
            if step < 2:
                queued.add(chance.randint(0, 6))
            elif step == 2:
                queued.take(chance.randint(0, 9))
            elif step == 3:
                taken = queued.take(chance.randint(0, 5))
                queued.put_back(taken[chance.randint(0, len(taken)) :])
            elif step == 4:
                known = [task.id for task in queued.model]
                queued.set_parents(chance.sample(known, chance.randint(0, len(known))))
            else:
                known = [task.id for task in queued.model]
                queued.remove({*chance.sample(known, chance.randint(0, min(3, len(known)))), 10**6})
            assert len(queued.queue) == len(queued.model)
            assert bool(queued.queue) == bool(queued.model)
            assert queued.queue.ids() == [task.id for task in queued.model]
        queued.take(10**6)
        assert not queued.queue


def test_classes_that_wait_in_the_database_have_their_members(project: Project) -> None:
    project.write(
        a="set_output([(number % 7, number) for number in range(40)])",
        b="#multiplex group_by 'a[0]'\nset_output((get_input(), sum(item[1] for item in get_input('a'))))",
    )
    pipeline = project.pipeline("a -> b")
    assert run_to_end(pipeline).ok
    assert pipeline.outputs("b") == [
        (rest, sum(number for number in range(40) if number % 7 == rest)) for rest in range(7)
    ]


# --- what people see meanwhile


def test_totals_grow_and_are_never_less_than_what_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where tasks ran in vain, so that more have ended than are wanted."""
    seen: list[list[SegmentProgress]] = []
    dot, scripts, pushes = CASES["equal elements for one that counts"]
    project = Project(tmp_path).write(**{name: SEES + text for name, text in scripts.items()})
    growing = False
    for seed in range(4):
        shutil.rmtree(project.prefix, ignore_errors=True)
        tracker, stream = Tracker(), Terminal()
        bars = Bars(stream, True)

        def report(items: Sequence[SegmentProgress], tracker: Tracker = tracker, bars: Bars = bars) -> None:
            seen.append(list(items))
            tracker.update(items)
            bars.show(tracker.snapshot())
            str(tracker)

        pipeline = project.pipeline(dot, pushes[0])
        summary = run_by_chance(pipeline, random.Random(seed), monkeypatch, 3, report=report)
        bars.close()
        assert summary.ok
        for items in seen:
            for item in items:
                if item.total is not None:
                    assert item.total == item.queued + item.running + item.ended or not item.growing
                    assert item.total >= item.queued + item.running + item.ended
                    assert item.finished == (not item.growing and item.total == item.ended)
                    growing |= item.growing and item.total > 0
        assert all(item.finished for item in seen[-1])
        assert [item.total for item in seen[-1]] == [
            max(number, summary.counts[name]["done"])
            for name, number in zip("abcd", [7, 2, 2, 2], strict=True)
        ]
        assert str(tracker).startswith("running: ")
        assert "or more" not in str(tracker)
        words = stream.getvalue()
        # each segment says at its end how it ended, once
        for name in "abcd":
            assert words.count(f"{name}  {summary.counts[name]['done']} done") == 1, words
        seen.clear()
    assert growing


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


SEEDS = int(os.environ.get("PIPELET_SEEDS", "12"))
FIRST = int(os.environ.get("PIPELET_FIRST_SEED", "0"))


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, "")


@pytest.mark.no_cover
@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_random_pipelines_end_as_if_each_segment_had_waited(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    twins = Twins(tmp_path, seed, monkeypatch)
    try:
        twins.run()
        for _ in range(4):
            edits = [twins.edit() for _ in range(twins.chance.randint(1, 2))]
            twins.run(all(edits))
    except (AssertionError, PipeletError, KeyError) as error:
        raise AssertionError(f"{type(error).__name__} {error}\n{twins}") from error
