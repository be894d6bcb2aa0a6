import json
import math
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from tests.analytics.recorded import AT, Ended, answers, definition, record
from tests.clocks import ManualClock

from tiebreak.analytics.routes import build_router
from tiebreak.experiments import service as experiments
from tiebreak.infrastructure.rest import problems


@pytest.fixture
async def client(database) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(build_router(database=database, clock=ManualClock()))
    async with httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
    ) as opened:
        yield opened


async def stored(database, definition, tasks, **how) -> str:
    async with database.transaction() as tx:
        return (await record(tx, definition, tasks, **how)).slug


async def shown(client, slug):
    answer = await client.get(f"/api/v1/analytics/tests/{slug}/results")
    assert answer.status_code == 200, answer.text
    return answer.json()


def comparison(document, metric, variant="large"):
    return next(c for c in document["comparisons"] if (c["metric"], c["variant"]) == (metric, variant))


async def test_the_document_has_the_promised_keys_and_the_known_numbers(database, client):
    tasks = answers(both=198, gained=260, lost=88, neither=773, cost_nano={0: 1000, 1: 4000})
    document = await shown(client, await stored(database, definition(), tasks))
    assert {"test", "as_of", "variants", "comparisons", "verdict", "spend"} <= document.keys()
    assert document["test"]["hypothesis"] == "The large one solves more"
    assert document["run"] | {"id": ""} == {
        "id": "",
        "state": "completed",
        "reason": None,
        "done": 2638,
        "total": 2638,
    }
    small, large = document["variants"]
    assert (small["key"], small["model"], small["n"]) == ("small", "mock/small", 1319)
    assert [round(v["metrics"]["correct"]["mean"] * 1319) for v in (small, large)] == [286, 458]
    assert small["metrics"]["correct"]["wrong_reasons"] == {"no_number": 1033}
    assert small["metrics"]["correct"]["unscored"] == 0
    assert small["metrics"]["correct"]["interval"] == pytest.approx([0.1954, 0.2399], abs=1e-4)
    found = comparison(document, "correct")
    assert (round(found["difference"], 4), round(found["se"], 4)) == (0.1304, 0.0137)
    assert found["discordant"] == [260, 88]
    assert found["interval"] == pytest.approx([0.1037, 0.1575], abs=5e-5)
    assert (found["level"], found["method"], found["decisive"], found["unit"]) == (
        0.95,
        "mcnemar_score_tango",
        True,
        "points",
    )
    assert found["p_value"] == found["p_adjusted"] < 1e-15
    assert document["verdict"]["kind"] == "better"
    assert document["verdict"]["variant"] == "large"
    assert document["spend"] == {"amount": 0.006595, "currency": "USD", "calls": 2640, "tokens": 79140}


async def test_costs_that_all_differ_alike_are_compared_exactly(database, client):
    tasks = answers(both=30, cost_nano={0: 1000, 1: 4000})
    cost = comparison(await shown(client, await stored(database, definition(), tasks)), "cost_usd")
    assert (cost["method"], cost["unit"], cost["direction"]) == ("sign_flip", "usd", "lower")
    assert cost["difference"] == pytest.approx(3e-6)
    assert cost["interval"] == pytest.approx([3e-6, 3e-6])
    assert cost["discordant"] is None


async def test_while_responses_come_in_no_interval_and_no_p_value_is_shown(database, client):
    slug = await stored(database, definition(), answers(both=40, gained=10), state="running", total=200)
    document = await shown(client, slug)
    assert document["verdict"]["kind"] == "collecting"
    assert document["verdict"]["conclusions"] == []
    found = comparison(document, "correct")
    assert (found["difference"], found["n"]) == (0.2, 50)
    assert (found["interval"], found["p_value"], found["p_adjusted"], found["reason"]) == (
        None,
        None,
        None,
        "collecting",
    )
    rate = document["variants"][0]["metrics"]["correct"]
    assert (rate["mean"], rate["interval"], rate["reason"]) == (0.8, None, "collecting")


async def test_a_draft_shows_its_variants_and_no_numbers(database, client):
    async with database.transaction() as tx:
        slug = (await experiments.create(tx, definition())).slug
    document = await shown(client, slug)
    assert document["run"] is None
    assert document["spend"]["amount"] == 0
    assert [v["n"] for v in document["variants"]] == [0, 0]
    assert comparison(document, "correct")["reason"] == "no_pairs"
    assert comparison(document, "correct")["difference"] is None


async def test_what_is_missing_says_why(database, client):
    tasks = [Ended(p, v, {"correct": [1.0, None]}, cost_nano=None) for p in range(4) for v in (0, 1)]
    document = await shown(client, await stored(database, definition(), tasks))
    cost = document["variants"][0]["metrics"]["cost_usd"]
    assert (cost["mean"], cost["n"], cost["unscored"], cost["reasons"], cost["reason"]) == (
        None,
        0,
        4,
        {"no_price": 4},
        "no_values",
    )
    assert comparison(document, "latency_ms")["reason"] == "too_few"
    assert document["verdict"]["kind"] == "cannot_tell"


async def test_every_number_is_a_finite_json_number(database, client):
    tasks = [Ended(0, 0, {"correct": [1.0, None]}), Ended(0, 1, {"correct": [0.0, "no_number"]})]
    answer = await client.get(
        f"/api/v1/analytics/tests/{await stored(database, definition(), tasks)}/results"
    )

    def refuse(word):
        raise AssertionError(word)

    def numbers(node):
        if isinstance(node, dict | list):
            for part in node.values() if isinstance(node, dict) else node:
                yield from numbers(part)
        elif isinstance(node, float):
            yield node

    document = json.loads(answer.text, parse_constant=refuse)
    assert all(math.isfinite(number) for number in numbers(document))
    assert document["as_of"].endswith(("Z", "+00:00"))


async def test_an_unknown_test_is_a_problem(client):
    answer = await client.get("/api/v1/analytics/tests/nowhere/results")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "no test 'nowhere'; `tiebreak test list` shows what there is"
    assert (await client.get("/api/v1/analytics/tests/a%00b/results")).status_code == 422


async def test_the_time_of_reading_is_the_clocks(database, client):
    document = await shown(client, await stored(database, definition(), answers(both=1)))
    assert document["as_of"].replace("Z", "+00:00") == ManualClock().now().isoformat()
    assert AT.tzinfo is not None
