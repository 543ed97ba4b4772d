"""What differs between two files of numbers, or two images: a job of the process that looks at hostile files."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from pipelet.errors import ViewError
from pipelet.web.viewers import archives, arrays, pictures
from pipelet.web.viewers.numbers import shape_text

#: Larger images are not compared pixel by pixel.
MOST_PIXELS = 40_000_000
#: So many elements of each array are compared, and so many bytes of those that are packed.
_MOST = 4_000_000
_MOST_BYTES = 64 << 20
_MOST_MEMBERS = 20


def prepare() -> None:
    """Load what knows the formats."""
    pictures.prepare()


def answer(file: BinaryIO, options: dict[str, Any]) -> Any:
    """Compare a file with the one whose handle is ``options["other"]``: ``options["of"]`` says as what."""
    with os.fdopen(int(options["other"]), "rb", closefd=False) as other:
        if options["of"] == "image":
            return image(file, other, int(options.get("side", pictures.LARGE)))
        if options["of"] == "archive":
            return archive(file, other)
        return [{"name": "", **array(file, other)}]


def image(old: BinaryIO, new: BinaryIO, side: int) -> bytes:
    """Draw how far two images are apart: black where they are equal, stretched so that the furthest is bright.

    Parameters
    ----------
    old, new
        The images.
    side
        Of the picture, at most.

    Returns
    -------
    bytes
        PNG, with the largest difference (of 255) and the share of the pixels that differ in its texts.
    """
    from PIL.PngImagePlugin import PngInfo

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = _pixels(old), _pixels(new)
    if first.shape != second.shape:
        sizes = [f"{found.shape[1]:,} × {found.shape[0]:,}" for found in (first, second)]
        raise ViewError(f"the images have different sizes: {sizes[0]} and {sizes[1]} pixels")
    apart = np.abs(first - second)
    largest = float(apart.max()) if apart.size else 0.0
    share = float(np.count_nonzero(apart.max(axis=2))) / max(apart.shape[0] * apart.shape[1], 1)
    shown = np.rint(apart * 255.0 / largest if largest else apart).astype(np.uint8)
    picture = Image.fromarray(shown)
    picture.thumbnail((side, side))
    said = PngInfo()
    said.add_text("largest", f"{largest:.4g}")
    said.add_text("share", f"{share:.6g}")
    out = io.BytesIO()
    picture.save(out, "PNG", pnginfo=said)
    return out.getvalue()


def _pixels(file: BinaryIO) -> Any:
    picture = pictures.opened(file)
    if picture.width * picture.height > MOST_PIXELS:
        raise ViewError(f"it has more than {MOST_PIXELS:,} pixels: too many to be compared")
    if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(picture, np.float32)
        return np.nan_to_num(values)[:, :, None].repeat(3, axis=2)
    if "A" in picture.mode or "transparency" in picture.info:
        # As on white paper: what is clear in both is equal.
        clear = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return np.asarray(picture.convert("RGB")).astype(np.int16)


def archive(old: BinaryIO, new: BinaryIO) -> list[dict[str, Any]]:
    """Compare the arrays of two files of several, by name."""
    found = []
    with archives.opened(old) as one, archives.opened(new) as other:
        ours = {item.filename: item for item in one.infolist()[: 10 * _MOST_MEMBERS]}
        theirs = {item.filename: item for item in other.infolist()[: 10 * _MOST_MEMBERS]}
        for name in sorted(ours.keys() | theirs.keys())[:_MOST_MEMBERS]:
            shown = name.removesuffix(".npy")
            if name not in ours or name not in theirs:
                found.append({"name": shown, "only": 0 if name in ours else 1})
                continue
            try:
                first, _, _ = archives.unpack(one, ours[name], _MOST_BYTES)
                second, _, _ = archives.unpack(other, theirs[name], _MOST_BYTES)
                if not hasattr(first, "dtype") or not hasattr(second, "dtype"):
                    raise ViewError("it holds Python objects, which are never loaded to be compared")
                found.append({"name": shown, **of_arrays(first, second)})
            except ViewError as error:
                found.append({"name": shown, "words": str(error)})
    return found


def array(old: BinaryIO, new: BinaryIO) -> dict[str, Any]:
    """Compare two arrays."""
    heads = [arrays.read_head(file) for file in (old, new)]
    if any(head.dtype.hasobject for head in heads):
        raise ViewError("it holds Python objects, which are never loaded to be compared")
    first, second = (arrays.mapped(file, head)[0] for file, head in zip((old, new), heads, strict=True))
    return of_arrays(first, second)


def of_arrays(first: Any, second: Any) -> dict[str, Any]:
    """Say how two arrays differ.

    Returns
    -------
    dict
        ``words`` where they can't be compared number by number; else ``count``, ``differ``, and of numbers ``largest``
        with ``where``, ``old`` and ``new`` there, and ``relative``; ``looked_at`` if that was not all.
    """
    shapes = [f"{shape_text(item.shape)} of {item.dtype}" for item in (first, second)]
    if first.shape != second.shape:
        return {"words": f"the shapes differ: {shapes[0]} and {shapes[1]}"}
    said: dict[str, Any] = {"shape": shape_text(first.shape), "count": int(first.size)}
    if first.dtype != second.dtype:
        said["dtypes"] = f"{first.dtype} and {second.dtype}"
    if first.dtype.kind not in "biufc" or second.dtype.kind not in "biufc":
        return _of_others(first, second, said)
    one, other = _rows(first, second)
    if one.size < first.size:
        said["looked_at"] = int(one.size)
    return {**said, **_of_numbers(one, other, first.shape)}


def _rows(first: Any, second: Any) -> tuple[Any, Any]:
    """The beginnings of both as one row, in the order of their axes."""
    if first.size > _MOST and first.ndim > 1:
        rows = max(_MOST // max(first[0].size, 1), 1)
        first, second = first[:rows], second[:rows]
    return first.reshape(-1)[:_MOST], second.reshape(-1)[:_MOST]


def _of_others(first: Any, second: Any, said: dict[str, Any]) -> dict[str, Any]:
    if first.dtype != second.dtype or first.dtype.names is not None:
        equal = first.dtype == second.dtype and first.nbytes <= _MOST_BYTES and first.tobytes() == second.tobytes()
        return {**said, "words": "they are equal" if equal else "they differ, and are no numbers"}
    one, other = _rows(first, second)
    return {**said, "differ": int(np.count_nonzero(one != other))}


def _of_numbers(one: Any, other: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    wide = np.complex128 if "c" in (one.dtype.kind, other.dtype.kind) else np.float64
    with np.errstate(all="ignore"):
        # What is no number in both is equal; in one of them, it differs by more than any number.
        same = (one == other) | ((one != one) & (other != other))
        differ = int(same.size - np.count_nonzero(same))
        if not differ:
            return {"differ": 0}
        apart = np.abs(other.astype(wide) - one.astype(wide))
        apart[same] = 0
        lost = int(np.count_nonzero(~np.isfinite(apart)))
        finite = np.where(np.isfinite(apart), apart, -1.0)
        at = int(finite.argmax())
        if finite[at] <= 0 and lost:
            at = int(np.flatnonzero(~np.isfinite(apart))[0])
        scale = float(max(abs(one[at]), abs(other[at])))
        relative = float(apart[at]) / scale if scale else 0.0
    place = [int(step) for step in np.unravel_index(at, shape)]
    return {
        "differ": differ,
        "lost": lost,
        "largest": f"{float(apart[at]):.6g}",
        "relative": f"{relative:.3g}",
        "where": place,
        "old": f"{one[at]:.8g}" if one.dtype.kind != "b" else str(one[at]),
        "new": f"{other[at]:.8g}" if other.dtype.kind != "b" else str(other[at]),
    }
