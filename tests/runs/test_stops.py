"""What stops a run: budgets, refusals, faults; and what does not."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from tests.runs.stage import (
    CLOCK,
    KEYRING,
    add_dataset,
    add_provider,
    add_test,
    read,
    rows,
    set_stage,
    start,
    until,
    vendor,
    working,
)
from tests.upstream import completion, hang_up, http, upstream

from tiebreak.experiments.definition import Budget
from tiebreak.providers import service as providers
from tiebreak.providers.secrets import Keyring
from tiebreak.providers.service import Changes
from tiebreak.runs import service
from tiebreak.runs.model import RunState

ENDED = (RunState.COMPLETED, RunState.PAUSED, RunState.CANCELLED, RunState.FAILED)


async def resume(database, run, **budget):
    async with database.transaction() as tx:
        await service.resume(tx, run.id, budget=Budget(**budget) if budget else None, at=CLOCK.now())


@asynccontextmanager
async def counting_vendor(delay: float):
    """A vendor that remembers the most calls it had in flight at once."""
    seen = {"now": 0, "most": 0}

    async def answer(request, wire):
        seen["now"] += 1
        seen["most"] = max(seen["most"], seen["now"])
        await asyncio.sleep(delay)
        seen["now"] -= 1
        wire.write(http(completion("1")))

    async with upstream(answer) as server:
        yield server, seen


async def test_a_money_budget_stops_the_run_and_more_money_finishes_it(database):
    async with vendor(0.01) as server, working(database):
        # Ten tokens at a dollar a thousand: a cent a call.
        run = await set_stage(database, server.url, items=20, priced=True, budget={"max_cost": 0.1})
        stopped = await until(database, run, *ENDED)
        assert (stopped.state, stopped.reason) == (
            RunState.PAUSED,
            "budget: the money is spent; raise max_cost and resume",
        )
        async with asyncio.timeout(10):
            while any(row["state"] == "leased" for row in await rows(database, run)):
                await asyncio.sleep(0.02)
        settled = await read(database, run)
        assert 10 <= settled.calls <= 10 + run.concurrency
        assert settled.cost_nano == settled.calls * 10_000_000
        await resume(database, run, max_cost=10.0)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.calls) == (RunState.COMPLETED, 40, 40)


async def test_a_budget_of_requests_is_never_exceeded_without_retries(database):
    async with vendor(0.01) as server, working(database), working(database):
        run = await set_stage(database, server.url, items=20, concurrency=6, budget={"max_requests": 11})
        stopped = await until(database, run, *ENDED)
        assert (stopped.calls, len(server.received)) == (11, 11)
        assert stopped.reason == "budget: the requests are used up; raise max_requests and resume"
        await resume(database, run, max_requests=100)
        assert (await until(database, run, *ENDED)).done == 40


async def test_time_runs_out_without_any_answer(database):
    async with vendor(3.0) as server, working(database):
        run = await set_stage(database, server.url, budget={"max_seconds": 1})
        stopped = await until(database, run, *ENDED)
        assert stopped.state is RunState.PAUSED
        assert stopped.reason == "budget: the time is over; raise max_seconds and resume"


async def test_a_budget_of_nothing_calls_nobody(database):
    async with vendor() as server, working(database):
        run = await set_stage(database, server.url, priced=True, budget={"max_cost": 0})
        await until(database, run, RunState.PAUSED)
    assert server.received == []


async def test_a_money_budget_cannot_be_held_without_usage(database):
    async with vendor(0.01, usage=False) as server, working(database):
        run = await set_stage(database, server.url, items=20, priced=True, budget={"max_cost": 5})
        stopped = await until(database, run, *ENDED)
        assert stopped.state is RunState.PAUSED
        assert "does not say how many tokens" in stopped.reason
        await resume(database, run, max_cost=None)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.cost_nano) == (RunState.COMPLETED, 40, 0)


async def test_a_refused_key_stops_the_run_and_a_good_one_finishes_it(database):
    refusal = http({"error": {"message": "bad key", "code": "invalid_api_key"}}, status=401)
    async with upstream(refusal) as server, working(database):
        run = await set_stage(database, server.url, items=30)
        stopped = await until(database, run, *ENDED)
        assert stopped.state is RunState.PAUSED
        assert "provider 'vendor' answered 401: bad key; give it a valid key" in stopped.reason
        async with asyncio.timeout(10):
            while {row["state"] for row in await rows(database, run)} != {"queued"}:
                await asyncio.sleep(0.02)
        settled = await read(database, run)
        assert (settled.done, settled.calls) == (0, len(server.received))
        assert settled.calls <= 2 * 5 + run.concurrency
        server.script[:] = [http(completion("1"))]
        async with database.transaction() as tx:
            await providers.change(tx, "vendor", Changes(secret="sk-good"), KEYRING, "loopback")
        await resume(database, run)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.failed) == (RunState.COMPLETED, 60, 0)
    assert server.received[-1].headers["authorization"] == "Bearer sk-good"


async def test_a_refusal_of_everything_stops_a_run_of_few_items_too(database):
    async with upstream(http({"error": "no such model"}, status=404)) as server, working(database):
        run = await set_stage(database, server.url, items=1)
        stopped = await until(database, run, *ENDED)
    assert stopped.state is RunState.PAUSED
    assert "`tiebreak provider models vendor` lists what it has" in stopped.reason


async def test_nobody_at_the_address_stops_the_run(database):
    async with upstream(b"") as server:
        url = server.url
    async with working(database):
        run = await set_stage(database, url, items=10)
        stopped = await until(database, run, *ENDED)
    assert stopped.state is RunState.PAUSED
    assert "see that it runs and can be reached" in stopped.reason
    assert stopped.done == 0


async def test_a_refusal_of_single_requests_is_their_result(database):
    async def answer(request, wire):
        refused = request.json()["messages"][-1]["content"].endswith(("3?", "4?"))
        wire.write(http({"error": "moderated"}, status=403) if refused else http(completion("1")))

    async with upstream(answer) as server, working(database):
        run = await set_stage(database, server.url, items=6)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.failed) == (RunState.COMPLETED, 12, 4)
    errors = {row["position"]: row["error"] for row in await rows(database, run)}
    assert [n for n, error in errors.items() if error == "authentication"] == [3, 4]


async def test_a_refused_last_item_is_a_result_after_a_restart_too(database):
    async def answer(request, wire):
        refused = request.json()["messages"][-1]["content"].endswith("5?")
        wire.write(http({"error": "moderated"}, status=403) if refused else http(completion("1")))

    async with upstream(answer) as server:
        run = await set_stage(database, server.url, items=6, concurrency=1)
        pool = await database.pool()
        await pool.execute("update run_tasks set state = 'done', calls = 1 where position < 5")
        await pool.execute("update runs set done = 10, calls = 10")
        async with working(database):
            ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.failed) == (RunState.COMPLETED, 12, 2)


@pytest.mark.parametrize(
    ("answer", "error", "detail"),
    [
        (http("oops", status=500), "server_error", "answered 500"),
        (http("<html>", content_type="text/html"), "malformed", "begins with"),
        (http('{"choices": [{"mess'), "malformed", "cannot be read"),
        (http({"error": "slow down"}, status=429, retry_after="0"), "rate_limited", "answered 429"),
        (http({"error": "no"}, status=400), "bad_request", "answered 400"),
    ],
)
async def test_failures_of_requests_are_results_after_their_retries(database, answer, error, detail):
    async with upstream(answer) as server, working(database):
        await add_dataset(database, 3)
        await add_provider(database, server.url, retries=1)
        run = await start(database, await add_test(database))
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.failed) == (RunState.COMPLETED, 6, 6)
    assert ended.calls == len(server.received) == (6 if error == "bad_request" else 12)
    for row in await rows(database, run):
        assert (row["error"], row["text"]) == (error, None)
        assert detail in row["error_detail"]
        assert json.loads(row["scores"]) == {"correct": [0.0, "failed"]}


async def test_an_upstream_that_says_nothing_stops_the_run(database):
    async with upstream(hang_up) as server, working(database):
        run = await set_stage(database, server.url)
        stopped = await until(database, run, *ENDED)
    assert (stopped.state, stopped.done) == (RunState.PAUSED, 0)


async def test_a_template_that_fails_on_an_item_is_a_failed_task(database):
    variants = [
        {"key": "good", "model": "vendor/small", "template": "{{ question }}"},
        {"key": "bad", "model": "vendor/small", "template": "{{ question % 3 }}"},
    ]
    async with vendor() as server, working(database):
        run = await set_stage(database, server.url, variants=variants)
        ended = await until(database, run, *ENDED)
    assert (ended.done, ended.failed, ended.calls) == (12, 6, 6)
    assert {row["error"] for row in await rows(database, run)} == {None, "template"}


async def test_text_that_cannot_be_stored_is_stored_marked(database):
    async with upstream(http(completion("a\x00b"))) as server, working(database):
        run = await set_stage(database, server.url, items=1)
        await until(database, run, RunState.COMPLETED)
    assert {row["text"] for row in await rows(database, run)} == {"a�b"}


async def test_a_removed_provider_stops_the_run(database):
    run = await set_stage(database)
    async with database.transaction() as tx:
        await providers.delete(tx, "vendor")
    async with working(database):
        stopped = await until(database, run, *ENDED)
    assert stopped.state is RunState.PAUSED
    assert "was removed" in stopped.reason


async def test_a_secret_under_another_key_stops_the_run(database):
    run = await set_stage(database)
    other = Keyring.open(None, "B" * 43 + "=")
    async with working(database, keyring=other):
        stopped = await until(database, run, *ENDED)
    assert stopped.state is RunState.PAUSED
    assert "cannot be opened" in stopped.reason


async def test_a_plan_of_another_version_fails_the_run(database):
    run = await set_stage(database)
    pool = await database.pool()
    await pool.execute("update runs set plan = plan - 'variants'")
    async with working(database), asyncio.timeout(20):
        while (state := await pool.fetchval("select state from runs where id = $1", run.id)) == "running":
            await asyncio.sleep(0.05)
    assert state == "failed"
    assert "cannot read the plan" in await pool.fetchval(
        "select reason from tests where id = $1", run.test_id
    )


async def test_a_fault_of_ours_stops_the_one_run_with_a_reason(database):
    async with vendor(0.01) as server:
        broken = await set_stage(database, server.url, items=10)
        sound = await start(database, await add_test(database))
        pool = await database.pool()
        await pool.execute(
            "update runs set plan = jsonb_set(plan, '{variants}', (plan->'variants') - 1) where id = $1",
            broken.id,
        )
        async with working(database):
            stopped = await until(database, broken, *ENDED)
            assert (await until(database, sound, *ENDED)).state is RunState.COMPLETED
    assert stopped.state is RunState.PAUSED
    assert stopped.reason == "internal error (IndexError), the log has the details; resume to try again"
    assert "leased" not in {row["state"] for row in await rows(database, broken)}
