"""How values are written on the pages."""

from __future__ import annotations

import pytest

from pipelet.web import formats


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (2000, "2\N{NARROW NO-BREAK SPACE}000 rows")]
)
def test_one_is_singular(value, text):
    assert formats.counted(value, "row") == text
