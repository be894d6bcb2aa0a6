import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tiebreak.statistics.moments import Moments, mean_interval

NUMBERS = st.lists(st.floats(-1e9, 1e9), max_size=40)


def of(values) -> Moments:
    return Moments.of(np.asarray(values, dtype=float))


def test_moments_of_an_array_match_the_textbook():
    moments = of([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0])
    assert (moments.n, moments.mean, moments.m2) == (8, 5.0, 32.0)
    assert moments.sd == pytest.approx(math.sqrt(32 / 7))
    assert moments.se == pytest.approx(math.sqrt(32 / 7 / 8))


def test_spread_is_unknown_below_two_numbers():
    assert of([]) == Moments()
    assert of([3.0]).sd is None
    assert of([3.0]).se is None


def test_a_large_offset_does_not_cancel_the_variance():
    pushed = Moments()
    for value in (1.7e9 + 4, 1.7e9 + 7, 1.7e9 + 13, 1.7e9 + 16):
        pushed = pushed.push(value)
    assert pushed.m2 == pytest.approx(90.0)
    assert of([1.7e9 + 4, 1.7e9 + 7, 1.7e9 + 13, 1.7e9 + 16]).m2 == pytest.approx(90.0)


def test_rounding_noise_is_no_spread():
    differences = np.array([0.1 + 0.2, 0.3, 0.1 + 0.2]) - 0.1
    assert of(differences).m2 == 0.0
    assert Moments.of(np.array([1e-15, 0.0, 1e-15]), largest=1.0).m2 == 0.0
    assert Moments.of(np.array([1e-15, 0.0, 1e-15])).m2 > 0


@settings(deadline=None)
@given(NUMBERS, NUMBERS)
def test_merging_is_the_same_in_either_order_and_as_one_array(left, right):
    a, b, whole = of(left), of(right), of(left + right)
    for merged in (a.merge(b), b.merge(a)):
        assert merged.n == whole.n
        assert merged.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-5)
        assert merged.m2 == pytest.approx(whole.m2, rel=1e-9, abs=1e-3)


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_pushing_one_by_one_is_the_same_as_the_array(values):
    pushed = Moments()
    for value in values:
        pushed = pushed.push(value)
    assert pushed.mean == pytest.approx(of(values).mean, rel=1e-9, abs=1e-6)
    assert pushed.m2 == pytest.approx(of(values).m2, rel=1e-9, abs=1e-3)


def test_the_interval_of_a_mean_is_students():
    values = np.array([4.1, 5.3, 2.2, 8.8, 6.0])
    expected = stats.t.interval(0.9, 4, loc=values.mean(), scale=stats.sem(values))
    assert mean_interval(of(values), 0.1) == pytest.approx(expected)


def test_equal_numbers_give_a_point_once_the_sign_flip_test_can_refuse():
    assert mean_interval(of([0.5] * 5), 0.05) is None
    assert mean_interval(of([0.5] * 6), 0.05) == (0.5, 0.5)
    assert mean_interval(Moments(), 0.05) is None
