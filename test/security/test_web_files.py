"""Products that are hostile: their names, contents, what stands in their place, and the addresses that ask for them."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgpack
import numpy as np
import pytest
from support import Project
from webclient import Browser, WebSite

from pipelet.errors import BusyError, StorageError, ViewError
from pipelet.storage import TaskFiles, Tree
from pipelet.web.tracked import Tracked
from pipelet.web.viewers import limited, pickled, thumbnails
from pipelet.web.viewers.base import Source
from pipelet.web.viewers.views import view

SECRET = "the secret of another"
SCRIPT = "<script>alert(1)</script>"


class Den(NamedTuple):
    """A prefix, the directory of its only named task, and who looks at it."""

    prefix: Path
    data: Path
    ada: Browser

    def get(self, address: str, **headers: str):
        return self.ada.get(f"/p/den/{address}", **headers)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("den")).write(
        a="get_data_fn('.')\nprint('<img src=x onerror=alert(1)>')\np = '<script>alert(1)</script>'\n"
        "save_param(['p'])\nseg_output = ['<script>alert(1)</script>']\n"
    )
    project.run(project.pipeline("a;", {"a": ["<script>alert(1)</script>", "other"]}))
    WebSite(den=project.prefix)
    return project.prefix


@pytest.fixture
def den(filled: Path, tmp_path: Path) -> Den:
    prefix = tmp_path / "prefix"
    shutil.copytree(filled, prefix)
    (tmp_path / "secret.txt").write_text(SECRET)
    (prefix / "secret.txt").write_text(SECRET)
    (prefix / ".pipelet" / "secret.txt").write_text(SECRET)
    site = WebSite()
    site.registry.tracked.append(Tracked("den", str(prefix / ".sqlstatus"), str(prefix)))
    (data,) = prefix.glob("a_*/data/1_*")
    (next(prefix.glob("a_*/data/2_*")) / "secret.txt").write_text(SECRET)
    return Den(prefix, data, site.browser("ada"))


# -- addresses -----------------------------------------------------------------------------------------------------

UP = "../"
TRAVERSALS = [
    "..", "../secret.txt", "../2_other/secret.txt", UP * 3 + "secret.txt", UP * 4 + "secret.txt", "./../secret.txt",
    "sub/../../2_other/secret.txt", "sub/../../../../secret.txt", "....//....//....//secret.txt",
    "..\\..\\..\\secret.txt", "..;/..;/..;/secret.txt", "/secret.txt", "//secret.txt", "///etc/passwd",
    "{prefix}/secret.txt", "/{prefix}/secret.txt", "file://{prefix}/secret.txt", "secret.txt\0.png",
    "../../../secret.txt\0", "\0", "x" * 5000, "a/" * 2000 + "a", "..%2f..%2f..%2fsecret.txt", "%2e%2e/secret.txt",
    "..%c0%af..%c0%afsecret.txt", "~/secret.txt", "$HOME", "\u202e..\u202e",
]
ENCODINGS = {
    "plain": lambda text: quote(text, safe="/%\\;:~$."),
    "encoded": lambda text: quote(text, safe=""),
    "all encoded": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "doubly": lambda text: quote(quote(text, safe=""), safe=""),
    "slashes doubly": lambda text: quote(text.replace("/", "%2f"), safe=""),
}
ADDRESSES = [
    "file/1/{}", "raw/1/{}", "thumb/1/{}", "file/1/sub/{}", "raw/1/sub/{}", "raw/1/{}?download=1",
    "thumb/1/x.png?part={}", "thumb/1/x.png?size={}", "raw/{}/x", "file/{}", "task/{}", "log_of/{}", "products/{}",
    "products/{}?view=gallery", "zip?task={}&go=1", "zip?page={}&go=1", "file/1/?after={}", "products/KEY?after={}",
    "products/KEY?search={}", "products/KEY?before={}",
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_address_leads_out_of_a_task(den, encoding):
    (den.data / "sub").mkdir()
    (den.data / "x.png").write_bytes(b"")
    (instance,) = den.prefix.glob("a_*")
    for address, traversal in itertools.product(ADDRESSES, TRAVERSALS):
        asked = ENCODINGS[encoding](traversal.format(prefix=den.prefix))
        answer = den.get(address.format(asked).replace("KEY", instance.name[2:]))
        assert answer.status < 500, (address, traversal, answer.text)
        assert SECRET.encode() not in answer.body, (address, traversal)
        assert b"root:" not in answer.body, (address, traversal)


def test_the_addresses_that_are_tried_would_show_a_file_that_is_there(den):
    (den.data / "sub").mkdir()
    (den.data / "sub" / "open.txt").write_text(SECRET)
    assert SECRET in den.get("raw/1/sub/open.txt").text
    assert SECRET in den.get("raw/1/%73ub%2Fopen.txt").text
    assert SECRET in den.get("file/1/sub/open.txt").text


def test_a_server_with_a_socket_decodes_no_more_than_the_application(den):
    """What a web server makes of an address before we see it."""
    from cheroot import wsgi

    server = wsgi.Server(("127.0.0.1", 0), den.ada.app)
    server.prepare()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        cookie = "; ".join(f"{name}={value}" for name, value in den.ada.cookies.items())
        for path in ("..%2f..%2f..%2fsecret.txt", "../../../secret.txt", "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret.txt",
                     "..%252f..%252fsecret.txt", "%00", "/" + str(den.prefix) + "/secret.txt"):
            with socket.create_connection(server.bind_addr) as peer:
                peer.sendall(
                    f"GET /p/den/raw/1/{path} HTTP/1.0\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n".encode()
                )
                answer = b"".join(iter(lambda peer=peer: peer.recv(65536), b""))
            assert SECRET.encode() not in answer
            assert b" 200 " not in answer.split(b"\r\n", 1)[0]
    finally:
        server.stop()
        thread.join(10)


# -- links and other things ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "raw", "thumb"])
def test_a_link_that_leads_out_is_shown_and_not_followed(den, tmp_path, kind):
    (den.data / "out.txt").symlink_to(tmp_path / "secret.txt")
    (den.data / "folder").symlink_to(tmp_path)
    (den.data / "accounts.txt").symlink_to(den.prefix / ".sqlstatus")
    (den.data / "engine").symlink_to(den.prefix / ".pipelet")
    for path in ("out.txt", "folder/secret.txt", "accounts.txt", "engine/secret.txt"):
        answer = den.get(f"{kind}/1/{path}")
        assert SECRET not in answer.text
        assert b"SQLite" not in answer.body
        assert answer.status in (200, 403)
        if kind == "file" and "/" not in path:
            assert "A link to" in answer.text
    page = den.get("task/1").text
    assert str(tmp_path / "secret.txt") in page
    assert "not followed" in page


def test_a_link_to_a_file_below_the_prefix_is_followed(den):
    (den.data / "in.txt").symlink_to(den.prefix / "secret.txt")
    assert SECRET in den.get("raw/1/in.txt").text


@pytest.mark.parametrize("depth", [1, 2])
def test_what_changes_places_with_a_link_all_the_time_is_never_followed(den, tmp_path, depth):
    """A directory, or a file, is swapped with a link to the outside while it is read."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text(SECRET)
    folder = den.data / "d"
    folder.mkdir()
    (folder / "f").write_text("mine")
    swapped = folder if depth == 1 else folder / "f"
    script = (
        "import os, sys\nplace, link = sys.argv[1:3]\nos.symlink(sys.argv[3], link)\n"
        "print('ready', flush=True)\n"
        "while True:\n    os.rename(place, place + '.aside')\n    os.rename(link, place)\n"
        "    os.rename(place, link)\n    os.rename(place + '.aside', place)\n"
    )
    target = outside if depth == 1 else outside / "f"
    swapper = subprocess.Popen(
        [sys.executable, "-c", script, str(swapped), str(tmp_path / "link"), str(target)], stdout=subprocess.PIPE
    )
    files = TaskFiles(Tree(str(den.prefix)), den.data.parts[-3], 1, "_script_alert_1___script_", den.data.name, True,
                      lambda names: (), str(den.prefix / ".sqlstatus"))
    seen = {"mine": 0, "refused": 0}
    try:
        assert swapper.stdout is not None
        swapper.stdout.readline()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                with files.open("d/f") as file:
                    assert file.read() == b"mine"
                seen["mine"] += 1
            except StorageError:
                seen["refused"] += 1
    finally:
        swapper.kill()
        swapper.wait()
        swapper.stdout.close()
    assert min(seen.values()) > 0, seen


def test_pipes_sockets_and_devices_are_shown_and_never_opened(den):
    os.mkfifo(den.data / "pipe.txt")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        try:
            os.chdir(den.data)
            listener.bind("socket.png")
        finally:
            os.chdir(here)
    kinds = {"pipe.txt": "pipe", "socket.png": "socket"}
    (den.data / "zero.txt").symlink_to("/dev/zero")
    if os.geteuid() == 0:
        try:
            os.mknod(den.data / "zero.bin", 0o20666, os.makedev(1, 5))
            kinds["zero.bin"] = "device"
        except PermissionError:
            pass
    for name, kind in kinds.items():
        assert f"A {kind}: it is not opened" in den.get(f"file/1/{name}").text
        assert den.get(f"raw/1/{name}").status == 403
        assert den.get(f"thumb/1/{name}").status == 403
    assert den.get("raw/1/zero.txt").status == 403
    answer = den.get("zip?task=1&go=1")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.namelist() == ["MANIFEST.txt"]
        assert f"a {kinds['pipe.txt']}" in archive.read("MANIFEST.txt").decode()


# -- archives ------------------------------------------------------------------------------------------------------


def test_an_archive_holds_no_links_and_no_names_that_lead_elsewhere(den, tmp_path):
    (den.data / "out").symlink_to(tmp_path / "secret.txt")
    (den.data / "folder").symlink_to(tmp_path)
    (den.data / "inside").symlink_to(den.prefix / "secret.txt")
    for name in ("..\\..\\evil", "C:evil", "new\nline", "..evil", " .. ", "MANIFEST.txt", "\u202egnp.exe"):
        (den.data / name).write_text(name)
    with open(os.fsencode(den.data) + b"/\xff", "w") as file:
        file.write("x")
    answer = den.get("zip?task=1&go=1")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        for name in names:
            parts = name.split("/")
            assert name.isprintable()
            assert not set(name) & set('\\:*?"<>|')
            assert not {"", ".", "..", " .. "} & set(parts)
        contents = [archive.read(name).decode() for name in names]
        assert SECRET not in "".join(contents)
        assert len(names) == len(set(names)) == 9
        manifest = archive.read("MANIFEST.txt").decode()
    assert f"out: a link to {tmp_path / 'secret.txt'}" in manifest
    assert "new\\nline" in manifest
    assert ": inside: a link" not in manifest
    assert "/inside: a link to" in manifest


# -- what the browser is told --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.xhtml", "a.xml", "a.js", "a.css", "a", "a.png", "a.txt"])
def test_products_have_no_powers_in_the_browser(den, name):
    (den.data / name).write_text(f"<html>{SCRIPT}</html>")
    headers = den.get(f"raw/1/{name}").headers
    assert headers["x-content-type-options"] == "nosniff"
    policy = headers["content-security-policy"].split("; ")
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert not [part for part in policy if part.startswith(("script-src", "connect-src", "form-action", "frame-src"))]
    allowed = {"a.html": "text/html", "a.svg": "image/svg+xml", "a.png": "image/png", "a.txt": "text/plain"}
    assert headers["content-type"].split(";")[0] == allowed.get(name, "application/octet-stream")


def test_a_frame_for_html_is_a_sandbox_and_svg_is_an_image(den):
    (den.data / "a.html").write_text(SCRIPT)
    (den.data / "a.svg").write_text(f"<svg>{SCRIPT}</svg>")
    frame = den.get("file/1/a.html").text
    assert re.search(r'<iframe class="frame" sandbox src="/p/den/raw/1/a.html"', frame)
    image = den.get("file/1/a.svg").text
    assert '<img src="/p/den/raw/1/a.svg"' in image
    assert SCRIPT not in frame + image


NAMES = [
    'a".txt', "a\r\nSet-Cookie: x=1.txt", "a;b.txt", "é\u202e.txt", "a\\.txt", "%41.txt", "'; filename=evil.exe",
    "a\tb", "x" * 250,
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("download", ["", "?download=1"])
def test_a_name_stays_in_its_header(den, name, download):
    (den.data / name).write_text("x")
    answer = den.get(f"raw/1/{quote(name)}{download}")
    assert answer.status == 200
    value = answer.headers["content-disposition"]
    assert "set-cookie" not in answer.headers
    pattern = r"""(attachment|inline); filename="[^"\\%;\x00-\x1f]*"; filename\*=UTF-8''[A-Za-z0-9._~%-]*"""
    assert re.fullmatch(pattern, value), value
    assert value.startswith("attachment" if download else "inline")


# -- scripts in texts ----------------------------------------------------------------------------------------------

HOSTILE = [
    SCRIPT, '"><img src=x onerror=alert(1)>', "'><svg onload=alert(1)>", "{{7*7}}", "</pre><script>alert(1)</script>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_a_task_left_becomes_a_part_of_the_page(den, text):
    name = text.replace("/", "\u2215")
    (den.data / f"{name}.txt").write_text(text)
    (den.data / name).mkdir()
    (den.data / name / f"{name}.csv").write_text(f"{text},b\n1,{text}\n")
    (den.data / "link").symlink_to(f"/nowhere/{name}")
    files = {
        "a.json": json.dumps({text: [text]}), "b.json": text, "a.py": f"x = {text!r}  # {text}\n{text}\n",
        "a.log": text, "a.md": text, "a.diff": text, "a.bin": "\0" + text, "a.csv": f"# {text}\n{text}\n",
        "a.fits": text, "a.npy": text, "a.npz": text, "a.png": text, "a.pkl": text, "a.jsonl": json.dumps(text),
    }
    for path, content in files.items():
        (den.data / path).write_text(content)
    (den.data / "b.pkl").write_bytes(pickle.dumps({text: text, (text,): {text}}))
    (den.data / "c.pkl").write_bytes(b"c" + text.encode() + b"\n" + text.encode() + b"\n(tR.")
    np.save(den.data / "b.npy", np.array([text]))
    np.save(den.data / "c.npy", np.zeros(2, [(text, "f8")]))
    np.savez(den.data / "b.npz", **{text.replace("/", "_"): np.arange(3)})
    log = next(den.prefix.glob("a_*/log/1.log"))
    log.write_text(text)
    paths = [*files, "b.pkl", "c.pkl", "b.npy", "c.npy", "b.npz", "link", f"{name}.txt", name, f"{name}/{name}.csv", ""]
    for address in [*(f"file/1/{quote(path)}" for path in paths), "task/1", "task/2", "log_of/1", "zip?task=1",
                    f"products/AAAAAA{quote(text)}", f"file/1/nothing{quote(text)}", f"task/{quote(text, safe='')}"]:
        page = den.get(address)
        assert page.status < 500, address
        body = page.text.split("<main", 1)[1]
        for tag in ("<script", "<img src=x", "<svg onload", "onerror=alert(1)>\n<"):
            assert tag not in body, (address, tag)
        assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', body)), address


def test_what_a_task_was_given_and_gave_stays_text(den):
    page = den.get("task/1").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert SCRIPT not in page


# -- pickles -------------------------------------------------------------------------------------------------------


class Runs:
    """Runs something when it is loaded."""

    def __init__(self, call, *arguments) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def hostile_pickles(mark: Path) -> dict[str, bytes]:
    """Pickles that would make the file `mark`, were they loaded."""
    import runpy
    import shutil as tool

    code = f"open({str(mark)!r}, 'w')"
    made = {
        "system": Runs(os.system, f"touch {mark}"), "eval": Runs(eval, code), "exec": Runs(exec, code),
        "open": Runs(open, str(mark), "w"), "popen": Runs(subprocess.Popen, ["touch", str(mark)]),
        "import": Runs(__import__, "os"), "copy": Runs(tool.copy, "/etc/passwd", str(mark)),
        "runpy": Runs(runpy.run_path, "/etc/passwd"), "save": Runs(np.save, str(mark), [1]),
        "load": Runs(np.load, str(mark), None, True), "fromfile": Runs(np.fromfile, "/etc/passwd"),
        "memmap": Runs(np.memmap, str(mark), "u1", "w+", 0, 10), "testing": Runs(np.testing.assert_equal, 1, 1),
        "in an array": np.array([Runs(os.system, f"touch {mark}")], dtype=object),
    }
    pickles = {name: pickle.dumps(value) for name, value in made.items()}
    pickles["global of numpy"] = b"cnumpy.testing._private.utils\nrunstring\n(V" + code.encode() + b"\n}tR."
    pickles["dotted"] = b"\x80\x04\x8c\x05numpy\x8c\x0eos.path.exists\x93)R."
    pickles["instance"] = b"(Vtouch " + str(mark).encode() + b"\nios\nsystem\n."
    pickles["object"] = b"(cos\nsystem\nVtouch " + str(mark).encode() + b"\no."
    pickles["state"] = b"cnumpy\nndarray\n)\x81(dV__setstate__\ncos\nsystem\nsb."
    pickles["dtype"] = pickle.dumps(np.zeros(1)).replace(b"\x8c\x02f8", b"\x8c\x02O8")
    return pickles


@pytest.mark.parametrize("name", sorted(hostile_pickles(Path("/nowhere"))))
def test_no_pickle_runs_anything(den, tmp_path, name):
    mark = tmp_path / "mark"
    data = hostile_pickles(mark)[name]
    (den.data / "a.pkl").write_bytes(data)
    assert den.get("file/1/a.pkl").status == 200
    before = set(sys.modules)
    pickled.values(msgpack.packb([data]))
    assert not mark.exists()
    harmless = ("numpy", "encodings", "secrets", "hmac")
    assert not [item for item in set(sys.modules) - before if not item.startswith(harmless)]


@pytest.mark.parametrize("name", ["system", "eval", "exec", "open", "popen", "instance", "object"])
def test_a_pickle_that_would_run_something_says_so(tmp_path, name):
    assert '"danger": true' in json.dumps(pickled.tree(hostile_pickles(tmp_path / "mark")[name]))


def test_the_pickles_that_are_tried_would_run_if_they_were_loaded(tmp_path):
    mark = tmp_path / "mark"
    pickle.loads(hostile_pickles(mark)["open"]).close()
    assert mark.exists()


def bombs() -> dict[str, bytes]:
    laughs: list[object] = ["ha"] * 10
    for _ in range(25):
        laughs = [laughs] * 10
    return {
        "a billion laughs": pickle.dumps(laughs),
        "deep": b"(" * 100_000 + b"l" * 100_000 + b".",
        "very deep": b"]" + b"]a" * 0 + b"".join([b"]"] * 50_000) + b"a" * 49_999 + b"0.",
        "a length without bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".",
        "a length that is negative": b"T\xff\xff\xff\xff.",
        "a huge number": b"\x8b" + struct.pack("<i", 2_000_000) + b"\x7f" * 2_000_000 + b".",
        "many": b"]" * 30_000_000 + b".",
        "doubled": b"(" + b"2" * 1000 + b".",
        "without an end": b"]" * 1000,
        "a place far away": b"j\xff\xff\xff\xff.",
        "put far away": b"]r\xff\xff\xff\xff.",
        "frames": b"\x80\x04\x95" + struct.pack("<Q", 1 << 60) + b".",
        "a shape": pickle.dumps(np.zeros(3)).replace(b"K\x03\x85", b"J\xff\xff\xff\x7f\x85"),
    }


@pytest.mark.parametrize("name", sorted(bombs()))
def test_bombs_of_pickles_end_soon(tmp_path, name):
    (tmp_path / "a.pkl").write_bytes(bombs()[name])
    begun = time.monotonic()
    with open(tmp_path / "a.pkl", "rb") as file:
        found = view(Source(file, "a.pkl", os.path.getsize(tmp_path / "a.pkl")))
    assert len(json.dumps(found.data)) < 3_000_000
    assert time.monotonic() - begun < 60


# -- bombs of other kinds ------------------------------------------------------------------------------------------


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(10_000_000), 9)
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(60_000, 60_000), (2_000_000_000, 2), (11_000, 11_000)])
def test_an_image_of_too_many_pixels_is_not_unpacked(den, size):
    (den.data / "a.png").write_bytes(png(*size))
    page = den.get("file/1/a.png")
    assert page.status == 200
    assert "too many to unpack" in page.text or "no image" in page.text
    assert den.get("thumb/1/a.png").status == 404


def test_an_archive_of_nothing_but_zeros_is_unpacked_in_part(den):
    with zipfile.ZipFile(den.data / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**11,)})
        for number in range(5):
            with archive.open(f"x{number}.npy", "w", force_zip64=True) as member:
                member.write(head.getvalue())
                for _ in range(60):
                    member.write(bytes(1 << 20))
    begun = time.monotonic()
    page = den.get("file/1/a.npz").text
    assert "of which the first 2,097,152 of 100,000,000,000 elements" in page
    assert time.monotonic() - begun < 30


def test_an_archive_that_lies_about_its_size(den):
    np.savez_compressed(den.data / "a.npz", x=np.zeros(1000))
    data = (den.data / "a.npz").read_bytes()
    for size in (0, 1, 0xFFFFFFFE):
        (den.data / "a.npz").write_bytes(data.replace(struct.pack("<I", 8128), struct.pack("<I", size)))
        assert den.get("file/1/a.npz").status == 200


def test_a_packed_fits_file_that_is_a_bomb_ends(den):
    pytest.importorskip("astropy")
    head = b"".join(card.ljust(80) for card in (b"SIMPLE  =                    T", b"BITPIX  =                    8",
                                                b"NAXIS   =                    1", b"NAXIS1  =           4000000000",
                                                b"END")).ljust(2880)
    with gzip.open(den.data / "a.fits.gz", "wb", 1) as file:
        file.write(head)
        for _ in range(400):
            file.write(bytes(1 << 20))
    begun = time.monotonic()
    page = den.get("file/1/a.fits.gz")
    assert page.status == 200
    assert time.monotonic() - begun < 60


SPARSE = ["a.txt", "a.csv", "a.json", "a.py", "a.png", "a.npy", "a.npz", "a.pkl", "a.fits", "a.bin", "a.html", "a.mp4"]


@pytest.mark.parametrize("name", SPARSE)
def test_five_gigabytes_of_nothing_cost_nothing(den, name):
    with open(den.data / name, "wb") as file:
        if name == "a.npy":
            shape = {"descr": "<f8", "fortran_order": False, "shape": (25_000, 25_000)}
            np.lib.format.write_array_header_1_0(file, shape)
        if name in ("a.txt", "a.csv", "a.json", "a.py"):
            file.write(b"1,2\n" * 2_000_000)
        file.truncate(5 * 10**9 + 128)
    begun = time.monotonic()
    assert den.get(f"file/1/{name}").status == 200
    part = den.get(f"raw/1/{name}", Range="bytes=4999999990-4999999999")
    assert (part.status, part.body) == (206, bytes(10))
    assert den.get(f"thumb/1/{name}?size=large").status in (200, 404)
    assert time.monotonic() - begun < 45


# -- the process ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("while True: pass", "too long|longer than 2 seconds"),
        ("import time; time.sleep(60)", "longer than 2 seconds"),
        ("x = []\nwhile True: x.append(bytes(1 << 20))", "too much memory"),
        ("import os\nwhile True: os.write(7, b'x' * 65536)", "too much in it"),
        ("with open('WRITTEN', 'w') as file: file.write('x')", "can't be read as what it claims"),
        ("import os; os.kill(os.getpid(), 11)", "without an answer"),
        ("raise ValueError('damaged')", "damaged"),
        ("import os; os.execv('/bin/true', ['true'])", "without an answer|claims|"),
    ],
)
def test_a_parser_that_goes_wild_is_stopped(tmp_path, monkeypatch, code, words):
    package = tmp_path / "pipelet" / "web" / "viewers"
    # A copy of the child with another job.
    shutil.copytree(Path(limited.__file__).parents[2], tmp_path / "pipelet", dirs_exist_ok=True)
    written = tmp_path / "written"
    code = code.replace("os.write(7", "os.write(WHERE").replace("WRITTEN", str(written))
    body = "\n".join(f"    {line}" for line in code.splitlines())
    (package / "arrays.py").write_text(
        f"import os\ndef prepare(): pass\ndef answer(file, options):\n    WHERE = pipe()\n{body}\n    return {{}}\n"
        "def pipe():\n    places = [f'/proc/self/fd/{number}' for number in range(20)]\n"
        "    return max(n for n in range(20) if os.path.exists(places[n]) and 'pipe' in os.readlink(places[n]))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(limited, "_PROGRAM", str(package / "forkserver.py"))
    forks = limited._Forks()
    monkeypatch.setattr(limited, "_forks", forks)
    (tmp_path / "file").write_bytes(b"x")
    # A busy machine needs more than two seconds to start Python.
    limits = limited.Limits(2.0 if "2 seconds" in words else 60.0, 256 << 20, 1 << 20)
    with open(tmp_path / "file", "rb") as file:
        if "execv" in code:
            limited.ask("array", file, limits=limits)
        else:
            with pytest.raises(ViewError, match=words):
                limited.ask("array", file, limits=limits)
    forks.end()
    assert not written.exists() or written.stat().st_size == 0


class Wild:
    """A viewer of arrays with code of ours, in a copy of the package."""

    def __init__(self, tmp_path, monkeypatch, code):
        shutil.copytree(Path(limited.__file__).parents[2], tmp_path / "pipelet", dirs_exist_ok=True)
        package = tmp_path / "pipelet" / "web" / "viewers"
        body = "\n".join(f"    {line}" for line in code.splitlines())
        (package / "arrays.py").write_text(f"import os\ndef prepare(): pass\ndef answer(file, options):\n{body}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(limited, "_PROGRAM", str(package / "forkserver.py"))
        self.forks = limited._Forks()
        monkeypatch.setattr(limited, "_forks", self.forks)
        self.file = tmp_path / "file"
        self.file.write_bytes(b"x")

    def ask(self, **limits):
        with open(self.file, "rb") as file:
            return limited.ask_json("array", file, limits=limited.Limits(**limits))

    def server(self):
        return self.forks._process.pid


@pytest.fixture
def wild(tmp_path, monkeypatch):
    made = []

    def make(code):
        made.append(Wild(tmp_path, monkeypatch, code))
        return made[-1]

    yield make
    for one in made:
        one.forks.end()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def gone(pid):
    end = time.monotonic() + 60
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    return True


def test_a_process_that_looks_has_no_handle_of_another(wild):
    viewer = wild(
        "places = [f'/proc/self/fd/{n}' for n in range(300)]\n"
        "return [os.readlink(place) for place in places if os.path.lexists(place)]"
    )
    viewer.ask()
    names = viewer.ask()
    assert str(viewer.file) in names
    assert not [name for name in names if "socket" in name]
    assert {name for name in names if not name.startswith("pipe:")} == {str(viewer.file), "/dev/null"}
    assert len({name for name in names if name.startswith("pipe:")}) == 1


def test_what_looks_is_begun_again_when_it_was_killed(wild):
    viewer = wild("return os.getppid()")
    first = viewer.ask()
    assert first == viewer.ask() == viewer.server()
    os.kill(first, 9)
    assert gone(first)
    assert viewer.ask() == viewer.server() != first


def test_what_hangs_is_replaced_once_it_had_the_time_to_load(wild, monkeypatch):
    viewer = wild("return os.getppid()")
    first = viewer.ask()
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(limited, "_GRACE", 0.1)
    with pytest.raises(BusyError, match="longer than 0 seconds"):
        viewer.ask(seconds=0.1)
    assert viewer.server() == first
    monkeypatch.setattr(limited, "_GROWN", 0.0)
    with pytest.raises(BusyError):
        viewer.ask(seconds=0.1)
    monkeypatch.setattr(limited, "_GRACE", 60.0)
    assert viewer.ask() == viewer.server() != first
    assert gone(first)


def test_one_that_hangs_does_not_hold_up_the_end(wild, monkeypatch):
    viewer = wild("return os.getppid()")
    first = viewer.ask()
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(limited, "_FAREWELL", 0.1)
    viewer.forks.end()
    assert gone(first)


def test_a_request_for_which_one_that_hangs_has_no_room_goes_to_another(wild, monkeypatch):
    viewer = wild("return os.getppid()")
    first = viewer.ask()
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr(limited, "_FAREWELL", 0.1)
    viewer.forks._control.settimeout(0.1)
    with open(viewer.file, "rb") as file:
        # More than a socket holds.
        limited._forks.begin({"job": "none", "more": "x" * 5_000_000, "seconds": 1.0}, (file.fileno(),) * 3)
    assert viewer.server() != first


def test_also_handles_with_large_numbers_stay_with_their_owner(wild):
    viewer = wild("return [n for n in range(1000) if os.path.lexists(f'/proc/self/fd/{n}')]")
    handles = [os.open("/dev/null", os.O_RDONLY) for _ in range(400)]
    try:
        assert max(viewer.ask()) < 20
    finally:
        for handle in handles:
            os.close(handle)


def test_nothing_looks_on_when_nobody_waits(wild):
    viewer = wild(
        "import time\n"
        "where = [n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "where = [n for n in where if 'pipe:' in os.readlink(f'/proc/self/fd/{n}')]\n"
        "os.write(where[0], bytes(50_000))\n"
        "time.sleep(600)"
    )
    with pytest.raises(ViewError, match="too much in it"):
        viewer.ask(seconds=500.0, answer=1000)
    server = viewer.server()
    end = time.monotonic() + 60
    while Path(f"/proc/{server}/task/{server}/children").read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    viewer.forks.end()
    assert gone(server)


@pytest.fixture
def crowd(monkeypatch):
    """All turns are taken, and the line is as long as it may be."""
    monkeypatch.setattr(limited, "_TURNS", threading.BoundedSemaphore(1))
    monkeypatch.setattr(limited, "_LINE", threading.BoundedSemaphore(1))
    # Whoever stood in the line would wait longer than any test.
    monkeypatch.setattr(limited, "_PATIENCE", 3600.0)
    monkeypatch.setattr(limited, "_SHORT_PATIENCE", 0.0)
    limited._TURNS.acquire()
    limited._LINE.acquire()
    return limited


def test_only_some_pages_wait_for_a_viewer_and_all_others_are_told(den, crowd):
    np.save(den.data / "a.npy", np.arange(9.0).reshape(3, 3))
    page = den.get("file/1/a.npy")
    assert page.status == 200
    assert "busy with other files" in page.text
    assert den.get("task/1").status == 200
    crowd._TURNS.release()
    crowd._LINE.release()
    assert "busy" not in den.get("file/1/a.npy").text
    # Who waited has left the line and given back the turn.
    assert crowd._TURNS.acquire(blocking=False)
    assert crowd._LINE.acquire(blocking=False)


def test_a_picture_that_the_server_had_no_time_for_is_drawn_the_next_time(den, crowd):
    np.save(den.data / "a.npy", np.arange(9.0).reshape(3, 3))
    answer = den.get("thumb/1/a.npy")
    assert answer.status == 503
    assert "retry-after" in answer.headers
    assert "etag" not in answer.headers
    crowd._TURNS.release()
    assert den.get("thumb/1/a.npy").status == 200


def test_thumbnails_keep_to_their_room(tmp_path, monkeypatch):
    monkeypatch.setattr(thumbnails, "_ROOM", 2000)
    monkeypatch.setattr(limited, "ask", lambda *rest: b"x" * 500)
    for number in range(10):
        (tmp_path / f"{number}.png").write_bytes(b"x")
        with open(tmp_path / f"{number}.png", "rb") as file:
            thumbnails.picture(Source(file, f"{number}.png", 1))
    assert thumbnails._size <= 2000
    assert sum(len(item) + 200 for item in thumbnails._kept.values()) == thumbnails._size
