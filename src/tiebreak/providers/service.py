"""Use cases of providers. Functions take an open transaction; the caller commits."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, TypedDict
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Conflict, Fault, InvalidInput, Misconfigured, NotFound
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.addresses import Outbound, check_url, same_origin
from tiebreak.infrastructure.connections.http import Route
from tiebreak.providers import prices, store
from tiebreak.providers.account import Account, ExternalServiceConfig, Price, PricedModel, Provider
from tiebreak.providers.presets import COMPATIBLE
from tiebreak.providers.route_checks import check_files, check_proxy
from tiebreak.providers.secrets import CannotOpen, Keyring
from tiebreak.providers.secrets import Field as SealedField
from tiebreak.providers.store import Sealed, Settled, Stored, StoredModel

NIL: Final = UUID(int=0)
MOST_DATES: Final = 200  # prices of one model


class BatchValues(TypedDict, total=False):
    """What is said of a `BatchConfig`; what is left out stays as it is."""

    max_batch_size: int
    batch_timeout_ms: int


class ServiceValues(TypedDict, total=False):
    """What is said of an `ExternalServiceConfig`; what is left out stays as it is, or is the default."""

    timeout_seconds: float
    max_retries: int
    batch_config: BatchValues
    cache_enabled: bool
    cache_ttl_seconds: int


class RouteValues(TypedDict, total=False):
    """What is said of a `Route`; None removes, what is left out stays as it is."""

    proxy: str | None
    ca_bundle: str | None
    client_certificate: str | None
    client_key: str | None


@dataclass(frozen=True, slots=True)
class NewProvider:
    """An account as the user describes it; the secret and the proxy in clear, on their way into the store."""

    name: str
    base_url: str
    dialect: str = COMPATIBLE
    secret: str | None = None
    concurrency: int = 64
    service: ServiceValues = field(default_factory=ServiceValues)
    route: RouteValues = field(default_factory=RouteValues)

    def __repr__(self) -> str:
        return f"NewProvider({self.name!r}, {self.base_url!r})"


@dataclass(frozen=True, slots=True)
class Changes:
    """What to change of a provider; None, and what is left out, stays as it is."""

    base_url: str | None = None
    secret: str | None = None
    forget_secret: bool = False
    concurrency: int | None = None
    service: ServiceValues = field(default_factory=ServiceValues)
    route: RouteValues = field(default_factory=RouteValues)

    def __repr__(self) -> str:
        return f"Changes(base_url={self.base_url!r})"


def _unknown(name: str) -> NotFound:
    return NotFound(f"no provider {name!r}; `tiebreak provider list` shows what there is")


def _configured(base: ExternalServiceConfig, stated: ServiceValues) -> ExternalServiceConfig:
    batch = replace(base.batch_config, **stated.get("batch_config", {}))
    values: dict[str, Any] = {**stated, "batch_config": batch}
    return replace(base, **values)


def _seal(keyring: Keyring, plain: str | None, provider_id: UUID, what: SealedField) -> Sealed | None:
    return None if plain is None else Sealed(*keyring.encrypt(plain, provider_id, what))


async def create(
    tx: AsyncConnection,
    new: NewProvider,
    keyring: Keyring,
    outbound: Outbound,
    defaults: ExternalServiceConfig | None = None,
) -> Provider:
    """Store an account. What it does not say of its service is as in `defaults`, whose name counts for nothing.

    Raises:
        InvalidInput: the URL or the proxy cannot be called, or a file of the route cannot be used.
        Conflict: the name is taken.
        Misconfigured: there is a secret and no key to keep it with.
    """
    provider_id = new_id()
    base = ExternalServiceConfig(new.name) if defaults is None else replace(defaults, service_name=new.name)
    base_url = check_url(new.base_url, outbound)
    files = await _checked_files(Route(), new.route, outbound)
    settled = Settled(
        base_url=base_url,
        concurrency=new.concurrency,
        service=_configured(base, new.service),
        secret=_seal(keyring, new.secret, provider_id, "secret"),
        proxy=_seal(keyring, new.route.get("proxy"), provider_id, "proxy"),
        ca_bundle=files.ca_bundle,
        client_certificate=files.client_certificate,
        client_key=files.client_key,
    )
    if not await store.insert_provider(tx, provider_id, new.dialect, settled):
        raise Conflict(f"there is a provider {new.name!r} already; change it, or take another name")
    return await by_name(tx, new.name)


async def _checked_files(before: Route, stated: RouteValues, outbound: Outbound) -> Route:
    """The files of a route with what is said of them; the proxy, which is kept apart, is only checked.

    Raises:
        InvalidInput: see `route_checks`.
    """
    if (proxy := stated.get("proxy")) is not None:
        check_proxy(proxy, outbound)
    named: dict[str, Any] = {key: value for key, value in stated.items() if key != "proxy"}
    files = replace(before, **named)
    if named:  # a file that has gone meanwhile is no reason to refuse other changes
        await asyncio.to_thread(check_files, files)
    return files


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
        InvalidInput: the URL or the proxy cannot be called, a file cannot be used, or the stored secret would get
            within reach of somebody new.
        Misconfigured: there is a secret and no key to keep it with.
    """
    found = await store.find_by_name(tx, name, lock=True)
    if found is None:
        raise _unknown(name)
    before = found.provider
    base_url = before.base_url if changes.base_url is None else check_url(changes.base_url, outbound)
    files = await _checked_files(_files(before), changes.route, outbound)
    secret = found.secret
    if changes.secret is not None or changes.forget_secret:
        secret = _seal(keyring, changes.secret, before.id, "secret")
    elif secret is not None:
        _require_no_new_reader(found, base_url, changes.route, keyring)
    proxy = found.proxy
    if "proxy" in changes.route:
        proxy = _seal(keyring, changes.route["proxy"], before.id, "proxy")
    settled = Settled(
        base_url=base_url,
        concurrency=before.concurrency if changes.concurrency is None else changes.concurrency,
        service=_configured(before.service, changes.service),
        secret=secret,
        proxy=proxy,
        ca_bundle=files.ca_bundle,
        client_certificate=files.client_certificate,
        client_key=files.client_key,
    )
    await store.update_provider(tx, before.id, settled)
    return await by_name(tx, name)


def _files(provider: Provider) -> Route:
    return Route(None, provider.ca_bundle, provider.client_certificate, provider.client_key)


def _require_no_new_reader(found: Stored, base_url: str, route: RouteValues, keyring: Keyring) -> None:
    """A stored secret goes to no other server, and not past a proxy or an authority that is new: over http the proxy
    reads what it forwards, and over https whoever holds an authority's key can pose as the vendor.

    Raises:
        InvalidInput: give the secret again, to say that this is meant.
    """
    before = found.provider
    ca_bundle = route.get("ca_bundle")
    if not same_origin(base_url, before.base_url):
        message = (
            f"base_url {base_url!r} leads to another server than {before.base_url!r}; "
            "give `api_key` with it, so that the stored one is not sent there"
        )
    elif route.get("proxy") is not None and not _same_proxy(found, route["proxy"], keyring):
        message = (
            "calls would go through another proxy; give `api_key` with it, so that the stored one is not"
        )
    elif ca_bundle is not None and ca_bundle != before.ca_bundle:
        message = (
            f"ca_bundle {ca_bundle!r} is trusted by whoever holds its keys to be the vendor; "
            "give `api_key` with it, so that the stored one is not"
        )
    else:
        return
    raise InvalidInput(message, faults=[Fault("/api_key", message)])


def _same_proxy(found: Stored, proxy: str | None, keyring: Keyring) -> bool:
    try:
        return proxy == _opened(found, "proxy", keyring)
    except CannotOpen:
        return False


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
    return unsealed(found, keyring)


def unsealed(found: Stored, keyring: Keyring) -> Account:
    """What calls through a stored provider need, the secret in clear.

    Raises:
        Misconfigured: the secret does not open with the present key.
    """
    provider = found.provider
    route = replace(_files(provider), proxy=_open(found, "proxy", keyring))
    return Account(
        provider_id=provider.id,
        dialect=provider.dialect,
        base_url=provider.base_url,
        concurrency=provider.concurrency,
        secret=_open(found, "secret", keyring),
        service=provider.service,
        route=None if route == Route() else route,
    )


def _opened(found: Stored, what: SealedField, keyring: Keyring) -> str | None:
    sealed = found.secret if what == "secret" else found.proxy
    if sealed is None:
        return None
    return keyring.decrypt(sealed.value, sealed.key_id, found.provider.id, what)


def _open(found: Stored, what: SealedField, keyring: Keyring) -> str | None:
    try:
        return _opened(found, what, keyring)
    except CannotOpen as exc:
        name = found.provider.name
        raise Misconfigured(
            f"the {what} of provider {name!r} cannot be opened: {exc}; set TIEBREAK_SECRET_KEY to the key it was "
            f"sealed with, or enter the {what} again with `tiebreak provider set {name}`"
        ) from exc


async def unreadable(tx: AsyncConnection, keyring: Keyring) -> list[str]:
    """The names of the providers whose secrets the present key does not open: to be named at start.

    Raises:
        Misconfigured: the key file itself cannot be read.
    """
    return [found.provider.name for found in await store.list_sealed(tx) if _locked(found, keyring)]


def _locked(found: Stored, keyring: Keyring) -> bool:
    try:
        _opened(found, "secret", keyring)
        _opened(found, "proxy", keyring)
    except CannotOpen:
        return True
    return False


async def _priced(provider: Provider, name: str, row: StoredModel | None, at: datetime) -> PricedModel:
    own = () if row is None else row.prices
    row_id = NIL if row is None else row.id
    counts = prices.in_force(own, at)
    if counts is not None:
        return PricedModel(row_id, name, counts.price, counts.valid_from, own)
    # In a thread, because the first lookup loads the list.
    listed = await asyncio.to_thread(prices.list_price, name, provider.base_url, at)
    return PricedModel(row_id, name, listed, None, own)


async def price_at(tx: AsyncConnection, provider: Provider, model: str, at: datetime) -> Price | None:
    """What a model costs at a moment: the user's own price, else the list's, else None."""
    return (await get_model(tx, provider, model, at)).price


async def get_model(tx: AsyncConnection, provider: Provider, model: str, at: datetime) -> PricedModel:
    """A model with the price that counts at a moment, whether or not anybody said anything about it."""
    return await _priced(provider, model, await store.find_model(tx, provider.id, model), at)


async def list_models(
    tx: AsyncConnection, provider: Provider, limit: int, after: UUID | None, at: datetime
) -> list[PricedModel]:
    """One more than `limit` of the models somebody said something about, by age, with their prices at a moment."""
    rows = await store.list_models(tx, provider.id, limit, after)
    return [await _priced(provider, row.name, row, at) for row in rows]


async def put_model(
    tx: AsyncConnection,
    provider: Provider,
    model: str,
    *,
    input_price: float | None,
    output_price: float | None,
    cached_input_price: float | None = None,
    valid_from: datetime | None = None,
) -> None:
    """Say what a model costs from a moment on (None: since ever), in US dollars per million tokens; without any price
    every own one is forgotten and the list price counts.

    Raises:
        InvalidInput: one price without the other, no possible price, or too many dates.
    """
    own = prices.own(input_price, output_price, cached_input_price, valid_from)
    model_id = await store.put_model(tx, provider.id, model)
    if own is None:
        await store.forget_prices(tx, model_id)
        return
    await store.put_price(tx, model_id, own.valid_from, own.price)
    if await store.count_prices(tx, model_id) > MOST_DATES:
        message = f"model {model!r} has {MOST_DATES} prices already, which is the most; forget some"
        raise InvalidInput(message, faults=[Fault("/valid_from", message)])


async def delete_model(
    tx: AsyncConnection, provider: Provider, model: str, valid_from: datetime | None = None
) -> None:
    """Forget what was said of a model, so that its list price counts again; given a date, only that price.

    Raises:
        NotFound: nothing was.
    """
    found = await store.find_model(tx, provider.id, model)
    if found is None:
        raise NotFound(
            f"nothing is stored of model {model!r} of provider {provider.name!r}; "
            f"`tiebreak provider models {provider.name}` shows what is"
        )
    if valid_from is None:
        await store.delete_model(tx, found.id)
    elif not await store.delete_price(tx, found.id, valid_from):
        raise NotFound(
            f"no price of model {model!r} counts from {valid_from.isoformat()} on; "
            f"`tiebreak provider models {provider.name}` shows which there are"
        )
