import asyncio
import json
from contextlib import AsyncExitStack, asynccontextmanager

import asyncpg
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
    until_done,
    vendor,
    working,
)
from tests.upstream import completion, http, upstream

from tiebreak.experiments import service as experiments
from tiebreak.experiments.definition import Budget
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.runs import service
from tiebreak.runs.model import RunState
from tiebreak.runs.worker import MOST_LANES, Worker

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


async def test_every_item_is_asked_of_every_variant_and_scored(database):
    async with vendor(wrong="small") as server, working(database):
        run = await set_stage(database, server.url, repeats=2)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.failed, ended.calls) == (RunState.COMPLETED, 24, 0, 24)
    assert ended.tokens == 240
    ended_rows = await rows(database, run)
    assert {row["state"] for row in ended_rows} == {"done"}
    assert {row["claims"] for row in ended_rows} == {1}
    scores = {(row["variant"], json.loads(row["scores"])["correct"][0]) for row in ended_rows}
    assert scores == {(0, 0.0), (1, 1.0)}
    asked = server.received[0].json()
    assert asked["messages"][-1]["content"].startswith("What is 1 + ")
    assert server.received[0].headers["authorization"] == "Bearer sk-sentinel-12345"
    async with database.transaction() as tx:
        test = await experiments.get(tx, str(run.test_id))
    assert (test.state, test.ended_at) == ("completed", ended.ended_at)


async def test_checks_that_may_take_long_are_scored_too(database):
    check = {"kind": "regex", "pattern": r"It is \d+"}
    metrics = [{"name": "form", "role": "primary", "check": check}]
    async with vendor() as server, working(database):
        run = await set_stage(database, server.url, metrics=metrics)
        await until(database, run, RunState.COMPLETED)
    assert {row["scores"] for row in await rows(database, run)} == {'{"form": [1.0, null]}'}


async def test_concurrency_is_of_all_workers_together(database):
    async with counting_vendor(0.05) as (server, seen), working(database), working(database):
        await asyncio.sleep(0.2)
        run = await set_stage(database, server.url, items=40, concurrency=5)
        await until(database, run, RunState.COMPLETED)
    assert 4 <= seen["most"] <= 5


async def test_a_provider_takes_no_more_than_its_own_limit(database):
    async with counting_vendor(0.02) as (server, seen), working(database):
        await add_dataset(database, 20)
        await add_provider(database, server.url, concurrency=2)
        run = await start(database, await add_test(database), concurrency=16)
        await until(database, run, RunState.COMPLETED)
    assert seen["most"] == 2


async def test_several_runs_go_on_at_once(database):
    async with vendor(0.01) as server, working(database):
        first = await set_stage(database, server.url, items=20)
        second = await start(database, await add_test(database), concurrency=4)
        assert (await until(database, first, *ENDED)).done == 40
        assert (await until(database, second, *ENDED)).done == 40


async def test_a_paused_run_rests_and_a_resumed_one_ends(database):
    async with vendor(0.02) as server, working(database):
        run = await set_stage(database, server.url, items=30)
        await until_done(database, run, 5)
        async with database.transaction() as tx:
            await service.pause(tx, run.id, at=CLOCK.now())
        async with asyncio.timeout(10):
            while any(row["state"] == "leased" for row in await rows(database, run)):
                await asyncio.sleep(0.02)
        resting = await read(database, run)
        assert resting.done == len(server.received) < 60
        await resume(database, run)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, ended.calls, len(server.received)) == (RunState.COMPLETED, 60, 60, 60)


async def test_a_cancelled_run_keeps_what_it_has(database):
    async with vendor(0.02) as server:
        async with working(database):
            run = await set_stage(database, server.url, items=50)
            await until_done(database, run, 5)
            async with database.transaction() as tx:
                await service.cancel(tx, run.id, at=CLOCK.now())
        ended = await read(database, run)
    assert ended.state is RunState.CANCELLED
    assert ended.done == ended.calls == len(server.received) < 100


async def test_a_stopped_worker_commits_what_is_in_flight_and_holds_nothing(database):
    async with vendor(0.05) as server:
        async with working(database):
            run = await set_stage(database, server.url, items=50, concurrency=8)
            await until_done(database, run, 1)
        left = await read(database, run)
        states = [row["state"] for row in await rows(database, run)]
    assert left.state is RunState.RUNNING
    assert states.count("done") == left.done == len(server.received)
    assert "leased" not in states


async def test_a_cancelled_worker_stops_in_the_same_way(database):
    async with vendor(0.05) as server:
        async with working(database, cancel=True):
            run = await set_stage(database, server.url, items=50, concurrency=8)
            await until_done(database, run, 1)
        left = await read(database, run)
        states = [row["state"] for row in await rows(database, run)]
    assert states.count("done") == left.done == len(server.received) < 100
    assert "leased" not in states


async def test_calls_longer_than_the_grace_are_cut_off_and_given_back(database):
    async with vendor(60) as server:
        async with working(database, grace_seconds=0.2):
            run = await set_stage(database, server.url)
            async with asyncio.timeout(10):
                while len(server.received) < 4:
                    await asyncio.sleep(0.01)
        assert {row["state"] for row in await rows(database, run)} == {"queued"}


async def test_lost_connections_lose_nothing(database):
    async with vendor(0.02) as server, working(database):
        run = await set_stage(database, server.url, items=60, concurrency=8)
        pool = await database.pool()
        for done in (10, 40, 70):
            await until_done(database, run, done)
            await pool.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done) == (RunState.COMPLETED, 120)
    assert {row["state"] for row in await rows(database, run)} == {"done"}


async def test_leases_are_renewed_while_a_call_takes_longer(database):
    async with (
        vendor(1.5) as server,
        working(database, lease_seconds=0.6),
        working(database, lease_seconds=0.6),
    ):
        run = await set_stage(database, server.url, items=2, concurrency=4)
        ended = await until(database, run, *ENDED)
    assert (ended.calls, len(server.received)) == (4, 4)
    assert {row["claims"] for row in await rows(database, run)} == {1}


async def test_tasks_lost_before_their_call_are_not_called(database):
    async with vendor(0.7) as server, working(database, lease_seconds=0.6):
        run = await set_stage(database, server.url, items=4, concurrency=2)
        async with asyncio.timeout(10):
            while len(server.received) < 2:
                await asyncio.sleep(0.01)
        pool = await database.pool()
        # As if all leases had run out and somebody else had ended the tasks.
        taken = await pool.execute(
            "update run_tasks set state = 'done', lease_token = gen_random_uuid(), text = 'theirs' where state = 'leased'"
        )
        await pool.execute("update runs set done = done + $1", int(taken.split()[1]))
        ended = await until(database, run, *ENDED)
    texts = [row["text"] for row in await rows(database, run)]
    assert texts.count("theirs") == int(taken.split()[1]) > 2
    assert len(server.received) == ended.calls == 8 - (texts.count("theirs") - 2)


async def test_one_worker_stands_in_for_another_that_left(database):
    async with vendor(0.02) as server, working(database):
        run = await set_stage(database, server.url, items=40, concurrency=8)
        async with working(database):
            await until_done(database, run, 10)
        ended = await until(database, run, *ENDED)
    assert (ended.state, ended.done, len(server.received)) == (RunState.COMPLETED, 80, 80)


async def test_a_worker_without_a_database_waits_and_can_be_stopped(tmp_path):
    nowhere = Database(PostgresConfig(dsn=f"postgresql:///none?host={tmp_path}", connect_timeout=1.0))
    worker = Worker(database=nowhere, pipeline=None, keyring=KEYRING, clock=CLOCK)
    task = asyncio.create_task(worker.run())
    await asyncio.sleep(1.5)
    assert not task.done()
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
    await nowhere.close()


async def test_more_runs_than_lanes_take_turns(database):
    async with vendor() as server:
        await add_dataset(database, 1)
        await add_provider(database, server.url)
        runs = [await start(database, await add_test(database)) for _ in range(MOST_LANES + 2)]
        async with working(database):
            for run in runs:
                assert (await until(database, run, *ENDED)).state is RunState.COMPLETED


@asynccontextmanager
async def narrow(database, **config):
    """Another way into the same database, with few connections."""
    opened = Database(PostgresConfig(dsn=database.config.dsn, **config))
    try:
        yield opened
    finally:
        await opened.close()


async def test_a_run_that_cannot_be_read_at_once_is_taken_up_later(database):
    async with vendor() as server, narrow(database, pool_size=1, max_overflow=0, pool_timeout=0.2) as tight:
        run = await set_stage(database, server.url)
        async with working(tight):
            async with tight.transaction():
                await asyncio.sleep(1.0)
                assert server.received == []
            assert (await until(database, run, *ENDED)).state is RunState.COMPLETED


async def test_a_run_that_was_paused_before_it_was_read_is_left_alone(database):
    async with vendor() as server, narrow(database, pool_size=1, max_overflow=0, pool_timeout=20) as tight:
        run = await set_stage(database, server.url)
        async with working(tight):
            async with tight.transaction():
                await asyncio.sleep(1.0)
                async with database.transaction() as tx:
                    await service.pause(tx, run.id, at=CLOCK.now())
                await asyncio.sleep(1.0)
            await asyncio.sleep(0.2)
    assert server.received == []
    assert {row["claims"] for row in await rows(database, run)} == {0}


async def test_what_cannot_be_given_back_runs_out(database):
    async with vendor(60) as server, AsyncExitStack() as held, working(database, grace_seconds=0.2):
        run = await set_stage(database, server.url, concurrency=2)
        async with asyncio.timeout(10):
            while len(server.received) < 2:
                await asyncio.sleep(0.01)
        connection = await held.enter_async_context((await database.pool()).acquire())
        await held.enter_async_context(connection.transaction())
        await connection.execute("select 1 from run_tasks for update")
    states = [row["state"] for row in await rows(database, run)]
    assert states.count("leased") >= 2


async def test_an_own_lease_that_ran_out_is_not_called_twice(database):
    async with vendor(1.0) as server:
        run = await set_stage(database, server.url, items=1, concurrency=8)
        async with working(database, lease_seconds=60):
            async with asyncio.timeout(10):
                while len(server.received) < 2:
                    await asyncio.sleep(0.01)
            await (await database.pool()).execute(
                "update run_tasks set lease_until = now() - interval '1 minute'"
            )
            ended = await until(database, run, *ENDED)
    assert (ended.done, ended.calls, len(server.received)) == (2, 2, 2)
    assert min(row["claims"] for row in await rows(database, run)) > 1


async def test_an_error_that_does_not_pass_ends_the_worker(database):
    worker = Worker(database=database, pipeline=None, keyring=KEYRING, clock=CLOCK)
    pool = await database.pool()
    await pool.execute("alter table runs rename to hidden")
    with pytest.raises(asyncpg.UndefinedTableError):
        async with asyncio.timeout(10):
            await worker.run()


async def test_a_database_that_cannot_be_configured_ends_the_worker():
    worker = Worker(
        database=Database(PostgresConfig(dsn="nonsense://here")), pipeline=None, keyring=KEYRING, clock=CLOCK
    )
    with pytest.raises(asyncpg.ClientConfigurationError):
        async with asyncio.timeout(10):
            await worker.run()
