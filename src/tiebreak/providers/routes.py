"""`/api/v1/providers`."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient, Outbound
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest.idempotency import IdempotencyKey, once
from tiebreak.infrastructure.rest.pagination import Cursor, Limit, Page, decode, page
from tiebreak.infrastructure.rest.problems import PROBLEM_RESPONSES
from tiebreak.providers import service
from tiebreak.providers.account import ExternalServiceConfig
from tiebreak.providers.probe import probe
from tiebreak.providers.schemas import (
    MODEL,
    NAME,
    ModelDocument,
    ModelPut,
    Moment,
    ProbeDocument,
    ProbeRequest,
    ProviderCreate,
    ProviderDocument,
    ProviderPatch,
)
from tiebreak.providers.secrets import Keyring

Name = Annotated[str, Path(pattern=NAME, examples=["openai"])]
Model = Annotated[str, Path(pattern=MODEL, examples=["gpt-5-mini"])]

_BY_NAME = {"name": "$response.body#/name"}
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "model": ProviderDocument,
        "description": "The provider, without its secret",
        "links": {
            operation: {"operationId": operation, "parameters": _BY_NAME}
            for operation in (
                "get_provider",
                "change_provider",
                "list_models",
                "test_provider",
                "get_provider_health",
                "get_provider_usage",
            )
        },
    }
}


def build_router(
    *,
    database: Database,
    http: HttpClient,
    keyring: Keyring,
    outbound: Outbound,
    clock: Clock,
    defaults: ExternalServiceConfig | None = None,
) -> APIRouter:
    """The calls on providers and their models; `http` is for the connection test only, `defaults` for new accounts."""
    router = APIRouter(prefix="/api/v1/providers", tags=["providers"], responses=PROBLEM_RESPONSES)
    _add_writes(router, database, keyring, outbound, defaults)
    _add_reads(router, database)
    _add_model_reads(router, database, clock)
    _add_model_writes(router, database, clock)
    _add_test(router, database, http, keyring, clock)
    return router


def _add_writes(
    router: APIRouter,
    database: Database,
    keyring: Keyring,
    outbound: Outbound,
    defaults: ExternalServiceConfig | None,
) -> None:
    @router.post("", status_code=201, operation_id="create_provider", responses=_CREATED)
    async def create_provider(
        request: Request, provider: ProviderCreate, key: IdempotencyKey = None
    ) -> Response:
        """Store an account at a vendor; nothing is called yet."""
        async with database.transaction() as tx:

            async def effect() -> ProviderDocument:
                made = await service.create(tx, provider.new(), keyring, outbound, defaults)
                return ProviderDocument.of(made)

            return await once(tx, route="create_provider", key=key, body=await request.body(), effect=effect)

    @router.patch("/{name}", operation_id="change_provider")
    async def change_provider(name: Name, patch: ProviderPatch) -> ProviderDocument:
        """Change an account; null removes its `api_key`, its `proxy` and its files."""
        async with database.transaction() as tx:
            return ProviderDocument.of(await service.change(tx, name, patch.described(), keyring, outbound))

    @router.delete("/{name}", status_code=204, operation_id="delete_provider")
    async def delete_provider(name: Name) -> None:
        """Remove an account with its secret and its models' prices; runs that need it stop and say so."""
        async with database.transaction() as tx:
            await service.delete(tx, name)


def _add_reads(router: APIRouter, database: Database) -> None:
    @router.get("", operation_id="list_providers")
    async def list_providers(limit: Limit = 50, cursor: Cursor = None) -> Page[ProviderDocument]:
        """Providers, oldest first."""
        async with database.transaction() as tx:
            rows = await service.list_page(tx, limit, decode(cursor))
        return page(rows, limit, ProviderDocument.of, lambda row: row.id)

    @router.get("/{name}", operation_id="get_provider")
    async def get_provider(name: Name) -> ProviderDocument:
        """A provider, without its secret."""
        async with database.transaction() as tx:
            return ProviderDocument.of(await service.by_name(tx, name))


def _add_model_reads(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.get("/{name}/models", operation_id="list_models")
    async def list_models(name: Name, limit: Limit = 50, cursor: Cursor = None) -> Page[ModelDocument]:
        """The models you said something about, oldest first, each with the price that counts and all dated ones."""
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            rows = await service.list_models(tx, provider, limit, decode(cursor), clock.now())
        return page(rows, limit, ModelDocument.of, lambda row: row.id)

    @router.get("/{name}/models/{model:path}", operation_id="get_model")
    async def get_model(name: Name, model: Model) -> ModelDocument:
        """The price that counts for a model, and where it comes from; any model name may be asked for."""
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            return ModelDocument.of(await service.get_model(tx, provider, model, clock.now()))


def _add_model_writes(router: APIRouter, database: Database, clock: Clock) -> None:
    @router.put("/{name}/models/{model:path}", operation_id="put_model")
    async def put_model(name: Name, model: Model, prices: ModelPut) -> ModelDocument:
        """Say what a model costs you, perhaps from a date on; without prices the list price counts."""
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            await service.put_model(tx, provider, model, **prices.model_dump())
            return ModelDocument.of(await service.get_model(tx, provider, model, clock.now()))

    @router.delete("/{name}/models/{model:path}", status_code=204, operation_id="delete_model")
    async def delete_model(
        name: Name,
        model: Model,
        valid_from: Annotated[Moment | None, Query(description="Forget only the price of this date")] = None,
    ) -> None:
        """Forget what was said of a model, so that its list price counts again; or only the price of one date."""
        async with database.transaction() as tx:
            await service.delete_model(tx, await service.by_name(tx, name), model, valid_from)


def _add_test(
    router: APIRouter, database: Database, http: HttpClient, keyring: Keyring, clock: Clock
) -> None:
    @router.post("/{name}/test", operation_id="test_provider")
    async def test_provider(name: Name, what: ProbeRequest) -> ProbeDocument:
        """Call the vendor once, for real: for its list of models, or for one token of a model."""
        async with database.transaction() as tx:
            provider = await service.by_name(tx, name)
            account = await service.account(tx, provider.id, keyring)
        # Outside the transaction: no connection waits for a vendor.
        return ProbeDocument.of(await probe(http, account, what.model, clock))
