"""Whether a script may ask for what its ancestors left, told from its source."""

from __future__ import annotations

import ast

#: Calls that always look at ancestors, and the one that does when it is given a segment.
_ALWAYS = frozenset({"glob_parent", "load_param"})
_WITH_SEGMENT = "get_data_fn"
#: Where these functions take the segment's name.
_SEGMENT_PLACE = {"load_param": 0, "get_data_fn": 1}


def ancestors_named(source: str) -> frozenset[str] | None:
    """The segments that a source names when it asks for ancestor tasks, beside those that `glob_parent` looks at.

    Parameters
    ----------
    source
        Python source.

    Returns
    -------
    frozenset of str or None
        Literal first arguments of ``load_param`` and second ones of ``get_data_fn``; ``None`` where one is computed, or
        where a function is used in another way than called.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return None
    names: set[str] = set()
    called: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SEGMENT_PLACE:
            called.add(id(node.func))
            asked = _segment_of(node, _SEGMENT_PLACE[node.func.id])
            if asked is None:
                return None
            names |= asked
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in _SEGMENT_PLACE and id(node) not in called:
            return None
        if isinstance(node, ast.Constant) and node.value in tuple(_SEGMENT_PLACE):
            return None
    return frozenset(names)


def _segment_of(call: ast.Call, place: int) -> set[str] | None:
    """The segment that a call names: none, one, or ``None`` where it can't be told."""
    if any(isinstance(argument, ast.Starred) for argument in call.args) or any(
        keyword.arg is None for keyword in call.keywords
    ):
        return None
    given = [keyword.value for keyword in call.keywords if keyword.arg == "seg"] + call.args[place : place + 1]
    if not given:
        return set()
    value = given[0].value if isinstance(given[0], ast.Constant) else 0
    if value is None:
        return set()
    return {value} if isinstance(value, str) else None


def looks_up(source: str) -> bool:
    """Whether the source names a function that asks for ancestor tasks.

    ``get_data_fn`` counts when it is called with more than one argument, or used in another way than called: only a
    plain ``get_data_fn(name)`` surely stays in the task's own directory.

    Parameters
    ----------
    source
        Python source. One that can't be parsed counts as asking.
    """
    if not any(name in source for name in (*_ALWAYS, _WITH_SEGMENT)):
        return False
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return True
    plain = {
        id(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and len(node.args) == 1
        and not node.keywords
        and not isinstance(node.args[0], ast.Starred)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id in _ALWAYS or (node.id == _WITH_SEGMENT and id(node) not in plain):
                return True
        elif isinstance(node, ast.Constant) and node.value in (*_ALWAYS, _WITH_SEGMENT):
            return True
    return False
