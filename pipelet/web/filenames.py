"""Names of files in the query of an address: that has to be UTF-8, and names need not be."""

from __future__ import annotations

import re

_ODD = re.compile("[%\udc80-\udcff]")
_TOLD = re.compile("%(25|[89A-F][0-9A-F])")


def to_query(name: str) -> str:
    """Write a name so that it can stand in a query: bytes that are no UTF-8, and percent signs, as ``%FF``."""
    return _ODD.sub(lambda sign: f"%{ord(sign[0]) & 0xFF:02X}", name)


def from_query(text: str) -> str:
    """Read what `to_query` wrote; all else stays as it is."""
    return _TOLD.sub(lambda code: "%" if code[1] == "25" else chr(0xDC00 + int(code[1], 16)), text)
