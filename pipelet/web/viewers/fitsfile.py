"""FITS: the cards of all headers, images, the first rows of tables, and HEALPix maps, where astropy is installed."""

from __future__ import annotations

import importlib.util
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NoReturn

import numpy as np

from pipelet.errors import ViewError
from pipelet.web.viewers.numbers import MOST_BYTES, describe, shape_text
from pipelet.web.viewers.pictures import LARGE, scaled

#: Parts of a file, cards of a header, rows and columns of a table that are shown.
_PARTS, _CARDS, _ROWS, _COLUMNS = 30, 400, 20, 16
#: Packed images are unpacked as a whole, up to so many bytes.
_UNPACKED = 256 << 20
_MOST_SIDE = 1 << 13


def prepare() -> None:
    """Load what reads the format."""
    if importlib.util.find_spec("astropy") is None:
        raise_missing("astropy", "FITS files")
    importlib.import_module("astropy.io.fits")


def raise_missing(package: str, what: str) -> NoReturn:
    """Say what to install."""
    raise ViewError(f"{what} are shown where {package} is installed: on the server's machine, pip install {package}")


@contextmanager
def opened(file: BinaryIO) -> Iterator[Any]:
    """Open a file by its handle, so that it is mapped and not read."""
    prepare()
    from astropy.io import fits

    with warnings.catch_warnings():
        # Damage shows as what is missing.
        warnings.simplefilter("ignore")
        file.seek(0)
        begin = file.read(9)
        packed = begin.startswith(b"\x1f\x8b")
        if not packed and begin != b"SIMPLE  =":
            raise ViewError("it is no FITS file: it does not begin like one")
        with fits.open(
            f"/dev/fd/{file.fileno()}", memmap=not packed, lazy_load_hdus=True, do_not_scale_image_data=True,
        ) as parts:
            yield parts


def answer(file: BinaryIO, options: dict[str, Any]) -> dict[str, Any]:
    """Describe all parts."""
    with opened(file) as parts:
        said = []
        more = False
        # They are read one by one: a damaged one comes after those that can be shown.
        for number in range(_PARTS + 1):
            try:
                part = parts[number]
            except IndexError:
                break
            if number == _PARTS:
                more = True
                break
            said.append(_describe(part, number))
    return {"parts": said, "more": more}


def _describe(part: Any, number: int) -> dict[str, Any]:
    cards = [(card.keyword, str(card.value), card.comment) for card in itertools.islice(part.header.cards, _CARDS)]
    said: dict[str, Any] = {
        "number": number,
        "name": part.name,
        "cards": cards,
        "cards_more": max(len(part.header) - len(cards), 0),
        "array": None,
        "table": None,
        "healpix": healpix(part),
        "note": None,
    }
    try:
        if hasattr(part, "columns"):
            said["table"] = _table(part)
        elif _size(part):
            array = _pixels(part)
            said["array"] = describe(_sampled(array, part))
            said["array"]["shape"] = shape_text(array.shape)
    except ViewError as error:
        said["note"] = str(error)
    except (ValueError, TypeError, IndexError, KeyError, OSError) as error:
        said["note"] = f"it can't be read: {' '.join(str(error).split())[:200]}"
    return said


def _size(part: Any) -> int:
    shape = getattr(part, "shape", ()) or ()
    count = 1
    for length in shape:
        count *= int(length)
    return count if shape else 0


def _pixels(part: Any) -> Any:
    """The numbers as they are in the file."""
    if type(part).__name__ == "CompImageHDU" and _size(part) * 8 > _UNPACKED:
        raise ViewError("it is packed, and too large to be unpacked here")
    data = part.data
    if data is None:
        raise ViewError("there is nothing in it")
    return data


def _sampled(array: Any, part: Any) -> Any:
    """The numbers with their scale, thinned out along the first axis where they are many."""
    step = max(-(-array.size * 8 // MOST_BYTES), 1)
    return _valued(array[::step] if array.ndim else array, part)


def _valued(values: Any, part: Any) -> Any:
    header = part.header
    scale, zero, blank = header.get("BSCALE", 1), header.get("BZERO", 0), header.get("BLANK")
    if type(part).__name__ == "CompImageHDU":
        return np.asarray(values)
    if values.dtype.kind in "iu" and (scale, zero, blank) == (1, 0, None):
        return np.asarray(values)
    found = np.asarray(values, dtype=np.float64)
    if blank is not None and values.dtype.kind in "iu":
        found = np.where(values == blank, np.nan, found)
    return found * scale + zero


def _table(part: Any) -> dict[str, Any]:
    """The first rows of a table."""
    names = list(part.columns.names)
    units = [part.columns[name].unit or "" for name in names[:_COLUMNS]]
    rows = []
    count = int(part.header.get("NAXIS2", 0))
    if count:
        first = part.data[:_ROWS]
        for row in range(len(first)):
            rows.append([_cell(first[name][row]) for name in names[:_COLUMNS]])
    return {
        "head": [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=False)],
        "rows": rows,
        "count": count,
        "columns": len(names),
    }


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray):
        values = value.reshape(-1)
        shown = " ".join(_cell(item) for item in values[:4])
        return f"{shown} … ({values.size:,})" if values.size > 4 else shown
    text = f"{float(value):.6g}" if isinstance(value, (float, np.floating)) else str(value)
    return text if len(text) <= 60 else text[:60] + "…"


def healpix(part: Any) -> dict[str, Any] | None:
    """Tell whether a table is a map of the sphere in HEALPix, and which."""
    header = part.header
    if not hasattr(part, "columns") or not len(part.columns):
        return None
    order = str(header.get("ORDERING", "")).strip().upper()
    if str(header.get("PIXTYPE", "")).strip().upper() != "HEALPIX" and order not in ("RING", "NESTED", "NEST"):
        return None
    side = header.get("NSIDE")
    if not isinstance(side, int) or not 0 < side <= 1 << 29 or side & (side - 1):
        return None
    partial = "PIXEL" in [name.upper() for name in part.columns.names] or header.get("INDXSCHM") == "EXPLICIT"
    return {"nside": side, "nested": order.startswith("NEST"), "partial": bool(partial),
            "columns": list(part.columns.names)[:_COLUMNS]}


def picture(file: BinaryIO, place: str, side: int = LARGE) -> Any:
    """Draw an image, or a column of a HEALPix map: ``place`` is the part's number, or part and column, ``1.0``."""
    number, _, column = place.partition(".")
    if not number.isdigit() or (column and not column.isdigit()):
        raise ViewError("there is no such part in it")
    with opened(file) as parts:
        try:
            part = parts[int(number)]
        except IndexError:
            raise ViewError("there is no such part in it") from None
        kind = healpix(part)
        if kind is not None:
            return sphere(part, kind, int(column or 0), side)
        if hasattr(part, "columns") or _size(part) < 2:
            raise ViewError("there is no picture of it")
        array = _pixels(part)
        while array.ndim > 2:
            array = array[0]
        if array.ndim < 2:
            raise ViewError("there is no picture of it")
        steps = [max(-(-length // side), 1) for length in array.shape]
        return scaled(_valued(array[:: steps[0], :: steps[1]], part), side, flip=True)


def sphere(part: Any, kind: dict[str, Any], column: int, side: int) -> Any:
    """Draw a map of the sphere in Mollweide's projection."""
    try:
        from healpy import pixelfunc, projector
    except ImportError:
        raise_missing("healpy", "HEALPix maps")
    if kind["partial"]:
        raise ViewError("maps of a part of the sphere are shown as tables only")
    nside = kind["nside"]
    if column >= len(part.columns):
        raise ViewError("there is no such column in it")
    values = part.data.field(column).reshape(-1)
    if len(values) != 12 * nside**2 or nside > _MOST_SIDE:
        raise ViewError(f"it has {len(values):,} pixels, not those of a map of NSIDE {nside}")
    proj = projector.MollweideProj(xsize=side)

    def pixel(x: Any, y: Any, z: Any) -> Any:
        return pixelfunc.vec2pix(nside, x, y, z, nest=kind["nested"])

    drawn = np.ma.filled(np.ma.asarray(proj.projmap(values, pixel)).astype(np.float64), np.nan)
    drawn[(drawn < -1.6e30) | ~np.isfinite(drawn)] = np.nan
    return scaled(drawn, side, flip=True)
