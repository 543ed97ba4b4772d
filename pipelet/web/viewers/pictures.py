"""Pictures of images, arrays and FITS files, made small enough for a page."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from pipelet.errors import ViewError
from pipelet.web.viewers.numbers import is_coloured

#: Images with more pixels are not unpacked.
MOST_PIXELS = 120_000_000
#: Other formats run other programs, or are rarely what they seem.
FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF")
#: So much of a large array is read for a picture.
_READ = 64 << 20
#: Sides of what is drawn from arrays.
LARGE = 900
# Dark blue over green to yellow: even in lightness, and for the colour-blind.
_SCALE = np.array(
    [(68, 1, 84), (72, 40, 120), (62, 74, 137), (49, 104, 142), (38, 130, 142), (31, 158, 137), (53, 183, 121),
     (110, 206, 88), (181, 222, 43), (253, 231, 37)], dtype=np.float64,
)


def prepare() -> None:
    """Load what knows the formats."""
    Image.init()
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS


def answer(file: BinaryIO, options: dict[str, Any]) -> Any:
    """Draw a file as ``options["of"]`` says, ``options["side"]`` pixels wide or high; or describe an image."""
    kind, side, part = options["of"], int(options.get("side", LARGE)), str(options.get("part", ""))
    if kind == "image":
        return image(file, side)
    if kind == "about":
        return about(file)
    if kind == "array":
        return png(_of_array(file, side))
    if kind == "archive":
        return png(scaled(_archived(file, part), side))
    if kind == "fits":
        from pipelet.web.viewers import fitsfile

        return png(fitsfile.picture(file, part, side))
    raise ViewError("there is no picture of it")


def opened(file: BinaryIO) -> Any:
    """Open an image, which reads its head only; one of too many pixels is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            picture = Image.open(file, formats=FORMATS)
        except Image.DecompressionBombError:
            raise ViewError(f"it has more than {MOST_PIXELS:,} pixels: too many to unpack") from None
        except (OSError, SyntaxError, ValueError) as error:
            words = str(error).split("<", 1)[0].strip()
            raise ViewError(f"it is no image of a known format ({words})") from None
    if picture.width * picture.height > MOST_PIXELS:
        raise ViewError(f"it has {picture.width:,} × {picture.height:,} pixels: too many to unpack")
    return picture


def about(file: BinaryIO) -> dict[str, Any]:
    """Describe an image by its head."""
    picture = opened(file)
    return {
        "format": picture.format,
        "width": picture.width,
        "height": picture.height,
        "mode": picture.mode,
        "frames": int(getattr(picture, "n_frames", 1)) if picture.format != "TIFF" else 1,
    }


def image(file: BinaryIO, side: int) -> bytes:
    """Make a small image of an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = opened(file)
        kept = picture.format
        # JPEG can be unpacked to a fraction of its size at once.
        picture.draft("RGB", (2 * side, 2 * side))
        if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            picture = _visible(picture)
        elif picture.mode not in ("RGB", "RGBA", "L"):
            with_alpha = "A" in picture.mode or "transparency" in picture.info
            picture = picture.convert("RGBA" if with_alpha else "RGB")
        picture.thumbnail((side, side))
        picture = ImageOps.exif_transpose(picture)
    out = io.BytesIO()
    if kept == "JPEG" and picture.mode in ("RGB", "L"):
        picture.save(out, "JPEG", quality=85)
    else:
        picture.save(out, "PNG")
    return out.getvalue()


def _visible(picture: Any) -> Any:
    """Stretch grey values of more than eight bits to what a screen shows."""
    picture.thumbnail((2000, 2000), Image.Resampling.NEAREST)
    return scaled(np.asarray(picture, dtype=np.float64), 2000, colours=False)


def png(picture: Any) -> bytes:
    """Write a picture."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def scaled(array: Any, side: int, colours: bool = True, flip: bool = False) -> Any:
    """Draw the first plane of an array: the middle 99 % of its values from dark to light.

    Parameters
    ----------
    array
        Of two or more axes, of numbers; it may be mapped from a file.
    side
        Of the picture, at most.
    colours
        Or in grey.
    flip
        Whether the first row is at the bottom.
    """
    while array.ndim > 2 and not is_coloured(array):
        array = array[0]
    steps = [max(math.ceil(length / side), 1) for length in array.shape[:2]]
    values = np.array(array[:: steps[0], :: steps[1]])
    if flip:
        values = values[::-1]
    if values.ndim == 3:
        return Image.fromarray(np.ascontiguousarray(values.astype(np.uint8)))
    values = np.abs(values) if values.dtype.kind == "c" else values.astype(np.float64)
    pixels = _coloured(values, colours)
    picture = Image.fromarray(pixels)
    # Few values are drawn as squares that one can see.
    growth = max(min(side // 2, 300) // max(picture.size), 1)
    if growth > 1:
        size = (picture.width * growth, picture.height * growth)
        picture = picture.resize(size, Image.Resampling.NEAREST)
    return picture


def _coloured(values: Any, colours: bool) -> Any:
    finite = np.isfinite(values)
    pixels = np.zeros((*values.shape, 4), np.uint8)
    if not finite.any():
        return pixels
    low, high = np.percentile(values[finite], [0.5, 99.5])
    if not high > low:
        low, high = values[finite].min(), values[finite].max()
    # Halved, since the difference of two large numbers may be infinite.
    spread = (high / 2 - low / 2) or 1.0
    share = np.clip(np.where(finite, values / 2 - low / 2, 0.0) / spread, 0.0, 1.0)
    if colours:
        places = np.linspace(0.0, 1.0, len(_SCALE))
        for channel in range(3):
            pixels[..., channel] = np.interp(share, places, _SCALE[:, channel])
    else:
        pixels[..., :3] = (share * 255).astype(np.uint8)[..., None]
    pixels[..., 3] = np.where(finite, 255, 0)
    return pixels


def _of_array(file: BinaryIO, side: int) -> Any:
    from pipelet.web.viewers.arrays import mapped, read_head

    head = read_head(file)
    if head.dtype.hasobject:
        raise ViewError("it holds Python objects")
    start = file.tell()
    array = _checked(mapped(file, head)[0])
    if array.nbytes <= _READ or (array.ndim > 2 and head.fortran):
        return scaled(array, side)
    # Rows are read whole, since touching a mapped file here and there costs more; and not more of them than is quick.
    height, width = array.shape[-2:][:: -1 if head.fortran else 1]
    count = max(min(side, height, _READ // (width * head.dtype.itemsize)), 1)
    if width * head.dtype.itemsize > _READ:
        raise ViewError("its rows are too long for a picture")
    rows = []
    for row in np.linspace(0, height - 1, count).astype(np.int64):
        file.seek(start + int(row) * width * head.dtype.itemsize)
        data = np.frombuffer(file.read(width * head.dtype.itemsize), head.dtype)
        rows.append(data[:: max(width // side, 1)])
    found = np.array(rows)
    picture = scaled(found.T if head.fortran else found, side)
    longest = max(height, width)
    size = (max(side * array.shape[-1] // longest, 1), max(side * array.shape[-2] // longest, 1))
    return picture.resize(size, Image.Resampling.NEAREST)


def _archived(file: BinaryIO, part: str) -> Any:
    from pipelet.web.viewers.archives import opened as opened_archive
    from pipelet.web.viewers.archives import unpack

    with opened_archive(file) as archive:
        members = archive.infolist()
        if not part.isdigit() or int(part) >= len(members):
            raise ViewError("there is no such array in it")
        array, _, _ = unpack(archive, members[int(part)], 256 << 20)
    return _checked(array)


def _checked(array: Any) -> Any:
    from pipelet.web.viewers.numbers import is_image

    if not hasattr(array, "dtype") or not is_image(array):
        raise ViewError("there is no picture of it")
    return array
