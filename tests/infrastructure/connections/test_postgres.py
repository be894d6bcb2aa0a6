"""`Database` on a real server."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from tiebreak.errors import Conflict, Unavailable
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig, engine_url, is_away, passes


def test_engine_url_names_the_driver_whatever_the_spelling():
    assert engine_url("postgresql://u:p@h/d") == "postgresql+asyncpg://u:p@h/d"
    assert engine_url("postgres://u:p@/d?host=/s") == "postgresql+asyncpg://u:p@/d?host=/s"


def test_what_passes_by_itself():
    assert passes(asyncpg.AdminShutdownError("terminated"))
    assert passes(asyncpg.TooManyConnectionsError("full"))
    assert passes(asyncpg.DeadlockDetectedError("circle"))
    assert passes(ConnectionResetError())
    assert not passes(asyncpg.UniqueViolationError("twice"))
    assert not passes(RuntimeError())


INSERT = text("insert into prompts (id, name) values (gen_random_uuid(), 'kept')")


async def test_a_transaction_that_ends_well_is_seen_by_the_raw_pool(database: Database):
    async with database.transaction() as tx:
        await tx.execute(INSERT)
    assert await (await database.pool()).fetchval("select name from prompts") == "kept"


async def test_a_transaction_that_raises_leaves_nothing_and_the_error_as_it_is(database: Database):
    with pytest.raises(Conflict):
        async with database.transaction() as tx:
            await tx.execute(INSERT)
            raise Conflict("the caller's own")
    assert await (await database.pool()).fetchval("select count(*) from prompts") == 0


@pytest.mark.parametrize(
    ("state", "away"),
    [("57P03", True), ("57P01", True), ("53300", True), ("08006", True), ("23505", False), (None, False)],
)
def test_only_a_server_that_is_away_is_away(state: str | None, away: bool):
    assert is_away(state) is away


async def test_a_wrong_statement_or_value_is_not_called_an_absent_server(database: Database):
    with pytest.raises(DBAPIError):
        async with database.transaction() as tx:
            await tx.execute(text("select nonsense"))
    with pytest.raises(DBAPIError):
        async with database.transaction() as tx:
            await tx.execute(text("select cast(:n as int)"), {"n": 2**40})


async def test_a_callers_own_file_error_stays_what_it_is(database: Database, tmp_path):
    with pytest.raises(FileNotFoundError):
        async with database.transaction():
            (tmp_path / "missing").read_text()


async def test_a_commit_that_fails_is_the_callers_to_know(database: Database):
    with pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.execute(INSERT)
            pid = (await tx.execute(text("select pg_backend_pid()"))).scalar_one()
            await (await database.pool()).fetchval("select pg_terminate_backend($1, 5000)", pid)


async def test_a_server_that_is_away_is_unavailable_and_says_when_to_try_again(tmp_path):
    database = Database(PostgresConfig(dsn=f"postgresql://u@/d?host={tmp_path}"))
    with pytest.raises(Unavailable) as first:
        async with database.transaction():
            pass
    with pytest.raises(Unavailable) as second:
        await database.pool()
    assert first.value.retry_after == second.value.retry_after == 1.0
    await database.close()


async def test_a_full_pool_is_unavailable_after_a_bounded_wait(dsn: str):
    database = Database(PostgresConfig(dsn=dsn, pool_size=1, max_overflow=0, pool_timeout=0.05))
    async with database.transaction():
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass
    await database.close()


async def test_a_connection_lost_inside_a_transaction_is_unavailable_and_the_next_one_works(
    database: Database,
):
    with pytest.raises(Unavailable):
        async with database.transaction() as tx:
            await tx.execute(text("select pg_terminate_backend(pg_backend_pid())"))
    async with database.transaction() as tx:
        assert (await tx.execute(text("select 1"))).scalar_one() == 1


async def test_the_raw_pool_is_made_once_however_many_ask(database: Database):
    pools = await asyncio.gather(*(database.pool() for _ in range(8)))
    assert len({id(pool) for pool in pools}) == 1


async def test_closing_gives_every_connection_back_and_may_be_repeated(dsn: str):
    database = Database(PostgresConfig(dsn=dsn))
    await database.pool()
    async with database.transaction():
        pass
    await database.close()
    await database.close()
    watcher = await asyncpg.connect(dsn)
    try:
        others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        for _ in range(200):
            if await watcher.fetchval(others) == 0:
                break
            await asyncio.sleep(0.02)
        assert await watcher.fetchval(others) == 0
    finally:
        await watcher.close()


async def test_closing_does_not_wait_for_a_connection_that_nobody_gives_back(dsn: str):
    database = Database(PostgresConfig(dsn=dsn, close_timeout=0.1))
    pool = await database.pool()
    kept = await pool.acquire()
    async with asyncio.timeout(10):
        await database.close()
    with pytest.raises(asyncpg.InterfaceError):
        await kept.execute("select 1")
