"""What the background process does so that its memory does not grow into holes."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: Blocks that glibc has from the system by themselves: before and while there is one more large one.
COUNT = """
import ctypes
from pipelet import backgroundmain

class Facts(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd a b c d e".split()]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Facts
if {given_back}:
    backgroundmain._give_back()
# by itself glibc takes the first large one that is freed for a sign that there will be more
large = bytearray(16 << 20)
del large
before = library.mallinfo2().hblks
large = bytearray(1 << 20)
print(library.mallinfo2().hblks - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc tells of its blocks")
@pytest.mark.parametrize("given_back", [True, False])
def test_large_values_leave_no_holes_behind(given_back: bool) -> None:
    script = COUNT.format(given_back=given_back)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(told.stdout) == given_back
