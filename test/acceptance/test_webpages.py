"""The built documentation: no dead link, no request to elsewhere, no word that is misspelt, nothing public left out."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType
from typing import get_args
from urllib.parse import unquote, urlsplit

import pytest
import webpages
from docutils.core import publish_parts
from spellchecker import SpellChecker
from support import REPOSITORY
from webpages import WebPage

import pipelet
from pipelet import launchers, utils
from pipelet.core import directives
from pipelet.environment import Environment, EnvironmentBase
from pipelet.pipeline import Pipeline

DOCS = REPOSITORY / "docs"
OWN_WORDS = DOCS / "spelling-words.txt"
#: What people read, beside the pages themselves.
TEXTS = ("README.rst", "CONTRIBUTING.rst", "CHANGELOG.rst")


@pytest.fixture(scope="module")
def pages(html: Path) -> dict[Path, WebPage]:
    """All the pages."""
    return webpages.read_all(html)


# --- links -----------------------------------------------------------------------------------------------------------


def dead_links(pages: dict[Path, WebPage]) -> list[str]:
    """Links to files that are not there, and to places that their pages do not have."""
    dead = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            fragment = unquote(parts.fragment)
            if not target.is_file():
                dead.append(f"{path.name}: {link}: there is no such file")
            elif fragment and target.suffix == ".html":
                there = pages.get(target) or webpages.read(target)
                if fragment not in there.anchors:
                    dead.append(f"{path.name}: {link}: there is no such place")
    return dead


def test_no_link_inside_the_documentation_is_dead(pages: dict[Path, WebPage]) -> None:
    assert len(pages) >= 50
    assert sum(len(page.links) for page in pages.values()) > 5000
    assert dead_links(pages) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "b.html").write_text('<p id="here">b</p>')
    (tmp_path / "a.html").write_text(
        '<p id="top"><a href="b.html#here">1</a><a href="#top">2</a><a href="#">3</a><a href="b.html#there">4</a>'
        '<a href="#bottom">5</a><img src="c.png"><br/><a href="https://example.org/x#y">6</a></p>'
    )
    assert dead_links(webpages.read_all(tmp_path.resolve())) == [
        "a.html: b.html#there: there is no such place", "a.html: #bottom: there is no such place",
        "a.html: c.png: there is no such file",
    ]


def test_the_pages_need_nothing_from_elsewhere(html: Path) -> None:
    loading = re.compile(r"""<(?:script|img|iframe)[^>]*\ssrc=["'](https?:)?//|<link[^>]*\shref=["'](https?:)?//""")
    found = [path.name for path in html.rglob("*.html") if loading.search(path.read_text(encoding="utf-8"))]
    assert found == []
    styles = [path for path in html.rglob("*.css") if re.search(r"url\([\"']?(https?:)?//", path.read_text())]
    assert styles == []


# --- spelling --------------------------------------------------------------------------------------------------------


def own_words() -> set[str]:
    """The words of our own."""
    lines = OWN_WORDS.read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


def misspelt(pages: dict[Path, WebPage]) -> list[str]:
    """Each word that no list has, with a page where it stands."""
    found: dict[str, str] = {}
    for path, page in pages.items():
        for word in page.words():
            found.setdefault(re.sub(r"'s$", "", word.lower()), path.name)
    unknown = SpellChecker(language="en").unknown(found) - own_words()
    return sorted(f"{found[word]}: {word}" for word in unknown)


def test_every_word_is_in_the_dictionary_or_in_our_list(pages: dict[Path, WebPage]) -> None:
    assert len({word for page in pages.values() for word in page.words()}) > 1500
    assert misspelt(pages) == []


def test_every_word_of_the_readme_is_known(tmp_path: Path) -> None:
    text = publish_parts((REPOSITORY / "README.rst").read_text(), writer="html5")["html_body"]
    (tmp_path / "README.html").write_text(f"<article>{text}</article>")
    pages = webpages.read_all(tmp_path)
    assert sum(len(page.words()) for page in pages.values()) > 200
    assert misspelt(pages) == []


def test_a_misspelt_word_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<article><h1>The segmnet</h1><p>Its task's <code>inptu</code> is <em>recieved</em> by pipelet.<br/> A word"
        " of <strong>matplotlib</strong>, HTTP, NaN and get_inptu.</p><pre>prnit</pre></article><p>outsdie</p>"
    )
    assert misspelt(webpages.read_all(tmp_path)) == ["a.html: recieved", "a.html: segmnet"]


def test_nothing_has_a_common_misspelling() -> None:
    sources = [str(path) for path in sorted(DOCS.rglob("*.rst"))]
    # a script that is looked for under ever shorter names
    words = [sys.executable, "-m", "codespell_lib", "-I", str(OWN_WORDS), "-L", "observ"]
    said = subprocess.run([*words, *sources, *TEXTS], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (said.stdout, said.returncode) == ("", 0), said.stdout + said.stderr


def test_our_words_are_in_order() -> None:
    lines = [line for line in OWN_WORDS.read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    assert [word for word in lines if word != word.lower()] == []


# --- nothing is left out ---------------------------------------------------------------------------------------------


def described(html: Path) -> set[str]:
    """The Python objects that have a description of their own, by their full names."""
    head, _, packed = (html / "objects.inv").read_bytes().partition(b"using zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2")
    lines = zlib.decompress(packed).decode().splitlines()
    return {line.split()[0] for line in lines if line.split()[1].startswith("py:")}


#: Where users find what is public.
HOMES = {
    "pipelet.launchers": launchers, "pipelet.utils": utils, "pipelet.pipeline.Pipeline": Pipeline,
    "pipelet.environment.EnvironmentBase": EnvironmentBase, "pipelet.environment.Environment": Environment,
}


def public(home: str, thing: type | ModuleType) -> dict[str, str]:
    """The full names of what a module or class has for its users, and what each is called where it was written."""
    chosen = getattr(thing, "__all__", None)
    found = {}
    for name, value in vars(thing).items():
        if name in chosen if chosen is not None else not name.startswith("_"):
            target = value.fget if isinstance(value, property) else value
            if inspect.isclass(target) or inspect.isfunction(target):
                found[f"{home}.{name}"] = f"{target.__module__}.{target.__qualname__}"
    return found


def test_everything_public_has_its_description(html: Path) -> None:
    names = {f"{home}.{name}": "" for name, home in pipelet._HOMES.items()}
    assert {name.rpartition(".")[2] for name in names} == set(pipelet.__all__) - {"__version__"}
    for home, thing in HOMES.items():
        names.update(public(home, thing))
    assert len(names) > 50
    known = described(html)
    assert sorted(name for name, written in names.items() if not {name, written} & known) == []


def test_every_word_of_a_directive_is_in_its_grammar() -> None:
    text = (DOCS / "reference" / "directives.rst").read_text()
    grammar = "".join(re.findall(r"^\.\. productionlist::.*\n\n?((?:   .*\n)+)", text, re.M))
    words = set(re.findall(r'"#?(\w+)"', grammar))
    assert words == {"multiplex", "depend", "where", "group_by", *get_args(directives.Kind)}
