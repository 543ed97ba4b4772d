"""Segments that are written in cells: where they go, and what is said of the version."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from support import Project

import pipelet
from pipelet.errors import CodeError, DirectiveError, StorageError
from pipelet.notebook import write_segment

STAYS = "changed in comments or layout only, the version stays"


class Shell:
    """What the extension uses of IPython."""

    def __init__(self) -> None:
        self.user_ns: dict[str, object] = {}
        self.magics: dict[str, dict[str, Callable[..., None]]] = {"cell": {}}
        self.magics_manager = self

    def register_magic_function(self, function: Callable[..., None], magic_kind: str, magic_name: str) -> None:
        self.magics[magic_kind][magic_name] = function

    def cell(self, line: str, text: str) -> None:
        self.magics["cell"]["segment"](line, text)


@pytest.fixture
def shell() -> Shell:
    made = Shell()
    pipelet.load_ipython_extension(made)
    return made


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- what is said


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (None, "x = 1\n", "new file"),
        ("x = 1\n", "x = 1\n", "unchanged"),
        ("x = 1", "x = 1", "changed in comments or layout only, the version stays"),
        ("x = 1\n", "# one\nx  =  1\n", STAYS),
        ("x = 1\n", "x = 2\n", "changed, the next run computes a new version"),
        ("x = 1\n", "x = 1.0\n", "changed, the next run computes a new version"),
        ("x = 1\n", "'''Doc.'''\nx = 1\n", "changed, the next run computes a new version"),
        # directives are code, although they are comments
        ("x = 1\n", "#multiplex union\nx = 1\n", "changed, the next run computes a new version"),
        ("#multiplex union\nx = 1\n", "#multiplex  union \nx = 1\n", STAYS),
        ("x = 1\n", "#depend lib.py\nx = 1\n", "changed, the next run computes a new version"),
        ("#depend a b\nx = 1\n", "#depend b\n#depend a\nx = 1\n", STAYS),
        # what was there before may be anything
        ("x = = 1\n", "x = 1\n", "changed, the next run computes a new version"),
        (b"x = '\xff'\n", "x = 1\n", "changed, the next run computes a new version"),
    ],
)
def test_what_is_said_of_a_file(here: Path, old: str | bytes | None, new: str, said: str) -> None:
    path = here / "melt.py"
    if old is not None:
        path.write_bytes(old if isinstance(old, bytes) else old.encode())
    assert write_segment("melt", new, ".") == f"melt.py: {said}"
    assert path.read_text() == (new if new.endswith("\n") else f"{new}\n")
    assert os.listdir(here) == ["melt.py"]


def test_what_a_pipeline_knows_of_the_change_is_what_its_keys_say(project: Project, here: Path) -> None:
    project.write(
        a="#depend lib.py\nhook('more', globals())\nset_output([1])", b="set_output([get_input()])", c="pass",
        a_more="y = 1", lib="z = 1", loose="u = 1",
    )
    P = project.pipeline("a -> b -> c; d")
    pipelines = {"P": P}

    def wrote(name: str, text: str) -> tuple[str, set[str]]:
        before = P.current_keys()
        said = write_segment(name, text, str(project.root), pipelines).partition(": ")[2]
        now = P.current_keys()
        return said, {segment for segment in before if before[segment] != now.get(segment)}

    # d has no script yet: what can be known of the others is known
    assert wrote("b", "set_output([get_input()])  # as it is") == (STAYS, set())
    assert wrote("b", "set_output([2])") == ("changed, the next run computes a new version of b and c", {"b", "c"})
    assert wrote("a_more", "y = 2") == ("changed, the next run computes a new version of a, b and c", {"a", "b", "c"})
    assert wrote("lib", "z = 2") == ("changed, the next run computes a new version of a, b and c", {"a", "b", "c"})
    assert wrote("d", "pass") == ("new file", set())
    assert wrote("c", "#multiplex zip\npass") == ("changed, the next run computes a new version of c", {"c"})
    # what is nobody's
    assert wrote("unit", "pass") == ("new file; no segment runs it or depends on it", set())
    assert wrote("loose", "u = 2") == ("changed; no segment runs it or depends on it", set())
    # a script of its own, where a shorter name was taken before
    wide = project.pipeline("a -> b2")
    pipelines["P"] = wide
    assert write_segment("b2", "set_output([3])", str(project.root), pipelines).endswith(
        "new file, the next run computes a new version of b2"
    )


def test_a_name_that_is_nearly_that_of_a_segment_is_told(project: Project, here: Path) -> None:
    P = project.pipeline("observe -> period")
    said = write_segment("peroid", "pass", str(project.root), {"P": P}).partition(": ")[2]
    assert said == "new file; no segment runs it or depends on it: did you mean %%segment period?"
    assert write_segment("period", "pass", str(project.root), {"P": P}).endswith("period.py: new file")


def test_going_back_to_a_version_on_disk_is_told_as_that(project: Project, here: Path) -> None:
    project.write(a="set_output([1])", b="set_output([get_input()])")
    P = project.pipeline("a -> b")
    project.run(P)
    said = [
        write_segment("a", f"set_output([{number}])", str(project.root), {"P": P}).partition(": ")[2]
        for number in (2, 1, 1)
    ]
    assert said == [
        "changed, the next run computes a new version of a and b",
        "changed, back to versions that are on disk: a and b",
        "unchanged",
    ]
    assert P.explain().up_to_date


def test_a_directive_that_can_not_be_served_is_told(project: Project, here: Path) -> None:
    project.write(a="set_output([1])", b="pass")
    P = project.pipeline("a -> b")
    said = write_segment("b", "#depend nowhere.txt\npass", str(project.root), {"P": P})
    assert said.endswith("changed, but as it is b can't run: P.explain() says why")


# --- what is refused


@pytest.mark.parametrize(
    ("text", "error", "shown"),
    [
        ("x = 1\ny = = 2\n", CodeError, "melt.py, line 2, column 5: invalid syntax\n    y = = 2\n        ^"),
        ("return 1\n", CodeError, "melt.py, line 1"),
        ("%matplotlib inline\n", CodeError, "melt.py, line 1"),
        ("#multiplex any\n", DirectiveError, "#multiplex any"),
        ("# -*- coding: latin-1 -*-\nx = '€'\n", CodeError, "latin-1"),
    ],
)
def test_what_is_no_segment_is_refused_and_nothing_is_lost(
    here: Path, text: str, error: type[Exception], shown: str
) -> None:
    with pytest.raises(error) as refused:
        write_segment("melt", text, ".")
    assert shown in str(refused.value)
    assert str(refused.value).endswith("nothing was written")
    (here / "melt.py").write_text("x = 1\n#multiplex union\n")
    with pytest.raises(error) as refused:
        write_segment("melt", text, ".")
    assert shown in str(refused.value)
    assert str(refused.value).endswith("the file stays as it was")
    assert (here / "melt.py").read_text() == "x = 1\n#multiplex union\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "which segment?"),
        ("melt.py", "give the name without .py: %%segment melt"),
        ("2melt", "'2melt' can't be a segment's name"),
        ("for", "'for' can't be a segment's name"),
        ("../melt", "can't be a segment's name"),
        ("melt pour", "unrecognized arguments: pour"),
        ("melt --dir", "expected one argument"),
        ("melt --dir 'code", "No closing quotation"),
    ],
)
def test_a_wrong_use_shows_an_example(shell: Shell, here: Path, line: str, shown: str) -> None:
    with pytest.raises(UsageError) as refused:
        shell.cell(line, "x = 1\n")
    assert shown in str(refused.value)
    assert "For example: %%segment melt" in str(refused.value)
    assert os.listdir(here) == []


def test_what_can_not_be_written_is_told(here: Path) -> None:
    (here / "melt.py").mkdir()
    with pytest.raises(StorageError, match=r"can't read .*melt\.py"):
        write_segment("melt", "x = 1\n", ".")
    (here / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_segment("melt", "x = 1\n", "file/code")


# --- where it goes


def test_a_cell_goes_to_the_directory_that_is_named_or_that_of_the_pipeline(
    shell: Shell, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.cell("melt", "x = 1\n")
    shell.cell("melt --dir 'my code'", "x = 1\n")
    shell.user_ns["P"] = pipelet.Pipeline("melt -> pour", code_dir="code")
    shell.cell("melt", "x = 1\n")
    shell.cell("pour --dir=other", "x = 1\n")
    # outputs of cells that were shown are no pipelines of the user
    shell.user_ns["_3"] = pipelet.Pipeline("melt -> pour", code_dir="elsewhere")
    shell.user_ns["Q"] = pipelet.Pipeline("melt", code_dir="code")
    shell.cell("pour", "x = 1\n")
    found = sorted(str(path.relative_to(here)) for path in here.rglob("*.py"))
    assert found == ["code/melt.py", "code/pour.py", "melt.py", "my code/melt.py", "other/pour.py"]
    said = [line.partition(": ") for line in capsys.readouterr().out.splitlines()]
    assert [where for where, _, _ in said] == [
        "melt.py", "my code/melt.py", "code/melt.py", "other/pour.py", "code/pour.py",
    ]


def test_of_several_directories_one_must_be_named(shell: Shell, here: Path) -> None:
    shell.user_ns.update({name: pipelet.Pipeline("melt", code_dir=f"code of {name}") for name in "PQ"})
    with pytest.raises(UsageError, match="the pipelines P, Q have several code directories; say --dir 'code of P'"):
        shell.cell("melt", "x = 1\n")
    assert os.listdir(here) == []


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(here: Path) -> None:
    (here / "shared.py").write_text("x = 1\n")
    (here / "shared.py").chmod(0o640)
    (here / "melt.py").symlink_to("shared.py")
    assert write_segment("melt", "x = 2\n", ".").startswith("melt.py: changed")
    assert (here / "melt.py").is_symlink()
    assert (here / "shared.py").read_text() == "x = 2\n"
    assert (here / "shared.py").stat().st_mode & 0o777 == 0o640


def test_the_encoding_that_the_cell_names_is_that_of_the_file(here: Path) -> None:
    write_segment("melt", "# -*- coding: latin-1 -*-\nx = 'é'\n", ".")
    assert b"'\xe9'" in (here / "melt.py").read_bytes()
    write_segment("pour", "x = 'é ℓ'\n", ".")
    assert (here / "pour.py").read_text(encoding="utf-8") == "x = 'é ℓ'\n"


def test_the_extension_can_be_taken_away(shell: Shell) -> None:
    helped: Any = shell.magics["cell"]["segment"].__doc__
    assert "%%segment NAME [--dir DIR]" in helped
    pipelet.unload_ipython_extension(shell)
    assert shell.magics["cell"] == {}
