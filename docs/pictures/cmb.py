"""Make the pictures of docs/cmb.rst with the example itself: `python docs/pictures/cmb.py`. It takes a few minutes."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[1]
EXAMPLE = DOCS.parent / "examples" / "cmb"
TARGET = DOCS / "_static" / "cmb"
SIMULATIONS = "50"
WIDEST = 1000  # pixels


def main() -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        where = Path(directory)
        for source in EXAMPLE.glob("*.py"):
            shutil.copy(source, where)
        for options in ([], ["--mc", SIMULATIONS]):
            subprocess.run([sys.executable, "main.py", *options], cwd=where, check=True)
        (maps,) = where.glob("noise_*/data/maps.png")
        for picture, name in ((where / "design.png", "design"), (where / "mc.png", "mc"), (maps, "maps")):
            shrink(picture, TARGET / f"{name}.png")


def shrink(picture: Path, target: Path) -> None:
    """Write a copy that is small enough to be kept with the sources."""
    with Image.open(picture) as image:
        plain = image.convert("RGB")
    plain.thumbnail((WIDEST, 2 * WIDEST), Image.Resampling.LANCZOS)
    plain.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


if __name__ == "__main__":
    main()
