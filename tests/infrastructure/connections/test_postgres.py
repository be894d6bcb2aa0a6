"""`Database` on a real server."""

from sqlalchemy import text

from tiebreak.infrastructure.connections.postgres import Database, engine_url


def test_engine_url_names_the_driver_whatever_the_spelling():
    assert engine_url("postgresql://u:p@h/d") == "postgresql+asyncpg://u:p@h/d"
    assert engine_url("postgres://u:p@/d?host=/s") == "postgresql+asyncpg://u:p@/d?host=/s"


async def test_a_transaction_that_ends_well_is_seen_by_the_raw_pool(database: Database):
    async with database.transaction() as tx:
        await tx.execute(text("insert into prompts (id, name) values (gen_random_uuid(), 'kept')"))
    assert await (await database.pool()).fetchval("select name from prompts") == "kept"
