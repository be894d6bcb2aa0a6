"""The daily partitions of events and their texts: made before they are needed, dropped when they are too old."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from tiebreak.observations.model import first_id

PARENTS: Final = ("events", "event_bodies")
AHEAD: Final = 2  # days made in advance
# Attaching and dropping wait behind whoever reads the table, and everybody else behind them: never for long.
LOCK_TIMEOUT: Final = "set local lock_timeout = '2s'"
ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(7595436201)"
EXISTING: Final = """
select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = $1::regclass
"""


def partition_name(parent: str, day: date) -> str:
    """The table of one day."""
    return f"{parent}_{day:%Y%m%d}"


def day_bounds(day: date) -> tuple[UUID, UUID]:
    """The first id of a day and that of the next."""
    begin = datetime.combine(day, time(), UTC)
    return first_id(begin), first_id(begin + timedelta(days=1))


async def ensure_days(connection: asyncpg.Connection, days: Iterable[date]) -> None:
    """Make the partitions of these days where they are missing. Any number of callers may do so at once.

    Raises:
        asyncpg.LockNotAvailableError: the table was in use too long; try again.
    """
    async with connection.transaction():
        await connection.execute(LOCK_TIMEOUT)
        await connection.execute(ONE_AT_A_TIME)
        for parent in PARENTS:
            there = {row["relname"] for row in await connection.fetch(EXISTING, parent)}
            for day in sorted(days):
                name = partition_name(parent, day)
                if name not in there:
                    begin, end = day_bounds(day)
                    # Made first and attached then: that leaves the parent readable and writable.
                    await connection.execute(f"create table {name} (like {parent} including defaults)")
                    await connection.execute(
                        f"alter table {parent} attach partition {name} for values from ('{begin}') to ('{end}')"
                    )


async def drop_before(connection: asyncpg.Connection, day: date) -> list[str]:
    """Drop the partitions of all earlier days; the answer names them.

    Raises:
        asyncpg.LockNotAvailableError: the table was in use too long; try again.
    """
    dropped = []
    for parent in PARENTS:
        oldest = partition_name(parent, day)
        for row in await connection.fetch(EXISTING, parent):
            if row["relname"] < oldest:
                async with connection.transaction():
                    await connection.execute(LOCK_TIMEOUT)
                    await connection.execute(ONE_AT_A_TIME)
                    await connection.execute(f"drop table if exists {row['relname']}")
                dropped.append(row["relname"])
    return sorted(dropped)
