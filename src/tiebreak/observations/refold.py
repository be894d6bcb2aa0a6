"""The nightly recount of a test: from its events and feedback, from nothing, against the sums that were kept.

What differs is recorded in `refolds` and put right. Where a part of the events is dropped already, only the sums of the
arms are recounted, from those of the units. Nothing lands meanwhile; the spools wait.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from tiebreak.ids import new_id
from tiebreak.observations.landing import COUNT_SCORES, LOCK_KEY, prepare
from tiebreak.observations.model import id_time
from tiebreak.observations.partitions import EXISTING, partition_name
from tiebreak.observations.sums import FEEDBACK_PREFIX, METRICS, OF_UNITS

MOST_NAMED: Final = 100  # differences that a row of `refolds` names

RECOUNT_UNITS: Final = "create temp table recounted_units on commit drop as @of_units".replace(
    "@of_units", OF_UNITS.replace("@events", "events where test_id = '@test'::uuid and reason = 'hash'")
)
UNIT_DIFFERENCES: Final = """
select 'unit' as what, unit, phase, variant, to_jsonb(k) - '{test_id,unit,phase,variant}'::text[] as kept,
    to_jsonb(r) - '{test_id,unit,phase,variant}'::text[] as recounted
from (select * from unit_sums where test_id = $1) k
full join recounted_units r using (test_id, unit, phase, variant)
where k is distinct from r
order by unit, phase, variant
"""
REPLACE_UNITS: Final = (
    "delete from unit_sums where test_id = $1",
    "insert into unit_sums select * from recounted_units where test_id = $1",
)

# Feedback is placed again from nothing. Nothing moves where it stood right.
TOUCH_ALL: Final = """
insert into touched
select target, metric, source from feedback
where counted_test = $1 or test_id = $1
    or target in (select id from events where test_id = $1)
    or target in (select session_key from events where test_id = $1)
"""
RECOUNT_SCORES: Final = """
create temp table recounted_scores on commit drop as
select counted_test as test_id, counted_unit as unit, counted_phase as phase, counted_variant as variant, metric,
    count(*) as count, sum(counted_micro)::bigint as total
from feedback
where counted_test = '@test'::uuid
group by counted_test, counted_unit, counted_phase, counted_variant, metric
"""
SCORE_DIFFERENCES: Final = """
select 'score' as what, unit, phase, variant, jsonb_build_object(metric, array[k.count, k.total]) as kept,
    jsonb_build_object(metric, array[r.count, r.total]) as recounted
from (select * from unit_scores where test_id = $1 and (count <> 0 or total <> 0)) k
full join recounted_scores r using (test_id, unit, phase, variant, metric)
where (k.count, k.total) is distinct from (r.count, r.total)
order by unit, phase, variant, metric
"""
REPLACE_SCORES: Final = (
    "delete from unit_scores where test_id = $1",
    "insert into unit_scores select * from recounted_scores where test_id = $1",
)

REFOLD_ARMS: Final = """
create temp table refolded_arms on commit drop as
select test_id, phase, variant, metric, count(*) filter (where c > 0) as units, sum(c)::numeric(60) as count,
    sum(x)::numeric(60) as total, sum(c::numeric * c)::numeric(60) as count_squares,
    sum(x::numeric * x)::numeric(60) as total_squares, sum(c::numeric * x)::numeric(60) as products
from (
    select u.test_id, u.phase, u.variant, m.metric, m.c, m.x
    from unit_sums u cross join lateral (values @metrics) m (metric, c, x)
    where u.test_id = '@test'::uuid
    union all
    select test_id, phase, variant, '@prefix' || metric, count, total from unit_scores
    where test_id = '@test'::uuid
) units
group by test_id, phase, variant, metric
""".replace("@metrics", ", ".join(f"('{m}', u.{c}, u.{x})" for m, (c, x) in METRICS.items())).replace(
    "@prefix", FEEDBACK_PREFIX
)
ARM_DIFFERENCES: Final = """
select 'arm' as what, null::uuid as unit, phase, variant,
    jsonb_build_object(metric, to_jsonb(k) - '{test_id,phase,variant,metric}'::text[]) as kept,
    jsonb_build_object(metric, to_jsonb(r) - '{test_id,phase,variant,metric}'::text[]) as recounted
from (
    select * from arm_moments where test_id = $1 and (units, count, total, total_squares) <> (0, 0, 0, 0)
) k
full join (
    select * from refolded_arms where (units, count, total, total_squares) <> (0, 0, 0, 0)
) r using (test_id, phase, variant, metric)
where (k.units, k.count, k.total, k.count_squares, k.total_squares, k.products)
    is distinct from (r.units, r.count, r.total, r.count_squares, r.total_squares, r.products)
order by phase, variant, metric
"""
REPLACE_ARMS: Final = (
    "delete from arm_moments where test_id = $1",
    "insert into arm_moments select * from refolded_arms where test_id = $1",
)


class Outcome(StrEnum):
    """What a recount found."""

    EQUAL = "equal"
    REPAIRED = "repaired"  # the differences are named
    PARTIAL = "partial"  # events were dropped in time: only the sums of the arms could be recounted


@dataclass(frozen=True, slots=True)
class Refold:
    """One recount; `differences` names at most `MOST_NAMED` of them."""

    outcome: Outcome
    units: int
    differences: tuple[Mapping[str, Any], ...]


async def refold(connection: asyncpg.Connection, test_id: UUID) -> Refold:
    """Recount one test, record what differs, and put it right, in one transaction."""
    await prepare(connection)
    async with connection.transaction():
        await connection.execute(f"select pg_advisory_xact_lock({LOCK_KEY})")
        # A recount reads whole partitions; the hot path's way would look up each event.
        await connection.execute("set local enable_seqscan = on")
        whole = await _whole(connection, test_id)
        found = await _recount_units(connection, test_id) if whole else []
        await connection.execute(_of(REFOLD_ARMS, test_id))
        found += await _replace(connection, test_id, ARM_DIFFERENCES, REPLACE_ARMS)
        units = await connection.fetchval("select count(*) from unit_sums where test_id = $1", test_id)
        outcome = Outcome.PARTIAL if not whole else Outcome.REPAIRED if found else Outcome.EQUAL
        made = Refold(outcome, units, tuple(found[:MOST_NAMED]))
        await _record(connection, test_id, made)
    return made


async def _whole(connection: asyncpg.Connection, test_id: UUID) -> bool:
    """Whether all events of the test are still there."""
    first = await connection.fetchval("select first_event from observed_tests where test_id = $1", test_id)
    there = {row["relname"] for row in await connection.fetch(EXISTING, "events")}
    return first is None or partition_name("events", id_time(first.bytes).date()) in there


async def _recount_units(connection: asyncpg.Connection, test_id: UUID) -> list[dict[str, Any]]:
    await connection.execute(_of(RECOUNT_UNITS, test_id))
    found = await _replace(connection, test_id, UNIT_DIFFERENCES, REPLACE_UNITS)
    await connection.execute(TOUCH_ALL, test_id)
    await connection.execute(COUNT_SCORES)
    await connection.execute(_of(RECOUNT_SCORES, test_id))
    return found + await _replace(connection, test_id, SCORE_DIFFERENCES, REPLACE_SCORES)


async def _replace(
    connection: asyncpg.Connection, test_id: UUID, differences: str, replacing: tuple[str, ...]
) -> list[dict[str, Any]]:
    found = [_named(row) for row in await connection.fetch(differences, test_id)]
    if found:
        for statement in replacing:
            await connection.execute(statement, test_id)
    return found


def _of(statement: str, test_id: UUID) -> str:
    """Statements that make tables take no parameters; a UUID holds nothing to escape."""
    return statement.replace("@test", str(test_id))


def _named(row: asyncpg.Record) -> dict[str, Any]:
    """One difference, reduced to what differs."""
    kept, recounted = (_flat(row[side]) for side in ("kept", "recounted"))
    names = sorted(name for name in kept | recounted if kept.get(name) != recounted.get(name))
    return {
        "what": row["what"],
        "unit": None if row["unit"] is None else str(row["unit"]),
        "phase": row["phase"],
        "variant": row["variant"],
        "kept": {name: kept.get(name) for name in names},
        "recounted": {name: recounted.get(name) for name in names},
    }


def _flat(value: str | None) -> dict[str, Any]:
    return {} if value is None else dict(msgspec.json.decode(value) or {})


async def _record(connection: asyncpg.Connection, test_id: UUID, made: Refold) -> None:
    await connection.execute(
        "insert into refolds (id, test_id, outcome, units, differences) values ($1, $2, $3, $4, $5)",
        new_id(),
        test_id,
        made.outcome.value,
        made.units,
        msgspec.json.encode(made.differences).decode(),
    )
    if made.differences:
        await connection.execute(
            "update observed_tests set version = version + 1 where test_id = $1", test_id
        )
