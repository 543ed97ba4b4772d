"""What the examples draw, small enough for a page."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
_WIDTH = 900


def make(target: Path, scratch: Path) -> None:
    """Run both examples and take their pictures."""
    fft = _ran(ROOT / "examples" / "fft", scratch / "fft")
    _taken(next(fft.glob("mkgauss_*/convol_*/data/*_1/panels.png")), target / "fft-field.png")
    _taken(next(fft.glob("mkgauss_*/data/gauss.png")), target / "fft-filter.png")
    first = _ran(ROOT / "test" / "first_test", scratch / "first_test")
    _taken(next(first.glob("knights_*/melt_*/data/*_Lancelot_the_Brave/arms.png")), target / "arms.png")


def _ran(code: Path, where: Path) -> Path:
    """Run an example on a copy of its code."""
    where.mkdir()
    for path in code.iterdir():
        if path.suffix == ".py":
            shutil.copy(path, where)
        elif path.name == "colours":
            shutil.copytree(path, where / path.name)
    subprocess.run([sys.executable, "main.py", "-p", "2"], cwd=where, check=True, stdout=subprocess.DEVNULL)
    return where


def _taken(source: Path, target: Path) -> None:
    """Copy a picture: no wider than a page, few colours, and nothing in it that tells when it was made."""
    with Image.open(source) as image:
        picture = image.convert("RGB")
    if picture.width > _WIDTH:
        picture = picture.resize((_WIDTH, round(picture.height * _WIDTH / picture.width)), Image.Resampling.LANCZOS)
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(target, optimize=True)
