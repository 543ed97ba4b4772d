"""Outputs as columns and inputs made on demand: both are what plain lists are."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any
from unittest import mock

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelet.core.inputs as inputs_module
import pipelet.core.model as model
import pipelet.outputs as outputs
from pipelet.core.directives import Multiplex
from pipelet.core.fingerprint import value_digest
from pipelet.core.inputs import Diagonal, EachAlone, Listed, Rectangle
from pipelet.core.model import Digests, Element, Elements, ParentOutput, Picked
from pipelet.core.multiplex import expand
from pipelet.core.parents import Parents, encode_parents
from pipelet.core.text import value_text
from pipelet.outputs import elements_of, read_output
from pipelet.statusdb import OutputRow, SingleOutputs


class Records:
    """The outputs of some tasks, as a database has them; remembers how much was read."""

    def __init__(self, tasks: dict[int, list[Any] | None]) -> None:
        self.rows = {task: self._row(task, values) for task, values in tasks.items()}
        self.read = 0

    def _row(self, task: int, values: list[Any] | None) -> OutputRow:
        if values is None:
            return OutputRow(task, None, None, None)
        return OutputRow(
            task,
            msgpack.packb([pickle.dumps(value) for value in values]),
            b"".join(value_digest(value) for value in values),
            msgpack.packb([value_text(value) for value in values]),
        )

    def outputs(self, instance_id: int, ids: Sequence[int]) -> Iterator[OutputRow]:
        for task in ids:
            self.read += 1
            yield self.rows[task]

    def single_digests(self, ids: Sequence[int]) -> bytes | None:
        columns = [self.rows[task].digests or b"" for task in ids]
        return b"".join(columns) if all(len(column) == 16 for column in columns) else None

    def single_outputs(self, ids: Sequence[int]) -> SingleOutputs | None:
        digests = self.single_digests(ids)
        if digests is None:
            return None
        self.read += len(ids)
        rows = [self.rows[task] for task in ids]
        outputs, texts = b"".join([row.output or b"" for row in rows]), b"".join([row.texts or b"" for row in rows])
        return SingleOutputs(digests, outputs, texts)

    def output_digests(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes | None, bool]]:
        for task in ids:
            row = self.rows[task]
            yield task, row.digests, row.output is None


def plain(tasks: dict[int, list[Any] | None]) -> list[Element]:
    """The elements one by one."""
    return [
        Element(task, place, value_digest(value), value_text(value), pickle.dumps(value))
        for task, values in tasks.items()
        for place, value in enumerate(values or ())
    ]


#: Few tasks with many elements, many tasks with few, empty ones, silent ones.
VALUES = st.one_of(
    st.none(),
    st.lists(st.integers(0, 5), max_size=3),
    st.lists(st.integers(0, 50), min_size=4, max_size=25),
    st.lists(st.text(max_size=3), max_size=2),
)
TASKS = st.lists(VALUES, max_size=12).map(lambda found: {3 * place + 7: values for place, values in enumerate(found)})
SLICES = st.slices(40)


def same(mine: Sequence[Any], theirs: Sequence[Any], cuts: Sequence[slice]) -> None:
    """A sequence is what a list is, wherever somebody looks."""
    assert len(mine) == len(theirs)
    assert list(mine) == list(theirs)
    for place in range(-len(theirs) - 2, len(theirs) + 2):
        if -len(theirs) <= place < len(theirs):
            assert mine[place] == theirs[place]
        else:
            with pytest.raises(IndexError):
                mine[place]
    for cut in cuts:
        assert list(mine[cut]) == list(theirs[cut])
    assert list(reversed(mine)) == list(reversed(theirs))


@settings(deadline=None, max_examples=150)
@given(TASKS, st.lists(SLICES, max_size=6), st.integers(1, 7), st.integers(1, 3), st.integers(1, 8), st.data())
def test_an_output_read_from_the_database_is_what_the_tasks_gave(
    tasks: dict[int, list[Any] | None], cuts: list[slice], size: int, kept: int, large: int, data: st.DataObject
) -> None:
    records = Records(tasks)
    known = data.draw(st.permutations(list(tasks)))
    expected = plain({task: tasks[task] for task in known})
    with mock.patch.multiple(model, _PIECE=size, _PIECES=kept), mock.patch.object(outputs, "_LARGE", large):
        output, silent = read_output("melt", records, 1, known)  # type: ignore[arg-type]
        assert silent == sum(values is None for values in tasks.values())
        assert output.silent == (bool(tasks) and silent == len(tasks))
        assert output.tasks == known
        elements = output.elements
        assert isinstance(elements, Elements)
        assert list(elements.tasks) == [element.task for element in expected]
        same(elements.digests, [element.digest for element in expected], cuts)
        # in any order of the pieces, also when they are thrown away and read again
        some = st.lists(st.sampled_from(range(len(expected))), max_size=10) if expected else st.just([])
        for place in data.draw(some):
            assert elements[place] == expected[place]
        same(elements, expected, cuts)
        places = data.draw(some)
        picked = Picked(elements, places)
        same(picked, [expected[place] for place in places], cuts)
        assert picked == [expected[place] for place in places]
        assert picked != [*(expected[place] for place in places), None]


def test_of_an_output_only_what_is_looked_at_is_read() -> None:
    records = Records({task: [task] for task in range(1, 101)})
    with mock.patch.object(model, "_PIECE", 10):
        elements = read_output("melt", records, 1, range(1, 101))[0].elements  # type: ignore[arg-type]
        assert (elements[55].task, elements[53].task) == (56, 54)
    assert records.read == 10


def test_slices_one_after_the_other_are_read_once_and_let_go() -> None:
    held: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    class Piece(list[Element]):
        __hash__ = object.__hash__

    records = Records({task: [task] for task in range(1, 101)})
    with mock.patch.object(model, "_PIECE", 10):
        found = read_output("melt", records, 1, range(1, 101))[0].elements  # type: ignore[arg-type]
        assert isinstance(found, Elements)
        fetch = found._fetch

        def fetched(start: int, stop: int) -> Sequence[Element]:
            piece = Piece(fetch(start, stop))
            held.add(piece)
            return piece

        elements = Elements(found.tasks, b"".join(found.digests), fetched)
        for start in range(0, 100, 25):
            assert [element.task for element in elements[start : start + 25]] == list(range(start + 1, start + 26))
            most = max(most, len(held))
    assert records.read == 100
    assert most == 1


def test_a_task_that_gave_much_is_not_unpacked_again_for_each_piece() -> None:
    records = Records({1: [0], 2: list(range(1000)), 3: [0]})
    with mock.patch.object(model, "_PIECE", 10), mock.patch.object(outputs, "_LARGE", 10):
        elements = read_output("melt", records, 1, [1, 2, 3])[0].elements  # type: ignore[arg-type]
        assert [pickle.loads(element.blob) for element in elements] == [0, *range(1000), 0]
    # the first and the last piece belong to others as well
    assert records.read <= 5


def test_without_an_instance_there_is_no_output() -> None:
    output, silent = read_output("melt", Records({}), None, [])  # type: ignore[arg-type]
    assert (len(output.elements), output.silent, silent) == (0, False, 0)


@given(st.lists(st.integers() | st.text(max_size=2)))
def test_the_elements_of_a_record(values: list[Any]) -> None:
    row = Records({4: values}).rows[4]
    assert elements_of(4, row.output or b"", row.digests or b"", row.texts) == plain({4: values})


@given(st.lists(st.binary(max_size=3) | st.integers(0, 1 << 40) | st.lists(st.text(max_size=2))), st.lists(SLICES))
def test_a_packed_list_is_a_list(items: list[Any], cuts: list[slice]) -> None:
    same(outputs._PackedList(msgpack.packb(items)), items, cuts)


@given(st.lists(st.binary(min_size=16, max_size=16)), st.lists(SLICES))
def test_digests_are_a_list_of_digests(digests: list[bytes], cuts: list[slice]) -> None:
    same(Digests(b"".join(digests)), digests, cuts)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=4), st.lists(SLICES, max_size=4))
def test_sequences_of_combinations(sizes: list[int], cuts: list[slice]) -> None:
    same(Rectangle([range(size) for size in sizes]), list(product(*map(range, sizes))), cuts)
    alone = [
        tuple(at if place == mine else None for place in range(len(sizes)))
        for mine, size in enumerate(sizes)
        for at in range(size)
    ]
    same(EachAlone(sizes), alone, cuts)
    same(Diagonal(len(sizes), sizes[0]), [(at,) * len(sizes) for at in range(sizes[0])], cuts)


DIRECTIVES = st.sampled_from(
    [
        Multiplex(), Multiplex(where="a == b"), Multiplex(where="a < b"), Multiplex("union"),
        Multiplex("union", where="(a or b) == 1"), Multiplex(group_by="a"), Multiplex("union", group_by="a"),
    ]
)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 3), max_size=4), min_size=2, max_size=2), DIRECTIVES, st.booleans(),
    st.lists(SLICES, max_size=4), st.integers(1, 4), st.data(),
)
def test_inputs_made_on_demand_are_all_alike(
    given_by: list[list[int]], directive: Multiplex, one: bool, cuts: list[slice], size: int, data: st.DataObject
) -> None:
    names = ["a"] if one and directive == Multiplex() else ["a", "b"]
    parents = [
        ParentOutput(name, plain({10 * place + at: [value] for at, value in enumerate(values, 1)}), ())
        for place, (name, values) in enumerate(zip(names, given_by, strict=False))
    ]
    found = expand("melt", parents, directive, lambda element: pickle.loads(element.blob), lambda warning: None)
    listed = list(found)
    same(found, listed, cuts)
    keys = [(item.digest, item.parents) for item in listed]
    for start in range(0, len(listed) + 1, size):
        piece = keys[start : start + size]
        assert list(found.keys(start, start + size)) == piece
        assert found.digest_column(start, start + size) == b"".join(digest for digest, _ in piece)
        sets: dict[str, Parents] = {}
        texts: dict[str, Parents] = {}
        assert found.parent_texts(start, start + size, sets) == [encode_parents(ids, texts) for _, ids in piece]
        assert sets == texts
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(listed)))) if listed else st.just(set())))
    assert list(found.rows(chosen)) == list(Listed(listed).rows(chosen))
    assert list(found.rows(range(len(listed)))) == list(Listed(listed).rows(range(len(listed))))
    assert inputs_module.Inputs.plain is False
    assert found.grouped == (directive.group_by is not None)
