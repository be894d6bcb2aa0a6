"""What the pipeline does, as metrics."""

import random

import pytest
from tests.clocks import ManualClock
from tests.upstream import completion, http, upstream

from tiebreak.infrastructure.resilience.breaker import BreakerConfig
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Instrument, Metrics, Number
from tiebreak.providers.counting import Counting
from tiebreak.providers.model import ChatRequest, Message, ProviderError
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
OWN = Scope.own("a run")
GOOD = http(completion())


def numbers(metrics: Metrics, instrument: Instrument) -> dict[tuple[str, ...], float]:
    return {labels: series.value for labels, series in metrics.of(instrument) if isinstance(series, Number)}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(instruments.ALL)


async def test_attempts_are_counted_by_outcome_and_retries_apart(client, make_account, metrics):
    async with upstream(http("no", 500), http("{"), GOOD) as vendor:
        account = make_account(vendor.url)
        made = Pipeline(client, ManualClock(), random.Random(1), watch=Counting(metrics))
        await made.complete(account, ASK, OWN)
        await made.close()
    assert numbers(metrics, instruments.ATTEMPTS) == {
        (account.name, "server_error"): 1,
        (account.name, "malformed"): 1,
        (account.name, "ok"): 1,
    }
    assert numbers(metrics, instruments.RETRIES) == {(account.name,): 2}
    assert sum(metrics.histogram(instruments.ATTEMPT_SECONDS, account.name).counts) == 3


async def test_the_watch_behind_it_is_told_the_same(client, make_account, metrics):
    beyond = Counting(Metrics(instruments.ALL))
    async with upstream(http("no", 500), GOOD) as vendor:
        made = Pipeline(client, ManualClock(), random.Random(1), watch=Counting(metrics, beyond))
        await made.complete(make_account(vendor.url), ASK, OWN)
        await made.complete(make_account(vendor.url), ASK, Scope.shared("test", "1", "a"))
        await made.close()
    for instrument in (instruments.ATTEMPTS, instruments.RETRIES, instruments.SHARED):
        assert numbers(beyond._metrics, instrument) == numbers(metrics, instrument)


async def test_a_hit_is_counted_as_shared(client, make_account, metrics):
    scope = Scope.shared("test", "1", "a")
    async with upstream(GOOD) as vendor:
        account = make_account(vendor.url)
        made = Pipeline(client, ManualClock(), random.Random(1), watch=Counting(metrics))
        await made.complete(account, ASK, scope)
        await made.complete(account, ASK, scope)
        await made.close()
    assert numbers(metrics, instruments.SHARED) == {(account.name, "cache"): 1}
    assert numbers(metrics, instruments.ATTEMPTS) == {(account.name, "ok"): 1}


async def test_an_open_breaker_shows_and_what_it_holds_back_is_counted(client, make_account, metrics):
    config = BreakerConfig(failures_in_a_row=2, cool_down=10_000.0, longest_cool_down=10_000.0)
    async with upstream(*[http("no", 500)] * 50) as vendor:
        account = make_account(vendor.url)
        counting = Counting(metrics)
        made = Pipeline(client, ManualClock(), random.Random(1), watch=counting, breaker=config)
        metrics.read_before(lambda: counting.read(made.circuits()))
        for _ in range(5):
            with pytest.raises(ProviderError):
                await made.complete(account, ASK, OWN)
        metrics.snapshot()
        await made.close()
    assert numbers(metrics, instruments.BREAKER) == {(account.name,): 3}
    assert numbers(metrics, instruments.HELD_BACK)[(account.name,)] >= 1
