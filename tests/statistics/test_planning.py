import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from tiebreak.statistics.planning import items_needed


@pytest.mark.parametrize("effect", [0.05, 0.1, 0.3, 0.8])
@pytest.mark.parametrize("alpha", [0.05, 0.0125])
def test_matches_the_power_of_the_paired_t(effect, alpha):
    expected = TTestPower().solve_power(effect_size=effect, alpha=alpha, power=0.8)
    assert items_needed(2.0, 2.0 * effect, alpha) == pytest.approx(expected, abs=1.5)


def test_the_side_of_the_boundary_does_not_matter():
    assert items_needed(1.0, -0.1, 0.05) == items_needed(1.0, 0.1, 0.05) == 787


def test_nothing_decides_what_sits_on_the_boundary():
    assert items_needed(1.0, 0.0, 0.05) is None


def test_the_planned_number_reaches_its_power():
    n = items_needed(1.0, 0.25, 0.05)
    assert n is not None
    samples = np.random.default_rng(7).normal(0.25, 1.0, size=(4000, n))
    t = samples.mean(axis=1) / (samples.std(axis=1, ddof=1) / np.sqrt(n))
    assert 0.77 <= float(np.mean(np.abs(t) > stats.t.isf(0.025, n - 1))) <= 0.83
