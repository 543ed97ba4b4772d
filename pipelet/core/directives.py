"""The ``#multiplex`` and ``#depend`` lines of a segment.

::

    #multiplex [cross_prod | union | zip] [where COND] [group_by EXPR]
    #depend PATTERN ...

``where`` and ``group_by`` come in either order. COND and EXPR are Python expressions in single quotes, in double quotes
or bare. One that is quoted as a whole is unquoted once: ``group_by '0'`` is the number, ``group_by "'0'"`` the text.

A quoted name that is no parent's is taken as a text, so that ``group_by 'all'`` puts everything into one class named
``all``; if it looks like a misspelt parent, it is an error.
"""

from __future__ import annotations

import ast
import difflib
import io
import re
import shlex
import tokenize
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

from pipelet.core.codeprint import TEXTS, code_digest
from pipelet.core.expressions import BUILTINS, Expression, parse_expression, unknown_names
from pipelet.errors import CodeError, DirectiveError

Kind = Literal["cross_prod", "union", "zip"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Multiplex:
    """How the outputs of the parents become inputs.

    Attributes
    ----------
    kind
        What is combined.
    where, group_by
        The expressions, without the quotes around them; ``None`` where there is none.
    line
        Where the directive stands, 0 for the default; it takes no part in comparisons.
    """

    kind: Kind = "cross_prod"
    where: str | None = None
    group_by: str | None = None
    line: int = field(default=0, compare=False)

    @property
    def canonical(self) -> str:
        """One text for all spellings of the same directive."""
        clauses = (("where", self.where), ("group_by", self.group_by))
        digests = [f"{word} {code_digest(text, '<directive>')}" for word, text in clauses if text is not None]
        return " ".join([self.kind, *digests])


@dataclass(frozen=True)
class Directives:
    """What the directives of a segment say.

    Attributes
    ----------
    multiplex
        The last ``#multiplex``, or the default.
    depends
        The patterns of all ``#depend`` lines, each with its line.
    """

    multiplex: Multiplex = Multiplex()
    depends: tuple[tuple[str, int], ...] = ()


def read_directives(source: str, filename: str, parents: Sequence[str] = ()) -> Directives:
    """Read the directives of a segment.

    Parameters
    ----------
    source
        The text of the segment.
    filename
        Its name, for messages.
    parents
        The names that expressions may use. Without them, names are not checked.

    Returns
    -------
    Directives

    Raises
    ------
    CodeError
        The text is no Python.
    DirectiveError
        A directive can't be parsed.
    """
    return _read(source.removeprefix("\ufeff"), filename, tuple(parents))


@lru_cache(maxsize=TEXTS)
def _read(source: str, filename: str, parents: tuple[str, ...]) -> Directives:
    _check_python(source, filename)
    multiplex = None
    depends: list[tuple[str, int]] = []
    for line in _directive_lines(source, filename):
        if line.word == "depend":
            depends += [(pattern, line.number) for pattern in _patterns(line)]
        else:
            multiplex = line
    return Directives(_multiplex(multiplex, parents) if multiplex else Multiplex(), tuple(depends))


# ---- lines


_DIRECTIVE = re.compile(r"#(multiplex|depend)(?![\w-])", re.ASCII)


@dataclass(frozen=True)
class _Line:
    """A line with a directive."""

    filename: str
    number: int
    text: str

    @property
    def word(self) -> str:
        return self._match().group(1)

    @property
    def start(self) -> int:
        """The column behind the directive's name."""
        return self._match().end()

    def _match(self) -> re.Match[str]:
        found = _DIRECTIVE.match(self.text)
        assert found is not None
        return found

    def error(self, column: int, message: str, advice: str) -> DirectiveError:
        """Make the error that shows the line, with a caret under a column (counted from 0)."""
        return DirectiveError(_pointed(self.filename, self.number, column, self.text, message, advice))


def _pointed(filename: str, number: int, column: int, text: str, message: str, advice: str) -> str:
    column = max(0, min(column, len(text)))
    # Tabs stay, so that the caret stands below its column however wide they are.
    blank = "".join("\t" if character == "\t" else " " for character in text[:column])
    return f"{filename}, line {number}, column {column + 1}: {message}\n    {text}\n    {blank}^\n{advice}"


def _check_python(source: str, filename: str) -> None:
    try:
        with warnings.catch_warnings():
            # The compiler says these when the segment is compiled to be run.
            warnings.simplefilter("ignore")
            ast.parse(source, filename)
    except SyntaxError as error:
        advice = "Correct the script."
        where = (error.lineno or 1, (error.offset or 1) - 1, (error.text or "").rstrip("\r\n"))
        raise CodeError(_pointed(filename, *where, f"this is no Python: {error.msg}", advice)) from error
    except (ValueError, MemoryError, RecursionError) as error:
        raise CodeError(f"{filename}: this can't be read as Python: {error}. Correct the script.") from error


def _directive_lines(source: str, filename: str) -> Iterator[_Line]:
    if "#multiplex" not in source and "#depend" not in source:
        return
    for token in tokenize.generate_tokens(io.StringIO(source, newline=None).readline):
        number, column = token.start
        if token.type == tokenize.COMMENT and column == 0 and _DIRECTIVE.match(token.string):
            yield _Line(filename, number, token.string.rstrip())


def _patterns(line: _Line) -> list[str]:
    _check_blank(line)
    words = shlex.shlex(line.text[line.start :], posix=True)
    words.whitespace_split = True
    words.commenters = ""
    patterns: list[str] = []
    try:
        for word in words:
            if word.startswith("#"):
                break
            patterns.append(word)
    except ValueError as error:
        column = line.start + _first_open_quote(line.text[line.start :])
        advice = "Put quotes on both sides of a name that has blanks, and a backslash before a quote that is meant."
        raise line.error(column, "this quote is never closed", advice) from error
    if not all(patterns):
        raise line.error(line.start, "one of the patterns is empty", "Name the files: #depend lib.py tables/*.txt")
    if not patterns:
        raise line.error(len(line.text), "#depend names no file", "Name the files: #depend lib.py tables/*.txt")
    return patterns


def _first_open_quote(text: str) -> int:
    at = 0
    while at < len(text):
        if text[at] in _QUOTES:
            end = _closing_quote(text, at)
            if end < 0:
                return at
            at = end
        at += 2 if text[at] == "\\" else 1
    return 0


def _check_blank(line: _Line) -> None:
    if line.text[line.start : line.start + 1].strip():
        advice = f"Write it with a blank: #{line.word} ..., or put a blank behind the # if it is a mere comment."
        raise line.error(line.start, f"a blank is missing after #{line.word}", advice)


# ---- #multiplex


_QUOTES = "'\""
_KEYWORDS = ("where", "group_by")
_USAGE = f"Write: #multiplex [{' | '.join(KINDS)}] [where CONDITION] [group_by EXPRESSION]"
#: How much alike a quoted name and a parent's must be to count as a slip of the pen.
_VERY_NEAR = 0.75
_NAME = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True)
class _Clause:
    """An expression in a line, with the column in the line of each of its characters and of its end."""

    word: str
    text: str
    columns: Sequence[int]
    quoted: bool


def _multiplex(line: _Line, parents: Sequence[str]) -> Multiplex:
    _check_blank(line)
    marks, end = _marks(line)
    kind = _kind(line, marks[0].start() if marks else end)
    clauses: dict[str, str] = {}
    for number, mark in enumerate(marks):
        word = mark.group()
        if word in clauses:
            advice = "Join conditions with `and`." if word == "where" else "Join the values to a tuple: (x, y)."
            raise line.error(mark.start(), f"`{word}` stands here a second time", advice)
        stop = marks[number + 1].start() if number + 1 < len(marks) else end
        clauses[word] = _expression(line, _clause(line, mark, stop), parents)
    return Multiplex(kind, clauses.get("where"), clauses.get("group_by"), line.number)


def _marks(line: _Line) -> tuple[list[re.Match[str]], int]:
    """Find the words ``where`` and ``group_by`` outside of quotes and brackets, and where the directive ends."""
    text = line.text
    found: list[re.Match[str]] = []
    brackets: list[int] = []
    at = line.start
    while at < len(text) and text[at] != "#":
        character = text[at]
        name = _NAME.match(text, at)
        if character in _QUOTES:
            end = _closing_quote(text, at)
            if end < 0:
                raise line.error(at, "this quote is never closed", "Close it, or remove it.")
            at = end
        elif name:
            if not brackets and name.group() in _KEYWORDS and text[at - 1] != ".":
                found.append(name)
            at = name.end() - 1
        elif character in "([{":
            brackets.append(at)
        elif character in ")]}":
            if not brackets:
                raise line.error(at, "this bracket closes nothing", "Open it, or remove it.")
            brackets.pop()
        at += 1
    if brackets:
        raise line.error(brackets[-1], "this bracket is never closed", "Close it, or remove it.")
    return found, at


def _closing_quote(text: str, start: int) -> int:
    """Return the place of the quote that closes the one at `start`, or -1."""
    at = start + 1
    while at < len(text) and text[at] != text[start]:
        at += 2 if text[at] == "\\" else 1
    return at if at < len(text) else -1


def _kind(line: _Line, end: int) -> Kind:
    text = line.text[line.start : end]
    column = line.start + len(text) - len(text.lstrip())
    words = text.split()
    if not words:
        return "cross_prod"
    for kind in KINDS:
        if words[0] == kind:
            if len(words) > 1:
                column = line.text.index(words[1], column + len(kind))
                message = f"`{words[1]}` is not expected after `{kind}`"
                raise line.error(column, message, _USAGE)
            return kind
    near = difflib.get_close_matches(words[0], KINDS, 1)
    hint = f"Did you mean `{near[0]}`? " if near else "A condition begins with the word where. "
    raise line.error(column, f"`{words[0]}` is no way to combine outputs", hint + _USAGE)


def _clause(line: _Line, mark: re.Match[str], stop: int) -> _Clause:
    text, start = line.text, mark.end()
    while start < stop and text[start].isspace():
        start += 1
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    if start < stop and text[start] in _QUOTES and _closing_quote(text, start) == stop - 1:
        quote, columns = text[start], list(range(start + 1, stop - 1))
        # A backslash only stands for itself here if it does not protect a quote of the kind around.
        protected = {found.start() for found in re.finditer(r"\\.", text[: stop - 1]) if found.group()[1] == quote}
        columns = [column for column in columns if column not in protected]
        while columns and text[columns[0]].isspace():
            columns.pop(0)
        while columns and text[columns[-1]].isspace():
            columns.pop()
        clause = _Clause(mark.group(), "".join(text[at] for at in columns), [*columns, stop - 1], True)
    else:
        clause = _Clause(mark.group(), text[start:stop], range(start, stop + 1), False)
    if not clause.text:
        example = "where 'a[0] == b[0]'" if clause.word == "where" else "group_by 'a[0]'"
        raise line.error(clause.columns[0], f"`{clause.word}` has no expression", f"Write, for example: {example}")
    return clause


def _expression(line: _Line, clause: _Clause, parents: Sequence[str]) -> str:
    """Check an expression, and return the text that is to be evaluated."""
    try:
        expression = parse_expression(clause.text)
    except SyntaxError as error:
        offset = error.offset or 0
        column = clause.columns[offset - 1 if 0 < offset <= len(clause.columns) else -1]
        message = f"the expression after `{clause.word}` is no Python: {error.msg}"
        advice = "Write one Python expression, bare or in quotes"
        if clause.quoted and clause.word == "group_by":
            advice += "; a text as the value needs quotes in the quotes, such as \"'all'\""
        raise line.error(column, message, f"{advice}.") from error
    tree = expression.tree
    if clause.word == "where" and isinstance(tree, ast.Constant) and isinstance(tree.value, (str, bytes)):
        advice = "Write the condition with one pair of quotes around it, or none."
        raise line.error(clause.columns[0], "this condition is a text, so it would always be true", advice)
    if not parents:
        return clause.text
    unknown = unknown_names(expression, parents)
    if clause.word == "group_by" and isinstance(tree, ast.Name) and tree.id not in parents:
        misspelt = not clause.quoted or difflib.get_close_matches(tree.id, parents, 1, _VERY_NEAR)
        if tree.id in BUILTINS or not misspelt:
            return repr(tree.id)
    if unknown:
        raise _unknown_name(line, clause, expression, unknown[0], parents)
    return clause.text


def _unknown_name(
    line: _Line, clause: _Clause, expression: Expression, name: str, parents: Sequence[str]
) -> DirectiveError:
    # The columns of syntax trees count bytes.
    offsets = [node.col_offset for node in ast.walk(expression.tree) if isinstance(node, ast.Name) and node.id == name]
    offset = len(clause.text.encode()[: min(offsets)].decode())
    near = difflib.get_close_matches(name, parents, 1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    if clause.word == "group_by" and clause.text == name:
        hint += f"For the text as the value, write \"'{name}'\". "
    known = ", ".join(parents)
    advice = f"{hint}An expression knows the parents ({known}) and Python's built-in names."
    return line.error(clause.columns[offset], f"the name `{name}` is not known here", advice)
