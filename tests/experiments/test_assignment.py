"""Assignment: the same for ever, as the weights say, independent, and never moved without need."""

import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from tiebreak.errors import InvalidInput
from tiebreak.experiments.assignment import MAX_UNIT, Assigner, Assignment, Reason, Traffic, normalised
from tiebreak.experiments.buckets import BUCKETS, lay_out, reweigh

SALT = "01890000-0000-7000-8000-000000000000"
OTHER = "01890000-0000-7000-8000-000000000001"
HALVES = lay_out({"a": 1, "b": 1})
UNITS = [f"user-{number}" for number in range(100_000)]


def assigner(*ranges, salt=SALT, shares=None, holdout=0.0, variants=("a", "b")):
    """One whose phases have these ranges and shares."""
    shares = shares or [1.0] * len(ranges)
    traffic = [
        Traffic(place, place + 10, share, holdout, one)
        for place, (one, share) in enumerate(zip(ranges, shares, strict=True), start=1)
    ]
    return Assigner(salt, variants, traffic)


# Whoever changes one of these moves the users of every test that runs.
@pytest.mark.parametrize(
    ("unit", "number", "bucket"),
    [
        ("user-1", 129608828, 3272),
        ("user-2", 2060928629, 872),
        ("0", 4004869580, 8881),
        ("a", 2435110712, 5772),
        ("\u00c4", 4252640043, 3756),
        ("\u00fc@example.org", 2801372902, 2942),
        ("\u65e5\u672c", 814716202, 3802),
        ("x" * MAX_UNIT, 3894308726, 9872),
    ],
)
def test_the_numbers_of_a_unit_are_these_for_ever(unit, number, bucket):
    assert assigner(HALVES).numbers(unit) == (number, bucket)


def test_an_assignment_says_everything_that_decided_it():
    quarter = lay_out({"a": 1, "b": 3})
    assert assigner(quarter).assign("user-1") == Assignment("b", Reason.HASH, 0.75, 1, 11, False)
    assert assigner(quarter).assign("user-2") == Assignment("a", Reason.HASH, 0.25, 1, 11, False)
    few = assigner(quarter, shares=[0.1], holdout=0.05)
    assert few.assign("user-1").variant == "b"
    assert few.assign("user-2") == Assignment(None, Reason.NOT_IN_SHARE, None, 1, 11, False)
    assert few.assign("\u00c4") == Assignment(None, Reason.HOLDOUT, None, 1, 11, False)


@pytest.mark.parametrize("variants", [2, 3, 7, 10])
def test_units_follow_the_weights(variants):
    keys = "abcdefghij"[:variants]
    ranges = lay_out({key: place + 1 for place, key in enumerate(keys)})
    assign = assigner(ranges, variants=keys).assign
    observed = dict.fromkeys(keys, 0)
    for unit in UNITS:
        observed[assign(unit).variant] += 1
    expected = [len(UNITS) * (one.end - one.start) / BUCKETS for one in ranges]
    assert chisquare(list(observed.values()), expected).pvalue > 0.001


def test_share_and_holdout_take_as_many_units_as_they_say():
    part = assigner(HALVES, shares=[0.3], holdout=0.1)
    reasons = [part.assign(unit).reason for unit in UNITS]
    observed = [reasons.count(reason) for reason in (Reason.HASH, Reason.HOLDOUT, Reason.NOT_IN_SHARE)]
    assert chisquare(observed, [len(UNITS) * part for part in (0.3, 0.1, 0.6)]).pvalue > 0.001


def table(rows, columns):
    """How often each row value met each column value."""
    pairs = list(zip(rows, columns, strict=True))
    return [[pairs.count((row, column)) for column in sorted(set(columns))] for row in sorted(set(rows))]


def test_whether_a_unit_is_in_the_share_says_nothing_about_its_variant():
    numbers = [assigner(HALVES).numbers(unit) for unit in UNITS]
    inside = [number < 2**32 * 0.3 for number, _ in numbers]
    tenth = [bucket * 10 // BUCKETS for _, bucket in numbers]
    assert chi2_contingency(table(inside, tenth)).pvalue > 0.001


def test_a_units_variant_in_one_test_says_nothing_about_its_variant_in_another():
    here, there = assigner(HALVES), assigner(HALVES, salt=OTHER)
    pairs = [(here.assign(unit).variant, there.assign(unit).variant) for unit in UNITS]
    assert chi2_contingency(table(*zip(*pairs, strict=True))).pvalue > 0.001


units = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)
shares = st.floats(0, 1)


@settings(deadline=None)
@given(units, shares, shares, st.floats(0, 0.99))
def test_raising_the_share_moves_no_unit_that_is_inside(unit, one, other, holdout):
    low, high = sorted((one, other))
    before = assigner(HALVES, shares=[low], holdout=holdout).assign(unit)
    after = assigner(HALVES, HALVES, shares=[low, high], holdout=holdout).assign(unit)
    if before.variant is not None:
        assert (after.variant, after.reason, after.carried_over) == (before.variant, Reason.HASH, False)


@settings(deadline=None)
@given(units, shares, st.floats(0, 0.99))
def test_a_unit_in_the_holdout_is_there_whatever_the_share(unit, share, holdout):
    at_all = assigner(HALVES, shares=[1.0], holdout=holdout).assign(unit).reason is Reason.HOLDOUT
    assert (assigner(HALVES, shares=[share], holdout=holdout).assign(unit).reason is Reason.HOLDOUT) == at_all


def test_from_five_to_all_units_nobody_inside_is_moved():
    steps = [0.05, 0.1, 0.25, 0.5, 1.0]
    before = dict[str, str]()
    for place in range(len(steps)):
        now = assigner(*[HALVES] * (place + 1), shares=steps[: place + 1])
        given_ = {unit: now.assign(unit).variant for unit in UNITS[:20_000]}
        assert all(given_[unit] == variant for unit, variant in before.items())
        before = {unit: variant for unit, variant in given_.items() if variant is not None}
    assert len(before) == 20_000


@settings(deadline=None)
@given(units, st.lists(st.floats(0.01, 0.99), min_size=2, max_size=6).map(sorted), st.data())
def test_a_ramp_never_moves_a_unit_back_and_marks_those_it_moved(unit, parts, data):
    history = [lay_out({"a": 1 - parts[0], "b": parts[0]})]
    for part in parts[1:]:
        history.append(reweigh(history[-1], {"a": 1 - part, "b": part}))
    share = data.draw(st.lists(shares, min_size=len(parts), max_size=len(parts)))
    seen: list[str] = []
    for place in range(len(parts)):
        given_ = assigner(*history[: place + 1], shares=share[: place + 1]).assign(unit)
        if given_.variant is None:
            continue
        assert given_.variant == "b" or "b" not in seen
        assert given_.carried_over == any(variant != given_.variant for variant in seen)
        seen.append(given_.variant)


@settings(deadline=None)
@given(units, st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.01, 1), shares), min_size=1, max_size=6))
def test_carried_over_is_what_a_recount_of_all_phases_says(unit, steps):
    ranges = [lay_out({"a": steps[0][0], "b": steps[0][1], "c": 0})]
    ranges += [reweigh(ranges[0], {"a": one, "b": other, "c": 0.5}) for one, other, _ in steps[1:]]
    share = [step[2] for step in steps]
    alone = [
        assigner(one, shares=[part]).assign(unit).variant for one, part in zip(ranges, share, strict=True)
    ]
    given_ = assigner(*ranges, shares=share).assign(unit)
    assert given_.variant == alone[-1]
    recount = given_.variant is not None and any(v not in (None, given_.variant) for v in alone[:-1])
    assert given_.carried_over == recount


def test_a_unit_that_was_outside_before_is_not_carried_over():
    new = reweigh(HALVES, {"a": 0, "b": 1})
    late = assigner(HALVES, new, shares=[0.01, 1.0])
    early = assigner(HALVES, new, shares=[1.0, 1.0])
    assert early.assign("user-1") == Assignment("b", Reason.HASH, 1.0, 2, 12, True)
    assert late.assign("user-1") == Assignment("b", Reason.HASH, 1.0, 2, 12, False)


def test_a_forced_unit_gets_any_variant_also_one_without_weight_and_whatever_its_share():
    none_in = assigner(HALVES, shares=[0.0], variants=("a", "b", "new"))
    assert none_in.assign("user-1", force="new") == Assignment("new", Reason.FORCED, None, 1, 11, False)
    with pytest.raises(InvalidInput, match=r"^'old' is no variant of this test; it has a, b, new$"):
        none_in.assign("user-1", force="old")


def test_an_excluded_unit_gets_none_even_when_it_is_forced():
    excluded = assigner(HALVES).assign("user-1", force="a", exclude=True)
    assert excluded == Assignment(None, Reason.EXCLUDED, None, 1, 11, False)


@settings(deadline=None)
@given(units)
def test_a_unit_is_one_however_its_accents_are_written(unit):
    once, again = assigner(HALVES), unicodedata.normalize("NFD", unit)
    if len(again) <= MAX_UNIT:
        assert once.assign(again) == once.assign(unit)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("", "the unit is empty; send the id of a user or a conversation, or leave it out"),
        (
            "y" * 257,
            "the unit 'yyyyyyyyyyyyyyyyyyyy'… has 257 characters, at most 256 are taken; send an id, or its hash",
        ),
        ("a\x00b", r"the unit 'a\x00b' holds a NUL character; remove it"),
        ("a\ud800", "the unit holds half a surrogate pair; send it as UTF-8 text"),
    ],
)
def test_what_is_no_unit_is_refused_with_the_remedy(unit, message):
    with pytest.raises(InvalidInput) as caught:
        assigner(HALVES).assign(unit)
    assert caught.value.detail == message


def test_a_unit_keeps_its_case_and_its_spaces():
    assert normalised(" User ") == " User "
    assert len({assigner(HALVES).numbers(unit) for unit in ("user", "User", " user")}) == 3


def test_phases_that_cannot_be_assigned_in_are_refused():
    with pytest.raises(InvalidInput, match="has no phase to assign in; start it live first"):
        Assigner(SALT, ["a"], [])
    with pytest.raises(InvalidInput, match="end at 5000 instead of 10000"):
        assigner(HALVES[:1])


def test_assigning_needs_the_standard_library_only():
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import sys, tiebreak.experiments.assignment; print(*sys.modules)"], text=True
    ).split()
    assert "tiebreak.experiments.assignment" in loaded
    assert not {"pydantic", "msgspec", "sqlalchemy", "jinja2", "yaml"} & set(loaded)
