"""Whether and when a call is made again."""

import random

import pytest
from tests.clocks import ManualClock

from tiebreak.infrastructure.resilience.budget import BudgetConfig, RetryBudget
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.providers.model import Failure, ProviderError, StaleConnection
from tiebreak.providers.retries import Retries


def retries(clock: ManualClock, most: int = 3, *, budget: RetryBudget | None = None, patience: float = 0.0):
    return Retries(
        most,
        budget=budget or RetryBudget(),
        backoff=Backoff(),
        rng=random.Random(1),
        clock=clock,
        patience=patience,
    )


def held_back(seconds: float) -> ProviderError:
    return ProviderError(Failure.CIRCUIT_OPEN, "open", retry_after=seconds, calls=0)


async def test_what_may_be_retried_is_until_the_retries_are_used_up():
    clock = ManualClock()
    made = retries(clock, 2)
    for _ in range(2):
        await made.wait(ProviderError(Failure.SERVER_ERROR, "no"))
    with pytest.raises(ProviderError) as caught:
        await made.wait(ProviderError(Failure.SERVER_ERROR, "no"))
    assert (caught.value.calls, len(clock.sleeps)) == (3, 2)


@pytest.mark.parametrize(
    "failure", [Failure.BAD_REQUEST, Failure.AUTHENTICATION, Failure.QUOTA, Failure.NOT_FOUND]
)
async def test_the_callers_mistakes_and_used_up_money_are_never_retried(failure):
    with pytest.raises(ProviderError):
        await retries(ManualClock()).wait(ProviderError(failure, "no"))


async def test_an_empty_budget_ends_the_retries_of_everybody():
    budget = RetryBudget(BudgetConfig(capacity=10))
    for _ in range(2):
        await retries(ManualClock(), budget=budget).wait(ProviderError(Failure.SERVER_ERROR, "no"))
    with pytest.raises(ProviderError):
        await retries(ManualClock(), budget=budget).wait(ProviderError(Failure.SERVER_ERROR, "no"))


async def test_a_retry_after_a_timeout_costs_twice():
    budget = RetryBudget(BudgetConfig(capacity=10))
    await retries(ManualClock(), budget=budget).wait(ProviderError(Failure.TIMEOUT, "late"))
    assert budget.tokens == 0


async def test_a_stale_connection_costs_nothing_once():
    clock, budget = ManualClock(), RetryBudget()
    made = retries(clock, 0, budget=budget)
    await made.wait(StaleConnection(Failure.CONNECTION, "idle"))
    assert (clock.sleeps, budget.tokens, made.calls) == ([], 500, 1)
    with pytest.raises(StaleConnection):
        await made.wait(StaleConnection(Failure.CONNECTION, "idle"))


async def test_a_breaker_is_waited_for_while_the_patience_lasts_and_costs_no_retry():
    clock = ManualClock()
    made = retries(clock, 0, patience=25.0)
    await made.wait(held_back(10))
    await made.wait(held_back(10))
    assert (clock.sleeps, made.retries, made.calls) == ([10, 10], 0, 0)
    with pytest.raises(ProviderError) as caught:
        await made.wait(held_back(10))
    assert caught.value.failure is Failure.CIRCUIT_OPEN


async def test_without_patience_an_open_breaker_is_a_failure_at_once():
    clock = ManualClock()
    with pytest.raises(ProviderError):
        await retries(clock).wait(held_back(0.0))
    assert clock.sleeps == []
