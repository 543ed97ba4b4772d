"""``where`` over a product of outputs, at the cost of its result where equalities between parents allow it.

A condition is taken apart at its ``and``. In order, each part is

* decided for each element ahead, if it looks at one parent only;
* made a hash join, if it is an equality between two parents whose values are known to hash as they compare;
* put off, if it is a comparison that can't raise on the values that there are.

The first part that is none of these, and all that follow it, are evaluated as they stand, on the combinations for which
the parts before it are true: those are the very combinations on which a nested loop would evaluate them. So the
result, its order and the first error are those of the loop.
"""

from __future__ import annotations

import ast
import enum
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import SupportsFloat, SupportsInt

from pipelet.core.guarded import Unguarded, built_in, guard, is_tuple, plain
from pipelet.core.join import Combination, Edge, Keys, join


@dataclass(frozen=True)
class Selection:
    """What is left of a product after the parts of a condition that could be decided ahead.

    Attributes
    ----------
    alive
        For each parent the indices of the elements that may still occur, rising.
    combinations
        In the order of a nested loop, the first parent slowest.
    whole
        The combinations are the whole product of `alive`.
    rest
        What must still be true of each combination; ``None`` for nothing.
    """

    alive: Sequence[Sequence[int]]
    combinations: Iterable[Combination]
    whole: bool
    rest: ast.expr | None


def select(
    condition: ast.expr,
    names: Sequence[str],
    sizes: Sequence[int],
    load: Callable[[int, int], object],
) -> Selection:
    """Decide as much of a condition as can be decided without the nested loop.

    Parameters
    ----------
    condition
        The condition, in which the parents' names stand for their elements.
    names, sizes
        The parents and the numbers of their elements.
    load
        Gives the element of a parent and an index. What it raises ends the search; the loop meets it again.

    Returns
    -------
    Selection
    """
    search = _Search(names, [list(range(size)) for size in sizes], load)
    later: list[ast.expr] = []
    parts = conjuncts(condition, names)
    for at, part in enumerate(parts):
        verdict = search.judge(part)
        if verdict is _Verdict.LATER:
            later.append(part)
        elif verdict is _Verdict.STOP:
            later += parts[at:]
            break
    rest = later[0] if len(later) == 1 else ast.BoolOp(ast.And(), later) if later else None
    if rest is not None:
        ast.fix_missing_locations(ast.copy_location(rest, condition))
    if not search.edges:
        return Selection(search.alive, product(*search.alive), True, rest)
    return Selection(search.alive, join(search.alive, search.edges), False, rest)


def conjuncts(condition: ast.expr, names: Sequence[str]) -> list[ast.expr]:
    """Take a condition apart at its ``and``, and chains of comparisons (``a == b == c``) into single ones."""
    if isinstance(condition, ast.BoolOp) and isinstance(condition.op, ast.And):
        return [part for value in condition.values for part in conjuncts(value, names)]
    if isinstance(condition, ast.Compare) and len(condition.ops) > 1 and guard(condition, names):
        sides = [condition.left, *condition.comparators]
        return [
            ast.copy_location(ast.Compare(left, [op], [right]), condition)
            for left, op, right in zip(sides[:-1], condition.ops, sides[1:], strict=True)
        ]
    return [condition]


class _Verdict(enum.Enum):
    TAKEN = "the search has seen to it"
    LATER = "to be evaluated, but it can't raise"
    STOP = "to be evaluated, and all that follows too"


class _Search:
    def __init__(self, names: Sequence[str], alive: list[list[int]], load: Callable[[int, int], object]) -> None:
        self.names, self.alive, self.load = names, alive, load
        self.edges: list[Edge] = []

    def judge(self, part: ast.expr) -> _Verdict:
        """Decide a part ahead if that is safe."""
        try:
            return self._judge(part)
        except Exception:
            # Whatever it is, the loop meets it again if it reaches the place, and reports it with all that is known.
            return _Verdict.STOP

    def _judge(self, part: ast.expr) -> _Verdict:
        guarded = guard(part, self.names)
        if guarded is None:
            return _Verdict.STOP
        if not guarded.names:
            if not guarded.evaluate({}):
                self.alive = [[] for _ in self.alive]
            return _Verdict.TAKEN
        if len(guarded.names) == 1:
            at, values = self._column(part)
            self.alive[at] = [index for index, value in zip(self.alive[at], values, strict=True) if built_in(value)]
            return _Verdict.TAKEN
        if isinstance(part, ast.Compare) and len(part.ops) == 1:
            return self._comparison(part.left, part.ops[0], part.comparators[0])
        return _Verdict.STOP

    def _column(self, node: ast.expr) -> tuple[int, list[object]]:
        """Return the one parent that the node uses, and the node's values for its elements."""
        guarded = guard(node, self.names)
        if guarded is None or len(guarded.names) != 1:
            raise Unguarded("several parents")
        (name,) = guarded.names
        at = self.names.index(name)
        return at, guarded.column(name, [self.load(at, index) for index in self.alive[at]])

    def _comparison(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> _Verdict:
        (first, lefts), (second, rights) = self._column(left), self._column(right)
        if isinstance(op, ast.Eq):
            keys = common_keys(lefts, rights)
            if keys is not None:
                sides = [(first, self._spread(first, keys[0])), (second, self._spread(second, keys[1]))]
                sides.sort(key=lambda side: side[0])
                self.edges.append(Edge(sides[0][0], sides[1][0], sides[0][1], sides[1][1]))
                return _Verdict.TAKEN
        return _Verdict.LATER if never_raises(op, lefts, rights) else _Verdict.STOP

    def _spread(self, at: int, keys: Sequence[Hashable]) -> Keys:
        """Put keys at the indices of their elements, and drop the elements that equal nothing."""
        spread: list[Hashable] = [None] * (self.alive[at][-1] + 1 if self.alive[at] else 0)
        for index, key in zip(self.alive[at], keys, strict=True):
            spread[index] = key
        self.alive[at] = [index for index, key in zip(self.alive[at], keys, strict=True) if key is not _NOTHING]
        return spread


# ---- values


_LIST, _NOTHING = object(), object()
_SIMPLE: frozenset[type] = frozenset({int, bool, str, bytes, type(None)})


def common_keys(left: Sequence[object], right: Sequence[object]) -> tuple[list[Hashable], list[Hashable]] | None:
    """Return keys for both sides of an equality that are equal and hash alike exactly where the values are equal.

    Parameters
    ----------
    left, right
        The values of both sides.

    Returns
    -------
    tuple of two lists, or None
        ``None`` when there is a value of which that is not known.
    """
    make = _key_maker({*map(type, left), *map(type, right)})
    try:
        return [make(value) for value in left], [make(value) for value in right]
    except Unguarded:
        return None


def _key_maker(kinds: set[type]) -> Callable[[object], Hashable]:
    # Scalars of numpy compare with Python's numbers by rules of their own, which agree with the hash only among
    # one kind and its Python counterpart.
    scalars = {kind for kind in kinds if kind.__module__ == "numpy"}
    if len(scalars) == 1:
        name = next(iter(scalars)).__name__
        if name == "int64" and kinds <= scalars | {int, bool}:
            return _int64_key
        if name == "float64" and kinds <= scalars | {float}:
            return _float64_key
    return _key


def _int64_key(value: object) -> Hashable:
    assert isinstance(value, SupportsInt)
    number = int(value)
    if -(2**63) <= number < 2**63:
        return number
    raise Unguarded("int")


def _float64_key(value: object) -> Hashable:
    assert isinstance(value, SupportsFloat)
    return _key(float(value))


def _key(value: object) -> Hashable:
    kind: type = type(value)
    if kind in _SIMPLE:
        return value
    if isinstance(value, float) and kind is float:
        return value if value == value else _NOTHING
    if isinstance(value, (frozenset, set)) and kind in (frozenset, set):
        return frozenset(map(_inner_key, value))
    if isinstance(value, list) and kind is list:
        return (_LIST, *map(_inner_key, value))
    if isinstance(value, tuple) and is_tuple(value, "__eq__", "__hash__", "__iter__", "__len__"):
        return tuple(map(_inner_key, value))
    raise Unguarded(kind.__name__)


def _inner_key(value: object) -> Hashable:
    key = _key(value)
    if key is _NOTHING:
        # A container compares its parts by identity first: the same NaN is equal there.
        raise Unguarded("nan")
    return key


_NUMBERS: frozenset[type] = frozenset({int, bool, float})


def never_raises(op: ast.cmpop, left: Iterable[object], right: Iterable[object]) -> bool:
    """Whether a comparison raises for none of these values, whichever meet."""
    lefts, rights = set(map(type, left)), set(map(type, right))
    if isinstance(op, (ast.Is, ast.IsNot)):
        return True
    if isinstance(op, (ast.Eq, ast.NotEq)):
        return _all_plain(left) and _all_plain(right)
    if isinstance(op, (ast.In, ast.NotIn)):
        if rights <= {str}:
            return lefts <= {str}
        hashable = lefts <= _SIMPLE | {float}
        return rights <= {tuple, list, set, frozenset, dict} and hashable and _all_plain(right)
    return lefts | rights <= _NUMBERS or lefts | rights <= {str} or lefts | rights <= {bytes}


def _all_plain(values: Iterable[object]) -> bool:
    try:
        for value in values:
            plain(value)
    except Unguarded:
        return False
    return True
