"""Code with colours: lines of HTML in which each piece has a class, made by Pygments."""

from __future__ import annotations

import functools
import importlib.util

from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name

#: Larger files are not shown in colours, nor those with longer lines: what colours them may take minutes.
LARGEST = 256 << 10
_LONGEST_LINE = 4000

#: The ends of names, and the languages of which Pygments finds the pieces without trying again and again.
_LANGUAGES = {
    "py": "python", "pyx": "cython", "json": "json", "ipynb": "json", "toml": "toml", "yaml": "yaml", "yml": "yaml",
    "ini": "ini", "cfg": "ini", "sh": "bash", "c": "c", "h": "c", "cc": "cpp", "cpp": "cpp", "hpp": "cpp",
    "f": "fortran", "f90": "fortran", "jl": "julia", "r": "r", "m": "matlab", "sql": "sql", "xml": "xml", "css": "css",
    "js": "javascript", "rst": "rst", "md": "markdown", "tex": "tex",
}


def text_of(data: bytes, name: str) -> str | None:
    """Decode a file of code; ``None`` if it is no text.

    Parameters
    ----------
    data
        Its bytes, which may be cut within a sign.
    name
        Its name: Python files say their encoding.
    """
    if b"\0" in data:
        return None
    try:
        if name.endswith(".py"):
            return importlib.util.decode_source(data)
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except (SyntaxError, UnicodeError, LookupError):
        return None


@functools.lru_cache(maxsize=128)
def coloured(text: str, name: str) -> tuple[Markup, ...]:
    """Give the lines of a text as HTML.

    Parameters
    ----------
    text
        What `text_of` gave.
    name
        The file's name, which tells the language.

    Returns
    -------
    tuple of Markup
        One for each line, without its end; the text in it is escaped.
    """
    lines = text.split("\n")
    if lines and not lines[-1]:
        lines.pop()
    language = _LANGUAGES.get(name.rpartition(".")[2].lower())
    if language is not None and len(text) <= LARGEST and max(map(len, lines), default=0) <= _LONGEST_LINE:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=True)
        # Pygments closes its elements at the end of each line, and escapes what stands in them.
        made = highlight("\n".join(lines), lexer, HtmlFormatter(nowrap=True)).split("\n")
        if made and not made[-1]:
            made.pop()
        if len(made) == len(lines):
            return tuple(map(Markup, made))
    return tuple(map(escape, lines))
