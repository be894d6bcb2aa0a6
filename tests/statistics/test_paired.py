import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import optimize, stats
from statsmodels.stats.contingency_tables import mcnemar

from tiebreak.statistics.moments import Moments
from tiebreak.statistics.paired import BinaryPairs, MeanPairs, compare

ALPHAS = st.sampled_from([0.5, 0.2, 0.1, 0.05, 0.025, 0.01])


@st.composite
def binary_pairs(draw) -> BinaryPairs:
    n = draw(st.integers(1, 3000))
    gained = draw(st.integers(0, n))
    return BinaryPairs(n, gained, draw(st.integers(0, n - gained)))


@st.composite
def mean_pairs(draw) -> MeanPairs:
    values = draw(st.lists(st.floats(-1000, 1000), min_size=1, max_size=60))
    return MeanPairs(Moments.of(np.asarray(values, dtype=float)))


def likely_variance(pairs: BinaryPairs, theta: float) -> float:
    """Tango's variance by a numerical search of the likelihood instead of its closed form."""

    def loss(lost_rate: float) -> float:
        gained_rate = lost_rate + theta
        rest = 1 - lost_rate - gained_rate
        counts = (pairs.gained, pairs.lost, pairs.n - pairs.gained - pairs.lost)
        return -sum(
            c * math.log(max(p, 1e-300)) for c, p in zip(counts, (gained_rate, lost_rate, rest), strict=True)
        )

    low, high = max(0.0, -theta), (1 - theta) / 2
    best = optimize.minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    return 2 * float(best.x) + theta - theta * theta


def test_tango_matches_the_published_example():
    """Bentur et al.'s 21 children, as in Fagerland, Lydersen and Laake (2014): (−0.517, −0.026), mid-p 0.039."""
    pairs = BinaryPairs(21, gained=1, lost=7)
    assert pairs.interval(0.05) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert pairs.p_value == pytest.approx(0.0391, abs=5e-5)
    assert pairs.method == "mcnemar_midp_tango"


def test_the_recorded_gsm8k_answers_give_their_known_numbers():
    variant = np.zeros(1319)
    control = np.zeros(1319)
    variant[:458] = 1
    control[260:546] = 1
    pairs = compare(control, variant, rate=True)
    assert isinstance(pairs, BinaryPairs)
    assert pairs.discordant == (260, 88)
    assert pairs.estimate == 172 / 1319
    assert pairs.se == pytest.approx(0.0137, abs=5e-5)
    assert pairs.interval(0.05) == pytest.approx((0.10371, 0.15746), abs=5e-6)
    assert pairs.method == "mcnemar_score_tango"


@pytest.mark.parametrize(
    ("n", "gained", "lost"), [(44, 0, 1), (30, 4, 3), (200, 31, 12), (50, 9, 0), (40, 20, 20), (60, 2, 40)]
)
def test_both_ends_solve_the_score_equation_with_an_independent_likelihood(n, gained, lost):
    pairs = BinaryPairs(n, gained, lost)
    z = stats.norm.isf(0.0005)
    low, high = pairs.interval(0.001)
    for end, sign in ((low, 1), (high, -1)):
        score = (gained - lost - n * end) / math.sqrt(n * likely_variance(pairs, end))
        assert score == pytest.approx(sign * z, abs=1e-4)


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (4, 0), (9, 1), (12, 12), (3, 14), (24, 0)])
def test_few_discordant_pairs_use_the_exact_mid_p(gained, lost):
    pairs = BinaryPairs(100, gained, lost)
    total = gained + lost
    exact = mcnemar([[0, gained], [lost, 0]], exact=True).pvalue if total else 1.0
    expected = 1.0 if gained == lost else float(exact) - float(stats.binom.pmf(min(gained, lost), total, 0.5))
    assert pairs.exact
    assert pairs.p_value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(25, 0), (260, 88), (12, 13), (500, 499)])
def test_many_discordant_pairs_use_mcnemars_statistic(gained, lost):
    pairs = BinaryPairs(2000, gained, lost)
    expected = mcnemar([[0, gained], [lost, 0]], exact=False, correction=False).pvalue
    assert pairs.p_value == pytest.approx(float(expected), rel=1e-9)
    assert pairs.decision_p == pairs.p_value


def test_a_tiny_p_value_does_not_vanish():
    assert 0 < BinaryPairs(2000, 1000, 200).p_value < 1e-100
    assert 0 < MeanPairs(Moments(1000, 1.0, 1000.0)).p_value < 1e-100


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (30, 0), (0, 30)])
def test_zero_cells_give_a_finite_interval_with_a_width(gained, lost):
    low, high = BinaryPairs(30, gained, lost).interval(0.05)
    assert -1 <= low < high <= 1


def test_an_interval_touches_zero_where_the_exact_test_does_not_refuse_it():
    pairs = BinaryPairs(30, 4, 0)
    assert pairs.p_value == 0.0625
    assert pairs.interval(0.05).low == 0.0
    assert BinaryPairs(30, 0, 4).interval(0.05).high == 0.0


def test_the_deciding_p_is_never_bolder_than_the_interval():
    pairs = BinaryPairs(60, 7, 0)
    assert pairs.p_value == 0.0078125
    assert pairs.decision_p == pytest.approx(0.0081509715935027)


@settings(deadline=None)
@given(binary_pairs(), ALPHAS)
def test_binary_interval_contains_the_estimate_and_agrees_with_the_p_value(pairs, alpha):
    low, high = pairs.interval(alpha)
    assert -1 <= low <= pairs.estimate <= high <= 1
    assume(abs(pairs.p_value - alpha) > 1e-9)
    assert (low <= 0 <= high) == (pairs.p_value > alpha)


@settings(deadline=None)
@given(binary_pairs(), ALPHAS)
def test_swapping_the_variants_mirrors_everything(pairs, alpha):
    low, high = pairs.interval(alpha)
    other = pairs.swapped()
    assert other.interval(alpha) == (-high, -low)
    assert (other.estimate, other.se, other.p_value) == (-pairs.estimate, pairs.se, pairs.p_value)


@settings(deadline=None)
@given(binary_pairs(), st.floats(-1.5, 1.5), ALPHAS)
def test_binary_one_sided_p_inverts_the_interval(pairs, bound, alpha):
    low, _ = pairs.interval(alpha)
    p = 2 * pairs.p_above(bound)
    assert 0 <= p <= 2
    assume(bound < 0 and abs(p - alpha) > 1e-9)
    assume(pairs.p_value <= alpha or low != 0)
    assert (p < alpha) == (bound < low)


@pytest.mark.parametrize(("bound", "p"), [(-1.0, 0.0), (-2.0, 0.0), (1.0, 1.0)])
def test_a_bound_outside_the_possible_is_certain(bound, p):
    assert BinaryPairs(30, 10, 2).p_above(bound) == p


def test_one_sided_p_at_zero_is_half_the_deciding_p():
    pairs = BinaryPairs(100, 9, 1)
    assert pairs.p_above(0.0) == pairs.decision_p / 2
    assert pairs.swapped().p_above(0.0) == 1 - pairs.decision_p / 2


def test_the_paired_t_is_scipys():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=40), rng.normal(0.3, 1, size=40)
    pairs = compare(a, b, rate=False)
    expected = stats.ttest_rel(b, a)
    assert isinstance(pairs, MeanPairs)
    assert pairs.p_value == pytest.approx(expected.pvalue)
    assert pairs.interval(0.05) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert pairs.p_above(-0.1) == pytest.approx(stats.ttest_1samp(b - a, -0.1, alternative="greater").pvalue)
    assert pairs.method == "paired_t"
    assert pairs.discordant is None
    assert pairs.sd == pytest.approx(np.std(b - a, ddof=1))


@settings(deadline=None)
@given(mean_pairs(), ALPHAS)
def test_mean_interval_agrees_with_the_p_value_and_mirrors(pairs, alpha):
    assume(abs(pairs.p_value - alpha) > 1e-9)
    interval = pairs.interval(alpha)
    if interval is None:
        assert pairs.p_value > alpha
        return
    assert interval.low <= pairs.estimate <= interval.high
    assert (interval.low <= 0 <= interval.high) == (pairs.decision_p > alpha)
    assert pairs.swapped().interval(alpha) == (-interval.high, -interval.low)
    assert pairs.swapped().p_value == pairs.p_value


def test_equal_differences_are_judged_by_the_sign_flip_test():
    pairs = compare(np.arange(10.0), np.arange(10.0) + 0.1, rate=False)
    assert isinstance(pairs, MeanPairs)
    assert pairs.method == "sign_flip"
    assert pairs.p_value == 2**-9
    assert pairs.se == 0.0
    assert pairs.interval(0.05) == pytest.approx((0.1, 0.1))
    assert (pairs.p_above(0.0), pairs.p_above(0.2)) == (2**-10, 1.0)


def test_no_difference_at_all_is_no_evidence_of_one():
    pairs = compare(np.full(12, 0.5), np.full(12, 0.5), rate=True)
    assert isinstance(pairs, MeanPairs)
    assert pairs.p_value == 1.0
    assert pairs.interval(0.05) == (0.0, 0.0)


def test_a_single_item_has_an_estimate_and_nothing_else():
    pairs = compare(np.array([0.5]), np.array([0.75]), rate=True)
    assert pairs is not None
    assert (pairs.estimate, pairs.sd, pairs.se, pairs.p_value) == (0.25, None, None, 1.0)
    assert pairs.interval(0.05) is None


def test_an_item_without_a_value_on_one_side_is_left_out():
    nan = math.nan
    pairs = compare(np.array([1.0, 0.0, nan, 1.0]), np.array([1.0, nan, 1.0, 0.0]), rate=True)
    assert pairs == BinaryPairs(2, 0, 1)
    assert compare(np.array([nan]), np.array([1.0]), rate=True) is None


def test_amounts_that_happen_to_be_zero_or_one_are_not_rates():
    assert isinstance(compare(np.zeros(30), np.zeros(30), rate=False), MeanPairs)


@pytest.mark.parametrize("n", [30, 50, 100, 200])
@pytest.mark.parametrize(("gain", "loss"), [(0.1, 0.1), (0.2, 0.05), (0.4, 0.3), (0.06, 0.01)])
def test_tango_covers(n, gain, loss):
    """At least 0.93 of 4,000 seeded samples at level 0.95."""
    draws = np.random.default_rng(n).multinomial(n, [gain, loss, 1 - gain - loss], size=4000)
    cells, counts = np.unique(draws[:, :2], axis=0, return_counts=True)
    covered = 0
    for (gained, lost), count in zip(cells, counts, strict=True):
        low, high = BinaryPairs(n, int(gained), int(lost)).interval(0.05)
        covered += count * (low <= gain - loss <= high)
    assert 0.93 <= covered / 4000 < 1  # rare discordance at n = 30 is covered by 0.9925: the safe side


@pytest.mark.parametrize("n", [20, 50, 200])
def test_the_paired_t_covers(n):
    """Item difficulty is shared and skewed; the level is 0.95."""
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(1500):
        difficulty = rng.exponential(1.0, size=n)
        pairs = compare(
            difficulty + rng.normal(size=n), difficulty + 0.2 + rng.exponential(0.5, size=n), rate=False
        )
        assert pairs is not None
        interval = pairs.interval(0.05)
        covered += interval is not None and interval.low <= 0.7 <= interval.high
    assert 0.93 <= covered / 1500 <= 0.97


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 200))
def test_identical_variants_never_differ(n):
    values = np.random.default_rng(n).integers(0, 2, size=n).astype(float)
    pairs = compare(values, values, rate=True)
    assert isinstance(pairs, BinaryPairs)
    assert pairs.p_value == 1.0
    assert pairs.interval(0.05).low < 0 < pairs.interval(0.05).high
