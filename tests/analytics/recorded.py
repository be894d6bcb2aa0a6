"""A test with a run whose tasks have ended, written straight into the tables."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.datasets.tables import dataset_versions, datasets
from tiebreak.experiments import service as experiments
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.model import Experiment
from tiebreak.experiments.plans import PlannedVariant
from tiebreak.ids import new_id
from tiebreak.runs.model import Plan
from tiebreak.runs.tables import run_tasks, runs

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def definition(**changes: Any) -> Definition:
    """Two variants, one numeric check as the primary metric."""
    document: dict[str, Any] = {
        "name": "Small or large?",
        "hypothesis": "The large one solves more",
        "variants": [
            {"key": "small", "model": "mock/small", "template": "{{ question }}"},
            {"key": "large", "model": "mock/large", "template": "{{ question }}"},
        ],
        "metrics": [{"name": "correct", "role": "primary", "check": {"kind": "numeric"}}],
    }
    return Definition.model_validate(document | changes)


@dataclass(frozen=True)
class Ended:
    """One ended task; scores by metric as [value, reason]."""

    position: int
    variant: int
    scores: dict[str, list[Any]] = field(default_factory=dict)
    repeat: int = 0
    error: str | None = None
    latency_us: int | None = 200_000
    first_token_us: int | None = None
    input_tokens: int | None = 10
    output_tokens: int | None = 20
    cost_nano: int | None = 1000
    events: list[dict[str, Any]] | None = None
    draw: UUID | None = None
    state: str = "done"


async def record(
    tx: AsyncConnection,
    definition: Definition,
    tasks: Iterable[Ended],
    *,
    state: str = "completed",
    reason: str | None = None,
    total: int | None = None,
) -> Experiment:
    """Store the test, a run in this state and its tasks."""
    experiment = await experiments.create(tx, definition)
    moved = experiment.start(AT)
    if state != "running":
        step = {"completed": "complete", "paused": "pause", "cancelled": "cancel", "failed": "fail"}[state]
        arguments = (AT,) if state == "completed" else (AT, reason or "by hand")
        moved = getattr(moved, step)(*arguments)
    await experiments.save(tx, experiment, moved)
    tasks = list(tasks)
    done = [task for task in tasks if task.state == "done"]
    run_id = await insert_run(tx, moved, state, reason, len(tasks) if total is None else total, done)
    if tasks:
        await tx.execute(insert(run_tasks), [_row(run_id, task) for task in tasks])
    return moved


async def insert_run(
    tx: AsyncConnection, experiment: Experiment, state: str, reason: str | None, total: int, done: list[Ended]
) -> UUID:
    """A run's row with its totals."""
    dataset_id, version_id, run_id = new_id(), new_id(), new_id()
    await tx.execute(insert(datasets).values(id=dataset_id, name=f"set-{dataset_id}"))
    await tx.execute(
        insert(dataset_versions).values(
            id=version_id, dataset_id=dataset_id, version=1, content_hash="0", item_count=1, columns=[]
        )
    )
    planned = [
        PlannedVariant(
            key=v.key,
            provider_id=new_id(),
            provider="mock",
            model=v.model.partition("/")[2],
            system=None,
            template=v.template or "",
            parameters=dict(v.parameters),
        )
        for v in experiment.definition.variants
    ]
    plan = Plan(definition=experiment.definition, variants=planned, stream=False)
    await tx.execute(
        insert(runs).values(
            id=run_id,
            test_id=experiment.id,
            dataset_version_id=version_id,
            state=state,
            reason=reason,
            plan=plan.model_dump(mode="json", by_alias=True),
            concurrency=8,
            total=total,
            done=len(done),
            calls=len(done) + 2,
            cost_nano=sum(task.cost_nano or 0 for task in done),
            tokens=sum((task.input_tokens or 0) + (task.output_tokens or 0) for task in done),
        )
    )
    return run_id


def _row(run_id: UUID, task: Ended) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "position": task.position,
        "variant": task.variant,
        "repeat": task.repeat,
        "state": task.state,
        "error": task.error,
        "latency_us": task.latency_us,
        "first_token_us": task.first_token_us,
        "input_tokens": task.input_tokens,
        "output_tokens": task.output_tokens,
        "cost_nano": task.cost_nano,
        "events": task.events,
        "draw": task.draw,
        "scores": json.loads(json.dumps(task.scores)) if task.state == "done" else None,
    }


def answers(
    both: int = 0, gained: int = 0, lost: int = 0, neither: int = 0, **columns: dict[int, Any]
) -> list[Ended]:
    """Two variants on the same items: how many both, only the variant, only the control or neither has right.

    `columns` gives a column's value by variant, e.g. `cost_nano={0: 1000, 1: 600}`.
    """
    outcomes = [(1, 1)] * both + [(0, 1)] * gained + [(1, 0)] * lost + [(0, 0)] * neither
    return [
        Ended(
            position,
            variant,
            {"correct": [float(outcome[variant]), None if outcome[variant] else "no_number"]},
            **{name: values[variant] for name, values in columns.items()},
        )
        for position, outcome in enumerate(outcomes)
        for variant in (0, 1)
    ]
