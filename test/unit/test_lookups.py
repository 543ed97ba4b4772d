"""Whether a script may ask for what its ancestors left."""

from __future__ import annotations

import pytest

from pipelet.core.lookups import looks_up


@pytest.mark.parametrize(
    "source",
    [
        'glob_parent("*.txt")',
        'load_param("a", globals())',
        'get_data_fn("x", "a")',
        'get_data_fn("x", seg="a")',
        'get_data_fn(basename="x", seg="a")',
        'get_data_fn(*("x", "a"))',
        'get_data_fn("x", **where)',
        "find = get_data_fn\nfind('x', 'a')",
        "helper(get_data_fn)",
        'globals()["glob_parent"]("x")',
        'globals()["get_data_fn"]("x", "a")',
        "def inner():\n    return [glob_parent(name) for name in names]",
        'get_data_fn("x")\nget_data_fn("x", "a")',
        'get_data_fn(get_data_fn("x", "a"))',
        "glob_parent(",
        'get_data_fn("x"\0',
    ],
)
def test_these_ask(source):
    assert looks_up(source)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "x = 1",
        'get_data_fn("x")',
        'open(get_data_fn("x"), "w").write(get_data_fn("y"))',
        '"""It could use glob_parent(...), but does not."""',
        "# glob_parent('x')\nx = 1",
        "x = (",
        'glob_seg("a", "x")',
        "my_glob_parent = 1",
    ],
)
def test_these_do_not(source):
    assert not looks_up(source)
