"""The nightly recount finds what does not agree with the events, and nothing where all is well."""

import json
import random
from uuid import UUID

import asyncpg
import pytest
from tests.observations.counted import assert_counted, take
from tests.observations.made import NOON, OTHER_TEST, TEST, event, on_request, on_session, on_unit
from tests.observations.test_landing import some_records

from tiebreak.observations.partitions import drop_before
from tiebreak.observations.refold import Outcome, refold

TEST_ID = UUID(bytes=TEST)


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def test_a_recount_of_what_was_counted_right_finds_nothing(connection):
    records = some_records(random.Random(11))
    await take(connection, *records)
    for test in (TEST, OTHER_TEST):
        found = await refold(connection, UUID(bytes=test))
        assert (found.outcome, found.differences) == (Outcome.EQUAL, ())
        assert found.units > 0
    await assert_counted(connection, records)


@pytest.mark.parametrize(
    ("drift", "what"),
    [
        ("update unit_sums set latency_us = latency_us + 1 where phase = 1", "unit"),
        ("delete from unit_sums where phase = 1", "unit"),
        ("update unit_sums set first_event = gen_random_uuid()", "unit"),
        ("update unit_scores set total = total + 1", "score"),
        ("delete from unit_scores", "score"),
        ("update arm_moments set products = products + 1 where metric = 'cost_nano'", "arm"),
        ("update arm_moments set total_squares = 5 where metric like 'feedback:%'", "arm"),
        ("delete from arm_moments", "arm"),
        ("update feedback set counted_variant = 1 where counted_variant = 0", "score"),
    ],
)
async def test_a_planted_drift_is_found_recorded_and_put_right(connection, drift, what):
    records = [
        *(event(n, unit=f"u{n % 4}", variant=n % 2, session="s") for n in range(20)),
        on_request(30, 2),
        on_unit(31, "u0"),
        on_session(32, "s"),
    ]
    await take(connection, *records)
    await connection.execute(drift)
    found = await refold(connection, TEST_ID)
    assert found.outcome is Outcome.REPAIRED
    assert what in {difference["what"] for difference in found.differences}
    row = await connection.fetchrow("select * from refolds")
    assert row["outcome"] == "repaired"
    assert json.loads(row["differences"])[0]["kept"] != json.loads(row["differences"])[0]["recounted"]
    await assert_counted(connection, records)
    assert (await refold(connection, TEST_ID)).outcome is Outcome.EQUAL


async def test_a_test_whose_first_events_are_dropped_has_its_arms_recounted_from_its_units(connection):
    records = [event(n, unit=f"u{n % 4}", variant=n % 2) for n in range(20)]
    await take(connection, *records)
    await drop_before(connection, NOON.date().replace(year=2027))
    assert (await refold(connection, TEST_ID)).outcome is Outcome.PARTIAL
    await connection.execute("update arm_moments set total = total + 1 where metric = 'errors'")
    found = await refold(connection, TEST_ID)
    assert (found.outcome, len(found.differences)) == (Outcome.PARTIAL, 2)
    await assert_counted(connection, records)


async def test_traffic_goes_on_after_a_recount(connection):
    await take(connection, event(1), on_request(5, 1))
    await refold(connection, TEST_ID)
    await take(connection, event(2), on_request(6, 1, 0))
    await assert_counted(connection, [event(1), event(2), on_request(6, 1, 0)])
