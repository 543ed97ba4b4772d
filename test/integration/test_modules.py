"""Facts on imported modules, revisions of work trees, and forgetting modules."""

from __future__ import annotations

import hashlib
import importlib
import os
import platform
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ENVIRONMENT

from pipelet import modules
from pipelet.codefiles import SourceFile, read_file
from pipelet.errors import CodeError
from pipelet.imports import imported_files, package_of, reached_files
from pipelet.modules import (
    file_digest,
    forget_revisions,
    loaded_from,
    module_facts,
    purge_modules,
    revision,
)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    path, loaded = list(sys.path), set(sys.modules)
    forget_revisions()
    modules._is_tracked.cache_clear()
    yield
    sys.path[:] = path
    for name in set(sys.modules) - loaded:
        del sys.modules[name]
    importlib.invalidate_caches()


def write(folder: Path, **files: str) -> None:
    """Write files: two underscores in a name stand for a slash, INIT for __init__, and the end is .py."""
    for name, text in files.items():
        path = folder.joinpath(*name.split("__")).with_suffix(".py")
        path = path.with_name("__init__.py") if path.stem == "INIT" else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def bring(folder: Path, *names: str) -> None:
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    for name in names:
        importlib.import_module(name)


def git(folder: Path, *args: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


# --- facts -----------------------------------------------------------------------------------------------------------


def test_facts_of_a_module_from_the_code_directory(tmp_path: Path) -> None:
    write(tmp_path, factlib="__version__ = '1.2'\n")
    bring(tmp_path, "factlib")
    (fact,) = module_facts(["factlib"], str(tmp_path))
    digest = hashlib.sha256(b"__version__ = '1.2'\n").hexdigest()
    assert (fact.name, fact.version, fact.file, fact.digest) == ("factlib", "1.2", "factlib.py", digest)


def test_all_that_was_loaded_from_the_code_directory_is_told(tmp_path: Path) -> None:
    write(tmp_path, factpkg__INIT="__version__ = (2, 0)\n", factpkg__inner="import factother\n", factother="")
    bring(tmp_path, "factpkg.inner")
    facts = {fact.name: fact for fact in module_facts([], str(tmp_path))}
    assert {name: fact.file for name, fact in facts.items()} == {
        "factpkg": "factpkg/__init__.py",
        "factpkg.inner": "factpkg/inner.py",
        "factother": "factother.py",
    }
    assert facts["factpkg"].version == "2.0"
    assert facts["factother"].version is None


def test_facts_hold_no_absolute_path(tmp_path: Path) -> None:
    write(tmp_path, factlib="")
    bring(tmp_path, "factlib")
    assert str(tmp_path) not in repr(module_facts(["factlib", "numpy", "json.decoder"], str(tmp_path)))


def test_versions_of_installed_packages_and_of_the_standard_library(tmp_path: Path) -> None:
    import numpy

    facts = {fact.name: fact for fact in module_facts(["numpy.linalg", "json.decoder", "pytest"], str(tmp_path))}
    assert facts["numpy"].version == numpy.__version__
    assert facts["json"].version == platform.python_version()
    assert set(facts) == {"numpy", "json", "pytest"}
    assert all(fact.file is None and fact.digest is None for fact in facts.values())


def test_the_version_comes_from_the_metadata_where_the_module_says_none(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write(site, factdist="")
    info = site / "factdist-3.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: factdist\nVersion: 3.4\n")
    bring(site, "factdist")
    modules._installed_version.cache_clear()
    (fact,) = module_facts(["factdist"], str(tmp_path / "code"))
    assert fact.version == "3.4"


def test_a_module_that_warns_or_raises_when_asked_is_left_alone(tmp_path: Path) -> None:
    write(tmp_path, factlazy="def __getattr__(name):\n    raise RuntimeError(name)\n")
    bring(tmp_path, "factlazy")
    assert module_facts(["factlazy"], str(tmp_path / "elsewhere"))[0].version is None
    assert module_facts(["factlazy"], str(tmp_path))[0].file == "factlazy.py"


def test_names_that_are_not_loaded_are_left_out(tmp_path: Path) -> None:
    assert module_facts(["no_such_module_at_all", "__main__", "__future__", ""], str(tmp_path)) == []


def test_what_is_installed_below_the_code_directory_does_not_belong_to_it(tmp_path: Path) -> None:
    site = tmp_path / ".venv" / "lib" / "python3" / "site-packages"
    write(site, factinst="__version__ = '9'")
    bring(site, "factinst")
    assert "factinst" not in loaded_from([str(tmp_path)])
    (fact,) = module_facts(["factinst"], str(tmp_path))
    assert (fact.version, fact.file, fact.digest) == ("9", None, None)


def test_kept_copies_below_the_code_directory_are_not_told_as_its_files(tmp_path: Path) -> None:
    instance = tmp_path / "melt_YFLJ65"
    write(instance, factkept="")
    (instance / "melt.meta").write_text("{}")
    bring(instance, "factkept")
    assert module_facts([], str(tmp_path)) == []
    (instance / "melt.meta").unlink()
    assert [fact.file for fact in module_facts([], str(tmp_path))] == ["melt_YFLJ65/factkept.py"]


def test_a_code_directory_behind_a_symbolic_link(tmp_path: Path) -> None:
    write(tmp_path / "real", factlib="")
    (tmp_path / "link").symlink_to("real")
    bring(tmp_path / "real", "factlib")
    assert [fact.file for fact in module_facts([], str(tmp_path / "link"))] == ["factlib.py"]


def test_file_digest_of_a_file_that_is_gone(tmp_path: Path) -> None:
    assert file_digest(str(tmp_path / "gone.py")) is None


# --- forgetting ------------------------------------------------------------------------------------------------------


def test_purged_modules_are_read_anew(tmp_path: Path) -> None:
    write(tmp_path, purged="value = 1\n", purgedns__inner="")
    bring(tmp_path, "purged", "purgedns.inner")
    write(tmp_path, purged="value = 'two'\n")
    purge_modules([str(tmp_path)])
    assert not {"purged", "purgedns", "purgedns.inner"} & sys.modules.keys()
    assert importlib.import_module("purged").value == "two"


def test_a_folder_that_was_not_there_before_is_seen_after_purging(tmp_path: Path) -> None:
    sys.path.insert(0, str(tmp_path / "later"))
    with pytest.raises(ImportError):
        importlib.import_module("purgedlater")
    write(tmp_path / "later", purgedlater="")
    purge_modules([str(tmp_path / "later")])
    importlib.import_module("purgedlater")


def test_purging_leaves_everything_else(tmp_path: Path) -> None:
    beside = tmp_path / "code2"
    write(beside, purgedbeside="")
    write(tmp_path / "code" / "lib" / "site-packages", purgedinst="")
    bring(beside, "purgedbeside")
    bring(tmp_path / "code" / "lib" / "site-packages", "purgedinst")
    before = set(sys.modules)
    purge_modules([str(tmp_path / "code")])
    assert set(sys.modules) == before


def test_purging_never_takes_the_engine_or_the_main_module(tmp_path: Path) -> None:
    root = os.path.dirname(os.path.dirname(os.path.abspath(modules.__file__)))
    found = loaded_from([root])
    assert not any(name == "__main__" or name.startswith("pipelet") for name in found)


def test_modules_with_odd_attributes_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = types.ModuleType("purgedodd")
    odd.__file__ = None
    # What careless packages do.
    vars(odd)["__path__"] = 3
    monkeypatch.setitem(sys.modules, "purgedodd", odd)
    monkeypatch.setitem(vars(sys)["modules"], "purgedobject", object())
    assert loaded_from([str(tmp_path)]) == {}


# --- revisions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    root = tmp_path / "tree"
    write(root, lib="x = 1\n", sub__inner="")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "first")
    return root


def test_revision_of_a_git_tree(tree: Path) -> None:
    head = git(tree, "rev-parse", "HEAD")
    for path in (tree, tree / "lib.py", tree / "sub" / "inner.py"):
        found = revision(str(path))
        assert found is not None
        kind, _, short = found.partition(" ")
        assert kind == "git"
        assert len(short) >= 7
        assert head.startswith(short)


def test_a_changed_tree_has_a_plus(tree: Path) -> None:
    clean = revision(str(tree))
    (tree / "new.py").write_text("")
    forget_revisions()
    assert revision(str(tree)) == clean
    (tree / "lib.py").write_text("x = 2\n")
    assert revision(str(tree)) == clean, "looked up once"
    forget_revisions()
    assert revision(str(tree)) == f"{clean}+"


def test_variables_of_a_surrounding_git_command_are_ignored(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = revision(str(tree))
    forget_revisions()
    monkeypatch.setenv("GIT_DIR", str(tree.parent / "none"))
    assert revision(str(tree)) == clean


def test_installed_modules_have_no_revision_unless_they_are_tracked(tree: Path) -> None:
    site = tree / "env" / "lib" / "python3" / "site-packages"
    write(site, one="", two="")
    assert revision(str(site / "one.py")) is None
    git(tree, "add", str(site / "two.py"))
    git(tree, "commit", "-q", "-m", "second")
    modules._is_tracked.cache_clear()
    forget_revisions()
    assert revision(str(site / "one.py")) is None
    assert revision(str(site / "two.py")) == revision(str(tree))


def test_the_interpreters_own_files_have_no_revision() -> None:
    assert revision(os.__file__) is None


def test_no_work_tree_no_commit_and_no_program(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert revision(str(tmp_path)) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "-q")
    assert revision(str(empty)) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(str(tree)) is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("1a2b3c4d5e6f", "hg 1a2b3c4d5e6f"), ("1a2b3c4d5e6f+", "hg 1a2b3c4d5e6f+"), ("000000000000", None), ("", None)],
)
def test_mercurial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: str | None) -> None:
    (tmp_path / "tree" / ".hg").mkdir(parents=True)
    program(tmp_path / "bin", "hg", f'[ "$1 $2 $3 $4" = "-R {tmp_path}/tree identify --id" ] && echo "{answer}"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert revision(str(tmp_path / "tree")) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("4168", "svn 4168"),
        ("4168M", "svn 4168+"),
        ("4123:4168MS", "svn 4123:4168+"),
        ("4168S", "svn 4168"),
        ("Unversioned directory", None),
        ("", None),
    ],
)
def test_subversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, expected: str | None) -> None:
    (tmp_path / "tree" / ".svn").mkdir(parents=True)
    program(tmp_path / "bin", "svnversion", f'[ "$1 $2" = "--no-newline {tmp_path}/tree" ] && printf "{answer}"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert revision(str(tmp_path / "tree")) == expected


@pytest.mark.parametrize(
    ("kind", "name", "text", "tracked"),
    [
        ("hg", "hg", '[ "$3" = identify ] && echo 1a2b3c4d5e6f || { [ "$3" = files ] && echo "$4"; }', True),
        ("hg", "hg", '[ "$3" = identify ] && echo 1a2b3c4d5e6f', False),
        ("svn", "svn", 'echo "  12  11 me file"', True),
        ("svn", "svn", 'echo "?      file"', False),
    ],
)
def test_tracked_installed_files_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, text: str, tracked: bool
) -> None:
    site = tmp_path / "tree" / "site-packages"
    write(site, one="")
    (tmp_path / "tree" / f".{kind}").mkdir()
    program(tmp_path / "bin", name, text)
    program(tmp_path / "bin", "svnversion", "printf 12")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    assert (revision(str(site / "one.py")) is not None) == tracked


def test_the_revision_is_among_the_facts(tree: Path) -> None:
    bring(tree, "sub.inner")
    facts = {fact.name: fact for fact in module_facts(["sub.inner"], str(tree))}
    assert facts["sub.inner"].revision == revision(str(tree))
    elsewhere = module_facts(["sub"], str(tree.parent / "code"))
    assert [fact.name for fact in elsewhere] == ["sub"]


# --- what imports read -----------------------------------------------------------------------------------------------


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str, str], set[str]]:
    write(tmp_path, lib="", pkg__INIT="", pkg__a="", pkg__sub__INIT="", pkg__sub__b="", space__c="", time="")
    return lambda source, name: imported_files(source, name, str(tmp_path))


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("import lib, os", "seg.py", {"lib.py"}),
        ("import lib as l", "seg.py", {"lib.py"}),
        ("from lib import anything", "seg.py", {"lib.py"}),
        ("def f():\n    if 1:\n        import lib", "seg.py", {"lib.py"}),
        ("import pkg.a", "seg.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("from pkg import a", "seg.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("from pkg import *", "seg.py", {"pkg/__init__.py"}),
        ("from pkg.sub.b import f", "seg.py", {"pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/b.py"}),
        ("from space import c", "seg.py", {"space/c.py"}),
        ("import space", "seg.py", set()),
        ("from . import a", "pkg/__init__.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("from .sub import b", "pkg/a.py", {"pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/b.py"}),
        ("from .. import a", "pkg/sub/b.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("from ..a import f", "pkg/sub/b.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("import importlib; importlib.import_module('lib')", "seg.py", {"lib.py"}),
        ("__import__('pkg.a')", "seg.py", {"pkg/__init__.py", "pkg/a.py"}),
        ("import time, numpy", "seg.py", set()),
        ("import lib.not_there", "seg.py", {"lib.py"}),
        ("this is no python", "seg.py", set()),
        (r"import lib; x = '\d'", "seg.py", {"lib.py"}),
    ],
)
def test_imported_files(read: Callable[[str, str], set[str]], source: str, name: str, expected: set[str]) -> None:
    assert read(source, name) == expected


def test_a_compiled_module_is_a_file_too(tmp_path: Path) -> None:
    (tmp_path / "fast.so").write_bytes(b"\x7fELF")
    assert imported_files("import fast", "seg.py", str(tmp_path)) == {"fast.so"}
    start = {"seg.py": _source(tmp_path, "seg.py", "import fast")}
    assert reached_files(start, str(tmp_path), lambda name: read_file(name, str(tmp_path))) == {"fast.so"}


def test_imports_are_followed_in_circles_and_past_broken_files(tmp_path: Path) -> None:
    write(tmp_path, a="import b", b="import a, c", c="import d; import (", d="")

    def unreadable(name: str) -> SourceFile:
        raise CodeError(name)

    start = {"seg.py": _source(tmp_path, "seg.py", "import a")}
    code_dir = str(tmp_path)
    assert reached_files(start, code_dir, lambda name: read_file(name, code_dir)) == {"a.py", "b.py", "c.py"}
    assert reached_files(start, code_dir, unreadable) == {"a.py"}


def test_package_of(tmp_path: Path) -> None:
    write(tmp_path, space__pkg__INIT="", space__pkg__sub__m="", lib="")
    assert package_of("space/pkg/sub/m.py", str(tmp_path)) == "space/pkg"
    assert package_of("space/pkg/table.txt", str(tmp_path)) is None
    assert package_of("lib.py", str(tmp_path)) is None


def _source(folder: Path, name: str, text: str) -> SourceFile:
    (folder / name).write_text(text)
    return read_file(name, str(folder))


def test_modules_that_come_while_others_are_looked_at(tmp_path: Path) -> None:
    """As they do where garbage is collected in the middle of it, and its end imports something; before Python 3.12."""
    script = """if True:
        import gc, sys, types
        from pipelet.modules import loaded_from
        from pipelet.planner import _importing_from

        class Trap:
            def __init__(self):
                self.circle = self
            def __del__(self):
                name = f"late{len(sys.modules)}"
                sys.modules[name] = types.ModuleType(name)
                if active:
                    Trap()

        active = True
        gc.set_threshold(1, 1000, 1000)
        Trap()
        before = len(sys.modules)
        loaded_from(["/nowhere"])
        with _importing_from("/nowhere"):
            pass
        active = False
        print(len(sys.modules) > before)
    """
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=ENVIRONMENT, timeout=60
    )
    assert (ended.stdout, ended.stderr) == ("True\n", "")
