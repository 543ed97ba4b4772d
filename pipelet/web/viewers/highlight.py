"""Code in colours: pieces of text with the class of each; the template writes them, so nothing here is HTML."""

from __future__ import annotations

from typing import Any, BinaryIO

from pygments import lex
from pygments.lexers import TextLexer, get_lexer_by_name, get_lexer_for_filename
from pygments.token import STANDARD_TYPES, Token
from pygments.util import ClassNotFound

#: More than this is shown without colours.
LARGEST = 256 << 10

Line = list[tuple[str, str]]


def prepare() -> None:
    """Nothing more to load."""


def answer(file: BinaryIO, options: dict[str, Any]) -> list[Line]:
    """Colour a file; ``options["name"]`` tells the language."""
    text = file.read(LARGEST).decode("utf-8", "replace")
    return lines(text, name=options["name"])


def lines(text: str, name: str = "", language: str = "") -> list[Line]:
    """Cut a text into lines of coloured pieces.

    Parameters
    ----------
    text
        The code.
    name
        A file's name, which tells the language.
    language
        Or the language itself, as Pygments calls it.

    Returns
    -------
    list of list of tuple
        For each line its pieces: the class of Pygments' style sheets, and the text.
    """
    try:
        lexer = get_lexer_by_name(language) if language else get_lexer_for_filename(name)
    except ClassNotFound:
        lexer = TextLexer()
    found: list[Line] = [[]]
    for kind, piece in lex(text, lexer):
        # Kinds of a lexer's own are those of the nearest kind that has a style.
        known = next((step for step in reversed(kind.split()) if step in STANDARD_TYPES), Token)
        style = STANDARD_TYPES[known]
        first, *others = piece.split("\n")
        if first:
            found[-1].append((style, first))
        for other in others:
            found.append([(style, other)] if other else [])
    while found and not found[-1]:
        found.pop()
    return found
