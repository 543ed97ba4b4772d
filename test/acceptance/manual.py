"""Reads the pages of the manual and does what they show, block after block, in a directory made for it.

What becomes of a block:

* with a ``:caption:`` it is a file of that name, whatever its language;
* ``python`` without one is executed, and so is ``pycon``, whose answers are compared; a page has one Python session;
* of ``console`` each line behind ``$`` is typed, and what is shown below it is compared with what comes; if nothing is
  shown, nothing is compared;
* ``dot`` is read as a graph.

A comment above a block says what can't be seen:

* ``.. manual: not run, WHY``: it is left out;
* ``.. manual: ends with 1``: so does the last command;
* ``.. manual: in FILE for /PATTERN/``: the block takes the place of what matches in this file, once;
* ``.. manual: types WORD``: commands get this line as their standard input;
* ``.. manual: setup``: no block follows; what stands below is typed without being on the page.

In what is compared, ``...`` stands for anything, and neither the characters of keys nor the numbers of tasks and
seconds count. The directory is called ``/home/ada``.
"""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support import ENVIRONMENT, PATIENCE, REPOSITORY

from pipelet.core.graph import build_graph

#: What the directory of a scenario is called in the manual.
HOME = "/home/ada"
#: Directives with code that a reader sees; code of a file of the repository is tested where that file is.
_CODE = re.compile(r"( *)\.\. (?:code-block|code|sourcecode)::(?: (\S+))?$")
_MARK = re.compile(r"( *)\.\. manual: (.+)$")
_OPTION = re.compile(r" *:([\w-]+):(?: (.*))?$")
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@dataclass
class Block:
    """A block of code on a page, or commands that the page does not show."""

    page: Path
    line: int
    language: str
    text: str
    options: dict[str, str] = field(default_factory=dict)
    mark: str = ""

    @property
    def where(self) -> str:
        """The page and the line."""
        return f"{self.page.name}, line {self.line}"

    @property
    def left_out(self) -> str | None:
        """Why it is not run, if it is not."""
        return self.mark.removeprefix("not run, ") if self.mark.startswith("not run") else None


class Differs(AssertionError):
    """What a page shows is not what comes."""


def blocks(page: Path, text: str | None = None) -> Iterator[Block]:
    """The blocks of a page, in order."""
    lines = (page.read_text() if text is None else text).splitlines()
    mark = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if found := _MARK.match(line):
            mark = found[2]
            if mark == "setup":
                _, at, body = _below(lines, at, len(found[1]))
                yield Block(page, at, "setup", body)
                mark = ""
        elif found := _CODE.match(line):
            begun = at
            options, at, body = _below(lines, at, len(found[1]))
            yield Block(page, begun, found[2] or "", body, options, mark)
            mark = ""
        elif line.strip():
            assert not mark, f"{page.name}, line {at}: nothing follows `.. manual: {mark}`"


def _below(lines: Sequence[str], at: int, indent: int) -> tuple[dict[str, str], int, str]:
    """The options and the content of the directive whose first line is before ``at``, and where it ends."""
    options = {}
    while at < len(lines) and (found := _OPTION.match(lines[at])):
        options[found[1]] = found[2] or ""
        at += 1
    body = []
    while at < len(lines) and (not lines[at].strip() or len(lines[at]) - len(lines[at].lstrip()) > indent):
        body.append(lines[at])
        at += 1
    width = min((len(line) - len(line.lstrip()) for line in body if line.strip()), default=0)
    return options, at, "\n".join(line[width:] for line in body).strip("\n") + "\n"


class Checker(doctest.OutputChecker):
    """Compares what is shown with what came, as far as it is always the same."""

    def __init__(self, home: Path) -> None:
        self._home = str(home)

    def plain(self, text: str) -> str:
        """A text without what differs from one execution to the next."""
        text = text.replace(self._home, HOME).replace(os.path.realpath(self._home), HOME)
        text = re.sub(r"(?<=_)[A-Z2-7]{6}\b", "KEYKEY", text)
        text = re.sub(r"(?<=(?:localhost|127\.0\.0\.1):)\d+", "8080", text)
        # who is first in a run by several processes gets the smaller number
        text = re.sub(r"\btask \d+(?=[, ])", "task 1", text)
        return re.sub(r"\b\d+(\.\d+)? s\b", "0.1 s", text)

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(self.plain(want), self.plain(got), optionflags)


class Player:
    """Does what blocks show.

    Parameters
    ----------
    home
        An empty directory, where all of it happens.
    commands
        A directory that comes first in ``PATH``; it is filled.
    """

    def __init__(self, home: Path, commands: Path) -> None:
        self.home = home
        self.where = home
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._checker = Checker(home)
        self._commands = commands
        self._environment = self._shell_environment()

    def _shell_environment(self) -> dict[str, str]:
        """An environment in which the commands of the checkout are found, as they are after an installation."""
        for name, words in {
            "python": "", "python3": "", "pipeutils": f'"{REPOSITORY}/scripts/pipeutils"',
            "pipeweb": f'"{REPOSITORY}/scripts/pipeweb"',
        }.items():
            # Somebody else on this machine may have port 8080.
            extra = '[ "$1" = start ] && set -- "$@" --port 0\n' if name == "pipeweb" else ""
            command = self._commands / name
            command.write_text(f'#!/bin/sh\n{extra}exec "{sys.executable}" {words} "$@"\n')
            command.chmod(0o755)
        return {
            **ENVIRONMENT, "PATH": os.pathsep.join([str(self._commands), os.environ["PATH"]]),
            "HOME": str(self.home), "REPOSITORY": str(REPOSITORY), "COLUMNS": "100",
            "PIPELET_CONFIG_DIR": str(self._commands / "config"), "PIPELET_STATE_DIR": str(self._commands / "state"),
            "LC_ALL": "C.UTF-8",
            # In a new home matplotlib would look at all the fonts of this machine first.
            "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", os.path.expanduser("~/.cache/matplotlib")),
        }

    def play(self, block: Block) -> None:
        """Do what one block shows.

        Raises
        ------
        Differs
            Something else came than the page shows.
        """
        if block.left_out is not None:
            return
        if block.mark.startswith("in "):
            self._edit(block)
        elif "caption" in block.options:
            self._write(block)
        elif block.language in ("console", "setup"):
            self._type(block)
        elif block.language == "python":
            self._execute(block)
        elif block.language == "pycon":
            self._converse(block)
        elif block.language == "dot":
            build_graph(block.text)
        else:
            raise Differs(f"{block.where}: nobody knows what to do with {block.language!r}")

    def close(self) -> None:
        """End what was started."""
        if (self._commands / "state").exists():
            self._shell("pipeweb stop", "")

    def _write(self, block: Block) -> None:
        path = self.where / block.options["caption"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.text.startswith("#!"):
            path.chmod(0o755)

    def _edit(self, block: Block) -> None:
        found = re.fullmatch(r"in (\S+) for /(.+)/", block.mark)
        assert found is not None, f"{block.where}: {block.mark}"
        path = self.where / found[1]
        text, times = re.subn(found[2], lambda _: block.text.rstrip("\n"), path.read_text(), flags=re.DOTALL)
        if times != 1:
            raise Differs(f"{block.where}: /{found[2]}/ stands {times} times in {found[1]}")
        path.write_text(text)

    def _type(self, block: Block) -> None:
        said = block.mark.removeprefix("types ") + "\n" if block.mark.startswith("types ") else ""
        expected = int(block.mark.rpartition(" ")[2]) if block.mark.startswith("ends with ") else 0
        typed = _typed(block)
        for number, (command, shown) in enumerate(typed):
            status, output = self._shell(command, said)
            if status != (expected if number == len(typed) - 1 else 0):
                raise Differs(f"{block.where}: `{command}` ended with {status}:\n{output}")
            if shown.strip() and not self._checker.check_output(shown, output, _FLAGS):
                raise Differs(f"{block.where}: `{command}` shows\n{shown}\nand this came:\n{output}")

    def _shell(self, command: str, said: str) -> tuple[int, str]:
        note = self._commands / "where"
        script = f"trap 'pwd >\"{note}\"' EXIT\n{command}"
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=self.where, env=self._environment, input=said,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=PATIENCE,
        )
        self.where = Path(note.read_text().rstrip("\n"))
        return ended.returncode, ended.stdout

    def _execute(self, block: Block) -> None:
        with self._session():
            try:
                # Behind as many empty lines as on the page, so that a traceback names its line.
                code = compile("\n" * block.line + block.text, str(block.page), "exec")
                exec(code, self._names)
            except Exception:
                raise Differs(f"{block.where}:\n{traceback.format_exc()}") from None

    def _converse(self, block: Block) -> None:
        test = doctest.DocTestParser().get_doctest(block.text, self._names, block.where, str(block.page), block.line)
        test.globs = self._names
        runner = doctest.DocTestRunner(self._checker, verbose=False, optionflags=_FLAGS)
        said: list[str] = []
        with self._session():
            runner.run(test, out=said.append, clear_globs=False)
        if runner.failures:
            raise Differs("".join(said))

    @contextmanager
    def _session(self) -> Iterator[None]:
        """A Python prompt in the directory."""
        before, path, modules = os.getcwd(), list(sys.path), set(sys.modules)
        os.chdir(self.where)
        sys.path.insert(0, str(self.where))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:] = path
            for name in set(sys.modules) - modules:
                file = getattr(sys.modules[name], "__file__", None) or ""
                if file.startswith(str(self.home)):
                    del sys.modules[name]


def _typed(block: Block) -> list[tuple[str, str]]:
    """Each command of a block, with what is shown below it."""
    if block.language == "setup":
        return [(block.text, "")]
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        else:
            assert found, f"{block.where}: no command before {line!r}"
            command, shown = found[-1]
            if command.endswith("\\") and not shown:
                found[-1] = (f"{command}\n{line}", "")
            else:
                found[-1] = (command, f"{shown}{line}\n")
    return found
