"""The decision on each wanted task, and the text of its parents."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelet.core.model import PHANTOM, Element, Group, Mark, Status, Wanted
from pipelet.core.parents import INLINE_IDS, Parents, decode_parents, encode_parents, task_set_name
from pipelet.core.plan import Action, Asked, Decision, Facts, Reason, Record, SegmentPlan, decide, stale_reason

DONE, FAILED, QUEUED, RUNNING = Status.DONE, Status.FAILED, Status.QUEUED, Status.RUNNING


def element(task: int) -> Element:
    return Element(task, 0, b"e" * 16, "e", b"")


def ordinary(*parents: Sequence[int], digest: bytes = b"x") -> Wanted:
    """An input made of one element of each parent; a parent without tasks gives none (``union``)."""
    elements = tuple(element(ids[0]) if ids else None for ids in parents)
    return Wanted(digest, "x", elements, tuple(map(tuple, parents)))


def of_class(*parents: Sequence[int]) -> Wanted:
    return Wanted(b"x", "x", (), tuple(map(tuple, parents)), Group("x", tuple(() for _ in parents)))


def after_silence(*parents: Sequence[int]) -> Wanted:
    return Wanted(b"x", "None", tuple(element(PHANTOM) for _ in parents), tuple(map(tuple, parents)))


def record(task: int, *parents: Sequence[int], **fields: object) -> Record:
    values = {"status": DONE, "current": True, "present": True, **fields}
    return Record(task, parents=encode_parents(tuple(map(tuple, parents))), **values)  # type: ignore[arg-type]


def facts(
    *records: Record,
    superseded: Sequence[int] = (),
    line: Mapping[str, Sequence[int]] | None = None,
    everything: Mapping[str, Sequence[int]] | None = None,
    growing: bool = False,
) -> Facts:
    return Facts(
        ("a", "b"),
        lambda digests: {b"x": records} if records else {},
        set(superseded).__contains__,
        lambda text: decode_parents(text, lambda name: ()),
        lambda name, parents: task_set_name((line or {}).get(name, ())),
        lambda name: task_set_name((everything or {}).get(name, ())),
        growing,
    )


def decided(item: Wanted, given_facts: Facts) -> Decision:
    plan = decide([item], given_facts)
    (decision,) = plan.decisions
    assert plan.ids == [decision.task]
    assert decision.position == 0
    return decision


def reused(item: Wanted, given_facts: Facts) -> int:
    plan = decide([item], given_facts)
    assert not plan.decisions
    assert plan.reused == 1
    return plan.ids[0]


# ---- first times and second tries


def test_an_input_without_a_record_runs():
    decision = decided(ordinary([1]), facts())
    assert (decision.action, decision.task, decision.replaces) == (Action.NEW, 0, 0)
    assert decision.reason is Reason.NEW
    assert decision.parents == "[[1]]"


def test_a_done_one_with_the_same_parents_is_reused():
    assert reused(ordinary([1], [2]), facts(record(7, [1], [2]))) == 7


@pytest.mark.parametrize(
    ("fields", "action", "reason"),
    [
        ({"status": FAILED}, Action.RERUN, Reason.FAILED),
        ({"status": FAILED, "present": False}, Action.RERUN, Reason.FAILED),
        ({"status": FAILED, "mark": Mark.ASIDE}, Action.SKIP, Reason.FAILED),
        ({"status": QUEUED}, Action.RERUN, Reason.INTERRUPTED),
        ({"status": RUNNING}, Action.RERUN, Reason.INTERRUPTED),
        ({"present": False}, Action.RERUN, Reason.MISSING),
        ({"present": False, "mark": Mark.ASIDE}, Action.RERUN, Reason.MISSING),
        ({"present": False, "mark": Mark.AGAIN}, Action.RERUN, Reason.MISSING),
        ({"mark": Mark.AGAIN}, Action.RERUN, Reason.ASKED),
        ({"mark": Mark.AGAIN, "asked": Asked(("b",))}, Action.RERUN, Reason.ASKED),
        ({"status": FAILED, "mark": Mark.AGAIN}, Action.RERUN, Reason.FAILED),
        ({"status": QUEUED, "mark": Mark.AGAIN}, Action.RERUN, Reason.INTERRUPTED),
    ],
)
def test_what_did_not_end_well_or_lost_its_data_runs_in_its_place(fields, action, reason):
    for parents in ([[1]], [[1, 2]]):
        decision = decided(ordinary(*parents), facts(record(7, [1], **fields)))
        assert (decision.action, decision.task, decision.replaces) == (action, 7, 0)
        # One that does not run takes over its parents all the same, and the reason says so.
        follows = action is Action.SKIP and parents != [[1]]
        assert decision.reason is (Reason.PARENTS if follows else reason)
        assert decision.parents == encode_parents(tuple(map(tuple, parents)))


# ---- parents that changed


def test_an_ordinary_task_follows_its_parents_without_running():
    decision = decided(ordinary([1, 2]), facts(record(7, [1])))
    assert (decision.action, decision.task, decision.replaces) == (Action.UPDATE, 7, 0)
    assert decision.parents == "[[1,2]]"
    assert decision.reason is None


def test_it_runs_again_when_a_parent_task_was_superseded():
    """Whatever the new version gave: this is the child that would keep an old result."""
    decision = decided(ordinary([2]), facts(record(7, [1]), superseded=[1]))
    assert (decision.action, decision.task, decision.replaces) == (Action.REPLACE, 0, 7)
    assert decision.reason is Reason.SUPERSEDED
    assert decision.parents == "[[2]]"


def test_it_does_not_run_again_for_a_superseded_task_that_it_never_ran_with():
    assert decided(ordinary([2, 3]), facts(record(7, [2]), superseded=[1])).action is Action.UPDATE
    assert reused(ordinary([2]), facts(record(7, [2]), superseded=[1])) == 7


def test_one_superseded_parent_of_several_is_enough():
    decision = decided(ordinary([1, 3], [4]), facts(record(7, [1, 2], [4]), superseded=[2]))
    assert (decision.action, decision.reason) == (Action.REPLACE, Reason.SUPERSEDED)


@pytest.mark.parametrize("make", [of_class, after_silence])
@pytest.mark.parametrize(("before", "now"), [([1, 2], [1]), ([1], [1, 2]), ([1], [2])])
def test_classes_and_inputs_from_silent_parents_depend_on_the_set_of_parents(make, before, now):
    decision = decided(make(now), facts(record(7, before)))
    assert (decision.action, decision.replaces, decision.reason) == (Action.REPLACE, 7, Reason.PARENTS)
    assert reused(make(before), facts(record(7, before))) == 7


def test_so_does_a_task_that_asked_for_that_parent_and_for_that_parent_only():
    asked = Asked(parents=("b",))
    assert decided(ordinary([1], [2, 3]), facts(record(7, [1], [2], asked=asked))).reason is Reason.PARENTS
    assert decided(ordinary([1, 3], [2]), facts(record(7, [1], [2], asked=asked))).action is Action.UPDATE
    assert reused(ordinary([1], [2]), facts(record(7, [1], [2], asked=asked))) == 7


def test_only_the_silent_parent_counts_where_another_one_spoke():
    item = Wanted(b"x", "x", (element(1), element(PHANTOM)), ((1, 3), (2,)))
    assert decided(item, facts(record(7, [1], [2]))).action is Action.UPDATE
    item = Wanted(b"x", "x", (element(1), element(PHANTOM)), ((1,), (2, 3)))
    assert decided(item, facts(record(7, [1], [2]))).reason is Reason.PARENTS


def test_an_input_of_a_union_follows_the_parent_that_gave_it():
    assert decided(ordinary([1, 2], []), facts(record(7, [1], []))).action is Action.UPDATE


def test_a_record_with_another_number_of_parents_runs_again():
    assert decided(ordinary([1], [2], [3]), facts(record(7, [1], [2]))).reason is Reason.PARENTS
    assert decided(ordinary([1]), facts(record(7, [1], [2]))).action is Action.UPDATE


@pytest.mark.parametrize("kind", ["ancestors", "everything"])
def test_further_ancestors_count_for_those_who_looked_at_them(kind):
    asked = Asked(**{kind: (("z", task_set_name([1, 2])),)})
    mine = facts(record(7, [1], asked=asked), line={"z": [1, 2]}, everything={"z": [1, 2]})
    assert reused(ordinary([1]), mine) == 7
    changed = facts(record(7, [1], asked=asked), line={"z": [1]}, everything={"z": [1, 2, 3]})
    assert decided(ordinary([1]), changed).reason is Reason.PARENTS
    assert decided(ordinary([1]), changed).replaces == 7


def test_the_line_is_that_of_the_parents_that_are_wanted():
    asked = Asked(ancestors=(("z", "[[3]]"),))
    given_facts = facts(record(7, [1, 3], asked=asked))._replace(line_of=lambda name, parents: encode_parents(parents))
    assert decided(ordinary([3]), given_facts).action is Action.UPDATE
    assert decided(ordinary([1]), given_facts).reason is Reason.PARENTS


def test_missing_data_of_a_task_with_other_parents_makes_a_new_version():
    decision = decided(of_class([1, 2]), facts(record(7, [1], present=False)))
    assert (decision.action, decision.replaces, decision.reason) == (Action.REPLACE, 7, Reason.PARENTS)


def test_the_reason_can_be_asked_for_alone():
    assert stale_reason(record(7, [1]), ordinary([1]), "[[1]]", facts()) is None
    assert stale_reason(record(7, [1]), of_class([2]), "[[2]]", facts()) is Reason.PARENTS


# ---- older versions


def test_an_older_version_with_the_wanted_parents_becomes_current_again():
    current, older = record(9, [1, 2]), record(7, [1], current=False)
    decision = decided(of_class([1]), facts(current, older))
    assert (decision.action, decision.task, decision.replaces) == (Action.REVIVE, 7, 9)


def test_the_newest_of_them_is_taken():
    versions = [record(9, [1, 2]), record(5, [1], current=False), record(7, [1], current=False)]
    assert decided(of_class([1]), facts(*versions)).task == 7
    assert decided(of_class([1]), facts(versions[0], versions[2], versions[1])).task == 7


@pytest.mark.parametrize("status", [FAILED, QUEUED, RUNNING])
def test_it_takes_the_place_of_one_that_did_not_end(status):
    decision = decided(of_class([1]), facts(record(9, [1, 2], status=status), record(7, [1], current=False)))
    assert (decision.action, decision.task, decision.replaces) == (Action.REVIVE, 7, 9)


@pytest.mark.parametrize(
    "older",
    [
        record(7, [1], current=False, present=False),
        record(7, [1], current=False, status=FAILED),
        record(7, [1], current=False, status=QUEUED),
        record(7, [3], current=False),
        record(7, [1], current=False, asked=Asked(ancestors=(("z", task_set_name([8])),))),
    ],
)
def test_one_that_is_gone_failed_or_saw_something_else_does_not_serve(older):
    decision = decided(of_class([1]), facts(record(9, [1, 2]), older))
    assert (decision.action, decision.replaces, decision.reason) == (Action.REPLACE, 9, Reason.PARENTS)


def test_without_a_current_version_an_older_one_serves_or_a_new_one_runs():
    """A run was killed after it had superseded a task."""
    older = record(7, [1], current=False)
    revived = decided(of_class([1]), facts(older))
    assert (revived.action, revived.task, revived.replaces) == (Action.REVIVE, 7, 0)
    new = decided(of_class([1, 2]), facts(older))
    assert (new.action, new.task, new.replaces, new.reason) == (Action.NEW, 0, 0, Reason.NEW)
    assert (revived.parents, new.parents) == ("[[1]]", "[[1,2]]")


def test_a_current_version_that_will_do_is_never_exchanged():
    assert reused(of_class([1]), facts(record(9, [1]), record(7, [1], current=False))) == 9


def test_what_was_asked_for_runs_in_its_place_unless_a_newer_version_is_due_anyway():
    asked = record(9, [1], mark=Mark.AGAIN)
    older = record(7, [1], current=False)
    assert decided(ordinary([1]), facts(asked, older)).task == 9
    assert decided(ordinary([1, 2]), facts(asked)).reason is Reason.ASKED
    replaced = decided(ordinary([2]), facts(asked, superseded=[1]))
    assert (replaced.action, replaced.replaces) == (Action.REPLACE, 9)
    assert decided(ordinary([1]), facts(asked, growing=True)).certain
    looked = asked._replace(asked=Asked(("a",)))
    assert not decided(ordinary([1]), facts(looked, growing=True)).certain


# ---- whole plans


def test_a_plan_counts_and_names_its_task_sets():
    many = tuple(range(1, INLINE_IDS + 2))
    records = {
        b"done": [record(1, [1])],
        b"update": [record(2, [1])],
        b"failed": [record(3, [1], status=FAILED)],
        b"aside": [record(4, [1], status=FAILED, mark=Mark.ASIDE)],
    }
    wanted = [
        ordinary([1], digest=b"done"),
        ordinary([1, 2], digest=b"update"),
        ordinary([1], digest=b"failed"),
        ordinary([1], digest=b"aside"),
        ordinary(many, digest=b"new"),
        ordinary([1], digest=b"newer"),
        ordinary([1], digest=b"done"),
    ]
    plan = decide(wanted, facts()._replace(records=lambda digests: records))
    assert plan.ids == [1, 2, 3, 4, 0, 0, 1]
    assert [item.position for item in plan.decisions] == [1, 2, 3, 4, 5]
    assert [item.position for item in plan.to_run] == [2, 4, 5]
    assert plan.reused == 3
    assert plan.count(Action.UPDATE, Action.SKIP) == 2
    assert plan.count(Action.NEW) == 2
    assert plan.count() == 0
    assert plan.task_sets == {task_set_name(many): (many,)}
    assert decide([], facts()) == SegmentPlan([], [], {}, 0, [])


# ---- parents that may still give more


def test_a_new_input_is_certain_whatever_comes():
    assert decided(ordinary([1]), facts(growing=True)).certain


@pytest.mark.parametrize("fields", [{"status": FAILED}, {"status": QUEUED}])
@pytest.mark.parametrize("asked", [None, Asked(("a",))])
def test_so_is_a_second_try(fields, asked):
    assert decided(ordinary([1]), facts(record(7, [1], asked=asked, **fields), growing=True)).certain


def test_so_is_one_that_never_looked_at_its_parents():
    assert decided(ordinary([1, 2]), facts(record(7, [1]), growing=True)).certain
    assert decided(ordinary([1]), facts(record(7, [1], present=False), growing=True)).certain
    assert decided(ordinary([2]), facts(record(7, [1]), superseded=[1], growing=True)).certain
    assert reused(ordinary([1]), facts(record(7, [1]), growing=True)) == 7


@pytest.mark.parametrize("now", [[1], [1, 2]])
def test_one_that_looked_is_not(now):
    plan = decide([ordinary(now)], facts(record(7, [1], asked=Asked(("a",))), growing=True))
    assert [item.certain for item in plan.decisions] == [False]
    assert plan.reused == 0
    plan = decide([ordinary(now)], facts(record(7, [1], asked=Asked(("a",)))))
    assert [item.certain for item in plan.decisions] == [True] * (now != [1])


def test_nor_is_one_whose_older_version_may_serve():
    older = record(5, [1, 3], current=False)
    assert not decided(ordinary([1]), facts(record(7, [1], status=FAILED), older, growing=True)).certain
    assert not decided(ordinary([1]), facts(older, growing=True)).certain
    lost = record(5, [1, 3], current=False, status=FAILED)
    assert decided(ordinary([1]), facts(record(7, [1], status=FAILED), lost, growing=True)).certain


# ---- what a task looked at


names = st.text("abcz_", min_size=1, max_size=4)
pairs = st.dictionaries(names, names, max_size=3).map(lambda found: tuple(sorted(found.items())))


@given(st.builds(Asked, st.sets(names, max_size=3).map(lambda found: tuple(sorted(found))), pairs, pairs))
def test_what_was_asked_for_comes_back_from_its_text(asked):
    text = asked.to_text()
    assert (Asked.from_text(text) or Asked()) == asked
    assert (text is None) == (asked == Asked())


def test_what_was_asked_for_has_one_text():
    """Databases and journals hold it."""
    asked = Asked(("b", "a"), (("z", "1"), ("c", "2")), (("y", "3"), ("d", "4")))
    text = '{"ancestors":{"c":"2","z":"1"},"everything":{"d":"4","y":"3"},"parents":["b","a"]}'
    assert asked.to_text() == text
    assert Asked.from_text(text) == Asked(("a", "b"), (("c", "2"), ("z", "1")), (("d", "4"), ("y", "3")))


def test_nothing_asked_for_is_no_text():
    assert Asked.from_text(None) is None
    assert Asked.from_text("") is None


# ---- parents as text


ids = st.lists(st.integers(1, 2**40), max_size=2 * INLINE_IDS, unique=True).map(lambda found: tuple(sorted(found)))
all_parents = st.lists(ids, max_size=4).map(tuple)


@given(all_parents)
def test_parents_come_back_from_their_text(parents: Parents):
    sets: dict[str, Parents] = {}
    text = encode_parents(parents, sets)
    assert decode_parents(text, lambda name: sets[name][0]) == parents
    assert all(len(sets[name][0]) > INLINE_IDS for name in sets)
    assert len(json.loads(text)) == len(parents)
    assert len(text) < 80 * (len(parents) + 1) * INLINE_IDS
    assert encode_parents(parents) == text


@given(all_parents, all_parents)
def test_two_texts_are_equal_where_the_parents_are(one: Parents, other: Parents):
    assert (encode_parents(one) == encode_parents(other)) == (one == other)


def test_a_long_list_stands_under_its_name():
    many, more = tuple(range(1, 20)), tuple(range(2, 20))
    text = f'["{task_set_name(many)}",[7],"{task_set_name(more)}"]'
    named: dict[int, tuple[tuple[int, ...], str]] = {}
    for remembered in (None, named, named):
        sets: dict[str, Parents] = {}
        assert encode_parents((many, (7,), more), sets, remembered) == text
        assert sets == {task_set_name(many): (many,), task_set_name(more): (more,)}
    assert named == {id(many): (many, task_set_name(many)), id(more): (more, task_set_name(more))}
    # it is not worked out again
    assert encode_parents((many,), {}, {id(many): (many, "known")}) == '["known"]'


def test_a_long_list_does_not_get_the_name_of_one_that_is_gone():
    """Another one may stand at the same place in memory."""
    named: dict[int, tuple[tuple[int, ...], str]] = {}
    for first in range(1000):
        many = tuple(range(first, first + INLINE_IDS + 1))
        assert encode_parents((many,), {}, named) == f'["{task_set_name(many)}"]'
        del many
    assert len(named) < 500


def test_names_of_task_sets_stay_what_they_are():
    """Databases and journals hold them."""
    assert task_set_name(()) == "b8e1dda3ac0aa3820ad2990b"
    assert task_set_name((1, 2, 30)) == "43a5c2155f008383cce26ac0"


def test_no_text_is_no_parents():
    assert decode_parents("", lambda name: ()) == ()
    assert encode_parents(()) == "[]"
    assert decode_parents("[]", lambda name: ()) == ()


# ---- the rules once more, for anything


versions_strategy = st.lists(
    st.tuples(
        st.sampled_from([DONE, DONE, FAILED, QUEUED]),
        st.booleans(),
        st.frozensets(st.integers(1, 4), min_size=1).map(lambda found: tuple(sorted(found))),
        st.sampled_from([None, Asked(("a",)), Asked(everything=(("z", task_set_name([1])),))]),
        st.sampled_from(Mark),
    ),
    max_size=4,
)


@given(
    versions_strategy,
    st.booleans(),
    st.sampled_from([ordinary, of_class, after_silence]),
    st.frozensets(st.integers(1, 4), min_size=1).map(sorted),
    st.frozensets(st.integers(1, 4)),
    st.booleans(),
)
def test_every_wanted_task_has_one_sound_decision(drawn, first_is_current, make, parents, superseded, seen):
    records = [
        record(number, ids, status=status, present=present, asked=asked, mark=mark, current=False)
        for number, (status, present, ids, asked, mark) in enumerate(drawn, start=11)
    ]
    if records and first_is_current:
        records[0] = records[0]._replace(current=True)
    item = make(parents)
    mine = facts(*records, superseded=sorted(superseded), everything={"z": [1] if seen else [2]})
    plan = decide([item], mine)
    by_id = {one.id: one for one in records}
    current = records[0] if records and first_is_current else None
    (task,) = plan.ids
    decision = plan.decisions[0] if plan.decisions else None
    action = decision.action if decision else Action.REUSE
    assert action.runs == (action in (Action.NEW, Action.RERUN, Action.REPLACE))
    assert (decision is None or decision.reason is None) == (not action.runs and action is not Action.SKIP)
    text = encode_parents((tuple(parents),))
    if action in (Action.REUSE, Action.UPDATE, Action.REVIVE):
        kept = by_id[task]
        assert kept.status is DONE
        assert kept.present
        assert not (kept.asked and kept.asked.everything and not seen)
        before = set(decode_parents(kept.parents, lambda name: ())[0])
        if action is not Action.UPDATE:
            assert kept.parents == text
        else:
            assert make is ordinary
            assert not (kept.asked and kept.asked.parents)
            assert not (before - set(parents)) & superseded
        assert kept.current == (action is not Action.REVIVE)
        assert kept.mark is not Mark.AGAIN
    if action in (Action.RERUN, Action.SKIP):
        assert by_id[task] is current
        assert (current.status, current.present) != (DONE, True) or current.mark is Mark.AGAIN
        assert (action is Action.SKIP) == (current.status is FAILED and current.mark is Mark.ASIDE)
        assert (decision.reason is Reason.ASKED) == (current.status is DONE and current.present)
    if action is Action.REPLACE:
        assert (decision.replaces, task) == (11, 0)
        assert current.status is DONE
    if action is Action.NEW:
        assert current is None
    # once it has run with these parents, there is nothing left to do
    if action.runs:
        ran = record(99, parents, asked=Asked(("a",)))
        others = [one._replace(current=False) for one in records if one.id != (task or None)]
        assert reused(item, facts(ran, *others, superseded=sorted(superseded))) == 99
