"""Sums in the database equal a plain recount: in any order, with duplicates, late feedback and several at once."""

import asyncio
import random

import asyncpg
import numpy as np
import pytest
from tests.observations.counted import (
    EVERYTHING,
    NOTHING,
    assert_counted,
    recount,
    stored_moments,
    take,
    unit_totals,
)
from tests.observations.made import (
    NOON,
    OTHER_TEST,
    TEST,
    WORKER,
    event,
    identifier,
    on_request,
    on_session,
    on_unit,
)

from tiebreak.observations.landing import Offset, Stretch, land, offset_of, prepare
from tiebreak.observations.model import Fallback
from tiebreak.observations.partitions import ensure_days
from tiebreak.observations.rows import Rows, rows_of


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def test_an_event_is_kept_with_all_it_says(connection):
    whole = event(
        5,
        unit="ann",
        session="s",
        provider="openai",
        model="tests/checkout",
        served="large",
        stream=True,
        first_token_us=200,
        overhead_us=9,
        input_tokens=10,
        cached_tokens=2,
        output_tokens=3,
        reasoning_tokens=1,
        cache="miss",
        attempts=2,
        fallbacks=(Fallback("large", "small", "timeout"),),
        draw=bytes(15) + b"\x01",
        api_key=bytes(15) + b"\x02",
        tags={"team": "blue"},
        request="question",
        response="answer",
    )
    assert await take(connection, whole) == 1
    row = await connection.fetchrow("select * from events e join event_bodies b using (id)")
    assert row["id"].bytes == whole.id
    assert (row["test_id"].bytes, row["phase"], row["variant"], row["unit"]) == (TEST, 1, 0, "ann")
    assert (row["latency_us"], row["first_token_us"], row["cost_nano"]) == (1005, 200, 50)
    assert (row["input_tokens"], row["cached_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (
        10,
        2,
        3,
        1,
    )
    assert (row["fallbacks"], row["tags"]) == ('[["large", "small", "timeout"]]', '{"team": "blue"}')
    assert (row["request"], row["response"]) == ("question", "answer")
    assert (row["at"] - NOON).total_seconds() == 0.005
    await assert_counted(connection, [whole])


async def test_an_event_that_comes_again_counts_once_within_a_batch_and_over_batches(connection):
    assert await take(connection, event(1), event(1), event(2)) == 2
    assert await take(connection, event(2), event(3)) == 1
    assert await take(connection, event(1), event(2), event(3)) == 0
    await assert_counted(connection, [event(1), event(2), event(3)])


async def test_a_direct_call_is_kept_and_counted_nowhere(connection):
    assert await take(connection, event(1, unit=None)) == 1
    await assert_counted(connection, [])


async def test_the_last_word_on_a_request_counts_for_each_source_and_metric(connection):
    records = [
        event(1),
        on_request(10, 1, 1_000_000),
        on_request(30, 1, 250_000),
        on_request(20, 1, 0),
        on_request(40, 1, 500_000, source="judge"),
        on_request(50, 1, 2_000_000, metric="stars"),
    ]
    await take(connection, *records[:3])
    await take(connection, *records[3:])
    await assert_counted(connection, records)
    assert (await stored_moments(connection))[TEST, 1, 0, "feedback:helpful"].total == 750_000


async def test_feedback_before_its_request_counts_when_the_request_comes(connection):
    await take(connection, on_request(10, 1))
    await assert_counted(connection, [])
    await take(connection, event(1))
    await assert_counted(connection, [event(1), on_request(10, 1)])


async def test_feedback_on_a_text_or_a_direct_call_enters_no_sum_and_is_kept(connection):
    records = [event(1), event(2, unit=None), on_request(9, 1, None, text="nice"), on_request(9, 2)]
    await take(connection, *records)
    await assert_counted(connection, records)
    assert await connection.fetchval("select count(*) from feedback") == 2


async def test_a_number_that_becomes_a_text_leaves_the_sums(connection):
    await take(connection, event(1), on_request(10, 1))
    await take(connection, on_request(20, 1, None, text="changed my mind"))
    await assert_counted(connection, [event(1)])


async def test_feedback_on_a_unit_counts_for_the_arm_that_it_had_entered_by_then(connection):
    first, second = event(10, phase=1, variant=0), event(50, phase=2, variant=1)
    for number in (5, 20, 60):
        await take(connection, on_unit(number, "ann", 1_000 * number, source=f"s{number}"))
    await take(connection, second)  # the earlier one comes late
    await take(connection, first)
    await assert_counted(
        connection,
        [
            first,
            second,
            *(on_unit(number, "ann", 1_000 * number, source=f"s{number}") for number in (5, 20, 60)),
        ],
    )
    moments = await stored_moments(connection)
    assert moments[TEST, 1, 0, "feedback:helpful"].total == 25_000
    assert moments[TEST, 2, 1, "feedback:helpful"].total == 60_000


async def test_feedback_on_a_session_counts_for_its_last_request_before_it(connection):
    records = [
        on_session(25, "s"),
        event(30, unit="bob", variant=1, session="s"),
        event(10, unit="ann", session="s"),
        event(20, unit="ann", session="s", test=OTHER_TEST),
    ]
    for record in records:
        await take(connection, record)
    await assert_counted(connection, records)
    assert (await stored_moments(connection))[OTHER_TEST, 1, 0, "feedback:helpful"].units == 1


def some_records(chance: random.Random, count: int = 60) -> list:
    """Traffic of a few units in two tests and two phases with sessions, errors and feedback of every kind."""
    made = []
    for number in range(count):
        unit = f"u{chance.randrange(6)}"
        ok = chance.random() < 0.8
        made.append(
            event(
                number * 10,
                unit=unit if chance.random() < 0.9 else None,
                variant=chance.randrange(2),
                phase=1 + (number > count // 2),
                test=chance.choice([TEST, OTHER_TEST]),
                session=f"s{chance.randrange(4)}" if chance.random() < 0.5 else None,
                error=None if ok else "timeout",
                latency_us=chance.randrange(10**7),
                first_token_us=chance.choice([None, 5000]),
                cost_nano=chance.choice([None, chance.randrange(10**9)]),
                input_tokens=chance.choice([None, 7]),
                output_tokens=chance.choice([None, 9]),
                cache=chance.choice(["hit", "miss", "off"]),
                attempts=chance.randrange(1, 4),
                fallbacks=(Fallback("a", "b", "timeout"),) * chance.randrange(3),
            )
        )
        more = {
            "metric": chance.choice(["helpful", "stars"]),
            "source": chance.choice(["user", "judge"]),
            "micro": chance.choice([None, chance.randrange(-(10**9), 10**9)]),
        }
        when = chance.randrange(count * 12)
        kind = chance.randrange(4)
        if kind == 0:
            made.append(on_request(when, chance.randrange(count) * 10, **more))
        elif kind == 1:
            made.append(on_unit(when, unit, test=chance.choice([TEST, OTHER_TEST]), **more))
        elif kind == 2:
            made.append(on_session(when, f"s{chance.randrange(5)}", **more))
    return made


@pytest.mark.parametrize("seed", range(6))
async def test_in_any_order_with_duplicates_the_sums_are_those_of_a_plain_recount(connection, seed):
    chance = random.Random(seed)
    records = some_records(chance)
    stream = records + chance.choices(records, k=40)
    chance.shuffle(stream)
    while stream:
        size = chance.choice([1, 3, 10, 40])
        await take(connection, *stream[:size])
        del stream[:size]
    await assert_counted(connection, records)


@pytest.mark.parametrize("seed", range(3))
async def test_drains_at_once_count_as_one_would(dsn, seed):
    chance = random.Random(100 + seed)
    records = some_records(chance, 150)
    pool = [await asyncpg.connect(dsn) for _ in range(4)]

    async def drain(connection, share):
        while share:
            size = chance.choice([1, 5, 20])
            await take(connection, *share[:size])
            del share[:size]

    shares = [chance.sample(records, k=len(records) // 2) for _ in range(3)] + [list(records)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(drain(c, share) for c, share in zip(pool, shares, strict=True)))
    await assert_counted(pool[0], records)
    for connection in pool:
        await connection.close()


async def test_moments_are_those_of_numpy_however_far_from_zero(connection):
    chance = random.Random(1)
    far = [
        event(
            n, unit=f"u{n % 400}", latency_us=10**11 + chance.randrange(1000), cost_nano=chance.randrange(100)
        )
        for n in range(2000)
    ]
    for begin in range(0, 2000, 250):
        await take(connection, *far[begin : begin + 250])
    moments = await stored_moments(connection)
    sums, _ = recount(far)
    for metric in ("latency_us", "cost_nano"):
        totals = unit_totals(sums, metric, 0)
        n, mean, m2 = moments[TEST, 1, 0, metric].totals
        assert n == 400
        assert mean == pytest.approx(totals.mean(), rel=1e-12)
        assert m2 == pytest.approx(np.square(totals - totals.mean()).sum(), rel=1e-12)


async def test_a_mean_per_request_has_the_variance_of_its_units(connection):
    chance = random.Random(2)
    traffic = [
        event(n, unit=f"u{int(chance.paretovariate(1.2)) % 50}", latency_us=chance.randrange(10**6))
        for n in range(900)
    ]
    await take(connection, *traffic)
    sums, _ = recount(traffic)
    x, c = unit_totals(sums, "latency_us", 0), unit_totals(sums, "requests", 0)
    n, ratio, spread = (await stored_moments(connection))[TEST, 1, 0, "latency_us"].ratio
    assert (n, ratio) == (len(x), pytest.approx(x.sum() / c.sum(), rel=1e-12))
    assert spread == pytest.approx(np.square(x - ratio * c).sum() / c.mean() ** 2, rel=1e-12)


async def test_the_version_of_a_test_rises_with_its_sums_and_only_then(connection):
    async def version():
        return await connection.fetchval("select version from observed_tests")

    await take(connection, event(1))
    assert await version() == 1
    await take(connection, event(1))
    assert await version() == 1
    await take(connection, on_request(2, 1))
    assert await version() == 2


async def test_a_batch_lands_with_its_offset_or_not_at_all(connection):
    await prepare(connection)
    first, second = Offset(1, 100), Offset(2, 0)
    rows = rows_of([event(1)], NOTHING, EVERYTHING)
    await ensure_days(connection, rows.days)
    assert await land(connection, rows, Stretch(WORKER, Offset(), first)) == 1
    assert await offset_of(connection, WORKER) == first
    assert (
        await land(connection, rows_of([event(2)], NOTHING, EVERYTHING), Stretch(WORKER, Offset(), second))
        is None
    )
    assert await connection.fetchval("select count(*) from events") == 1
    assert await land(connection, Rows(), Stretch(WORKER, first, second)) == 0
    assert await offset_of(connection, WORKER) == second


def test_records_outside_of_the_time_that_is_kept_are_told_apart():
    rows = rows_of([event(1), event(5), event(9)], identifier(4), identifier(6))
    assert (len(rows), rows.strange) == (1, 2)
    assert rows.days == {NOON.date()}
