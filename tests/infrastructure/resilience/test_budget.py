"""Retries are paid for: few failures never run out, an outage does at once."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.budget import BudgetConfig, RetryBudget

ATTEMPTS = 3


def upstream_calls(requests: int, failing: float, seed: int, *, timeouts: bool = False) -> int:
    """How many calls `requests` make when each may have three attempts and `failing` of all attempts fail."""
    rng, budget, calls = random.Random(seed), RetryBudget(), 0
    for _ in range(requests):
        for attempt in range(ATTEMPTS):
            calls += 1
            if rng.random() >= failing:
                budget.succeeded()
                break
            if attempt == ATTEMPTS - 1 or not budget.take(after_timeout=timeouts):
                break
    return calls


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("timeouts", [False, True])
def test_a_full_outage_is_not_tripled(seed, timeouts):
    assert upstream_calls(1_000, 1.0, seed, timeouts=timeouts) <= 1.1 * 1_000
    assert upstream_calls(10_000, 1.0, seed, timeouts=timeouts) <= 1.01 * 10_000


@pytest.mark.parametrize("seed", range(5))
def test_one_failure_in_twenty_is_always_retried(seed):
    assert 1.04 * 20_000 <= upstream_calls(20_000, 0.05, seed) <= 1.07 * 20_000


def test_a_timeout_costs_twice_and_nothing_is_taken_when_there_is_too_little():
    budget = RetryBudget(BudgetConfig(capacity=14))
    assert budget.take(after_timeout=True)
    assert not budget.take()
    assert budget.tokens == 4
    budget.succeeded()
    assert budget.take()
    assert budget.tokens == 0


@given(st.lists(st.sampled_from(["retry", "timeout", "success"]), max_size=300))
def test_the_bucket_neither_overflows_nor_goes_below_zero(steps):
    budget = RetryBudget(BudgetConfig(capacity=50))
    for step in steps:
        if step == "success":
            budget.succeeded()
        else:
            budget.take(after_timeout=step == "timeout")
        assert 0 <= budget.tokens <= 50
