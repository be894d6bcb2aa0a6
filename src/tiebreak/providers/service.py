"""Use cases of providers. Functions take an open transaction; the caller commits."""

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.addresses import Outbound, check_url, same_origin
from tiebreak.providers import prices, store
from tiebreak.providers.model import Account, Price, PricedModel, Provider
from tiebreak.providers.secrets import CannotOpen, Keyring
from tiebreak.providers.store import Sealed, Stored, StoredModel

NIL: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class NewProvider:
    """An account as the user describes it; the secret in clear, on its way into the store."""

    name: str
    base_url: str
    dialect: str = "openai_compatible"
    secret: str | None = None
    concurrency: int = 64
    timeout_seconds: float = 60.0
    max_retries: int = 2

    def __repr__(self) -> str:
        return f"NewProvider({self.name!r}, {self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change of a provider; None leaves a value as it is."""

    base_url: str | None = None
    secret: str | None = None
    forget_secret: bool = False
    concurrency: int | None = None
    timeout_seconds: float | None = None
    max_retries: int | None = None

    def __repr__(self) -> str:
        return f"Changes(base_url={self.base_url!r})"


def _unknown(name: str) -> NotFound:
    return NotFound(f"no provider {name!r}; `tiebreak provider list` shows what there is")


def _seal(keyring: Keyring, secret: str | None, provider_id: UUID) -> Sealed | None:
    return None if secret is None else Sealed(*keyring.encrypt(secret, provider_id))


async def create(tx: AsyncConnection, new: NewProvider, keyring: Keyring, outbound: Outbound) -> Provider:
    """Store an account.

    Raises:
        InvalidInput: the URL cannot be called.
        Conflict: the name is taken.
        Misconfigured: there is a secret and no key to keep it with.
    """
    base_url = check_url(new.base_url, outbound)
    provider_id = new_id()
    stored = await store.insert_provider(
        tx,
        provider_id,
        name=new.name,
        dialect=new.dialect,
        base_url=base_url,
        sealed=_seal(keyring, new.secret, provider_id),
        concurrency=new.concurrency,
        timeout_seconds=new.timeout_seconds,
        max_retries=new.max_retries,
    )
    if not stored:
        raise Conflict(f"there is a provider {new.name!r} already; change it, or take another name")
    return await by_name(tx, new.name)


async def by_name(tx: AsyncConnection, name: str) -> Provider:
    """The provider of that name.

    Raises:
        NotFound: there is none.
    """
    found = await store.find_by_name(tx, name)
    if found is None:
        raise _unknown(name)
    return found.provider


async def list_page(tx: AsyncConnection, limit: int, after: UUID | None) -> list[Provider]:
    """One more than `limit` providers by age."""
    return [found.provider for found in await store.list_providers(tx, limit, after)]


async def change(
    tx: AsyncConnection, name: str, changes: Changes, keyring: Keyring, outbound: Outbound
) -> Provider:
    """Change an account; runs that are under way follow within their next lookup.

    Raises:
        NotFound: no such provider.
        InvalidInput: the URL cannot be called, or it leads to another server and the stored secret would follow.
        Misconfigured: there is a secret and no key to keep it with.
    """
    found = await store.find_by_name(tx, name, lock=True)
    if found is None:
        raise _unknown(name)
    before = found.provider
    base_url = before.base_url if changes.base_url is None else check_url(changes.base_url, outbound)
    sealed = found.sealed
    if changes.secret is not None or changes.forget_secret:
        sealed = _seal(keyring, changes.secret, before.id)
    elif sealed is not None and not same_origin(base_url, before.base_url):
        message = (
            f"base_url {base_url!r} leads to another server than {before.base_url!r}; "
            "give `api_key` with it, so that the stored one is not sent there"
        )
        raise InvalidInput(message, faults=[Fault("/api_key", message)])
    stated: dict[str, Any] = {
        "timeout_seconds": changes.timeout_seconds,
        "max_retries": changes.max_retries,
    }
    changed = replace(
        before,
        base_url=base_url,
        concurrency=before.concurrency if changes.concurrency is None else changes.concurrency,
        service=replace(
            before.service, **{name: value for name, value in stated.items() if value is not None}
        ),
    )
    await store.update_provider(tx, changed, sealed)
    return await by_name(tx, name)


async def delete(tx: AsyncConnection, name: str) -> None:
    """Remove a provider with its models and its secret; runs that still need it fail and say so.

    Raises:
        NotFound: no such provider.
    """
    if not await store.delete_provider(tx, name):
        raise _unknown(name)


async def account(tx: AsyncConnection, provider_id: UUID, keyring: Keyring) -> Account:
    """What calls through this provider need, the secret in clear.

    Raises:
        NotFound: the provider was removed.
        Misconfigured: the secret does not open with the present key.
    """
    found = await store.find_by_id(tx, provider_id)
    if found is None:
        raise NotFound(f"the provider with id {provider_id} was removed; make it again and start a new run")
    provider = found.provider
    return Account(
        provider_id=provider.id,
        dialect=provider.dialect,
        base_url=provider.base_url,
        concurrency=provider.concurrency,
        secret=_open(found, keyring),
        service=provider.service,
    )


def _open(found: Stored, keyring: Keyring) -> str | None:
    if found.sealed is None:
        return None
    try:
        return keyring.decrypt(found.sealed.value, found.sealed.key_id, found.provider.id)
    except CannotOpen as exc:
        name = found.provider.name
        raise Misconfigured(
            f"the secret of provider {name!r} cannot be opened: {exc}; set TIEBREAK_SECRET_KEY to the key it was "
            f"sealed with, or enter the secret again with `tiebreak provider set {name}`"
        ) from exc


async def unreadable(tx: AsyncConnection, keyring: Keyring) -> list[str]:
    """The names of the providers whose secrets the present key does not open: to be named at start.

    Raises:
        Misconfigured: the key file itself cannot be read.
    """
    names = []
    for found in await store.list_sealed(tx):
        try:
            _open(found, keyring)
        except Misconfigured as exc:
            if not isinstance(exc.__cause__, CannotOpen):
                raise
            names.append(found.provider.name)
    return names


async def _priced(provider: Provider, name: str, row: StoredModel | None, at: datetime) -> PricedModel:
    if row is not None and row.price is not None:
        return PricedModel(row.id, name, row.price)
    # In a thread, because the first lookup loads the list.
    listed = await asyncio.to_thread(prices.list_price, name, provider.base_url, at)
    return PricedModel(NIL if row is None else row.id, name, listed)


async def price(tx: AsyncConnection, provider: Provider, model: str) -> Price | None:
    """What a model costs: the user's own price, else the list's, else None."""
    return (await get_model(tx, provider, model)).price


async def get_model(tx: AsyncConnection, provider: Provider, model: str) -> PricedModel:
    """A model with the price that counts, whether or not anybody said anything about it."""
    at = datetime.now(UTC)
    return await _priced(provider, model, await store.find_model(tx, provider.id, model, at), at)


async def list_models(
    tx: AsyncConnection, provider: Provider, limit: int, after: UUID | None
) -> list[PricedModel]:
    """One more than `limit` of the models somebody said something about, by age."""
    at = datetime.now(UTC)
    rows = await store.list_models(tx, provider.id, limit, after, at)
    return [await _priced(provider, row.name, row, at) for row in rows]


async def put_model(
    tx: AsyncConnection,
    provider: Provider,
    model: str,
    *,
    input_price: float | None,
    output_price: float | None,
) -> PricedModel:
    """Say what a model costs, in US dollars per million tokens; both None means the list price.

    Raises:
        InvalidInput: one price without the other, or no possible price.
    """
    if (input_price is None) != (output_price is None):
        missing = "input_price" if input_price is None else "output_price"
        message = f"{missing} is missing: give both prices, or neither to use the list price"
        raise InvalidInput(message, faults=[Fault(f"/{missing}", message)])
    model_id = await store.put_model(tx, provider.id, model)
    if input_price is None or output_price is None:
        await store.forget_prices(tx, model_id)
    else:
        stated = Price(
            prices.stated(input_price, "input_price"), prices.stated(output_price, "output_price"), "override"
        )
        await store.put_price(tx, model_id, None, stated)
    return await get_model(tx, provider, model)


async def delete_model(tx: AsyncConnection, provider: Provider, model: str) -> None:
    """Forget what was said of a model; its list price counts again.

    Raises:
        NotFound: nothing was.
    """
    if not await store.delete_model(tx, provider.id, model):
        raise NotFound(
            f"nothing is stored of model {model!r} of provider {provider.name!r}; "
            f"`tiebreak provider models {provider.name}` shows what is"
        )
