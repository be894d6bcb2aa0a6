"""What goes through providers, written down by real processes' objects in a real database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit, urlunsplit

import pytest
from sqlalchemy import func, select, text, update
from structlog.testing import capture_logs
from tests.accounts import account_at
from tests.clocks import ManualClock

from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot, BreakerState
from tiebreak.providers import activity_reading as reading
from tiebreak.providers import service
from tiebreak.providers.activity import FLUSH_SECONDS, RENEW_SECONDS, SWEEP_SECONDS, Activity
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, Origin, Usage
from tiebreak.providers.service import NewProvider
from tiebreak.providers.tables import provider_circuits, provider_hours, provider_minutes

START = datetime(2026, 1, 1, 10, 0, 30, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def activity(database, clock) -> Activity:
    return Activity(database, clock)


@pytest.fixture
async def account(database, keyring):
    async with database.transaction() as tx:
        made = await service.create(tx, NewProvider("acme", "http://127.0.0.1:1"), keyring, "loopback")
    return account_at("http://127.0.0.1:1", provider_id=made.id)


def answered(activity, account, model="m", times=1, seconds=0.2):
    for _ in range(times):
        activity.attempted(account, model, None, seconds, Usage(10, 2, 4, 1), retry=False)


async def rows(database, table):
    async with database.transaction() as tx:
        return list(await tx.execute(select(table).order_by(*table.primary_key.columns)))


def circuit(account, state=BreakerState.CLOSED, *, endpoint="chat", **counts) -> CircuitState:
    snapshot = BreakerSnapshot(state, START, failures=2, calls=9, next_probe=None)
    return CircuitState(
        account.provider_id,
        endpoint,
        account.credential,
        snapshot,
        **({"slots": 4, "held": 1, "waiting": 0} | counts),
    )


async def test_everything_that_is_counted_is_stored_by_hour_and_model(database, activity, account):
    answered(activity, account, times=2)
    activity.attempted(account, "m", Failure.RATE_LIMITED, 0.1, None, retry=True)
    activity.shared(account, "m", Origin.CACHE)
    activity.shared(account, "m", Origin.FLIGHT)
    activity.shared(account, "m", Origin.BATCH)
    activity.refused(account, "m")
    answered(activity, account, "n")
    assert await activity.flush()
    one, other = await rows(database, provider_hours)
    assert (one.provider_id, one.hour, one.model) == (
        account.provider_id,
        START.replace(minute=0, second=0),
        "m",
    )
    assert (one.calls, one.answers, one.retries, one.cached, one.joined, one.refused) == (3, 2, 1, 1, 2, 1)
    assert (one.input_tokens, one.cached_tokens, one.output_tokens, one.reasoning_tokens) == (20, 8, 4, 2)
    assert one.failures == {"rate_limited": 1}
    assert sum(one.latency.values()) == 2
    assert (other.model, other.calls) == ("n", 1)
    (minute,) = await rows(database, provider_minutes)
    assert (minute.minute, minute.calls, minute.answers, minute.refused) == (START.replace(second=0), 4, 3, 1)


async def test_processes_add_up_also_when_they_write_at_once(database, clock, account):
    processes = [Activity(database, clock) for _ in range(4)]
    for _ in range(5):
        for process in processes:
            answered(process, account, "m", seconds=0.2)
            answered(process, account, "n", seconds=3.0)
            process.attempted(account, "m", Failure.TIMEOUT, 1.0, None, retry=False)
        assert all(await asyncio.gather(*(process.flush() for process in processes)))
    m, n = await rows(database, provider_hours)
    assert (m.calls, m.answers, m.failures, n.calls) == (40, 20, {"timeout": 20}, 20)
    (latency,) = m.latency.values()
    assert latency == 20
    (minute,) = await rows(database, provider_minutes)
    assert (minute.calls, minute.failures, sorted(minute.latency.values())) == (60, {"timeout": 20}, [20, 20])


async def test_a_call_counts_in_the_hour_and_the_minute_in_which_it_ends(database, activity, clock, account):
    answered(activity, account)
    clock.advance(30 * 60)
    answered(activity, account)
    clock.advance(30 * 60)
    answered(activity, account)
    await activity.flush()
    assert [(row.hour.hour, row.calls) for row in await rows(database, provider_hours)] == [(10, 2), (11, 1)]
    minutes = [row.minute for row in await rows(database, provider_minutes)]
    assert minutes == [START.replace(second=0) + timedelta(minutes=30 * n) for n in range(3)]


async def test_nothing_to_say_asks_the_database_nothing(tmp_path, clock):
    nowhere = Database(PostgresConfig(dsn=f"postgresql:///none?host={tmp_path}"))
    assert await Activity(nowhere, clock).flush()


async def test_a_deleted_provider_takes_nothing_and_holds_nobody_up(database, activity, account, keyring):
    async with database.transaction() as tx:
        other = await service.create(tx, NewProvider("gone", "http://127.0.0.1:1"), keyring, "loopback")
    gone = account_at("http://127.0.0.1:1", provider_id=other.id)
    answered(activity, gone)
    answered(activity, account)
    activity.watch(lambda: [circuit(gone), circuit(account)])
    async with database.transaction() as tx:
        await service.delete(tx, "gone")
    assert await activity.flush()
    for table in (provider_hours, provider_minutes, provider_circuits):
        assert [row.provider_id for row in await rows(database, table)] == [account.provider_id]


async def test_the_circuits_of_a_process_are_replaced_and_leave_with_it(database, clock, account):
    first, second = Activity(database, clock), Activity(database, clock)
    first.watch(lambda: [circuit(account, BreakerState.OPEN), circuit(account, endpoint="embeddings")])
    second.watch(lambda: [circuit(account, held=3)])
    await first.flush()
    await second.flush()
    async with database.transaction() as tx:
        seen = await reading.circuits(tx, account.provider_id)
    assert sorted((c.endpoint, c.breaker.state, c.held) for c in seen) == [
        ("chat", "closed", 3),
        ("chat", "open", 1),
        ("embeddings", "closed", 1),
    ]
    first.watch(lambda: [circuit(account)])
    await first.flush()
    await second.close()
    (row,) = await rows(database, provider_circuits)
    assert (row.endpoint, row.state, row.calls, row.failures, row.slots) == ("chat", "closed", 9, 2, 4)


async def test_a_process_that_is_silent_is_not_shown_and_then_forgotten(database, clock, account):
    living, dead = Activity(database, clock), Activity(database, clock)
    for process in (living, dead):
        process.watch(lambda: [circuit(account)])
        await process.flush()
    mine = provider_circuits.c.process == dead._process
    for seconds, kept, shown in ((31, 2, 1), (61, 1, 1)):
        clock.advance(SWEEP_SECONDS)
        async with database.transaction() as tx:
            silent = func.now() - text(f"interval '{seconds} seconds'")
            await tx.execute(update(provider_circuits).where(mine).values(seen_at=silent))
        await living.flush()
        async with database.transaction() as tx:
            assert len(await reading.circuits(tx, account.provider_id)) == shown
        assert len(await rows(database, provider_circuits)) == kept


async def test_circuits_in_which_nothing_happens_are_renewed_all_the_same(database, activity, clock, account):
    activity.watch(lambda: [circuit(account)])
    await activity.flush()
    (before,) = await rows(database, provider_circuits)
    await activity.flush()
    (same,) = await rows(database, provider_circuits)
    clock.advance(RENEW_SECONDS)
    await activity.flush()
    (after,) = await rows(database, provider_circuits)
    assert before.seen_at == same.seen_at < after.seen_at


async def test_minutes_that_nobody_asks_for_any_more_go_and_hours_stay(database, activity, clock, account):
    answered(activity, account)
    await activity.flush()
    clock.advance(3 * 3600)
    answered(activity, account)
    await activity.flush()
    assert [row.minute.hour for row in await rows(database, provider_minutes)] == [13]
    assert [row.hour.hour for row in await rows(database, provider_hours)] == [10, 13]


async def test_it_writes_every_two_seconds_until_it_is_cancelled(database, activity, clock, account):
    answered(activity, account)
    task = asyncio.create_task(activity.run())
    async with asyncio.timeout(30):
        while not await rows(database, provider_hours):
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert set(clock.sleeps) == {FLUSH_SECONDS}


class Road:
    """A way to the database over TCP that can be closed and opened again at the same port."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._port = 0
        self._server: asyncio.Server | None = None
        self._travellers: set[asyncio.Task[None]] = set()

    @property
    def dsn(self) -> str:
        parts = urlsplit(self._dsn)
        user = parts.netloc.rpartition("@")[0]
        return urlunsplit(
            parts._replace(
                netloc=f"{user}@127.0.0.1:{self._port}" if user else f"127.0.0.1:{self._port}", query=""
            )
        )

    async def _destination(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self._dsn)
        port = parts.port or 5432
        folder = parse_qs(parts.query).get("host", [None])[0]
        if folder is not None:
            port = int(parse_qs(parts.query).get("port", [port])[0])
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(parts.hostname, port)

    async def _travel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._travellers.add(task)
        there, back = await self._destination()

        async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()

        carriers = [asyncio.create_task(carry(reader, back)), asyncio.create_task(carry(there, writer))]
        try:
            await asyncio.wait(carriers, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # the road is closed: asyncio's server takes this for an error of ours
            pass
        finally:
            for carrier in carriers:
                carrier.cancel()
            await asyncio.gather(*carriers, return_exceptions=True)
            for end in (back, writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()
            self._travellers.discard(task)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._travel, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        travellers = list(self._travellers)
        for traveller in travellers:
            traveller.cancel()
        await asyncio.gather(*travellers, return_exceptions=True)
        await self._server.wait_closed()


@asynccontextmanager
async def road_to(dsn: str) -> AsyncIterator[Road]:
    road = Road(dsn)
    await road.open()
    try:
        yield road
    finally:
        await road.close()


async def test_while_the_database_is_away_everything_is_kept_and_said_once(dsn, database, clock, account):
    async with road_to(dsn) as road:
        far = Database(PostgresConfig(dsn=road.dsn, connect_timeout=1.0))
        activity = Activity(far, clock)
        answered(activity, account)
        assert await activity.flush()
        await road.close()
        with capture_logs() as lines:
            for _ in range(3):
                answered(activity, account)
                assert not await activity.flush()
                clock.advance(FLUSH_SECONDS)
            await road.open()
            answered(activity, account, "n")
            assert await activity.flush()
        await activity.close()
        await far.close()
    assert [(row.model, row.calls) for row in await rows(database, provider_hours)] == [("m", 4), ("n", 1)]
    assert [row.calls for row in await rows(database, provider_minutes)] == [5]
    assert [line["event"].partition(";")[0] for line in lines] == [
        "the database does not take what went through providers",
        "what went through providers is stored again",
    ]


async def test_a_flush_that_is_cancelled_loses_nothing(dsn, database, activity, account):
    answered(activity, account)
    async with database.transaction() as tx:
        await tx.execute(text("lock table provider_hours in exclusive mode"))
        task = asyncio.create_task(activity.flush())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await activity.close()
    (row,) = await rows(database, provider_hours)
    assert row.calls == 1


async def test_memory_has_a_bound_however_many_models_are_named(database, clock, account):
    activity = Activity(database, clock, most_keys=5)
    for n in range(50):
        answered(activity, account, f"model-{n:02}")
    await activity.flush()
    stored = await rows(database, provider_hours)
    assert {row.model for row in stored} == {*(f"model-{n:02}" for n in range(5)), "(other)"}
    assert sum(row.calls for row in stored) == 50


async def test_a_row_that_the_database_does_not_take_costs_its_counts_and_not_the_writer(
    database, activity, account
):
    answered(activity, account, model="no\x00name")
    with capture_logs() as logs:
        assert await activity.flush()
    assert [line["log_level"] for line in logs] == ["error"]
    answered(activity, account, model="small")
    assert await activity.flush()
    assert [row.model for row in await rows(database, provider_hours)] == ["small"]
