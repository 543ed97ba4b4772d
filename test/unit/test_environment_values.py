"""Small helpers around the values of a segment's namespace, and the module that stands for the main one."""

from __future__ import annotations

import pickle
import sys
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelet.core.text import without_surrogates
from pipelet.environment import Environment, EnvironmentBase
from pipelet.environment.mainmodule import AsMain, outside
from pipelet.environment.values import (
    NotSet,
    binder,
    loads,
    names_of,
    pickle_output,
    public_methods,
    short,
    try_pickle,
    word,
)
from pipelet.errors import OutputError, ParameterError


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")

    def __repr__(self):
        raise RuntimeError("nor this")


def own_class():
    """A class as a segment would define it, and the segment's module."""
    module = types.ModuleType("__main__")
    exec("class Own:\n    pass", vars(module))
    return module.Own, module


def test_what_can_not_be_pickled_names_the_element():
    with pytest.raises(OutputError, match=r"element 3 of the output .* can't be pickled: not this one"):
        pickle_output(Unpicklable(), 3)
    assert pickle.loads(pickle_output((1, "x"), 0)) == (1, "x")


def test_try_pickle_gives_nothing_where_it_is_not_possible():
    assert try_pickle(Unpicklable()) is None
    assert try_pickle(lambda: 1) is None
    assert loads(try_pickle([1.5])) == [1.5]
    assert loads(None) is None


def test_what_only_the_segment_knows_leaves_no_task():
    own, module = own_class()
    with AsMain(module):
        assert sys.modules["__main__"] is module
        assert type(pickle.loads(pickle.dumps(own()))) is own
        assert try_pickle(own()) is None
        assert sys.modules["__main__"] is module


def test_the_main_module_comes_back_whatever_happens():
    before = sys.modules["__main__"]
    _, module = own_class()
    seen = []

    def inner():
        with outside():
            seen.append(sys.modules["__main__"])
            raise ValueError("inner")

    def outer():
        with AsMain(module):
            try:
                inner()
            finally:
                seen.append(sys.modules["__main__"])

    with pytest.raises(ValueError, match="inner"):
        outer()
    assert seen == [before, module]
    assert sys.modules["__main__"] is before
    with outside():
        assert sys.modules["__main__"] is before


def test_names_are_one_or_several():
    assert names_of("x") == ["x"]
    assert names_of(["x", "y"]) == ["x", "y"]
    assert names_of(name for name in "xy") == ["x", "y"]
    assert names_of(()) == []


@pytest.mark.parametrize("given", [[1.5], 3, None, [None], [["x"]], b"x"])
def test_values_in_place_of_names_are_explained(given):
    with pytest.raises(ParameterError, match=r"the name of a variable is wanted, as in \['x'\]"):
        names_of(given)


def test_values_as_text_for_people():
    assert short("a b") == "a b"
    assert short((1, "x")) == "(1, 'x')"
    assert short("x" * 1000) == "x" * 297 + "..."
    assert short(Unpicklable()) == "<Unpicklable without a text: nor this>"
    assert short("\udc80") == "\\udc80"


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_without_surrogates_any_text_can_be_encoded(text):
    clean = without_surrogates(text)
    clean.encode()
    if not any("\ud800" <= sign <= "\udfff" for sign in text):
        assert clean == text


def test_arguments_of_programs(tmp_path):
    assert word(3) == "3"
    assert word("x") == "x"
    assert word(tmp_path) is tmp_path


def test_public_methods_are_those_that_a_segment_may_call():
    class Mine(Environment):
        constant = 3

        def region(self):
            """A function of the segments."""

        @staticmethod
        def double(x):
            return 2 * x

        def _hidden(self):
            """None."""

    new = set(public_methods(Mine)) - set(public_methods(Environment))
    assert new == {"region", "double"} == set(Mine._functions) - set(Environment._functions)
    assert set(EnvironmentBase._functions) < set(Environment._functions)


def test_each_function_is_bound_under_its_name_whatever_that_is():
    class Odd(Environment):
        """Names that no statement can hold come by way of setattr."""

    for name in ("class", "two words", "it's", "größe"):
        setattr(Odd, name, lambda self, name=name: name)
    Odd._functions = public_methods(Odd)
    environment = Odd.__new__(Odd)
    namespace = {"mine": 1}
    binder(Odd._functions)(namespace, environment)
    assert namespace.keys() == {"mine", *Odd._functions}
    assert namespace["class"]() == "class"
    assert namespace["it's"]() == "it's"
    assert namespace["set_output"] == environment.set_output
    binder(())(namespace, environment)


def test_the_list_that_stands_ready_is_a_list():
    ready = NotSet()
    ready.append(1)
    assert isinstance(ready, list)
    assert ready == [1]
