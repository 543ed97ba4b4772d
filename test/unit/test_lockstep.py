"""What is planned by comparing columns is what is planned by looking at one input after the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core import lockstep, plan
from pipelet.core.inputs import Listed
from pipelet.core.lockstep import Standing
from pipelet.core.model import PHANTOM, Element, Mark, Status, Wanted
from pipelet.core.parents import Parents, decode_parents, encode_parents
from pipelet.core.plan import Action, Asked, Decision, Facts, Reason, Record, SegmentPlan, decide_in_pieces

NAMES = [b"%16d" % number for number in range(14)]


class Inputs(Listed):
    """Inputs that are combinations of elements, or others."""

    def __init__(self, wanted: Sequence[Wanted], plain: bool) -> None:
        super().__init__(wanted)
        self.plain = plain


@dataclass
class Known:
    """The records, and what was wanted before."""

    records: dict[bytes, list[Record]]
    ids: list[int]
    at: int = 0
    read: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def standing(self, task: int) -> tuple[bytes, Record] | None:
        for digest, versions in self.records.items():
            (first, *others) = versions
            if first.id == task and not others and not (first.hands or first.asked or first.mark):
                good = first.current and first.status is Status.DONE and first.present
                return (digest, first) if good else None
        return None

    def ahead(self, number: int) -> Standing:
        found = []
        for task in self.ids[self.at : self.at + number]:
            pair = self.standing(task)
            if pair is None:
                break
            found.append(pair)
        self.read.append(len(found))
        ids = [record.id for _, record in found]
        return Standing(ids, b"".join(digest for digest, _ in found), [record.parents for _, record in found])

    def advance(self, number: int) -> None:
        self.at += number

    def resume(self, ids: Sequence[int]) -> None:
        with suppress(ValueError, StopIteration):
            self.at = self.ids.index(next(task for task in reversed(ids) if task), self.at) + 1

    def record(self, task: int) -> Record | None:
        self.asked.append(task)
        pair = self.standing(task)
        return None if pair is None else pair[1]


TASKS = st.one_of(st.just((1,)), st.just((2,)), st.just((3,)), st.just((1, 2)), st.just(tuple(range(1, 12))))
SETS: dict[str, Parents] = {}
TEXTS = st.one_of(st.just(((1,),)), st.just(((2,),)), st.tuples(TASKS)).map(lambda ids: encode_parents(ids, SETS))


@st.composite
def versions(draw: st.DrawFn, number: int, text: str, odd: bool) -> list[Record]:
    """The versions of a task: nearly always one that is as it should be."""
    first = Record(10 * number + 1, Status.DONE, True, True, text)
    if not odd:
        return [first]
    first = first._replace(
        status=draw(st.sampled_from([Status.DONE, Status.DONE, Status.FAILED, Status.QUEUED])),
        current=draw(st.booleans()),
        present=draw(st.booleans()),
        asked=draw(st.none() | st.just(Asked(("a",)))),
        mark=draw(st.sampled_from(Mark)),
        hands=draw(st.sampled_from([0, 0, 1, 2])),
    )
    second = Record(10 * number + 2, Status.DONE, False, True, draw(TEXTS))
    return draw(st.sampled_from([[first], [first, second]]))


@st.composite
def histories(draw: st.DrawFn) -> tuple[dict[bytes, list[Record]], list[int], list[Wanted], bool]:
    """Records, the order in which they were wanted, and what is wanted now: mostly the same again."""
    number = draw(st.integers(0, len(NAMES)))
    usual, now = draw(TEXTS), draw(TASKS)
    odd = draw(st.sets(st.integers(0, number), max_size=2))
    others = draw(st.dictionaries(st.integers(0, number), TEXTS, max_size=3))
    records = {
        NAMES[at]: draw(versions(at + 1, others.get(at, usual), at in odd)) for at in range(number)
    }
    order = draw(st.sampled_from([list(range(number)), list(range(number))[::-1]]))
    wanted = list(order)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(wanted)))
        what = draw(st.sampled_from(["remove", "add", "move"]))
        taken = wanted.pop(place) if place < len(wanted) and what != "add" else None
        spare = sorted(set(range(len(NAMES))) - set(wanted) - set(range(number)))
        if what == "add" and spare:
            wanted.insert(place, spare[0])
        elif what == "move" and taken is not None:
            wanted.append(taken)
    elsewhere = draw(st.dictionaries(st.sampled_from(range(len(NAMES))), TASKS, max_size=3))
    plain = draw(st.booleans())
    items = [
        Wanted(NAMES[at], "x", (Element(elsewhere.get(at, now)[0] if plain else PHANTOM, 0, b"", "x", b""),),
               (elsewhere.get(at, now),))
        for at in wanted
    ]
    return records, [records[NAMES[at]][0].id for at in order], items, plain


def facts(records: dict[bytes, list[Record]], superseded: Sequence[int] = (), growing: bool = False) -> Facts:
    return Facts(
        ("a",),
        lambda digests: {digest: records[digest] for digest in digests if digest in records},
        set(superseded).__contains__,
        lambda text: decode_parents(text, lambda name: SETS[name][0]),
        lambda name, parents: "",
        lambda name: "",
        growing,
    )


def whole(pieces: Sequence[SegmentPlan]) -> tuple[list[int], list[Decision], dict[str, Parents]]:
    """The plan, with a decision for each task that is not reused just as it is."""
    ids: list[int] = []
    decisions: list[Decision] = []
    sets: dict[str, Parents] = {}
    for piece in pieces:
        assert piece.start == len(ids)
        ids += piece.ids
        sets |= piece.task_sets
        found = list(piece.decisions)
        for start, stop, text in piece.moved:
            places = range(start, stop)
            found += [Decision(piece.start + at, Action.UPDATE, piece.ids[at], 0, text) for at in places]
        decisions += sorted(found, key=lambda decision: decision.position)
        assert len({decision.position for decision in found}) == len(found)
    return ids, decisions, sets


@settings(deadline=None, max_examples=600)
@given(histories(), st.sets(st.integers(1, 3)), st.booleans(), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_a_plan_in_lockstep_is_the_plan_that_is_made_one_by_one(
    history: tuple[dict[bytes, list[Record]], list[int], list[Wanted], bool],
    superseded: set[int], growing: bool, size: int, few: int, worth: int,
) -> None:
    records, ids, wanted, plain = history
    inputs = Inputs(wanted, plain)
    alone = facts(records, sorted(superseded), growing)
    sizes = mock.patch.multiple(lockstep, _FEWEST=few, _MOST=2 * few, _WORTH=worth)
    with sizes, mock.patch.object(plan, "_AT_ONCE", size):
        expected = whole(list(decide_in_pieces(inputs, alone)))
        assert whole(list(decide_in_pieces(inputs, alone._replace(before=Known(records, ids))))) == expected


def inputs_of(numbers: Sequence[int], task: int) -> Inputs:
    elements = [Element(task, 0, b"", "x", b"") for _ in numbers]
    return Inputs(
        [Wanted(b"%16d" % at, "x", (item,), ((task,),)) for at, item in zip(numbers, elements, strict=True)], True
    )


def records_of(numbers: Sequence[int]) -> dict[bytes, list[Record]]:
    return {b"%16d" % at: [Record(at + 1, Status.DONE, True, True, "[[1]]")] for at in numbers}


@pytest.mark.parametrize(("task", "moved", "asked"), [(1, 0, []), (5, 10_000, [1])])
def test_one_more_at_the_end_is_all_that_is_looked_at(task: int, moved: int, asked: list[int]) -> None:
    records = records_of(range(10_000))
    looked_for: list[bytes] = []

    def found(digests: Sequence[bytes]) -> dict[bytes, list[Record]]:
        looked_for.extend(digests)
        return {}

    known = mock.create_autospec(Known, instance=True)
    known.at = 0
    known.ahead.side_effect = lambda number: Standing(
        list(range(1, 10_001))[known.at : known.at + number],
        b"".join(list(records)[known.at : known.at + number]),
        ["[[1]]"] * (min(known.at + number, 10_000) - known.at),
    )

    def advance(number: int) -> None:
        known.at += number

    known.advance.side_effect = advance
    known.record.side_effect = lambda number: records[b"%16d" % (number - 1)][0]
    given_facts = facts({})._replace(records=found, before=known)
    pieces = list(decide_in_pieces(inputs_of(range(10_001), task), given_facts))
    assert looked_for == [b"%16d" % 10_000]
    assert [call.args[0] for call in known.record.call_args_list] == asked
    assert sum(stop - start for piece in pieces for start, stop, _ in piece.moved) == moved
    (decision,) = [decision for piece in pieces for decision in piece.decisions]
    assert (decision.position, decision.action, decision.reason) == (10_000, Action.NEW, Reason.NEW)
    assert [task for piece in pieces for task in piece.ids] == [*range(1, 10_001), 0]


def test_records_are_read_less_often_where_nothing_fits() -> None:
    records = records_of(range(100))
    # two by two in the wrong order
    known = Known(records, [(task ^ 1) + 1 for task in range(100)])
    with mock.patch.object(plan, "_AT_ONCE", 1), mock.patch.object(lockstep, "_FEWEST", 3):
        pieces = list(decide_in_pieces(inputs_of(range(100), 1), facts(records)._replace(before=known)))
    assert [task for piece in pieces for task in piece.ids] == list(range(1, 101))
    assert 0 < len(known.read) < 10


def test_where_something_has_come_in_between_the_rest_goes_on_in_lockstep() -> None:
    records = records_of(range(1000))
    known = Known(records, list(range(1, 1001)))
    numbers = [*range(500), 5000, *range(500, 700), *range(701, 1000)]
    asked = []

    def found(digests: Sequence[bytes]) -> dict[bytes, list[Record]]:
        asked.append(len(digests))
        return {digest: records[digest] for digest in digests if digest in records}

    with mock.patch.object(plan, "_AT_ONCE", 10):
        given_facts = facts({})._replace(records=found, before=known)
        pieces = list(decide_in_pieces(inputs_of(numbers, 1), given_facts))
    assert [task for piece in pieces for task in piece.ids] == [0 if at == 5000 else at + 1 for at in numbers]
    assert asked == [10, 10]
    assert 0 not in known.read
