"""Scripts, hooks, dependencies and keys, with code directories on disk."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelet import codefiles
from pipelet.codebase import (
    SegmentCode,
    diff_ingredients,
    find_hook,
    find_script,
    read_code,
    segment_keys,
    unified,
    unlisted_imports,
)
from pipelet.core.graph import build_graph
from pipelet.depends import find_dependencies, kept_name
from pipelet.errors import CodeError, DependError, DirectiveError, PipelineError, PipelineProblems


@pytest.fixture
def code(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    folder.mkdir()
    return folder


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def read(folder: Path, dot: str = "melt") -> dict[str, SegmentCode]:
    return read_code(build_graph(dot), str(folder))


def keys(folder: Path, dot: str = "melt", environment: str = "") -> dict[str, str]:
    graph = build_graph(dot)
    return segment_keys(graph, read_code(graph, str(folder)), environment)


def depends(folder: Path, dot: str = "melt") -> list[str]:
    return [file.name for file in read(folder, dot)["melt"].dependencies]


# --- scripts ---------------------------------------------------------------------------------------------------------


def test_the_name_is_shortened_until_a_script_is_found(code: Path) -> None:
    write(code, {"m.py": "", "mel.py": "", "melts.py": ""})
    assert find_script("melt", str(code)) == str(code / "mel.py")
    assert find_script("mx", str(code)) == str(code / "m.py")
    assert find_script("xm", str(code)) is None


def test_a_folder_is_no_script_and_the_name_is_never_empty(code: Path) -> None:
    write(code, {"melt.py/x": "", ".py": ""})
    assert find_script("melt", str(code)) is None


def test_missing_scripts_are_told_at_once(code: Path) -> None:
    write(code, {"good.py": "", "observ.py": ""})
    with pytest.raises(CodeError) as caught:
        read(code, "good -> fit; ab -> fit; obverve")
    text = str(caught.value)
    assert str(code) in text
    assert "fit: looked for fit.py, fi.py, f.py" in text
    assert "ab: looked for ab.py, a.py" in text
    assert "obverve" in text
    assert "there is observ.py" in text
    assert "good" not in text


def test_the_list_for_a_very_long_name_stays_short(code: Path) -> None:
    with pytest.raises(CodeError) as caught:
        read(code, "x" * 200)
    assert len(str(caught.value)) < 2000


def test_a_code_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CodeError, match="does not exist"):
        read(tmp_path / "no", "a -> b -> c")
    (tmp_path / "file").write_text("")
    with pytest.raises(CodeError, match="no directory"):
        read(tmp_path / "file", "a -> b -> c")


def test_all_problems_come_at_once_and_a_shared_file_is_wrong_once(code: Path) -> None:
    write(code, {"s.py": "x = (\n", "fit.py": "#depend nothing.txt none.txt\n", "raw.py": "a = 1\nb = = 2\n"})
    with pytest.raises(PipelineProblems) as caught:
        read(code, "sa -> sb -> fit; sa -> raw -> gone")
    problems = caught.value.problems
    assert [type(problem) for problem in problems] == [CodeError, CodeError, DependError, DependError, CodeError]
    text = str(caught.value)
    assert f"{code / 'raw.py'}, line 2" in text
    assert "nothing.txt" in text
    assert "none.txt" in text
    assert "gone: looked for" in text


def test_what_is_wrong_in_a_shared_script_is_told_once(code: Path) -> None:
    write(code, {"s.py": "#depend nothing.txt"})
    with pytest.raises(DependError, match=r"nothing\.txt"):
        read(code, "sa -> sb -> sc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_script_that_may_not_be_read(code: Path) -> None:
    write(code, {"melt.py": ""})
    (code / "melt.py").chmod(0)
    with pytest.raises(CodeError, match=r"melt\.py can't be read"):
        read(code)


def test_a_script_that_vanishes_between_the_search_and_the_reading(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelet.codebase.find_script", lambda segment, folder: os.path.join(folder, "melt.py"))
    with pytest.raises(CodeError, match=r"melt\.py can't be read: No such file"):
        read(code)


@pytest.mark.parametrize(
    "content",
    [
        b"x = 'd\xc3\xa9j\xc3\xa0'\n",
        b"\xef\xbb\xbfx = 'd\xc3\xa9j\xc3\xa0'\n",
        b"# -*- coding: latin-1 -*-\nx = 'd\xe9j\xe0'\n",
        b"# vim: set fileencoding=iso-8859-15 :\r\nx = 'd\xe9j\xe0'\r\n",
        b"x = 'd\xc3\xa9j\xc3\xa0'",
        b"x = 'd\xc3\xa9j\xc3\xa0'\r\n\r\n",
    ],
)
def test_encodings_and_line_ends_change_nothing(code: Path, content: bytes) -> None:
    write(code, {"melt.py": "x = 'déjà'\n"})
    before = keys(code)
    write(code, {"melt.py": content})
    assert keys(code) == before
    assert read(code)["melt"].files == {"melt.py": content}


@pytest.mark.parametrize("content", [b"x = '\xe9'\n", b"# coding: no-such-encoding\n", b"# coding: ascii\nx = '\xe9'"])
def test_a_script_that_is_not_in_its_encoding(code: Path, content: bytes) -> None:
    write(code, {"melt.py": content})
    with pytest.raises(CodeError, match=r"melt\.py can't be decoded.*save it as UTF-8"):
        read(code)


def test_a_file_that_segments_share_is_read_once(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(code, {"s.py": "#depend lib.py\nhook('x', globals())", "s_x.py": "#depend lib.py", "lib.py": ""})
    opened: list[str] = []
    real = codefiles.read_file

    def counting(name: str, folder: str) -> codefiles.SourceFile:
        opened.append(name)
        return real(name, folder)

    monkeypatch.setattr("pipelet.codebase.read_file", counting)
    found = read(code, "sa -> sb; sa -> sc")
    assert sorted(opened) == ["lib.py", "s.py", "s_x.py"]
    assert found["sa"].script is found["sb"].script


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_are_found_with_the_shortening_of_the_segment(code: Path) -> None:
    write(code, {"m_plot.py": "", "me_plot.py": "", "_plot.py": "", "melt_fit.py": ""})
    assert find_hook("melt", "plot", str(code)) == str(code / "me_plot.py")
    assert find_hook("mx", "plot", str(code)) == str(code / "m_plot.py")
    assert find_hook("melt", "fit", str(code)) == str(code / "melt_fit.py")
    assert find_hook("x", "plot", str(code)) is None
    assert find_hook("melt", "../plot", str(code)) is None


def test_hooks_are_followed_through_hooks(code: Path) -> None:
    write(
        code,
        {
            "melt.py": "hook('one', globals())\nhook('absent', globals())",
            "melt_one.py": "hook('two', globals())",
            "m_two.py": "hook('one', globals())",
            "melt_three.py": "",
        },
    )
    found = read(code)["melt"]
    assert {name: file.name for name, file in found.hooks.items()} == {"one": "melt_one.py", "two": "m_two.py"}
    assert {name for name in found.ingredients if name.startswith("hook")} == {"hook melt_one.py", "hook m_two.py"}
    assert set(found.files) == {"melt.py", "melt_one.py", "m_two.py"}


def test_a_computed_name_may_be_any_candidate(code: Path) -> None:
    write(
        code,
        {
            "melt.py": "for name in 'ab':\n    hook(name, globals())",
            "melt_a.py": "",
            "m_b.py": "",
            "m_a.py": "",
            "x_b.py": "",
            "_c.py": "",
            "melt_notes.txt": "",
            "melt_old.py": "print 'a Python 2 script'",
        },
    )
    found = read(code)["melt"].hooks
    assert {name: file.name for name, file in found.items()} == {
        "a": "melt_a.py",
        "b": "m_b.py",
        "old": "melt_old.py",
    }


def test_a_candidate_has_every_name_by_which_it_can_be_called(code: Path) -> None:
    write(code, {"fit_a.py": "hook(str(1), globals())", "fit_a_plot.py": ""})
    found = read(code, "fit_a")["fit_a"].hooks
    assert {name: file.name for name, file in found.items()} == {
        "plot": "fit_a_plot.py",
        "a_plot": "fit_a_plot.py",
        "a": "fit_a.py",
    }


def test_a_hook_that_is_called_must_be_right_though_it_was_a_candidate_before(code: Path) -> None:
    write(code, {"melt.py": "hook(x, globals())", "melt_a.py": "hook('b', globals())", "melt_b.py": "1 +"})
    with pytest.raises(CodeError, match=r"melt_b\.py, line 1"):
        read(code)


def test_a_hook_that_does_not_parse(code: Path) -> None:
    write(code, {"melt.py": "hook('plot', globals())", "melt_plot.py": "x =\n"})
    with pytest.raises(CodeError, match=r"melt_plot\.py, line 1"):
        read(code)


def test_a_hook_whose_name_is_no_part_of_a_file_name(code: Path) -> None:
    write(code, {"melt.py": "hook('../plot', globals())"})
    with pytest.raises(CodeError, match=r"melt\.py: the name of a hook"):
        read(code)


def test_a_multiplex_in_a_hook_is_refused(code: Path) -> None:
    write(code, {"a.py": "", "melt.py": "hook('plot', globals())", "melt_plot.py": "x = 1\n#multiplex union\n"})
    with pytest.raises(DirectiveError, match=r"melt_plot\.py, line 2"):
        read(code, "a -> melt")
    # As a segment of its own the script may well have one.
    assert read(code, "a -> melt; a -> melt_plot")["melt"].multiplex.kind == "cross_prod"
    # And what is only a candidate may be anything.
    write(code, {"melt.py": "hook(x, globals())"})
    assert set(read(code, "a -> melt")["melt"].hooks) == {"plot"}


def test_a_hook_that_appears_changes_the_key(code: Path) -> None:
    write(code, {"melt.py": "hook('plot', globals())"})
    before = keys(code)
    write(code, {"melt_plot.py": "1"})
    assert keys(code) != before


# --- dependencies ----------------------------------------------------------------------------------------------------


@pytest.fixture
def library(code: Path) -> Path:
    write(
        code,
        {
            "lib.py": "x = 1\n",
            "tables/a.txt": "a",
            "tables/b.txt": "b",
            "tables/deep/c.txt": "c",
            "tables/.hidden.txt": "h",
            "tables/__pycache__/lib.cpython-311.pyc": "",
            "odd [1].txt": "o",
        },
    )
    return code


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("lib.py", ["lib.py"]),
        ("./lib.py", ["lib.py"]),
        ("lib.py tables/a.txt", ["lib.py", "tables/a.txt"]),
        ("lib.py\n#depend tables/a.txt", ["lib.py", "tables/a.txt"]),
        ("tables/*.txt", ["tables/a.txt", "tables/b.txt"]),
        ("tables/*", ["tables/a.txt", "tables/b.txt"]),
        ("tables/?.txt", ["tables/a.txt", "tables/b.txt"]),
        ("tables/[b-z].txt", ["tables/b.txt"]),
        ("tables/.*.txt", ["tables/.hidden.txt"]),
        ("tables/.hidden.txt", ["tables/.hidden.txt"]),
        ("tables/**", ["tables/a.txt", "tables/b.txt", "tables/deep/c.txt"]),
        ("**/*.txt", ["odd [1].txt", "tables/a.txt", "tables/b.txt", "tables/deep/c.txt"]),
        ("**/c.txt", ["tables/deep/c.txt"]),
        ("*/deep/*", ["tables/deep/c.txt"]),
        ("tables", ["tables/a.txt", "tables/b.txt", "tables/deep/c.txt"]),
        ("tables/", ["tables/a.txt", "tables/b.txt", "tables/deep/c.txt"]),
        ("lib.py melt.py", ["lib.py"]),
    ],
)
def test_patterns(library: Path, pattern: str, expected: list[str]) -> None:
    write(library, {"melt.py": f"#depend {pattern}\n"})
    assert depends(library) == expected


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("nothing.txt", "matches no file"),
        ("tables/*.dat", "matches no file"),
        ("lib", r"did you mean `#depend lib\.py`"),
        ("tables.deep", "did you mean `#depend tables/deep`"),
        ("tables/d*", r"only folders; write `#depend tables/d\*/\*\*`"),
        ("../lib.py", r"`\.\.` may lead out"),
        ("tables/../lib.py", r"`\.\."),
        ("/etc/hostname", "relative to the code directory; copy the file"),
        ("~/lib.py", "relative to the code directory"),
        ("lib.py/x", "matches no file"),
    ],
)
def test_bad_patterns(library: Path, pattern: str, words: str) -> None:
    write(library, {"melt.py": f"x = 1\n\n#depend {pattern}\n"})
    with pytest.raises(DependError, match=words) as caught:
        read(library)
    assert f"{library / 'melt.py'}, line 3" in str(caught.value)
    assert f"#depend {pattern}" in str(caught.value)


def test_an_absolute_name_inside_the_code_directory_is_told_how_to_be_written(library: Path) -> None:
    write(library, {"melt.py": f"#depend {library}/tables/a.txt\n"})
    with pytest.raises(DependError, match=r"write `#depend tables/a\.txt`"):
        read(library)


def test_an_empty_folder_and_what_is_no_file(library: Path) -> None:
    (library / "empty").mkdir()
    write(library, {"melt.py": "#depend empty"})
    with pytest.raises(DependError, match="matches no file"):
        read(library)
    os.mkfifo(library / "pipe")
    write(library, {"melt.py": "#depend pipe"})
    with pytest.raises(DependError, match="no regular file"):
        read(library)


def test_patterns_that_the_system_can_not_look_up(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DependError, match="NUL"):
        find_dependencies("a\0b", str(library), "melt.py", 1)
    with pytest.raises(DependError, match="matches no file"):
        find_dependencies("a" * 300, str(library), "melt.py", 1)

    def refused(directory: str) -> list[str]:
        raise PermissionError(13, "Permission denied", directory)

    monkeypatch.setattr("pipelet.depends.os.listdir", refused)
    with pytest.raises(DependError, match=r"melt\.py, line 1.*tables can't be read: Permission denied"):
        find_dependencies("tables/*", str(library), "melt.py", 1)


@pytest.mark.parametrize("pattern", ["out.txt", "*.txt", "**/*.txt", "outside/x.txt", "outside", "outside/*", "**/x*"])
def test_links_that_lead_out_are_refused(code: Path, pattern: str) -> None:
    write(code.parent / "beyond", {"x.txt": ""})
    (code / "out.txt").symlink_to("../beyond/x.txt")
    (code / "outside").symlink_to("../beyond")
    write(code, {"melt.py": f"#depend {pattern}"})
    with pytest.raises(DependError, match="leads out of the code directory"):
        read(code)


def test_links_that_stay_inside_are_followed_and_never_for_ever(library: Path) -> None:
    (library / "link.txt").symlink_to("tables/a.txt")
    (library / "more").symlink_to("tables")
    (library / "tables" / "up").symlink_to("..")
    write(library, {"melt.py": "#depend link.txt more/*.txt"})
    assert depends(library) == ["link.txt", "more/a.txt", "more/b.txt"]
    write(library, {"melt.py": "#depend **/c.txt"})
    assert set(depends(library)) >= {"tables/deep/c.txt", "more/deep/c.txt"}


def test_a_code_directory_behind_a_link(library: Path) -> None:
    write(library, {"melt.py": "#depend tables/*.txt"})
    (library.parent / "link").symlink_to("code")
    assert depends(library.parent / "link") == ["tables/a.txt", "tables/b.txt"]


def test_instances_below_the_code_directory_are_no_dependencies(library: Path) -> None:
    write(library, {"melt.py": "#depend **/lib*.py", "melt_YFLJ65/melt.meta": "{}", "melt_YFLJ65/lib.py": ""})
    write(library, {"maps_PLANCK/lib2.py": ""})
    assert depends(library) == ["lib.py", "maps_PLANCK/lib2.py"]


def test_hooks_have_dependencies_too(library: Path) -> None:
    write(library, {"melt.py": "#depend lib.py\nhook('x', globals())", "melt_x.py": "#depend tables/a.txt"})
    assert depends(library) == ["lib.py", "tables/a.txt"]
    assert read(library)["melt"].directives[1:] == ("#depend lib.py", "#depend tables/a.txt")


def test_dependencies_are_in_the_key_by_content(library: Path) -> None:
    write(library, {"melt.py": "#depend lib.py tables/a.txt"})
    before = keys(library)
    write(library, {"lib.py": "# more words\nx   =   1\n"})
    assert keys(library) == before
    write(library, {"lib.py": "x = 2\n"})
    assert keys(library) != before
    write(library, {"lib.py": "x = 1\n", "tables/a.txt": "a\n"})
    assert keys(library) != before
    write(library, {"tables/a.txt": "a"})
    assert keys(library) == before


def test_a_python_file_that_does_not_parse_counts_by_its_bytes(library: Path) -> None:
    write(library, {"melt.py": "#depend lib.py\n", "lib.py": "print 'old'  # glob_seg('a')\n"})
    before = keys(library)
    assert read(library)["melt"].mentions >= {"glob_seg"}
    assert read(library)["melt"].glob_segs is None
    write(library, {"lib.py": "print 'old'\n"})
    assert keys(library) != before
    write(library, {"lib.py": b"# coding: ascii\nx = '\xe9 get_data_fn'\n"})
    assert read(library)["melt"].mentions >= {"get_data_fn"}


def test_a_module_of_a_package_brings_what_python_needs_beside_it(code: Path) -> None:
    write(
        code,
        {
            "melt.py": "#depend pkg/a.py\nimport pkg.b, other",
            "pkg/__init__.py": "from .c import f",
            "pkg/a.py": "",
            "pkg/b.py": "from . import d",
            "pkg/c.py": "",
            "pkg/d.py": "import numpy",
            "pkg/unused.py": "",
            "other.py": "from pkg.sub import e",
            "pkg/sub/__init__.py": "",
            "pkg/sub/e.py": "",
        },
    )
    assert depends(code) == [
        "pkg/__init__.py",
        "pkg/a.py",
        "pkg/b.py",
        "pkg/c.py",
        "pkg/d.py",
        "pkg/sub/__init__.py",
        "pkg/sub/e.py",
    ]
    assert unlisted_imports(read(code)["melt"], str(code)) == ["other.py"]
    before = keys(code)
    write(code, {"pkg/d.py": "import scipy"})
    assert keys(code) != before


# --- what is kept ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("lib.py", "lib.py"),
        ("tables/data/a.txt", "tables/data/a.txt"),
        ("data/a.txt", "depend/data/a.txt"),
        ("data", "depend/data"),
        ("Data/a.txt", "depend/Data/a.txt"),
        ("superseded/x", "depend/superseded/x"),
        ("log/x", "depend/log/x"),
        ("depend/data/a.txt", "depend/depend/data/a.txt"),
        ("fit_YFLJ65/x", "depend/fit_YFLJ65/x"),
        ("fit_YFLJ65ABC", "depend/fit_YFLJ65ABC"),
        ("fit_abcdef/x", "fit_abcdef/x"),
        ("melt.meta", "depend/melt.meta"),
        ("x.args", "depend/x.args"),
        ("x.journal", "depend/x.journal"),
        ("x.tag", "depend/x.tag"),
        ("t/x.tag", "t/x.tag"),
    ],
)
def test_kept_names(name: str, kept: str) -> None:
    assert kept_name(name) == kept


@given(st.sets(st.sampled_from(["data", "depend", "depend/data", "depend/depend/data", "log/x", "depend/log/x", "x"])))
def test_kept_names_never_meet(names: set[str]) -> None:
    assert len({kept_name(name) for name in names}) == len(names)


def test_what_is_kept_is_what_was_read(library: Path) -> None:
    write(library, {"melt.py": "#depend lib.py data/x.txt", "data/x.txt": "x"})
    found = read(library)["melt"]
    write(library, {"melt.py": "changed", "lib.py": "changed", "data/x.txt": "changed"})
    assert found.files == {
        "melt.py": b"#depend lib.py data/x.txt",
        "lib.py": b"x = 1\n",
        "depend/data/x.txt": b"x",
    }
    assert pickle.loads(pickle.dumps(found)) == found


# --- what the code says ----------------------------------------------------------------------------------------------


def test_mentions_stand_anywhere(library: Path) -> None:
    write(
        library,
        {
            "melt.py": "#depend lib.py tables/a.txt\nf = get_data_fn\nhook('x', globals())\nmy_glob_parents = 1",
            "melt_x.py": "'load_param'",
            "lib.py": "def f(glob_seg): return glob_seg('a', '*')",
            "tables/a.txt": "save_param",
        },
    )
    found = read(library)["melt"]
    assert found.mentions == {"get_data_fn", "hook", "load_param", "glob_seg"}
    narrow = read_code(build_graph("melt"), str(library), {"load_param"})["melt"]
    assert narrow.mentions == {"load_param"}


@pytest.mark.parametrize(
    ("script", "hook", "expected"),
    [
        ("", "", set()),
        ("glob_seg('a', '*')", "", {"a"}),
        ("glob_seg('a', '*')", "glob_seg('b', '*')", {"a", "b"}),
        ("glob_seg('a', '*')", "glob_seg(name, '*')", None),
        ("# glob_seg('a', '*')", "", set()),
    ],
)
def test_segments_that_are_looked_through(code: Path, script: str, hook: str, expected: set[str] | None) -> None:
    write(code, {"melt.py": f"{script}\nhook('x', globals())", "melt_x.py": hook})
    assert read(code)["melt"].glob_segs == expected


def test_imports_and_directives(library: Path) -> None:
    write(
        library, {"melt.py": "import numpy as np\n#depend lib.py\n#multiplex union\n", "lib.py": "from os import path"}
    )
    write(library, {"a.py": ""})
    found = read(library, "a -> melt")["melt"]
    assert found.imports == {"numpy", "os"}
    assert found.multiplex.kind == "union"
    assert found.directives == ("#multiplex union", "#depend lib.py")
    write(library, {"melt.py": "#multiplex where 'a  > 1' group_by \"'all'\""})
    assert read(library, "a -> melt")["melt"].directives == ("#multiplex cross_prod where a  > 1 group_by 'all'",)


def test_a_directive_that_can_not_be_parsed(code: Path) -> None:
    write(code, {"a.py": "", "melt.py": "#multiplex nonsense\n"})
    with pytest.raises(DirectiveError, match=r"melt\.py"):
        read(code, "a -> melt")


def test_unlisted_imports(code: Path) -> None:
    write(
        code,
        {
            "melt.py": "#depend listed.py\nimport listed, one, os\nhook('x', globals())",
            "melt_x.py": "def f():\n    from pkg.deep import g",
            "listed.py": "import two",
            "one.py": "import melt_x, three",
            "two.py": "import one",
            "three.py": "this is broken",
            "unused.py": "",
            "pkg/__init__.py": "",
            "pkg/deep.py": "from .deeper import h",
            "pkg/deeper.py": "",
        },
    )
    found = unlisted_imports(read(code)["melt"], str(code))
    assert found == ["one.py", "pkg/__init__.py", "pkg/deep.py", "pkg/deeper.py", "three.py", "two.py"]


# --- keys ------------------------------------------------------------------------------------------------------------

DOT = "a -> b -> d; a -> c -> d; e -> f;"
BELOW = {"a": set("abcd"), "b": set("bd"), "c": set("cd"), "d": set("d"), "e": set("ef"), "f": set("f")}


@pytest.fixture
def pipeline(code: Path) -> Path:
    for segment in "abcdef":
        text = f"'''segment {segment}'''\n#depend lib_{segment}.py\nhook('h', globals())\nx = 1  # one\n"
        write(code, {f"{segment}.py": text, f"{segment}_h.py": "y = 1\n", f"lib_{segment}.py": "z = 1\n"})
    return code


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {segment for segment in before if before[segment] != after[segment]}


def test_the_form_of_a_key(pipeline: Path) -> None:
    found = keys(pipeline, DOT)
    assert all(re.fullmatch("[A-Z2-7]{52}", key) for key in found.values())
    assert len(set(found.values())) == 6
    assert keys(pipeline, DOT) == found


EDITS = {
    "{}.py": ["x = 2\n", "x = 1\n'''segment a'''\n", "#depend lib.py\n#depend lib_{}.py\n"],
    "{}_h.py": ["y = 2\n", ""],
    "lib_{}.py": ["z = 2\n", "import os\nz = 1\n"],
}


def _edit(template: str, segment: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text.format(segment) for text in EDITS[template]])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_change_goes_down_and_nowhere_else(pipeline: Path, data: st.DataObject) -> None:
    write(pipeline, {"lib.py": ""})
    before = keys(pipeline, DOT)
    edited = data.draw(st.sets(st.sampled_from("abcdef"), max_size=3))
    templates = {segment: data.draw(st.sampled_from(sorted(EDITS))) for segment in sorted(edited)}
    new = {templates[segment].format(segment): data.draw(_edit(templates[segment], segment)) for segment in templates}
    old = {name: (pipeline / name).read_bytes() for name in new}
    write(pipeline, new)
    try:
        assert changed(before, keys(pipeline, DOT)) == set().union(*(BELOW[segment] for segment in edited))
    finally:
        write(pipeline, old)
    assert keys(pipeline, DOT) == before


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_comments_and_layout_change_nothing(pipeline: Path, data: st.DataObject) -> None:
    before = keys(pipeline, DOT)
    old = {path.name: path.read_bytes() for path in pipeline.glob("*.py")}
    try:
        for name in data.draw(st.sets(st.sampled_from(sorted(old)), min_size=1)):
            lines = old[name].decode().splitlines()
            for _ in range(data.draw(st.integers(1, 3))):
                place = data.draw(st.integers(0, len(lines)))
                lines.insert(place, data.draw(st.sampled_from(["# a remark", "", "   ", "## depend", "# #depend x"])))
            write(pipeline, {name: data.draw(st.sampled_from(["\n", "\r\n"])).join(lines)})
        assert keys(pipeline, DOT) == before
    finally:
        write(pipeline, old)


def test_unrelated_files_and_the_place_of_the_code_change_nothing(pipeline: Path, tmp_path: Path) -> None:
    write(pipeline, {"notes.py": "1", "aa.py": "2", "ah.py": "3"})
    before = keys(pipeline, DOT)
    (pipeline / "notes.py").rename(pipeline / "other_notes.py")
    write(pipeline, {"aa.py": "22", "main.py": "", "b_unused.py": ""})
    assert keys(pipeline, DOT) == before
    moved = tmp_path / "elsewhere" / "deep"
    shutil.move(str(pipeline), str(moved))
    assert keys(moved, DOT) == before


def test_no_absolute_path_is_in_what_makes_a_key(pipeline: Path) -> None:
    for found in read(pipeline, DOT).values():
        assert str(pipeline) not in repr((found.ingredients, found.directives, list(found.files)))


def test_a_copy_of_a_shared_script_under_the_segments_own_name_changes_nothing(code: Path) -> None:
    write(code, {"s.py": "hook('h', globals())\n", "s_h.py": "1\n"})
    before = keys(code, "sa -> sb")
    write(code, {"sa.py": "hook('h', globals())\n", "sa_h.py": "1\n"})
    assert keys(code, "sa -> sb") == before
    write(code, {"sa_h.py": "2\n"})
    assert changed(before, keys(code, "sa -> sb")) == {"sa", "sb"}


def test_segments_of_one_code_have_keys_of_their_own(code: Path) -> None:
    write(code, {"s.py": ""})
    assert len(set(keys(code, "sa; sb; sc").values())) == 3


def test_the_name_of_a_hook_and_of_a_dependency_is_in_the_key(code: Path) -> None:
    write(code, {"melt.py": "hook('a', globals())\nhook('b', globals())\n#depend *.txt", "melt_a.py": "1", "x.txt": ""})
    before = keys(code)
    (code / "melt_a.py").rename(code / "melt_b.py")
    middle = keys(code)
    assert middle != before
    (code / "x.txt").rename(code / "y.txt")
    assert keys(code) != middle


def test_directives_environment_and_parents_are_in_the_key(pipeline: Path) -> None:
    before = keys(pipeline, DOT)
    assert changed(before, keys(pipeline, DOT, "an environment")) == set("abcdef")
    assert changed(before, keys(pipeline, "a -> b -> d; a -> c; c -> d; e -> f")) == set()
    assert changed(before, keys(pipeline, "a -> c -> d; a -> b -> d; e -> f")) == {"d"}
    assert changed(before, keys(pipeline, "a -> b -> d; a -> c; e -> f")) == {"d"}
    text = (pipeline / "d.py").read_text()
    write(pipeline, {"d.py": text + "#multiplex union\n"})
    assert changed(before, keys(pipeline, DOT)) == {"d"}
    write(pipeline, {"d.py": text + "#multiplex cross_prod\n"})
    assert changed(before, keys(pipeline, DOT)) == set()
    write(pipeline, {"d.py": text + "#multiplex cross_prod where 'b == c'\n"})
    quoted = keys(pipeline, DOT)
    assert changed(before, quoted) == {"d"}
    write(pipeline, {"d.py": text + '#multiplex where "b == c"  \n'})
    assert keys(pipeline, DOT) == quoted


def test_ingredients(pipeline: Path) -> None:
    found = read(pipeline, DOT)["a"].ingredients
    assert set(found) == {"code a.py", "hook a_h.py", "depend lib_a.py", "multiplex"}
    assert all(re.fullmatch("[0-9a-f]+", digest) for digest in found.values())


# --- differences -----------------------------------------------------------------------------------------------------


def test_diff_ingredients() -> None:
    old = {"code a.py": "1", "hook a_h.py": "2", "multiplex": "3"}
    new = {"code a.py": "1", "depend lib.py": "2", "multiplex": "4"}
    assert diff_ingredients(old, new) == ["depend lib.py", "hook a_h.py", "multiplex"]
    assert diff_ingredients(new, new) == []


def test_a_diff_for_people() -> None:
    diff = unified(b"a\nb\nc\n", b"a\nB\nc\n", "melt.py")
    assert diff.splitlines() == [
        "--- melt.py (before)",
        "+++ melt.py (now)",
        "@@ -1,3 +1,3 @@",
        " a",
        "-b",
        "+B",
        " c",
    ]
    assert unified(b"same", b"same", "melt.py") == ""
    assert unified(None, None, "melt.py") == ""


@pytest.mark.parametrize(
    ("old", "new", "name", "expected"),
    [
        (None, b"a\n", "m.py", ["--- m.py (not there before)", "+++ m.py (now)", "@@ -0,0 +1 @@", "+a"]),
        (b"a\n", None, "m.py", ["--- m.py (before)", "+++ m.py (no longer there)", "@@ -1 +0,0 @@", "-a"]),
        (b"a\r\n", b"a\n", "m.py", ["m.py: only line ends or the encoding differ"]),
        (b"# coding: latin-1\n'\xe9'\n", b"'\xc3\xa9'\n", "m.py", ["-# coding: latin-1", " 'é'"]),
        (b"\0\1", b"\0\1\2", "t.bin", ["t.bin: 2 bytes before, 3 bytes now"]),
        (None, b"\0", "t.bin", ["t.bin: not there before, 1 bytes now"]),
        (b"\xff", b"a", "t.txt", ["t.txt: 1 bytes before and now, with another content"]),
        (
            b"1\n" * 9000, b"1\n2\n" * 4500, "t.txt",
            ["t.txt: 9000 lines before, 9000 lines now, the first that differs is line 2", "-1", "+2"],
        ),
        (
            b"1\n" * 9000, b"1\n" * 4000, "t.txt",
            ["t.txt: 9000 lines before, 4000 lines now, the first that differs is line 4001", "-1"],
        ),
        (b"x" * 2_000_000, b"a", "t.txt", ["t.txt: 2000000 bytes before, 1 bytes now"]),
        (b"\n" * 30_000, b"a", "t.txt", ["t.txt: 30000 bytes before, 1 bytes now"]),
    ],
)
def test_diffs(old: bytes | None, new: bytes | None, name: str, expected: list[str]) -> None:
    lines = unified(old, new, name).splitlines()
    assert [line for line in lines if line in expected] == expected
    assert len(lines) == len(expected) or name == "m.py"


def test_a_change_in_one_place_of_a_long_file_is_shown() -> None:
    lines = unified(b"1\n" * 9000 + b"2\n", b"1\n" * 9000 + b"3\n", "t.txt").splitlines()
    assert lines[2:] == ["@@ -8998,4 +8998,4 @@", " 1", " 1", " 1", "-2", "+3"]
    assert len(unified(None, b"1\n" * 9000, "t.txt").splitlines()) == 9003


def test_a_missing_line_end_does_not_run_lines_together() -> None:
    lines = unified(b"a\nb", b"a\nc", "t.txt").splitlines()
    assert [line for line in lines if line[:1] in "+-" and line[:3] not in ("---", "+++")] == ["-b", "+c"]


def test_all_errors_are_errors_in_the_description(code: Path) -> None:
    with pytest.raises(PipelineError):
        read(code)
