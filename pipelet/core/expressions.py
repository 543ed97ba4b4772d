"""Python expressions of directives: parsed once, evaluated with the parents' names bound.

The names are bound as globals, since a comprehension does not see the locals of ``eval``.
"""

from __future__ import annotations

import ast
import builtins
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import CodeType

#: Builtins through which an expression can reach names that don't stand in it.
DYNAMIC = frozenset({"eval", "exec", "globals", "locals", "vars", "dir"})
BUILTINS = frozenset(dir(builtins))


@dataclass(frozen=True)
class Expression:
    """An expression that can be evaluated.

    Attributes
    ----------
    text
        As the user wrote it.
    tree, code
        Its syntax tree and its code.
    names
        The names that it takes from outside.
    """

    text: str
    tree: ast.expr
    code: CodeType
    names: frozenset[str]

    def uses(self, name: str) -> bool:
        """Whether the value may depend on what `name` is bound to."""
        return name in self.names or not DYNAMIC.isdisjoint(self.names)

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """Evaluate with these names bound; whatever the expression raises goes through."""
        value: object = eval(self.code, {"__builtins__": builtins, **bindings})
        return value


def parse_expression(text: str, filename: str = "<directive>") -> Expression:
    """Parse and compile an expression.

    Parameters
    ----------
    text
        The source, one line without blanks around it.
    filename
        What a traceback calls the place.

    Returns
    -------
    Expression

    Raises
    ------
    SyntaxError
        It is no expression.
    """
    try:
        with warnings.catch_warnings():
            # Style warnings of the compiler would turn into errors where warnings are errors.
            warnings.simplefilter("ignore")
            return from_tree(ast.parse(text, filename, "eval").body, text, filename)
    except (ValueError, MemoryError, RecursionError, OverflowError) as error:
        raise SyntaxError(f"too large or not text: {error}", (filename, 1, 1, text)) from error


def from_tree(tree: ast.expr, text: str, filename: str = "<directive>") -> Expression:
    """Compile the tree of an expression, or a part of one; `text` is what errors show."""
    code = compile(ast.Expression(tree), filename, "eval")
    return Expression(text, tree, code, frozenset(_free(tree)))


def unknown_names(expression: Expression, parents: Collection[str]) -> list[str]:
    """Return the names that are bound nowhere, in alphabetical order."""
    assigned = {node.target.id for node in ast.walk(expression.tree) if isinstance(node, ast.NamedExpr)}
    return sorted(expression.names - assigned - BUILTINS - set(parents))


def _free(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Lambda):
        every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        own = {argument.arg for argument in every if argument is not None}
        return (_free(node.body) - own) | _free_in(node.args.defaults) | _free_in(filter(None, node.args.kw_defaults))
    if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        own = {name for part in node.generators for name in stored_names(part.target)}
        return _free(node.generators[0].iter) | (_free_in(ast.iter_child_nodes(node)) - own)
    return _free_in(ast.iter_child_nodes(node))


def _free_in(nodes: Iterable[ast.AST]) -> set[str]:
    return set().union(*map(_free, nodes))


def stored_names(tree: ast.AST) -> set[str]:
    """Return the names that a part of an expression binds itself."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
