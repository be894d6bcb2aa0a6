"""SQL over providers and their models. The names of the queries say what they are for; nothing here commits."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, Select, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.ids import new_id
from tiebreak.providers.account import BatchConfig, DatedPrice, ExternalServiceConfig, Price, Provider
from tiebreak.providers.tables import model_prices, models, providers

# A price without a date has counted since here: before any call was made.
EVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
CHANNEL: Final = "tiebreak_providers"  # NOTIFY after an account or a price changed; polling is the guarantee


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret at rest and which key opens it."""

    value: bytes
    key_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What may change of a provider's row, as it is to be."""

    base_url: str
    concurrency: int
    service: ExternalServiceConfig
    secret: Sealed | None
    proxy: Sealed | None
    ca_bundle: str | None
    client_certificate: str | None
    client_key: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A provider's row: what may be shown, and what may not."""

    provider: Provider
    secret: Sealed | None
    proxy: Sealed | None


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model's row with its own prices, the oldest first."""

    id: UUID
    name: str
    prices: tuple[DatedPrice, ...]


def _stored(row: Row[Any]) -> Stored:
    return Stored(
        provider=Provider(
            id=row.id,
            dialect=row.dialect,
            base_url=row.base_url,
            has_secret=row.secret is not None,
            concurrency=row.concurrency,
            service=ExternalServiceConfig(
                service_name=row.name,
                timeout_seconds=row.timeout_seconds,
                max_retries=row.max_retries,
                batch_config=BatchConfig(row.max_batch_size, row.batch_timeout_ms),
                cache_enabled=row.cache_enabled,
                cache_ttl_seconds=row.cache_ttl_seconds,
            ),
            has_proxy=row.proxy is not None,
            ca_bundle=row.ca_bundle,
            client_certificate=row.client_certificate,
            client_key=row.client_key,
            created_at=row.created_at,
            updated_at=row.updated_at,
        ),
        secret=None if row.secret is None else Sealed(row.secret, row.secret_key_id),
        proxy=None if row.proxy is None else Sealed(row.proxy, row.proxy_key_id),
    )


def _columns(settled: Settled) -> dict[str, Any]:
    service = settled.service
    return {
        "base_url": settled.base_url,
        "concurrency": settled.concurrency,
        "timeout_seconds": service.timeout_seconds,
        "max_retries": service.max_retries,
        "max_batch_size": service.batch_config.max_batch_size,
        "batch_timeout_ms": service.batch_config.batch_timeout_ms,
        "cache_enabled": service.cache_enabled,
        "cache_ttl_seconds": service.cache_ttl_seconds,
        "secret": settled.secret and settled.secret.value,
        "secret_key_id": settled.secret and settled.secret.key_id,
        "proxy": settled.proxy and settled.proxy.value,
        "proxy_key_id": settled.proxy and settled.proxy.key_id,
        "ca_bundle": settled.ca_bundle,
        "client_certificate": settled.client_certificate,
        "client_key": settled.client_key,
    }


async def insert_provider(tx: AsyncConnection, provider_id: UUID, dialect: str, settled: Settled) -> bool:
    """Store a new provider; False when the name is taken, decided by the index, so also between two at once."""
    made = await tx.execute(
        insert(providers)
        .values(id=provider_id, name=settled.service.service_name, dialect=dialect, **_columns(settled))
        .on_conflict_do_nothing(index_elements=["name"])
    )
    await notify(tx)
    return made.rowcount == 1


async def find_by_name(tx: AsyncConnection, name: str, *, lock: bool = False) -> Stored | None:
    """A provider by name; with `lock`, nobody else changes it before this transaction ends."""
    found = select(providers).where(providers.c.name == name)
    row = (await tx.execute(found.with_for_update() if lock else found)).one_or_none()
    return None if row is None else _stored(row)


async def find_by_id(tx: AsyncConnection, provider_id: UUID) -> Stored | None:
    """A provider by id, as runs keep it."""
    row = (await tx.execute(select(providers).where(providers.c.id == provider_id))).one_or_none()
    return None if row is None else _stored(row)


async def list_providers(tx: AsyncConnection, limit: int, after: UUID | None) -> list[Stored]:
    """One more than `limit` providers by age."""
    found = select(providers).order_by(providers.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(providers.c.id > after)
    return [_stored(row) for row in await tx.execute(found)]


async def list_every(tx: AsyncConnection) -> list[Stored]:
    """Every provider."""
    return [_stored(row) for row in await tx.execute(select(providers).order_by(providers.c.id))]


async def list_own_prices(tx: AsyncConnection) -> list[tuple[UUID, str, tuple[DatedPrice, ...]]]:
    """(provider, model, own prices by date) of every model that has some."""
    named = select(models.c.id, models.c.provider_id, models.c.name)
    known = {row.id: (row.provider_id, row.name) for row in await tx.execute(named)}
    priced = await _with_prices(tx, select(models))
    return [(*known[model.id], model.prices) for model in priced if model.prices]


async def notify(tx: AsyncConnection) -> None:
    """Tell whoever keeps accounts and prices in memory, when the transaction commits."""
    await tx.execute(select(func.pg_notify(CHANNEL, "")))


async def list_sealed(tx: AsyncConnection) -> list[Stored]:
    """Every provider with something sealed, by name: what a start checks its key against."""
    sealed = or_(providers.c.secret.is_not(None), providers.c.proxy.is_not(None))
    found = select(providers).where(sealed).order_by(providers.c.name)
    return [_stored(row) for row in await tx.execute(found)]


async def update_provider(tx: AsyncConnection, provider_id: UUID, settled: Settled) -> None:
    """Write what may change of a provider; the row is locked by whoever decided the change."""
    await tx.execute(
        update(providers)
        .where(providers.c.id == provider_id)
        .values(**_columns(settled), updated_at=func.now())
    )
    await notify(tx)


async def delete_provider(tx: AsyncConnection, name: str) -> bool:
    """Remove a provider with its models; False when there is none."""
    await notify(tx)
    return (await tx.execute(delete(providers).where(providers.c.name == name))).rowcount > 0


async def put_model(tx: AsyncConnection, provider_id: UUID, name: str) -> UUID:
    """The model's row, made now if there is none."""
    made = insert(models).values(id=new_id(), provider_id=provider_id, name=name)
    kept = made.on_conflict_do_update(index_elements=["provider_id", "name"], set_={"name": name})
    model_id: UUID = (await tx.execute(kept.returning(models.c.id))).scalar_one()
    return model_id


async def put_price(tx: AsyncConnection, model_id: UUID, valid_from: datetime | None, price: Price) -> None:
    """Store a price from a moment on, new or again; None is since ever."""
    prices = {
        "input_price": price.input,
        "output_price": price.output,
        "cached_input_price": price.cached_input,
    }
    await tx.execute(
        insert(model_prices)
        .values(model_id=model_id, valid_from=EVER if valid_from is None else valid_from, **prices)
        .on_conflict_do_update(index_elements=["model_id", "valid_from"], set_=prices)
    )
    await notify(tx)


async def forget_prices(tx: AsyncConnection, model_id: UUID) -> None:
    """Remove every price of a model."""
    await notify(tx)
    await tx.execute(delete(model_prices).where(model_prices.c.model_id == model_id))


async def delete_price(tx: AsyncConnection, model_id: UUID, valid_from: datetime) -> bool:
    """Remove the price that counts from this moment on; False when there is none."""
    await notify(tx)
    gone = delete(model_prices).where(
        model_prices.c.model_id == model_id, model_prices.c.valid_from == valid_from
    )
    return (await tx.execute(gone)).rowcount > 0


async def count_prices(tx: AsyncConnection, model_id: UUID) -> int:
    """How many dates a model has."""
    counted = select(func.count()).select_from(model_prices).where(model_prices.c.model_id == model_id)
    return int((await tx.execute(counted)).scalar_one())


async def find_model(tx: AsyncConnection, provider_id: UUID, name: str) -> StoredModel | None:
    """What the user said of a model, if anything."""
    found = select(models).where(models.c.provider_id == provider_id, models.c.name == name)
    rows = await _with_prices(tx, found)
    return rows[0] if rows else None


async def list_models(
    tx: AsyncConnection, provider_id: UUID, limit: int, after: UUID | None
) -> list[StoredModel]:
    """One more than `limit` of a provider's models by age."""
    found = select(models).where(models.c.provider_id == provider_id).order_by(models.c.id).limit(limit + 1)
    if after is not None:
        found = found.where(models.c.id > after)
    return await _with_prices(tx, found)


async def _with_prices(tx: AsyncConnection, found: Select[Any]) -> list[StoredModel]:
    """The models with all their prices: two queries, however many models."""
    rows = (await tx.execute(found)).all()
    prices: dict[UUID, list[DatedPrice]] = {row.id: [] for row in rows}
    of_these = select(model_prices).where(model_prices.c.model_id.in_(prices))
    for row in await tx.execute(of_these.order_by(model_prices.c.valid_from)):
        price = Price(row.input_price, row.output_price, "override", row.cached_input_price)
        prices[row.model_id].append(DatedPrice(price, None if row.valid_from == EVER else row.valid_from))
    return [StoredModel(row.id, row.name, tuple(prices[row.id])) for row in rows]


async def delete_model(tx: AsyncConnection, model_id: UUID) -> None:
    """Forget what the user said of a model."""
    await notify(tx)
    await tx.execute(delete(models).where(models.c.id == model_id))
