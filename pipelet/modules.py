"""Facts on imported modules: their versions, their files, and the revisions of their work trees."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType

from pipelet.depends import is_inside, is_instance_directory

_OURS = "pipelet"
_INSTALLED = frozenset({"site-packages", "dist-packages"})
_SURROUNDING = frozenset({"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"})
_SECONDS = 20


@dataclass(frozen=True)
class ModuleFact:
    """What is recorded of one imported module."""

    name: str
    version: str | None
    file: str | None  #: relative to the code directory, with slashes; ``None`` for a module from elsewhere
    digest: str | None  #: sha256 of that file, in hex
    revision: str | None  #: of the work tree that the module stands in (`revision`)


def module_facts(names: Iterable[str], code_dir: str) -> list[ModuleFact]:
    """Collect the facts on modules that have been imported.

    Parameters
    ----------
    names
        Dotted names that a segment imports; what counts is the top-level package of each. Names that are not loaded
        are left out.
    code_dir
        The code directory. All that was loaded from it is reported, whoever imported it.

    Returns
    -------
    list of ModuleFact
        Sorted by name.
    """
    wanted = {name.partition(".")[0] for name in names} - {"", "__main__", "__future__"}
    own = {
        name: file
        for name, module in loaded_from([code_dir]).items()
        if (file := _file(module)) is not None and not _in_instance(file, code_dir)
    }
    facts = []
    for name in sorted(wanted | own.keys()):
        module = sys.modules.get(name)
        if module is not None:
            facts.append(_fact(name, module, own.get(name), code_dir))
    return facts


def _fact(name: str, module: ModuleType, own: str | None, code_dir: str) -> ModuleFact:
    if own is None and name in sys.stdlib_module_names:
        return ModuleFact(name, platform.python_version(), None, None, None)
    file = _file(module)
    tree = None if file is None else revision(file)
    if own is None:
        return ModuleFact(name, _version(name, module), None, None, tree)
    version = _plain_version(module)
    return ModuleFact(name, version, _relative(own, code_dir), file_digest(own), tree)


def file_digest(path: str) -> str | None:
    """Give the sha256 of a file in hex, or ``None`` where it can't be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return None


def loaded_from(directories: Sequence[str]) -> dict[str, ModuleType]:
    """Find the modules that were loaded from some directories.

    Parameters
    ----------
    directories
        Absolute paths.

    Returns
    -------
    dict
        Name to module, as in `sys.modules`; without Pipelet itself, the main module, and packages that are installed
        in a virtual environment below one of the directories.
    """
    roots = {path for directory in directories for path in (os.path.abspath(directory), os.path.realpath(directory))}
    found = {}
    # A copy is made in one go; making a list may collect garbage, and so import something meanwhile.
    for name, module in sys.modules.copy().items():
        if isinstance(module, ModuleType) and name.partition(".")[0] not in (_OURS, "__main__", "__mp_main__"):
            places = _places(module)
            if any(_stands_in(place, root) for place in places for root in roots):
                found[name] = module
    return found


def purge_modules(directories: Sequence[str]) -> None:
    """Forget the modules that were loaded from some directories, so that the next import reads their files anew.

    Parameters
    ----------
    directories
        Absolute paths.
    """
    for name in loaded_from(directories):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def _file(module: ModuleType) -> str | None:
    # Looked up in the namespace: a module's own __getattr__ may import, warn or raise.
    file = vars(module).get("__file__")
    return file if isinstance(file, str) else None


def _places(module: ModuleType) -> list[str]:
    file = _file(module)
    if file is not None:
        return [file]
    # A package without __init__.py has folders only.
    try:
        return [str(place) for place in vars(module).get("__path__", ())]
    except (TypeError, KeyError):
        return []


def _stands_in(path: str, root: str) -> bool:
    return is_inside(path, root) and not _INSTALLED.intersection(path[len(root) :].split(os.sep))


def _relative(path: str, code_dir: str) -> str:
    for root in (os.path.abspath(code_dir), os.path.realpath(code_dir)):
        if is_inside(path, root):
            return os.path.relpath(path, root).replace(os.sep, "/")
    return os.path.basename(path)


def _in_instance(path: str, code_dir: str) -> bool:
    """Tell whether a file of the code directory is a kept copy: the data may well be stored below the code."""
    folder = os.path.abspath(code_dir)
    parts = _relative(path, code_dir).split("/")[:-1]
    return any(is_instance_directory(folder := os.path.join(folder, part)) for part in parts)


def _plain_version(module: ModuleType) -> str | None:
    version = vars(module).get("__version__")
    if isinstance(version, tuple):
        return ".".join(map(str, version))
    return version if isinstance(version, str) else None


def _version(name: str, module: ModuleType) -> str | None:
    return _plain_version(module) or _installed_version(name)


@functools.cache
def _installed_version(name: str) -> str | None:
    # Here, since it takes long to load and a run that has nothing to do does not need it.
    import importlib.metadata

    try:
        version: object = importlib.metadata.version(name)
    except (importlib.metadata.PackageNotFoundError, ValueError, KeyError, OSError):
        return None
    # Broken metadata give None, whatever the type says.
    return version if isinstance(version, str) else None


# --- revisions -------------------------------------------------------------------------------------------------------


def revision(path: str) -> str | None:
    """Give the revision of the work tree in which a file or directory stands.

    Parameters
    ----------
    path
        The file or directory.

    Returns
    -------
    str or None
        ``git 1a2b3c4``, ``hg 1a2b3c4d5e6f`` or ``svn 4168``, with a ``+`` at the end where files that are under
        control have been changed. ``None`` outside a work tree, where the program is missing or refuses, and for
        installed modules, unless they are themselves under control: the environment only happens to lie in the tree.
    """
    path = os.path.realpath(path)
    found = _work_tree(path if os.path.isdir(path) else os.path.dirname(path))
    if found is None:
        return None
    kind, root = found
    if _is_installed(path, root) and not _is_tracked(kind, root, path):
        return None
    return _tree_revision(kind, root)


def forget_revisions() -> None:
    """Forget the revisions that were looked up, since the user may have committed meanwhile."""
    _tree_revision.cache_clear()
    _work_tree.cache_clear()


@functools.lru_cache(maxsize=4096)
def _work_tree(directory: str) -> tuple[str, str] | None:
    for kind in ("git", "hg", "svn"):
        if os.path.exists(os.path.join(directory, f".{kind}")):
            return kind, directory
    parent = os.path.dirname(directory)
    return None if parent == directory else _work_tree(parent)


def _is_installed(path: str, root: str) -> bool:
    # The interpreter itself may come from a work tree, as pyenv's does.
    libraries = (os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    inner = path[len(root) :].split(os.sep)
    return bool(_INSTALLED.intersection(inner)) or any(is_inside(path, library) for library in libraries)


@functools.lru_cache(maxsize=4096)
def _is_tracked(kind: str, root: str, path: str) -> bool:
    if kind == "git":
        return bool(_ask("git", "-C", root, "ls-files", "--", path))
    if kind == "hg":
        return bool(_ask("hg", "-R", root, "files", path))
    answer = _ask("svn", "status", "-v", "--depth", "empty", path)
    return bool(answer) and not str(answer).startswith(("?", "I"))


@functools.cache
def _tree_revision(kind: str, root: str) -> str | None:
    if kind == "git":
        head = _ask("git", "-C", root, "rev-parse", "--short=7", "--verify", "HEAD")
        if not head:
            return None
        changed = _ask("git", "-C", root, "status", "--porcelain", "--untracked-files=no")
        return f"git {head}{'+' if changed else ''}"
    if kind == "hg":
        head = _ask("hg", "-R", root, "identify", "--id")
        return f"hg {head}" if head and head.strip("0+") else None
    head = _ask("svnversion", "--no-newline", root)
    if not head or not head[0].isdigit():
        return None
    return f"svn {head.rstrip('MSP')}{'+' if 'M' in head else ''}"


def _ask(*command: str) -> str | None:
    # The variables of a surrounding git command, a hook for instance, would name another work tree.
    env = {name: value for name, value in os.environ.items() if name not in _SURROUNDING}
    env.update(LC_ALL="C", GIT_OPTIONAL_LOCKS="0", HGPLAIN="1")
    try:
        answer = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.decode("utf-8", "replace").strip()
