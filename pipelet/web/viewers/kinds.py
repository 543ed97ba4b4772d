"""What kind of product a file is: its name says so, and what the browser may be told of it."""

from __future__ import annotations

import os

#: Endings of names that we know, by kind.
_KINDS = {
    "image": "png jpg jpeg jpe gif webp bmp tif tiff ppm pgm ico avif",
    "svg": "svg",
    "pdf": "pdf",
    "html": "html htm xhtml",
    "video": "mp4 m4v webm ogv mov",
    "audio": "mp3 wav ogg oga flac m4a",
    "array": "npy",
    "archive": "npz",
    "fits": "fits fit fts fits.gz fit.gz fts.gz fits.fz",
    "pickle": "pkl pickle pck p",
    "json": "json geojson ipynb",
    "jsonlines": "jsonl ndjson",
    "table": "csv tsv",
    "code": "py pyx c h cc cpp hpp cxx f f90 f95 for jl r sh bash zsh pro m tex bib rst md yaml yml toml ini cfg xml"
    " css js ts sql pl rb rs go java lua cmake diff patch make mk dot gp",
    "text": "txt log out err dat asc ascii args meta nml par params lis list readme",
}
KIND_OF_ENDING = {f".{ending}": kind for kind, endings in _KINDS.items() for ending in endings.split()}

#: What the browser is told of a file when it gets the bytes; anything else is bytes and no more.
CONTENT_TYPES = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".jpe": "image/jpeg", ".gif": "image/gif",
    ".webp": "image/webp", ".bmp": "image/bmp", ".ico": "image/x-icon", ".avif": "image/avif",
    ".svg": "image/svg+xml", ".pdf": "application/pdf", ".html": "text/html", ".htm": "text/html",
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".ogv": "video/ogg", ".mov": "video/quicktime",
    ".mp3": "audio/mpeg", ".wav": "audio/wav", ".ogg": "audio/ogg", ".oga": "audio/ogg", ".flac": "audio/flac",
    ".m4a": "audio/mp4", ".txt": "text/plain; charset=utf-8", ".log": "text/plain; charset=utf-8",
}
OTHER = "application/octet-stream"

#: Images that a browser shows as they are.
BROWSER_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".gif", ".webp", ".bmp", ".ico", ".avif"})


def ending(name: str) -> str:
    """The end of a name that tells its kind, in small letters; two parts where it is packed (``.fits.gz``)."""
    stem, last = os.path.splitext(name.lower())
    if last in (".gz", ".fz"):
        return os.path.splitext(stem)[1] + last
    return last


def kind_by_name(name: str) -> str | None:
    """The kind that a name promises, ``None`` if it promises none."""
    return KIND_OF_ENDING.get(ending(name))


def content_type(name: str) -> str:
    """What the browser may be told of a file's type."""
    return CONTENT_TYPES.get(ending(name), OTHER)


def has_picture(name: str) -> bool:
    """Whether a thumbnail of a file shows it."""
    return kind_by_name(name) == "image"
