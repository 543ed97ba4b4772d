"""The parts of the hash join: guarded expressions, conditions taken apart, and the join of indices."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelet.core.conditions import Selection, common_keys, conjuncts, never_raises, select
from pipelet.core.expressions import parse_expression, unknown_names
from pipelet.core.guarded import Guarded, Unguarded, guard
from pipelet.core.join import Edge, join

NAMES = ["a", "b", "c"]
nan = float("nan")


class Point(NamedTuple):
    x: Any
    y: Any


class Slippery(NamedTuple):
    x: Any

    def __getitem__(self, index):
        return object()


class Doubtful(NamedTuple):
    x: Any

    def __bool__(self):
        return False


@dataclass
class Record:
    x: Any
    y: int = 3

    @property
    def computed(self):
        return 1


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Sly:
    def __init__(self):
        self.x = 1

    def __getattribute__(self, name):
        return object.__getattribute__(self, name)


class Hidden:
    """Its own `x` in `__dict__` is not what one gets."""

    def __init__(self):
        vars(self)["x"] = 1

    @property
    def x(self):
        return 2


class Removable:
    def __get__(self, instance, owner):
        return 2

    def __delete__(self, instance):
        raise AttributeError


class Settable:
    def __get__(self, instance, owner):
        return 2

    def __set__(self, instance, value):
        raise AttributeError


class HiddenToo:
    x = Removable()
    y = Settable()

    def __init__(self):
        vars(self).update(x=1, y=1)


class Mine(list[Any]):
    """A list that might do anything."""


class Negative(tuple[Any, ...]):
    def __neg__(self):
        return 1


class Counted(tuple[Any, ...]):
    def __len__(self):
        return 0


class Listed(tuple[Any, ...]):
    def __iter__(self):
        return iter("ab")


class Told(NamedTuple):
    x: Any

    def __getattribute__(self, name):
        return 1


class Sum(tuple[Any, ...]):
    """A tuple with a field that no named tuple has."""

    total = property(sum)


def guarded(text: str) -> Guarded | None:
    return guard(parse_expression(text).tree, NAMES)


class TestGuard:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a[0]", (5, object())),
            ("a[1:]", (5, object())),
            ("a[:1][0]", [5, object()]),
            ("a['k']", {"k": 5}),
            ("len(a)", [object()]),
            ("a[0] + 1 if a else 0", (4, object())),
            ("a and not a[1:]", (4,)),
            ("a.x", Point(5, object())),
            ("a[0]", Point(5, object())),
            ("a.x", Record(5)),
            ("a.y", Record(5)),
            ("a.x", Slotted(5)),
            ("a.real", 5),
            ("a.split('_')[0]", "x_y"),
            ("' '.join(a).upper()", ["x", "y"]),
            ("f'{a[0]:>3}{a!r}'", (1, 2)),
            ("[x + 1 for x in a if x]", [0, 1]),
            ("{x: y for x, y in a.items()}", {1: 2}),
            ("{x % 2 for x in a}", [0, 1]),
            ("sum(x for x in a)", [0, 1]),
            ("{1: a[0]}[1] in {2, a[0]}", [3]),
            ("max(a) == min(a) == sum(a, start=0)", [0, 0]),
            ("isinstance(a, (int, str))", 1),
            ("a is None or a is not None", 1),
            ("-a if ~a else +a", 1),
            ("[a, (a, a)]", 1),
            ("a[0] < 1 <= a[1]", (0, 1)),
        ],
    )
    def test_the_value_is_that_of_the_expression(self, text, value):
        found = guarded(text)
        assert found is not None
        assert found.names == {"a"}
        expected = parse_expression(text).evaluate({"a": value})
        assert found.evaluate({"a": value}) == expected
        assert type(found.evaluate({"a": value})) is type(expected)
        assert found.column("a", [value, value]) == [expected] * 2

    @pytest.mark.parametrize(
        "text",
        [
            "print(a)",
            "a.pop()",
            "a.append",
            "next(a)",
            "eval('a')",
            "(lambda: a)()",
            "(x := a)",
            "[*a]",
            "{**{}}",
            "len(*[a])",
            "nosuch[0]",
            "a._x",
            "[x for x[0] in a]",
            "[0 for a[0] in b]",
            "[a for a in b]",
            "[len for len in a]",
            "a.x()",
            "[a.pop][0]()",
            "hash(a)",
            "id(a)",
            "sorted(a, key=len)",
            "(f for f in [a])()",
        ],
    )
    def test_forms_that_might_do_something_have_none(self, text):
        found = guarded(text)
        if text == "a.append":
            assert found is not None
            assert callable(found.evaluate({"a": []}))
        else:
            assert found is None

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a[0]", defaultdict(int)),
            ("a[0]", np.zeros(1)),
            ("a[0]", Slippery(1)),
            ("not a", Doubtful(1)),
            ("a.computed", Record(1)),
            ("a.x", Sly()),
            ("a.missing", Record(1)),
            ("a == 1", Decimal(1)),
            ("a == 1", np.int64(1)),
            ("a + (1,)", (object(),)),
            ("1 in a", [{2: Decimal(1)}]),
            ("sum(a)", [np.float64(1)]),
            ("sum(a)", iter([1])),
            ("str(a)", Record(1)),
            ("f'{a}'", Record(1)),
            ("str(x for x in a)", [1]),
            ("{1: 2}[a]", np.int64(1)),
            ("{a}", np.int64(1)),
            ("[x for x in a]", iter([1])),
            ("[1 for x in [1] if a]", np.bool_(True)),
            ("1 if a else 2", np.bool_(True)),
            ("a and 1", np.bool_(True)),
            ("-a", np.int64(1)),
            ("list(a)", {1: 2}.items),
            ("a.get(1)", defaultdict(int)),
            ("a.real", np.int64(1)),
            ("a.x", Hidden()),
            ("a.x", HiddenToo()),
            ("a.y", HiddenToo()),
            ("a.x", Told(2)),
            ("a.total", Sum((1, 2))),
            ("a == 1", Mine()),
            ("a == 1", {np.int64(1): 1}),
            ("-a", Negative()),
            ("len(a)", Counted((1, 2))),
            ("list(a)", Listed((1, 2))),
        ],
    )
    def test_values_with_operators_of_their_own_are_refused(self, text, value):
        found = guarded(text)
        assert found is not None
        with pytest.raises(Unguarded):
            found.evaluate({"a": value})

    def test_a_parent_may_be_called_like_a_builtin(self):
        found = guard(parse_expression("len == str").tree, ["len", "str"])
        assert found is not None
        assert found.evaluate({"len": 1, "str": 1}) is True
        with pytest.raises(Unguarded):
            found.evaluate({"len": 1, "str": np.int64(1)})
        assert guard(parse_expression("len('x')").tree, ["len"]) is None

    def test_an_expression_that_is_too_deep(self):
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(20 * limit)
        try:
            deep = parse_expression("a" + " + a" * limit).tree
        finally:
            sys.setrecursionlimit(limit)
        assert guard(deep, NAMES) is None


class TestNames:
    @pytest.mark.parametrize(
        ("text", "names", "unknown"),
        [
            ("a[0] == b", {"a", "b"}, []),
            ("[a for a in b]", {"b"}, []),
            ("[x for x in x]", {"x"}, ["x"]),
            ("[a[0] for x in b if [a for a in x]]", {"a", "b"}, []),
            ("[y for x in a for y in x]", {"a"}, []),
            ("(lambda a, *b, c=q, **d: a + e)", {"q", "e"}, ["e", "q"]),
            ("(lambda *, c=q, d: 1)", {"q"}, ["q"]),
            ("(x := a) + x", {"a", "x"}, []),
            ("{k: v for k, v in a.items()}", {"a"}, []),
            ("len(a) + nosuch", {"len", "a", "nosuch"}, ["nosuch"]),
        ],
    )
    def test_what_comes_from_outside(self, text, names, unknown):
        expression = parse_expression(text)
        assert expression.names == names
        assert unknown_names(expression, NAMES) == unknown

    def test_what_is_too_large_is_no_expression(self):
        with pytest.raises(SyntaxError, match=r"^too large or not text: ") as caught:
            parse_expression("-" * 100000 + "a")
        assert (caught.value.lineno, caught.value.offset) == (1, 1)

    def test_dynamic_access_may_use_anything(self):
        assert parse_expression("eval('b')").uses("b")
        assert not parse_expression("a").uses("b")


class TestConjuncts:
    @pytest.mark.parametrize(
        ("text", "parts"),
        [
            ("a", ["a"]),
            ("a and (b and c) and a[0]", ["a", "b", "c", "a[0]"]),
            ("a == b == c and a", ["a == b", "b == c", "a"]),
            ("a or b and c", ["a or (b and c)"]),
            ("a < b.pop() < c", ["a < b.pop() < c"]),
        ],
    )
    def test_parts(self, text, parts):
        found = conjuncts(parse_expression(text).tree, NAMES)
        assert [ast.unparse(part) for part in found] == parts


SAFE = [
    *(0, 1, True, 1.0, 2.5, "a", b"a", None, 2**70, float(2**70), -0.0, float("inf"), nan, Point(1, "a"), [1, [2]]),
    *(frozenset([1]), {1}, [1], [1.0], (1, "a"), (True, "a"), (1, [2]), ((1, (2,)),), frozenset([(1,)]), [], ()),
]


class TestKeys:
    @given(st.lists(st.sampled_from(SAFE), max_size=5), st.lists(st.sampled_from(SAFE), max_size=5))
    def test_keys_are_equal_where_values_are(self, left, right):
        keys = common_keys(left, right)
        assert keys is not None
        nothing = common_keys([nan], [])[0][0]
        for (x, key), (y, other) in product(zip(left, keys[0], strict=True), zip(right, keys[1], strict=True)):
            assert (key == other and hash(key) == hash(other) and key is not nothing) == (x == y)

    @pytest.mark.parametrize(
        ("left", "right", "same"),
        [
            (np.int64(3), 3, True),
            (np.int64(3), True, False),
            (np.int64(1), True, True),
            (np.int64(3), np.int64(3), True),
            (np.float64(0.5), 0.5, True),
            (np.float64(0.1), 0.5, False),
        ],
    )
    def test_scalars_with_their_counterparts(self, left, right, same):
        for pair in ((left, right), (right, left)):
            keys = common_keys(pair[:1], pair[1:])
            assert keys is not None
            assert (keys[0] == keys[1]) is same is bool(left == right)

    def test_a_scalar_that_is_nan_equals_nothing(self):
        assert common_keys([np.float64("nan")], [0.5])[0] == common_keys([nan], [0.5])[0]

    @pytest.mark.parametrize(
        "values",
        [
            *(
                [np.float32(0.1), 0.1],
                [np.float64(1), 1],
                [np.int64(1), 1.0],
                [np.int64(1), np.int32(1)],
                [np.int64(1), 2**64],
            ),
            *(
                [np.int64(1), "a"],
                [np.str_("a"), "a"],
                [np.bool_(True), True],
                [np.zeros(1), 1],
                [(np.int64(1),), (1,)],
            ),
            *(
                [Decimal(1), 1],
                [1j, 1],
                [{1: 2}, 1],
                [[nan], 1],
                [(nan,), 1],
                [frozenset([nan]), 1],
                [object(), 1],
                [Record(1), 1],
            ),
            *(
                [type("Word", (str,), {})("a"), "a"],
                [type("Pair", (tuple,), {"__eq__": lambda s, o: True})(), 1],
                [int, 1],
            ),
        ],
    )
    def test_unknown_agreement(self, values):
        assert common_keys(values[:1], values[1:]) is None
        assert common_keys(values[1:], values[:1]) is None

    @pytest.mark.parametrize("base", [list, set, frozenset, tuple])
    @pytest.mark.parametrize("method", ["__eq__", "__hash__", "__iter__", "__len__"])
    def test_classes_with_operators_of_their_own_have_no_key(self, base, method):
        kind = type("Kind", (base,), {method: lambda self, *others: getattr(base, method)(self, *others)})
        assert common_keys([kind([1])], [base([1])]) is None

    def test_a_tuple_with_an_equality_of_its_own_has_no_key(self):
        kind = type("Kind", (tuple,), {"__eq__": lambda self, other: False, "__hash__": tuple.__hash__})
        assert common_keys([kind([1])], [(1,)]) is None

    def test_scalars_meet_no_integer_beyond_their_range(self):
        ends = [-(2**63), 2**63 - 1]
        assert common_keys([np.int64(end) for end in ends], ends) == (ends, ends)
        for beyond in (-(2**63) - 1, 2**63, 2**64 - 1, -(2**64)):
            assert common_keys([np.int64(1)], [beyond]) is None


COMPARED = [
    0,
    1.5,
    True,
    nan,
    "a",
    "ab",
    b"a",
    None,
    (1,),
    (1, "a"),
    [1],
    {1},
    frozenset(["a"]),
    {1: 2},
    2**70,
    Decimal(1),
]
OPERATORS = {
    **{"==": ast.Eq, "!=": ast.NotEq, "<": ast.Lt, "<=": ast.LtE, ">": ast.Gt, ">=": ast.GtE},
    **{"in": ast.In, "not in": ast.NotIn, "is": ast.Is, "is not": ast.IsNot},
}


class TestNeverRaises:
    @given(
        st.sampled_from(sorted(OPERATORS)),
        st.lists(st.sampled_from(COMPARED), max_size=3),
        st.lists(st.sampled_from(COMPARED), max_size=3),
    )
    def test_what_it_promises(self, operator, left, right):
        if never_raises(OPERATORS[operator](), left, right):
            for x, y in product(left, right):
                eval(f"x {operator} y", {"x": x, "y": y})

    @pytest.mark.parametrize(
        ("operator", "left", "right", "expected"),
        [
            ("<", [1, 2.5], [True, nan], True),
            ("<", ["a"], ["b"], True),
            ("<", ["a"], [1], False),
            ("!=", [(1, [2])], [{1: 2}], True),
            ("!=", [np.int64(1)], [1], False),
            ("in", ["a"], ["abc"], True),
            ("in", [1], ["abc"], False),
            ("in", [1, "a"], [[1], {1: 2}, (1,), {1}], True),
            ("in", [[1]], [{1}], False),
            ("in", [1], [[np.int64(1)]], False),
            ("is", [object()], [1], True),
        ],
    )
    def test_examples(self, operator, left, right, expected):
        assert never_raises(OPERATORS[operator](), left, right) is expected


def chosen(text: str, **columns: list[Any]) -> Selection:
    names = list(columns)
    sizes = [len(column) for column in columns.values()]
    return select(parse_expression(text).tree, names, sizes, lambda at, index: columns[names[at]][index])


class TestSelect:
    @pytest.mark.parametrize(
        ("text", "rest"),
        [
            ("a[0] == b[0]", None),
            ("a[0] == b[0] and a[1] < b[1]", "a[1] < b[1]"),
            ("a[1] < b[1] and a[0] == b[0] and f(a)", "a[1] < b[1] and f(a)"),
            ("f(a) and a[0] == b[0]", "f(a) and a[0] == b[0]"),
            ("a[0] == b[0] and a[5] == b[0] and a[1] == b[1]", "a[5] == b[0] and a[1] == b[1]"),
            ("a[0] == b[0] and a[5] and a[1] == b[1]", "a[5] and a[1] == b[1]"),
            ("a[0] + b[0] == 2 and a[0] == b[0]", "a[0] + b[0] == 2 and a[0] == b[0]"),
            ("a[0] == b[0] or a[1] == b[1]", "a[0] == b[0] or a[1] == b[1]"),
            ("a[0] > 0 and True and b[0] < 2 and a == 1 / 0", "a == 1 / 0"),
            ("a == 'x' * 3 and b[0] < 'a'", "b[0] < 'a'"),
        ],
    )
    def test_what_is_left_to_evaluate(self, text, rest):
        found = chosen(text, a=[(1, 2), (0, 1)], b=[(1, 2), (2, 1)])
        assert (found.rest and ast.unparse(found.rest)) == rest

    def test_conditions_on_one_parent_leave_a_product(self):
        found = chosen("a > 1 and b != 2", a=[1, 2, 3], b=[1, 2, 3])
        assert found.whole
        assert found.alive == [[1, 2], [0, 2]]
        assert list(found.combinations) == [(1, 0), (1, 2), (2, 0), (2, 2)]

    def test_a_constant_that_is_false_leaves_nothing(self):
        found = chosen("0 and a == b", a=[1], b=[1])
        assert found.rest is None
        assert list(found.combinations) == []

    def test_a_later_part_only_looks_at_what_the_earlier_ones_left(self):
        found = chosen("len(a) > 0 and a[0] == b", a=[(), (1,), (2,)], b=[2, 1, 3])
        assert found.rest is None
        assert list(found.combinations) == [(1, 1), (2, 0)]

    def test_what_can_not_be_loaded_is_left_to_the_loop(self):
        def load(at: int, index: int) -> object:
            raise ImportError("lost")

        found = select(parse_expression("a == b").tree, ["a", "b"], [1, 1], load)
        assert found.rest is not None
        assert list(found.combinations) == [(0, 0)]


@st.composite
def joins(draw: st.DrawFn) -> tuple[list[list[int]], list[Edge]]:
    count = draw(st.integers(2, 5))
    sizes = [draw(st.integers(0, 5)) for _ in range(count)]
    alive = [sorted(draw(st.sets(st.integers(0, size - 1)))) if size else [] for size in sizes]
    edges = []
    for _ in range(draw(st.integers(1, 5))):
        left, right = sorted(draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True)))
        keys = [[draw(st.integers(0, 2)) for _ in range(max(alive[at], default=-1) + 1)] for at in (left, right)]
        edges.append(Edge(left, right, keys[0], keys[1]))
    return alive, edges


class TestJoin:
    @given(joins())
    def test_it_is_the_filtered_product(self, case):
        alive, edges = case
        expected = [
            combination
            for combination in product(*alive)
            if all(e.left_keys[combination[e.left]] == e.right_keys[combination[e.right]] for e in edges)
        ]
        assert list(join([list(one) for one in alive], edges)) == expected

    @pytest.mark.parametrize(
        "pairs",
        [[(0, 1), (1, 2)], [(0, 2), (1, 2)], [(0, 1), (0, 2)], [(0, 1), (1, 2), (0, 2)], [(1, 2), (1, 2), (0, 1)]],
    )
    def test_the_cost_is_that_of_the_result(self, pairs):
        size = 400
        edges = [Edge(left, right, Watched(range(size)), Watched(range(size))) for left, right in pairs]
        Watched.looks = 0
        found = join([list(range(size)) for _ in range(3)], edges)
        assert list(found) == [(index, index, index) for index in range(size)]
        assert Watched.looks < 50 * size

    def test_elements_without_a_partner_are_never_combined(self):
        size = 400
        ones, numbers, last = Watched([1] * size), Watched(range(size)), Watched([5] * size)
        edges = [Edge(0, 1, ones, ones), Edge(1, 2, numbers, numbers), Edge(2, 3, numbers, last)]
        Watched.looks = 0
        found = join([list(range(size)), list(range(size)), list(range(size)), [0]], edges)
        assert list(found) == [(index, 5, 5, 0) for index in range(size)]
        assert Watched.looks < 50 * size

        Watched.looks = 0
        edges = [Edge(0, 1, ones, ones), Edge(1, 2, ones, ones), Edge(2, 3, numbers, last)]
        found = join([[0], list(range(size)), list(range(size)), [0]], edges)
        assert sum(1 for _ in found) == size
        assert Watched.looks < 50 * size


class Watched(list[Any]):
    """Counts how often it is looked at."""

    looks = 0

    def __getitem__(self, index):
        Watched.looks += 1
        return super().__getitem__(index)
