"""Items that share an answer count as one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.analytics.clusters import clusters, folded

NAN = np.nan


@pytest.mark.parametrize(
    ("draws", "labels"),
    [
        ([], [0, 1, 2, 3]),
        ([(5, "x"), (9, "x")], [0, 1, 0, 2]),
        ([(5, "x"), (7, "y"), (9, "x"), (9, "z"), (12, "z")], [0, 1, 0, 0]),
        ([(12, "x"), (9, "x"), (9, "y"), (7, "y"), (7, "z"), (5, "z")], [0, 0, 0, 0]),
    ],
)
def test_items_with_a_draw_in_common_are_one_cluster_also_over_a_third(draws, labels):
    assert clusters(np.array([5, 7, 9, 12]), draws).tolist() == labels


def test_a_cluster_has_the_mean_of_its_items_that_have_a_value():
    values = np.array([[1.0, 0.0, NAN, 4.0], [NAN, 3.0, NAN, 5.0]])
    np.testing.assert_array_equal(folded(values, np.array([0, 0, 1, 2])), [[0.5, NAN, 4.0], [3.0, NAN, 5.0]])


def test_nothing_folds_to_nothing():
    assert folded(np.empty((2, 0)), clusters(np.empty(0, dtype=np.int64), [])).shape == (2, 0)


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 8)), max_size=40))
def test_clusters_are_the_connected_parts_in_any_order(draws):
    labels = clusters(np.arange(16), draws)
    np.testing.assert_array_equal(labels, clusters(np.arange(16), draws[::-1]))
    together = {place: {place} for place in range(16)}
    for draw in {draw for _, draw in draws}:
        merged = set().union(*(together[place] for place, other in draws if other == draw))
        for place in merged:
            together[place] = merged
    for one in range(16):
        for other in range(16):
            assert (labels[one] == labels[other]) == (other in together[one])
