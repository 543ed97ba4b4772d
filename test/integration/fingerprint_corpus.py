"""Fingerprints of a corpus of values and sources, written to standard output as JSON.

``python fingerprint_corpus.py DIRECTORY`` runs under any Python that finds the package, with nothing else installed;
the files in the directory are read as further sources.
"""

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
import json
import operator
import pathlib
import pickle
import re
import sys
import types
import uuid
import zoneinfo
from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelet.core.codeprint import code_digest, hook_calls, imported_names
from pipelet.core.fingerprint import combine, value_digest
from pipelet.core.text import value_text
from pipelet.errors import CodeError


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Scan:
    target: str
    options: Any = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Fixed:
    a: Any
    b: Any = 2


class Plain:
    pass


class Slots:
    __slots__ = ("left", "right")


class Names(set):
    pass


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class MyInt(int):
    pass


class MyList(list):
    pass


class Stamp(datetime.datetime):
    pass


class MyPath(type(pathlib.PurePosixPath())):
    pass


def function() -> None:
    """Known by its name."""


#: Types that show the order of a set in their text.
SHOWING_SETS = (Scan, Fixed, types.SimpleNamespace)

#: Protocols that keep all of a value.
PROTOCOLS = (4, 5)

WORDS = ["Lancelot", "Galahad", "the Brave", "the Pure", "", "é", "\ud800", "a", "b", "c", "x" * 500]


def plain_values() -> list[Any]:
    return [
        None,
        True,
        False,
        0,
        1,
        -1,
        255,
        256,
        2**64,
        -(3**400),
        0.0,
        -0.0,
        1.5,
        1e300,
        float("inf"),
        -float("nan"),
        1j,
        complex(-0.0, 2),
        "a",
        b"",
        b"ab",
        bytearray(b"ab"),
        ...,
        NotImplemented,
        (),
        (1,),
        [],
        [1, [2, [3, [4, [5, [6, [7]]]]]]],
        {},
        set(),
        frozenset(),
        range(3),
        range(1, 9, 2),
        slice(1, None, 2),
        int,
        str,
        type(None),
        type(...),
        len,
        function,
        Point,
        Colour,
        str.upper,
        "a".upper,
        dict.fromkeys,
        list[int],
        int | str,
        operator.itemgetter(1),
        functools.partial(int, "3", base=4),
        functools.reduce,
        set(WORDS),
        frozenset(WORDS),
        Names(WORDS),
        {w: i for i, w in enumerate(WORDS)},
        dict.fromkeys(reversed(WORDS)),
        [set(WORDS), {frozenset(WORDS): set(WORDS)}],
        collections.Counter(WORDS),
        collections.defaultdict(set, a={*WORDS}),
        collections.OrderedDict(b=1, a=2),
        collections.deque([1, 2], 5),
        collections.deque(),
        types.SimpleNamespace(b=1, a={*WORDS}),
        Point(1, {2}),
        Scan("m31"),
        Scan("m31", {"a": {*WORDS}}),
        Fixed(1),
        Fixed({*WORDS}, [Fixed(0)]),
        Plain(),
        Slots(),
        Colour.RED,
        Level.LOW,
        Bits.A,
        Bits.A | Bits.B,
        Bits(0),
        re.I,
        re.I | re.M,
        re.compile("a", re.I),
        re.compile(b"a"),
        datetime.date(2020, 1, 2),
        datetime.datetime(2020, 1, 2, 3, fold=1),
        datetime.time(1, tzinfo=datetime.timezone.utc),
        datetime.timedelta(1, 2, 3),
        datetime.timezone(datetime.timedelta(hours=1), "CET"),
        datetime.timezone.utc,
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=-3))),
        Stamp(2020, 1, 2, 3),
        decimal.Decimal("1.50"),
        decimal.Decimal("nan"),
        decimal.Decimal("-inf"),
        fractions.Fraction(1, 3),
        uuid.UUID(int=5),
        pathlib.Path("a/b"),
        pathlib.PurePosixPath("/a"),
        pathlib.PureWindowsPath("c:/a"),
        pathlib.Path(),
        MyPath("a/b"),
        array.array("d", [1.5]),
        array.array("i", [1, 2]),
        MyInt(3),
        MyList([1, {*WORDS}]),
        ValueError("x", 1),
        KeyError,
        object(),
        iter([1, 2]),
        iter((1, 2)),
        Exception,
        sum,
        abs,
        pathlib.Path,
        fractions.Fraction,
        decimal.Decimal,
        datetime.datetime,
        zoneinfo.ZoneInfo,
        print,
        operator.add,
        collections.OrderedDict,
        functools.partial,
    ]


def numpy_values() -> list[Any]:
    try:
        import numpy as np
    except ImportError:
        return []
    return [
        np.float64(1.5),
        np.float32(1),
        np.int64(1),
        np.bool_(True),
        np.str_("a"),
        np.bytes_(b"a"),
        np.complex64(1j),
        np.longdouble(1),
        np.datetime64("2020"),
        np.datetime64("NaT", "s"),
        np.timedelta64(3, "D"),
        np.arange(6.0).reshape(2, 3),
        np.zeros((0, 3)),
        np.array([1, {*WORDS}, None], dtype=object),
        np.zeros(2, dtype="i4,f8,O"),
        np.array(WORDS[:3]),
        np.float64,
        np.ndarray,
        np.ma.array([1, 2], mask=[0, 1]),
        np.ma.masked,
        np.rec.array([(1, 2.0)], dtype="i4,f8"),
        np.dtype("f8"),
        np.add,
        np.sum,
        np.array([1.0, float("nan")])[::-1],
        np.asfortranarray(np.ones((2, 3))),
        np.linalg.norm,
        np.zeros(2, dtype="i4,f8")[0],
    ]


def cyclic() -> Iterator[tuple[str, Any]]:
    loop: list[Any] = [set(WORDS)]
    loop.append(loop)
    yield "loop", loop
    first, second = Plain(), Plain()
    first.other, second.other, second.names = second, first, {*WORDS}
    yield "ring", first
    yield "pair", (first, second)
    deep: Any = 0
    for _ in range(150):
        deep = [deep]
    yield "deep", deep
    slots = Slots()
    slots.right = {1: {*WORDS}}
    yield "slots", slots


def corpus() -> Iterator[tuple[str, Any]]:
    """Give the values, each with a name of its own."""
    for source in (plain_values, numpy_values):
        for index, value in enumerate(source()):
            yield f"{source.__name__} {index} {type(value).__name__}", value
    try:
        yield "zone", zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        yield "no zone", None
    yield from cyclic()


SNIPPETS = [
    "",
    "x = 1",
    "'''doc'''",
    "f''",
    "f'abc'",
    "f'{x:}'",
    "f'{x}'",
    "'a' f''",
    "f'a' 'b' f'{y}' '' 'c'",
    "f'{x:{y}}'",
    "f'{x:{y}{z}}'",
    "f'{x:{y}-{z}}'",
    "f'{x=}'",
    "f'{ x = }'",
    "f'{ x = !s:>{w}}'",
    "f'{x!r:>{w}.{p}}'",
    "f'a{x}b{y}'",
    "f'{{}}{{{x}}}'",
    "f'{x:a{b}c}'",
    "rf'\\d{x}\\n'",
    "f'\\d{x}\\n\\x41\\N{BULLET}'",
    "f'{x:%H:%M}'",
    "f'{x:%d\\n}'",
    "u'a' 'b'",
    "f'''{\nx}\n{y:\n}'''",
    "f'{(lambda x: 1)}'",
    "f'{x!a}'",
    "f'{x,}'",
    "f'{yield_}' f\"{a['b']}\"",
    "f'{a}{b}' 'c' f'{d:e}'",
    "f'{3.4:10}' f'{-1}' f'{not a}'",
    "print(f'{x:{\"a\"}}')",
    "f'{f\"{x}\"}'",
    "b'a' b'\\xff'",
    "x = '\\ud800\\N{DIGIT ONE}'",
    "1, 1.0, 1j, True, None, ..., 0x10, 1_000, 1e999, 10**3, -1, -0.0, 0xffffffffffffffffffff",
    "def f(a, /, b: int = 1, *c, d, e=2, **g) -> str:\n    'doc'\n    return a",
    "async def f():\n    async with a as b, c:\n        async for d in e: await g\n    return [h async for h in i]",
    "class A(B, *C, metaclass=D, **E):\n    'doc'\n    x: int\n    y: int = 3\n    (z): int",
    "@a\n@b(c)\nclass D: pass",
    "lambda a, *b, c=1, **d: (yield)",
    "def f():\n    global a, b\n    def g():\n        nonlocal c\n    c = 1",
    "with (a as b, c as d): pass",
    "with (a, b): pass",
    "with (a): pass",
    "with (yield_): pass",
    "match x:\n    case [1, True, None, 'a', *rest]: pass\n    case {'k': v, **kw}: pass\n"
    "    case P(a, b=c) | [a, c]: pass\n    case -1 | 1+2j as z if z: pass\n    case _: pass",
    "try:\n    a\nexcept (B, C) as d:\n    raise e from d\nexcept:\n    pass\nelse:\n    f\nfinally:\n    g",
    "for x, *y in z:\n    if x: continue\n    else: break\nelse: pass",
    "a[1:2, ::3, ...] = b[c] = *d, e",
    "x = y = {**a, 'b': c, None: d}, {*e}, [*f], (g for h in i if j if k for l in m)",
    "import a.b as c, d\nfrom . import e\nfrom ..f import (g, h as i)\nfrom j import *",
    "from __future__ import annotations\nx: 'int' = 1",
    "if (n := 10) > 5 < 6 is not None not in z: del a, b[c], d.e",
    "assert a, 'b'\nx @= y\nx //= ~z ** -w\nx = a if b else c",
    "é = ﬁ = 'NFKC'",
    "print(*a, sep='', **b)",
    "x = (yield_)\ny = not a and b or c",
    "while True:\n    pass\nelse:\n    x",
    "return_ = 'a' 'b'\n# end",
    "x = 'a\\\nb'\ny = '''a\r\nb'''",
    "if 1:\n\tx\n\n\n\n\ty  # z\n",
]


def value_results() -> Iterator[tuple[str, str]]:
    for name, value in corpus():
        digest = value_digest(value)
        yield f"value {name}", digest.hex()
        yield f"combined {name}", combine([digest], name.encode("utf-8", "replace")).hex()
        if not isinstance(value, SHOWING_SETS):
            yield f"text {name}", value_text(value)
        copies = [pickle.loads(pickle.dumps(value, protocol)) for protocol in PROTOCOLS]
        for copied in (*copies, copy.deepcopy(value)):
            if value_digest(copied) != digest:
                yield f"value {name}", "changed by a round trip"


def code_results(directory: pathlib.Path) -> Iterator[tuple[str, str]]:
    texts = {repr(snippet): snippet for snippet in SNIPPETS}
    for file in sorted(directory.iterdir()):
        texts[file.name] = file.read_text(encoding="utf-8")
    for name, text in texts.items():
        try:
            found = [code_digest(text, name), sorted(imported_names(text)), sorted(hook_calls(text) or ())]
        except CodeError as error:
            found = [f"error: {error}"]
        yield f"code {name}", json.dumps(found)


if __name__ == "__main__":
    results = dict([*code_results(pathlib.Path(sys.argv[1])), *value_results()])
    json.dump({"version": sys.version_info[:3], "numpy": "numpy" in sys.modules, "results": results}, sys.stdout)
