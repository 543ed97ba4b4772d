"""From outputs to inputs; a plain nested loop is the oracle."""

from __future__ import annotations

import builtins
import pickle
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipelet.core import multiplex
from pipelet.core.directives import Multiplex
from pipelet.core.fingerprint import combine, value_digest
from pipelet.core.model import Element, ParentOutput, Wanted
from pipelet.core.multiplex import expand
from pipelet.core.sources import NONE_ELEMENT
from pipelet.core.text import join_texts, value_text
from pipelet.errors import ExpansionError


class Odd:
    """Equal to everything of its class and to 1, with a hash that does not agree."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Odd) or other == 1

    def __hash__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"Odd({self.number})"


class Touchy:
    """Raises when it is compared."""

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("don't compare me")

    __hash__ = None  # type: ignore[assignment]


class Counter:
    """Gives another value each time that it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __getitem__(self, index: int) -> int:
        self.count += 1
        return self.count


class Moody:
    """Is true each second time that it is asked."""

    def __init__(self) -> None:
        self.count = 0

    def __bool__(self) -> bool:
        self.count += 1
        return self.count % 2 == 0


class Unhelpful:
    """Has no text and can't be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise ValueError("no")


class Point(NamedTuple):
    x: Any
    y: Any


def output(name: str, values: Iterable[Any], tasks: Sequence[int] | None = None) -> ParentOutput:
    """Make an output; by default each element comes from a task of its own, numbered from 1."""
    values = list(values)
    tasks = range(1, len(values) + 1) if tasks is None else tasks
    elements = [
        Element(task, list(tasks[:at]).count(task), value_digest(value), value_text(value), pickle.dumps(value))
        for at, (task, value) in enumerate(zip(tasks, values, strict=True))
    ]
    return ParentOutput(name, elements, sorted(set(tasks)))


def silent(name: str, *tasks: int) -> ParentOutput:
    return ParentOutput(name, [], tasks, silent=True)


class Loader:
    """Gives the same object for equal elements, and remembers which were asked for."""

    def __init__(self) -> None:
        self.objects: dict[bytes, Any] = {}
        self.asked: list[Element] = []

    def __call__(self, element: Element) -> Any:
        self.asked.append(element)
        if element.digest not in self.objects:
            self.objects[element.digest] = pickle.loads(element.blob)
        return self.objects[element.digest]


def expanded(parents: Sequence[ParentOutput], directive: Multiplex) -> tuple[list[Wanted], list[str]]:
    warnings: list[str] = []
    return list(expand("melt", parents, directive, Loader(), warnings.append)), warnings


def wanted(parents: Sequence[ParentOutput], kind: Any = "cross_prod", **clauses: str) -> list[Wanted]:
    found, warnings = expanded(parents, Multiplex(kind, **clauses))
    assert warnings == []
    return found


def texts(found: Iterable[Wanted]) -> list[str]:
    return [one.text for one in found]


def refusal(parents: Sequence[ParentOutput], kind: Any = "cross_prod", **clauses: str) -> ExpansionError:
    with pytest.raises(ExpansionError, match=r"^segment 'melt': ") as caught:
        expanded(parents, Multiplex(kind, **clauses))
    return caught.value


# ---- kinds


class TestCrossProduct:
    def test_the_knights(self):
        parents = [output("knights", ["Lancelot", "Galahad"]), output("quality", ["the Brave", "the Pure"])]
        found = wanted(parents)
        assert [tuple(pickle.loads(e.blob) for e in one.elements) for one in found] == [
            ("Lancelot", "the Brave"),
            ("Lancelot", "the Pure"),
            ("Galahad", "the Brave"),
            ("Galahad", "the Pure"),
        ]
        assert [one.parents for one in found] == [((1,), (1,)), ((1,), (2,)), ((2,), (1,)), ((2,), (2,))]
        assert found[1].digest == combine([value_digest("Lancelot"), value_digest("the Pure")])
        assert found[1].text == join_texts(["Lancelot", value_text("the Pure")])
        assert all(one.group is None for one in found)

    def test_one_parent(self):
        found = wanted([output("a", [3, (1, 2)])])
        assert [(one.digest, one.text) for one in found] == [(value_digest(v), value_text(v)) for v in (3, (1, 2))]
        assert [[(e.text, e.task) for e in one.elements] for one in found] == [[("3", 1)], [("1_2", 2)]]
        assert [one.parents for one in found] == [((1,),), ((2,),)]

    def test_equal_elements_are_one_task_of_all_the_tasks_that_gave_them(self):
        found = wanted([output("a", ["x", "y", "x", "x"], [7, 7, 3, 7]), output("b", [0, 0], [2, 1])])
        assert [one.parents for one in found] == [((3, 7), (1, 2)), ((7,), (1, 2))]
        assert [one.elements[0].position for one in found] == [0, 1]

    def test_values_of_different_type_are_different(self):
        assert len(wanted([output("a", [1, True, 1.0, np.int64(1), float("nan"), float("nan")])])) == 5

    def test_an_empty_output_means_no_input(self):
        assert wanted([output("a", [1]), output("b", [])]) == []
        assert wanted([output("a", [1]), output("b", [])], where="1 / 0", group_by="1 / 0") == []
        loader = Loader()
        assert not expand("melt", [output("a", [1]), output("b", [])], Multiplex(where="a == b"), loader, pytest.fail)
        assert loader.asked == []

    def test_nothing_is_loaded_without_an_expression(self):
        loader = Loader()
        expand("melt", [output("a", [1]), output("b", [2])], Multiplex(), loader, pytest.fail)
        expand("melt", [output("a", [1]), output("b", [2])], Multiplex(group_by="'all'"), loader, pytest.fail)
        assert loader.asked == []

    def test_only_what_an_expression_uses_is_loaded(self):
        for clauses in [{"where": "a > 0"}, {"group_by": "a"}, {"where": "[a for _ in '1']", "group_by": "a"}]:
            loader = Loader()
            expand("melt", [output("a", [1]), output("b", [2])], Multiplex(**clauses), loader, pytest.fail)
            assert {element.text for element in loader.asked} == {"1"}

    def test_each_element_of_a_product_is_loaded_once(self):
        parents = [output("a", [1, 2, 3]), output("b", [2, 3, 4])]
        for where in ("a < b", "a == b", "hash(a) < hash(b)"):
            loader = Loader()
            expand("melt", parents, Multiplex(where=where, group_by="(a, b)"), loader, pytest.fail)
            assert len(loader.asked) == 6

    def test_a_silent_parent_gives_none_from_all_its_tasks(self):
        found = wanted([output("a", [1, 2]), silent("b", 9, 4)])
        assert [one.parents for one in found] == [((1,), (4, 9)), ((2,), (4, 9))]
        assert [one.elements[1] for one in found] == [NONE_ELEMENT] * 2
        assert found[0].digest == combine([value_digest(1), value_digest(None)])
        assert NONE_ELEMENT.digest == value_digest(None)
        assert pickle.loads(NONE_ELEMENT.blob) is None


class TestUnion:
    def test_each_input_comes_from_one_parent(self):
        found = wanted([output("a", [1, 2, 1]), output("b", [1]), silent("c", 5)], "union")
        assert texts(found) == ["1", "2", "1", "None"]
        assert [one.parents for one in found] == [((1, 3), (), ()), ((2,), (), ()), ((), (1,), ()), ((), (), (5,))]
        assert [[e and e.text for e in one.elements] for one in found] == [
            ["1", None, None],
            ["2", None, None],
            [None, "1", None],
            [None, None, "None"],
        ]

    def test_equal_elements_of_two_parents_are_two_inputs(self):
        first, second = wanted([output("a", [1]), output("b", [1])], "union")
        assert first.digest == combine([value_digest(1)], salt=b"a")
        assert second.digest == combine([value_digest(1)], salt=b"b")

    def test_an_empty_output_takes_nothing_away(self):
        assert texts(wanted([output("a", []), output("b", [1])], "union")) == ["1"]

    def test_where_sees_none_for_the_other_parents(self):
        parents = [output("a", [1, 2]), output("b", [2, 3])]
        assert texts(wanted(parents, "union", where="a == 2 or b == 2")) == ["2", "2"]
        error = refusal(parents, "union", where="a > 1")
        assert "a=None" in str(error)
        assert str(error).endswith(
            "or mend what the parents put out. In a union, the parents from which an input does not come are None."
        )

    def test_group_by(self):
        parents = [output("a", [1, 2, 1]), output("b", [2, 3])]
        found = wanted(parents, "union", group_by="(a or b) % 2")
        assert [one.group.value for one in found] == [1, 0]
        assert [one.parents for one in found] == [((1, 3), (2,)), ((2,), (1,))]
        assert [[[e.text for e in m] for m in one.group.members] for one in found] == [
            [["1", "1"], ["3"]],
            [["2"], ["2"]],
        ]

    def test_a_class_has_the_tasks_of_a_silent_parent_only_where_it_comes_from_it(self):
        found = wanted([output("a", [1, 2]), silent("c", 5, 6)], "union", group_by="a")
        assert [one.group.value for one in found] == [1, 2, None]
        assert [one.parents for one in found] == [((1,), ()), ((2,), ()), ((), (5, 6))]
        assert [[len(m) for m in one.group.members] for one in found] == [[1, 0], [1, 0], [0, 1]]


class TestZip:
    def test_rows(self):
        found = wanted([output("a", [1, 1, 2]), output("b", [5, 6, 7])], "zip")
        assert texts(found) == [join_texts(pair) for pair in (["1", "5"], ["1", "6"], ["2", "7"])]
        assert [one.parents for one in found] == [((1,), (1,)), ((2,), (2,)), ((3,), (3,))]
        assert found[0].digest == combine([value_digest(1), value_digest(5)])

    def test_equal_rows_are_one_input(self):
        found = wanted([output("a", [1, 2, 1]), output("b", [5, 5, 5])], "zip")
        assert [one.parents for one in found] == [((1, 3), (1, 3)), ((2,), (2,))]

    def test_unequal_lengths(self):
        error = refusal([output("a", [1, 2, 3]), silent("s", 1), output("b", [1])], "zip")
        assert "a has 3, b has 1" in str(error)

    def test_a_silent_parent_is_repeated(self):
        found = wanted([output("a", [1, 2]), silent("b", 9, 4)], "zip")
        assert [one.parents for one in found] == [((1,), (4, 9)), ((2,), (4, 9))]
        assert [one.elements[1] for one in found] == [NONE_ELEMENT] * 2

    def test_silent_parents_only(self):
        (found,) = wanted([silent("a", 1), silent("b", 2, 3)], "zip")
        assert found.parents == ((1,), (2, 3))
        assert found.elements == (NONE_ELEMENT, NONE_ELEMENT)

    def test_nothing(self):
        assert wanted([output("a", []), silent("b", 1)], "zip") == []

    def test_where_and_group_by_go_by_row(self):
        parents = [output("a", [1, 1, 2, 1]), output("b", [5, 6, 7, 5]), silent("c", 8)]
        found = wanted(parents, "zip", where="b != 7", group_by="b")
        assert [one.group.value for one in found] == [5, 6]
        assert [one.parents for one in found] == [((1, 4), (1, 4), (8,)), ((2,), (2,), (8,))]
        assert [[[e.task for e in m] for m in one.group.members] for one in found] == [
            [[1, 4], [1, 4], [0]],
            [[2], [2], [0]],
        ]

    def test_one_parent(self):
        assert [one.digest for one in wanted([output("a", [4])], "zip")] == [value_digest(4)]


# ---- expressions


class TestWhere:
    def test_the_names_are_seen_in_comprehensions(self):
        parents = [output("a", [1, 2, 3]), output("b", [[2], [3, 1]])]
        assert texts(wanted(parents, where="any(x == a for x in b if a)")) == ["1_3_1", "2_2", "3_3_1"]

    def test_zip_is_filtered(self):
        assert texts(wanted([output("a", [1, 2]), output("b", [1, 3])], "zip", where="a == b")) == ["1_1"]

    @pytest.mark.parametrize("kind", ["cross_prod", "zip"])
    def test_a_failure_names_segment_expression_and_elements(self, kind):
        advice = "Correct it in the #multiplex line of 'melt', or mend what the parents put out."
        error = refusal([output("a", [(1,)]), output("b", [[5]])], kind, where="a[3] == b[0]")
        assert str(error).startswith(
            "segment 'melt': where `a[3] == b[0]` raised IndexError: tuple index out of range for a=(1,), b=[5]. "
            + advice
        )
        assert isinstance(error.__cause__, IndexError)

    def test_a_long_element_is_cut(self):
        assert len(str(refusal([output("a", ["x" * 10_000])], where="a.nosuch"))) < 400
        assert len(str(refusal([output("a", [np.zeros((100, 100))])], where="a == 0"))) < 500

    def test_an_element_stands_on_one_line(self):
        error = refusal([output("a", [np.zeros((2, 2))])], where="a == 0")
        assert " for a=array([[0., 0.], [0., 0.]]). " in str(error)

    def test_a_truth_value_may_fail(self):
        error = refusal([output("a", [np.zeros(2)]), output("b", [1])], where="a == b")
        assert isinstance(error.__cause__, ValueError)

    def test_an_unknown_name(self):
        assert "NameError" in str(refusal([output("a", [1])], where="nosuch"))

    def test_a_directive_that_was_made_by_hand(self):
        assert "no Python expression" in str(refusal([output("a", [1])], where="a +"))

    def test_an_element_without_text(self):
        assert "Unhelpful" in str(refusal([output("a", [Unhelpful()])], where="a.nosuch"))

    def test_an_element_that_can_not_be_loaded(self):
        def load(element: Element) -> object:
            raise ImportError("no module named lost")

        for clauses in [{"where": "a == b"}, {"where": "a < b"}, {"group_by": "a"}, {"group_by": "(a, b)"}]:
            with pytest.raises(
                ExpansionError, match=r"element 0 of the output of task 1 of 'a'.*: ImportError: no module named lost"
            ) as caught:
                expand("melt", [output("a", [1]), output("b", [2])], Multiplex(**clauses), load, pytest.fail)
            assert isinstance(caught.value.__cause__, ImportError)

    def test_a_failure_on_a_silent_parent_counts_as_true(self):
        parents = [output("a", [1, 2]), output("b", [1, 2]), silent("c", 7)]
        found, warnings = expanded(parents, Multiplex(where="a == b and c[0] == a"))
        assert texts(found) == ["1_1_None", "2_2_None"]
        (warning,) = warnings
        assert warning.startswith("segment 'melt': where `a == b and c[0] == a` could not be evaluated (TypeError")
        assert warning.endswith("), because 'c' set no output and stands for None; counted as true")

    def test_all_the_silent_parents_that_an_expression_uses_are_named(self):
        parents = [output("a", [1]), silent("b", 7), silent("c", 7), silent("d", 7)]
        _, (warning,) = expanded(parents, Multiplex(where="b[0] == d[0]"))
        assert "because 'b' and 'd' set no output" in warning

    def test_a_failure_without_a_silent_parent_is_none_of_its_business(self):
        assert "IndexError" in str(refusal([output("a", ["x"]), silent("c", 7)], where="a[5]"))

    def test_a_silent_parent_that_is_no_trouble(self):
        assert texts(wanted([output("a", [1, 2]), silent("c", 7)], where="c is None and a > 1")) == ["2_None"]

    def test_a_load_error_is_not_put_down_to_a_silent_parent(self):
        def load(element: Element) -> object:
            raise ImportError("lost")

        for clauses in [{"where": "a == c[0]"}, {"group_by": "a == c[0]"}]:
            with pytest.raises(ExpansionError, match="can't be loaded"):
                expand("melt", [output("a", [1]), silent("c", 7)], Multiplex(**clauses), load, pytest.fail)


class TestGroupBy:
    def test_a_class_has_all_its_elements_and_tasks_once(self):
        parents = [output("a", [(1, "x"), (2, "y"), (1, "z"), (1, "x")], [4, 2, 2, 1]), output("b", [5, 5], [3, 8])]
        first, second = wanted(parents, group_by="a[0]")
        assert (first.group.value, second.group.value) == (1, 2)
        assert (first.digest, first.text) == (value_digest(1), value_text(1))
        assert first.elements == ()
        assert first.parents == ((1, 2, 4), (3, 8))
        assert second.parents == ((2,), (3, 8))
        assert [(e.task, e.position) for e in first.group.members[0]] == [(4, 0), (2, 1), (1, 0)]
        assert [(e.task, e.position) for e in first.group.members[1]] == [(3, 0), (8, 0)]

    def test_values_are_compared_as_python_does(self):
        found = wanted([output("a", [1, True, 1.0, Decimal(1), np.int64(1), 2])], group_by="a")
        assert [one.group.value for one in found] == [1, 2]
        assert type(found[0].group.value) is int
        assert len(found[0].group.members[0]) == 5

    def test_nan_is_one_class(self):
        (found,) = wanted([output("a", [1, 2]), output("b", [1, 2])], group_by="float('nan')")
        assert found.parents == ((1, 2), (1, 2))
        assert len(wanted([output("a", [(float("nan"), 1), (float("nan"), 2)])], group_by="a[0]")) == 1

    @pytest.mark.parametrize("text", ["all", "'all'"])
    def test_a_constant_is_one_class(self, text):
        (found,) = wanted([output("a", [1, 2]), output("b", [3])], group_by=text)
        assert (found.group.value, found.text) == ("all", "all")
        assert found.parents == ((1, 2), (1,))

    def test_after_where(self):
        parents = [output("a", [1, 2, 3, 4]), output("b", [1, 2, 3])]
        found = wanted(parents, where="a == b + 1", group_by="a % 2")
        assert [(one.group.value, one.parents) for one in found] == [(0, ((2, 4), (1, 3))), (1, ((3,), (2,)))]

    def test_after_a_where_that_leaves_a_product(self):
        parents = [output("a", [1, 2, 3, 4]), output("b", [1, 2, 3])]
        found = wanted(parents, where="a > 1 and b < 3", group_by="b")
        assert [(one.group.value, one.parents) for one in found] == [(1, ((2, 3, 4), (1,))), (2, ((2, 3, 4), (2,)))]

    def test_unhashable(self):
        for parents in ([output("a", [[1]])], [output("a", [[1]]), output("b", [1])]):
            error = refusal(parents, group_by="a")
            assert "gave [1], which can't name a class (TypeError: unhashable type: 'list'), for a=[1]" in str(error)
            assert str(error).endswith(
                ". The value must be hashable: a tuple instead of a list or an array, for example."
            )

    def test_elements_that_the_expression_does_not_use_are_not_loaded_for_the_message(self):
        loader = Loader()
        parents = [output("a", [1]), output("b", [("x", "y")])]
        with pytest.raises(ExpansionError, match="for a=1, b=x_y"):
            expand("melt", parents, Multiplex(group_by="[]"), loader, pytest.fail)
        assert loader.asked == []

    def test_a_value_without_fingerprint(self):
        error = refusal([output("a", [1])], group_by="lambda: a")
        assert " gave <function <lambda> at " in str(error)
        assert ">, which can't name a class (value " in str(error)
        assert str(error).endswith("), for a=1. Use a plain value: a number, a text, or a tuple of such.")

    def test_a_failure(self):
        error = refusal([output("a", [2, 1, 0]), output("b", [5])], group_by="1 // a")
        assert "group_by `1 // a` raised ZeroDivisionError" in str(error)
        assert "a=0" in str(error)

    def test_a_failure_on_a_silent_parent_is_the_class_none(self):
        found, warnings = expanded([output("a", [1, 2]), silent("c", 7, 8)], Multiplex(group_by="c[0]"))
        assert [(one.group.value, one.parents) for one in found] == [(None, ((1, 2), (7, 8)))]
        assert found[0].group.members[1] == (NONE_ELEMENT,)
        assert found[0].digest == value_digest(None)
        (warning,) = warnings
        assert warning == (
            "segment 'melt': group_by `c[0]` could not be evaluated "
            "(TypeError: 'NoneType' object is not subscriptable), "
            "because 'c' set no output and stands for None; its class is None"
        )

    def test_some_combinations_may_do_without_the_silent_parent(self):
        found, warnings = expanded([output("a", [0, 2, 3]), silent("c", 7)], Multiplex(group_by="a or c[0]"))
        assert [one.group.value for one in found] == [None, 2, 3]
        assert len(warnings) == 1

    def test_dynamic_names(self):
        assert [one.group.value for one in wanted([output("a", [1, 2])], group_by="eval('a')")] == [1, 2]

    def test_an_assignment_does_not_live_on(self):
        assert texts(wanted([output("a", [1, 0])], where="(a and (seen := 5)) or 'seen' not in globals()")) == [
            "1",
            "0",
        ]

    def test_a_condition_that_counts_is_asked_as_often_as_in_the_loop(self):
        parents = [output("a", [Counter()]), output("b", [1, 2, 3])]
        assert texts(wanted(parents, where="a[0] == b")) == [f"{value_text(Counter())}_{n}" for n in (1, 2, 3)]
        assert [one.group.value for one in wanted(parents, group_by="a[0]")] == [1, 2, 3]
        parents = [output("a", [[Moody()]]), output("b", [1, 2, 3, 4])]
        assert [one.elements[1].text for one in wanted(parents, where="a[0]")] == ["2", "4"]


# ---- the nested loop as an oracle


class Found(NamedTuple):
    inputs: list[tuple[bytes, Any, Any, Any]]
    error: BaseException | None


def nested_loop(parents: Sequence[ParentOutput], where: str | None, group_by: str | None) -> Found:
    load = Loader()
    columns = [list(dict.fromkeys(e.digest for e in parent.elements)) for parent in parents]
    by_digest = {element.digest: element for parent in parents for element in parent.elements}
    classes: dict[Any, list[tuple[bytes, ...]]] = {}
    try:
        for digests in product(*columns):
            names = {parent.name: load(by_digest[d]) for parent, d in zip(parents, digests, strict=True)}
            if where is None or eval(where, {"__builtins__": builtins, **names}):
                key = digests if group_by is None else eval(group_by, {"__builtins__": builtins, **names})
                classes.setdefault(key, []).append(digests)
    except Exception as error:
        return Found([], error)
    merged: dict[bytes, list[tuple[bytes, ...]]] = {}
    for key, combinations in classes.items():
        alone = key[0] if len(parents) == 1 and group_by is None else None
        digest = alone or (combine(key) if group_by is None else value_digest(key))
        merged.setdefault(digest, []).extend(combinations)
    return Found([_shape(parents, digest, found, group_by is not None) for digest, found in merged.items()], None)


def _shape(parents: Sequence[ParentOutput], digest: bytes, combinations: Any, grouped: bool) -> Any:
    members = tuple(
        tuple(e for e in parent.elements if any(found[at] == e.digest for found in combinations))
        for at, parent in enumerate(parents)
    )
    tasks = tuple(tuple(sorted({e.task for e in mine})) for mine in members)
    return digest, members if grouped else None, () if grouped else tuple(mine[0] for mine in members), tasks


def outcome(parents: Sequence[ParentOutput], where: str | None, group_by: str | None) -> Found:
    try:
        found = expand("melt", parents, Multiplex("cross_prod", where, group_by), Loader(), pytest.fail)
    except ExpansionError as error:
        return Found([], error.__cause__)
    inputs = [
        (one.digest, one.group and tuple(map(tuple, one.group.members)), one.elements, one.parents) for one in found
    ]
    return Found(inputs, None)


def assert_like_the_loop(parents: Sequence[ParentOutput], where: str | None, group_by: str | None) -> str:
    expected, found = nested_loop(parents, where, group_by), outcome(parents, where, group_by)
    assert (type(found.error), str(found.error)) == (type(expected.error), str(expected.error))
    assert found.inputs == expected.inputs
    return type(found.error).__name__ if found.error else "inputs" if found.inputs else "empty"


nan = float("nan")
TAME = [0, 1, 2, True, 1.0, "a", "b", None, -0.0, (1, 2), (True, 2.0), frozenset([1]), "1"]
WILD = [
    *(nan, 2**70, float(2**53), 2**53 + 1, 0.1, Decimal(1), Decimal("0.1"), Fraction(1), 1 + 0j, b"a"),
    *(np.float32(0.1), np.float64(0.1), np.int64(1), np.int64(2**53 + 1), np.bool_(True), np.str_("a")),
    *([1], [1, 2], [nan], (nan,), {1}, {1: 2}, Odd(1), Odd(2), Touchy(), np.zeros(2), np.array([1])),
]


def elements(tame: bool) -> st.SearchStrategy[Any]:
    values = st.sampled_from(TAME if tame else TAME + WILD)
    pairs = st.tuples(values, values)
    if tame:
        return pairs
    shapes = [pairs.map(list), pairs.map(lambda pair: Point(*pair)), pairs.map(lambda pair: {0: pair[0], 1: pair[1]})]
    return st.one_of(pairs, pairs, values, st.tuples(values), st.just(()), *shapes)


NAMES = ["a", "b", "c"]
NAME = st.sampled_from(NAMES)
TERM = st.one_of(
    st.builds("{}[{}]".format, NAME, st.sampled_from([0, 0, 1])),
    st.builds("{}[{}]".format, NAME, st.sampled_from([0, 1, -1])),
    st.builds(
        str.format,
        st.sampled_from(
            [
                "{0}",
                "len({0})",
                "({0}[1], {0}[0])",
                "{0}[0] + 1",
                "str({0}[0])",
                "{0}[:1]",
                "{0}.x",
                "hash({0}[0])",
                "abs({0}[0])",
                "-{0}[1]",
            ]
        ),
        NAME,
    ),
    st.sampled_from(["0", "1", "'a'", "None", "a[0] + b[0]", "(a[0], b[1])"]),
)
EQUALITY = st.builds("{} == {}".format, TERM, TERM)
TEST = st.one_of(
    EQUALITY,
    EQUALITY,
    st.builds("{} {} {}".format, TERM, st.sampled_from(["!=", "<", ">=", "in", "not in", "is", "=="]), TERM),
    st.builds("{} == {} == {}".format, TERM, TERM, TERM),
    st.builds("len({}) > {}".format, NAME, st.integers(0, 2)),
    st.builds("not {}".format, TERM),
    st.builds("any(x == {} for x in {})".format, TERM, NAME),
    st.builds("isinstance({}, tuple)".format, TERM),
    st.builds("({} if {} else {})".format, EQUALITY, TERM, EQUALITY),
    TERM,
)
CONDITION = st.one_of(
    st.lists(st.one_of(EQUALITY, TEST), min_size=1, max_size=4).map(" and ".join),
    st.lists(TEST, min_size=2, max_size=3).map(lambda tests: f"({' and '.join(tests[1:])}) and {tests[0]}"),
    st.lists(TEST, min_size=2, max_size=3).map(" or ".join),
    st.lists(TEST, min_size=3, max_size=3).map(lambda tests: f"({tests[0]} or {tests[1]}) and {tests[2]}"),
)


@st.composite
def products(draw: st.DrawFn, tame: bool) -> list[ParentOutput]:
    sizes = [4, 4, 3]
    return [
        output(name, values, [draw(st.integers(1, 5)) for _ in values])
        for name, size in zip(NAMES, sizes, strict=True)
        for values in [draw(st.lists(elements(tame), min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=size))]
    ]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
class TestEquivalence:
    @settings(max_examples=150, deadline=None)
    @given(products(tame=True), CONDITION)
    def test_where_on_values_that_join(self, parents, condition):
        event(assert_like_the_loop(parents, condition, None))

    @settings(max_examples=150, deadline=None)
    @given(products(tame=False), CONDITION)
    def test_where_on_any_values(self, parents, condition):
        event(assert_like_the_loop(parents, condition, None))

    @settings(max_examples=120, deadline=None)
    @given(products(tame=False), st.one_of(st.none(), CONDITION), st.one_of(TERM, TEST))
    def test_group_by_on_any_values(self, parents, condition, value):
        event(assert_like_the_loop(parents, condition, value))

    @settings(max_examples=120, deadline=None)
    @given(products(tame=True), st.one_of(st.none(), CONDITION), st.one_of(TERM, TEST))
    def test_group_by_on_values_that_join(self, parents, condition, value):
        event(assert_like_the_loop(parents, condition, value))

    @pytest.mark.parametrize(
        "condition",
        [
            "a[0] == b[0]",
            "b[0] == a[0]",
            "a[0] == b[0] and b[1] == c[1]",
            "a[0] == c[0] and b[1] == c[1]",
            "a[0] == b[0] == c[0]",
            "a[0] == b[0] and b[0] == c[0] and c[1] == a[1]",
            "len(a) > 1 and a[0] == b[0] and a[1] < b[1]",
            "a[1] < b[1] and a[0] == b[0]",
            "(a[0], a[1]) == (b[0], c[1])",
            "a[0] in b and b[0] == c[0]",
        ],
    )
    def test_joins(self, condition):
        parents = [output(name, [(i % 4, (i * k) % 5) for i in range(12)]) for k, name in enumerate(NAMES, 2)]
        assert_like_the_loop(parents, condition, None)
        assert_like_the_loop(parents, condition, "(a[0], c[1])")

    @pytest.mark.parametrize(
        "pair",
        [(0.1, np.float32(0.1)), (Odd(3), Odd(4)), (Decimal("0.5"), 0.5), (2**53 + 1, np.float64(2**53)), (1, Odd(1))],
    )
    def test_values_whose_hashes_may_differ(self, pair):
        assert_like_the_loop([output("a", pair), output("b", pair[::-1]), output("c", [0])], "a == b", None)

    @pytest.mark.parametrize(
        ("condition", "a", "b"),
        [
            ("a[0] < b[0] and a[1] == b[1]", [("x", 1), (1, 2)], [(1, 2), (2, 1)]),
            ("a[0] != b[0] and a[1] == b[1]", [(np.zeros(2), 1)], [(1, 2)]),
            ("a[0] in b[0] and a[1] == b[1]", [(1, 2)], [("x", 1)]),
            ("a[1] == b[1] and a[0] < b[0]", [("x", 1), (1, 2)], [(1, 2), (2, 1)]),
            ("a[0] == b[0]", [(nan, 1), (1, 2)], [(nan, 1), (1, 2)]),
            ("a[0] == b[0] and a[1] == b[1]", [(nan, 1), (1, 2)], [(nan, 1), (1, 2)]),
        ],
    )
    def test_a_comparison_that_the_join_must_not_hide(self, condition, a, b):
        assert_like_the_loop([output("a", a), output("b", b)], condition, None)

    @pytest.mark.parametrize(
        "condition",
        ["a[0] == b[0]", "b[0] == 1 and a[0] == b[0]", "len(a) > 0 and a[0] == b[0]", "a[0] == b[0] and a[1] == b[1]"],
    )
    def test_expressions_that_raise_only_for_some(self, condition):
        for order in ([(), (1,), (2, 2)], [(1,), (2, 2), ()], [(1,)]):
            for others in ([(2, 2)], [(3, 1), (2, 1)], [(1,)], []):
                assert_like_the_loop([output("a", order), output("b", others), output("c", [0])], condition, None)

    def test_a_test_that_raises_is_not_put_off_behind_a_join(self):
        parents = [output("a", [(1, 1)]), output("b", [(2, 2)])]
        assert assert_like_the_loop(parents, "a[0] in b[0] and a[1] == b[1]", None) == "TypeError"

    def test_an_equality_after_one_that_left_the_last_elements_out(self):
        parents = [output("a", [(1, 1), (2, 3), (nan, 1)]), output("b", [(1, 1), (2, 1)])]
        assert assert_like_the_loop(parents, "a[0] == b[0] and a[1] == b[1]", None) == "inputs"


class TestCost:
    """What must not run through the product: it would evaluate more often than there are results."""

    @pytest.fixture
    def evaluations(self, monkeypatch):
        calls: list[Any] = []
        evaluate = multiplex._Clause.evaluate

        def counted(self, combination, expression=None):
            calls.append(expression)
            return evaluate(self, combination, expression)

        monkeypatch.setattr(multiplex._Clause, "evaluate", counted)
        return calls

    @pytest.mark.parametrize(
        "condition",
        [
            "a[0] == b[0] and b[1] == c[1]",
            "a[0] == c[0] and b[1] == c[1]",
            "a[0] == b[0] and a[1] == c[1]",
            "a[0] == b[0] == c[0]",
            "len(a) > 1 and a[0] == b[0] and c[0] == a[0]",
            "a[0] == b[0] and isinstance(a[1], str) and b[0] == c[0]",
            "f'{a[0]}'.split('.')[0] == str(b[0]) and c[0] == b[0]",
            "b[0] == c[0] and (a[0], a[1]) == (b[0], b[1])",
        ],
    )
    def test_equalities_evaluate_nothing(self, condition, evaluations):
        parents = [output(name, [(i, str(i)) for i in range(300)]) for name in NAMES]
        assert len(wanted(parents, where=condition)) == 300
        assert evaluations == []

    @pytest.mark.parametrize("kind", [np.int64, np.float64, lambda i: [i, "x"], lambda i: Point(i, "x")])
    def test_usual_types_join(self, kind, evaluations):
        parents = [output(name, [(kind(i), np.zeros(1)) for i in range(100)]) for name in ("a", "b")]
        assert len(wanted(parents, where="a[0] == b[0]")) == 100
        assert evaluations == []

    def test_comparisons_that_can_not_raise_wait_for_the_join(self, evaluations):
        parents = [output(name, [(i, i % 7) for i in range(100)]) for name in ("a", "b")]
        assert len(wanted(parents, where="a[1] <= b[1] and a[0] == b[0] and a[0] + b[0] > 100")) == 49
        assert len(evaluations) == 100
        # what the join has settled is not asked again
        assert all(expression is not None for expression in evaluations)

    def test_conditions_on_single_parents_evaluate_nothing(self, evaluations):
        parents = [output(name, range(100)) for name in ("a", "b")]
        assert len(wanted(parents, where="a > 97 and b % 50 == 0")) == 4
        assert len(wanted(parents, where="a > 97 and b > 0", group_by="a")) == 2
        assert evaluations == []

    @pytest.mark.parametrize("value", ["a % 2", "'all'", "str(b)[-1]", "len('x' * 3)"])
    def test_group_by_one_parent_evaluates_nothing(self, value, evaluations):
        parents = [output(name, range(300)) for name in NAMES]
        found = wanted(parents, group_by=value)
        assert evaluations == []
        assert all(len(one.parents[2]) == 300 for one in found)

    def test_group_by_after_a_join_evaluates_once_a_result(self, evaluations):
        parents = [output(name, range(100)) for name in ("a", "b")]
        assert len(wanted(parents, where="a == b", group_by="a % 10")) == 10
        assert len(evaluations) == 100
