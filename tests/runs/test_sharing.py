"""Own draws, shared draws and fallbacks of a run, against a vendor that counts what it is asked."""

import json
from collections import Counter

from tests.runs.stage import (
    add_dataset,
    add_provider,
    add_test,
    definition,
    read,
    rows,
    set_stage,
    start,
    until,
    vendor,
    working,
)
from tests.upstream import Received, Wire, completion, http, upstream

from tiebreak.infrastructure.resilience.breaker import BreakerConfig
from tiebreak.providers.model import Failure
from tiebreak.runs.model import RunState

SAME = [("What is 1 + 1?", "2")] * 6
ENDED = (RunState.COMPLETED, RunState.PAUSED, RunState.FAILED)


def asked(server) -> Counter:
    return Counter(received.json()["model"] for received in server.received)


async def test_every_repeat_of_every_item_is_a_draw_of_its_own_whatever_the_parameters(database):
    cold = [dict(variant.model_dump(), parameters={"temperature": 0}) for variant in definition().variants]
    async with vendor() as server, working(database):
        await add_dataset(database, SAME)
        await add_provider(database, server.url, dialect="openai")
        run = await start(database, await add_test(database, repeats=3, variants=cold), concurrency=8)
        ended = await until(database, run, *ENDED)
    assert ended.state is RunState.COMPLETED
    # 6 equal items × 3 repeats of each of two variants: as many calls as draws, with nothing shared or merged.
    assert asked(server) == {"small": 18, "large": 18}
    assert all(received.json().get("n") is None for received in server.received)
    assert ended.calls == 36
    assert all(row["draw"] is None and row["events"] is None for row in await rows(database, run))


async def test_with_share_responses_equal_requests_are_one_draw_and_it_is_recorded_which(database):
    async with vendor(delay=0.02) as server, working(database):
        await add_dataset(database, SAME)
        await add_provider(database, server.url, priced=True)
        run = await start(database, await add_test(database, share_responses=True), concurrency=4)
        ended = await until(database, run, *ENDED)
        done = await rows(database, run)
    assert ended.state is RunState.COMPLETED
    assert asked(server) == {"small": 1, "large": 1}
    for variant in (0, 1):
        mine = [row for row in done if row["variant"] == variant]
        assert len({row["draw"] for row in mine}) == 1
        assert mine[0]["draw"] is not None
        assert sorted(row["calls"] for row in mine) == [0, 0, 0, 0, 0, 1]
        assert sum(row["cost_nano"] > 0 for row in mine) == 1
        assert [json.loads(row["events"])[0]["event"] for row in mine if row["events"]] == ["shared"] * 5
        assert sum(row["latency_us"] is not None for row in mine) == 1
    assert ended.calls == 2


async def test_another_run_of_the_same_test_draws_again(database):
    async with vendor() as server, working(database):
        await add_dataset(database, SAME)
        await add_provider(database, server.url)
        for _ in range(2):
            run = await start(database, await add_test(database, share_responses=True))
            await until(database, run, *ENDED)
    assert asked(server) == {"small": 2, "large": 2}


async def test_a_variant_falls_back_in_order_and_each_time_is_recorded(database):
    async def answer(received: Received, writer: Wire) -> None:
        model = received.json()["model"]
        writer.write(http("down", 500) if model == "small" else http(completion("It is 2", model=model)))

    variants = [variant.model_dump() for variant in definition().variants]
    variants[0]["fallback"] = ["vendor/spare"]
    async with upstream(answer) as server, working(database):
        run = await set_stage(database, server.url, items=4, variants=variants)
        ended = await until(database, run, *ENDED)
        done = await rows(database, run)
    assert (ended.state, ended.failed) == (RunState.COMPLETED, 0)
    small = [row for row in done if row["variant"] == 0]
    assert {row["model"] for row in small} == {"spare"}
    assert [json.loads(row["events"]) for row in small] == [
        [
            {
                "event": "fallback",
                "from": "vendor/small",
                "to": "vendor/spare",
                "failure": Failure.SERVER_ERROR,
                "calls": 1,
            }
        ]
    ] * 4
    assert {row["calls"] for row in small} == {2}
    assert all(row["events"] is None for row in done if row["variant"] == 1)


async def test_a_run_waits_out_an_outage_of_a_vendor_that_has_answered(database):
    served = 0

    async def answer(received: Received, writer: Wire) -> None:
        nonlocal served
        served += 1
        away = 10 < served <= 32  # a little longer than the breaker needs to open
        body = completion("It is 2", model=received.json()["model"])
        writer.write(http("down", 500) if away else http(body))

    quick = BreakerConfig(cool_down=0.3, longest_cool_down=0.3, ramp_seconds=0.5)
    async with upstream(answer) as server, working(database, breaker=quick):
        run = await set_stage(database, server.url, items=40, concurrency=4)
        ended = await until(database, run, *ENDED, within=60)
    assert ended.state is RunState.COMPLETED
    # Without retries each call that the vendor failed is a failure; what the breaker held back is not.
    assert ended.failed == 22
    assert (await read(database, run)).calls == 80
