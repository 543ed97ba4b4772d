"""An input as a part of a directory's name."""

from __future__ import annotations

import datetime
import decimal
import enum
import pathlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelet.core.text import join_texts, task_name, value_text, without_surrogates


class Point(NamedTuple):
    x: int
    y: int


class Level(enum.IntEnum):
    LOW = 1


class Bits(enum.Flag):
    A = 1
    B = 2


class Silent:
    class Inner:
        pass


class Speaking:
    def __repr__(self) -> str:
        return "<Speaking at 0x7f00aa of 3>"


class Broken:
    def __str__(self) -> str:
        raise ValueError("no")


CASES: list[tuple[Any, str]] = [
    ("Lancelot", "Lancelot"),
    ("the Brave", "the_Brave"),
    ("a_b+c=d,e-f", "a_b+c=d,e-f"),
    ("map.fits", "map_fits"),
    ("../a/b\\c", "___a_b_c"),
    ("a\nb\0c\td", "a_b_c_d"),
    ("é漢字٣", "é漢字٣"),
    ("a:b*c?d\"e<f>g|h'i~j`k", "a_b_c_d_e_f_g_h_i_j_k"),
    ("\ud800", "_"),
    ("", ""),
    (1, "1"),
    (-12, "-12"),
    (1.5, "1_5"),
    (-0.5, "-0_5"),
    (1e-05, "1e-05"),
    (1e22, "1e+22"),
    (float("nan"), "nan"),
    (True, "True"),
    (None, "None"),
    (1 + 2j, "_1+2j_"),
    (b"a/b", "a_b"),
    (bytearray(b"ab\xff"), "ab_"),
    (("a", 1), "a_1"),
    (["a", ("b", [2.5, "c d"])], "a_b_2_5_c_d"),
    (Point(3, 4), "3_4"),
    ((), ""),
    ([[], "a", ()], "a"),
    (("", "a", ""), "_a_"),
    ({"b": 1, "a": (2, 3)}, "a=2_3_b=1"),
    ({3, 1, 2}, "1_2_3"),
    (frozenset({"b", "a"}), "a_b"),
    ({"a": {"b": 1, "c": 2}}, "a=dict_of_2"),
    ({frozenset({1}): 2}, "frozenset_of_1=2"),
    ({frozenset({1})}, "frozenset_of_1"),
    (({"a": 1}, {2}), "a=1_2"),
    (set(range(17)), "set_of_17"),
    (set(range(10, 26)), "10_11_12_13_14_15_16_17_18_19_20_21_22_23_24_25"),
    (dict.fromkeys(range(100)), "dict_of_100"),
    (np.int64(7), "7"),
    (np.float64(1.5), "1_5"),
    (np.float32(0.1), "0_1"),
    (np.bool_(True), "True"),
    (np.str_("a b"), "a_b"),
    (np.datetime64("2020-01-02"), "2020-01-02"),
    (np.array([1, 2]), "1_2"),
    (np.array([[1.5, 2], [3, 4]]), "1_5_2_0_3_0_4_0"),
    (np.array(5), "5"),
    (np.array([], dtype="f4"), ""),
    (np.arange(16), "0_1_2_3_4_5_6_7_8_9_10_11_12_13_14_15"),
    (np.arange(17), "int64_17"),
    (np.zeros((512, 256), dtype="f4"), "float32_512x256"),
    (np.zeros(2, dtype="i4,f8"), "record_2"),
    (np.zeros(2, dtype="i4,f8")[0], "0_0_0"),
    (np.array([1, None], dtype=object), "object_2"),
    (np.array([({"a": 1},)], dtype=[("x", object)])[0], "a=1"),
    (np.add, "add"),
    (datetime.date(2020, 1, 2), "2020-01-02"),
    (decimal.Decimal("1.50"), "1_50"),
    (pathlib.PurePosixPath("a/b.fits"), "a_b_fits"),
    (Level.LOW, "LOW"),
    (Bits.A, "A"),
    (Bits(0), "0"),
    (Bits.A | Bits.B, "3"),
    (Silent(), "Silent"),
    (Speaking(), "_Speaking_of_3_"),
    (Broken(), "Broken"),
    (Silent, "Silent"),
    (Silent.Inner, "Silent_Inner"),
    (len, "len"),
    (pathlib, "pathlib"),
    (["kept at 0x12ab"], "kept_at_0x12ab"),
]


@pytest.mark.parametrize(("value", "text"), CASES)
def test_value_text(value: Any, text: str) -> None:
    assert value_text(value) == text


# ------------------------------------------------------------------------------------------------------------- length


def check(text: str) -> None:
    assert len(text) <= 120
    assert len(text.encode()) <= 200
    assert all(letter.isalnum() or letter in "_+=,-" for letter in text)


def test_at_most_120_characters_and_the_end_stays() -> None:
    assert value_text("a" * 120) == "a" * 120
    assert value_text("a b" * 40) == "a_b" * 40
    cut = value_text("start" + "a" * 500 + "the last element")
    assert cut.startswith("startaaa")
    assert cut.endswith("aaathe_last_element")
    assert ",,," in cut
    assert len(cut) == 120
    assert value_text("a" * 121) == "a" * 42 + ",,," + "a" * 75
    check(cut)


def test_the_cut_is_the_same_whatever_was_left_out_of_sight() -> None:
    for size in (121, 122, 239, 240, 241, 242, 1000):
        letters = "".join(chr(ord("a") + index % 26) for index in range(size))
        assert value_text(letters) == letters[:42] + ",,," + letters[-75:]
        assert value_text([letters]) == value_text(letters)
        spaced = letters.replace("c", " ")
        assert value_text(spaced) == letters.replace("c", "_")[:42] + ",,," + letters.replace("c", "_")[-75:]


@pytest.mark.parametrize("size", [1, 30, 31, 45, 60, 61, 100, 130, 1000, 30000])
def test_long_lists_show_both_ends(size: int) -> None:
    whole = "_".join(map(str, range(size)))
    text = value_text(list(range(size)))
    assert text == (whole if len(whole) <= 120 else whole[:42] + ",,," + whole[-75:])
    assert value_text(tuple(range(size))) == text
    halves = (list(range(size // 2)), [tuple(range(size // 2, size))])
    assert value_text(halves) == text


@pytest.mark.parametrize("size", range(115, 124))
def test_lists_about_as_long_as_a_text_may_be(size: int) -> None:
    for parts in (["x" * (size - 2), "y"], ["x", "y" * (size - 2)], ["x" * size, "y", "z"], ["x" * size, "", "z"]):
        assert value_text(parts) == value_text("_".join(parts))


def test_collections_at_the_end_of_a_long_list_are_written_out() -> None:
    assert value_text(["x" * 200, {"a": 1}, {2}]).endswith("x_a=1_2")


def test_letters_of_several_bytes_are_bounded_too() -> None:
    for letter in ("é", "漢", "\U0001d4b3"):
        text = value_text(letter * 300 + "END")
        check(text)
        assert text.endswith(letter + "END")
        assert text.startswith(letter * 10)
        assert len(text.encode()) > 190
    assert value_text("é" * 100) == "é" * 100
    assert value_text("漢" * 66) == "漢" * 66
    assert value_text("漢" * 67) != "漢" * 67
    # as much as fits: with one letter more it would be 201 bytes
    assert len(value_text("é" * 300).encode()) == 199


def test_large_and_odd_values_cost_little() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    loop: list[Any] = []
    loop.append(loop)
    nest: Any = {}
    for _ in range(5000):
        nest = {"a": nest, "b": frozenset()}
    wide: Any = ["x"]
    for _ in range(60):
        wide = [wide, wide]
    shared: dict[str, Any] = {}
    shared["me"] = shared
    for value in (deep, loop, nest, wide, shared, [[]] * 100_000, b"a" * 10**6, "é" * 10**6, 10**5000, [10**5000]):
        check(value_text(value))
    assert value_text(wide).startswith("x_x_x")
    assert value_text(shared) == "me=dict_of_1"
    assert value_text(-(10**5000)).startswith("-0x")
    assert value_text(b"a" * 500 + b"END").endswith("aEND")
    assert value_text(b"a" * 120 + b"b" * 3).endswith("abbb")


anything = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(), st.text(st.characters(exclude_categories=())), st.binary()),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(max_size=3), inner), st.frozensets(st.text())
    ),
    max_leaves=30,
)


@settings(deadline=None, max_examples=200)
@given(anything)
def test_every_text_fits_a_file_name(value: Any) -> None:
    text = value_text(value)
    check(text)
    assert text == value_text(text)
    assert text == value_text(value)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=2), st.integers(), max_size=4))
def test_the_order_of_a_dict_does_not_show(value: dict[str, int]) -> None:
    assert value_text(value) == value_text(dict(reversed(list(value.items()))))


# ------------------------------------------------------------------------------------------------------------- joining


def test_join_texts() -> None:
    assert join_texts([]) == ""
    assert join_texts(["a"]) == "a"
    assert join_texts(["Lancelot", "the_Brave"]) == "Lancelot_the_Brave"
    assert join_texts(["a", "", "b", ""]) == "a_b"
    assert join_texts(["", ""]) == ""
    assert join_texts(["x" * 100, "y" * 100]) == "x" * 42 + ",,," + "y" * 75
    assert join_texts(["x" * 60, "y" * 59]) == "x" * 60 + "_" + "y" * 59
    check(join_texts(["漢" * 60, "字" * 60]))


@settings(deadline=None)
@given(st.lists(st.text(max_size=150).map(value_text), max_size=4))
def test_joined_texts_fit_a_file_name(texts: list[str]) -> None:
    check(join_texts(texts))


def test_task_name() -> None:
    assert task_name(12, "Lancelot") == "12_Lancelot"
    assert task_name(12, "") == "12"
    assert len(task_name(10**18, value_text("漢" * 300)).encode()) <= 230


def test_halves_of_characters_are_written_out() -> None:
    assert without_surrogates("caf\udce9/é漢.txt") == "caf\\udce9/é漢.txt"
    assert without_surrogates("") == ""
