"""Which viewer shows a product, and what it gives to the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pipelet.errors import ViewError
from pipelet.web.viewers import jsontree, limited, table, text
from pipelet.web.viewers.base import Source, View, is_text, read_part
from pipelet.web.viewers.kinds import BROWSER_IMAGES, ending, kind_by_name

#: What is a text, or else only bytes.
_TEXTS = frozenset({"code", "json", "jsonlines", "table"})
#: The first bytes of what nobody knows.
_DUMPED = 1024
#: JSON up to this size is read here, larger files in a process of their own.
_SMALL = 64 << 10
#: Larger images are shown made smaller: a browser would unpack them.
_FULL_BYTES, _FULL_PIXELS = 32 << 20, 40_000_000


def view(source: Source, tail: bool = False) -> View:
    """Show a product as what its name promises, and else as what it looks like.

    Parameters
    ----------
    source
        The file.
    tail
        Of a text, the end.

    Returns
    -------
    View
        Always: what can't be shown has its first bytes, and a note that says why.
    """
    kind = kind_by_name(source.name) or _kind_by_bytes(source)
    if not source.size:
        return View("empty", "_view_empty.html", {})
    show = _VIEWERS.get(kind)
    try:
        if kind == "text" or (kind in _TEXTS and not is_text(read_part(source, 4096)[0])):
            return _text(source, tail)
        return dump(source) if show is None else show(source)
    except ViewError as error:
        found = _text(source, tail)
        words = str(error)
        return found._replace(notes=(f"{words[:1].upper()}{words[1:]}.", *found.notes))


def dump(source: Source) -> View:
    """Show the first bytes of anything."""
    data, _ = read_part(source, _DUMPED)
    rows = []
    for start in range(0, len(data), 16):
        piece = data[start : start + 16]
        signs = "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in piece)
        rows.append((f"{start:08x}", piece.hex(" "), signs))
    return View("bytes", "_view_bytes.html", {"rows": rows, "shown": len(data)})


def _kind_by_bytes(source: Source) -> str:
    data, _ = read_part(source, 4096)
    if data.startswith(b"\x93NUMPY"):
        return "array"
    if data.startswith(b"SIMPLE  ="):
        return "fits"
    return "text" if is_text(data) else "bytes"


def _text(source: Source, tail: bool = False) -> View:
    data, _ = read_part(source, 4096)
    return text.view(source, tail) if is_text(data) else dump(source)


def _image(source: Source) -> View:
    about = limited.ask_json("picture", source.file, {"of": "about"})
    full = (
        ending(source.name) in BROWSER_IMAGES
        and source.size <= _FULL_BYTES
        and about["width"] * about["height"] <= _FULL_PIXELS
    )
    notes = () if full else ("Shown made smaller; the file itself can be downloaded.",)
    return View("image", "_view_image.html", {**about, "full": full}, notes)


def _frame(kind: str, note: str = "") -> Callable[[Source], View]:
    def show(source: Source) -> View:
        return View(kind, f"_view_{kind}.html", {}, (note,) if note else ())

    return show


def _array(source: Source) -> View:
    return View("array", "_view_array.html", {"arrays": [limited.ask_json("array", source.file)], "more": 0})


def _archive(source: Source) -> View:
    return View("archive", "_view_array.html", limited.ask_json("archive", source.file))


def _fits(source: Source) -> View:
    return View("fits", "_view_fits.html", limited.ask_json("fits", source.file, limits=limited.Limits(20.0)))


def _pickle(source: Source) -> View:
    said: dict[str, Any] = limited.ask_json("pickle", source.file)
    if "tree" in said:
        note = "The pickle was not loaded: what you see is what it says that it would make."
        return View("pickle", "_view_tree.html", {"node": said["tree"]}, (note,))
    if not said["listing"] or said["listing"].count("\n") < 1:
        raise ViewError("it is no pickle")
    return View("listing", "_view_listing.html", {"listing": said["listing"]}, (f"{said['reason']}.",))


def _json(lines: bool) -> Callable[[Source], View]:
    def show(source: Source) -> View:
        if source.size <= _SMALL:
            node = jsontree.tree(read_part(source, _SMALL)[0], lines)
        else:
            node = limited.ask_json("json", source.file, {"lines": lines})
        return View("json", "_view_tree.html", {"node": node})

    return show


_VIEWERS: dict[str, Callable[[Source], View]] = {
    "image": _image,
    "svg": _frame("svg"),
    "pdf": _frame("pdf"),
    "html": _frame("html", "Shown without its scripts, and without what it would load from elsewhere."),
    "video": _frame("video"),
    "audio": _frame("audio"),
    "array": _array,
    "archive": _archive,
    "fits": _fits,
    "pickle": _pickle,
    "json": _json(False),
    "jsonlines": _json(True),
    "table": table.view,
    "code": text.view_code,
}


