"""The hot path of the lease table: claim, renew, finish, release, in raw SQL over asyncpg.

Leases are measured by the database's `now()`, so a worker's clock does not matter. Rows are locked in the order
run_tasks, runs, tests everywhere, management included, so that nobody waits in a circle.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from tiebreak.runs.budget import REASONS, Limit
from tiebreak.runs.model import Result, RunState, Task, TaskKey

CHANNEL = "tiebreak_runs"  # NOTIFY after a run changed; polling is the guarantee

# Said once on every connection that the hot path uses: each statement below goes by an index, row by row. A planner
# that has not met a run yet takes it for one row, and would read all of its tasks for each one claimed; where rows
# visited are all that costs, it looks each one up.
BY_INDEX = """
set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;
set enable_sort = off; set enable_incremental_sort = off;
set seq_page_cost = 0.1; set random_page_cost = 0.1; set cpu_tuple_cost = 1
"""

# Open tasks in the order of the items, so that a run that stops early has whole items. SKIP LOCKED: workers never
# wait for each other. An expired lease is as good as none. The ids travel through the steps, because a constant would
# let the planner begin at the wrong end (see BY_INDEX).
CLAIM = """
with open as (
    select run_id, position, variant, repeat, $5::uuid as version_id
    from run_tasks
    where run_id = $1 and state <> 'done' and (state = 'queued' or lease_until < now())
      and exists (select from runs where id = $1 and state = 'running')
    order by position, repeat, variant
    limit $2
    for update skip locked
), mine as (
    update run_tasks t
    set state = 'leased', lease_token = $3, lease_until = now() + $4 * interval '1 second',
        claims = least(t.claims + 1, 32767)
    from open o
    where t.run_id = o.run_id and t.position = o.position and t.variant = o.variant and t.repeat = o.repeat
    returning t.position, t.variant, t.repeat, o.version_id
)
select m.position, m.variant, m.repeat, i.inputs::text as inputs, i.expected
from mine m
join dataset_items i on i.version_id = m.version_id and i.position = m.position
order by m.position, m.repeat, m.variant
"""

# A budget of requests is reserved when tasks are handed out, so claims under one wait for each other here.
LOCK_REQUESTS = "select max_requests - calls as open from runs where id = $1 for no key update"

# In a statement of its own: it must see what others claimed before the lock was ours.
HANDED_OUT = "select count(*) from run_tasks where run_id = $1 and state = 'leased' and lease_until >= now()"

# Only while the lease is still ours; the answer says for which tasks it is. A row has a `lease_until` exactly in the
# state leased; asked by that, the planner does not walk the index of all leased rows for each key.
RENEW = """
with k as materialized (
    select $1::uuid as run_id, * from unnest($4::int[], $5::smallint[], $6::smallint[]) u (position, variant, repeat)
)
update run_tasks t
set lease_until = now() + $3 * interval '1 second'
from k
where t.run_id = k.run_id and t.position = k.position and t.variant = k.variant and t.repeat = k.repeat
  and t.lease_token = $2 and t.lease_until is not null
returning t.position, t.variant, t.repeat
"""

# Gives tasks back at once instead of letting their leases run out.
RELEASE = """
with k as materialized (
    select $1::uuid as run_id, * from unnest($3::int[], $4::smallint[], $5::smallint[]) u (position, variant, repeat)
)
update run_tasks t
set state = 'queued', lease_token = null, lease_until = null
from k
where t.run_id = k.run_id and t.position = k.position and t.variant = k.variant and t.repeat = k.repeat
  and t.lease_token = $2 and t.lease_until is not null
"""

# For a lane that was cut short: also what a claim took whose answer never arrived.
RELEASE_ALL = """
update run_tasks
set state = 'queued', lease_token = null, lease_until = null
where run_id = $1 and state = 'leased' and lease_token = $2
"""

# Results, totals, and the move to completed or over budget in one statement, hence in one transaction. A result counts
# only under the present lease; the calls of one that came too late were paid all the same. A batch whose commit was
# acknowledged by a connection that broke is sent again: rows that are done under our token were counted the first time.
FINISH = """
with given as materialized (
    select $1::uuid as run_id, * from unnest(
        $3::int[], $4::smallint[], $5::smallint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
        $11::smallint[], $12::bigint[], $13::bigint[], $14::int[], $15::int[], $16::bigint[], $17::jsonb[],
        $18::jsonb[], $19::uuid[]
    ) u (
        position, variant, repeat, model, text, finish_reason, error, error_detail,
        calls, latency_us, first_token_us, input_tokens, output_tokens, cost_nano, scores, events, draw
    )
), ended as (
    update run_tasks t
    set state = 'done', lease_until = null, ended_at = now(), model = g.model, text = g.text,
        finish_reason = g.finish_reason, error = g.error, error_detail = g.error_detail, calls = g.calls,
        latency_us = g.latency_us, first_token_us = g.first_token_us, input_tokens = g.input_tokens,
        output_tokens = g.output_tokens, cost_nano = g.cost_nano, scores = g.scores,
        events = g.events, draw = g.draw
    from given g
    where t.run_id = g.run_id and t.position = g.position and t.variant = g.variant and t.repeat = g.repeat
      and t.lease_token = $2 and t.lease_until is not null
    returning t.position, t.variant, t.repeat
), missed as materialized (
    select g.run_id, g.position, g.variant, g.repeat
    from given g
    where not exists (
        select from ended e where e.position = g.position and e.variant = g.variant and e.repeat = g.repeat
    )
), counted_before as materialized (
    select m.position, m.variant, m.repeat
    from missed m
    join run_tasks t on t.run_id = m.run_id and t.position = m.position and t.variant = m.variant and t.repeat = m.repeat
    where t.state = 'done' and t.lease_token = $2
), sums as (
    select (select count(*) from ended)::int as done,
        (count(*) filter (where g.error is not null and not exists (
            select from missed m where m.position = g.position and m.variant = g.variant and m.repeat = g.repeat
        )))::int as failed,
        coalesce(sum(g.calls), 0)::bigint as calls,
        coalesce(sum(g.cost_nano), 0)::bigint as cost_nano,
        coalesce(sum(coalesce(g.input_tokens, 0) + coalesce(g.output_tokens, 0)), 0)::bigint as tokens
    from given g
    where not exists (
        select from counted_before c
        where c.position = g.position and c.variant = g.variant and c.repeat = g.repeat
    )
), locked as (
    select * from runs where id = $1 for no key update
), totals as (
    select r.id, r.test_id, r.state, r.total, r.max_cost_nano, r.max_requests, r.max_seconds,
        s.done as accepted, r.done + s.done as done, r.failed + s.failed as failed, r.calls + s.calls as calls,
        r.cost_nano + s.cost_nano as cost_nano, r.tokens + s.tokens as tokens,
        case when r.state = 'running'
             then r.active_ms + (extract(epoch from now() - r.resumed_at) * 1000)::bigint
             else r.active_ms end as active_ms,
        coalesce(now() - r.mark_at >= interval '5 seconds', true) as mark
    from locked r, sums s
), decided as (
    select t.*,
        case when t.state not in ('running', 'paused') then t.state
             when t.done >= t.total then 'completed'
             when t.state = 'running' and b.reason is not null then 'paused'
             else t.state end as next_state,
        b.reason as budget_reason
    from totals t
    cross join lateral (
        select case when t.cost_nano >= t.max_cost_nano then $20
                    when t.calls >= t.max_requests then $21
                    when t.active_ms >= t.max_seconds::bigint * 1000 then $22 end as reason
    ) b
), moved as (
    update runs r
    set done = d.done, failed = d.failed, calls = d.calls, cost_nano = d.cost_nano, tokens = d.tokens,
        state = d.next_state,
        reason = case when d.next_state = d.state then r.reason
                      when d.next_state = 'paused' then d.budget_reason end,
        active_ms = case when d.next_state = d.state then r.active_ms else d.active_ms end,
        ended_at = case when d.next_state = 'completed' and d.state <> 'completed' then now() else r.ended_at end,
        earlier_at = case when d.mark then r.mark_at else r.earlier_at end,
        earlier_done = case when d.mark then r.mark_done else r.earlier_done end,
        mark_at = case when d.mark then now() else r.mark_at end,
        mark_done = case when d.mark then d.done else r.mark_done end
    from decided d
    where r.id = d.id
    returning r.id
), told as (
    update tests t
    set state = d.next_state, revision = t.revision + 1,
        reason = case when d.next_state = 'paused' then d.budget_reason end,
        ended_at = case when d.next_state = 'completed' then now() end
    from decided d
    where t.id = d.test_id and d.next_state <> d.state
    returning pg_notify('tiebreak_runs', d.id::text)
)
select d.accepted, d.next_state as state, d.cost_nano, d.calls, d.done, (select count(*) from told) as moves
from decided d
"""

# Calls of tasks that go back to the queue were made and paid all the same.
COUNT_CALLS = "update runs set calls = calls + $2 where id = $1"

# Stops a run that cannot go on, for a reason outside its results.
HALT = """
update runs
set state = $2, reason = $3, active_ms = active_ms + (extract(epoch from now() - resumed_at) * 1000)::bigint,
    ended_at = case when $2 = 'failed' then now() end
where id = $1 and state = 'running'
"""

# A run and its test move together.
HALT_TEST = """
update tests t
set state = r.state, reason = r.reason, revision = t.revision + 1, ended_at = r.ended_at
from runs r
where r.id = $1 and t.id = r.test_id and t.state = 'running' and r.state <> 'running'
returning pg_notify('tiebreak_runs', r.id::text)
"""

# Whether a variant has ever been answered: then a refusal is about one item, not about the whole variant.
ANSWERED = """
select exists (select from run_tasks where run_id = $1 and variant = $2 and state = 'done' and error is null)
"""


@dataclass(frozen=True, slots=True)
class Lease:
    """Whose tasks, under which token, for how many seconds."""

    run_id: UUID
    dataset_version_id: UUID
    token: UUID
    seconds: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a batch did to its run: how many results counted, and the run's totals after it."""

    accepted: int
    state: RunState
    cost_nano: int
    calls: int
    done: int


def _columns(keys: Collection[TaskKey]) -> tuple[list[int], list[int], list[int]]:
    return [k.position for k in keys], [k.variant for k in keys], [k.repeat for k in keys]


async def claim(connection: asyncpg.Connection, lease: Lease, limit: int) -> list[Task]:
    """Take up to `limit` open tasks, none while the run is not running."""
    rows = await connection.fetch(
        CLAIM, lease.run_id, limit, lease.token, lease.seconds, lease.dataset_version_id
    )
    return [
        Task(TaskKey(position, variant, repeat), msgspec.json.decode(inputs), expected)
        for position, variant, repeat, inputs, expected in rows
    ]


async def claim_within_requests(connection: asyncpg.Connection, lease: Lease, limit: int) -> list[Task]:
    """Take up to `limit` open tasks, never more than the budget of requests still allows with what is handed out."""
    async with connection.transaction():
        requests_left = await connection.fetchval(LOCK_REQUESTS, lease.run_id)
        if requests_left is not None:
            limit = min(limit, requests_left - await connection.fetchval(HANDED_OUT, lease.run_id))
        return await claim(connection, lease, limit) if limit > 0 else []


async def renew(connection: asyncpg.Connection, lease: Lease, keys: Collection[TaskKey]) -> set[TaskKey]:
    """Prolong these leases; the answer is what is still ours."""
    rows = await connection.fetch(RENEW, lease.run_id, lease.token, lease.seconds, *_columns(keys))
    return {TaskKey(position, variant, repeat) for position, variant, repeat in rows}


async def release(connection: asyncpg.Connection, lease: Lease, keys: Collection[TaskKey]) -> None:
    """Give these tasks back."""
    await connection.execute(RELEASE, lease.run_id, lease.token, *_columns(keys))


async def release_all(connection: asyncpg.Connection, lease: Lease) -> None:
    """Give back everything of this run that is under this token."""
    await connection.execute(RELEASE_ALL, lease.run_id, lease.token)


async def finish(connection: asyncpg.Connection, lease: Lease, results: Sequence[Result]) -> Standing | None:
    """End these tasks; with no results, only see whether the run is complete or over budget.

    None when the run is gone: somebody deleted its test.
    """
    keys = _columns([result.key for result in results])
    reasons = (REASONS[Limit.MONEY], REASONS[Limit.REQUESTS], REASONS[Limit.TIME])
    row = await connection.fetchrow(
        FINISH,
        lease.run_id,
        lease.token,
        *keys,
        [r.model for r in results],
        [r.text for r in results],
        [r.finish_reason for r in results],
        [r.error for r in results],
        [r.error_detail for r in results],
        [r.calls for r in results],
        [r.latency_us for r in results],
        [r.first_token_us for r in results],
        [r.input_tokens for r in results],
        [r.output_tokens for r in results],
        [r.cost_nano for r in results],
        [r.scores for r in results],
        [r.events for r in results],
        [r.draw for r in results],
        *reasons,
    )
    if row is None:
        return None
    return Standing(row["accepted"], RunState(row["state"]), row["cost_nano"], row["calls"], row["done"])


async def give_back(connection: asyncpg.Connection, lease: Lease, results: Sequence[Result]) -> None:
    """Return called tasks to the queue without a result; their calls count."""
    async with connection.transaction():
        await release(connection, lease, [result.key for result in results])
        await connection.execute(COUNT_CALLS, lease.run_id, sum(result.calls for result in results))


async def halt(connection: asyncpg.Connection, run_id: UUID, *, state: RunState, reason: str) -> None:
    """Stop a running run and its test with a reason; one that has stopped already stays as it is."""
    async with connection.transaction():
        await connection.execute(HALT, run_id, state.value, reason)
        await connection.fetch(HALT_TEST, run_id)


async def answered(connection: asyncpg.Connection, run_id: UUID, variant: int) -> bool:
    """Whether this variant has at least one answer in this run."""
    found: bool = await connection.fetchval(ANSWERED, run_id, variant)
    return found
