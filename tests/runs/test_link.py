import asyncpg
import pytest
from structlog.testing import capture_logs
from tests.clocks import ManualClock

from tiebreak.errors import Unavailable
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig, passes
from tiebreak.runs.link import FIRST_WAIT, LONGEST_WAIT, Link
from tiebreak.runs.presence import Presence


@pytest.fixture
async def link(database):
    made = Link(database, ManualClock())
    yield made
    await made.close()


async def test_connections_are_kept_and_a_broken_one_is_replaced(database, link):
    first = await link.ask(lambda c: c.fetchval("select pg_backend_pid()"))
    assert await link.ask(lambda c: c.fetchval("select pg_backend_pid()")) == first
    await (await database.pool()).execute("select pg_terminate_backend($1)", first)
    assert await link.ask(lambda c: c.fetchval("select pg_backend_pid()")) != first


async def test_closing_gives_even_a_broken_connection_back(database):
    link = Link(database, ManualClock())
    pid = await link.ask(lambda c: c.fetchval("select pg_backend_pid()"))
    await (await database.pool()).execute("select pg_terminate_backend($1)", pid)
    await link.close()
    assert (await database.pool()).get_idle_size() == (await database.pool()).get_size()


async def test_a_question_is_asked_until_the_database_answers_and_one_line_says_each_change(database):
    clock = ManualClock()
    link = Link(database, clock)
    failures = 9

    async def question(connection):
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise asyncpg.CannotConnectNowError("the database system is starting up")
        return await connection.fetchval("select 7")

    with capture_logs() as lines:
        assert await link.ask(question) == 7
    assert clock.sleeps[0] == FIRST_WAIT
    assert max(clock.sleeps) == LONGEST_WAIT
    assert len(clock.sleeps) == 9
    await link.close()
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("database away", "the database system is starting up"),
        ("database back", None),
    ]


@pytest.mark.parametrize("query", ["select $1::int", "select nothing"])
async def test_a_wrong_question_is_not_repeated(database, query):
    clock = ManualClock()
    arguments = ["no number"] if "$1" in query else []
    with pytest.raises((ValueError, asyncpg.PostgresError)):
        await Link(database, clock).ask(lambda c: c.fetchval(query, *arguments))
    assert clock.sleeps == []


async def test_a_wrong_configuration_is_not_tried_again(database):
    clock = ManualClock()

    async def question(_):
        raise asyncpg.ClientConfigurationError("no such host setting")

    with pytest.raises(asyncpg.ClientConfigurationError):
        await Link(database, clock).ask(question)
    assert clock.sleeps == []


async def test_asked_once_the_error_is_the_callers(tmp_path):
    nowhere = Database(PostgresConfig(dsn=f"postgresql:///none?host={tmp_path}", connect_timeout=1.0))
    with pytest.raises(Unavailable):
        await Link(nowhere, ManualClock()).once(lambda c: c.fetchval("select 1"))


def test_what_passes_by_itself():
    assert passes(asyncpg.AdminShutdownError("terminated"))
    assert passes(asyncpg.TooManyConnectionsError("full"))
    assert passes(asyncpg.DeadlockDetectedError("circle"))
    assert passes(ConnectionResetError())
    assert not passes(asyncpg.UniqueViolationError("twice"))
    assert not passes(RuntimeError())


async def test_workers_know_how_many_they_are_and_their_place(dsn):
    first, second = Presence(dsn, lambda: None), Presence(dsn, lambda: None)
    assert (await first.beat()).workers == 1
    beats = [await second.beat(), await first.beat()]
    assert [beat.workers for beat in beats] == [2, 2]
    assert {beat.rank for beat in beats} == {0, 1}
    await first.close()
    left = await second.beat()
    assert (left.workers, left.rank) == (1, 0)
    await second.close()


async def test_a_session_that_failed_is_dropped_and_made_anew(database, dsn):
    presence = Presence(dsn, lambda: None)
    await presence.beat()
    pool = await database.pool()
    await pool.execute("alter table runs rename to hidden")
    with pytest.raises(asyncpg.UndefinedTableError):
        await presence.beat()
    await pool.execute("alter table hidden rename to runs")
    assert (await presence.beat()).workers == 1
    await presence.close()
    await presence.close()
