"""What the tutorial, the how-to pages and the explanations show is done here, and must come out as it stands there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from manual import Block, Differs, Player, blocks
from support import REPOSITORY

DOCS = REPOSITORY / "docs"
STATIC = DOCS / "_static"
sys.path += [str(DOCS), str(REPOSITORY)]
import multiplextable  # noqa: E402

from docs.pictures import diagrams, graphs, tree  # noqa: E402

TUTORIAL = tuple(
    DOCS / "tutorial" / f"{name}.rst"
    for name in ("introduction", "writing-pipes", "running-pipes", "browsing", "examples")
)
#: A scenario is played in one directory: the tutorial from its first page to its last, any other page by itself.
SCENARIOS = {
    "tutorial": TUTORIAL,
    **{
        f"{folder}/{page.stem}": (page,)
        for folder in ("howto", "explanation")
        for page in sorted((DOCS / folder).glob("*.rst"))
    },
}
#: How many blocks may be left out, over all pages.
MOST_LEFT_OUT = 10
#: Ways to show code that this test does not see.
HIDDEN = re.compile(
    r"^(?! *\.\. ).*::$|^ *\.\. (?:code|sourcecode|parsed-literal|highlight|doctest|testcode|prompt)::", re.MULTILINE
)


def all_blocks() -> list[Block]:
    """All blocks of all scenarios."""
    return [block for pages in SCENARIOS.values() for page in pages for block in blocks(page)]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_what_the_pages_show_is_what_comes(scenario: str, tmp_path: Path) -> None:
    home, commands = tmp_path / "home", tmp_path / "commands"
    home.mkdir()
    commands.mkdir()
    player = Player(home, commands)
    try:
        for page in SCENARIOS[scenario]:
            for block in blocks(page):
                player.play(block)
    finally:
        player.close()


def test_every_page_of_the_tutorial_is_played() -> None:
    assert {page.stem for page in (DOCS / "tutorial").glob("*.rst")} == {page.stem for page in TUTORIAL}


def test_few_blocks_are_left_out_and_each_says_why() -> None:
    found = all_blocks()
    left_out = [block for block in found if block.left_out is not None]
    assert [block.where for block in left_out if len((block.left_out or "").split()) < 3] == []
    assert len(left_out) <= MOST_LEFT_OUT, [f"{block.where}: {block.left_out}" for block in left_out]
    assert len(left_out) < len(found) / 8


def test_no_code_hides_from_this_test() -> None:
    pages = {page for pages in SCENARIOS.values() for page in pages}
    assert [f"{page.name}: {found[0]}" for page in pages for found in HIDDEN.finditer(page.read_text())] == []


# --- pictures --------------------------------------------------------------------------------------------------------


def test_every_picture_is_on_a_page_and_every_page_has_its_pictures() -> None:
    made = {str(path.relative_to(STATIC)) for path in STATIC.glob("*/*")}
    text = "".join(page.read_text() for page in DOCS.rglob("*.rst"))
    shown = set(re.findall(r"^ *\.\. (?:image|figure|literalinclude):: (?:\.\./)?_static/(\S+)$", text, re.MULTILINE))
    assert made == shown
    assert [path.name for path in (STATIC / "pictures").iterdir() if path.stat().st_size > 200_000] == []


def test_the_drawn_pictures_can_be_made_anew(tmp_path: Path) -> None:
    made, scratch = tmp_path / "made", tmp_path / "scratch"
    made.mkdir()
    scratch.mkdir()
    graphs.make(made, scratch)
    diagrams.make(made, scratch)
    kept = {path.name: path.read_text() for path in (STATIC / "pictures").glob("*.svg")}
    assert {path.name for path in made.iterdir()} == set(kept)
    # another release of dot draws the same elsewhere
    titles = re.compile(r"<title>(.*?)</title>|<text[^>]*>(.*?)</text>")
    for path in made.iterdir():
        assert titles.findall(path.read_text()) == titles.findall(kept[path.name]), path.name


def test_the_tree_that_the_tutorial_shows_is_the_one_that_a_run_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    assert tree.text(tmp_path) == (STATIC / "pictures" / "tree.txt").read_text()


# --- tables ----------------------------------------------------------------------------------------------------------


def test_a_table_of_a_directive_is_what_the_engine_gives() -> None:
    example = multiplextable.read(["a = [1, 2, 2]", "b", "#multiplex cross_prod"])
    worked = multiplextable.work(example, silent_tasks=2)
    assert worked.head == ["get_input()", 'get_input("a")', 'get_input("b")', "parent tasks"]
    assert worked.rows == [["1", "1", "None", "a 1; b 1, 2"], ["2", "2", "None", "a 2, 3; b 1, 2"]]
    zipped = multiplextable.work(multiplextable.read(["a = [1, 2]", "b = [1]", "#multiplex zip"]))
    assert zipped.rows == []
    assert "a has 2, b has 1" in zipped.error
    with pytest.raises(ValueError, match="neither"):
        multiplextable.read(["a: 1"])


def test_there_is_a_table_for_each_combination() -> None:
    shown = re.findall(r"^   (#multiplex .*)$", (DOCS / "howto" / "multiplex.rst").read_text(), re.MULTILINE)
    for kind in ("cross_prod", "union", "zip"):
        for clause in ("", " where ", " group_by "):
            assert any(line.startswith(f"#multiplex {kind}{clause}") for line in shown), f"{kind}{clause}"
    assert any(" where " in line and " group_by " in line for line in shown)


# --- the test can fail -----------------------------------------------------------------------------------------------


def played(tmp_path: Path, text: str) -> Player:
    """Play a page with this text."""
    for name in ("home", "commands"):
        (tmp_path / name).mkdir()
    player = Player(tmp_path / "home", tmp_path / "commands")
    for block in blocks(Path("page.rst"), text):
        player.play(block)
    return player


GOOD = """
.. code-block:: python
   :caption: double.py

   print(2 * int(input()), "is", "melt_ABCDEF")

.. manual: types 4

.. code-block:: console

   $ python3 double.py
   8 is melt_ZZZZZZ
   $ mkdir deep; cd deep; pwd
   /home/ada/deep

.. manual: ends with 3

.. code-block:: console

   $ ls
   $ (echo one; echo two; echo three) && exit 3
   one
   ...
   three

.. manual: not run, it needs a moon

.. code-block:: console

   $ land

.. code-block:: python

   a = 5

.. code-block:: pycon

   >>> a + 1
   6

.. code-block:: dot

   a -> b
"""


def test_a_page_is_played(tmp_path: Path) -> None:
    player = played(tmp_path, GOOD)
    assert player.where == tmp_path / "home" / "deep"


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("8 is", "9 is", "line 9: `python3 double.py` shows\n9 is"),
        ("print(2", "print(]", "`python3 double.py` ended with 1"),
        ("exit 3", "exit 4", "ended with 4"),
        ("manual: ends with 3", "a comment", "ended with 3"),
        ("   three", "   four", "shows\none\n...\nfour"),
        ("a = 5", "a = b", "NameError: name 'b' is not defined"),
        ("   6", "   7", "Expected:\n    7\nGot:\n    6"),
        (":: dot", ":: nothing", "nobody knows what to do with 'nothing'"),
        ("not run, it needs a moon", "ends with 0", "ended with 127"),
    ],
)
def test_what_is_wrong_on_a_page_is_noticed(tmp_path: Path, good: str, bad: str, message: str) -> None:
    assert GOOD.count(good) == 1
    with pytest.raises(Differs) as caught:
        played(tmp_path, GOOD.replace(good, bad))
    assert message in str(caught.value)


def test_a_graph_that_is_none_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="has no direction"):
        played(tmp_path, GOOD.replace("a -> b", "a -- b"))
