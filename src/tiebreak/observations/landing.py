"""The hot path from the spool into PostgreSQL: one batch is one transaction, whoever sends it and how often.

Only events that were not there yet are counted; feedback is counted where its target stands now, and moved when that
changes, so that the sums are the same in whatever order things arrive. All sums are whole numbers.

Rows are locked in the order spool_offsets, events, unit_sums, feedback, unit_scores, arm_moments, observed_tests, and within
a table by key, so that nobody waits in a circle. A batch with feedback runs alone: of two that do not see each other's
rows, neither could join an event with its feedback.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from tiebreak.observations.rows import EVENT_COLUMNS, Rows
from tiebreak.observations.sums import COLUMNS, METRICS, OF_UNITS

LOCK_KEY: Final = 7595436202  # shared by batches of events; alone for feedback and for recounts

# Said once on every connection that drains; see BY_INDEX in runs.leases. Joins of two staged tables stay free to hash.
PREPARE: Final = """
set enable_seqscan = off; set random_page_cost = 0.1; set seq_page_cost = 0.1; set jit = off;
create temp table if not exists arriving (like events including defaults) on commit delete rows;
create temp table if not exists arriving_bodies (like event_bodies) on commit delete rows;
create temp table if not exists fresh (like events) on commit delete rows;
create temp table if not exists touched (target uuid, metric text, source text) on commit delete rows;
create temp table if not exists moves (
    test_id uuid, phase int, variant smallint, metric text, units bigint, count numeric, total numeric,
    count_squares numeric, total_squares numeric, products numeric
) on commit delete rows;
"""

BEGIN_OFFSET: Final = """
insert into spool_offsets (worker, segment, position) values ($1, 0, 0) on conflict (worker) do nothing
"""
LOCK_OFFSET: Final = "select segment, position from spool_offsets where worker = $1 for update"
MOVE_OFFSET: Final = """
update spool_offsets set segment = $2, position = $3, moved_at = now() where worker = $1
"""

KEEP_EVENTS: Final = """
with landed as (
    insert into events select * from arriving order by id
    on conflict do nothing
    returning *
)
insert into fresh select * from landed
"""
KEEP_BODIES: Final = (
    "insert into event_bodies select * from arriving_bodies order by id on conflict do nothing"
)

# What new events add to their units, and what that moves in the sums over the units of their arms.
COUNT_UNITS: Final = (
    """
with added as (
    @of_units
), landed as (
    insert into unit_sums as u
    select * from (select * from added order by test_id, unit, phase, variant) ordered
    on conflict (test_id, unit, phase, variant) do update set
        first_event = least(u.first_event, excluded.first_event), @columns
    returning *
), changed as (
    select l.test_id, l.phase, l.variant, m.metric, m.c, m.x, m.dc, m.dx
    from landed l
    join added a using (test_id, unit, phase, variant)
    cross join lateral (values @metrics) m (metric, c, x, dc, dx)
)
insert into moves
select test_id, phase, variant, metric, sum((c > 0)::int - (c > dc)::int), sum(dc), sum(dx),
    sum(dc * (2::numeric * c - dc)), sum(dx * (2::numeric * x - dx)),
    sum(c::numeric * x - (c - dc)::numeric * (x - dx))
from changed
group by test_id, phase, variant, metric
""".replace("@of_units", OF_UNITS.replace("@events", "fresh where reason = 'hash'"))
    .replace("@columns", ", ".join(f"{name} = u.{name} + excluded.{name}" for name in COLUMNS))
    .replace("@metrics", ", ".join(f"('{m}', l.{c}, l.{x}, a.{c}, a.{x})" for m, (c, x) in METRICS.items()))
)

ANY_FEEDBACK: Final = "select exists (select from feedback)"
KEEP_FEEDBACK: Final = """
with given as (
    select * from unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::timestamptz[], $8::uuid[],
        $9::bigint[], $10::text[], $11::text[]
    ) u (target, metric, source, kind, test_id, id, at, upto, micro, text, comment)
), last as (
    select distinct on (target, metric, source) * from given order by target, metric, source, at desc, id desc
), landed as (
    insert into feedback as f (target, metric, source, kind, test_id, id, at, upto, micro, text, comment)
    select * from last
    on conflict (target, metric, source) do update set
        kind = excluded.kind, test_id = excluded.test_id, id = excluded.id, at = excluded.at, upto = excluded.upto,
        micro = excluded.micro, text = excluded.text, comment = excluded.comment
        where (f.at, f.id) < (excluded.at, excluded.id)
    returning target, metric, source
)
insert into touched select * from landed
"""

# New events may be what earlier feedback was waiting for, or a later request of its session. `offset 0` keeps the
# planner at one look into the index for each target.
TOUCH_FEEDBACK: Final = """
insert into touched
select f.target, f.metric, f.source
from (
    select id as target from fresh where reason = 'hash'
    union select unit_key from fresh where reason = 'hash'
    union select session_key from fresh where reason = 'hash' and session_key is not null
) t
cross join lateral (select target, metric, source from feedback where target = t.target offset 0) f
"""
# An array, and no join that could be turned around: one walk along the key.
LOCK_FEEDBACK: Final = """
select from feedback
where target = any (array(select distinct target from touched))
order by target, metric, source
for update
"""

# Where feedback counts: the request itself; the last request of the session before it; the arm that the unit had last
# entered by then. Where nothing is found any more (events are dropped in time), it stays where it was.
COUNT_SCORES: Final = """
with placed as (
    select f.target, f.metric, f.source, f.micro, f.counted_test, f.counted_phase, f.counted_variant, f.counted_unit,
        f.counted_micro,
        case when f.micro is not null then coalesce(a.test_id, f.counted_test) end as test_id,
        case when f.micro is not null then coalesce(a.phase, f.counted_phase) end as phase,
        case when f.micro is not null then coalesce(a.variant, f.counted_variant) end as variant,
        case when f.micro is not null then coalesce(a.unit, f.counted_unit) end as unit
    from (select distinct * from touched) t
    cross join lateral (
        select * from feedback where target = t.target and metric = t.metric and source = t.source offset 0
    ) f
    left join lateral (
        (
            select e.test_id, e.phase, e.variant, e.unit_key as unit from events e
            where f.kind = 'request' and e.id = f.target and e.reason = 'hash'
        ) union all (
            select e.test_id, e.phase, e.variant, e.unit_key from events e
            where f.kind = 'session' and e.session_key = f.target and e.reason = 'hash' and e.id <= f.upto
            order by e.id desc limit 1
        ) union all (
            select s.test_id, s.phase, s.variant, s.unit from unit_sums s
            where f.kind = 'unit' and s.test_id = f.test_id and s.unit = f.target
            order by s.first_event > f.upto, case when s.first_event <= f.upto then s.first_event end desc,
                s.first_event, s.phase, s.variant
            limit 1
        )
    ) a on true
), moved as (
    select *, case when test_id is not null then micro end as value
    from placed
    where (test_id, phase, variant, unit, case when test_id is not null then micro end)
        is distinct from (counted_test, counted_phase, counted_variant, counted_unit, counted_micro)
), written as (
    update feedback f
    set counted_test = m.test_id, counted_phase = m.phase, counted_variant = m.variant, counted_unit = m.unit,
        counted_micro = m.value
    from moved m
    where f.target = m.target and f.metric = m.metric and f.source = m.source
), added as (
    select test_id, unit, phase, variant, metric, sum(n)::bigint as count, sum(x)::bigint as total
    from (
        select test_id, unit, phase, variant, metric, 1 as n, value as x from moved where test_id is not null
        union all
        select counted_test, counted_unit, counted_phase, counted_variant, metric, -1, -counted_micro
        from moved where counted_test is not null
    ) changes
    group by test_id, unit, phase, variant, metric
), landed as (
    insert into unit_scores as u (test_id, unit, phase, variant, metric, count, total)
    select * from (select * from added order by test_id, unit, phase, variant, metric) ordered
    on conflict (test_id, unit, phase, variant, metric) do update set
        count = u.count + excluded.count, total = u.total + excluded.total
    returning *
)
insert into moves
select test_id, phase, variant, 'feedback:' || metric, sum((l.count > 0)::int - (l.count > a.count)::int),
    sum(a.count), sum(a.total),
    sum(a.count * (2::numeric * l.count - a.count)), sum(a.total * (2::numeric * l.total - a.total)),
    sum(l.count::numeric * l.total - (l.count - a.count)::numeric * (l.total - a.total))
from landed l
join added a using (test_id, unit, phase, variant, metric)
group by test_id, phase, variant, metric
"""

MOVE_ARMS: Final = """
insert into arm_moments as m (
    test_id, phase, variant, metric, units, count, total, count_squares, total_squares, products
)
select * from (
    select test_id, phase, variant, metric, sum(units)::bigint, sum(count), sum(total), sum(count_squares),
        sum(total_squares), sum(products)
    from moves
    group by test_id, phase, variant, metric
    order by test_id, phase, variant, metric
) ordered
on conflict (test_id, phase, variant, metric) do update set
    units = m.units + excluded.units, count = m.count + excluded.count, total = m.total + excluded.total,
    count_squares = m.count_squares + excluded.count_squares,
    total_squares = m.total_squares + excluded.total_squares, products = m.products + excluded.products
"""
MARK_TESTS: Final = """
with changed as (
    select m.test_id, f.first_event
    from (select distinct test_id from moves) m
    left join (
        select test_id, min(id::text collate "C")::uuid as first_event from fresh
        where reason = 'hash' group by test_id
    ) f using (test_id)
    order by m.test_id
)
insert into observed_tests as o (test_id, version, first_event) select test_id, 1, first_event from changed
on conflict (test_id) do update set
    version = o.version + 1, first_event = least(o.first_event, excluded.first_event)
"""


@dataclass(frozen=True, order=True, slots=True)
class Offset:
    """A place in a worker's spool; everything before it has landed."""

    segment: int = 0
    position: int = 0


@dataclass(frozen=True, slots=True)
class Stretch:
    """The part of a worker's spool that a batch came from."""

    worker: UUID
    begin: Offset
    end: Offset


async def prepare(connection: asyncpg.Connection) -> None:
    """Make a connection fit for `land`."""
    await connection.execute(PREPARE)


async def offset_of(connection: asyncpg.Connection, worker: UUID) -> Offset:
    """How far this worker's spool has landed."""
    row = await connection.fetchrow("select segment, position from spool_offsets where worker = $1", worker)
    return Offset() if row is None else Offset(row["segment"], row["position"])


async def forget_offset(connection: asyncpg.Connection, worker: UUID) -> None:
    """For a worker whose folder is gone."""
    await connection.execute("delete from spool_offsets where worker = $1", worker)


async def land(connection: asyncpg.Connection, rows: Rows, stretch: Stretch | None = None) -> int | None:
    """Take a batch over, with the offset behind it. The answer is how many events were new.

    None: somebody else moved the offset from where this batch begins; nothing was done.
    """
    async with connection.transaction():
        lock = "pg_advisory_xact_lock" if rows.feedback else "pg_advisory_xact_lock_shared"
        await connection.execute(f"select {lock}({LOCK_KEY})")
        if stretch is not None:
            await connection.execute(BEGIN_OFFSET, stretch.worker)
            row = await connection.fetchrow(LOCK_OFFSET, stretch.worker)
            if row is None or Offset(row["segment"], row["position"]) != stretch.begin:
                return None
        new = await _count(connection, rows) if len(rows) else 0
        if stretch is not None:
            await connection.execute(MOVE_OFFSET, stretch.worker, stretch.end.segment, stretch.end.position)
        return new


async def _count(connection: asyncpg.Connection, rows: Rows) -> int:
    new = 0
    if rows.events:
        await connection.copy_records_to_table("arriving", records=rows.events, columns=EVENT_COLUMNS)
        new = _rows_of(await connection.execute(KEEP_EVENTS))
        if rows.bodies:
            await connection.copy_records_to_table("arriving_bodies", records=rows.bodies)
            await connection.execute(KEEP_BODIES)
        await connection.execute(COUNT_UNITS)
    if rows.feedback:
        await connection.execute(KEEP_FEEDBACK, *_columns(rows.feedback))
    if await connection.fetchval(ANY_FEEDBACK):
        await connection.execute(TOUCH_FEEDBACK)
        await connection.execute(LOCK_FEEDBACK)
        await connection.execute(COUNT_SCORES)
    await connection.execute(MOVE_ARMS)
    await connection.execute(MARK_TESTS)
    return new


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _rows_of(tag: str) -> int:
    """The number at the end of a command's tag, as in "INSERT 0 5"."""
    return int(tag.rpartition(" ")[2])
