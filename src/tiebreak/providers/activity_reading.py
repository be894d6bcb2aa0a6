"""SQL over what went through providers, for those who ask. Nothing here commits."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, and_, case, cast, func, select, text, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Date

from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot, BreakerState
from tiebreak.providers.account import Price
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.tables import (
    model_prices,
    models,
    provider_circuits,
    provider_hours,
    provider_minutes,
)
from tiebreak.providers.tally import Tally
from tiebreak.providers.usage import Stretch
from tiebreak.statistics.sketch import Sketch

# A process shows its circuits every ten seconds at least; one that has missed three times says nothing about now.
SILENT: Final = text("interval '30 seconds'")

_COUNTS: Final = (
    "calls",
    "answers",
    "retries",
    "cached",
    "joined",
    "refused",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
)


async def minutes(tx: AsyncConnection, provider_id: UUID, since: datetime) -> dict[datetime, Tally]:
    """A provider's minutes from a moment on, in their order."""
    rows = await tx.execute(
        select(provider_minutes)
        .where(provider_minutes.c.provider_id == provider_id, provider_minutes.c.minute >= since)
        .order_by(provider_minutes.c.minute)
    )
    return {
        row.minute: Tally(
            calls=row.calls,
            answers=row.answers,
            refused=row.refused,
            failures=row.failures,
            latency=Sketch.of(row.latency),
        )
        for row in rows
    }


async def circuits(tx: AsyncConnection, provider_id: UUID) -> list[CircuitState]:
    """How the living processes stand to a provider, one entry for each of their circuits."""
    of = provider_circuits.c
    rows = await tx.execute(
        select(provider_circuits)
        .where(of.provider_id == provider_id, of.seen_at >= func.now() - SILENT)
        .order_by(of.endpoint, of.credential, of.process)
    )
    return [
        CircuitState(
            provider_id,
            row.endpoint,
            row.credential,
            BreakerSnapshot(BreakerState(row.state), row.since, row.failures, row.calls, row.next_probe),
            row.slots,
            row.held,
            row.waiting,
        )
        for row in rows
    ]


def _days(provider_id: UUID, since: datetime) -> Select[Any]:
    """Counts by day, model and what they cost. Where the user has no price of their own the list's counts, and that may
    change with every hour."""
    price = (
        select(model_prices)
        .where(model_prices.c.model_id == models.c.id, model_prices.c.valid_from <= provider_hours.c.hour)
        .order_by(model_prices.c.valid_from.desc())
        .limit(1)
        .lateral("price")
    )
    of = provider_hours.c
    parts = (
        cast(func.timezone("UTC", of.hour), Date).label("day"),
        of.model,
        case((price.c.input_price.is_(None), of.hour)).label("unpriced_hour"),
        price.c.input_price,
        price.c.output_price,
        price.c.cached_input_price,
    )
    same_model = and_(models.c.provider_id == of.provider_id, models.c.name == of.model)
    return (
        select(*parts, *(func.sum(of[name]).label(name) for name in _COUNTS))
        .select_from(provider_hours.outerjoin(models, same_model).outerjoin(price, true()))
        .where(of.provider_id == provider_id, of.hour >= since)
        .group_by(*parts)
        .order_by("day", of.model)
    )


async def stretches(tx: AsyncConnection, provider_id: UUID, since: datetime) -> list[Stretch]:
    """What went through a provider from a moment on, by day and model, in pieces that have one price."""
    return [_stretch(row) for row in await tx.execute(_days(provider_id, since))]


def _stretch(row: Row[Any]) -> Stretch:
    own = None
    if row.input_price is not None:
        own = Price(row.input_price, row.output_price, "override", row.cached_input_price)
    counts = {name: int(getattr(row, name)) for name in _COUNTS}
    return Stretch(row.day, row.model, row.unpriced_hour, own, Tally(failures={}, latency=Sketch(), **counts))
