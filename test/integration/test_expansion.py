"""From the outputs of the parents to the inputs of a child, and what the child sees, through whole runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support import Lab, Project

from pipelet.pipeline import Pipeline

COPY = "set_output(get_input())\n"
ONE = "set_output([get_input()])\n"
#: Put out all that a segment sees of its input.
SEEN = 'set_output((seg_input, get_input(), *[get_input(name) for name in {}]))\n'


def outputs(
    project: Project, dot: str, name: str, push: dict[str, Any] | None = None, processes: int = 0, **scripts: str
) -> list[Any]:
    project.write(**scripts)
    pipeline = project.pipeline(dot, push)
    summary = project.run(pipeline, processes)
    assert summary.ok, str(summary)
    return pipeline.outputs(name)


def exactly(found: Any, expected: Any) -> bool:
    """Equal in type and content, all the way down."""
    if type(found) is not type(expected):
        return False
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(exactly, found, expected))
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(exactly(found[key], expected[key]) for key in expected)
    if isinstance(expected, np.ndarray):
        return bool(found.dtype == expected.dtype and found.shape == expected.shape and (found == expected).all())
    return bool(found == expected) or (found != found and expected != expected)


# ---- what the segment sees


def test_two_parents(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1, 2])", b="set_output(['x'])", c=SEEN.format('"ab"')
    )
    assert found == [({"a": 1, "b": "x"}, 1, 1, "x"), ({"a": 2, "b": "x"}, 2, 2, "x")]


def test_a_pushed_input(project):
    script = 'set_output((seg_input, get_input(), get_input("aphantom")))'
    found = outputs(project, "a", "a", {"a": [(1, 2.5)]}, a=script)
    assert found == [({"aphantom": (1, 2.5)}, (1, 2.5), (1, 2.5))]


def test_no_parent_and_nothing_pushed(project):
    assert outputs(project, "a", "a", a="set_output((seg_input, get_input()))") == [({}, None)]


def test_a_union(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1, 2])", b="set_output([2])",
        c="#multiplex union\n" + SEEN.format('"ab"'),
    )
    assert found == [({"a": 1}, 1, 1, None), ({"a": 2}, 2, 2, None), ({"b": 2}, 2, None, 2)]


def test_a_zip(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1, 2, 1])", b="set_output([3, 4, 3])",
        c="#multiplex zip\n" + SEEN.format('"ab"'),
    )
    assert found == [({"a": 1, "b": 3}, 1, 1, 3), ({"a": 2, "b": 4}, 2, 2, 4)]


def test_a_zip_of_unequal_lengths_is_an_error(project):
    two = Lab(project, "a -> c; b -> c").write(a="set_output([1, 2])", b="set_output([3])", c="#multiplex zip\n")
    assert two.ran() == ["a", "b"]
    assert two.summary.waiting == ["c"]
    assert two.summary.failed == 1
    assert "a has 2, b has 1" in str(two.summary)


def test_a_group(project):
    found = outputs(
        project, "a -> c", "c", {"a": [1, 2, 3, 4]}, a="set_output([get_input() % 3, 'x'])",
        c="#multiplex group_by '(a,)'\n" + SEEN.format('"a"'),
    )
    assert found == [((1,), (1,), [1, 1]), (("x",), ("x",), ["x"] * 4), ((2,), (2,), [2]), ((0,), (0,), [0])]


def test_a_group_over_several_parents_keeps_equal_elements_of_each(project):
    found = outputs(
        project, "a -> c; b -> c", "c", {"a": [1, 2]}, a="set_output([0, get_input()])", b="set_output([5, 5])",
        c="#multiplex group_by 'a % 2'\n" + SEEN.format('"ab"'),
    )
    assert found == [(0, 0, [0, 0, 2], [5, 5]), (1, 1, [1], [5, 5])]


def test_a_group_over_a_union(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1, 2])", b="set_output([2, 2])",
        c="#multiplex union group_by 'a or b'\n" + SEEN.format('"ab"'),
    )
    assert found == [(1, 1, [1], []), (2, 2, [2], [2, 2])]


def test_where_and_group_by_together(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1, 2, 3])", b="set_output([2, 3, 3])",
        c="#multiplex cross_prod group_by 'a' where \"a == b\"\n" + SEEN.format('"ab"'),
    )
    assert found == [(2, 2, [2], [2]), (3, 3, [3], [3, 3])]


def test_the_parents_of_a_class_are_all_its_tasks_each_once(project):
    pipeline = project.write(a="set_output([0, 0, get_input()])", c="#multiplex group_by 'all'\n").pipeline(
        "a -> c", {"a": [1, 2]}
    )
    project.run(pipeline)
    (task,) = pipeline.tasks("c")
    assert task.input == "all"
    assert sorted(task.parents) == sorted(parent.id for parent in pipeline.tasks("a"))


def test_classes_are_compared_as_python_does(project):
    found = outputs(
        project, "a -> c", "c", a="set_output([1, True, 1.0, 2])",
        c="#multiplex group_by 'a'\n" + SEEN.format('"a"'),
    )
    assert exactly(found, [(1, 1, [1, True, 1.0]), (2, 2, [2])])


def test_the_last_directive_stands(project):
    found = outputs(
        project, "a -> c; b -> c", "c", a="set_output([1])", b="set_output([2])",
        c="#multiplex zip\n#multiplex union\n" + COPY,
    )
    assert found == [1, 2]


def test_an_unknown_parent_lists_the_known_ones(project):
    two = Lab(project, "a -> c; b -> c").write(a="set_output(1)", b="set_output(2)", c='get_input("z")')
    two.ran()
    assert "no parent named 'z'; known are: a, b" in two.summary.failures[0].error


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("where 'a[0] == 1'", ["'c'", "`a[0] == 1`", "TypeError", "a=7"]),
        ("group_by '[a]'", ["'c'", "`[a]`", "a=7", "hashable"]),
        ("group_by 'a[0]'", ["'c'", "`a[0]`", "TypeError", "a=7"]),
    ],
)
def test_an_error_in_an_expression_names_the_segment_the_expression_and_the_element(project, expression, words):
    two = Lab(project, "a -> c -> d").write(a="set_output(7)", c=f"#multiplex cross_prod {expression}\n", d="")
    assert two.ran() == ["a"]
    assert two.summary.waiting == ["c", "d"]
    for word in words:
        assert word in two.summary.failures[0].error
    explained = two.pipeline().explain()
    assert any(words[1] in reason for reason in explained["c"].reasons)
    assert not explained.up_to_date


def test_a_class_of_the_code_directory_in_an_expression(project):
    project.write(rims="class Disc:\n    def __init__(self, r): self.r = r\n")
    found = outputs(
        project, "a -> c", "c", a="#depend rims.py\nfrom rims import Disc\nset_output([Disc(1), Disc(2)])",
        c="#multiplex cross_prod where 'a.r > 1'\nset_output(get_input().r)",
    )
    assert found == [2]


# ---- inputs as a set, told apart by type and content

NUMBERS = [1, True, 1.0, np.int64(1), np.float64(1.0), np.float32(1.0)]
DISTINCT = [*NUMBERS, "1", b"1", (1,), [1], {1}, frozenset([1]), None]


def test_inputs_that_are_equal_for_python_are_several_by_type(project):
    found = outputs(project, "a -> b", "b", {"a": DISTINCT + DISTINCT}, a=ONE, b=ONE)
    assert len(found) == len(DISTINCT)
    for value, expected in zip(found, DISTINCT, strict=True):
        assert exactly(value, expected)


def test_nan_is_one_input_and_zeros_have_a_sign(project):
    found = outputs(project, "a", "a", {"a": [float("nan"), math.nan, -float("nan"), 0.0]}, a=COPY)
    assert len(found) == 2
    assert math.isnan(found[0])


def test_arrays_compare_by_type_shape_and_values_whatever_their_order_in_memory(project):
    grid = np.arange(6).reshape(2, 3)
    inputs = [grid, np.asfortranarray(grid), grid[:, :].copy(), grid.astype("i4"), grid.reshape(3, 2), grid + 1]
    found = outputs(project, "a", "a", {"a": inputs}, a="set_output([get_input()])")
    expected = [grid, inputs[3], inputs[4], inputs[5]]
    assert len(found) == 4
    assert all(map(exactly, found, expected))


def test_dicts_and_sets_compare_whatever_their_order(project):
    inputs = [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a", "b", "c"}, {"c", "b", "a"}, {"a": 1, "b": 2.0}]
    assert len(outputs(project, "a", "a", {"a": inputs}, a=COPY)) == 3


def test_types_are_kept_from_task_to_task(project):
    values = [1.0, (1, 2.0), np.int64(3), np.float32(0.5), "x", b"x", True, None, {"k": (1,)}, {1, 2}, 1 + 2j]
    found = outputs(
        project, "a -> b -> c", "c", a=f"import numpy as np\nseg_output = {values!r}", b=COPY,
        c="set_output([seg_input['b']])", processes=1,
    )
    assert len(found) == len(values)
    assert all(map(exactly, found, values)), found


def test_equal_elements_are_one_task_of_all_the_tasks_that_gave_them(project):
    pipeline = project.write(a="set_output(get_input() % 2)", b=COPY).pipeline("a -> b", {"a": [1, 2, 3]})
    project.run(pipeline)
    one, zero = pipeline.tasks("b")
    ids = {task.input["aphantom"]: task.id for task in pipeline.tasks("a")}
    assert (one.input, set(one.parents)) == ({"a": 1}, {ids[1], ids[3]})
    assert (zero.input, zero.parents) == ({"a": 0}, (ids[2],))


# ---- order

ORDER = {
    "a": "import time, random\ntime.sleep(random.random() / 20)\nset_output([get_input(), -get_input()])\n",
    "b": "import time, random\ntime.sleep(random.random() / 20)\nset_output([2 * get_input(), 0])\n",
    "c": "import time, random\ntime.sleep(random.random() / 20)\nset_output((get_input('a'), get_input('b')))\n",
    "d": "#multiplex group_by 'c[1]'\nset_output([get_input(), *get_input('c')])\n",
}
PUSH = {"a": [3, 1, 2]}


def test_outputs_are_in_the_order_of_the_parents_never_of_time(project, tmp_path):
    project.write(**ORDER)
    dot = "a -> c; a -> b; b -> c; c -> d"
    pipeline = project.pipeline(dot, PUSH)
    project.run(pipeline, processes=3)
    a = [3, -3, 1, -1, 2, -2]
    b = [6, 0, -6, 2, -2, 4, -4]
    first_seen = list(dict.fromkeys(value for x in a for value in (2 * x, 0)))
    assert pipeline.outputs("a") == a
    assert pipeline.outputs("b") == [value for x in a for value in (2 * x, 0)]
    assert sorted(first_seen) == sorted(b)
    assert pipeline.outputs("c") == [(x, y) for x in a for y in first_seen]
    expected = [value for y in first_seen for value in (y, *((x, y) for x in a))]
    assert pipeline.outputs("d") == expected
    alone = project.pipeline(dot, PUSH, prefix=tmp_path / "interactive")
    project.run(alone)
    for name in "abcd":
        assert alone.outputs(name) == pipeline.outputs(name)


def test_nor_of_ids(project):
    """Inputs that come later stand where they were pushed, before those that have smaller ids."""
    project.write(a=COPY, b=COPY)
    project.run(project.pipeline("a -> b", {"a": [1, 3]}))
    pipeline = project.pipeline("a -> b", {"a": [3, 2, 1]})
    project.run(pipeline)
    assert pipeline.outputs("a") == pipeline.outputs("b") == [3, 2, 1]
    assert [task.input["a"] for task in pipeline.tasks("b")] == [3, 2, 1]


# ---- outputs and silence


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("set_output([1, 2])", [1, 2]),
        ("set_output((1, 2))", [(1, 2)]),
        ("set_output('ab')", ["ab"]),
        ("set_output({'a': 1})", [{"a": 1}]),
        ("set_output(range(2))", [range(2)]),
        ("set_output(x * x for x in (1, 2))", [1, 4]),
        ("set_output(iter([1, 2]))", [1, 2]),
        ("set_output(map(str, [1, 2]))", ["1", "2"]),
        ("set_output(None)", [None]),
        ("set_output([None])", [None]),
        ("set_output([[1, 2]])", [[1, 2]]),
        ("set_output(1)\nset_output(2)", [2]),
        ("seg_output = [1, 2]", [1, 2]),
        ("seg_output.append(1)", [1]),
        ("seg_output += [1]", [1]),
        ("for x in (1, 2):\n    seg_output.append(x)", [1, 2]),
        ("seg_output = []", []),
        ("set_output([])", []),
        ("set_output(iter(()))", []),
        ("set_output(seg_output)", []),
        ("import sys\nset_output(1)\nsys.exit(0)", [1]),
    ],
)
def test_what_an_output_is(project, script, expected):
    two = Lab(project, "a -> b").write(a=script, b="")
    two.ran()
    assert exactly(two.pipeline().outputs("a"), expected)
    assert two.warnings == []
    assert two.summary.counts["b"]["done"] == len(set(map(str, expected)))


@pytest.mark.parametrize(("script", "expected"), [("seg_output = 'ab'", "ab"), ("seg_output = (1, 2)", (1, 2))])
def test_a_seg_output_that_is_no_list_is_one_element_with_a_warning(project, script, expected):
    one = Lab(project, "a").write(a=script)
    one.ran()
    assert one.pipeline().outputs("a") == [expected]
    assert len(one.warnings) == 1
    assert "no list" in one.warnings[0]


def test_an_assignment_to_set_output_counts_as_none_with_a_warning(project):
    two = Lab(project, "a -> b").write(a="set_output = [1, 2]", b="set_output((seg_input, get_input()))")
    assert two.ran() == ["a", "b None"]
    (warning,) = two.warnings
    assert "set_output(...)" in warning
    assert two.pipeline().outputs("b") == [({"a": None}, None)]


def test_a_list_that_is_changed_after_it_was_set(project):
    assert outputs(project, "a", "a", a="x = [1]\nset_output(x)\nx.append(2)") == [1, 2]


def test_an_output_that_can_not_be_pickled_fails_the_task_and_names_the_element(project):
    two = Lab(project, "a -> b").write(a="set_output([1, lambda: 2])", b="")
    assert two.ran() == ["a"]
    assert two.summary.failed == 1
    assert "element 1 of the output" in two.summary.failures[0].error


def test_the_children_of_silent_tasks_run_once_after_all_of_them(project):
    two = Lab(project, "a -> b; a -> c; z -> c").write(
        a='open(get_data_fn("x"), "w").close()', b='set_output((get_input(), len(glob_parent("*/x"))))',
        c="set_output((get_input('a'), get_input('z')))", z="set_output([1, 2])",
    )
    assert two.ran(a=[1, 2, 3]) == ["a 1", "a 2", "a 3", "b None", "c None_1", "c None_2", "z"]
    assert two.pipeline().outputs("b") == [(None, 3)]
    assert two.pipeline().outputs("c") == [(None, 1), (None, 2)]
    assert two.warnings == []


def test_a_silent_segment_with_a_failed_task_is_waited_for(project):
    two = Lab(project, "a -> b").write(a="assert get_input() != 2", b="")
    assert two.ran(a=[1, 2]) == ["a 1", "a 2"]
    assert two.summary.waiting == ["b"]


def test_an_expression_that_fails_only_because_of_silence_gives_one_class(project):
    two = Lab(project, "a -> b").write(a="", b="#multiplex cross_prod group_by 'a[0]'\nset_output([repr(seg_input)])")
    assert two.ran(a=[(1, 2), (3, 4)]) == ["a (1, 2)", "a (3, 4)", "b None"]
    (warning,) = two.warnings
    for word in ("'b'", "`a[0]`", "'a'", "no output"):
        assert word in warning
    assert two.pipeline().outputs("b") == ["None"]


def test_an_explicit_empty_list_makes_no_child_task(project):
    three = Lab(project, "a -> b; z -> b; b -> c").write(a="set_output([])", b="", c="", z="set_output(1)")
    assert three.ran() == ["a", "z"]
    assert three.summary.ok
    assert three.summary.waiting == []


def test_silent_ones_among_others_contribute_nothing_with_a_warning(project):
    two = Lab(project, "a -> b").write(a="if get_input() > 1:\n    set_output(get_input())\n", b=COPY)
    assert two.ran(a=[1, 2, 3]) == ["a 1", "a 2", "a 3", "b 2", "b 3"]
    (warning,) = two.warnings
    assert "1 of 3 tasks of 'a' set no output" in warning
    # those that said so with an empty list are no reason to warn
    two.write(a="set_output([get_input()] * (get_input() > 1))\n")
    two.ran(a=[1, 2, 3])
    assert two.warnings == []
    assert two.pipeline().outputs("b") == [2, 3]


def test_none_that_was_put_out_is_a_value(project):
    two = Lab(project, "a -> b").write(a="set_output([None, get_input()])", b="")
    assert two.ran(a=[1, 2]) == ["a 1", "a 2", "b 1", "b 2", "b None"]


# ---- pushing


def test_of_two_segments_without_parents_one_is_pushed_to(project):
    two = Lab(project, "a -> c; b -> c").write(a=COPY, b="set_output([7, 8])", c="")
    assert two.ran(a=[1]) == ["a 1", "b", "c 1_7", "c 1_8"]


def test_an_empty_push_means_no_task(project):
    two = Lab(project, "a -> c; b").write(a=COPY, b="", c="")
    assert two.ran(a=[]) == ["b"]
    assert two.summary.ok
    assert two.ran(a=[1]) == ["a 1", "c 1"]
    assert two.ran(a=[]) == []
    assert two.pipeline().outputs("a") == []


def test_pushing_twice_appends(project):
    project.write(a=COPY)
    pipeline = project.pipeline("a", {"a": [1]})
    pipeline.push(a=[2, 1])
    project.run(pipeline)
    assert pipeline.outputs("a") == [1, 2]


def test_an_output_of_very_many_elements(project):
    script = "set_output([(n % 50_000, 'x') for n in range(100_000)])"
    project.write(a=script, b="#multiplex group_by 'a[0] % 7'\nset_output(len(get_input('a')))")
    pipeline: Pipeline = project.pipeline("a -> b")
    assert project.run(pipeline).ok
    assert len(pipeline.outputs("a")) == 100_000
    assert pipeline.outputs("b") == [2 * len(range(rest, 50_000, 7)) for rest in range(7)]
    assert pipeline.explain().up_to_date


def test_inputs_are_any_objects_that_can_be_pickled(project):
    values = [slice(1, 2), ValueError("x"), np.dtype("f8")]
    found = outputs(project, "a -> b", "b", {"a": values}, a=COPY, b="set_output([type(get_input()).__name__])")
    assert found == ["slice", "ValueError", type(np.dtype("f8")).__name__]
