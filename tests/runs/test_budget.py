import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.experiments.definition import Budget
from tiebreak.runs.budget import Limit, exposure, merged, nano, reached, share

UNLIMITED = {"max_cost_nano": None, "max_requests": None, "max_seconds": None}
SPENT = {"cost_nano": 100, "calls": 100, "active_ms": 100_000}


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({}, None),
        ({"max_cost_nano": 101, "max_requests": 101, "max_seconds": 101}, None),
        ({"max_cost_nano": 100}, Limit.MONEY),
        ({"max_requests": 100}, Limit.REQUESTS),
        ({"max_seconds": 100}, Limit.TIME),
        ({"max_cost_nano": 0, "max_requests": 0, "max_seconds": 0}, Limit.MONEY),
    ],
)
def test_a_limit_stops_the_run_when_it_is_reached(limits, limit):
    assert reached(**{**UNLIMITED, **limits}, **SPENT) is limit


def test_nothing_is_allowed_by_a_budget_of_nothing():
    assert reached(**{**UNLIMITED, "max_requests": 0}, cost_nano=0, calls=0, active_ms=0) is Limit.REQUESTS


def test_money_is_counted_in_nano_dollars():
    assert nano(0.1) == 100_000_000
    assert nano(None) is None


def test_a_change_of_the_budget_touches_the_fields_it_names():
    budget = Budget(max_cost=1.0, max_requests=10)
    assert merged(budget, None) == budget
    assert merged(budget, Budget(max_requests=20)) == Budget(max_cost=1.0, max_requests=20)
    assert merged(budget, Budget(max_cost=None)) == Budget(max_requests=10)


@given(st.integers(1, 1000), st.integers(1, 50))
def test_the_shares_of_all_workers_add_up_to_the_concurrency(concurrency, workers):
    shares = [share(concurrency, workers, rank) for rank in range(workers)]
    assert sum(shares) == max(concurrency, workers)
    assert max(shares) - min(shares) <= 1


def test_a_worker_that_is_not_counted_yet_takes_all():
    assert share(8, 0, 0) == 8


@pytest.mark.parametrize(
    ("concurrency", "workers", "exposed"),
    [(1, 1, 1), (8, 1, 8), (15, 1, 15), (16, 1, 32), (64, 1, 128), (64, 2, 64), (8, 2, 8), (64, 0, 128)],
)
def test_what_a_death_may_repeat_is_the_concurrency_unless_a_wide_run_has_one_worker(
    concurrency, workers, exposed
):
    assert exposure(concurrency, workers) == exposed
