import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tiebreak.statistics.multiplicity import holm

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_holm_by_hand():
    steps = holm([0.01, 0.04, 0.03, 0.005], 0.05)
    assert [step.adjusted for step in steps] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [step.alpha for step in steps] == pytest.approx([0.05 / 3, 0.025, 0.025, 0.0125])


def test_no_hypothesis_no_step():
    assert holm([], 0.05) == []


def test_one_hypothesis_keeps_the_whole_error_rate():
    (step,) = holm([0.2], 0.05)
    assert (step.adjusted, step.alpha) == (0.2, 0.05)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_holm_matches_statsmodels(seed, alpha):
    rng = np.random.default_rng(seed)
    p_values = list(rng.random(2 + 2 * seed) ** 3)
    refused, adjusted, _, _ = multipletests(p_values, alpha, method="holm")
    steps = holm(p_values, alpha)
    assert [step.adjusted for step in steps] == pytest.approx(list(adjusted))
    clear = [i for i, p in enumerate(adjusted) if abs(p - alpha) > 1e-9]
    assert [steps[i].adjusted <= alpha for i in clear] == [bool(refused[i]) for i in clear]


@settings(deadline=None)
@given(P_VALUES, st.sampled_from([0.01, 0.05, 0.2]))
def test_the_own_alpha_and_the_adjusted_p_say_the_same(p_values, alpha):
    for p, step in zip(p_values, holm(p_values, alpha), strict=True):
        if abs(step.adjusted - alpha) > 1e-9:
            assert (p <= step.alpha) == (step.adjusted <= alpha)
