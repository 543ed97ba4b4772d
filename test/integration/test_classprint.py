"""The fingerprint of environment classes from modules, from scripts that are run, and from notebooks."""

from __future__ import annotations

import importlib
import linecache
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelet import codebase
from pipelet.codebase import environment_fingerprint
from pipelet.environment import Environment, EnvironmentBase
from pipelet.errors import CodeError

BASE = "from pipelet.environment import Environment\n"
CLASS = '''class Mine(Environment):
    """Mine."""
    def double(self, x):
        return 2 * x
'''


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[..., type]]:
    """Write a module and give a class of it, each time anew."""
    path, loaded = list(sys.path), set(sys.modules)

    def loader(text: str, name: str = "Mine", folder: Path = tmp_path, module: str = "envmodule") -> type:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{module}.py").write_text(text)
        sys.path[:0] = [str(folder)]
        sys.modules.pop(module, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            found = importlib.import_module(module)
        finally:
            sys.dont_write_bytecode = before
        for part in name.split("."):
            found = getattr(found, part)
        assert isinstance(found, type)
        return found

    yield loader
    sys.path[:] = path
    for name in set(sys.modules) - loaded:
        del sys.modules[name]


def run(script: str, tmp_path: Path) -> list[str]:
    (tmp_path / "script.py").write_text(script)
    here = Path(codebase.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_our_own_classes_have_none() -> None:
    assert environment_fingerprint(Environment) == ""
    assert environment_fingerprint(EnvironmentBase) == ""


def test_a_class_from_a_module(load: Callable[..., type], tmp_path: Path) -> None:
    before = environment_fingerprint(load(BASE + CLASS))
    assert before
    same = [
        BASE + "\n\n# a remark\n" + CLASS.replace("2 * x", "(2 *  x)  # twice"),
        BASE + "def helper(): pass\n" + CLASS + "\nclass Other: pass\n",
        BASE + CLASS.replace("\n", "\r\n"),
    ]
    assert [environment_fingerprint(load(text)) for text in same] == [before] * 3
    assert environment_fingerprint(load(BASE + CLASS, folder=tmp_path / "moved")) == before
    other = [
        BASE + CLASS.replace("2 * x", "3 * x"),
        BASE + CLASS + "    attribute = 1\n",
        BASE + CLASS.replace("def double(self, x)", "def double(self, x=1)"),
        BASE + "def twice(cls): return cls\n@twice\n" + CLASS,
    ]
    assert len({before, *(environment_fingerprint(load(text)) for text in other)}) == 5


def test_the_users_bases_count(load: Callable[..., type]) -> None:
    mixin = "import abc\nclass Mixin(abc.ABC):\n    def f(self): return 1\n"
    mine = BASE + mixin + CLASS.replace("Environment)", "Mixin, Environment)")
    before = environment_fingerprint(load(mine))
    assert environment_fingerprint(load(mine.replace("return 1", "return 2"))) != before
    assert environment_fingerprint(load(mine + "class Unrelated:\n    pass\n")) == before


def test_bases_from_installed_packages_count_when_they_are_environments(
    load: Callable[..., type], tmp_path: Path
) -> None:
    site = tmp_path / "site-packages"
    mine = "from installed import Theirs\n" + CLASS.replace("Environment", "Theirs") + "    e = {}\n"

    def fingerprint(text: str, own: str) -> str:
        load(text, "Theirs", site, "installed")
        return environment_fingerprint(load(own))

    environment = BASE + "class Theirs(Environment):\n    x = {}\n"
    own = mine.format(1)
    assert fingerprint(environment.format(1), own) != fingerprint(environment.format(2), own)
    mixed = BASE + mine.format(1).replace("(Theirs)", "(Theirs, Environment)")
    assert fingerprint("class Theirs:\n    x = 1\n", mixed) == fingerprint("class Theirs:\n    x = 2\n", mixed)


def test_nested_wrapped_and_repeated_classes(load: Callable[..., type]) -> None:
    text = BASE + (
        "import functools\n"
        "def wrap(f):\n"
        "    @functools.wraps(f)\n"
        "    def g(*a): return f(*a)\n"
        "    return g\n"
        "class Outer:\n"
        "    class Mine(Environment):\n"
        "        text = '''a\n"
        "b'''\n"
        "        @property\n"
        "        def p(self): return 1\n"
        "        @staticmethod\n"
        "        def s(): return 2\n"
        "        @wrap\n"
        "        def w(self): return 3\n"
        "def make():\n"
        "    class Mine(Environment):\n"
        "        k = lambda self: 4\n"
        "    return Mine\n"
        "if True:\n"
        "    class Mine(Environment):\n"
        "        def f(self): return 5\n"
        "    First = Mine\n"
        "    class Mine(Environment):\n"
        "        def f(self): return 6\n"
        "Made = make()\n"
    )
    names = ["Outer.Mine", "Made", "First", "Mine"]
    before = {name: environment_fingerprint(load(text, name)) for name in names}
    assert len(set(before.values())) == 4
    for digit, changed in [("1", 0), ("2", 0), ("3", 0), ("4", 1), ("5", 2), ("6", 3)]:
        edited = text.replace(f"return {digit}", "return 9").replace(f"self: {digit}", "self: 9")
        after = {name: environment_fingerprint(load(edited, name)) for name in names}
        assert [name for name in names if after[name] != before[name]] == [names[changed]]
    shifted = environment_fingerprint(load(text.replace("b'''", " b'''"), "Outer.Mine"))
    assert shifted != before["Outer.Mine"]


def test_of_several_definitions_without_functions_the_last_stands(load: Callable[..., type]) -> None:
    text = BASE + "class Mine(Environment):\n    x = 1\nclass Mine(Environment):\n    x = 2\n"
    before = environment_fingerprint(load(text))
    assert environment_fingerprint(load(text.replace("x = 1", "x = 3"))) == before
    assert environment_fingerprint(load(text.replace("x = 2", "x = 3"))) != before


def test_attributes_that_were_set_from_outside_do_no_harm(load: Callable[..., type]) -> None:
    text = BASE + "class Mine(Environment):\n    x: int = 1\n    y = {}\n    a, b = 'ab'\n"
    before = environment_fingerprint(load(text))
    assert environment_fingerprint(load(text + "Mine.x = 2\n")) == before


def test_a_dataclass_and_strange_escapes(load: Callable[..., type]) -> None:
    text = BASE + "import dataclasses\n@dataclasses.dataclass\nclass Mine:\n    x: int = 1\nn = '''\n'''\n"
    assert environment_fingerprint(load(text)) != environment_fingerprint(load(text.replace("= 1", "= 2")))


def test_editing_the_file_of_a_loaded_class_changes_nothing(load: Callable[..., type], tmp_path: Path) -> None:
    cls = load(BASE + CLASS)
    before = environment_fingerprint(cls)
    (tmp_path / "envmodule.py").write_text(BASE + CLASS.replace("2 * x", "3 * x"))
    assert environment_fingerprint(cls) == before


def test_new_functions_in_a_loaded_class_are_seen(load: Callable[..., type], tmp_path: Path) -> None:
    cls = load(BASE + CLASS)
    before = environment_fingerprint(cls)
    # As IPython's autoreload does: the old class gets the new functions.
    new = load(BASE + CLASS.replace("2 * x", "3 * x"))
    cls.double = new.double  # type: ignore[attr-defined]  # the class comes from a string
    assert environment_fingerprint(cls) == environment_fingerprint(new) != before
    middle = environment_fingerprint(cls)
    new.double.__code__ = load(BASE + CLASS.replace("2 * x", "4 * x")).double.__code__  # type: ignore[attr-defined]  # idem
    assert environment_fingerprint(cls) == environment_fingerprint(new) not in (before, middle)


def test_a_class_without_source() -> None:
    space: dict[str, Any] = {"__name__": "no_such_module", "Environment": Environment}
    exec(compile(CLASS, "<nowhere>", "exec"), space)
    with pytest.raises(CodeError, match=r"Mine \(module no_such_module\).*write the class in a file"):
        environment_fingerprint(space["Mine"])


def test_a_file_that_was_edited_before_the_first_look(load: Callable[..., type], tmp_path: Path) -> None:
    cls = load(BASE + CLASS)
    (tmp_path / "envmodule.py").write_text("\n" * 20 + BASE + CLASS)
    with pytest.raises(CodeError, match="import it anew"):
        environment_fingerprint(cls)
    (tmp_path / "envmodule.py").write_text("now it is broken")
    with pytest.raises(CodeError, match="import it anew"):
        environment_fingerprint(cls)


def test_cells_are_looked_at_from_the_last_on(load: Callable[..., type], monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (f"class Mine(Environment):\n    x = {{'{n}'}}\n" for n in "12")
    cells = ["", one, two, one, "Mine", "class Broken(:"]
    notebook = types.ModuleType("__main__")
    vars(notebook).update(In=cells, Environment=Environment)
    exec(one, vars(notebook))
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    expected = [environment_fingerprint(load(BASE + text)) for text in (one, two)]
    assert environment_fingerprint(vars(notebook)["Mine"]) == expected[0]
    # Without a history of the notebook, what was compiled for it has to do.
    vars(notebook).update(In=None)
    linecache.cache["<cell one>"] = (len(two), None, two.splitlines(keepends=True), "<cell one>")
    exec(two, vars(notebook))
    assert environment_fingerprint(vars(notebook)["Mine"]) == expected[1]
    linecache.cache.pop("<cell one>")


SHOW = "from pipelet.codebase import environment_fingerprint\nprint(environment_fingerprint(Mine))\n"


def test_a_class_in_a_script_that_is_run(load: Callable[..., type], tmp_path: Path) -> None:
    before = environment_fingerprint(load(BASE + CLASS))
    assert run(BASE + CLASS + SHOW, tmp_path) == [before]
    moved = BASE + CLASS + "import os\nos.chdir('/')\n" + SHOW
    assert run(moved, tmp_path) == [before]
    plain = BASE + "class Mine(Environment):\n    x = 1\n" + SHOW
    assert len({before, *run(plain, tmp_path), *run(plain.replace("= 1", "= 2"), tmp_path)}) == 3


def test_a_class_in_a_notebook(load: Callable[..., type], tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    plain = "class Mine(Environment):\n    x = 1\n"
    cells = [
        BASE,
        CLASS,
        SHOW,
        "# a cell above\n\n" + CLASS.replace("2 * x", "2 * x  # twice"),
        SHOW,
        CLASS.replace("2 * x", "3 * x"),
        SHOW,
        plain,
        SHOW,
        plain.replace("1", "2"),
        SHOW,
        plain,
        SHOW,
    ]
    script = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        f"for cell in {cells!r}:\n"
        "    assert shell.run_cell(cell, store_history=HISTORY).success\n"
    )
    expected = [
        environment_fingerprint(load(BASE + text))
        for text in (CLASS, CLASS, CLASS.replace("2 * x", "3 * x"), plain, plain.replace("1", "2"), plain)
    ]
    assert run(script.replace("HISTORY", "False"), tmp_path) == expected
    assert run(script.replace("HISTORY", "True").replace("= 1", "= int(1)"), tmp_path)[-1] == environment_fingerprint(
        load(BASE + plain.replace("1", "int(1)"))
    )
