import re
from dataclasses import replace

import pytest
from tests.runs.stage import add_dataset, add_provider, add_test, read, rows, set_stage, start

from tiebreak.experiments import service as experiments
from tiebreak.ids import new_id
from tiebreak.runs import leases
from tiebreak.runs.budget import REASONS, Limit
from tiebreak.runs.leases import Lease
from tiebreak.runs.model import Result, RunState, TaskKey


def lease_on(run, seconds: float = 60.0) -> Lease:
    return Lease(run.id, run.dataset_version_id, new_id(), seconds)


def result(key: TaskKey, **changes) -> Result:
    values = {
        "model": "small-1",
        "text": "It is 4",
        "finish_reason": "stop",
        "error": None,
        "error_detail": None,
        "calls": 1,
        "latency_us": 50_000,
        "first_token_us": None,
        "input_tokens": 7,
        "output_tokens": 3,
        "cost_nano": 1000,
        "scores": '{"correct": [1.0, null]}',
    }
    return Result(key=key, **values | changes)


@pytest.fixture
async def connection(database):
    pool = await database.pool()
    async with pool.acquire() as connection:
        yield connection


async def the_test_of(database, run):
    async with database.transaction() as tx:
        return await experiments.get(tx, str(run.test_id))


async def expire(connection):
    await connection.execute(
        "update run_tasks set lease_until = now() - interval '1 second' where state = 'leased'"
    )


async def test_tasks_are_claimed_item_by_item_with_what_they_are_about(database, connection):
    run = await set_stage(database, items=2, repeats=2)
    tasks = await leases.claim(connection, lease_on(run), 5)
    assert [tuple(task.key) for task in tasks] == [(0, 0, 0), (0, 1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 0)]
    assert tasks[0].inputs == {"question": "What is 1 + 0?"}
    assert tasks[0].expected == "1"


async def test_nobody_gets_what_another_holds(database, connection):
    run = await set_stage(database, items=2)
    first, second = lease_on(run), lease_on(run)
    mine = {task.key for task in await leases.claim(connection, first, 3)}
    theirs = {task.key for task in await leases.claim(connection, second, 3)}
    assert len(mine) == 3
    assert len(theirs) == 1
    assert not mine & theirs


async def test_an_expired_lease_is_as_good_as_none(database, connection):
    run = await set_stage(database, items=1)
    await leases.claim(connection, lease_on(run), 2)
    await expire(connection)
    again = await leases.claim(connection, lease_on(run), 2)
    assert len(again) == 2
    assert [row["claims"] for row in await rows(database, run)] == [2, 2]


async def test_a_renewed_lease_is_kept(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    keys = [task.key for task in await leases.claim(connection, lease, 2)]
    await expire(connection)
    assert await leases.renew(connection, lease, keys) == set(keys)
    assert await leases.claim(connection, lease_on(run), 2) == []


async def test_renewing_tells_what_was_lost(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    keys = [task.key for task in await leases.claim(connection, lease, 2)]
    await expire(connection)
    [taken] = await leases.claim(connection, lease_on(run), 1)
    assert await leases.renew(connection, lease, keys) == set(keys) - {taken.key}


async def test_released_tasks_are_open_at_once(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    keys = [task.key for task in await leases.claim(connection, lease, 2)]
    await leases.release(connection, lease, keys)
    assert [task.key for task in await leases.claim(connection, lease_on(run), 2)] == keys


async def test_a_paused_run_hands_out_nothing(database, connection):
    run = await set_stage(database)
    await leases.halt(connection, run.id, state=RunState.PAUSED, reason="so")
    assert await leases.claim(connection, lease_on(run), 2) == []


async def test_results_and_totals_are_written_together(database, connection):
    run = await set_stage(database, items=2)
    lease = lease_on(run)
    keys = [task.key for task in await leases.claim(connection, lease, 2)]
    standing = await leases.finish(
        connection,
        lease,
        [result(keys[0]), result(keys[1], error="timeout", text=None, calls=3, cost_nano=None)],
    )
    assert standing == leases.Standing(accepted=2, state=RunState.RUNNING, cost_nano=1000, calls=4, done=2)
    now = await read(database, run)
    assert (now.done, now.failed, now.calls, now.cost_nano, now.tokens) == (2, 1, 4, 1000, 20)
    first = (await rows(database, run))[0]
    assert (first["state"], first["text"], first["scores"]) == ("done", "It is 4", '{"correct": [1.0, null]}')
    assert first["ended_at"] is not None


async def test_a_late_result_is_fenced_but_its_calls_are_paid(database, connection):
    run = await set_stage(database, items=1)
    late, punctual = lease_on(run), lease_on(run)
    keys = [task.key for task in await leases.claim(connection, late, 1)]
    await expire(connection)
    await leases.claim(connection, punctual, 1)
    stale = await leases.finish(connection, late, [result(keys[0], text="stale")])
    assert (stale.accepted, stale.done, stale.calls) == (0, 0, 1)
    fresh = await leases.finish(connection, punctual, [result(keys[0], text="fresh")])
    assert (fresh.accepted, fresh.done, fresh.calls) == (1, 1, 2)
    again = await leases.finish(connection, late, [result(keys[0], text="stale")])
    assert (again.accepted, again.done, again.calls) == (0, 1, 3)
    assert (await rows(database, run))[0]["text"] == "fresh"


async def test_a_batch_sent_twice_counts_once(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    batch = [result(task.key) for task in await leases.claim(connection, lease, 1)]
    assert (await leases.finish(connection, lease, batch)).calls == 1
    again = await leases.finish(connection, lease, batch)
    assert (again.accepted, again.done, again.calls, again.cost_nano) == (0, 1, 1, 1000)


async def test_the_last_result_completes_run_and_test(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    before = await the_test_of(database, run)
    standing = await leases.finish(
        connection, lease, [result(task.key) for task in await leases.claim(connection, lease, 2)]
    )
    assert standing.state is RunState.COMPLETED
    now, test = await read(database, run), await the_test_of(database, run)
    assert (now.state, now.ended_at is not None) == (RunState.COMPLETED, True)
    assert (test.state, test.reason, test.revision) == ("completed", None, before.revision + 1)
    assert test.ended_at == now.ended_at


async def test_what_was_in_flight_may_complete_a_paused_run(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    await leases.halt(connection, run.id, state=RunState.PAUSED, reason="so")
    standing = await leases.finish(connection, lease, [result(task.key) for task in tasks])
    assert standing.state is RunState.COMPLETED
    assert (await the_test_of(database, run)).state == "completed"


@pytest.mark.parametrize(
    ("budget", "limit"),
    [
        ({"max_cost": 2e-6}, Limit.MONEY),
        ({"max_requests": 2}, Limit.REQUESTS),
        ({"max_seconds": 0}, Limit.TIME),
    ],
)
async def test_a_reached_limit_pauses_run_and_test_and_says_which(database, connection, budget, limit):
    run = await set_stage(database, items=3, priced=True, budget=budget)
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    standing = await leases.finish(connection, lease, [result(task.key) for task in tasks])
    assert standing.state is RunState.PAUSED
    now, test = await read(database, run), await the_test_of(database, run)
    assert now.reason == test.reason == REASONS[limit]
    assert test.state == "paused"


async def test_completion_goes_before_the_budget(database, connection):
    run = await set_stage(database, items=1, budget={"max_requests": 2})
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    standing = await leases.finish(connection, lease, [result(task.key) for task in tasks])
    assert standing.state is RunState.COMPLETED


async def test_no_more_is_handed_out_than_the_requests_allow(database, connection):
    run = await set_stage(database, items=5, budget={"max_requests": 5})
    mine, theirs = lease_on(run), lease_on(run)
    assert len(await leases.claim_within_requests(connection, mine, 3)) == 3
    assert len(await leases.claim_within_requests(connection, theirs, 3)) == 2
    assert await leases.claim_within_requests(connection, theirs, 3) == []
    await expire(connection)
    assert len(await leases.claim_within_requests(connection, theirs, 9)) == 5


async def test_without_a_limit_of_requests_the_careful_claim_is_a_claim(database, connection):
    run = await set_stage(database, items=5)
    assert len(await leases.claim_within_requests(connection, lease_on(run), 3)) == 3


async def test_an_empty_batch_only_looks_at_the_limits(database, connection):
    run = await set_stage(database, items=5)
    assert (await leases.finish(connection, lease_on(run), [])).state is RunState.RUNNING
    await connection.execute("update runs set max_requests = 0")
    assert (await leases.finish(connection, lease_on(run), [])).state is RunState.PAUSED


async def test_calls_without_a_result_go_back_to_the_queue_and_count(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    await leases.give_back(connection, lease, [result(task.key, calls=3) for task in tasks])
    assert (await read(database, run)).calls == 6
    assert {row["state"] for row in await rows(database, run)} == {"queued"}


async def test_halting_moves_run_and_test_and_leaves_an_ended_run_alone(database, connection):
    run = await set_stage(database)
    await leases.halt(connection, run.id, state=RunState.FAILED, reason="broken")
    await leases.halt(connection, run.id, state=RunState.PAUSED, reason="later")
    now, test = await read(database, run), await the_test_of(database, run)
    assert (now.state, now.reason, test.state, test.reason) == (RunState.FAILED, "broken", "failed", "broken")
    assert now.ended_at == test.ended_at is not None


async def test_whether_a_variant_ever_answered(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    batch = [result(tasks[0].key), replace(result(tasks[1].key), error="timeout")]
    await leases.finish(connection, lease, batch)
    assert await leases.answered(connection, run.id, 0)
    assert not await leases.answered(connection, run.id, 1)


async def test_a_run_that_was_deleted_meanwhile_takes_nothing(database, connection):
    run = await set_stage(database, items=1)
    lease = lease_on(run)
    tasks = await leases.claim(connection, lease, 2)
    await connection.execute("delete from tests")
    assert await leases.finish(connection, lease, [result(task.key) for task in tasks]) is None


async def test_marks_are_moved_after_five_seconds(database, connection):
    run = await set_stage(database, items=3)
    lease = lease_on(run)
    first, second = [result(task.key) for task in await leases.claim(connection, lease, 2)]
    await leases.finish(connection, lease, [first])
    young = await read(database, run)
    assert (young.earlier_at, young.mark_done) == (None, 0)
    await connection.execute("update runs set mark_at = mark_at - interval '5 seconds'")
    await leases.finish(connection, lease, [second])
    later = await read(database, run)
    assert (later.earlier_done, later.mark_done) == (0, 2)
    assert later.earlier_at < later.mark_at


async def test_two_runs_do_not_mix(database, connection):
    await add_dataset(database, 2)
    await add_provider(database)
    one = await start(database, await add_test(database))
    two = await start(database, await add_test(database))
    lease = lease_on(one)
    await leases.finish(
        connection, lease, [result(task.key) for task in await leases.claim(connection, lease, 9)]
    )
    assert (await read(database, one)).state is RunState.COMPLETED
    assert (await read(database, two)).done == 0


async def plan_of(connection, statement, *arguments) -> str:
    async with connection.transaction():
        rows = await connection.fetch("explain (analyze, costs off) " + statement, *arguments)
        return "\n".join(row[0] for row in rows)


async def test_every_hot_statement_goes_by_index_even_for_a_run_the_planner_has_not_met(database, connection):
    first = await set_stage(database, items=300)
    await connection.execute("update run_tasks set state = 'done'")
    await connection.execute("analyze")
    second = await start(database, await add_test(database))
    assert second.id != first.id
    await connection.execute(leases.BY_INDEX)
    lease = lease_on(second)
    claimed = await plan_of(
        connection, leases.CLAIM, second.id, 64, lease.token, 60.0, second.dataset_version_id
    )
    keys = [task.key for task in await leases.claim(connection, lease, 64)]
    columns = ([k.position for k in keys], [k.variant for k in keys], [k.repeat for k in keys])
    renewed = await plan_of(connection, leases.RENEW, second.id, lease.token, 60.0, *columns)
    released = await plan_of(connection, leases.RELEASE, second.id, lease.token, *columns)
    nothing = [[None] * 64] * 5 + [[1] * 64] + [[None] * 64] * 8
    finished = await plan_of(
        connection, leases.FINISH, second.id, lease.token, *columns, *nothing, "money", "requests", "time"
    )
    by_key = r"Index Cond: \(\(run_id = \w+\.run_id\) AND \(\"?position\"? = \w+\.\"?position\"?\)"
    for plan in (claimed, renewed, released, finished):
        assert "Seq Scan on run_tasks" not in plan
        assert re.search(by_key, plan), plan
        removed = [int(n) for n in re.findall(r"Rows Removed by Join Filter: (\d+)", plan)]
        assert sum(removed) <= 64 * 64, plan
    assert "Index Scan using ix_run_tasks_open" in claimed
