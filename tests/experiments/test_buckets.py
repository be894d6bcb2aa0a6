"""Buckets: they follow the weights, cover everything once, and move as little as possible."""

import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput
from tiebreak.experiments.buckets import BUCKETS, Range, counts, lay_out, require_cover, reweigh, widths

KEYS = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]


def weighted(keys):
    """Weights for these variants: zero, or large enough for a bucket."""
    one = st.one_of(st.just(0.0), st.floats(0.5, 100))
    return (
        st.lists(one, min_size=len(keys), max_size=len(keys))
        .filter(any)
        .map(lambda w: dict(zip(keys, w, strict=True)))
    )


@st.composite
def histories(draw):
    """Weights of several phases over the same variants."""
    keys = KEYS[: draw(st.integers(2, 10))]
    return draw(st.lists(weighted(keys), min_size=2, max_size=6))


def owner(ranges):
    return [one.variant for one in ranges for _ in range(one.start, one.end)]


@settings(deadline=None)
@given(weighted(KEYS))
def test_every_variant_gets_its_weight_to_within_one_bucket(weights):
    given_ = counts(weights)
    total = sum(map(Fraction, weights.values()))
    assert sum(given_.values()) == BUCKETS
    for key, weight in weights.items():
        assert abs(given_[key] - Fraction(weight) * BUCKETS / total) < 1


def test_equal_remainders_go_to_the_variants_named_first():
    assert counts(dict.fromkeys("abc", 1.0)) == {"a": 3334, "b": 3333, "c": 3333}
    assert counts(dict.fromkeys("cba", 1.0)) == {"c": 3334, "b": 3333, "a": 3333}


def test_ranges_are_the_same_for_ever():
    first = lay_out({"control": 9, "new": 1, "off": 0})
    assert first == (Range(0, 9000, "control"), Range(9000, BUCKETS, "new"))
    ramped = reweigh(first, {"control": 75, "new": 25, "off": 0})
    assert ramped == (Range(0, 7500, "control"), Range(7500, BUCKETS, "new"))
    third = reweigh(ramped, {"control": 50, "new": 25, "off": 25})
    assert third == (Range(0, 5000, "control"), Range(5000, 7500, "off"), Range(7500, BUCKETS, "new"))
    last = reweigh(third, {"control": 60, "new": 20, "off": 20})
    assert last == (
        Range(0, 5000, "control"),
        Range(5000, 7000, "off"),
        Range(7000, 7500, "control"),
        Range(7500, 9500, "new"),
        Range(9500, BUCKETS, "control"),
    )


@settings(deadline=None)
@given(histories())
def test_after_any_changes_every_bucket_has_one_owner_and_the_weights_hold(history):
    ranges = lay_out(history[0])
    for weights in history[1:]:
        ranges = reweigh(ranges, weights)
        require_cover(ranges)
        assert widths(ranges) == {key: width for key, width in counts(weights).items() if width}
        assert all(left.variant != right.variant for left, right in itertools.pairwise(ranges))


@settings(deadline=None)
@given(histories())
def test_a_change_moves_no_more_buckets_than_the_growing_variants_need(history):
    before = lay_out(history[0])
    for weights in history[1:]:
        after = reweigh(before, weights)
        had, has = widths(before), widths(after)
        moved = [(old, new) for old, new in zip(owner(before), owner(after), strict=True) if old != new]
        assert len(moved) == sum(max(has[key] - had.get(key, 0), 0) for key in has)
        for old, new in moved:
            assert has.get(old, 0) < had[old]
            assert has[new] > had.get(new, 0)
        before = after


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=10).map(sorted))
def test_a_ramp_only_adds_buckets_to_the_new_variant(parts):
    ranges = lay_out({"control": 1 - parts[0], "new": parts[0]})
    for part in parts[1:]:
        ramped = reweigh(ranges, {"control": 1 - part, "new": part})
        assert all(
            new == "new" for old, new in zip(owner(ranges), owner(ramped), strict=True) if old == "new"
        )
        ranges = ramped


def test_the_same_weights_in_another_scale_move_nothing():
    ranges = lay_out({"a": 1, "b": 2})
    assert reweigh(ranges, {"a": 50, "b": 100}) == ranges


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": 1, "b": -1}, "the weight of variant 'b' is -1; it has to be 0 or more"),
        ({"a": 0, "b": 0}, "every weight is 0; give at least one variant a weight above 0"),
        (
            {"a": 1, "b": 1e-9},
            "the weight 1e-09 of variant 'b' is less than one of 10000 buckets; "
            "give it at least 0.01 % of the sum of the weights, or 0",
        ),
    ],
)
def test_weights_that_make_no_buckets_are_named(weights, message):
    with pytest.raises(InvalidInput) as caught:
        lay_out(weights)
    assert caught.value.detail == message


@pytest.mark.parametrize(
    "ranges",
    [
        (),
        (Range(0, 9999, "a"),),
        (Range(1, BUCKETS, "a"),),
        (Range(0, 5000, "a"), Range(5001, BUCKETS, "b")),
        (Range(0, 5001, "a"), Range(5000, BUCKETS, "b")),
        (Range(0, 0, "a"), Range(0, BUCKETS, "b")),
        (Range(5000, BUCKETS, "b"), Range(0, 5000, "a")),
    ],
)
def test_ranges_with_a_hole_or_an_overlap_are_refused(ranges):
    with pytest.raises(InvalidInput, match=r"take (them|the ranges) from the test as they are"):
        require_cover(ranges)
