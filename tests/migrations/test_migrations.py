"""The schema's history: it ends where the tables are, and any number of migrators may run it."""

import asyncio
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tests.conftest import DatabaseServer

import tiebreak
from tiebreak import migrations
from tiebreak.errors import Misconfigured, Unavailable
from tiebreak.infrastructure.connections.postgres import engine_url
from tiebreak.infrastructure.connections.schema import metadata

# All that makes two schemas differ: columns, indexes, constraints.
CATALOG = """
select 'column' as kind, table_name || '.' || column_name as name,
       concat_ws(' ', data_type, is_nullable, column_default, numeric_precision, numeric_scale) as what
  from information_schema.columns where table_schema = 'public'
union all
select 'index', indexname, indexdef from pg_indexes where schemaname = 'public'
union all
select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  from pg_constraint where connamespace = 'public'::regnamespace
order by 1, 2
"""


async def execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def catalog(dsn: str) -> list[tuple[str, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        rows = [tuple(row) for row in await connection.fetch(CATALOG)]
        return [row for row in rows if "alembic_version" not in row[1]]
    finally:
        await connection.close()


@pytest.fixture
def empty(database_server: DatabaseServer) -> Iterator[str]:
    """A database without any table."""
    name = "tiebreak_test_empty"
    asyncio.run(execute(database_server.dsn, f"drop database if exists {name} with (force)"))
    asyncio.run(execute(database_server.dsn, f"create database {name} template template0"))
    yield database_server.of(name)
    asyncio.run(execute(database_server.dsn, f"drop database {name} with (force)"))


def test_a_migrated_database_equals_one_made_from_the_tables(dsn: str, empty: str):
    for module in pkgutil.walk_packages(tiebreak.__path__, "tiebreak."):
        if module.name.endswith(".tables"):
            importlib.import_module(module.name)

    async def create() -> None:
        engine = create_async_engine(engine_url(empty), poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        await engine.dispose()

    asyncio.run(create())
    made, migrated = asyncio.run(catalog(empty)), asyncio.run(catalog(dsn))
    assert len(made) > 100
    assert migrated == made


def test_upgrading_brings_a_new_database_to_the_head_and_again_changes_nothing(empty: str):
    assert migrations.current(empty) is None
    migrations.upgrade(empty)
    assert migrations.current(empty) == migrations.head()
    before = asyncio.run(catalog(empty))
    migrations.upgrade(empty)
    assert asyncio.run(catalog(empty)) == before


def test_migrators_at_once_all_end_well(empty: str):
    with ThreadPoolExecutor(4) as threads:
        for done in [threads.submit(migrations.upgrade, empty) for _ in range(4)]:
            done.result(timeout=60)
    assert migrations.current(empty) == migrations.head()


def test_a_database_that_was_never_migrated_is_refused_with_the_command(empty: str):
    with pytest.raises(Misconfigured, match=r"revision none .* `tiebreak db migrate`"):
        migrations.require_head(empty)


def test_a_migrated_database_is_taken(dsn: str):
    migrations.require_head(dsn)


@pytest.mark.parametrize("action", [migrations.require_head, migrations.upgrade])
def test_a_database_of_a_newer_version_is_refused(dsn: str, action):
    asyncio.run(execute(dsn, "update alembic_version set version_num = 'ffff'"))
    with pytest.raises(Misconfigured, match="revision ffff, which this Tiebreak does not know"):
        action(dsn)


def test_a_table_in_use_ends_the_migration_and_leaves_the_old_schema(dsn: str):
    asyncio.run(execute(dsn, "delete from alembic_version"))
    asyncio.run(execute(dsn, "drop table run_tasks"))

    async def while_locked() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            async with connection.transaction():
                await connection.execute("lock table alembic_version in access exclusive mode")
                with pytest.raises(Unavailable, match="lock timeout"):
                    await asyncio.to_thread(migrations.upgrade, dsn)
        finally:
            await connection.close()

    asyncio.run(while_locked())
    assert "run_tasks.run_id" not in [name for _, name, _ in asyncio.run(catalog(dsn))]


def test_a_server_that_is_away_is_named_as_away(tmp_path):
    with pytest.raises(Unavailable, match="could not be read or migrated"):
        migrations.current(f"postgresql://nobody@/nothing?host={tmp_path}")


def test_importing_the_package_loads_neither_alembic_nor_sqlalchemy():
    loaded = subprocess.check_output(
        [sys.executable, "-c", "import sys, tiebreak.migrations; print(*sys.modules)"], text=True
    ).split()
    assert "tiebreak.migrations" in loaded
    assert not {"alembic", "sqlalchemy", "asyncpg"} & set(loaded)
