"""A stage for runs: a dataset, a provider account and tests on them, in a real database."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from tests.upstream import Received, Upstream, Wire, completion, http, upstream

from tiebreak.clock import SystemClock
from tiebreak.experiments import service as experiments
from tiebreak.experiments.definition import Budget, Definition
from tiebreak.experiments.model import Experiment
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.resilience.breaker import BreakerConfig
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.providers import service as providers
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring
from tiebreak.providers.service import NewProvider
from tiebreak.runs import service
from tiebreak.runs.model import Run, RunState
from tiebreak.runs.worker import Worker

CLOCK = SystemClock()
SECRET_KEY = "A" * 43 + "="
KEYRING = Keyring.open(None, SECRET_KEY)
ANYWHERE = "http://127.0.0.1:9/v1"


def sums(items: int) -> list[tuple[str, str]]:
    """Questions "What is 1 + <number>?" and their right answers."""
    return [(f"What is 1 + {number}?", str(number + 1)) for number in range(items)]


async def add_dataset(
    database: Database, items: int | Sequence[tuple[str, str]] = 6, name: str = "sums"
) -> None:
    """Items with a question and the expected answer; sums, if only their number is given."""
    pairs = sums(items) if isinstance(items, int) else items
    pool = await database.pool()
    dataset_id, version_id = new_id(), new_id()
    await pool.execute("insert into datasets (id, name) values ($1, $2)", dataset_id, name)
    await pool.execute(
        "insert into dataset_versions (id, dataset_id, version, content_hash, item_count, columns) "
        "values ($1, $2, 1, $3, $4, $5)",
        *(version_id, dataset_id, "c" * 64, len(pairs), json.dumps(["question"])),
    )
    rows = [
        (
            version_id,
            place,
            f"item-{place}",
            json.dumps({"question": question}),
            answer,
            ("even", "odd")[place % 2],
        )
        for place, (question, answer) in enumerate(pairs)
    ]
    await pool.executemany(
        "insert into dataset_items (version_id, position, item_id, inputs, expected, category) "
        "values ($1, $2, $3, $4, $5, $6)",
        rows,
    )


async def add_provider(
    database: Database,
    base_url: str = ANYWHERE,
    *,
    name: str = "vendor",
    priced: bool = False,
    retries: int = 0,
    concurrency: int = 64,
    dialect: str = "openai_compatible",
) -> None:
    """An account with a key; with `priced`, its two models cost a dollar a thousand tokens."""
    account = NewProvider(
        name,
        base_url,
        dialect=dialect,
        secret="sk-sentinel-12345",
        concurrency=concurrency,
        service={"max_retries": retries, "timeout_seconds": 20},
    )
    async with database.transaction() as tx:
        provider = await providers.create(tx, account, KEYRING, "loopback")
        for model in ("small", "large") if priced else ():
            await providers.put_model(tx, provider, model, input_price=1000.0, output_price=1000.0)


def definition(**changes: Any) -> Definition:
    """Two variants on the stage's dataset and provider, judged by a numeric check."""
    return Definition.model_validate(
        {
            "name": "sums",
            "dataset": "sums",
            "variants": [
                {"key": "small", "model": "vendor/small", "template": "{{ question }}"},
                {
                    "key": "large",
                    "model": "vendor/large",
                    "template": "{{ question }}",
                    "system": "Be exact.",
                },
            ],
            "metrics": [{"name": "correct", "role": "primary", "check": {"kind": "numeric"}}],
        }
        | changes
    )


async def add_test(database: Database, **changes: Any) -> Experiment:
    """A draft."""
    async with database.transaction() as tx:
        return await experiments.create(tx, definition(**changes))


async def start(
    database: Database,
    experiment: Experiment,
    *,
    concurrency: int | None = None,
    budget: dict[str, Any] | None = None,
) -> Run:
    """Start it."""
    async with database.transaction() as tx:
        return await service.start(
            tx,
            experiment,
            concurrency=concurrency,
            budget=None if budget is None else Budget(**budget),
            at=CLOCK.now(),
        )


async def set_stage(
    database: Database,
    base_url: str = ANYWHERE,
    *,
    items: int = 6,
    concurrency: int = 4,
    priced: bool = False,
    budget: dict[str, Any] | None = None,
    **changes: Any,
) -> Run:
    """Dataset, provider and a started test."""
    await add_dataset(database, items)
    await add_provider(database, base_url, priced=priced)
    return await start(database, await add_test(database, **changes), concurrency=concurrency, budget=budget)


async def read(database: Database, run: Run) -> Run:
    """The run as it is now."""
    async with database.transaction() as tx:
        return await service.get(tx, run.id)


async def until(database: Database, run: Run, *states: RunState, within: float = 30.0) -> Run:
    """The run, once it is in one of these states."""
    async with asyncio.timeout(within):
        while (now := await read(database, run)).state not in states:
            await asyncio.sleep(0.05)
    return now


async def until_done(database: Database, run: Run, done: int, within: float = 30.0) -> Run:
    """The run, once at least so many of its tasks are done."""
    async with asyncio.timeout(within):
        while (now := await read(database, run)).done < done:
            await asyncio.sleep(0.01)
    return now


@asynccontextmanager
async def working(
    database: Database, *, cancel: bool = False, breaker: BreakerConfig | None = None, **options: Any
) -> AsyncIterator[Worker]:
    """A worker at work while the block runs, then stopped or cancelled; retries wait milliseconds."""
    client = Http1Client("loopback")
    pipeline = Pipeline(
        client, CLOCK, random.Random(7), backoff=Backoff(base=0.01, ceiling=0.02), breaker=breaker
    )
    options = {"keyring": KEYRING, "lease_seconds": 5.0, "grace_seconds": 5.0} | options
    worker = Worker(database=database, pipeline=pipeline, clock=CLOCK, **options)
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        if cancel:
            task.cancel()
        worker.stop()
        async with asyncio.timeout(30):
            await asyncio.wait([task])
        assert task.cancelled() == cancel
        if not cancel:
            task.result()
        await client.close()


@asynccontextmanager
async def vendor(delay: float = 0.0, *, wrong: str = "", usage: bool = True) -> AsyncIterator[Upstream]:
    """A vendor that adds up after `delay` seconds; the model named `wrong` always says 0."""

    async def answer(request: Received, wire: Wire) -> None:
        body = request.json()
        number = int(body["messages"][-1]["content"].rpartition("+ ")[2].rstrip("?"))
        text = "0" if body["model"] == wrong else f"It is {number + 1}"
        await asyncio.sleep(delay)
        changes: dict[str, Any] = {"model": body["model"]} | ({} if usage else {"usage": None})
        if not wire.is_closing():
            wire.write(http(completion(text, **changes)))

    async with upstream(answer) as server:
        yield server


async def rows(database: Database, run: Run) -> list[dict[str, Any]]:
    """Every task's row."""
    pool = await database.pool()
    found = await pool.fetch(
        "select * from run_tasks where run_id = $1 order by position, repeat, variant", run.id
    )
    return [dict(row) for row in found]
