"""What the viewers have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

from pipelet.web.formats import size as size_text

#: So much of a text is shown.
TEXT_BYTES = 1 << 20
#: A longer line is cut.
LINE = 2000

# Colours, titles and movements of terminals; then what else is no sign.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|[ -/]*[0-~])"
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)


class Source(NamedTuple):
    """A product that is open for reading."""

    file: BinaryIO
    name: str
    size: int


class View(NamedTuple):
    """What a page needs to show a product."""

    kind: str
    template: str
    data: Mapping[str, Any]
    notes: tuple[str, ...] = ()  #: what was left out, and why, in words


def read_part(source: Source, most: int, tail: bool = False) -> tuple[bytes, str | None]:
    """Read the beginning or the end of a file.

    Parameters
    ----------
    source
        The file.
    most
        So many bytes.
    tail
        The end, instead of the beginning.

    Returns
    -------
    tuple
        The bytes, and a word that says what was cut, if anything was.
    """
    source.file.seek(max(source.size - most, 0) if tail else 0)
    data = source.file.read(most)
    if source.size <= most:
        return data, None
    return data, f"{'Last' if tail else 'First'} {size_text(len(data))} of {size_text(source.size)}."


def decode(data: bytes, cut: bool = False) -> tuple[str, str]:
    """Guess the encoding of a text: UTF-8, UTF-16 with its mark, or else Latin-1.

    Parameters
    ----------
    data
        The text.
    cut
        Whether it is a part of a longer one: a sign may be cut at either end.

    Returns
    -------
    tuple of str
        The text, without escapes of terminals and control signs, and the encoding.
    """
    encoding = "utf-8"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding, text = "utf-16", data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if cut and ((error.start < 4 and _is_utf8(data[4:-4])) or error.start >= len(data) - 4):
                text = data.decode("utf-8", "replace")
            else:
                encoding, text = "latin-1", data.decode("latin-1")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _ESCAPES.sub("", text), encoding


def _is_utf8(data: bytes) -> bool:
    for start in range(4):
        try:
            data[start:].decode("utf-8")
            return True
        except UnicodeDecodeError as error:
            if error.start >= len(data) - start - 4:
                return True
    return False


def is_text(data: bytes) -> bool:
    """Guess whether bytes are a text: no zero, few control signs."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return True
    if b"\0" in data:
        return False
    odd = sum(byte < 32 and byte not in b"\a\b\t\n\f\r\x1b" for byte in data[:4096])
    return odd * 20 <= len(data[:4096])


def cut_line(line: str, most: int = LINE) -> str:
    """Cut a line that is too long, and say so."""
    return line if len(line) <= most else f"{line[:most]} … ({len(line):,} characters)"
