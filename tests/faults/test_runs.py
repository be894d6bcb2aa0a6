"""Rows P2 and P4: workers that are killed, and workers that come back from the dead."""

import asyncio
import json
import os
import random
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runs.processes import WorkerProcess, calls, mock_provider, write_recorded
from tests.runs.stage import (
    CLOCK,
    SECRET_KEY,
    add_dataset,
    add_provider,
    add_test,
    read,
    rows,
    start,
    sums,
    until,
    until_done,
    working,
)

from tiebreak.analytics import service as analytics
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.runs.model import Run, RunState

LEASE = 2.0  # seconds
CONCURRENCY = 8


@dataclass(frozen=True)
class Recorded:
    """Recorded answers, and what is known of them."""

    questions: Path
    answers: Path
    pairs: list[tuple[str, str]]
    variants: dict[str, str]  # by key, the control first


async def verdict(database: Database, slug: str) -> tuple[object, ...]:
    """What the results say of the check: nothing that a clock decides."""
    async with database.transaction() as tx:
        found = await analytics.results(tx, slug, at=CLOCK.now())
    return found.verdict, [evidence for evidence in found.evidence if evidence.metric.name == "correct"]


async def kill_and_replace(
    folder: Path, database: Database, dsn: str, run: Run, *, kills: int, seed: int, stack: ExitStack
) -> None:
    """Kill a worker that is at work and start another, at seeded numbers of ended tasks, until the run has ended."""
    chance = random.Random(seed)
    workers: list[WorkerProcess] = []

    def hire(number: int) -> None:
        worker = WorkerProcess(folder, dsn, number, lease_seconds=LEASE, secret_key=SECRET_KEY)
        stack.callback(worker.stop)
        workers.append(worker)

    hire(0)
    hire(1)
    for number, moment in enumerate(sorted(chance.sample(range(run.total - 2 * CONCURRENCY), kills))):
        await until_done(database, run, moment, within=120)
        async with asyncio.timeout(60):
            while not (at_work := [worker for worker in workers if worker.working]):
                await asyncio.sleep(0.02)
        victim = chance.choice(at_work)
        victim.kill()
        workers.remove(victim)
        hire(number + 2)
    await until(database, run, RunState.COMPLETED, within=120)


async def survive(
    folder: Path, database: Database, dsn: str, recorded: Recorded, *, kills: int, seed: int
) -> None:
    """Row P2: every item exactly once in the results, few calls too many, and the verdict of an undisturbed run."""
    log = folder / "calls.jsonl"
    variants = [
        {"key": key, "model": f"vendor/{model}", "template": "{{ question }}"}
        for key, model in recorded.variants.items()
    ]
    metrics = [{"name": "correct", "role": "primary", "check": {"kind": "numeric", "line": "A:"}}]
    await add_dataset(database, recorded.pairs)
    with ExitStack() as stack:
        url = stack.enter_context(mock_provider(recorded.questions, recorded.answers, delay_ms=20, log=log))
        await add_provider(database, url)
        undisturbed = await add_test(database, variants=variants, metrics=metrics)
        async with working(database):
            peace = await start(database, undisturbed, concurrency=CONCURRENCY)
            await until(database, peace, RunState.COMPLETED, within=120)
        before = calls(log)
        assert before == peace.total
        killed = await add_test(database, variants=variants, metrics=metrics)
        run = await start(database, killed, concurrency=CONCURRENCY)
        await kill_and_replace(folder, database, dsn, run, kills=kills, seed=seed, stack=stack)
        ended = await read(database, run)
        await asyncio.sleep(0.5)  # calls that nobody waits for any more end too
        extra = calls(log) - before - run.total
    print(f"{kills} kills: {extra} calls too many, at most {CONCURRENCY * kills} allowed")
    found = await rows(database, run)
    assert ended.done == run.total == len(found) == 2 * len(recorded.pairs)
    assert {row["state"] for row in found} == {"done"}
    assert len({(row["position"], row["variant"], row["repeat"]) for row in found}) == run.total
    assert ended.failed == 0
    assert 0 <= extra <= CONCURRENCY * kills
    assert await verdict(database, killed.slug) == await verdict(database, undisturbed.slug)


async def test_killed_workers_lose_no_item_and_double_none(tmp_path, database, dsn):
    items = 200
    questions, answers = write_recorded(tmp_path, items)
    recorded = Recorded(questions, answers, sums(items), {"small": "small", "large": "large"})
    await survive(tmp_path, database, dsn, recorded, kills=3, seed=1)


@pytest.mark.faults
@pytest.mark.gsm8k
async def test_twenty_kills_on_gsm8k(tmp_path, database, dsn):
    if "TIEBREAK_GSM8K" not in os.environ:
        pytest.skip(
            "SKIPPED: the kill test at its full figure needs the recorded answers; set TIEBREAK_GSM8K"
        )
    folder = Path(os.environ["TIEBREAK_GSM8K"])
    lines = [json.loads(line) for line in (folder / "questions.jsonl").read_text().splitlines()]
    pairs = [(line["question"], line["answer"]) for line in lines]
    variants = {"6b": "6b_finetuning", "175b": "175b_finetuning"}
    recorded = Recorded(folder / "questions.jsonl", folder / "recorded_answers.jsonl", pairs, variants)
    await survive(tmp_path, database, dsn, recorded, kills=20, seed=20)


async def test_a_worker_back_from_the_dead_is_fenced(tmp_path, database, dsn):
    """Row P4: stopped with calls in flight and continued after its leases ran out, it writes nothing."""
    questions, answers = write_recorded(tmp_path, 60)
    await add_dataset(database, 60)
    with ExitStack() as stack:
        url = stack.enter_context(
            mock_provider(questions, answers, delay_ms=400, log=tmp_path / "calls.jsonl")
        )
        await add_provider(database, url)
        run = await start(database, await add_test(database), concurrency=CONCURRENCY)
        zombie = WorkerProcess(tmp_path, dsn, 0, lease_seconds=LEASE, secret_key=SECRET_KEY)
        stack.callback(zombie.stop)
        await until_done(database, run, 1, within=60)
        zombie.signal(signal.SIGSTOP)
        held = [row for row in await rows(database, run) if row["state"] == "leased"]
        assert held
        heir = WorkerProcess(tmp_path, dsn, 1, lease_seconds=LEASE, secret_key=SECRET_KEY)
        stack.callback(heir.stop)
        ended = await until(database, run, RunState.COMPLETED, within=60)
        final = await rows(database, run)
        zombie.signal(signal.SIGCONT)
        # Its calls were paid: that its late answers arrived shows in the number of calls.
        async with asyncio.timeout(30):
            while (now := await read(database, run)).calls == ended.calls:
                await asyncio.sleep(0.05)
        await asyncio.sleep(LEASE)
        now = await read(database, run)
        assert await rows(database, run) == final
    tokens = {row["lease_token"] for row in held}
    places = {(row["position"], row["variant"]) for row in held}
    assert len(tokens) == 1
    assert not {row["lease_token"] for row in final if (row["position"], row["variant"]) in places} & tokens
    assert (now.done, now.state) == (120, RunState.COMPLETED)
    assert now.calls > sum(row["calls"] for row in final)


async def test_a_worker_asked_to_stop_leaves_nothing_leased(tmp_path, database, dsn):
    questions, answers = write_recorded(tmp_path, 60)
    await add_dataset(database, 60)
    with ExitStack() as stack:
        url = stack.enter_context(
            mock_provider(questions, answers, delay_ms=50, log=tmp_path / "calls.jsonl")
        )
        await add_provider(database, url)
        run = await start(database, await add_test(database), concurrency=CONCURRENCY)
        worker = WorkerProcess(tmp_path, dsn, 0, lease_seconds=LEASE, secret_key=SECRET_KEY)
        stack.callback(worker.stop)
        await until_done(database, run, 1, within=60)
        assert await asyncio.to_thread(worker.stop) == 0
        left = await read(database, run)
        states = [row["state"] for row in await rows(database, run)]
        assert left.state is RunState.RUNNING
        assert states.count("done") == left.done == left.calls == calls(tmp_path / "calls.jsonl") < 120
        assert "leased" not in states
