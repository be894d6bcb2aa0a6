"""What went through providers and how processes stand to them, written in raw SQL over asyncpg.

Rows of one table are written in the order of their keys, so that processes wait for each other in a line and not in a
circle. A provider that was deleted meanwhile takes nothing: its rows went with it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.tally import Tally

KEPT_MINUTES: Final = timedelta(hours=2)
FORGOTTEN_SECONDS: Final = 60.0  # after which a process that was not seen has ended, whatever it says

# The providers that are still there, and stay until we have committed.
_LIVING = "select id from providers where id = any($1::uuid[]) order by id for key share"

# Counters in JSON add up key by key, in the statement, because other processes add to the same row.
_SUM = """(
    select coalesce(jsonb_object_agg(key, total), '{{}}')
    from (
        select key, sum(value::bigint) as total
        from (select * from jsonb_each_text(kept.{0}) union all select * from jsonb_each_text(excluded.{0})) pairs
        group by key
    ) sums
)"""

ADD_HOURS = f"""
with living as ({_LIVING})
insert into provider_hours as kept (
    provider_id, hour, model, calls, answers, retries, cached, joined, refused,
    input_tokens, cached_tokens, output_tokens, reasoning_tokens, failures, latency
)
select g.*
from unnest(
    $1::uuid[], $2::timestamptz[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[],
    $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[]::jsonb[], $15::text[]::jsonb[]
) g (
    provider_id, hour, model, calls, answers, retries, cached, joined, refused,
    input_tokens, cached_tokens, output_tokens, reasoning_tokens, failures, latency
)
join living on living.id = g.provider_id
order by g.provider_id, g.hour, g.model
on conflict (provider_id, hour, model) do update
set calls = kept.calls + excluded.calls, answers = kept.answers + excluded.answers,
    retries = kept.retries + excluded.retries, cached = kept.cached + excluded.cached,
    joined = kept.joined + excluded.joined, refused = kept.refused + excluded.refused,
    input_tokens = kept.input_tokens + excluded.input_tokens,
    cached_tokens = kept.cached_tokens + excluded.cached_tokens,
    output_tokens = kept.output_tokens + excluded.output_tokens,
    reasoning_tokens = kept.reasoning_tokens + excluded.reasoning_tokens,
    failures = {_SUM.format("failures")}, latency = {_SUM.format("latency")}
"""  # noqa: S608 - put together from constants

ADD_MINUTES = f"""
with living as ({_LIVING})
insert into provider_minutes as kept (provider_id, minute, calls, answers, refused, failures, latency)
select g.*
from unnest(
    $1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[]::jsonb[], $7::text[]::jsonb[]
) g (provider_id, minute, calls, answers, refused, failures, latency)
join living on living.id = g.provider_id
order by g.provider_id, g.minute
on conflict (provider_id, minute) do update
set calls = kept.calls + excluded.calls, answers = kept.answers + excluded.answers,
    refused = kept.refused + excluded.refused,
    failures = {_SUM.format("failures")}, latency = {_SUM.format("latency")}
"""  # noqa: S608 - put together from constants

# All circuits of a process at once: those it no longer has go.
REPLACE_CIRCUITS = f"""
with living as ({_LIVING}), given as materialized (
    select g.*
    from unnest(
        $1::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::int[], $9::int[],
        $10::int[], $11::int[], $12::int[]
    ) g (provider_id, endpoint, credential, state, since, next_probe, calls, failures, slots, held, waiting)
    join living on living.id = g.provider_id
), gone as (
    delete from provider_circuits c
    where c.process = $2 and not exists (
        select from given g
        where g.provider_id = c.provider_id and g.endpoint = c.endpoint and g.credential = c.credential
    )
)
insert into provider_circuits (
    process, provider_id, endpoint, credential, state, since, next_probe, calls, failures, slots, held, waiting, seen_at
)
select $2, g.*, now() from given g
on conflict (process, provider_id, endpoint, credential) do update
set state = excluded.state, since = excluded.since, next_probe = excluded.next_probe, calls = excluded.calls,
    failures = excluded.failures, slots = excluded.slots, held = excluded.held, waiting = excluded.waiting,
    seen_at = excluded.seen_at
"""  # noqa: S608 - put together from constants

FORGET_PROCESSES = "delete from provider_circuits where seen_at < now() - $1 * interval '1 second'"

# By the time of whoever calls, as the minutes themselves are.
FORGET_MINUTES = "delete from provider_minutes where minute < $1"


def _counters(counters: Mapping[str, int]) -> str:
    return msgspec.json.encode(counters).decode()


async def add_hours(
    connection: asyncpg.Connection, hours: Mapping[tuple[UUID, datetime, str], Tally]
) -> None:
    """Add these counts to what is stored."""
    tallies = list(hours.values())
    await connection.execute(
        ADD_HOURS,
        *(list(column) for column in zip(*hours, strict=True)),
        [t.calls for t in tallies],
        [t.answers for t in tallies],
        [t.retries for t in tallies],
        [t.cached for t in tallies],
        [t.joined for t in tallies],
        [t.refused for t in tallies],
        [t.input_tokens for t in tallies],
        [t.cached_tokens for t in tallies],
        [t.output_tokens for t in tallies],
        [t.reasoning_tokens for t in tallies],
        [_counters(t.failures) for t in tallies],
        [_counters(t.latency.document()) for t in tallies],
    )


async def add_minutes(connection: asyncpg.Connection, minutes: Mapping[tuple[UUID, datetime], Tally]) -> None:
    """Add these counts to what is stored."""
    tallies = list(minutes.values())
    await connection.execute(
        ADD_MINUTES,
        *(list(column) for column in zip(*minutes, strict=True)),
        [t.calls for t in tallies],
        [t.answers for t in tallies],
        [t.refused for t in tallies],
        [_counters(t.failures) for t in tallies],
        [_counters(t.latency.document()) for t in tallies],
    )


async def replace_circuits(
    connection: asyncpg.Connection, process: UUID, circuits: Sequence[CircuitState]
) -> None:
    """Make these the circuits of a process, seen now."""
    breakers = [c.breaker for c in circuits]
    await connection.execute(
        REPLACE_CIRCUITS,
        [c.provider_id for c in circuits],
        process,
        [c.endpoint for c in circuits],
        [c.credential for c in circuits],
        [b.state for b in breakers],
        [b.since for b in breakers],
        [b.next_probe for b in breakers],
        [b.calls for b in breakers],
        [b.failures for b in breakers],
        [c.slots for c in circuits],
        [c.held for c in circuits],
        [c.waiting for c in circuits],
    )


async def forget(connection: asyncpg.Connection, now: datetime) -> None:
    """Remove the circuits of processes that have ended, and minutes that nobody asks for any more."""
    await connection.execute(FORGET_PROCESSES, FORGOTTEN_SECONDS)
    await connection.execute(FORGET_MINUTES, now - KEPT_MINUTES)
