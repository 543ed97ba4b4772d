"""The fingerprint of code, and what can be read from code without running it."""

from __future__ import annotations

import ast
import math
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core import codeprint
from pipelet.core.codeprint import called_with_names, code_digest, hook_calls, imported_names
from pipelet.errors import CodeError


def digest(source: str) -> str:
    return code_digest(source, "melt.py")


def equal(*sources: str) -> None:
    for source in sources[1:]:
        assert digest(source) == digest(sources[0]), source


def differ(*sources: str) -> None:
    found: dict[str, str] = {}
    for source in sources:
        assert found.setdefault(digest(source), source) is source, f"{source!r} and {found[digest(source)]!r}"


# ------------------------------------------------------------------------------------------------- what does not matter


def test_digest_is_hexadecimal() -> None:
    assert len(digest("")) == 32
    int(digest(""), 16)


def test_comments_and_layout_do_not_matter() -> None:
    equal(
        "x = f(1, 2)\nif x:\n    y = [1, 2]\n",
        "# a comment\n\nx = f(1,2)  # another\n\n\nif x :\n  y=[1,\n     2,]\n",
        "x = (f(\n  1,\n  2))\nif (x): y = [1, 2]",
        "x = f(1, 2);\r\nif x:\r\n\ty = [ 1, 2 ]\r\n",
        "#!/usr/bin/env python\n# -*- coding: utf-8 -*-\n\nx = \\\n  f(1, 2)\nif x:\n    y = [1, 2]  # type: int\n\n#",
    )
    equal("x: int = 1 # type: int", "x: int = 1")
    equal("'a'", '"a"', "'''a'''", "u'a'", "'\\x61'", "('a')", "'' 'a'")
    equal("1000", "1_000", "0x3e8", "(1000)")
    equal("1.0", "1.", "1e0", "10e-1")
    equal("x = 1, 2", "x = (1, 2)", "x = (1, 2,)")
    equal("f'{x}'", 'f"{x}"', "'' f'{x}' ''", "f'' f'{x}'", "F'{x }'", "fr'{x}'")
    equal("f'a{x}b'", "'a' f'{x}' 'b'", "f'a{x}' f'b'")
    equal("f'{x:{y}}'", "f'{x:{y}}' ''")


def test_directive_comments_are_comments_here() -> None:
    equal("#multiplex union\nx = 1", "x = 1")


# ----------------------------------------------------------------------------------------------------- what does matter


def test_code_matters() -> None:
    differ(
        "",
        "x",
        "y",
        "x = 1",
        "x = 2",
        "x = y",
        "x == y",
        "x; y",
        "y; x",
        "x()",
        "x(y)",
        "x(y=y)",
        "x(*y)",
        "x(**y)",
        "x.y",
        "x[y]",
        "del x",
        "x += 1",
        "x: y",
        "x: y = 1",
        "(x): y = 1",
        "x + y",
        "x - y",
        "y - x",
        "-x",
        "+x",
        "not x",
        "x and y",
        "x or y",
        "x and y and z",
        "(x and y) and z",
        "x < y",
        "x < y < z",
        "x if y else z",
        "[x]",
        "(x,)",
        "{x}",
        "{x: y}",
        "{**x}",
        "{x: y, **z}",
        "{**z, x: y}",
        "[x for x in y]",
        "(x for x in y)",
        "{x for x in y}",
        "{x: x for x in y}",
        "[x for x in y if z]",
        "[x for x in y for z in y]",
        "x[y:z]",
        "x[:y]",
        "x[y:]",
        "x[::y]",
        "x[y, z]",
        "lambda: x",
        "lambda x: x",
        "lambda x=1: x",
        "lambda *x: x",
        "lambda *, x: x",
        "lambda x, /: x",
        "(x := 1)",
        "if x: y",
        "if x: y\nelse: z",
        "while x: y",
        "while x: y\nelse: z",
        "for x in y: z",
        "for x in y: z\nelse: x",
        "try: x\nexcept: y",
        "try: x\nexcept y: y",
        "try: x\nexcept y as z: y",
        "try: x\nfinally: y",
        "with x: y",
        "with x as z: y",
        "with x, z: y",
        "raise x",
        "raise x from y",
        "assert x",
        "assert x, y",
        "pass",
        "import x",
        "import x as y",
        "import x.y",
        "from x import y",
        "from . import y",
        "from .x import y",
        "from ..x import y",
        "from x import y as z",
        "from x import *",
        "def f(): pass",
        "def f(): return",
        "def f(): return None",
        "def f(): yield",
        "def f(): yield x",
        "def f(): yield from x",
        "def f(x): pass",
        "def f(x: y): pass",
        "def f() -> y: pass",
        "def f():\n global x",
        "def f():\n global x, y",
        "@x\ndef f(): pass",
        "async def f(): pass",
        "async def f(): await x",
        "async def f(): return [x async for x in y]",
        "async def f(): return [x for x in y]",
        "class f: pass",
        "class f(x): pass",
        "class f(x=x): pass",
        "match x:\n case 1: pass",
        "match x:\n case True: pass",
        "match x:\n case None: pass",
        "match x:\n case _: pass",
        "match x:\n case y: pass",
        "match x:\n case [y]: pass",
        "match x:\n case [*y]: pass",
        "match x:\n case {1: y}: pass",
        "match x:\n case {1: y, **z}: pass",
        "match x:\n case y(z): pass",
        "match x:\n case y(z=z): pass",
        "match x:\n case 1 | 2: pass",
        "match x:\n case 1 as y: pass",
        "match x:\n case 1 if y: pass",
    )


def test_docstrings_matter() -> None:
    differ("x = 1", "'''doc'''\nx = 1", "'''other doc'''\nx = 1", "'''doc'''\n'''doc'''\nx = 1")
    differ("def f():\n 'a'\n pass", "def f():\n 'b'\n pass", "def f():\n pass")


def test_types_of_constants_matter() -> None:
    differ("1", "True", "1.0", "1j", "'1'", "b'1'", "1.5", "2", "-1", "False", "0", "0.0", "-0.0", "0j")
    differ("None", "...", "''", "b''", "()", "[]", "0", "False", "'None'", "None_")
    differ("1e999", "-1e999", "1e308", "1e999j", "0x" + "f" * 5000, "0x" + "f" * 4999 + "e")
    differ("x = '\\ud800'", "x = '\\udc00'", "x = '?'", "x = '\\U0001f600'", "x = '\\ud83d\\ude00'")
    differ("'a'", "'a\\0'", "'a '", "'A'", "'\\n'", "r'\\n'", "b'\\n'")


def test_parts_of_f_strings_matter() -> None:
    differ(
        "f'{x}'",
        "'{x}'",
        "f'{{x}}'",
        "f'{x!r}'",
        "f'{x!s}'",
        "f'{x=}'",
        "f'{x:y}'",
        "f'{x:{y}}'",
        "f'{x:{y}z}'",
        "f'{x:z{y}}'",
        "f'{x}{y}'",
        "f'{x} {y}'",
        "f'{y}{x}'",
        "f' {x}'",
        "f'{x} '",
        "f''",
        "''",
        "f'{\"x\"}'",
    )


def test_places_of_statements_matter() -> None:
    differ("if x:\n a\n b", "if x:\n a\nb", "if x:\n a\nelse:\n b")
    differ("f(a, b)", "f(b, a)", "f((a, b))", "f(a)(b)", "f([a, b])")
    differ("x = y = 1", "y = x = 1", "x, y = 1", "x = (y, 1)")
    differ("global_ = 'a', 'b'", "global_ = 'ab'", "global_ = 'a' 'bc'")


@settings(deadline=None, max_examples=200)
@given(
    st.recursive(st.sampled_from(["1", "x", "'a'", "1.0"]), lambda s: st.tuples(s, s).map("({0[0]} + {0[1]})".format))
)
def test_a_source_and_its_tree_written_again_are_equal(source: str) -> None:
    equal(source, ast.unparse(ast.parse(source)))


@settings(deadline=None)
@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.binary(), st.booleans(), st.none()))
def test_constants_are_told_from_all_others(value: object) -> None:
    others = [0, 0.0, False, None, "", b"", 1, True, 1.0]
    same = [
        other
        for other in others
        if type(other) is type(value)
        and other == value
        and not (type(value) is float and math.copysign(1, value) != math.copysign(1, float(str(other))))
    ]
    found = [other for other in others if codeprint._constant_code(other) == codeprint._constant_code(value)]
    assert list(map(repr, found)) == list(map(repr, same))


def test_an_unknown_constant_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        codeprint._constant_code(object())


# ----------------------------------------------------------------------------------------- differences between versions


def test_fields_that_hold_nothing_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = ast.parse("def f(): pass")
    plain = list(codeprint._codes(tree))
    fields = codeprint._field_names(ast.FunctionDef)
    monkeypatch.setitem(codeprint._FIELDS, ast.FunctionDef, ("novel", *fields))
    assert list(codeprint._codes(tree)) == plain
    for nothing in ([], None, 0):
        tree.body[0].novel = nothing
        assert list(codeprint._codes(tree)) == plain
    tree.body[0].novel = [ast.Pass()]
    assert list(codeprint._codes(tree)) != plain


def test_empty_and_split_constants_of_f_strings_are_merged() -> None:
    spec = ast.JoinedStr(
        [ast.FormattedValue(ast.Name("y"), -1), ast.Constant(""), ast.Constant("a"), ast.Constant("b")]
    )
    split = ast.Module([ast.Expr(ast.JoinedStr([ast.Constant(""), ast.FormattedValue(ast.Name("x"), -1, spec)]))], [])
    assert list(codeprint._codes(split)) == list(codeprint._codes(ast.parse("f'{x:{y}ab}'")))
    parts = [ast.Constant("a"), ast.Constant("b"), ast.FormattedValue(ast.Name("x"), -1), ast.Constant("c")]
    split = ast.Module([ast.Expr(ast.JoinedStr(parts))], [])
    assert list(codeprint._codes(split)) == list(codeprint._codes(ast.parse("f'ab{x}c'")))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type parameters came with Python 3.12")
def test_type_parameters_matter() -> None:
    differ("def f(): pass", "def f[T](): pass", "def f[S](): pass", "def f[T: int](): pass", "type X = int", "X = int")


#: Fingerprints that stand in people's trees. Whoever changes one has to count CODE_VERSION up.
KNOWN: list[tuple[str, str]] = [
    ("", "438cbff2bb576a8a14ec86965fe504a3"),
    ("x = 1\n", "2fae586f01fd5acfa86b16b9281d648d"),
    ("def f(a, *b, c=1, **d) -> int:\n    'doc'\n    return a + b[0]\n", "633e9121c966b4b8ec9c76eb42cd34cf"),
    ("print(f'{x!r:>{w}.{p}} and {y}')", "5ac0a5c262b887ca829d4224043dea8b"),
    ("class A(B, metaclass=C):\n    x: int = 0x10\n", "c2f1ed2d9866798eddd95e246cee6024"),
    ("import a.b as c\nfrom .d import e\n", "ee9c8181c1d75573ac14b6dd1877e88f"),
    ("z = {1: True, None: 1.0, **k}, b'a', 'é', ..., 2j\n", "a8f3f50e8bcbcadd5e1b1c1abe23682f"),
]


@pytest.mark.parametrize(("source", "known"), KNOWN)
def test_digests_stay_what_they_are(source: str, known: str) -> None:
    assert codeprint.CODE_VERSION == 1
    assert digest(source) == known


def test_the_version_is_part_of_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest("x = 1")
    monkeypatch.setattr(codeprint, "CODE_VERSION", 2)
    code_digest.cache_clear()
    after = digest("x = 1")
    code_digest.cache_clear()
    assert after != before


def test_the_file_name_is_no_part_of_the_digest() -> None:
    assert code_digest("x", "a.py") == code_digest("x", "b/c.py")


# ------------------------------------------------------------------------------------------------------------ bad code


def refused(source: str) -> str:
    with pytest.raises(CodeError) as caught:
        digest(source)
    text = str(caught.value)
    assert text.startswith("melt.py")
    return text


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("x = 1\ny = = 2\n", 2, 5),
        ("return 1", 1, 1),
        ("x = 1\nif x:\n  break\n", 3, 3),
        ("def f():\n    nonlocal x\n", 2, 5),
        ("x = 1\nfrom __future__ import annotations", 2, 1),
        ("x = [\n", 1, 5),
        ("x = 'a\n", 1, 5),
        ("if x:\ny\n", 2, 1),
        ("x = 1\ny\0 = 2", 2, 2),
        ("x\0 = 1\ny\0 = 2", 1, 2),
        ("x = 1\n\ny = '\ud800'", 3, 6),
        ("\tx y", 1, 1),
        ("é = 'é' é", 1, 9),
    ],
)
def test_an_error_says_where(source: str, line: int, column: int) -> None:
    first = refused(source).splitlines()[0]
    assert first.startswith(f"melt.py, line {line}, column {column}: "), first
    assert len(first) > len(f"melt.py, line {line}, column {column}: ") + 5


def test_an_error_shows_the_line_with_a_mark() -> None:
    assert refused("x = 1\ny = = 2\n").splitlines()[1:] == ["    y = = 2", "        ^"]
    assert refused("if 1:\n\tx y\n").splitlines()[1:] == ["     x y", "       ^"]
    shown, mark = refused("x = '" + "a" * 500 + "' y").splitlines()[1:]
    assert len(shown) < 130
    assert shown[len(mark) - 1] in "'y"
    shown, mark = refused("x y" + "a" * 500).splitlines()[1:]
    assert len(shown) < 130


def test_an_error_where_there_is_no_line() -> None:
    error = SyntaxError("odd")
    assert str(codeprint._code_error(error, "", "melt.py")) == "melt.py, line 1, column 1: odd"
    error = SyntaxError("odd", ("melt.py", 9, 2, None))
    assert str(codeprint._code_error(error, "x", "melt.py")) == "melt.py, line 9, column 2: odd"
    error = SyntaxError("odd", ("melt.py", 1, -1, None))
    assert str(codeprint._code_error(error, "x", "melt.py")).startswith("melt.py, line 1, column 1: odd\n")


def test_other_errors_are_code_errors_too() -> None:
    text = str(codeprint._code_error(ValueError("odd"), "x", "melt.py"))
    assert text == "melt.py: Python can't compile it (ValueError: odd)"
    encoding = UnicodeEncodeError("utf-8", "\ud800", 0, 1, "odd")
    assert "save the file" not in str(codeprint._code_error(encoding, "'\\ud800'", "melt.py"))
    assert "save the file as UTF-8" in str(codeprint._code_error(encoding, "\ud800", "melt.py"))


@pytest.mark.parametrize(
    "source",
    ["-" * 100000 + "1", "a" + "+a" * 100000, "a" + ".b" * 100000, "(" * 1000 + ")" * 1000, "not " * 50000 + "a"],
)
def test_too_deep_for_python(source: str) -> None:
    text = refused(source)
    assert "nested" in text
    assert len(text) < 400


def test_long_chains_that_python_takes() -> None:
    equal("x" + "+x" * 400, "(x)" + " + x" * 400)
    differ("x" + "+x" * 400, "x" + "+x" * 401)
    equal("a=" * 5000 + "1", "a = " * 5000 + "1")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="annotations are put off there, whatever a module says")
def test_it_is_compiled_as_it_stands_not_as_the_engine_is() -> None:
    source = "def f(x: (y := 1)): pass"
    digest(source)
    assert "line 2" in refused(f"from __future__ import annotations\n{source}")


def test_the_cause_is_kept() -> None:
    with pytest.raises(CodeError) as caught:
        digest("return 1")
    assert isinstance(caught.value.__cause__, SyntaxError)


def test_warnings_of_the_compiler_are_not_ours_to_show() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        equal("x = '\\d'", "x = '\\\\d'")
        differ("x is 1", "x == 1")
        assert hook_calls("1 is 1; x = '\\d'; hook('a', {})") == {"a"}


# --------------------------------------------------------------------------------------------------- names in the code


def test_hook_calls() -> None:
    assert hook_calls("x = 1") == frozenset()
    assert hook_calls("hook('plot', globals())") == {"plot"}
    assert hook_calls("if x:\n  hook('a', globals())\ndef f():\n  return [hook('b', g) for g in h]") == {"a", "b"}
    assert hook_calls("hook('a' 'b', globals())") == {"ab"}
    assert hook_calls("hook(hookname='a', glo=globals())") == {"a"}
    assert hook_calls("hook(glo=globals(), hookname='a')") == {"a"}
    assert hook_calls("other('a'); x.hook('b'); 'hook'; y.hook") == frozenset()


@pytest.mark.parametrize(
    "source",
    [
        "hook(name, globals())",
        "hook('a', globals()); hook(name, globals())",
        "hook(f'a{x}', globals())",
        "hook('a' + 'b', globals())",
        "hook('a' if x else 'b', globals())",
        "hook(*names)",
        "hook(**names)",
        "hook(glo='x')",
        "hook()",
        "hook(b'a')",
        "hook(1)",
        "h = hook; h('a')",
        "hook('a', globals()); map(hook, names)",
        "hook = other",
    ],
)
def test_computed_hooks(source: str) -> None:
    assert hook_calls(source) is None


def test_called_with_names() -> None:
    assert called_with_names("glob_seg('a', '*'); glob_seg('b', '*'); hook(x)", "glob_seg") == {"a", "b"}
    assert called_with_names("glob_seg(regexp='*', seg='a')", "glob_seg", "seg") == {"a"}
    assert called_with_names("glob_seg(regexp='*', seg='a')", "glob_seg") is None
    assert called_with_names("glob_seg(x, '*')", "glob_seg") is None


def test_imported_names() -> None:
    source = """
import os, numpy.linalg as la
from scipy.ndimage import gaussian_filter
from . import sibling
from .other import thing
def f():
    import healpy
    if x:
        from lib import *
importlib.import_module("astropy.io")
import_module(name="camb")
importlib.import_module(".relative", "package")
importlib.import_module(computed)
__import__("ducc0")
other("json")
"""
    assert imported_names(source) == {
        *("os", "numpy.linalg", "scipy.ndimage", "healpy", "lib", "astropy.io", "camb", "ducc0"),
    }
    assert imported_names("") == frozenset()


def test_errors_of_the_readers_name_the_file() -> None:
    for reader in (hook_calls, imported_names):
        with pytest.raises(CodeError, match=r"^melt\.py, line 1, column 5: "):
            reader("x = = 1", "melt.py")
        with pytest.raises(CodeError, match=r"^<source>, line 1"):
            reader("x = = 1")
    with pytest.raises(CodeError, match=r"^melt\.py, line 1, column 5: "):
        called_with_names("x = = 1", "f", filename="melt.py")
    with pytest.raises(CodeError, match=r"^<source>, line 1"):
        called_with_names("x = = 1", "f")
