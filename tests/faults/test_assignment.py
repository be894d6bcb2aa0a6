"""A million units over two to ten variants, at the full figure."""

import pytest
from scipy.stats import chisquare

from tiebreak.experiments.assignment import Assigner, Traffic
from tiebreak.experiments.buckets import BUCKETS, lay_out

SALT = "01890000-0000-7000-8000-000000000000"
MILLION = 1_000_000


@pytest.mark.faults
@pytest.mark.parametrize("variants", range(2, 11))
@pytest.mark.parametrize("equal", [True, False])
def test_a_million_units_are_within_the_chi_square_of_their_weights(variants, equal):
    keys = "abcdefghij"[:variants]
    ranges = lay_out({key: 1 if equal else place + 1 for place, key in enumerate(keys)})
    assign = Assigner(f"{SALT}{variants}", keys, [Traffic(1, 1, 1.0, 0.0, ranges)]).assign
    observed = dict.fromkeys(keys, 0)
    for number in range(MILLION):
        observed[assign(f"user-{number}").variant] += 1
    expected = [MILLION * (one.end - one.start) / BUCKETS for one in ranges]
    assert chisquare(list(observed.values()), expected).pvalue > 0.001
