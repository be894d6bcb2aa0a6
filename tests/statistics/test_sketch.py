"""The sketch against numpy's quantiles of the same values."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.statistics.sketch import ACCURACY, LAST, Sketch, least_for

inside = st.floats(1e-8, 1e8)
quantiles = st.floats(0, 1)


def sketch_of(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.lists(inside, min_size=1, max_size=300), quantiles)
def test_a_quantile_is_within_a_hundredth_of_numpys(values, q):
    found = sketch_of(values).quantile(q)
    exact = float(np.quantile(values, q, method="lower"))
    assert found == pytest.approx(exact, rel=ACCURACY * 1.0001)


@given(st.lists(st.lists(inside, max_size=50), max_size=6))
def test_the_sum_of_parts_is_the_sketch_of_all(parts):
    together = Sketch()
    for part in reversed(parts):
        together.merge(sketch_of(part))
    assert together.counts == sketch_of([value for part in parts for value in part]).counts


@given(st.lists(inside, max_size=50))
def test_it_comes_back_from_json(values):
    sketch = sketch_of(values)
    assert Sketch.of(json.loads(json.dumps(sketch.document()))).counts == sketch.counts


def test_it_has_no_quantile_without_values():
    assert Sketch().quantile(0.5) is None
    assert Sketch().n == 0


@pytest.mark.parametrize(
    ("value", "bucket"), [(0.0, -LAST), (1e-300, -LAST), (1e300, LAST), (math.inf, LAST)]
)
def test_what_lies_outside_counts_as_the_nearer_end(value, bucket):
    assert sketch_of([value]).counts == {bucket: 1}


@pytest.mark.parametrize("value", [-1e-12, math.nan])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises(ValueError, match="cannot be counted"):
        Sketch().add(value)


def test_memory_has_a_bound():
    sketch = sketch_of(np.geomspace(1e-12, 1e12, 20_000).tolist())
    assert len(sketch.counts) == 2 * LAST + 1
    assert sketch.n == 20_000


@pytest.mark.parametrize(("q", "least"), [(0.5, 4), (0.95, 76), (0.99, 396)])
def test_a_quantile_far_out_needs_more_values(q, least):
    assert least_for(q) == least
