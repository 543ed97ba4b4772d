"""The extension for IPython and notebooks: ``%load_ext pipelet`` brings ``%%segment``."""

from __future__ import annotations

import argparse
import importlib
import io
import keyword
import os
import shlex
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from pipelet.codebase import SourceFile, survey_code
from pipelet.core.codeprint import code_digest
from pipelet.core.directives import read_directives
from pipelet.errors import CodeError, DirectiveError, PipeletError
from pipelet.pipeline import Pipeline
from pipelet.storage.files import storage_errors, write_atomic
from pipelet.tables import short_path

_MAGIC = "segment"
_EXAMPLE = "For example: %%segment melt, or: %%segment melt --dir code"
#: So many segments are named in a message.
_NAMED = 6

#: What `%%segment?` shows.
_HELP = """Write this cell as a script into the code directory of a pipeline.

    %%segment NAME [--dir DIR]

NAME is the name of a segment (the cell becomes NAME.py), of a hook (segment_hook) or of a module. DIR is the code
directory. Without it the cell goes to that of the pipeline in this notebook, or, if there is none, to the current
directory.

A cell that is no Python is refused, and the file stays as it was. What is said in the end is whether the version of
the segment has changed: then the next run computes it, and all that descends from it, anew.
"""


def load(shell: Any) -> None:
    """Register ``%%segment``.

    Parameters
    ----------
    shell
        The `InteractiveShell` of IPython.
    """
    usage_error: type[Exception] = importlib.import_module("IPython.core.error").UsageError

    def segment(line: str, cell: str) -> None:
        try:
            name, directory = _arguments(line)
            pipelines = _pipelines(shell.user_ns)
            folder = _code_dir(pipelines) if directory is None else os.path.expanduser(directory)
            print(write_segment(name, cell, folder, pipelines))
        except (PipeletError, ValueError) as error:
            # Shown without a traceback, and the cells below do not run.
            raise usage_error(str(error)) from error

    segment.__doc__ = _HELP
    shell.register_magic_function(segment, magic_kind="cell", magic_name=_MAGIC)


def unload(shell: Any) -> None:
    """Take ``%%segment`` away."""
    shell.magics_manager.magics["cell"].pop(_MAGIC, None)


def write_segment(name: str, text: str, code_dir: str, pipelines: Mapping[str, Pipeline] | None = None) -> str:
    """Write a script into a code directory, and say what that means for the next run.

    Parameters
    ----------
    name
        Of the segment, hook or module: the file's name without ``.py``.
    text
        The code.
    code_dir
        The directory; it is made if it is not there.
    pipelines
        Those that the notebook has, by the names of their variables: those with this code directory are asked what
        changes.

    Returns
    -------
    str
        One line.

    Raises
    ------
    CodeError, DirectiveError
        The text is no Python, or a directive in it can't be read. The old file stays.
    StorageError
        The file can't be written. The old file stays.
    """
    path = os.path.realpath(os.path.join(code_dir, f"{name}.py"))
    shown = short_path(os.path.abspath(os.path.join(code_dir, f"{name}.py")))
    try:
        data = _encoded(text if text.endswith("\n") else f"{text}\n", shown)
        new = _print_of(SourceFile(f"{name}.py", shown, data))
    except (CodeError, DirectiveError) as error:
        kept = "the file stays as it was" if os.path.exists(path) else "nothing was written"
        raise type(error)(f"{error}\n{kept}") from error
    old = _content(path)
    if old == data:
        return f"{shown}: unchanged"
    folder = os.path.realpath(code_dir)
    concerned = [item for item in (pipelines or {}).values() if os.path.realpath(item.code_dir) == folder]
    before = [_keys(item) for item in concerned]
    with storage_errors("write", path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomic(path, data, sync=False)
    changes = [_Change(item, keys) for item, keys in zip(concerned, before, strict=True)]
    same = old is not None and _is_same(SourceFile(f"{name}.py", path, old), new)
    return f"{shown}: {_verdict(old is None, same, changes)}{_strange(name, concerned)}"


class _Change:
    """Which segments of a pipeline have another key than before."""

    def __init__(self, pipeline: Pipeline, before: Mapping[str, str]) -> None:
        now = _keys(pipeline)
        self.segments = [name for name, key in now.items() if before.get(name, key) != key]
        self.on_disk = [name for name in self.segments if _is_on_disk(pipeline, name, now[name])]
        self.lost = [name for name in before if name not in now]


def _verdict(is_new: bool, same: bool, changes: Sequence[_Change]) -> str:
    head = "new file" if is_new else "changed"
    lost = _distinct(name for change in changes for name in change.lost)
    if lost:
        return f"{head}, but as it is {_listed(lost)} can't run: P.explain() says why"
    segments = _distinct(name for change in changes for name in change.segments)
    on_disk = {name for change in changes for name in change.on_disk}
    computed = [name for name in segments if name not in on_disk]
    if computed:
        return f"{head}, the next run computes a new version of {_listed(computed)}"
    if segments:
        return f"{head}, back to versions that are on disk: {_listed(segments)}"
    if same:
        return "changed in comments or layout only, the version stays"
    return head if is_new or changes else f"{head}, the next run computes a new version"


def _keys(pipeline: Pipeline) -> dict[str, str]:
    try:
        return pipeline.current_keys()
    except PipeletError:
        # The code directory is still to be made.
        return {}


def _strange(name: str, pipelines: Sequence[Pipeline]) -> str:
    """What is to be said of a file that none of the pipelines uses."""
    codes = [code for item in pipelines for code in survey_code(item.graph, item.code_dir)[0].values()]
    used = any(f"{name}.py" in code.files for code in codes) or any(name in item.graph for item in pipelines)
    if used or not pipelines:
        return ""
    near = next((found for item in pipelines if (found := item.graph.nearest(name))), None)
    return "; no segment runs it or depends on it" + (f": did you mean %%segment {near}?" if near else "")


def _is_on_disk(pipeline: Pipeline, segment: str, key: str) -> bool:
    try:
        return any(item.key == key for item in pipeline.instances(segment))
    except PipeletError:
        # The code is what this is about; a database that can't be read is for the next run to tell.
        return False


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return f"{', '.join(names[: _NAMED - 1])} and {len(names) - _NAMED + 1} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]


def _is_same(old: SourceFile, new: object) -> bool:
    try:
        return _print_of(old) == new
    except PipeletError:
        return False


def _print_of(file: SourceFile) -> tuple[str, str, frozenset[str]]:
    """All of a script that has a part in keys."""
    # First what shows its line in this text, and not in the file that is there.
    digest = code_digest(file.text, file.path)
    found = read_directives(file.text, file.path)
    return digest, found.multiplex.canonical, frozenset(name for name, _ in found.depends)


def _content(path: str) -> bytes | None:
    with storage_errors("read", path):
        try:
            with open(path, "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None


def _encoded(text: str, shown: str) -> bytes:
    """The text as bytes, in the encoding that its first lines name."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(text.encode("utf-8", "replace")).readline)
        return text.encode(encoding)
    except (SyntaxError, UnicodeEncodeError) as error:
        raise CodeError(f"{shown}: {error}") from error


# --- the line of the magic


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"%%{_MAGIC}: {message}\n{_EXAMPLE}")


def _arguments(line: str) -> tuple[str, str | None]:
    """The name and the directory."""
    parser = _Parser(prog=f"%%{_MAGIC}", add_help=False, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--dir")
    try:
        words = shlex.split(line)
    except ValueError as error:
        parser.error(str(error))
    if not words:
        parser.error("which segment?")
    given = parser.parse_args(words)
    if given.name.endswith(".py"):
        parser.error(f"give the name without .py: %%{_MAGIC} {given.name[:-3]}")
    if not given.name.isidentifier() or keyword.iskeyword(given.name):
        parser.error(f"{given.name!r} can't be a segment's name, which is a Python name")
    return given.name, given.dir


def _pipelines(namespace: Mapping[str, object]) -> dict[str, Pipeline]:
    """The pipelines that have a name; those with an underscore are old outputs of cells."""
    return {
        name: value
        for name, value in list(namespace.items())
        if isinstance(value, Pipeline) and not name.startswith("_")
    }


def _code_dir(pipelines: Mapping[str, Pipeline]) -> str:
    """The directory of the pipelines of a notebook, or the current one."""
    found = _distinct(item.code_dir for item in pipelines.values())
    if len(found) > 1:
        names = ", ".join(pipelines)
        example = shlex.quote(short_path(found[0]) or ".")
        raise ValueError(f"%%{_MAGIC}: the pipelines {names} have several code directories; say --dir {example}, or so")
    return found[0] if found else os.curdir


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
