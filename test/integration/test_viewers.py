"""What the viewers make of products of each kind, good ones and damaged ones."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelet.errors import ViewError
from pipelet.web.viewers import limited, pickled, thumbnails
from pipelet.web.viewers.base import Source, decode
from pipelet.web.viewers.kinds import content_type, kind_by_name
from pipelet.web.viewers.views import view


def shown(path: Path, **options: Any):
    with path.open("rb") as file:
        return view(Source(file, path.name, path.stat().st_size), **options)


def drawn(path: Path, size: str = "small", part: str = "") -> Image.Image:
    import io

    with path.open("rb") as file:
        return Image.open(io.BytesIO(thumbnails.picture(Source(file, path.name, path.stat().st_size), size, part)))


def array(path: Path, value: Any) -> dict[str, Any]:
    np.save(path, value, allow_pickle=True)
    found = shown(path)
    assert found.kind == "array"
    return found.data["arrays"][0]


# -- texts, tables, JSON -------------------------------------------------------------------------------------------


def test_a_text_is_shown_without_escapes_of_terminals(tmp_path):
    (tmp_path / "a.log").write_bytes(b"\x1b[31mred\x1b[0m \x1b]0;title\x07end\r\nne\x01xt")
    found = shown(tmp_path / "a.log")
    assert found.data["lines"] == ["red end", "next"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("data", "text", "encoding"),
    [
        ("naïve".encode(), "naïve", "utf-8"),
        ("naïve".encode("latin-1"), "naïve", "latin-1"),
        ("naïve".encode("utf-16"), "naïve", "utf-16"),
        ("é".encode()[1:] + "naïve, and more of it".encode(), "\ufffdnaïve, and more of it", "utf-8"),
        (b"and more of it: " + "é".encode()[:1], "and more of it: \ufffd", "utf-8"),
    ],
)
def test_the_encoding_is_guessed_also_of_a_part(data, text, encoding):
    assert decode(data, encoding == "utf-8") == (text, encoding)


def test_a_long_text_is_cut_and_says_so_at_either_end(tmp_path):
    (tmp_path / "a.txt").write_text("".join(f"line {number:06d}\n" for number in range(100_000)))
    first, last = shown(tmp_path / "a.txt"), shown(tmp_path / "a.txt", tail=True)
    assert first.data["lines"][0] == "line 000000"
    assert first.notes[0] == "First 1.05\xa0MB of 1.20\xa0MB."
    assert last.data["lines"][-1] == "line 099999"
    assert last.notes[0].startswith("Last 1.05")


def test_a_long_line_is_cut(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 5000)
    (line,) = shown(tmp_path / "a.txt").data["lines"]
    assert line.endswith("… (5,000 characters)")
    assert len(line) < 2100


def test_code_is_coloured_and_nothing_of_it_is_lost(tmp_path):
    code = 'def f(x):\n    """Two\n    lines."""\n\n    return "<b>" + x\n'
    (tmp_path / "a.py").write_text(code)
    lines = shown(tmp_path / "a.py").data["lines"]
    assert ["k", "def"] in lines[0]
    assert "\n".join("".join(text for _, text in line) for line in lines) + "\n" == code


@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_a_table(tmp_path, sign):
    (tmp_path / "a.csv").write_text(f"# made today\nl{sign}name\n1{sign}x\n2{sign}\"y{sign}z\"\n")
    data = shown(tmp_path / "a.csv").data
    assert data["comments"] == ["# made today"]
    assert data["head"] == ["l", "name"]
    assert data["rows"] == [["1", "x"], ["2", f"y{sign}z".strip()]]
    assert data["numeric"] == [True, False]


def test_a_large_table_is_cut_and_says_so(tmp_path):
    (tmp_path / "a.csv").write_text("\n".join(",".join(str(n) for n in range(150)) for _ in range(1500)))
    found = shown(tmp_path / "a.csv")
    assert len(found.data["rows"]) == 1000
    assert {len(row) for row in found.data["rows"]} == {100}
    assert found.notes == ("First 1,000 rows.", "First 100 of 150 columns.")


def test_json_is_a_tree(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, null, "x"], "n": ' + "1" * 5000 + "}")
    node = shown(tmp_path / "a.json").data["node"]
    names = dict(node["inside"])
    assert [item["text"] for _, item in names["a"]["inside"]] == ["1", "None", "'x'"]
    assert "5,000 digits" in names["n"]["text"]


def test_large_json_is_cut_in_a_process_of_its_own(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([list(range(100))] * 1000))
    node = shown(tmp_path / "a.json").data["node"]
    assert node["text"] == "1,000"
    assert len(node["inside"]) + node["more"] == 1000
    assert len(json.dumps(node)) < 1_000_000


@pytest.mark.parametrize("text", ["[" * 100_000, "{1}", "[1, 2"])
def test_what_is_no_json_is_shown_as_text(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    found = shown(tmp_path / "a.json")
    assert found.kind == "text"
    assert found.notes[0].startswith(("It is nested too deeply", "It is no JSON"))


def test_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n[2]\n')
    node = shown(tmp_path / "a.jsonl").data["node"]
    assert [name for name, _ in node["inside"]] == ["1", "2"]


def test_anything_else_has_its_first_bytes(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes(range(256)) * 10)
    found = shown(tmp_path / "a.bin")
    assert found.kind == "bytes"
    assert found.data["rows"][4] == ("00000040", bytes(range(64, 80)).hex(" "), "@ABCDEFGHIJKLMNO")
    assert found.data["shown"] == 1024


def test_an_empty_file_says_so(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    assert shown(tmp_path / "a.npy").kind == "empty"


# -- arrays --------------------------------------------------------------------------------------------------------


def test_an_array_has_statistics_and_a_plot(tmp_path):
    said = array(tmp_path / "a.npy", np.arange(10.0))
    assert (said["shape"], said["dtype"], said["count"]) == ("10", "float64", 10)
    assert dict(said["statistics"])["mean"] == "4.5"
    assert said["sampled"] is None
    (line,) = said["plot"]["lines"]
    points = [tuple(map(float, point.split(","))) for point in line.split()]
    assert len(points) == 10
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)


def test_of_a_large_array_a_part_is_looked_at(tmp_path):
    said = array(tmp_path / "a.npy", np.ones((3000, 2000), np.int8))
    assert said["sampled"] == 4_000_000
    assert dict(said["statistics"])["minimum"] == "1"


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_two_axes_is_drawn(tmp_path, order):
    values = np.zeros((40, 60), order=order)
    values[:20] = 1.0
    assert array(tmp_path / "a.npy", values)["image"]
    picture = drawn(tmp_path / "a.npy", "large").convert("RGB")
    assert picture.width * 40 == picture.height * 60
    top, bottom = picture.getpixel((5, 5)), picture.getpixel((5, picture.height - 5))
    assert top == (253, 231, 37)
    assert bottom == (68, 1, 84)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_is_drawn_from_some_of_its_rows(tmp_path, order, monkeypatch):
    values = np.zeros((6000, 4000), np.float32, order=order)
    values[:3000, :2000] = 1.0
    np.save(tmp_path / "a.npy", values)
    picture = drawn(tmp_path / "a.npy", "large").convert("RGB")
    assert picture.size == (600, 900)
    assert picture.getpixel((10, 10)) == (253, 231, 37)
    assert picture.getpixel((590, 10)) == picture.getpixel((10, 890)) == (68, 1, 84)


def test_what_is_no_number_is_told(tmp_path):
    said = array(tmp_path / "a.npy", np.array([np.nan, np.inf, -np.inf, 1.0, 3.0]))
    facts = dict(said["statistics"])
    assert (facts["not a number"], facts["infinite"], facts["mean"]) == ("1", "2", "2")
    assert len(said["plot"]["lines"]) == 1


@pytest.mark.parametrize(
    ("value", "kind", "word"),
    [
        (np.array([True, False]), "bool", "true"),
        (np.exp(1j * np.arange(5)), "complex128", "modulus, maximum"),
        (np.array(["2020-01-01", "NaT"], "M8[D]"), "datetime64[D]", "not a time"),
        (np.float32(2), "float32", "mean"),
        (np.array([1, 2**63], np.uint64), "uint64", "maximum"),
        (np.float16([60000, 60000]), "float16", "mean"),
    ],
)
def test_the_other_kinds_of_numbers(tmp_path, value, kind, word):
    said = array(tmp_path / "a.npy", value)
    assert said["dtype"] == kind
    assert word in dict(said["statistics"])


@pytest.mark.parametrize("value", [np.zeros((0, 3)), np.zeros((5, 0, 7)), np.zeros(0, "S3"), np.zeros(3, "V0")])
def test_empty_arrays(tmp_path, value):
    said = array(tmp_path / "a.npy", value)
    assert said["statistics"] == []
    assert not said["image"]


def test_records_and_texts(tmp_path):
    said = array(tmp_path / "a.npy", np.array([(1.5, b"x", (1, 2))], [("a", "f8"), ("b", "S5"), ("c", "i2", (2,))]))
    assert said["table"] == {"head": ["a", "b", "c"], "rows": [["1.5", "x", "1 2"]], "more": False}
    assert array(tmp_path / "b.npy", np.array(["ab", "c"]))["table"]["rows"] == [["ab", "c"]]


def test_the_fields_of_records_are_named(tmp_path):
    said = array(tmp_path / "a.npy", np.zeros(2, [("multipole", "i8"), ("power", "f8")]))
    assert said["dtype"] == "records of multipole int64, power float64"
    many = array(tmp_path / "b.npy", np.zeros(2, [(f"f{number}", "i1") for number in range(20)]))
    assert many["dtype"].endswith("f7 int8 and 12 more")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (np.ones((4, 5)), "The middle 99 % of the values"),
        (np.ones((2, 3, 4, 5)), "Plane [0, 0, :, :]: the middle 99 %"),
        (np.zeros((8, 9, 3), np.uint8), "The last axis gives the colours"),
    ],
)
def test_the_caption_says_what_of_the_array_is_drawn(tmp_path, values, words):
    assert array(tmp_path / "a.npy", values)["caption"].startswith(words)


def test_long_axes_are_written_as_other_numbers_are(tmp_path):
    assert array(tmp_path / "a.npy", np.zeros(2000))["shape"] == "2\N{NARROW NO-BREAK SPACE}000"


def test_an_array_of_objects_is_not_loaded(tmp_path):
    said = array(tmp_path / "a.npy", np.array([{"a": 1}, None], dtype=object))
    assert "never loaded" in said["note"]


def test_a_file_that_ends_early_shows_what_is_there(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((100, 100)))
    os.truncate(tmp_path / "a.npy", 128 + 8 * 50 + 3)
    said = shown(tmp_path / "a.npy").data["arrays"][0]
    assert said["note"] == "The file ends early: 50 of 10,000 elements are there."
    assert dict(said["statistics"])["mean"] == "1"


@pytest.mark.parametrize(
    "head",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1.5,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f8', 'fortran_order': False}",
        "__import__('os').system('true')",
        "[" * 5000,
        "{'descr': " + "[('a', " * 50 + "'f8'" + ")]" * 50 + ", 'fortran_order': False, 'shape': ()}",
    ],
)
def test_a_damaged_head_is_refused(tmp_path, head):
    data = head.encode()
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data + bytes(64))
    found = shown(tmp_path / "a.npy")
    assert found.kind == "bytes"
    assert found.notes[0].startswith("Its head is damaged")


def test_an_archive_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.ones((4, 5)), three=np.array([object]))
    one, two, three = shown(tmp_path / "a.npz").data["arrays"]
    assert (one["name"], one["shape"], dict(one["statistics"])["maximum"]) == ("one", "3", "2")
    assert two["image"]
    assert drawn(tmp_path / "a.npz", "large", "1").width >= 5
    assert "never loaded" in three["note"]
    with pytest.raises(ViewError, match="no such array"):
        drawn(tmp_path / "a.npz", "large", "7")


def test_an_archive_that_is_none(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nonsense \x00" * 20)
    assert shown(tmp_path / "a.npz").notes[0].startswith("It is no archive")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", b"not an array")
    assert "it is no file of numpy" in shown(tmp_path / "b.npz").data["arrays"][0]["note"]


# -- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "mode"), [("a.png", "RGBA"), ("a.png", "P"), ("a.png", "I;16"), ("a.jpg", "RGB"), ("a.jpg", "CMYK"),
                       ("a.gif", "P"), ("a.tif", "F"), ("a.webp", "RGB"), ("a.bmp", "RGB")]
)
def test_images_have_thumbnails(tmp_path, name, mode):
    if mode in ("I;16", "F"):
        picture = Image.fromarray(np.arange(480000).reshape(600, 800).astype("u2" if mode == "I;16" else "f4"))
    else:
        picture = Image.new("RGB", (800, 600), (255, 0, 0)).convert(mode)
    picture.save(tmp_path / name)
    found = shown(tmp_path / name)
    assert (found.kind, found.data["width"], found.data["height"]) == ("image", 800, 600)
    small = drawn(tmp_path / name)
    assert small.size == (240, 180)
    if mode not in ("I;16", "F", "CMYK"):
        red, green, _ = small.convert("RGB").getpixel((100, 100))
        assert red > 240
        assert green < 15


def test_an_image_that_is_turned_is_shown_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    assert drawn(tmp_path / "a.jpg").size == (120, 240)


def test_a_thumbnail_is_made_once_until_the_file_changes(tmp_path, monkeypatch):
    asked: list[str] = []
    real = limited.ask
    monkeypatch.setattr(limited, "ask", lambda job, *rest: (asked.append(job), real(job, *rest))[1])
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    assert drawn(tmp_path / "a.png").size == drawn(tmp_path / "a.png").size == (40, 40)
    assert len(asked) == 1
    Image.new("RGB", (50, 50)).save(tmp_path / "a.png")
    assert drawn(tmp_path / "a.png").size == (50, 50)
    assert len(asked) == 2


def test_a_damaged_image_has_its_first_bytes(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    found = shown(tmp_path / "a.png")
    assert found.kind == "bytes"
    assert found.notes[0].startswith("It is no image of a known format")


# -- FITS ----------------------------------------------------------------------------------------------------------


def test_fits(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    columns = [fits.Column("x", "D", array=np.arange(50.0), unit="K"), fits.Column("n", "10A", array=["a"] * 50)]
    unsigned = (np.arange(30).reshape(5, 6)).astype("uint16")
    image = fits.PrimaryHDU(np.arange(600.0).reshape(20, 30))
    image.header["OBSERVER"] = ("<b>Ada</b>", "who looked")
    parts = [image, fits.ImageHDU(unsigned, name="U"), fits.BinTableHDU.from_columns(columns, name="T")]
    fits.HDUList(parts).writeto(tmp_path / "a.fits")
    found = shown(tmp_path / "a.fits")
    first, second, third = found.data["parts"]
    assert ["OBSERVER", "<b>Ada</b>", "who looked"] in first["cards"]
    assert first["array"]["shape"] == "20 × 30"
    assert dict(second["array"]["statistics"])["maximum"] == "29"
    assert third["table"]["head"] == ["x [K]", "n"]
    assert third["table"]["rows"][3] == ["3", "a"]
    assert third["table"]["count"] == 50
    # The first row of a FITS image is at the bottom.
    picture = drawn(tmp_path / "a.fits", "large", "0").convert("RGB")
    assert sum(picture.getpixel((5, 5))) > sum(picture.getpixel((5, picture.height - 5)))
    with pytest.raises(ViewError, match="no picture"):
        drawn(tmp_path / "a.fits", "large", "2")
    with pytest.raises(ViewError, match="no such part"):
        drawn(tmp_path / "a.fits", "large", "9")


@pytest.mark.parametrize("nested", [False, True])
def test_healpix_maps_are_drawn(tmp_path, nested):
    healpy = pytest.importorskip("healpy")
    z = healpy.pix2vec(16, np.arange(12 * 16**2), nest=nested)[2]
    fits = pytest.importorskip("astropy.io.fits")
    table = fits.BinTableHDU.from_columns([fits.Column("T", "E", array=z)])
    table.header.update(PIXTYPE="HEALPIX", ORDERING="NESTED" if nested else "RING", NSIDE=16)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "a.fits")
    assert shown(tmp_path / "a.fits").data["parts"][1]["healpix"]["nested"] == nested
    picture = drawn(tmp_path / "a.fits", "large", "1.0").convert("RGBA")
    middle = picture.width // 2
    north, south = picture.getpixel((middle, 10)), picture.getpixel((middle, picture.height - 10))
    assert north[0] > 200
    assert south[0] < 100
    assert picture.getpixel((2, 2))[3] == 0


def test_what_is_no_fits_says_so(tmp_path):
    (tmp_path / "a.fits").write_bytes(bytes(5000))
    assert shown(tmp_path / "a.fits").notes[0].startswith("It is no FITS file")


# -- pickles -------------------------------------------------------------------------------------------------------


class Thing:
    def __init__(self) -> None:
        self.name = "x"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (1, "int", "1"), ("x", "str", "'x'"), (None, "", "None"), (True, "", "True"), (1.5, "float", "1.5"),
        (b"ab", "bytes", "b'ab'"), (1 + 2j, "complex", "(1+2j)"), ([1, 2], "list", "2"), ((), "tuple", "0"),
        ({1: 2}, "dict", "1"), ({1}, "set", "1"), (frozenset([1]), "frozenset", "1"),
        (np.arange(6.0).reshape(2, 3), "numpy.ndarray", "2 × 3 float64"),
        (np.zeros(0), "numpy.ndarray", "0 float64"),
        (np.array([object()]), "numpy.ndarray", "1 of Python objects"),
        (np.float32(2), "numpy.float32", "2.0"),
        (np.datetime64("2020-01-02"), "numpy.datetime64[D]", "2020-01-02"),
        (np.array(["2020-01-02"], "M8[ns]"), "numpy.ndarray", "1 datetime64[ns]"),
        (np.zeros(2, [("a", "f8"), ("b", "i4")]), "numpy.ndarray", "2 [('a', '<f8'), ('b', '<i4')]"),
        (datetime.datetime(2020, 1, 2, 3, 4, 5), "datetime.datetime", "2020-01-02 03:04:05"),
        (datetime.date(2020, 1, 2), "datetime.date", "2020-01-02"),
        (OrderedDict(a=1), "collections.OrderedDict", "1"),
    ],
)
def test_values_of_pickles(value, kind, text, protocol):
    try:
        data = pickle.dumps(value, protocol)
    except pickle.PicklingError:  # pragma: no cover
        pytest.skip("not in this protocol")
    node = pickled.tree(data)
    assert (node["kind"], node["text"]) == (kind, text)


@pytest.mark.parametrize("protocol", range(6))
def test_an_object_of_an_unknown_class_shows_its_class_and_state(protocol):
    node = pickled.tree(pickle.dumps(Thing(), protocol))
    assert node["kind"] == f"{__name__}.Thing"
    assert ("." + "name", {"kind": "str", "text": "'x'"}) in node["inside"]


def test_a_value_that_holds_itself_ends():
    value: list[Any] = []
    value.append(value)
    assert "deeper levels" in json.dumps(pickled.tree(pickle.dumps(value)))


def test_a_pickle_is_shown_as_a_tree_and_a_damaged_one_as_a_listing(tmp_path):
    data = pickle.dumps({"a": [1, 2, 3], "b": Thing()})
    (tmp_path / "a.pkl").write_bytes(data)
    found = shown(tmp_path / "a.pkl")
    assert found.template == "_view_tree.html"
    assert "not loaded" in found.notes[0]
    (tmp_path / "b.pkl").write_bytes(data[:-10])
    found = shown(tmp_path / "b.pkl")
    assert found.kind == "listing"
    assert "EMPTY_DICT" in found.data["listing"]
    (tmp_path / "c.pkl").write_bytes(b"\xff\xfe\xfd\x00 no pickle")
    assert shown(tmp_path / "c.pkl").kind in ("bytes", "text")


# -- the process ---------------------------------------------------------------------------------------------------


def test_the_process_knows_the_same_packages_and_nothing_of_the_directory(tmp_path, monkeypatch):
    (tmp_path / "PIL.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert shown(tmp_path / "a.png").kind == "image"


def test_kinds_by_name():
    assert kind_by_name("A.PNG") == "image"
    assert kind_by_name("map.fits.gz") == "fits"
    assert kind_by_name("README") is None
    assert content_type("a.html") == "text/html"
    assert content_type("a.js") == content_type("a.xhtml") == content_type("a") == "application/octet-stream"
