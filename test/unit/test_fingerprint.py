"""The digest of an input: type and content, and nothing else."""

from __future__ import annotations

import array
import collections
import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import http
import itertools
import math
import operator
import pathlib
import pickle
import re
import string
import struct
import sys
import threading
import types
import uuid
import zoneinfo
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core import canonical, fingerprint
from pipelet.core.fingerprint import combine, value_digest
from pipelet.errors import FingerprintError


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Scan:
    target: str
    depth: Any = 1


@dataclasses.dataclass(frozen=True)
class Slotted:
    __slots__ = ("a", "b")
    a: Any
    b: Any

    def __getstate__(self) -> list[Any]:
        return [self.a, self.b]

    def __setstate__(self, state: list[Any]) -> None:
        object.__setattr__(self, "a", state[0])
        object.__setattr__(self, "b", state[1])


class Plain:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Other:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


class Lazy(Plain):
    @functools.cached_property
    def total(self) -> int:
        return 3


class LazySlots(Lazy):
    __slots__ = ("left",)


class Slots:
    __slots__ = ("left", "right")


class Outer:
    class Inner:
        pass


class Named(set):
    """A set whose name is all that it tells pickle."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def __reduce__(self) -> Any:
        return Named, (self.name,)


class OwnFloat(np.float64):
    def __reduce__(self) -> Any:
        return OwnFloat, (float(self),)


class Odd(enum.Enum):
    LOCK = threading.Lock()


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Tint(enum.Enum):
    RED = 1


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class MyInt(int):
    pass


class MyStr(str):
    __slots__ = ()


class MyList(list):
    pass


class MyTuple(tuple):
    __slots__ = ()


class MyDict(dict):
    pass


class MySet(set):
    pass


class MyFrozen(frozenset):
    pass


class MyPath(type(pathlib.PurePosixPath())):
    pass


class Stamp(datetime.datetime):
    pass


class Money(decimal.Decimal):
    pass


class ToldByName:
    def __reduce__(self) -> str:
        return "TOLD"


TOLD = ToldByName()


class Told:
    """Tells pickle whatever it is made with."""

    def __init__(self, told: Any) -> None:
        self.told = told

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.told


class Endless:
    def __reduce__(self) -> tuple[Any, ...]:
        return Endless, (Endless(),)


class Unit(np.ndarray):
    """An array with a unit, which it tells pickle of."""

    unit: str = ""

    def __array_finalize__(self, obj: Any) -> None:
        self.unit = getattr(obj, "unit", "")

    def __reduce__(self) -> Any:
        maker, arguments, state = super().__reduce__()
        return maker, arguments, (state, self.unit)

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state[0])
        self.unit = state[1]


class Bare(np.ndarray):
    """An array that is told from others by its class alone."""

    def __array_finalize__(self, obj: Any) -> None:
        pass


class Relayed(np.ndarray):
    """An array with a reduction of its own that says no more than numpy's."""

    def __reduce__(self) -> Any:
        return super().__reduce__()


class Rebuilt(np.ndarray):
    """An array that is made anew from a list."""

    def __reduce__(self) -> Any:
        return rebuild, (self.tolist(),)


def rebuild(items: Any) -> Any:
    return np.array(items).view(Rebuilt)


class MyMasked(np.ma.MaskedArray):
    def __reduce__(self) -> Any:
        return MyMasked, (np.ma.getdata(self), np.ma.getmaskarray(self))


class MyFloat(np.float64):
    def __reduce__(self) -> Any:
        return MyFloat, (float(self),)


def function() -> None:
    """Known by its name."""


def unit(values: Any, name: str) -> Unit:
    made = np.asarray(values).view(Unit)
    made.unit = name
    return made


def odd_nan(bits: int) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    assert math.isnan(value)
    return value


def differ(*values: Any) -> None:
    """All the values have different digests."""
    digests = [value_digest(value) for value in values]
    for (i, first), (j, second) in itertools.combinations(enumerate(digests), 2):
        assert first != second, f"{values[i]!r} and {values[j]!r} are one input"


def equal(*values: Any) -> None:
    """All the values have one digest."""
    first = value_digest(values[0])
    for value in values[1:]:
        assert value_digest(value) == first, f"{values[0]!r} and {value!r} are two inputs"


# --------------------------------------------------------------------------------------------------- types and content


def test_digest_is_sixteen_bytes() -> None:
    assert isinstance(value_digest(1), bytes)
    assert len(value_digest(1)) == len(value_digest(Plain())) == 16


def test_types_are_told_apart() -> None:
    differ(1, True, 1.0, 1 + 0j, "1", b"1", bytearray(b"1"), np.int64(1), np.int32(1), np.float64(1), np.bool_(True))
    differ(0, False, 0.0, None, "", b"", bytearray(), (), [], {}, set(), frozenset(), ..., NotImplemented)
    differ(np.float32(1), np.float16(1), np.longdouble(1), np.complex64(1), np.complex128(1), np.uint8(1), MyInt(1), 1)
    differ("a", np.str_("a"), MyStr("a"), np.bytes_(b"a"), b"a", Colour.RED, np.array("a"), ["a"])
    differ((1, 2), [1, 2], Point(1, 2), MyList([1, 2]), MyTuple((1, 2)), range(1, 3), np.array([1, 2]), {1, 2})
    differ({1: 2}, [(1, 2)], {(1, 2)}, MyDict({1: 2}), collections.OrderedDict({1: 2}), collections.Counter({1: 2}))
    differ({1}, frozenset({1}), MySet({1}), MyFrozen({1}))
    differ(Level.LOW, 1, Colour.RED, Tint.RED, Bits.A)


def test_values_are_told_apart() -> None:
    differ(*range(-300, 300))
    differ(*(sign * 2**power for power in range(0, 5000, 7) for sign in (1, -1)))
    differ(1.0, 1.0000000000000002, 1e300, math.inf, -math.inf, math.nan, 5e-324)
    differ(0.0, -0.0)
    differ(complex(0.0, 0.0), complex(0.0, -0.0), complex(-0.0, 0.0), complex(1, 2), complex(2, 1))
    differ(
        "a", "A", "á", "a\u0301", "\ud800", "\udc00", "?", "\ud83d\ude00", "\U0001f600", "a" * 100, "a" * 101, "b" * 100
    )
    differ(b"a" * 100, b"a" * 101, b"b" * 100, bytearray(b"a" * 100))
    differ(range(3), range(0, 3, 2), range(1, 3), slice(3), slice(0, 3), slice(0, 3, 1))
    differ(10**5000, 10**5000 + 1, -(10**5000))


def test_places_are_told_apart() -> None:
    differ([1, 2], [2, 1], [[1], 2], [[1, 2]], [1, [2]], [[], 1, 2], [1, 2, []])
    differ(("a", "b"), ("ab",), ("ab", ""), ("", "ab"), "ab")
    differ({"a": 1, "b": 2}, {"a": 2, "b": 1}, {"a": 1}, {1: "a", 2: "b"})
    differ([["a"], ["b"]], [["a", "b"]], [["b"], ["a"]])


def test_nan_is_one() -> None:
    nans = [math.nan, -math.nan, odd_nan(0x7FF8000000000001), odd_nan(0xFFF0000000000123), float("nan")]
    equal(*nans)
    equal(*({nan: nan} for nan in nans))
    equal(*(complex(nan, 1) for nan in nans))
    equal(*(complex(-1, nan) for nan in nans))
    differ(complex(math.nan, 1), complex(1, math.nan), complex(math.nan, math.nan), math.nan)
    equal(*(np.float64(nan) for nan in nans))
    equal(*(np.array([1, nan]) for nan in nans))
    equal(*(np.array([1, nan], dtype=">f8") for nan in nans))
    equal(*(np.array([complex(1, nan), complex(nan, 2)]) for nan in nans))
    equal(*(np.complex128(complex(1, nan)) for nan in nans))
    equal(*(np.array([(1, nan)], dtype="i4,f8") for nan in nans))
    equal(*(np.array([nan, None], dtype=object) for nan in nans))
    equal(*(np.array([nan, 1], dtype=np.longdouble) for nan in nans))
    equal(*(array.array("d", [1, nan]) for nan in nans))
    half = np.array([0x7E00, 0xFE00, 0x7C01], dtype="u2").view("f2")
    equal(half[:1], half[1:2], half[2:])
    equal(half[0], half[1], half[2])
    differ(half, half.astype("f4"), np.array([math.inf] * 3, dtype="f2"))


def test_an_array_is_not_changed_by_its_digest() -> None:
    values = np.array([odd_nan(0xFFF0000000000123), 1.0])
    before = values.tobytes()
    value_digest(values)
    assert values.tobytes() == before


# --------------------------------------------------------------------------------------------------- order and sharing


def test_order_of_dicts_and_sets_does_not_matter() -> None:
    keys: list[Any] = [1, "1", b"1", 1.5, None, (1, "a"), frozenset({1, "b"}), True + 1, math.nan, Colour.RED]
    forward = {key: index for index, key in enumerate(keys)}
    backward = dict(reversed(list(forward.items())))
    equal(forward, backward)
    equal(MyDict(forward), MyDict(backward))
    equal(collections.defaultdict(list, forward), collections.defaultdict(list, backward))
    equal(Plain(a=1, b=2), Plain(b=2, a=1))
    equal({"x": forward}, {"x": backward})
    equal([[[[[[forward]]]]]], [[[[[[backward]]]]]])
    collide = [0, 2**61 - 1, 2 * (2**61 - 1)]
    for kind in (set, frozenset, MySet, MyFrozen):
        assert list(kind(collide)) != list(kind(reversed(collide)))
        equal(kind(collide), kind(reversed(collide)))
        equal(Plain(v=kind(collide)), Plain(v=kind(reversed(collide))))


def test_order_of_an_ordered_dict_matters() -> None:
    differ(collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1))


def test_shared_parts_and_equal_copies_are_alike() -> None:
    for part in ([1, 2], {"a": [1]}, Plain(v=[1]), np.arange(3), (1, Plain())):
        twin = copy.deepcopy(part)
        assert twin is not part or isinstance(part, tuple)
        equal((part, part), (part, twin))
        equal([part, [part]], [twin, [part]])
        equal({"a": part, "b": Plain(p=part)}, {"a": part, "b": Plain(p=twin)})


def test_many_shared_parts_cost_little() -> None:
    for kind in (list, tuple):
        value: Any = kind()
        other: Any = kind()
        for _ in range(200):
            value = kind((value, value))
            other = kind((other, other))
        equal(value, other)
        differ(value, kind((value, value)))


def nest(levels: int, last: Any) -> Any:
    value = last
    for _ in range(levels):
        value = [value]
    return value


def test_deep_nesting() -> None:
    equal(nest(5000, 1), nest(5000, 1))
    differ(nest(5000, 1), nest(5000, 2), nest(4999, 1))
    deep: Any = None
    for _ in range(5000):
        deep = Plain(inner={"a": (deep,)})
    assert len(value_digest(deep)) == 16


def test_cycles() -> None:
    def ring(values: Any) -> Any:
        nodes = [Plain(value=value) for value in values]
        for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
            node.following = following
            following.previous = node
        return nodes

    equal(ring("abc")[0], ring("abc")[0])
    equal(ring("abc")[1], ring("bca")[0])
    differ(*ring("abc"), *ring("abd"), ring("ab")[0], ring("abcd")[0], ring("cba")[0])
    differ(ring("aaab")[0], ring("aab")[0], ring("aaab")[1], ring("aaab")[2], ring("aaab")[3])
    one: list[Any] = []
    one.append(one)
    two: list[Any] = []
    two.append(two)
    equal(one, two)
    equal([one, one], [one, two], [two, one])
    differ(one, [], [[]], [1, one])
    pair: dict[str, Any] = {"a": []}
    pair["a"].append(pair)
    equal(pair, pickle.loads(pickle.dumps(pair)))
    tree = Plain(children=[Plain(), Plain(name="x")])
    for child in tree.children:
        child.parent = tree
    for start in (tree, *tree.children):
        equal(start, copy.deepcopy(start))
    differ(tree, *tree.children)
    looped: Any = (1, [])
    looped[1].append(looped)
    equal(looped, copy.deepcopy(looped))


def test_a_dense_cycle_costs_little() -> None:
    nodes = [Plain(value=index) for index in range(40)]
    for node in nodes:
        node.neighbours = nodes
    equal(nodes[3], copy.deepcopy(nodes)[3])
    differ(nodes[3], nodes[4])


# ------------------------------------------------------------------------------------------------------ the short way

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, -0.0, 1.0, math.nan, math.inf, 0j, -0j, 1 + 0j, "", "a", "1", b"", b"a", ..., "x" * 99]),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=4),
    st.binary(max_size=4),
)
hashables = st.recursive(
    scalars,
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=3)),
    max_leaves=4,
)
values = st.recursive(
    hashables,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(lambda v: Plain(v=v), inner),
    ),
    max_leaves=8,
)


def same(one: Any, two: Any) -> bool:
    """Compare type and content, the slow and plain way."""
    if type(one) is not type(two):
        return False
    if isinstance(one, float):
        return (one != one and two != two) or (one == two and math.copysign(1, one) == math.copysign(1, two))
    if isinstance(one, complex):
        return same(one.real, two.real) and same(one.imag, two.imag)
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    if isinstance(one, dict):
        return same_bags([*one.items()], [*two.items()])
    if isinstance(one, (set, frozenset)):
        return same_bags([*one], [*two])
    if isinstance(one, Plain):
        return same(vars(one), vars(two))
    return bool(one == two)


def same_bags(one: list[Any], two: list[Any]) -> bool:
    left = list(two)
    for item in one:
        found = next((index for index, other in enumerate(left) if same(item, other)), None)
        if found is None:
            return False
        del left[found]
    return not left


@settings(deadline=None, max_examples=300)
@given(values, values)
def test_digests_are_equal_exactly_when_values_are(one: Any, two: Any) -> None:
    assert (value_digest(one) == value_digest(two)) == same(one, two)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from([0, False, 0.0, -0.0, "", (), None, (0,), (False,)]), min_size=6, max_size=6))
def test_digests_of_small_values_are_equal_exactly_when_values_are(parts: list[Any]) -> None:
    one, two = parts[:3], parts[3:]
    assert (value_digest(one) == value_digest(two)) == same(one, two)


@settings(deadline=None)
@given(values)
def test_both_ways_give_one_code(value: Any) -> None:
    try:
        short = fingerprint._fast(value, 20)
    except fingerprint._NotFast:
        return
    assert fingerprint._Walk().code(value) == short
    assert len(short) <= fingerprint._LONGEST


@settings(deadline=None)
@given(values, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_a_round_trip_keeps_the_digest(value: Any, protocol: int) -> None:
    protocol = max(protocol, 2)
    equal(value, pickle.loads(pickle.dumps(value, protocol)), copy.deepcopy(value))


@settings(deadline=None)
@given(values)
def test_a_digest_is_the_same_twice(value: Any) -> None:
    equal(value, value)
    equal([value, value], [value, copy.deepcopy(value)])


# ------------------------------------------------------------------------------------------------------------- objects


def objects() -> list[Any]:
    """Make objects that are all different, and can be pickled."""
    paris = zoneinfo.ZoneInfo("Europe/Paris")
    hour = datetime.timedelta(hours=1)
    slots = Slots()
    slots.left = [1]
    named = MyList([1])
    named.name = "x"
    day = (2020, 1, 2)
    return [
        Point(1, 2),
        Point(2, 1),
        Scan("m31"),
        Scan("m31", 2),
        Slotted(1, 2),
        Slotted(2, 1),
        Plain(),
        Plain(a=1),
        Plain(a=2),
        Plain(b=1),
        Other(a=1),
        Slots(),
        slots,
        MyList([1]),
        named,
        MyDict(a=1),
        MySet([1]),
        MyFrozen([1, 2]),
        Colour.RED,
        Colour.GREEN,
        Tint.RED,
        Level.LOW,
        Bits.A,
        Bits.A | Bits.B,
        Bits(0),
        datetime.date(*day),
        datetime.datetime(*day),
        datetime.datetime(*day, 1),
        datetime.datetime(*day, 0, 0, 0, 1),
        datetime.datetime(*day, fold=1),
        datetime.datetime(*day, tzinfo=datetime.timezone.utc),
        datetime.datetime(*day, tzinfo=paris),
        datetime.time(1),
        datetime.time(1, fold=1),
        datetime.time(1, tzinfo=datetime.timezone.utc),
        hour,
        -hour,
        datetime.timezone.utc,
        datetime.timezone(hour),
        datetime.timezone(hour, "CET"),
        paris,
        zoneinfo.ZoneInfo("UTC"),
        decimal.Decimal("1.0"),
        decimal.Decimal("1.00"),
        decimal.Decimal("-1.0"),
        decimal.Decimal("0"),
        decimal.Decimal("-0"),
        decimal.Decimal("inf"),
        decimal.Decimal("nan"),
        decimal.Decimal("snan"),
        fractions.Fraction(1, 3),
        fractions.Fraction(3, 1),
        pathlib.PurePosixPath("a/b"),
        pathlib.PureWindowsPath("a/b"),
        pathlib.Path("a/b"),
        pathlib.Path("/a/b"),
        MyPath("a/b"),
        range(3),
        slice(None, 3),
        array.array("d", [1.0]),
        array.array("f", [1.0]),
        array.array("i", [1]),
        array.array("q", [1]),
        bytearray(b"x"),
        Stamp(*day),
        Stamp(*day, 1),
        Money("1.0"),
        Money("2.0"),
        uuid.UUID(int=1),
        re.compile("a"),
        re.compile("a", re.I),
        collections.deque([1, 2]),
        collections.deque([1, 2], 5),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, a=1),
        collections.defaultdict(int, a=1),
        collections.Counter("a"),
        functools.partial(int, "3"),
        functools.partial(int, "3", base=4),
        types.SimpleNamespace(a=1),
        ValueError("x"),
        KeyError("x"),
        function,
        len,
        str.upper,
        "a".upper,
        int,
        Point,
        Point(1, 2)._asdict,
        type(None),
        type(...),
        type(NotImplemented),
        list[int],
        int | str,
        operator.itemgetter(1),
        operator.itemgetter(2),
        object(),
        iter([1, 2]),
        TOLD,
    ]


def test_objects_are_told_apart() -> None:
    differ(*objects())


@pytest.mark.parametrize("protocol", range(4, pickle.HIGHEST_PROTOCOL + 1))
def test_objects_keep_their_digest_in_a_round_trip(protocol: int) -> None:
    for obj in objects():
        equal(obj, pickle.loads(pickle.dumps(obj, protocol)))
        equal(obj, copy.deepcopy(obj))


def test_what_an_object_tells_of_itself_is_what_counts() -> None:
    differ(Named("a"), Named("b"), set())
    differ(OwnFloat(1.0), OwnFloat(2.0), np.float64(1.0))
    differ(Outer.Inner, Outer, Outer.Inner())
    slots = [LazySlots(), LazySlots(), LazySlots(), LazySlots(right=1)]
    for value, one in enumerate(slots[1:]):
        one.left = value
    differ(*slots)
    differ(nest(6, {1}), nest(6, frozenset({1})))


def test_modules_that_nobody_has_loaded_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = value_digest(Plain(a=1))
    for name in ("zoneinfo", "array", "fractions"):
        monkeypatch.delitem(sys.modules, name)
    assert value_digest(Plain(a=1)) == before


def test_objects_made_again_are_equal() -> None:
    for first, second in zip(objects(), objects(), strict=True):
        equal(first, second)


def test_content_that_looks_different_to_pickle_is_one_input() -> None:
    equal(decimal.Decimal("nan"), decimal.Decimal("-nan"), decimal.Decimal("nan123"))
    equal(decimal.Decimal("snan"), decimal.Decimal("-snan5"))
    equal(zoneinfo.ZoneInfo("UTC"), zoneinfo.ZoneInfo.no_cache("UTC"))
    touched = Slots()
    touched.left = 1
    del touched.left
    equal(Slots(), touched)
    equal(Plain(a=[1], b=[1]), Plain(a=[1], b=[1]))
    shared = [1]
    equal(Plain(a=shared, b=shared), Plain(a=[1], b=[1]))


def test_to_look_at_an_object_does_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Lazy, LazySlots):
        seen, unseen = kind(a=1), kind(a=1)
        if kind is LazySlots:
            seen.left = unseen.left = [2]
        assert seen.total == 3
        assert "total" in vars(seen)
        equal(seen, unseen)
        differ(seen, kind(a=2))
    only = Lazy()
    assert only.total == 3
    equal(only, Lazy())
    cached, plain = Other(a=1, _cache={"x": 1}), Other(a=1)
    differ(cached, plain)
    frames = types.ModuleType("pandas.core.frame")
    frames.Other = Other
    monkeypatch.setitem(sys.modules, "pandas.core.frame", frames)
    monkeypatch.setattr(Other, "__module__", "pandas.core.frame")
    canonical._cache_names.cache_clear()
    equal(cached, plain)
    canonical._cache_names.cache_clear()


def test_object_arguments_are_seen_through_all_their_parts() -> None:
    kept = [operator.itemgetter(1)]
    base = (Plain, (), {"a": 1}, None, None)
    differ(
        Told(base),
        Told((Other, (), {"a": 1}, None, None)),
        Told((Plain, (1,), {"a": 1}, None, None)),
        Told((Plain, (), {"a": 2}, None, None)),
        Told((Plain, (), {"a": 1}, iter([1]), None)),
        Told((Plain, (), {"a": 1}, iter([2]), None)),
        Told((Plain, (), {"a": 1}, None, iter([(1, 2)]))),
        Told((Plain, (), {"a": 1}, None, iter([(2, 1)]))),
        Told((Plain, (), {"a": 1}, None, None, function)),
        Told((Plain, (), [kept])),
        Told((Plain, ())),
    )
    equal(Told(base), Told((Plain, (), {"a": 1})))
    equal(Told((Plain, (), {})), Told((Plain, (), None)), Told((Plain, ())))
    equal(
        Told((Plain, (), None, None, iter([(1, 2), ("a", 3)]))),
        Told((Plain, (), None, None, iter([("a", 3), (1, 2)]))),
    )
    differ(
        Told((Plain, (), None, iter([1, 2]))),
        Told((Plain, (), None, iter([2, 1]))),
    )


# ---------------------------------------------------------------------------------------------------------------- numpy


def test_memory_order_does_not_matter() -> None:
    straight = np.arange(12.0).reshape(3, 4)
    wide = np.zeros((6, 8))
    wide[::2, ::2] = straight
    frozen = straight.copy()
    frozen.flags.writeable = False
    aligned = np.frombuffer(b"x" + straight.tobytes(), dtype="u1")[1:].view("f8").reshape(3, 4)
    equal(straight, np.asfortranarray(straight), wide[::2, ::2], straight[::-1][::-1], frozen, aligned)
    equal(straight.T, np.ascontiguousarray(straight.T), straight.T.copy())
    equal(np.zeros((2, 3)), np.broadcast_to(0.0, (2, 3)))
    equal(np.zeros((0, 3)), np.zeros((0, 3), order="F"))
    cube = np.arange(24).reshape(2, 3, 4).astype(object)
    equal(cube, np.asfortranarray(cube), np.array(cube))
    differ(cube, cube.transpose(0, 2, 1).reshape(2, 3, 4))


def test_dtype_shape_and_values_of_arrays_matter() -> None:
    zeros = [np.zeros(shape) for shape in [(), (1,), (0,), (0, 3), (3, 0), (2, 3), (3, 2), (6,), (1, 6)]]
    differ(0.0, *zeros)
    kinds = ["?", "b", "B", "<i2", ">i2", "<i4", "<i8", "<u8", "<f2", "<f4", "<f8", ">f8", "<c8", "<c16", "O"]
    more = ["<M8[s]", "<M8[ns]", "<M8[25s]", "<m8[s]", "S1", "S2", "<U1", ">U1", "<U2", "V1", "V2", "i4,f4", "g", "G"]
    differ(*(np.zeros(3, dtype=kind) for kind in [*kinds, *more]))
    differ(*(np.dtype(kind) for kind in [*kinds, *more]))
    one_of_each = [kind for kind in [*kinds, *more] if kind[0] != ">" and kind not in ("O", "S2", "U2", "<U2", ">U1")]
    differ(*(np.zeros(3, dtype=kind)[0] for kind in one_of_each))
    differ(np.array([1, 2]), np.array([2, 1]), np.array([1, 3]))
    differ(np.array([1, True, 1.0], dtype=object), np.array([1, 1, 1.0], dtype=object))
    differ(np.array([0.0]), np.array([-0.0]))
    differ(np.datetime64("NaT", "s"), np.datetime64("NaT", "ns"), np.timedelta64("NaT", "s"), np.datetime64(0, "s"))
    equal(np.datetime64("NaT", "s"), np.array(["2020", "NaT"], dtype="M8[s]")[1])


def test_true_is_one_truth() -> None:
    equal(np.array([2, 0], dtype="u1").view("?"), np.array([True, False]))


def test_fields_and_the_padding_between_them() -> None:
    padded = np.dtype({"names": ["a", "b"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 24})
    dirty = np.full(2 * 24, 0xAB, dtype="u1").view(padded)
    clean = np.zeros(2, dtype=padded)
    for records in (dirty, clean):
        records["a"] = [1, 2]
        records["b"] = [3, math.nan]
    assert dirty.tobytes() != clean.tobytes()
    equal(dirty, clean)
    equal(dirty[0], clean[0])
    packed = np.zeros(2, dtype=[("a", "i1"), ("b", "f8")])
    packed["a"], packed["b"] = clean["a"], clean["b"]
    assert packed.dtype != clean.dtype
    differ(packed, clean)
    places = ({"names": ["a", "b"], "formats": ["i1", "i1"], "offsets": [0, end], "itemsize": 4} for end in (1, 2))
    differ(*map(np.dtype, places))
    differ(
        np.dtype([("a", "i4"), ("b", "f4")]),
        np.dtype([("b", "i4"), ("a", "f4")]),
        np.dtype([("a", "f4"), ("b", "i4")]),
        np.dtype([("a", "i4", 2), ("b", "f4")]),
        np.dtype([("a", "i4", (1, 2)), ("b", "f4")]),
        np.dtype([(("title", "a"), "i4"), ("b", "f4")]),
        np.dtype([("a", [("c", "i4")]), ("b", "f4")]),
    )
    nested = np.zeros(2, dtype=[("a", [("c", "i4"), ("d", "O")]), ("b", "f4", (2, 2)), ("e", "O")])
    other = nested.copy()
    equal(nested, other)
    other["a"]["d"][1] = "x"
    differ(nested, other)
    third = nested.copy()
    third["e"][1] = "x"
    differ(nested, other, third)


def test_long_doubles_without_their_padding() -> None:
    one = np.full(16 * 3, 0xAB, dtype="u1").view(np.longdouble)[:3]
    two = np.zeros(3, dtype=np.longdouble)
    for numbers in (one, two):
        numbers[:] = [1, -0.0, 3]
    size = np.dtype(np.longdouble).itemsize
    if size == 16:
        raw = two.view("u1").reshape(3, 16).copy()
        raw[:, 10:] = 0xCD
        equal(two, raw.reshape(-1).view(np.longdouble))
    equal(one, two)
    differ(two, two[::-1], two.astype("f8"))
    equal(two.astype(two.dtype.newbyteorder(">")), two.astype(two.dtype.newbyteorder(">")).copy())
    equal(np.longdouble(1) / 3, np.longdouble(1) / 3)
    differ(np.longdouble(1) / 3, np.longdouble(np.float64(1) / 3), np.clongdouble(1) / 3)


def test_strings_of_variable_width() -> None:
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("this numpy has no StringDType")
    kind = np.dtypes.StringDType()
    words = np.array(["a", "longer than any short string would ever be"], dtype=kind)
    equal(words, words.copy(), pickle.loads(pickle.dumps(words)), words[::-1][::-1])
    missing = np.dtypes.StringDType(na_object=math.nan)
    differ(words, words[::-1], words.astype("U99"), words.astype(object), words.astype(missing))
    differ(kind, missing, np.dtypes.StringDType(coerce=False), np.dtypes.StringDType(na_object=None))


def test_masked_arrays() -> None:
    plain = np.ma.array([1.0, 2.0, math.nan])
    masked = np.ma.array([1.0, 2.0, math.nan], mask=[0, 1, 0])
    differ(plain, masked, plain.data, np.ma.array([1.0, 2.0, math.nan], mask=[1, 0, 0]), np.ma.masked)
    differ(masked, np.ma.array([1.0, 2.0, math.nan], mask=[0, 1, 0], fill_value=7))
    for value in (plain, masked, np.ma.masked, np.ma.array([(1, 2.0)], mask=[(0, 1)], dtype="i4,f8")):
        equal(value, pickle.loads(pickle.dumps(value)), copy.deepcopy(value))
    equal(np.ma.arange(6).reshape(2, 3), np.ma.array(np.asfortranarray(np.arange(6).reshape(2, 3))))
    mine = MyMasked([1, 2], [True, False])
    equal(mine, pickle.loads(pickle.dumps(mine)))
    differ(mine, MyMasked([1, 2], [False, False]), np.ma.array([1, 2], mask=[True, False]))


def test_subclasses_of_arrays() -> None:
    straight = np.arange(6.0).reshape(2, 3)
    metres = unit(straight, "m")
    turned = unit(np.asfortranarray(straight), "m")
    assert metres.__reduce__()[2][0] != turned.__reduce__()[2][0]
    equal(metres, turned, pickle.loads(pickle.dumps(metres)))
    equal(unit([math.nan], "m"), unit([odd_nan(0xFFF0000000000123)], "m"))
    differ(metres, unit(straight, "s"), unit(straight + 1, "m"), straight, straight.view(Bare), straight.view(Relayed))
    for kind in (Bare, Relayed):
        equal(
            straight.view(kind), np.asfortranarray(straight).view(kind), pickle.loads(pickle.dumps(straight.view(kind)))
        )
        differ(straight.view(kind), (straight + 1).view(kind))
    listed = rebuild([1, 2])
    equal(listed, pickle.loads(pickle.dumps(listed)))
    differ(listed, rebuild([1, 3]), np.array([1, 2]))
    records = np.rec.array([(1, 2.0)], dtype="i4,f8")
    equal(records, pickle.loads(pickle.dumps(records)))
    equal(records[0], pickle.loads(pickle.dumps(records[0])))
    differ(records, np.array([(1, 2.0)], dtype="i4,f8"), records[0], np.array([(1, 2.0)], dtype="i4,f8")[0])


def test_scalars_of_numpy() -> None:
    for value in (np.str_("a\0"), np.bytes_(b"a\0"), np.float16(1), np.void(b"ab"), np.datetime64("2020"), MyFloat(1)):
        equal(value, pickle.loads(pickle.dumps(value)))
    differ(np.str_("a"), np.str_("b"), np.bytes_(b"a"), np.bytes_(b"b"))
    differ(MyFloat(1), np.float64(1), 1.0)
    equal(np.float64(2), np.arange(3.0)[2], np.array(2.0)[()])
    differ(np.float64(0.0), np.float64(-0.0))
    differ(np.complex64(1j), np.complex128(1j))
    equal([np.float64(1), Plain()], [np.float64(1), Plain()])


def test_types_that_others_add_to_numpy() -> None:
    rationals = pytest.importorskip("numpy._core._rational_tests")
    some = np.array([rationals.rational(1, 2), rationals.rational(1, 3)])
    assert some.dtype.isbuiltin == 2
    equal(some, some.copy(), some[::-1][::-1])
    differ(some, some[::-1], some.view("V8"), some.view("M8[s]"), some.dtype)


def test_functions_of_numpy() -> None:
    differ(np.add, np.subtract, np.sum, np.linalg.norm, np.ma.sum, np.float64, np.ndarray)
    for value in (np.add, np.sum, np.linalg.norm, np.float64, np.random.default_rng(1)):
        equal(value, pickle.loads(pickle.dumps(value)))
    with pytest.raises(FingerprintError, match=r"value\[0\].*ufunc"):
        value_digest([np.frompyfunc(len, 1, 1)])


def test_functions_of_scipy_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = np.frompyfunc(abs, 1, 1), np.frompyfunc(len, 1, 1)
    assert "in no module that it could be found by" in refused(one)
    special = types.ModuleType("scipy.special")
    for function_of_ours in (one, two):
        setattr(special, function_of_ours.__name__, function_of_ours)
    monkeypatch.setitem(sys.modules, "scipy.special", special)
    differ(one, two)


def test_names_of_fields_may_be_any_text() -> None:
    differ(np.dtype([("\udc80", "i4")]), np.dtype([("\udc81", "i4")]), np.dtype([("?", "i4")]))


def test_the_module_of_a_moved_class_is_undone() -> None:
    assert canonical._steady_module("pathlib._local", True) == "pathlib"


def test_the_module_of_a_moved_function_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("numpy.core.thing")
    new = types.ModuleType("numpy._core.thing")
    digests = []
    for module in (old, new):
        made = types.FunctionType(function.__code__, {"__name__": module.__name__}, "rebuild")
        made.__qualname__ = "rebuild"
        made.__module__ = module.__name__
        module.rebuild = made
        monkeypatch.setitem(sys.modules, module.__name__, module)
        digests.append(value_digest(made))
    assert digests[0] == digests[1] != value_digest(function)


# ------------------------------------------------------------------------------------------------------------- refusals


def refused(value: Any) -> str:
    with pytest.raises(FingerprintError) as caught:
        value_digest(value)
    return str(caught.value)


def test_what_pickle_refuses_is_refused() -> None:
    class Local:
        pass

    lambda_text = refused(lambda: None)
    assert "lambda" in lambda_text
    assert "def" in lambda_text
    for value in (Local, Local(), [Local()], {"a": Local}):
        assert "inside a function" in refused(value)
    for value in (threading.Lock(), (i for i in ()), sys, {}.keys(), memoryview(b"")):
        text = refused(value)
        assert "can't be pickled" in text
        assert type(value).__name__ in text
    assert "sorted" in refused(iter({1, 2}))


def test_a_refusal_says_what_it_is_about_and_what_to_do() -> None:
    class Local:
        pass

    here = f"{__name__}.{test_a_refusal_says_what_it_is_about_and_what_to_do.__name__}"
    cases: list[tuple[Any, str]] = [
        (iter({1}), "an iterator over a set goes in another order in every process; make it a sorted list"),
        ((i for i in ()), "an object of type generator can't be pickled (TypeError: "),
        (threading.Lock(), "an object of type _thread.lock can't be pickled (TypeError: "),
        (
            Told(None),
            f"an object of type {__name__}.Told can't be pickled: its __reduce_ex__ gives what pickle does not take",
        ),
        (
            lambda: None,
            f"the function {here}.<locals>.<lambda> has no name to be found by in another process; "
            "write it with def in a module",
        ),
        (
            Local,
            f"the class {here}.<locals>.Local is made inside a function; move it to the top level of a module",
        ),
    ]
    for value, words in cases:
        assert refused(value).startswith(f"value can't be part of an input or an output: {words}"), refused(value)


def test_the_error_names_the_part() -> None:
    bad = threading.Lock()
    cases: list[tuple[Any, str]] = [
        (bad, "value "),
        ([1, [2, bad]], "value[1][1] "),
        ({"mask": (bad,)}, "value['mask'][0] "),
        ({3: Plain(weights=[bad])}, "value[3].weights[0] "),
        (Plain(table={"a": bad}), "value.table['a'] "),
        (Point(1, bad), "value[1] "),
        ({(1, 2): bad}, "value[<tuple>] "),
        ({function: 1, len: bad}, "value[<builtin_function_or_method>] "),
        ({types.SimpleNamespace: 1, (1, iter({1})): 2}, "value{a key}[1] "),
        ({"k" * 99: bad}, "value['" + "k" * 36 + "...] "),
        (np.array([1, bad], dtype=object), "value[1] "),
        (MyList([1, bad]), "value[1] "),
        (MyList([bad]), "value[0] "),
        (np.array([bad, 1], dtype=object), "value[0] "),
        (np.array([bad, 1], dtype=object).view(Bare), "value[0] "),
        (np.ma.array([bad, 1], dtype=object), "value[0] "),
        (np.array([(bad,)], dtype=[("x", object)])[0], "value[0] "),
        (slice(bad, 1), "value[0] "),
        (Odd.LOCK, "value.value "),
        (MyDict(a=bad), "value['a'] "),
        (collections.OrderedDict(a=bad), "value[1] "),
        (frozenset([bad]), "value{an element} "),
    ]
    for value, start in cases:
        assert refused(value).startswith(start), refused(value)
    deep: Any = bad
    for _ in range(100):
        deep = [deep]
    assert refused(deep).startswith("value" + "[0]" * 6 + "..." + "[0]" * 6 + " ")
    for levels, words in [(12, "[0]" * 12), (13, "[0]" * 6 + "..." + "[0]" * 6)]:
        assert refused(nest(levels, bad)).startswith(f"value{words} ")
    # with its quotes the first key has 40 letters
    assert refused({"k" * 38: bad}).startswith("value['" + "k" * 38 + "'] ")
    assert refused({"k" * 39: bad}).startswith("value['" + "k" * 36 + "...] ")


def test_names_that_lead_elsewhere_are_refused() -> None:
    stray = types.FunctionType(function.__code__, {"__name__": __name__}, "stray")
    assert "not what is found" in refused(stray)
    stray.__qualname__ = "function"
    assert "not what is found" in refused(stray)
    stray.__module__ = "no_such_module"
    assert "not what is found" in refused(stray)
    stray.__module__ = None
    assert "not what is found" in refused(stray)


@pytest.mark.parametrize("told", [None, (Plain,), (1, 2, 3, 4, 5, 6, 7), (Plain, (), *[None] * 5), (Plain, [1])])
def test_a_reduction_that_pickle_would_not_take_is_refused(told: Any) -> None:
    assert "what pickle does not take" in refused(Told(told))


def test_what_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_DEEPEST", 1000)
    assert "1000 levels" in refused(Endless())
    assert len(value_digest(nest(1000, 1))) == 16
    assert "1000 levels" in refused(nest(1001, 1))


def test_the_cause_is_kept() -> None:
    with pytest.raises(FingerprintError) as caught:
        value_digest([threading.Lock()])
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_value_before_the_bad_one_is_not_remembered() -> None:
    equal([1], [1])
    refused([[1], lambda: None])
    equal([1], [1])


# --------------------------------------------------------------------------------------------------------- combination


def test_combination() -> None:
    a, b, c = (value_digest(value) for value in "abc")
    combinations = [combine([]), combine([a]), combine([a, b]), combine([b, a]), combine([a, b, c]), combine([a, a])]
    salted = [combine([a], salt=b"x"), combine([a], salt=b"y"), combine([a, b], salt=b"x"), combine([], salt=a)]
    odd = [combine([a + b]), combine([b""]), combine([b"", b""]), combine([b"1:"]), combine([b"1", b":"])]
    everything = [*combinations, *salted, *odd, a, b, c, value_digest([a, b]), value_digest((a, b))]
    assert len(set(everything)) == len(everything)
    assert all(len(digest) == 16 for digest in everything)
    assert combine(iter([a, b])) == combine([a, b])


# ------------------------------------------------------------------------------------------------------------ stability

#: Digests that stand in people's journals. Whoever changes one has to count VALUE_VERSION up.
KNOWN: list[tuple[Any, str]] = [
    (None, "fa06b60c92f67fc468b32cfa91532b35"),
    (True, "1bc1c4c9728b0d6801d57af6bb8be9e1"),
    (1, "bf40b0b9bbd93de58f6edd099375a1c5"),
    (-(2**70), "16f1504b910f785c06605a7003bb2d21"),
    (1.0, "36407481d752c73f57f8d25c13020c1b"),
    (-0.0, "992e58c5eafb6e7145eae1e280b44936"),
    (math.nan, "217cb2a496b3f0a30b67c86eb9b4fbda"),
    (1 + 2j, "e006a22812dbdffafebf12905073c27c"),
    ("Lancelot", "0539d585c66c9418beb75b759e13a0c4"),
    ("x" * 500, "a26c2979698eff6ff25f39c60b59e1e9"),
    (b"ab", "aa50738d4a4cf2fd7b900116812376f8"),
    ((1, "a", 2.5), "f258705afa89d53e49f663f3b7cae24b"),
    ([1, [2, [3, [4, [5, [6]]]]]], "61cde4f452b5b2ba8d235d29a556151f"),
    ({"b": 1, "a": {1, 2, 3}}, "99aff7d01dcdf2fc798ef6a54f962d71"),
    (frozenset({"a", None}), "7548467c92686b830c04b9b2b5372fa7"),
    (..., "97b76d39b9355bde26792d835c0189ee"),
    (range(3), "1d19080f06a9f8b18ea4287aeef58b3a"),
    (int, "e6e34f7a65f8a746ae9d3def0d5c430d"),
    (len, "fb3177cab55c11f97e9bff768d458769"),
    (datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.timezone.utc), "eb6de3cfbfc4011b86433893f02c55b0"),
    (decimal.Decimal("1.50"), "f77195329d2188ae14d3ae0ae6c1b370"),
    (pathlib.PurePosixPath("a/b"), "245339057d4612ba6b2b88c734ec0109"),
    (np.float64(1.5), "42a4fb9793cd98f3129451dea4a186ac"),
    (np.int64(3), "66e58c0b98ffd74f42c816e520958da1"),
    (np.arange(6.0).reshape(2, 3), "bbe1f605386227fc9019eaba23a02944"),
    (np.array(["a", None], dtype=object), "0eae90f37fc9f14a78d93b20816bcdb4"),
    (np.zeros(2, dtype="i4,f8"), "48a0aded220d47ae1eb9e4cf27d4278a"),
    (np.datetime64("NaT", "s"), "ad8fb514d3dc4afa31040d1757019120"),
    (np.ma.array([1, 2], mask=[0, 1]), "4925cb749fa5989522547b25d772571a"),
    (collections.OrderedDict(a=1), "95d44b622f90b711cb47fb07016ae9ee"),
    (types.SimpleNamespace(a=[1]), "da58b1dd4b2ea80b067e9913d779fb1b"),
    (fractions.Fraction(1, 3), "e4f92ac3bcf65738accd08caa8a28698"),
    (decimal.Decimal("nan"), "e54f6d3fab68b0463553307234f90d41"),
    (decimal.Decimal("snan"), "4f46d7143311b9091908d041f418b145"),
    (datetime.date(2020, 1, 2), "2f0ebaa4ffb105f46afd5352564eefb9"),
    (datetime.time(1, 2, 3, 4, fold=1), "7c589f37c94de6da57ab5dd083b9a708"),
    (datetime.timedelta(1, 2, 3), "d19b307b08e6dac4936ea6a363b66abb"),
    (datetime.timezone.utc, "67ba60b67144a0c8b07cf35d0d9a2aa5"),
    (datetime.timezone(datetime.timedelta(hours=1), "here"), "3eaaa69da48ed4936502a5e08d36e2c5"),
    (zoneinfo.ZoneInfo("UTC"), "f53e608e6e1a5cebcd87eeb46558aa5b"),
    (array.array("i", [1, 2]), "7adf72ecc2de6725847f7cd0771a92f9"),
    (array.array("d", [0.5, math.nan]), "fa1b4cf7e90661c7046cc0dc1ae56f42"),
    (array.array("f", [0.5]), "7ca8d63c1a5d7d717ab331c94674ca70"),
    (slice(1, None, 2), "4596c340a8981f957ae7951353ac2afc"),
    (http.HTTPStatus.OK, "b78e0ae003929b6142dfc96200180781"),
    (re.IGNORECASE | re.MULTILINE, "59047d1d6fee8f638026668baac7a36e"),
    (re.compile("a+"), "1225e68037dedd0c5438e28abbf5eeb6"),
    (uuid.UUID(int=5), "760f14c4fcc66bf02fdaba311f0a9263"),
    (collections.deque([1, [2]], 3), "08eed088deaea1b514cc371b7b304254"),
    (collections.defaultdict(list, a=[1], b=[]), "0de133ba578b2bd55b38a3d7b7627f51"),
    (collections.Counter("aab"), "9360c10da62383936bd130dc800cc822"),
    (collections.UserList([1, 2]), "f5fb03ccdb932e175e462430c1eb71ed"),
    (functools.partial(int, "7", base=8), "663b955f2356c20aabd67ba77c8832ac"),
    (operator.itemgetter(1, 2), "c78292df4eb7bd513201701a730c429c"),
    (string.Template("$a"), "4963ace8141e5c39e9dda8f877c4771f"),
    (bytearray(b"ab"), "98cb0de8fadd217089733ad6753c1be2"),
    (type(None), "d4fdafa41dd73045fd8aa524dc899de1"),
    (type(...), "afbd41ce260811514ff5c21499bfe0c0"),
    (NotImplemented, "e7d184f4617f64f4a3ae9dff02b72c6a"),
    (pathlib.PurePosixPath, "0a94a9ded9358ba33e66f4514c362956"),
    (operator.add, "ae0319428c97d5993cb700f3ded6addc"),
    (collections.namedtuple, "752810ea9245bc9ac23e20e538f6434a"),
    (np.bool_(True), "8e1a6b58b109b9a36d49b16d873dd492"),
    (np.int8(-3), "da70cdafbb28fa170bb59e5c322b02bd"),
    (np.uint64(2**63), "b5cf9a44eb10ca61b8178148a7d5a47d"),
    (np.float32(0.1), "5e04a9b5dfa8d3aa78bae48fba373357"),
    (np.float32("nan"), "0595c690b4cf39ce79d28a3c8d1d0e1f"),
    (np.float16(0.5), "cd643f46643ff70fa4fc2a2230b1cf15"),
    (np.complex64(1 - 2j), "9b8936e0ad740bc41bd8aa88a9e83118"),
    (np.complex128(complex(math.nan, 1)), "ec8d0bcbee1d5cb9cd9fdb0f172a7d00"),
    (np.str_("a"), "dec8aed0759b4808b39c068159d9a03f"),
    (np.bytes_(b"aX\0"), "cee08cd72fa5c5392e23b1a03ce82c4d"),
    (np.datetime64("2020-01-02"), "4375837a288648f26196f9c1bc45d838"),
    (np.timedelta64(5, "s"), "6e9525384b26b23c3f0470559d58d30b"),
    (np.zeros(1, dtype="i4,f8")[0], "bcd6f8c20fc7eb476778d04c4ed57142"),
    (np.rec.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")])[0], "05dd8481040afe719f46299772988be2"),
    (np.rec.array([(1, 2.5)], dtype=[("x", "i4"), ("y", "f8")]), "9a902adf470e57580b093a4af4ab53ab"),
    (np.array([True, False]), "e9d8ea586993d546c04bcfe8c106e6a1"),
    (np.array([1, math.nan], dtype=">f4"), "bb32eb06a1729f35aaa967134a92f32f"),
    (np.array([1j, complex(0, math.nan)]), "925b8ab2ae7c1674bcbb7f70ea29ff7e"),
    (np.array(["a", "bc"]), "69c9c8beeff3b70c4010359919e9e9a0"),
    (np.array([b"a", b"bc"]), "32e3c72930e58f1e0c1a0adcfb7a0c90"),
    (np.array(5), "bad2fbc5c11780e6308d13095f7f5421"),
    (np.array([1.5], dtype=">f8"), "021bb87bfea081c521e4404d19be8541"),
    (np.array([complex(math.nan, 1)], dtype="complex64"), "356120b0cc420c4caa856774efdc4c28"),
    (np.array([[1, None], ["a", 2]], dtype=object), "2ce1d1d4141b3bc186221da053e7a64b"),
    ([[[[[[{1, 2}]]]]]], "4c7d197b6beffb7fb4acc36c98bb4591"),
    (np.zeros((0, 3)), "fb451ce61a3ab0ad84a718b68de049f1"),
    (np.dtype("i4"), "2c1b5c3ec4c41446a8b6c7bfd7ecbcbe"),
    (np.dtype([("x", "f4", (2, 3)), (("title", "y"), "O")]), "dab9eb1e7d813244c84075bb2b01a008"),
    (np.dtype({"names": ["x"], "formats": ["i4"], "offsets": [4], "itemsize": 16}), "3f8ab9dffc094ba0dcc8f009d424244b"),
    (np.ma.masked_array([1.5, 2.5], mask=[True, False], fill_value=7.0), "6f26a7777f84f55bd9c7f4a3995494f5"),
    (np.ma.masked_array([1, 2]), "b3d793ab0af58513e306222db397be3a"),
    (np.add, "4e170bcfaf13feb1a9cbf792d2dba087"),
    (np.sum, "bba2cce13e54b890e55944afdc7c047f"),
    (np.float64, "7e4d6cb552d1d6341779d0c21895adf7"),
]


@pytest.mark.parametrize(("value", "digest"), KNOWN)
def test_digests_stay_what_they_are(value: Any, digest: str) -> None:
    assert fingerprint.VALUE_VERSION == 1
    assert value_digest(value).hex() == digest


@pytest.mark.parametrize(
    ("make", "digest"),
    [
        (lambda size: b"x" * size, "2cd94b3405264a3836da3ef29992b376"),
        (lambda size: bytearray(b"x" * size), "8dad5905c9b12c3b5f87e726227f6929"),
        (lambda size: "x" * size, "5fe9217b66259ae2a2bd31080399230c"),
        (lambda size: 16**size, "201836841b4cc2ef32c09431e9277cd3"),
        (lambda size: [None] * size, "efb9587d0b21cf2ab56bf88e36e13bdc"),
    ],
)
def test_digests_of_all_sizes_stay_what_they_are(make: Callable[[int], Any], digest: str) -> None:
    assert combine([value_digest(make(size)) for size in range(130)]).hex() == digest


def test_digests_of_cycles_stay_what_they_are() -> None:
    own: list[Any] = []
    own.append(own)
    pair: list[Any] = [1]
    pair.append([2, pair])
    ring: list[Any] = ["a"]
    last = ring
    for letter in "abab":
        last.append([letter])
        last = last[-1]
    last.append(ring)
    table: dict[str, Any] = {}
    table["self"] = table
    assert [value_digest(value).hex() for value in (own, pair, ring, table)] == [
        "97b455a57622af4ea630d7ba5d602323",
        "9e91bbe934295684db75c9c046b433b1",
        "b58524d97ca8f1ee69d0f6de37bcc653",
        "f2f7ee6c0b07ff53697daf166acca95f",
    ]


def test_digests_of_classes_of_ones_own_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str, *bases: type) -> Any:
        return type(name, bases, {"__module__": "steady"})

    steady: Any = types.ModuleType("steady")
    steady.Bag, steady.Row, steady.Table, steady.Map = (
        made(*told) for told in [("Bag", set), ("Row", list), ("Table", dict), ("Map", np.ndarray)]
    )

    class Grid(np.ndarray):
        def __reduce__(self) -> Any:
            maker, arguments, state = super().__reduce__()
            return maker, arguments, (state, 7)

    Grid.__module__, Grid.__qualname__ = "steady", "Grid"
    steady.Grid = Grid
    monkeypatch.setitem(sys.modules, "steady", steady)
    bag, row = steady.Bag("ab"), steady.Row([1, 2])
    bag.name, row.name = "x", "y"
    values = [bag, steady.Bag(), row, steady.Table(a=1, b=2), np.zeros(2).view(steady.Map), steady.Bag]
    values.append(np.zeros(2).view(Grid))
    assert [value_digest(value).hex() for value in values] == [
        "6762822990d35a564e0be62adf600cce",
        "a09d4589ae8b98e92e782ed29ee94468",
        "330f42b9bc6e5c7f5138a325340852f7",
        "af47f9c05239a5c602c4e4d5d874f4ab",
        "d595442615a027e4908497cbf0720ca0",
        "e3b03625fcca511ac74617762c406abb",
        "40102b9729a6274fa21a2a399eafeb28",
    ]


@pytest.mark.skipif(not hasattr(np, "dtypes") or not hasattr(np.dtypes, "StringDType"), reason="came with numpy 2")
def test_digests_of_strings_of_variable_width_stay_what_they_are() -> None:
    kinds = [np.dtypes.StringDType(), np.dtypes.StringDType(na_object=None), np.dtypes.StringDType(coerce=False)]
    found = [value_digest(value).hex() for kind in kinds for value in (kind, np.array(["a", "bc"], dtype=kind))]
    assert found == [
        "fee454196d917c11ebf4e777c6a80935",
        "da25ff9399fb250a63cc058fee429deb",
        "c8e0174f28a97c8f43f53632ef846d15",
        "b0b1c544238090f55d35f4c42128e6f3",
        "e7c43c8f4151b3207846d497202cc531",
        "9a2dad544a1ac673ef455a8b4ef6bb94",
    ]


def test_combinations_stay_what_they_are() -> None:
    one, two = b"1" * 16, b"2" * 16
    assert combine([]).hex() == "11c0d2d14221be45b3d607fd467d5df5"
    assert combine([one, two]).hex() == "54729ade1980695097bbde708d73b7ee"
    assert combine([one], salt=b"knights").hex() == "243e789c1232244ac3278cf1221a4455"


def test_the_version_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"%d" % fingerprint.VALUE_VERSION in fingerprint._VALUE_SALT
    before = value_digest(1)
    monkeypatch.setattr(fingerprint, "_VALUE_HASHER", fingerprint.blake2b(b"value 2:", digest_size=16))
    assert value_digest(1) != before
