"""Use cases of providers in use. Functions take an open transaction; nothing is changed."""

import asyncio
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.providers import activity_reading as reading
from tiebreak.providers import prices
from tiebreak.providers.account import Price, Provider
from tiebreak.providers.health import HOUR, Health, judge
from tiebreak.providers.usage import Stretch, UsageReport, report


async def health(tx: AsyncConnection, provider: Provider, as_of: datetime) -> Health:
    """How a provider is."""
    minutes = await reading.minutes(tx, provider.id, as_of - HOUR)
    return judge(minutes, await reading.circuits(tx, provider.id), as_of)


async def usage(tx: AsyncConnection, provider: Provider, days: int, as_of: datetime) -> UsageReport:
    """What a provider was used for on the last `days` days in UTC, today among them."""
    today = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=days - 1)
    stretches = await reading.stretches(tx, provider.id, since)

    def price_of(stretch: Stretch) -> Price | None:
        if stretch.hour is None:
            return stretch.price
        return prices.list_price(stretch.model, provider.base_url, stretch.hour)

    # In a thread, because the first lookup loads the list.
    return await asyncio.to_thread(report, since.date(), stretches, price_of)
