"""What an attempt passes, and what its end tells breaker, limit and budget."""

import asyncio
import random

import pytest
from tests.accounts import account_at
from tests.clocks import ManualClock

from tiebreak.infrastructure.connections.http import ConnectFailed, TimedOut, Truncated
from tiebreak.infrastructure.resilience.breaker import BreakerConfig, BreakerState, Outcome
from tiebreak.providers.gate import MOST_PROVIDERS, Endpoint, Gate, outcome_of, pushes_back
from tiebreak.providers.model import Failure, ProviderError, StaleConnection

CONFIG = BreakerConfig(failures_in_a_row=3, cool_down=10.0, longest_cool_down=10.0, probes=1)


def failed(failure: Failure, cause: Exception | None = None, status: int | None = None) -> ProviderError:
    error = ProviderError(failure, "no", http_status=status)
    error.__cause__ = cause
    return error


def gate(clock: ManualClock) -> Gate:
    return Gate(clock, random.Random(1), CONFIG)


async def fail(gate: Gate, account, error: ProviderError, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ProviderError):
            async with gate.attempt(account, Endpoint.CHAT, "m"):
                raise error


def state(gate: Gate) -> BreakerState:
    (circuit,) = gate.circuits()
    return circuit.breaker.state


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (failed(Failure.SERVER_ERROR, status=500), Outcome.FAILURE),
        (failed(Failure.MALFORMED), Outcome.FAILURE),
        (failed(Failure.TIMEOUT, TimedOut("idle", 1.0)), Outcome.FAILURE),
        (failed(Failure.TIMEOUT, TimedOut("connect", 1.0)), Outcome.CONNECT_FAILURE),
        (failed(Failure.CONNECTION, ConnectFailed("nobody")), Outcome.CONNECT_FAILURE),
        (failed(Failure.CONNECTION, Truncated("cut")), Outcome.FAILURE),
        (StaleConnection(Failure.CONNECTION, "idle"), Outcome.IGNORED),
        (failed(Failure.RATE_LIMITED, status=429), Outcome.IGNORED),
        (failed(Failure.BAD_REQUEST, status=400), Outcome.IGNORED),
        (failed(Failure.AUTHENTICATION, status=401), Outcome.IGNORED),
        (failed(Failure.QUOTA, status=429), Outcome.IGNORED),
        (failed(Failure.CONTENT_REFUSED, status=400), Outcome.IGNORED),
    ],
    ids=lambda value: getattr(value, "failure", value),
)
def test_only_the_vendors_own_failures_count_against_it(error, outcome):
    assert outcome_of(error) is outcome


@pytest.mark.parametrize(
    ("error", "pushed"),
    [
        (failed(Failure.RATE_LIMITED, status=429), True),
        (failed(Failure.SERVER_ERROR, status=503), True),
        (failed(Failure.SERVER_ERROR, status=529), True),
        (failed(Failure.RATE_LIMITED, TimedOut("pool", 2.0)), True),
        (failed(Failure.QUOTA, status=429), False),
        (failed(Failure.SERVER_ERROR, status=500), False),
        (failed(Failure.TIMEOUT, TimedOut("idle", 1.0)), False),
    ],
)
def test_overload_and_too_few_connections_push_back_and_nothing_else_does(error, pushed):
    assert pushes_back(error) is pushed


async def test_an_open_breaker_lets_nothing_through_and_says_for_how_long():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x")
    await fail(made, account, failed(Failure.SERVER_ERROR, status=500), times=3)
    with pytest.raises(ProviderError, match=r"try again in .* s; the last one: no$") as caught:
        async with made.attempt(account, Endpoint.CHAT, "m"):
            pytest.fail("it was let through")
    assert (caught.value.failure, caught.value.calls) == (Failure.CIRCUIT_OPEN, 0)
    assert 8 <= caught.value.retry_after <= 10


async def test_endpoints_models_and_credentials_have_breakers_of_their_own():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x")
    await fail(made, account, failed(Failure.SERVER_ERROR, status=500), times=3)
    renewed = account_at("http://x", provider_id=account.provider_id, secret="sk-other")
    for other, endpoint, model in (
        (account, Endpoint.EMBEDDINGS, "m"),
        (renewed, Endpoint.CHAT, "m"),
        (account, Endpoint.CHAT, "another model"),
    ):
        async with made.attempt(other, endpoint, model):
            pass
    assert {(c.endpoint, c.credential == account.credential): c.breaker.state for c in made.circuits()} == {
        ("chat/m", True): BreakerState.OPEN,
        ("embeddings/m", True): BreakerState.CLOSED,
        ("chat/m", False): BreakerState.CLOSED,
        ("chat/another model", True): BreakerState.CLOSED,
    }


async def test_a_vendor_that_is_back_gets_the_limit_it_had_before_the_outage():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x", concurrency=100)
    away = failed(Failure.SERVER_ERROR, status=503)
    for _ in range(3):
        await fail(made, account, away)
        clock.advance(1.5)
    assert (state(made), made.lane(account).limit.limit) == (BreakerState.OPEN, 34)
    clock.advance(10)
    async with made.attempt(account, Endpoint.CHAT, "m"):
        pass
    assert (state(made), made.lane(account).limit.limit) == (BreakerState.RAMPING, 100)


async def test_overload_among_answers_is_no_outage():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x", concurrency=100)
    for _ in range(3):
        await fail(made, account, failed(Failure.RATE_LIMITED, status=429))
        clock.advance(1.5)
        async with made.attempt(account, Endpoint.CHAT, "m"):
            pass
    made.lane(account).limit.restore()
    assert made.lane(account).limit.limit == 34


async def test_a_call_that_waits_for_its_slot_is_held_back_when_the_breaker_opens_meanwhile():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x", concurrency=1)
    entered = asyncio.Event()

    async def wait_for_a_slot() -> None:
        async with made.attempt(account, Endpoint.CHAT, "m"):
            entered.set()

    async with made.attempt(account, Endpoint.EMBEDDINGS, "m"):
        waiting = asyncio.create_task(wait_for_a_slot())
        await asyncio.sleep(0)
        # The vendor fails meanwhile: those calls hold no slot here, their outcome counts all the same.
        for _ in range(3):
            made.attempt(account, Endpoint.CHAT, "m")._permit.record(Outcome.FAILURE)
    with pytest.raises(ProviderError) as caught:
        await waiting
    assert caught.value.failure is Failure.CIRCUIT_OPEN
    assert not entered.is_set()
    assert made.lane(account).limit.held == 0


async def test_a_cancelled_probe_gives_its_place_to_another():
    clock = ManualClock()
    made, account = gate(clock), account_at("http://x")
    await fail(made, account, failed(Failure.SERVER_ERROR, status=500), times=3)
    clock.advance(10)
    started = asyncio.Event()

    async def probe() -> None:
        async with made.attempt(account, Endpoint.CHAT, "m"):
            started.set()
            await asyncio.Event().wait()

    first = asyncio.create_task(probe())
    await started.wait()
    first.cancel()
    await asyncio.wait([first])
    async with made.attempt(account, Endpoint.CHAT, "m"):
        pass
    assert state(made) is BreakerState.RAMPING


async def test_a_success_is_told_once_though_the_end_of_a_stream_and_of_the_block_say_it():
    made, account = gate(ManualClock()), account_at("http://x")
    made.lane(account).budget.take()
    async with made.attempt(account, Endpoint.CHAT, "m") as attempt:
        attempt.succeeded()
    assert made.lane(account).budget.tokens == 496
    assert made.circuits()[0].breaker.calls == 1


async def test_a_wait_for_a_connection_pushes_back():
    made, account = gate(ManualClock()), account_at("http://x", concurrency=10)
    async with made.attempt(account, Endpoint.CHAT, "m") as attempt:
        attempt.waited(0.001)
        assert made.lane(account).limit.limit == 10
        attempt.waited(0.2)
    assert made.lane(account).limit.limit == 7


async def test_a_full_queue_names_the_remedy_and_keeps_no_place():
    made, account = gate(ManualClock()), account_at("http://x", concurrency=1)
    made.lane(account).limit._slots._max_waiting = 0
    async with made.attempt(account, Endpoint.CHAT, "m"):
        with pytest.raises(ProviderError, match="raise its concurrency") as caught:
            async with made.attempt(account, Endpoint.CHAT, "m"):
                pytest.fail("it was let in")
    assert (caught.value.failure, caught.value.calls) == (Failure.RATE_LIMITED, 0)
    assert made.lane(account).limit.idle


async def test_providers_no_longer_used_make_room():
    made, kept = gate(ManualClock()), account_at("http://x")
    async with made.attempt(kept, Endpoint.CHAT, "m"):
        for _ in range(MOST_PROVIDERS + 5):
            made.lane(account_at("http://x"))
        assert made.lane(kept).limit.held == 1  # in use: it stayed
    assert len(made._lanes) == MOST_PROVIDERS
