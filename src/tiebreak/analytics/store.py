"""Reads the ended tasks of a run, folded to one value per item, variant and metric inside the database."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Row,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.analytics import clusters
from tiebreak.analytics.model import Cell, Detours, Observed, RunSummary, Tally
from tiebreak.experiments.definition import Definition, Metric
from tiebreak.runs.model import RunState
from tiebreak.runs.tables import run_tasks, runs

FAILED, NO_USAGE, NO_PRICE = "failed", "no_usage", "no_price"
Fetched = Sequence[Row[*tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Measure:
    """A column as a metric: `scale` of its units make one of the metric's; `absent` says why an answer lacks it."""

    column: ColumnElement[int | None]
    scale: float
    absent: str


TASK = run_tasks.c
MEASURE_COLUMNS = {
    "latency_ms": Measure(TASK.latency_us, 1e3, "not_measured"),
    "time_to_first_token_ms": Measure(TASK.first_token_us, 1e3, "not_streamed"),
    "input_tokens": Measure(TASK.input_tokens, 1.0, NO_USAGE),
    "output_tokens": Measure(TASK.output_tokens, 1.0, NO_USAGE),
    "cost_usd": Measure(TASK.cost_nano, 1e9, NO_PRICE),
}


async def latest_run(tx: AsyncConnection, test_id: UUID) -> RunSummary | None:
    """The run that the results are about."""
    row = (
        await tx.execute(
            select(
                runs.c.id,
                runs.c.state,
                runs.c.reason,
                runs.c.plan["definition"].label("definition"),
                runs.c.total,
                runs.c.done,
                runs.c.calls,
                runs.c.tokens,
                runs.c.cost_nano,
            )
            .where(runs.c.test_id == test_id)
            .order_by(runs.c.created_at.desc(), runs.c.id.desc())
            .limit(1)
        )
    ).one_or_none()
    if row is None:
        return None
    return RunSummary(
        id=row.id,
        state=RunState(row.state),
        reason=row.reason,
        definition=Definition.model_validate(row.definition),
        total=row.total,
        done=row.done,
        calls=row.calls,
        tokens=row.tokens,
        cost_nano=row.cost_nano,
    )


async def observe(
    tx: AsyncConnection, run_id: UUID, variants: Sequence[str], metrics: Sequence[Metric], *, shared: bool
) -> Observed:
    """Item values of every metric, and why some responses have none. `shared` says that requests may share answers."""
    folded = (await tx.execute(_items(run_id, metrics))).all()
    reasons = (await tx.execute(_check_reasons(run_id))).all()
    failures = (await tx.execute(_failures(run_id))).all()
    detours = (await tx.execute(_detours(run_id))).all()
    every = _positions(folded)
    values = _values(folded, every, len(variants), metrics)
    if shared:
        draws = (await tx.execute(_draws(run_id))).all()
        labels = clusters.clusters(every, [(position, draw) for position, draw in draws])
        values = {name: clusters.folded(rows, labels) for name, rows in values.items()}
    return Observed(
        values=values,
        tallies=_tallies(folded, reasons, failures, variants, metrics),
        detours={variants[place]: Detours(*counts) for place, *counts in detours},
    )


def nothing(variants: Sequence[str], metrics: Sequence[Metric]) -> Observed:
    """What there is to see before the first run."""
    return Observed(
        values=_values([], _positions([]), len(variants), metrics),
        tallies=_tallies([], [], [], variants, metrics),
    )


def _value(metric: Metric) -> ColumnElement[float | None]:
    """One response's value, NULL where it has none. A call that failed has no measure but its failure."""
    if metric.check is not None:
        return cast(TASK.scores[metric.name][0].astext, Double)
    if metric.name == "error":
        return cast(cast(TASK.error.is_not(None), Integer), Double)
    return case((TASK.error.is_(None), cast(MEASURE_COLUMNS[metric.name].column, Double)))


def _items(run_id: UUID, metrics: Sequence[Metric]) -> Select[*tuple[Any, ...]]:
    """One row per variant: arrays over items, so that a run of any length arrives in as many rows as variants."""
    sums = [func.sum(_value(metric)).label(f"sum_{i}") for i, metric in enumerate(metrics)]
    counts = [func.count(_value(metric)).label(f"count_{i}") for i, metric in enumerate(metrics)]
    answered = TASK.error.is_(None)
    unused = func.count().filter(and_(answered, TASK.cost_nano.is_(None), TASK.input_tokens.is_(None)))
    item = (
        select(TASK.variant, TASK.position, func.count().label("responses"), unused.label("unused"))
        .add_columns(*sums, *counts)
        .where(TASK.run_id == run_id, TASK.state == "done")
        .group_by(TASK.variant, TASK.position)
        .subquery()
    )
    place = item.c.position
    means = [item.c[f"sum_{i}"] / func.nullif(item.c[f"count_{i}"], 0) for i in range(len(metrics))]
    return (
        select(
            item.c.variant,
            func.sum(item.c.responses).label("responses"),
            func.sum(item.c.unused).label("unused"),
            func.array_agg(aggregate_order_by(place, place)).label("positions"),
        )
        .add_columns(
            *(func.array_agg(aggregate_order_by(m, place)).label(f"means_{i}") for i, m in enumerate(means)),
            *(func.sum(item.c[f"count_{i}"]).label(f"scored_{i}") for i in range(len(metrics))),
        )
        .group_by(item.c.variant)
    )


def _check_reasons(run_id: UUID) -> Select[*tuple[Any, ...]]:
    """How often each check gave which reason, with a value or without one."""
    score = func.jsonb_each(TASK.scores).table_valued("key", "value").lateral("score")
    value = cast(score.c.value, TASK.scores.type)
    reason, unscored = value[1].astext, value[0].astext.is_(None)
    name = cast(score.c.key, Text)
    return (
        select(TASK.variant, name, reason, unscored, func.count())
        .select_from(run_tasks.join(score, literal(True)))
        .where(TASK.run_id == run_id, TASK.state == "done", reason.is_not(None))
        .group_by(TASK.variant, name, reason, unscored)
    )


def _failures(run_id: UUID) -> Select[*tuple[Any, ...]]:
    """How often calls failed in which way."""
    return (
        select(TASK.variant, TASK.error, func.count())
        .where(TASK.run_id == run_id, TASK.state == "done", TASK.error.is_not(None))
        .group_by(TASK.variant, TASK.error)
    )


def _detours(run_id: UUID) -> Select[*tuple[Any, ...]]:
    """How many answers each variant has, and how many of them came from elsewhere."""
    fell, shared = (TASK.events.contains([{"event": event}]) for event in ("fallback", "shared"))
    return (
        select(TASK.variant, func.count(), func.count().filter(fell), func.count().filter(shared))
        .where(TASK.run_id == run_id, TASK.state == "done", TASK.error.is_(None))
        .group_by(TASK.variant)
    )


def _draws(run_id: UUID) -> Select[*tuple[Any, ...]]:
    """Which items have which draws."""
    return select(TASK.position, TASK.draw).where(
        TASK.run_id == run_id, TASK.state == "done", TASK.draw.is_not(None)
    )


def _positions(folded: Fetched) -> NDArray[np.int64]:
    """The items with an ended task under any variant, in order."""
    held = [np.asarray(row.positions, dtype=np.int64) for row in folded]
    return np.unique(np.concatenate(held or [np.empty(0, dtype=np.int64)]))


def _values(
    folded: Fetched, every: NDArray[np.int64], variants: int, metrics: Sequence[Metric]
) -> dict[str, NDArray[np.float64]]:
    values = {metric.name: np.full((variants, every.size), np.nan) for metric in metrics}
    for row in folded:
        places = np.searchsorted(every, np.asarray(row.positions))
        for i, metric in enumerate(metrics):
            measure = MEASURE_COLUMNS.get(metric.name) if metric.check is None else None
            means = np.asarray(getattr(row, f"means_{i}"), dtype=np.float64)
            values[metric.name][row.variant, places] = means / (measure.scale if measure else 1.0)
    return values


def _tallies(
    folded: Fetched,
    reasons: Fetched,
    failures: Fetched,
    variants: Sequence[str],
    metrics: Sequence[Metric],
) -> dict[Cell, Tally]:
    unscored: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    wrong: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for variant, name, reason, without_value, number in reasons:
        (unscored if without_value else wrong)[variant, name][reason] = number
    for variant, kind, number in failures:
        wrong[variant, "error"][kind] = number
    rows = {row.variant: row for row in folded}
    tallies = {}
    for place, variant in enumerate(variants):
        for i, metric in enumerate(metrics):
            row = rows.get(place)
            why = dict(unscored[place, metric.name])
            if row is not None:
                missing = row.responses - getattr(row, f"scored_{i}") - sum(why.values())
                why |= _explain(metric, int(missing), sum(wrong[place, "error"].values()), int(row.unused))
            responses = 0 if row is None else int(row.responses)
            tallies[Cell(variant, metric.name)] = Tally(responses, why, wrong[place, metric.name])
    return tallies


def _explain(metric: Metric, missing: int, failed: int, unused: int) -> dict[str, int]:
    """Reasons for responses without a value that carry none themselves."""
    if metric.check is not None or metric.name == "error":
        return {"not_scored": missing} if missing else {}
    absent = MEASURE_COLUMNS[metric.name].absent
    without_usage = unused if absent == NO_PRICE else 0
    found = {FAILED: failed, NO_USAGE: without_usage}
    found[absent] = missing - failed - without_usage
    return {reason: number for reason, number in found.items() if number}
