"""A small pipeline that ran twice, with everything changed in between that the compare page tells of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pipelet.launchers import launch_interactive
from pipelet.pipeline import Pipeline
from pipelet.statusdb import InstanceRow, Reader

HOSTILE = "<img src=x onerror=alert(1)>.txt"
HOSTILE_VALUE = "<script>alert('value')</script>"

_FIRST = 'set_output(["lancelot", "galahad", {last!r}])\n'
_SCRIPT = """
#depend lib/*
import csv
import numpy as np
from PIL import Image
import helpers

name = get_input()
width = {width}
motto = {motto!r}
expose(["name", "width", "motto"])
save_param(["width"])
hook("draw", globals())
with open(get_data_fn("table.csv"), "w", newline="") as file:
    csv.writer(file).writerows([["knight", "score"], [name, {score}], ["merlin", 7]])
np.save(get_data_fn("values.npy"), np.arange(6.0).reshape(2, 3) {array})
np.save(get_data_fn("same.npy"), np.arange(4))
with open(get_data_fn("notes.txt"), "w") as file:
    file.write({notes!r})
with open(get_data_fn({hostile!r}), "w") as file:
    file.write("<script>alert('{width}')</script>")
set_output((name, width))
"""
_HOOK = """
from PIL import Image
Image.new("RGB", {size}, {colour}).save(get_data_fn("picture.png"))
Image.new("RGB", {other}, (9, 9, 9)).save(get_data_fn("sizes.png"))
"""
_LAST = "set_output(get_input())\n"


class Two(NamedTuple):
    """Where everything is."""

    code: Path
    prefix: Path
    older: InstanceRow
    newer: InstanceRow

    @property
    def a(self) -> str:
        return self.older.key[:12]

    @property
    def b(self) -> str:
        return self.newer.key[:12]


def make_two(directory: Path) -> Two:
    """Run the pipeline, change it, and run it again."""
    code, prefix = directory / "code", directory / "data"
    (code / "lib").mkdir(parents=True)
    (code / "lib" / HOSTILE).write_text("<script>alert('file')</script>\n")
    (code / "lib" / "helpers.py").write_text("SCALE = 1\n")
    (code / "lib" / "table.bin").write_bytes(bytes(range(256)) * 4)
    (code / "helpers.py").write_text("")
    (code / "last.py").write_text(_LAST)
    _write(code, width=90, motto="old", score=3, array="", notes="one\ntwo\nthree\n", last="robin")
    (code / "knights_draw.py").write_text(_HOOK.format(size=(8, 6), colour=(200, 0, 0), other=(4, 4)))
    _run(code, prefix)
    _write(
        code, width=60, motto=HOSTILE_VALUE, score=5, array="+ np.eye(2, 3)", notes="one\n<b>2</b>\nthree\n", last="tim"
    )
    (code / "knights_draw.py").write_text(_HOOK.format(size=(8, 6), colour=(100, 50, 0), other=(5, 4)))
    (code / "lib" / "helpers.py").write_text("SCALE = 2\n")
    _run(code, prefix)
    with Reader.open(prefix / ".sqlstatus") as reader:
        newer, older = reader.instances("knights")
    return Two(code, prefix, older, newer)


def _write(code: Path, last: str, **values: object) -> None:
    (code / "first.py").write_text(_FIRST.format(last=last))
    (code / "knights.py").write_text(_SCRIPT.format(hostile=HOSTILE, **values))


def _run(code: Path, prefix: Path) -> None:
    pipeline = Pipeline("first -> knights -> last;", code_dir=str(code), prefix=str(prefix))
    launch_interactive(pipeline, log_level=0)[0].run()
