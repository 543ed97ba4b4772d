"""A second form of an expression, for those who want to evaluate it ahead of time, or less often than a loop would.

It only exists for forms that change nothing, and it raises `Unguarded` as soon as it meets a value whose operators
could be user code. So where the guarded form returns, the plain one would have returned the same, whenever and however
often it were asked.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Collection, Iterable, Mapping
from types import CodeType, MemberDescriptorType
from typing import NamedTuple, TypeVar

from pipelet.core.expressions import stored_names

T = TypeVar("T")


class Unguarded(Exception):
    """A value whose operators could be anything."""


class Guarded(NamedTuple):
    """The guarded form of an expression."""

    code: CodeType
    names: frozenset[str]  #: the parents that it uses

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """Evaluate; raises `Unguarded` or whatever the expression raises."""
        value: object = eval(self.code, {**_SCOPE, **bindings})
        return value

    def column(self, name: str, objects: Iterable[object]) -> list[object]:
        """Evaluate with `name` bound to one object after the other."""
        scope: dict[str, object] = dict(_SCOPE)
        values: list[object] = []
        for scope[name] in objects:
            values.append(eval(self.code, scope))
        return values


ATOMS = frozenset({int, float, bool, str, bytes, complex, type(None)})
_SEQUENCES = frozenset({tuple, list, set, frozenset})
_VIEWS = frozenset({range, type({}.keys()), type({}.values()), type({}.items())})
_BUILT_IN = ATOMS | _SEQUENCES | _VIEWS | {dict}


def plain(value: T) -> T:
    """Return `value` if it is made of built-in types all the way down, else raise `Unguarded`."""
    kind: type = type(value)
    if kind in ATOMS:
        return value
    if isinstance(value, (tuple, list, set, frozenset)) and kind in _SEQUENCES:
        for part in value:
            plain(part)
    elif isinstance(value, dict) and kind is dict:
        for key, part in value.items():
            plain(key)
            plain(part)
    elif kind not in _VIEWS:
        raise Unguarded(kind.__name__)
    return value


def built_in(value: T) -> T:
    """Return `value` if its own type is built in (its parts may be anything), else raise `Unguarded`."""
    kind = type(value)
    if kind in _BUILT_IN:
        return value
    if is_tuple(value, "__getitem__", "__len__", "__iter__") and not hasattr(kind, "__bool__"):
        return value
    raise Unguarded(kind.__name__)


def is_tuple(value: object, *methods: str) -> bool:
    """Whether it is a tuple, or of a derived class (a named tuple, say) that keeps these methods of tuples."""
    return isinstance(value, tuple) and all(getattr(type(value), name) is getattr(tuple, name) for name in methods)


def _field(value: object, name: str) -> object:
    kind = type(value)
    if kind in _BUILT_IN or (is_tuple(value, "__getattribute__") and name in getattr(kind, "_fields", ())):
        return getattr(value, name)
    if kind.__getattribute__ is object.__getattribute__:
        inherited = next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)
        data_descriptor = hasattr(type(inherited), "__set__") or hasattr(type(inherited), "__delete__")
        stored = name in getattr(value, "__dict__", ()) and not data_descriptor
        if stored or isinstance(inherited, MemberDescriptorType):
            return getattr(value, name)
    raise Unguarded(kind.__name__)


# No identifier is spelled like these, so they can't hide a name of the user's.
_PLAIN, _SHALLOW, _FIELD = "<plain>", "<built in>", "<field>"
_SCOPE: dict[str, object] = {"__builtins__": builtins, _PLAIN: plain, _SHALLOW: built_in, _FIELD: _field}

_TYPES = frozenset({"bool", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "set", "str", "tuple"})
_SHALLOW_CALLS = frozenset({"bool", "isinstance", "len", "list", "tuple"})
_CONSUMERS = frozenset({"all", "any", "dict", "frozenset", "list", "max", "min", "set", "sorted", "sum", "tuple"})
_OTHER_CALLS = frozenset(
    {"abs", "bin", "chr", "divmod", "format", "hex", "oct", "ord", "pow", "range", "repr", "round"}
)
_CALLS = _TYPES | _SHALLOW_CALLS | _CONSUMERS | _OTHER_CALLS
_METHOD_NAMES = """
    split rsplit splitlines partition rpartition strip lstrip rstrip lower upper casefold title capitalize swapcase
    startswith endswith find rfind index rindex count replace removeprefix removesuffix zfill center ljust rjust join
    format encode decode isdigit isalpha isalnum isnumeric isdecimal isspace isupper islower
    get keys values items is_integer bit_length conjugate hex
    issubset issuperset isdisjoint union intersection difference symmetric_difference copy
"""
_METHODS = frozenset(_METHOD_NAMES.split())


def guard(tree: ast.expr, parents: Collection[str]) -> Guarded | None:
    """Make the guarded form of an expression.

    Parameters
    ----------
    tree
        The expression.
    parents
        All the names that will be bound.

    Returns
    -------
    Guarded or None
        ``None`` when it holds a form that could change something, or a name that is not known to be harmless.
    """
    own = stored_names(tree)
    if not own.isdisjoint(parents) or not own.isdisjoint(_CALLS):
        return None
    builder = _Builder(parents, own)
    try:
        guarded = ast.fix_missing_locations(ast.Expression(builder.build(tree)))
        return Guarded(compile(guarded, "<directive>", "eval"), frozenset(builder.used))
    except (Unguarded, RecursionError):
        return None


class _Builder:
    def __init__(self, parents: Collection[str], own: Collection[str]) -> None:
        self.parents, self.own = parents, own
        self.used: set[str] = set()

    def build(self, node: ast.expr) -> ast.expr:
        """Return the guarded copy of a node."""
        method: Callable[[ast.expr], ast.expr] | None = getattr(self, f"_{type(node).__name__}", None)
        if method is None:
            raise Unguarded(type(node).__name__)
        return ast.copy_location(method(node), node)

    def deep(self, node: ast.expr, name: str = _PLAIN) -> ast.expr:
        """Return the guarded copy of a node whose value an operator will look at."""
        built = self.build(node)
        if isinstance(built, ast.Constant) or (isinstance(built, ast.Name) and built.id in _TYPES - set(self.parents)):
            return built
        return ast.copy_location(ast.Call(ast.Name(name, ast.Load()), [built], []), node)

    def shallow(self, node: ast.expr) -> ast.expr:
        return self.deep(node, _SHALLOW)

    def _Constant(self, node: ast.Constant) -> ast.expr:
        return node

    def _Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.parents:
            self.used.add(node.id)
        elif node.id not in self.own and node.id not in _TYPES:
            raise Unguarded(node.id)
        return node

    def _Tuple(self, node: ast.Tuple) -> ast.expr:
        return ast.Tuple([self.build(part) for part in node.elts], ast.Load())

    def _List(self, node: ast.List) -> ast.expr:
        return ast.List([self.build(part) for part in node.elts], ast.Load())

    def _Set(self, node: ast.Set) -> ast.expr:
        return ast.Set([self.deep(part) for part in node.elts])

    def _Dict(self, node: ast.Dict) -> ast.expr:
        if None in node.keys:
            raise Unguarded("**")
        return ast.Dict([self.deep(key) for key in node.keys if key], [self.build(value) for value in node.values])

    def _Subscript(self, node: ast.Subscript) -> ast.expr:
        where = node.slice
        if isinstance(where, ast.Slice):
            ends = [end and self.deep(end) for end in (where.lower, where.upper, where.step)]
            return ast.Subscript(self.shallow(node.value), ast.Slice(*ends), ast.Load())
        return ast.Subscript(self.shallow(node.value), self.deep(where), ast.Load())

    def _Attribute(self, node: ast.Attribute) -> ast.expr:
        if node.attr.startswith("_"):
            raise Unguarded(node.attr)
        return ast.Call(ast.Name(_FIELD, ast.Load()), [self.build(node.value), ast.Constant(node.attr)], [])

    def _UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        operand = self.shallow(node.operand) if isinstance(node.op, ast.Not) else self.deep(node.operand)
        return ast.UnaryOp(node.op, operand)

    def _BinOp(self, node: ast.BinOp) -> ast.expr:
        return ast.BinOp(self.deep(node.left), node.op, self.deep(node.right))

    def _BoolOp(self, node: ast.BoolOp) -> ast.expr:
        return ast.BoolOp(node.op, [self.shallow(value) for value in node.values])

    def _Compare(self, node: ast.Compare) -> ast.expr:
        identity = all(isinstance(op, (ast.Is, ast.IsNot)) for op in node.ops)
        take = self.build if identity else self.deep
        return ast.Compare(take(node.left), node.ops, [take(right) for right in node.comparators])

    def _IfExp(self, node: ast.IfExp) -> ast.expr:
        return ast.IfExp(self.shallow(node.test), self.build(node.body), self.build(node.orelse))

    def _JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return ast.JoinedStr([self.build(value) for value in node.values])

    def _FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        layout = None if node.format_spec is None else self.build(node.format_spec)
        return ast.FormattedValue(self.deep(node.value), node.conversion, layout)

    def _Call(self, node: ast.Call) -> ast.expr:
        function = node.func
        if isinstance(function, ast.Name) and function.id in _CALLS - set(self.parents):
            take = self.shallow if function.id in _SHALLOW_CALLS else self.deep
            if function.id in _CONSUMERS and len(node.args) == 1 and isinstance(node.args[0], ast.GeneratorExp):
                take = self.build
            called: ast.expr = function
        elif isinstance(function, ast.Attribute) and function.attr in _METHODS:
            take = self.deep
            called = ast.copy_location(ast.Attribute(self.deep(function.value), function.attr, ast.Load()), function)
        else:
            raise Unguarded("call")
        keywords = [ast.keyword(keyword.arg, take(keyword.value)) for keyword in node.keywords]
        return ast.Call(called, [take(argument) for argument in node.args], keywords)

    def _generators(self, parts: list[ast.comprehension]) -> list[ast.comprehension]:
        if any(part.is_async or not _only_names(part.target) for part in parts):
            raise Unguarded("comprehension")
        return [
            ast.comprehension(part.target, self.deep(part.iter), [self.shallow(test) for test in part.ifs], 0)
            for part in parts
        ]

    def _ListComp(self, node: ast.ListComp) -> ast.expr:
        return ast.ListComp(self.build(node.elt), self._generators(node.generators))

    def _GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        return ast.GeneratorExp(self.build(node.elt), self._generators(node.generators))

    def _SetComp(self, node: ast.SetComp) -> ast.expr:
        return ast.SetComp(self.deep(node.elt), self._generators(node.generators))

    def _DictComp(self, node: ast.DictComp) -> ast.expr:
        return ast.DictComp(self.deep(node.key), self.build(node.value), self._generators(node.generators))


def _only_names(target: ast.expr) -> bool:
    if isinstance(target, (ast.Tuple, ast.List)):
        return all(map(_only_names, target.elts))
    return isinstance(target, ast.Name)
