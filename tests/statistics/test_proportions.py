import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from tiebreak.statistics.proportions import normal_quantile, wilson


def test_the_normal_quantile_is_two_sided():
    assert normal_quantile(0.05) == pytest.approx(1.959963984540054)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (3, 10), (286, 1319)])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 0.001])
def test_wilson_matches_statsmodels(successes, n, alpha):
    expected = proportion_confint(successes, n, alpha=alpha, method="wilson")
    assert wilson(successes, n, alpha) == pytest.approx(expected, abs=1e-12)


def test_no_trials_no_interval():
    assert wilson(0, 0, 0.05) is None


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_wilson_contains_the_rate_and_mirrors(n, data):
    successes = data.draw(st.integers(0, n))
    interval, mirrored = wilson(successes, n, 0.05), wilson(n - successes, n, 0.05)
    assert interval is not None
    assert mirrored is not None
    assert 0 <= interval.low <= successes / n <= interval.high <= 1
    assert interval.high > interval.low
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx(tuple(interval), abs=1e-12)


@pytest.mark.parametrize("n", [30, 50, 100, 200])
@pytest.mark.parametrize("p", [0.5, 0.2, 0.05])
def test_wilson_covers_on_average_over_nearby_rates(n, p):
    """Exact coverage, summed over the binomial, averaged over rates around p: a single rate oscillates."""
    rates = np.linspace(p * 0.8, p * 1.2, 41)
    intervals = [wilson(k, n, 0.05) for k in range(n + 1)]
    covered = [
        sum(
            stats.binom.pmf(k, n, rate)
            for k, i in enumerate(intervals)
            if i is not None and i.low <= rate <= i.high
        )
        for rate in rates
    ]
    assert 0.935 <= float(np.mean(covered)) <= 0.97
