"""Random pipelines, random edits, random accidents: what `explain` says is what the run does, and what is then on
disk is what a fresh run gives."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support import Project, run_to_end
from told_segments import ROOT

from pipelet.core.plan import Action, Decision, Reason
from pipelet.errors import PipeletError
from pipelet.explain import Explanation
from pipelet.history import History
from pipelet.pipeline import Pipeline
from pipelet.planner import Planner
from pipelet.reading import read_outputs, read_tasks
from pipelet.records import Task
from pipelet.statusdb import Reader, has_database, pack_ids, unpack_ids
from pipelet.storage import Tree
from pipelet.summary import Summary
from pipelet.utils import release, run_again, set_aside

SEGMENT = """\
{directive}
from told_segments import Told
# {comment}
told = Told("{name}", {version}, seg_input)
told.executed(lambda: get_data_fn("result"))
{members}
{ask}
{file}
told.fail()
{output}
"""

READ = "told.read({})"
FILE = 'told.write(get_data_fn("result"))'
OUTPUTS = {
    "list": "seg_output = [(told.number >> 2 * place) % 3 for place in range(told.number % 3)]",
    "one": "set_output(told.number % 4)",
    "silent": "",
    "mixed": "if told.number % 3:\n    set_output(told.number % 3)",
}


@dataclass
class Segment:
    """What a segment is made of; each edit changes a part."""

    name: str
    parents: list[str]
    directive: str
    asks: list[str]
    writes: bool
    output: str
    version: int = 0
    comment: int = 0

    @property
    def grouped(self) -> bool:
        return "group_by" in self.directive

    def source(self) -> str:
        return SEGMENT.format(
            name=self.name,
            directive=self.directive,
            comment=self.comment,
            version=self.version,
            members="".join(f"told.members(get_input({name!r}))\n" for name in self.parents if self.grouped),
            ask="\n".join(self.asks),
            file=FILE if self.writes else "",
            output=OUTPUTS[self.output],
        )


@dataclass
class World:
    """A pipeline, its prefix, and all that can happen to them."""

    project: Project
    chance: random.Random
    segments: dict[str, Segment] = field(default_factory=dict)
    pushed: dict[str, list[int]] = field(default_factory=dict)
    partial: bool = False
    kept: Path | None = None
    story: list[str] = field(default_factory=list)

    def build(self) -> None:
        chance = self.chance
        self.partial = chance.random() < 0.2
        names = "abcdef"[: chance.randint(2, 6)]
        for place, name in enumerate(names):
            parents = chance.sample(names[:place], min(place, chance.choice([0, 1, 1, 1, 2, 2])))
            ancestors = set(parents)
            for above in reversed(names[:place]):
                if above in ancestors:
                    ancestors.update(self.segments[above].parents)
            asks = []
            if parents:
                asks = chance.sample(self._asks(parents, sorted(ancestors)), chance.choice([0, 0, 1, 1, 2]))
            writes = chance.random() < 0.7
            output = chance.choice(["list", "list", "one", "one", "silent", "mixed"])
            self.segments[name] = Segment(name, parents, self._directive(parents), asks, writes, output)
            if not parents:
                self._push(name)
        for segment in self.segments.values():
            self._write(segment)

    def _asks(self, parents: list[str], ancestors: list[str]) -> list[str]:
        above = self.chance.choice(ancestors)
        return [
            READ.format('glob_parent("result")'),
            READ.format(f'glob_parent("*/result", "{parents[-1]}")'),
            READ.format(f'glob_seg("{above}", "result")'),
            f'told.read_one(lambda: get_data_fn("result", "{above}"))',
        ]

    def _directive(self, parents: list[str]) -> str:
        if not parents:
            return ""
        chance = self.chance
        kind = chance.choice(["cross_prod", "cross_prod", "cross_prod", "union", "zip"])
        values = " + ".join(f"({name} or 0)" for name in parents)
        where = chance.choice(["", "", "", f' where "({values}) % 2 == 0"'])
        group = chance.choice(["", "", " group_by 'all'", f' group_by "({values}) % 2"'])
        return f"#multiplex {kind}{where}{group}"

    def _push(self, name: str) -> None:
        if self.chance.random() < 0.15:
            self.pushed.pop(name, None)
        else:
            self.pushed[name] = [self.chance.randrange(5) for _ in range(self.chance.randrange(5))]

    def _write(self, segment: Segment) -> None:
        (self.project.root / f"{segment.name}.py").write_text(segment.source())

    def pipeline(self, prefix: Path | None = None) -> Pipeline:
        edges = "; ".join(
            f"{parent} -> {name}" for name, segment in self.segments.items() for parent in segment.parents
        )
        alone = "; ".join(self.segments)
        where = {} if prefix is None else {"prefix": prefix}
        return self.project.pipeline(f"{alone}; {edges}", self.pushed, partial=self.partial, **where)

    # --- what happens between two runs ---------------------------------------------------------------------------

    def edit(self) -> None:
        edits = [
            self.push, self.push, self.push, self.change_code, self.change_comment, self.remove_directory,
            self.remove_directory, self.fail, self.heal, self.delete_database, self.cut_journal, self.tear_journal,
            self.set_statuses, self.crash, self.keep_database, self.old_database, self.remove_instance,
            self.mark, self.mark,
        ]
        for _ in range(self.chance.randint(1, 2)):
            edit = self.chance.choice(edits)
            edit()

    def push(self) -> None:
        roots = [name for name, segment in self.segments.items() if not segment.parents]
        name = self.chance.choice(roots)
        self._push(name)
        self.story.append(f"push {name} {self.pushed.get(name)}")

    def change_code(self) -> None:
        segment = self.chance.choice(list(self.segments.values()))
        segment.version = self.chance.randrange(2)
        self._write(segment)
        self.story.append(f"{segment.name} is version {segment.version}")

    def change_comment(self) -> None:
        segment = self.chance.choice(list(self.segments.values()))
        segment.comment += 1
        self._write(segment)
        self.story.append(f"comment in {segment.name}")

    def _paths(self) -> list[Path]:
        return sorted(path.parent for path in self.project.prefix.rglob("result") if path.is_file())

    def remove_directory(self) -> None:
        paths = self._paths()
        if paths:
            path = self.chance.choice(paths)
            shutil.rmtree(path)
            self.story.append(f"removed {path.relative_to(self.project.prefix)}")

    def remove_instance(self) -> None:
        found = sorted(path.parent for path in self.project.prefix.rglob("*.meta"))
        if found and self.chance.random() < 0.3:
            path = self.chance.choice(found)
            shutil.rmtree(path)
            # an older database would point into a journal that is another one by then
            self.kept = None
            self.story.append(f"removed {path.relative_to(self.project.prefix)}")

    def fail(self) -> None:
        executed = sorted(set(self.project.lines("executed")))
        if executed:
            line = self.chance.choice(executed)
            (self.project.root / f"fail_{line.replace(' ', '_')}").touch()
            self.story.append(f"{line} is to fail")

    def heal(self) -> None:
        for path in self.project.root.glob("fail_*"):
            path.unlink()
        self.story.append("nothing is to fail")

    def delete_database(self) -> None:
        for path in self.project.prefix.glob(".sqlstatus*"):
            path.unlink()
        self.story.append("deleted the database")

    def _journals(self) -> list[Path]:
        return sorted(path for path in self.project.prefix.rglob("*.journal") if path.is_file())

    def cut_journal(self) -> None:
        """The database is ahead of a journal."""
        journals = self._journals()
        if journals and (self.project.prefix / ".sqlstatus").exists() and self.kept is None:
            path = self.chance.choice(journals)
            size = path.stat().st_size
            length = self.chance.randrange(size)
            os.truncate(path, length)
            self.story.append(f"cut {path.name} from {size} to {length}")
            # the database alone has it now
            self.run()

    def tear_journal(self) -> None:
        """A frame that was being written when the power failed."""
        journals = self._journals()
        if journals:
            path = self.chance.choice(journals)
            data = path.read_bytes()
            with open(path, "ab") as file:
                file.write(data[40 : 40 + self.chance.randint(1, 10)])
            self.story.append(f"torn end of {path.name}")

    def set_statuses(self) -> None:
        database = self.project.prefix / ".sqlstatus"
        if not database.exists():
            return
        with closing(sqlite3.connect(database)) as connection, connection:
            ids = [row[0] for row in connection.execute("SELECT id FROM task")]
            chosen = self.chance.sample(ids, min(len(ids), self.chance.randint(1, 3)))
            for task in chosen:
                connection.execute("UPDATE task SET status = ? WHERE id = ?", (self.chance.randrange(2), task))
            # A run that begins a task takes away the word that there is nothing to do.
            connection.execute("UPDATE settled SET mark = NULL")
        self.story.append(f"tasks {chosen} did not end")

    def mark(self) -> None:
        """Somebody sets tasks aside, releases them, or wants them to run again."""
        if not (self.project.prefix / ".sqlstatus").exists():
            return
        with Reader.open(self.project.prefix / ".sqlstatus") as reader:
            ids = [task for row in reader.instances() for task in reader.all_ids(row.id)]
            keys = [row.key for row in reader.instances()]
        chosen: list[int | str] = [*self.chance.sample(ids, min(len(ids), self.chance.randint(0, 4)))]
        if self.chance.random() < 0.3:
            chosen.append(self.chance.choice(keys))
        verb = self.chance.choice([set_aside, set_aside, release, run_again, run_again])
        self.story.append(f"{verb.__name__} {chosen}: {verb(self.project.prefix, chosen)}")

    def change_weather(self) -> None:
        """Something that no record knows of changes for a segment, and it is asked to run again."""
        name = self.chance.choice([name for name, segment in self.segments.items() if not segment.parents])
        (self.project.root / f"weather_{name}").write_text(str(self.chance.random()))
        with Reader.open(self.project.prefix / ".sqlstatus") as reader:
            ids = [task for row in reader.instances(name) for task in reader.all_ids(row.id)]
        self.story.append(f"other weather in {name}: {run_again(self.project.prefix, ids)}")

    def keep_database(self) -> None:
        database = self.project.prefix / ".sqlstatus"
        if database.exists() and not self._at_work():
            self.kept = self.project.root / "kept_database"
            shutil.copyfile(database, self.kept)
            self.story.append("kept the database")

    def old_database(self) -> None:
        """The power failed, and the database lost its last transactions."""
        if self.kept is not None and not self._at_work():
            shutil.copyfile(self.kept, self.project.prefix / ".sqlstatus")
            self.kept = None
            self.story.append("the database is an older one")

    def _at_work(self) -> bool:
        return len(list(self.project.prefix.glob(".sqlstatus*"))) != 1

    def crash(self) -> None:
        """The run dies in the middle of a task."""
        (self.project.root / "bomb").write_text(str(len(self.project.lines("executed")) + self.chance.randint(1, 4)))
        with warnings.catch_warnings():
            # that the runner of the tests has threads of its own does no harm to this child
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if not child:
            try:
                run_to_end(self.pipeline())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        (self.project.root / "bomb").unlink()
        self.story.append("a run died")

    # --- a run and what is said of it ----------------------------------------------------------------------------

    def run(self) -> None:
        """Ask `explain`, run, compare."""
        pipeline = self.pipeline()
        explanation = pipeline.explain()
        _compare_with_one_by_one(pipeline)
        before = len(self.project.lines("executed"))
        summary = run_to_end(pipeline)
        ran = self.project.lines("executed")[before:]
        self.story.append(f"ran {ran}")
        executed = {name: Counter[str]() for name in self.segments}
        for line in ran:
            name, _, text = line.partition(" ")
            executed[name][text] += 1
        self._compare(explanation, executed, summary)
        again = pipeline.explain()
        if summary.ok:
            assert again.up_to_date, f"after the run: {again}"
            self._compare_with_fresh(pipeline, summary)

    def _compare(self, explanation: Explanation, executed: dict[str, Counter[str]], summary: Summary) -> None:
        unforeseen: set[str] = set()
        for name, segment in self.segments.items():
            said, did = explanation[name], executed[name]
            if unforeseen.intersection(segment.parents):
                unforeseen.add(name)
                continue
            foreseen = Counter(said.inputs)
            assert len(said.inputs) == said.to_run
            assert foreseen <= did, f"{name}: said {foreseen}, did {did}"
            reused = summary.counts[name]["reused"]
            if said.certain:
                assert foreseen == did, f"{name}: said {foreseen}, did {did}"
                assert said.reused == reused, name
            # what was to be made again as it was failed instead
            if summary.counts[name]["failed"] and Reason.MISSING.value in said.counts:
                unforeseen.add(name)

    def _compare_with_fresh(self, pipeline: Pipeline, summary: Summary) -> None:
        fresh = self.project.root / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        root = self.project.root / "elsewhere"
        root.mkdir(exist_ok=True)
        for path in self.project.root.glob("weather_*"):
            shutil.copy(path, root)
        os.environ[ROOT] = str(root)
        try:
            other = self.pipeline(fresh)
            also = run_to_end(other)
        finally:
            os.environ[ROOT] = str(self.project.root)
        assert also.waiting == summary.waiting
        if list(self.project.root.glob("fail_*")):
            return
        assert contents(pipeline) == contents(other)


def _compare_with_one_by_one(pipeline: Pipeline) -> None:
    """What is planned by comparing columns is what is planned by looking at one input after the other."""
    snapshot = pipeline.snapshot()
    sqlfile = pipeline.sqlfile
    with Reader.open(sqlfile) if has_database(sqlfile) else Reader.empty() as reader:
        plans = plans_of(Planner(snapshot, Tree(pipeline.prefix), reader))
        with mock.patch.object(History, "before", None):
            assert plans == plans_of(Planner(snapshot, Tree(pipeline.prefix), reader))


def plans_of(planner: Planner) -> dict[str, Any]:
    """For each segment the tasks, the decisions on them, and what its children may count on."""
    found = {}
    for name in planner._snapshot.graph.order:
        planned = planner.plan(name)
        pieces = list(planned.pieces)
        if planned.waiting is not None or planned.error is not None:
            planner.give_up(name)
        ids = [task for piece in pieces for task in piece.ids]
        decisions = [decision for piece in pieces for decision in piece.decisions]
        for piece in pieces:
            for start, stop, parents in piece.moved:
                places = range(piece.start + start, piece.start + stop)
                decisions += [Decision(at, Action.UPDATE, ids[at], 0, parents) for at in places]
        outcome = planner.outcomes[name]
        known = (list(outcome.known), outcome.complete, outcome.settled)
        found[name] = (ids, sorted(decisions, key=lambda item: item.position), known, planner.signature(name))
    return found


def contents(pipeline: Pipeline) -> dict[str, tuple[list[Any], list[Any]]]:
    """What the wanted tasks of each segment took, left on disk and gave."""
    found = {}
    keys = pipeline.snapshot().keys
    with Reader.open(pipeline.sqlfile) as reader:
        for name, key in keys.items():
            row = reader.instance(key)
            assert row is not None
            wanted = set(unpack_ids(row.wanted or pack_ids([])))
            tasks = read_tasks(Tree(pipeline.prefix), reader, row, pipeline.graph.parents(name), None)
            tasks = [task for task in tasks if task.id in wanted]
            found[name] = ([(task.input, product(task)) for task in tasks], read_outputs(reader, row))
    return found


def product(task: Task) -> str | None:
    return None if task.path is None else Path(task.path, "result").read_text()


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Iterator[None]:
    os.environ[ROOT] = str(tmp_path)
    yield
    del os.environ[ROOT]


SEEDS = int(os.environ.get("PIPELET_SEEDS", "12"))
FIRST = int(os.environ.get("PIPELET_FIRST_SEED", "0"))


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_what_explain_says_is_what_the_run_does(tmp_path: Path, seed: int) -> None:
    world = World(Project(tmp_path), random.Random(seed))
    world.build()
    _live(world, [world.edit])


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_what_is_asked_for_reaches_all_that_saw_it(tmp_path: Path, seed: int) -> None:
    world = World(Project(tmp_path), random.Random(seed))
    world.build()
    edits = [world.change_weather, world.change_weather, world.push, world.crash, world.delete_database]
    _live(world, edits)


def _live(world: World, edits: list[Callable[[], None]]) -> None:
    try:
        world.run()
        for _ in range(6):
            world.chance.choice(edits)()
            world.run()
    except (AssertionError, PipeletError) as error:
        scripts = "\n\n".join(f"{item.name} {item.parents}\n{item.source()}" for item in world.segments.values())
        raise AssertionError(f"{error}\n{world.story}\npartial={world.partial}\n{scripts}") from error
