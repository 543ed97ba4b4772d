"""What is planned by comparing columns of the database is what is planned by looking at one record after the other."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from unittest import mock

import pytest

from pipelet.core import lockstep, plan
from pipelet.core.inputs import Listed
from pipelet.core.model import Element, Status, Wanted
from pipelet.core.parents import decode_parents
from pipelet.core.plan import Action, Decision, Facts, decide_in_pieces
from pipelet.history import History
from pipelet.statusdb import TaskRow, Writer, pack_ids
from pipelet.storage import Tree

DONE = int(Status.DONE)
Versions = dict[bytes, list[TaskRow]]


class Plain(Listed):
    """Inputs that are made of elements."""

    plain = True


def row(number: int, digest: bytes, parent: int, **fields: object) -> TaskRow:
    values = (number, 1, digest, DONE, 1, None, "x", None, None, None, None, f"[[{parent}]]", *[None] * 6, 0)
    return TaskRow(*values)._replace(**fields)  # type: ignore[arg-type]


def records(chance: random.Random) -> tuple[list[TaskRow], list[int]]:
    """Tasks, most of them as they should be, and the order in which the last run wanted them."""
    tasks: list[TaskRow] = []
    order: list[int] = []
    rate = chance.choice([0, 0.02, 0.2])
    numbers = iter(chance.sample(range(1, 500), 200))
    parent = chance.randint(1, 3)
    for at in range(chance.choice([0, 1, 5, 40])):
        number, digest = next(numbers), b"%16d" % at
        fields: dict[str, object] = {}
        if chance.random() < rate:
            fields = chance.choice([
                {"status": 3}, {"status": 0}, {"current": 0}, {"current": 2}, {"asked": '{"parents":["a"]}'},
                {"place": ""}, {"place": "gone"}, {"place": "here"}, {"parents": "[[2]]"},
            ])
        elif chance.random() < 0.3:
            fields = {"place": "here"}
        tasks.append(row(number, digest, parent, **fields))
        if chance.random() > rate / 2:
            order.append(number)
        if chance.random() < rate:
            other = chance.choice([{"current": 0}, {"current": 2}, {"current": 0, "status": 3}])
            tasks.append(row(next(numbers), digest, chance.randint(1, 3), **other))
    if chance.random() < 0.3:
        chance.shuffle(order)
    return tasks, order


def wanted(chance: random.Random, tasks: Sequence[TaskRow], order: Sequence[int]) -> list[Wanted]:
    digest_of = {task.id: task.digest for task in tasks}
    digests = [digest_of[number] for number in order]
    for _ in range(chance.choice([0, 1, 3])):
        at = chance.randint(0, len(digests))
        change = chance.choice(["new", "old", "cut", "append"])
        if change == "cut":
            del digests[at : at + chance.randint(1, 10)]
        elif change == "old" and tasks:
            digests.insert(at, chance.choice(tasks).digest)
        else:
            digests.insert(len(digests) if change == "append" else at, b"new%13d" % chance.randint(0, 99))
    parent, rate = chance.randint(1, 3), chance.choice([0, 0.1])
    found = []
    for digest in dict.fromkeys(digests):
        task = chance.randint(1, 3) if chance.random() < rate else parent
        found.append(Wanted(digest, "x", (Element(task, 0, digest, "x", b""),), ((task,),)))
    return found


def planned(history: History, inputs: Listed, superseded: set[int], growing: bool) -> tuple[list[int], list[Decision]]:
    facts = Facts(
        ("a",), history.versions, superseded.__contains__, lambda text: decode_parents(text, lambda name: ()),
        lambda name, parents: "", lambda name: "", growing, history.before,
    )
    ids: list[int] = []
    decisions: list[Decision] = []
    for piece in decide_in_pieces(inputs, facts):
        ids += piece.ids
        decisions += piece.decisions
        for start, stop, parents in piece.moved:
            places = range(piece.start + start, piece.start + stop)
            decisions += [Decision(at, Action.UPDATE, ids[at], 0, parents) for at in places]
    return ids, sorted(decisions, key=lambda decision: decision.position)


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_columns_give_the_plan_that_records_give(tmp_path: Path, first: int) -> None:
    tree = Tree(str(tmp_path))
    Path(tree.data_dir("melt_ABCDEF"), "here").mkdir(parents=True)
    for seed in range(first, first + 50):
        chance = random.Random(seed)
        with closing(Writer.open(tmp_path / f"{seed}.db")) as writer:
            writer.add_instance("melt", "M", "melt_ABCDEF", [], 1.0)
            tasks, order = records(chance)
            writer.add_queued(tasks)
            writer.apply(1, [["wanted", pack_ids(order)]], 1)
            hands = {task.id: chance.choice([1, 2]) for task in tasks if chance.random() < chance.choice([0, 0.05])}
            inputs = (Plain if chance.random() < 0.8 else Listed)(wanted(chance, tasks, order))
            superseded, growing = {1} if chance.random() < 0.3 else set(), chance.random() < 0.5
            sizes = mock.patch.multiple(lockstep, _FEWEST=chance.choice([2, 7]), _MOST=20, _WORTH=3)
            with sizes, mock.patch.object(plan, "_AT_ONCE", chance.choice([1, 4, 9])):
                made = [History(tree, writer, writer.instance("M"), hands.get, lambda task: False) for _ in range(2)]
                fast = planned(made[0], inputs, superseded, growing)
                with mock.patch.object(History, "before", None):
                    assert fast == planned(made[1], inputs, superseded, growing), seed
