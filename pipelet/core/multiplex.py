"""From the outputs of the parents to the inputs of a child.

Whatever the kind of a directive, each parent is first brought into the form of a `Source`, and an input is named by a
combination: one index for each source, ``None`` where a ``union`` takes the input from another parent. The inputs
themselves are made where somebody looks at them: a million of them are a million only on demand.
"""

from __future__ import annotations

import ast
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelet.core.conditions import select
from pipelet.core.directives import Multiplex
from pipelet.core.expressions import Expression, from_tree, parse_expression
from pipelet.core.fingerprint import value_digest
from pipelet.core.guarded import guard
from pipelet.core.inputs import Alone, Classes, Combination, Combined, Diagonal, EachAlone, Inputs, Rectangle
from pipelet.core.model import Element, ParentOutput
from pipelet.core.sources import Source, distinct, zipped_rows
from pipelet.errors import ExpansionError, FingerprintError

Load = Callable[[Element], object]
Warn = Callable[[str], None]

def expand(segment: str, parents: Sequence[ParentOutput], directive: Multiplex, load: Load, warn: Warn) -> Inputs:
    """Make the inputs of a segment from its parents' outputs.

    Parameters
    ----------
    segment
        The segment's name, for messages.
    parents
        What each parent gives, at least one, in the order of the graph.
    directive
        How to combine it.
    load
        Unpickles an element; called only where an expression needs the object.
    warn
        Takes a sentence for the user.

    Returns
    -------
    Inputs
        A sequence of `pipelet.core.model.Wanted`, in the order of a nested loop over the parents, the first one
        slowest. Equal inputs are there once, with all the tasks that gave them. What can fail has been evaluated.

    Raises
    ------
    ExpansionError
        An expression fails, a class has no usable value, an element can't be loaded, or the outputs of a ``zip`` have
        unequal lengths.
    """
    zipped = directive.kind == "zip"
    sources = zipped_rows(segment, parents) if zipped else [distinct(parent) for parent in parents]
    # Only in a product is an element needed again and again.
    keep = directive.kind == "cross_prod" and len(sources) > 1
    context = _Context(segment, directive.kind, sources, load, warn, keep)
    chosen = _choose(context, directive)
    if directive.group_by is not None:
        return _grouped(_Clause("group_by", directive.group_by, context), chosen)
    combinations = chosen.combinations
    if isinstance(combinations, Diagonal) and len(sources) == 1 and not sources[0].silent:
        return Alone(sources[0])
    listed = combinations if isinstance(combinations, Sequence) else list(combinations)
    return Combined(sources, listed, one_of=directive.kind == "union")


# ---- expressions


@dataclass
class _Context:
    """What an expansion is about."""

    segment: str
    kind: str
    sources: Sequence[Source]
    load: Load
    warn: Warn
    keep: bool
    kept: dict[tuple[int, int], object] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [source.name for source in self.sources]

    def object(self, at: int, index: int | None) -> object:
        """Return the object for an index of a source, loading it at most once where it is needed often."""
        source = self.sources[at]
        if index is None or source.silent:
            return None
        if (at, index) in self.kept:
            return self.kept[at, index]
        element = source.elements[index]
        try:
            loaded = self.load(element)
        except Exception as error:
            raise ExpansionError(
                f"segment {self.segment!r}: element {element.position} of the output of task {element.task} of "
                f"{source.name!r} ({element.text}) can't be loaded: {type(error).__name__}: {error}"
            ) from error
        if self.keep:
            self.kept[at, index] = loaded
        return loaded


class _Clause:
    """A ``where`` or a ``group_by``, with what its errors need to say."""

    def __init__(self, role: str, text: str, context: _Context) -> None:
        self.role, self.text, self.context = role, text, context
        try:
            expression = parse_expression(text)
        except SyntaxError as error:
            raise ExpansionError(f"{self._head()} is no Python expression: {error.msg}") from error
        tree = expression.tree
        if role == "group_by" and isinstance(tree, ast.Name) and tree.id not in context.names:
            # The same reading as in `read_directives`, for a directive that was not made there.
            expression = parse_expression(repr(tree.id))
        self.expression = expression
        self.used = [at for at, source in enumerate(context.sources) if expression.uses(source.name)]
        self.silent = [source.name for source in context.sources if source.silent and expression.uses(source.name)]
        self.warned = False

    def evaluate(self, combination: Combination, expression: Expression | None = None) -> object:
        """Evaluate the expression, or a part of it, for one combination."""
        expression = expression or self.expression
        sources, take = self.context.sources, self.context.object
        return expression.evaluate({sources[at].name: take(at, combination[at]) for at in self.used})

    def excuses(self, error: Exception, instead: str) -> bool:
        """Whether a failure is put down to a parent without output; warns the first time."""
        if not self.silent:
            return False
        if not self.warned:
            self.warned = True
            self.context.warn(
                f"{self._head()} could not be evaluated ({type(error).__name__}: {error}), because "
                f"{' and '.join(map(repr, self.silent))} set no output and stands for None; {instead}"
            )
        return True

    def failed(self, combination: Combination, what: str, advice: str = "") -> ExpansionError:
        """Make the error that names the segment, the expression and the elements."""
        shown = self.used or range(len(self.context.sources))
        elements = ", ".join(f"{self.context.sources[at].name}={self._short(at, combination[at])}" for at in shown)
        if not advice:
            advice = f"Correct it in the #multiplex line of {self.context.segment!r}, or mend what the parents put out."
            if self.context.kind == "union":
                advice += " In a union, the parents from which an input does not come are None."
        return ExpansionError(f"{self._head()} {what} for {elements}. {advice}")

    def _head(self) -> str:
        return f"segment {self.context.segment!r}: {self.role} `{self.text}`"

    def _short(self, at: int, index: int | None) -> str:
        if at not in self.used and index is not None:
            return self.context.sources[at].elements[index].text
        return " ".join(_SHORT.repr(self.context.object(at, index)).split())


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxtuple = _SHORT.maxlist = 8


# ---- where


@dataclass
class _Chosen:
    """The combinations that are inputs, or elements of a class."""

    combinations: Iterable[Combination]
    #: Where they are a whole product: the indices of each parent.
    rectangle: Sequence[Sequence[int]] | None = None


def _choose(context: _Context, directive: Multiplex) -> _Chosen:
    sources = context.sources
    sizes = [len(source) for source in sources]
    clause = None if directive.where is None else _Clause("where", directive.where, context)
    if directive.kind == "cross_prod" and len(sources) > 1:
        return _of_product(clause, context, sizes)
    combinations: Sequence[Combination]
    combinations = EachAlone(sizes) if directive.kind == "union" else Diagonal(len(sources), sizes[0])
    if clause is not None:
        return _Chosen(_filtered(clause, combinations))
    return _Chosen(combinations, [range(sizes[0])] if len(sources) == 1 else None)


def _of_product(clause: _Clause | None, context: _Context, sizes: Sequence[int]) -> _Chosen:
    ranges = [range(size) for size in sizes]
    if clause is None or not all(sizes):
        return _Chosen(Rectangle(ranges), ranges)
    selection = select(clause.expression.tree, context.names, sizes, context.object)
    if selection.rest is not None:
        rest = from_tree(selection.rest, clause.text)
        return _Chosen(_filtered(clause, selection.combinations, rest))
    if selection.whole:
        return _Chosen(Rectangle(selection.alive), selection.alive)
    return _Chosen(selection.combinations)


def _filtered(
    clause: _Clause, combinations: Iterable[Combination], expression: Expression | None = None
) -> Iterator[Combination]:
    for combination in combinations:
        try:
            wanted = bool(clause.evaluate(combination, expression))
        except ExpansionError:
            raise
        except Exception as error:
            if not clause.excuses(error, "counted as true"):
                raise clause.failed(combination, f"raised {type(error).__name__}: {error}") from error
            wanted = True
        if wanted:
            yield combination


# ---- group_by


def _grouped(clause: _Clause, chosen: _Chosen) -> Inputs:
    rectangle = chosen.rectangle
    by_one = None if rectangle is None else _classes_by_one(clause, rectangle)
    if by_one is None or rectangle is None:
        return _merged(clause, _classes(clause, chosen.combinations), None, {})
    classes, only = by_one
    whole = {at: indices for at, indices in enumerate(rectangle) if at != only}
    return _merged(clause, classes, only, whole)


def _classes(clause: _Clause, combinations: Iterable[Combination]) -> dict[object, list[Combination]]:
    """The combinations of each class, in the order of their first ones."""
    classes: dict[object, list[Combination]] = {}
    for combination in combinations:
        try:
            value = clause.evaluate(combination)
        except ExpansionError:
            raise
        except Exception as error:
            if not clause.excuses(error, "its class is None"):
                raise clause.failed(combination, f"raised {type(error).__name__}: {error}") from error
            value = None
        try:
            classes.setdefault(value, []).append(combination)
        except Exception as error:
            what = f"gave {_SHORT.repr(value)}, which can't name a class ({type(error).__name__}: {error}),"
            advice = "The value must be hashable: a tuple instead of a list or an array, for example."
            raise clause.failed(combination, what, advice) from error
    return classes


def _classes_by_one(
    clause: _Clause, rectangle: Sequence[Sequence[int]]
) -> tuple[dict[object, list[int]], int | None] | None:
    """Find the classes without running through the product, if the expression looks at one parent or none.

    Returns the classes, each with the indices of the elements of that parent, and its place; ``None`` when the product
    must be run through.
    """
    context = clause.context
    guarded = guard(clause.expression.tree, context.names)
    if guarded is None or len(guarded.names) > 1 or not all(rectangle):
        return None
    try:
        if not guarded.names:
            value = guarded.evaluate({})
            hash(value)
            return {value: []}, None
        (name,) = guarded.names
        only = context.names.index(name)
        values = guarded.column(name, [context.object(only, index) for index in rectangle[only]])
        classes: dict[object, list[int]] = {}
        for index, value in zip(rectangle[only], values, strict=True):
            found = classes.get(value)
            if found is None:
                classes[value] = [index]
            else:
                found.append(index)
        return classes, only
    except Exception:
        # The run through the product meets it again and reports it, or excuses it.
        return None


def _merged(
    clause: _Clause,
    classes: dict[object, list[int]] | dict[object, list[Combination]],
    only: int | None,
    whole: dict[int, Sequence[int]],
) -> Inputs:
    """Make one input of each class, of which the parents in `whole` give all these elements to each.

    The others are named by indices of the parent ``only``, or by combinations.
    """
    merged: dict[bytes, tuple[object, list[Any]]] = {}
    for value, items in classes.items():
        try:
            digest = value_digest(value)
        except FingerprintError as error:
            what = f"gave {_SHORT.repr(value)}, which can't name a class ({error}),"
            advice = "Use a plain value: a number, a text, or a tuple of such."
            raise clause.failed(_first(clause.context, items, only, whole), what, advice) from error
        # Values that Python holds apart and that are the same in a record: NaN, objects without a comparison.
        found = merged.get(digest)
        if found is None:
            merged[digest] = (value, items)
        else:
            found[1].extend(items)
    return Classes(clause.context.sources, merged, only, whole)


def _first(
    context: _Context, items: Sequence[Any], only: int | None, whole: dict[int, Sequence[int]]
) -> Combination:
    """The first combination of a class."""
    if not whole and only is None:
        first: Combination = items[0]
        return first
    return tuple([items[0] if at == only else whole[at][0] for at in range(len(context.sources))])
