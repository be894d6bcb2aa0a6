"""From a definition to the plan of a run: every reference resolved and checked before the first call is paid for."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.datasets import sampling
from tiebreak.datasets import service as datasets
from tiebreak.datasets.model import DatasetVersion
from tiebreak.errors import Fault, InvalidInput, NotFound
from tiebreak.experiments import parts
from tiebreak.experiments.definition import Definition, Variant
from tiebreak.experiments.planning import resolve_variants, variables
from tiebreak.experiments.plans import PlannedVariant
from tiebreak.runs.model import Plan

MAX_TASKS: Final = 2_000_000
STREAMED_METRIC: Final = "time_to_first_token_ms"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a run will do: its plan, and which items of which dataset version; None means all."""

    plan: Plan
    dataset: DatasetVersion
    positions: list[int] | None

    @property
    def total(self) -> int:
        """How many tasks that makes."""
        items = self.dataset.item_count if self.positions is None else len(self.positions)
        return items * len(self.plan.variants) * self.plan.definition.repeats


async def resolve(tx: AsyncConnection, definition: Definition, at: datetime) -> Layout:
    """Resolve everything a definition refers to, as it is now, with the prices in force at `at`.

    Raises:
        InvalidInput: something it refers to is missing or does not fit; `faults` names every one.
    """
    dataset, faults = await _dataset(tx, definition)

    def require(variant: Variant, planned: PlannedVariant) -> None:
        _require_prompt(variant)
        _require_columns(variant, planned, dataset)

    planned, unresolved = await resolve_variants(tx, definition, at, require)
    faults += unresolved
    if faults or dataset is None:
        raise InvalidInput("; ".join(fault.message for fault in faults[:5]), faults=faults)
    stream = any(metric.name == STREAMED_METRIC for metric in definition.metrics)
    plan = Plan(definition=definition, variants=planned, stream=stream)
    layout = Layout(plan, dataset, await _positions(tx, definition, dataset))
    _require_size(layout)
    return layout


async def _dataset(tx: AsyncConnection, definition: Definition) -> tuple[DatasetVersion | None, list[Fault]]:
    if definition.dataset is None:
        return None, [Fault("/dataset", "the test has no dataset; name one in its definition")]
    try:
        return await datasets.resolve(tx, definition.dataset), []
    except NotFound as exc:
        return None, [Fault("/dataset", exc.detail)]


def _require_prompt(variant: Variant) -> None:
    if (message := parts.missing_prompt(variant)) is not None:
        raise InvalidInput(message, faults=[Fault("", message)])


def _require_columns(variant: Variant, planned: PlannedVariant, dataset: DatasetVersion | None) -> None:
    """Every variable of the templates must be a column of the dataset."""
    needed = variables(planned)
    if dataset is None:
        return
    missing = sorted(needed - set(dataset.columns))
    if missing:
        message = (
            f"the prompt uses {', '.join(map(repr, missing))}, which dataset {dataset.dataset}@{dataset.version} "
            f"does not have; it has {', '.join(map(repr, dataset.columns)) or 'no inputs'}"
        )
        field = "/prompt" if variant.prompt is not None else "/template"
        raise InvalidInput(message, faults=[Fault(field, message)])


async def _positions(
    tx: AsyncConnection, definition: Definition, dataset: DatasetVersion
) -> list[int] | None:
    sample = definition.sample
    if sample is None or sample.size >= dataset.item_count:
        return None
    strata: Sequence[tuple[int, str | None]]
    if sample.stratify is None:
        strata = [(position, None) for position in range(dataset.item_count)]
    else:
        strata = await datasets.strata(tx, dataset.id, sample.stratify)
    return await asyncio.to_thread(sampling.draw, strata, sample.size, definition.seed)


def _require_size(layout: Layout) -> None:
    if layout.total > MAX_TASKS:
        message = (
            f"{layout.total} calls are more than one run takes ({MAX_TASKS}); "
            "take fewer repeats, or a `sample` of the dataset"
        )
        raise InvalidInput(message, faults=[Fault("/repeats", message)])


def unpriced(plan: Plan) -> list[str]:
    """The models whose price is not known, as `provider/model`."""
    every = [model for variant in plan.variants for model in variant.models]
    return sorted({f"{each.provider}/{each.model}" for each in every if each.price() is None})


def require_prices(plan: Plan, max_cost: float | None) -> None:
    """A money budget needs a price of every model.

    Raises:
        InvalidInput: names the models and the remedy.
    """
    missing = unpriced(plan)
    if max_cost is not None and missing:
        models = ", ".join(map(repr, missing))
        message = (
            f"max_cost needs a price of every model, and none is known of {models}: set it with "
            f"`tiebreak provider price {missing[0].replace('/', ' ', 1)}` before the test starts, or leave max_cost out"
        )
        raise InvalidInput(message, faults=[Fault("/budget/max_cost", message)])
