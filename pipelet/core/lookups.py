"""Whether a script may ask for what its ancestors left, told from its source."""

from __future__ import annotations

import ast

#: Calls that always look at ancestors, and the one that does when it is given a segment.
_ALWAYS = frozenset({"glob_parent", "load_param"})
_WITH_SEGMENT = "get_data_fn"


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
