"""Whether a script may ask for what its ancestors left."""

from __future__ import annotations

import pytest

from pipelet.core.lookups import ancestors_named, looks_up


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


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("x = 1", set()),
        ('get_data_fn("x")', set()),
        ('get_data_fn("x", None)', set()),
        ('get_data_fn(basename="x", seg=None)', set()),
        ('get_data_fn("x", "a")', {"a"}),
        ('get_data_fn("x", "a", "b")', {"a"}),
        ('get_data_fn("x", seg="a")', {"a"}),
        ('get_data_fn(seg="a", basename="x")', {"a"}),
        ('load_param("a", globals(), ["p"])', {"a"}),
        ('load_param(seg="a", glo=globals())', {"a"}),
        ('load_param("a", g)\nif x:\n    get_data_fn("y", "b")\nload_param("a", h)', {"a", "b"}),
        ('get_data_fn(get_data_fn("x", "a"), "b")', {"a", "b"}),
        ('glob_parent("*", "c")\nother.load_param("d")\nother("e", "f")', set()),
    ],
)
def test_the_segments_that_a_source_names(source, names):
    assert ancestors_named(source) == names


@pytest.mark.parametrize(
    "source",
    [
        'get_data_fn("x", where)',
        'get_data_fn("x", "a" + "b")',
        'get_data_fn("x", 1)',
        'load_param(name, globals())\nload_param("a", globals())',
        'load_param(*("a", globals()))',
        'get_data_fn("x", *more)',
        'get_data_fn("x", **more)',
        'get_data_fn("x", "a", **more)',
        "find = get_data_fn",
        'load_param("a", globals())\nmap(load_param, names)',
        'globals()["load_param"]("a")',
        'globals()["get_data_fn"]("x", "a")',
        "x = (",
        "x\0",
    ],
)
def test_segments_that_can_not_be_told(source):
    assert ancestors_named(source) is None
