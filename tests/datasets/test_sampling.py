"""Stratified samples."""

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.datasets.sampling import allocate, draw

STRATA = st.lists(st.sampled_from([None, "a", "b", "c"]), max_size=60).map(
    lambda names: list(enumerate(names))
)


@pytest.mark.parametrize(
    ("counts", "size", "shares"),
    [
        ({"a": 50, "b": 30, "c": 20}, 10, {"a": 5, "b": 3, "c": 2}),
        ({"a": 1, "b": 1, "c": 1}, 2, {"a": 1, "b": 1, "c": 0}),
        ({"a": 6, "b": 3, "c": 1}, 5, {"a": 3, "b": 2, "c": 0}),
        ({None: 2, "a": 2}, 1, {None: 1, "a": 0}),
        ({"a": 997, "b": 2, "c": 1}, 3, {"a": 3, "b": 0, "c": 0}),
    ],
)
def test_shares_are_by_largest_remainders(counts, size, shares):
    assert allocate(counts, size) == shares


@given(strata=STRATA, size=st.integers(1, 80), seed=st.integers(0, 2**32 - 1))
def test_a_sample_has_its_size_and_each_stratum_its_share_within_one(strata, size, seed):
    sample = draw(strata, size, seed)
    assert len(sample) == min(size, len(strata))
    assert sample == sorted(set(sample))
    names = dict(strata)
    taken = Counter(names[position] for position in sample)
    for name, count in Counter(names.values()).items():
        assert abs(taken[name] - Fraction(len(sample) * count, len(strata))) < 1


@given(strata=STRATA, size=st.integers(1, 80), seed=st.integers(0, 100))
def test_a_sample_depends_on_its_seed_and_not_on_the_order_of_what_it_is_drawn_from(strata, size, seed):
    assert draw(strata, size, seed) == draw(strata[::-1], size, seed)


def test_another_seed_draws_others_and_this_one_the_same_on_every_machine():
    strata = [(position, None) for position in range(1000)]
    assert draw(strata, 5, 1) == [661, 691, 819, 932, 989]
    assert draw(strata, 5, 1) != draw(strata, 5, 2)


def test_a_larger_sample_holds_the_smaller_one():
    strata = [(position, None) for position in range(200)]
    assert set(draw(strata, 20, 3)) < set(draw(strata, 50, 3))


def test_every_item_is_drawn_about_equally_often():
    strata = [(position, None) for position in range(10)]
    counts = Counter(position for seed in range(2000) for position in draw(strata, 3, seed))
    # 600 each, standard deviation about 20: 5 of them hold with certainty enough for a fixed list of seeds.
    assert all(500 < count < 700 for count in counts.values())
