"""Health and use of a provider through the management API, from what processes have written down."""

from datetime import UTC, datetime, timedelta

import httpx2
import pytest
from fastapi import FastAPI
from sqlalchemy import insert
from tests.accounts import account_at
from tests.clocks import ManualClock

from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot, BreakerState
from tiebreak.infrastructure.rest import problems
from tiebreak.providers import service, store
from tiebreak.providers.account import Price
from tiebreak.providers.activity import Activity
from tiebreak.providers.activity_routes import build_activity_router
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, Origin, Usage
from tiebreak.providers.prices import stated
from tiebreak.providers.service import NewProvider
from tiebreak.providers.tables import provider_hours

START = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def api(database, clock):
    app = FastAPI()
    problems.install(app)
    app.include_router(build_activity_router(database=database, clock=clock))
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as opened:
        yield opened


@pytest.fixture
async def account(database, keyring):
    new = NewProvider("acme", "https://api.openai.com/v1")
    async with database.transaction() as tx:
        made = await service.create(tx, new, keyring, "open")
    return account_at(new.base_url, provider_id=made.id)


@pytest.fixture
def activity(database, clock) -> Activity:
    return Activity(database, clock)


async def get(api, report, **query):
    answer = await api.get(f"/api/v1/providers/acme/{report}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_provider_that_nobody_called_is_idle_and_its_numbers_are_null_with_a_reason(api, account):
    document = await get(api, "health")
    assert (document["state"], document["since"], document["circuits"]) == ("idle", None, [])
    hour = document["last_hour"]
    assert (hour["calls"], hour["answers"], hour["failures"], hour["faults"]) == (0, 0, {}, {})
    assert hour["success"] == {"share": None, "interval": None, "level": 0.95, "n": 0, "reason": "no_calls"}
    assert hour["latency"] == {"n": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "reason": "no_answers"}


async def test_health_has_calls_latency_failures_and_breakers(api, activity, account):
    for n in range(100):
        activity.attempted(account, "m", None, 0.001 * (n + 1), Usage(1, 1), retry=False)
    for failure in (Failure.RATE_LIMITED, Failure.TIMEOUT, Failure.BAD_REQUEST):
        activity.attempted(account, "n", failure, 9.0, None, retry=False)
    activity.refused(account, "n")
    probe = START + timedelta(seconds=8)
    open_one = BreakerSnapshot(BreakerState.OPEN, START, failures=12, calls=20, next_probe=probe)
    activity.watch(lambda: [CircuitState(account.provider_id, "chat", account.credential, open_one, 8, 2, 1)])
    await activity.flush()
    document = await get(api, "health")
    assert (document["provider"], document["state"]) == ("acme", "down")
    assert datetime.fromisoformat(document["since"]) == START
    assert datetime.fromisoformat(document["as_of"]) == START
    hour = document["last_hour"]
    assert (hour["calls"], hour["answers"], hour["refused"]) == (103, 100, 1)
    assert hour["failures"] == {"bad_request": 1, "rate_limited": 1, "timeout": 1}
    assert hour["faults"] == {"caller": 1, "provider": 2}
    success = hour["success"]
    assert (success["n"], success["share"]) == (102, pytest.approx(100 / 102))
    assert success["interval"][0] < success["share"] < success["interval"][1]
    latency = hour["latency"]
    assert latency["p50_ms"] == pytest.approx(50, rel=0.011)
    assert latency["p95_ms"] == pytest.approx(95, rel=0.011)
    assert (latency["p99_ms"], latency["reason"]) == (None, "too_few")
    (circuit,) = document["circuits"]
    assert datetime.fromisoformat(circuit.pop("since")) == START
    assert datetime.fromisoformat(circuit.pop("next_probe")) == probe
    assert circuit == {
        "endpoint": "chat",
        "credential": account.credential,
        "state": "open",
        "calls": 20,
        "failures": 12,
        "slots": 8,
        "held": 2,
        "waiting": 1,
        "processes": 1,
    }


async def test_use_is_by_day_and_model_at_the_price_of_the_hour(api, database, activity, clock, account):
    async with database.transaction() as tx:
        model_id = await store.put_model(tx, account.provider_id, "own")
        for since, price in ((None, 1.0), (START + timedelta(minutes=30), 3.0)):
            stored = Price(stated(price, "input"), stated(2.0, "output"), "override", stated(0.5, "cached"))
            await store.put_price(tx, model_id, since, stored)
    million = Usage(1_000_000, 1_000_000, 500_000, 7)
    activity.attempted(account, "own", None, 1.0, million, retry=False)
    clock.advance(3600)  # into the next day, and the next price
    activity.attempted(account, "own", None, 1.0, million, retry=True)
    activity.attempted(account, "gpt-5-mini", None, 1.0, Usage(1_000_000, 0), retry=False)
    activity.attempted(account, "nobody-sells-this", None, 1.0, Usage(10, 1), retry=False)
    activity.attempted(account, "never-answers", Failure.TIMEOUT, 1.0, None, retry=False)
    activity.shared(account, "own", Origin.CACHE)
    activity.shared(account, "own", Origin.BATCH)
    await activity.flush()
    document = await get(api, "usage", days=2)
    assert document["since"] == "2026-03-02"
    found = {(row["day"], row["model"]): row for row in document["rows"]}
    assert list(found) == [
        ("2026-03-02", "own"),
        ("2026-03-03", "gpt-5-mini"),
        ("2026-03-03", "never-answers"),
        ("2026-03-03", "nobody-sells-this"),
        ("2026-03-03", "own"),
    ]
    first, second = found["2026-03-02", "own"], found["2026-03-03", "own"]
    assert (first["cost_usd"], second["cost_usd"]) == (0.5 + 0.25 + 2.0, 1.5 + 0.25 + 2.0)
    assert (second["calls"], second["retries"], second["cached"], second["joined"]) == (1, 1, 1, 1)
    assert (second["cached_tokens"], second["reasoning_tokens"]) == (500_000, 7)
    assert found["2026-03-03", "gpt-5-mini"]["cost_usd"] == 0.25
    unknown = found["2026-03-03", "nobody-sells-this"]
    assert (unknown["cost_usd"], unknown["priced_usd"], unknown["reason"]) == (None, 0.0, "no_price")
    assert found["2026-03-03", "never-answers"]["cost_usd"] == 0.0
    totals = document["totals"]
    assert (totals["calls"], totals["answers"], totals["input_tokens"]) == (5, 4, 3_000_010)
    assert (totals["cost_usd"], totals["priced_usd"], totals["reason"]) == (None, 6.75, "no_price")
    today = await get(api, "usage", days=1)
    assert today["since"] == "2026-03-03"
    assert len(today["rows"]) == 4


async def test_use_that_nobody_made_has_totals_of_nothing(api, account):
    document = await get(api, "usage")
    assert document["rows"] == []
    assert (document["totals"]["calls"], document["totals"]["cost_usd"]) == (0, 0.0)
    assert document["since"] == "2026-02-01"


async def test_a_day_is_a_day_in_utc_wherever_the_server_is(api, database, account):
    async with database.transaction() as tx:
        counts = dict.fromkeys(
            ("calls", "answers", "retries", "cached", "joined", "refused", "input_tokens", "cached_tokens"), 0
        )
        await tx.execute(
            insert(provider_hours).values(
                provider_id=account.provider_id,
                hour=START.replace(hour=0, minute=0),
                model="m",
                output_tokens=0,
                reasoning_tokens=0,
                failures={},
                latency={},
                **counts,
            )
        )
        name = (await tx.exec_driver_sql("select current_database()")).scalar_one()
        await tx.exec_driver_sql(f"alter database {name} set timezone to 'America/Los_Angeles'")
    await database.close()  # the setting holds for new connections
    (row,) = (await get(api, "usage", days=1))["rows"]
    assert row["day"] == "2026-03-02"


@pytest.mark.parametrize("days", [0, 91, "many"])
async def test_days_out_of_range_are_refused_with_their_place(api, account, days):
    answer = await api.get("/api/v1/providers/acme/usage", params={"days": days})
    assert answer.status_code == 422
    assert "days" in answer.text


@pytest.mark.parametrize("report", ["health", "usage"])
async def test_nobody_knows_a_provider_that_is_not_there(api, report):
    answer = await api.get(f"/api/v1/providers/nobody/{report}")
    assert answer.status_code == 404
    assert "'nobody'" in answer.json()["detail"]
