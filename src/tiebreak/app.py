"""The composition root: builds every part from Settings, owns the order of start and stop, mounts the routers."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tiebreak import __version__, migrations
from tiebreak.clock import Clock, SystemClock
from tiebreak.datasets.upload import MAX_UPLOAD, MEDIA_TYPES
from tiebreak.errors import Misconfigured, TiebreakError
from tiebreak.ids import new_id
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres, resolve_home
from tiebreak.providers import service as provider_service
from tiebreak.providers.activity import Activity
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring
from tiebreak.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

log = structlog.get_logger(__name__)

KEEP_SECONDS = 1.0
REVIVE_SECONDS = 30.0
OPENAPI_PATH = "/api/v1/openapi.json"
TAGS = [
    {"name": "tests", "description": "A/B tests: definition and lifecycle."},
    {
        "name": "runs",
        "description": "A dataset through the variants of a test: progress, budget, transcripts.",
    },
    {"name": "analytics", "description": "Results and verdicts."},
    {"name": "providers", "description": "Accounts at vendors, their models and prices."},
    {"name": "prompts", "description": "Versioned prompts."},
    {"name": "datasets", "description": "Versioned inputs with expected answers."},
    {"name": "operations", "description": "Is the server well?"},
]
# Uploads come raw with their own type; everything else is JSON.
UPLOADS = {"/api/v1/datasets": frozenset(MEDIA_TYPES)}


@dataclass(frozen=True)
class Parts:
    """What a process of ours holds open."""

    settings: Settings
    home: Path
    database: Database
    keyring: Keyring
    http: HttpClient
    pipeline: Pipeline
    activity: Activity
    clock: Clock


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[Parts]:
    """Everything opened, in the order it is needed; closed in the opposite one.

    Raises:
        Misconfigured: the installation cannot work as configured; the message names the remedy.
        Unavailable: the database does not answer.
    """
    async with AsyncExitStack() as opened:
        http = _http_client(settings)
        opened.push_async_callback(http.close)
        home = await asyncio.to_thread(resolve_home, settings.home)
        dsn = await _database_server(settings, opened)
        database = Database(
            PostgresConfig(dsn=dsn, pool_size=settings.db_pool_size, max_overflow=settings.db_max_overflow)
        )
        opened.push_async_callback(database.close)
        secret_key = settings.secret_key.get_secret_value() if settings.secret_key else None
        keyring = await asyncio.to_thread(Keyring.open, home, secret_key)
        clock = SystemClock()
        activity = Activity(database, clock)
        recorder = asyncio.create_task(activity.run())
        opened.callback(recorder.cancel)
        opened.push_async_callback(activity.close)
        # The generator spreads retries; nothing secret comes from it.
        pipeline = Pipeline(http, clock, random.Random(), watch=activity)  # noqa: S311
        activity.watch(pipeline.circuits)
        opened.push_async_callback(pipeline.close)
        await _name_unreadable_secrets(database, keyring)
        yield Parts(settings, home, database, keyring, http, pipeline, activity, clock)


def _http_client(settings: Settings) -> HttpClient:
    """The chosen one; it opens nothing yet."""
    if settings.http_client == "own":
        return Http1Client(settings.outbound)
    try:
        # Imported here, because only the extra brings aiohttp.
        from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
    except ModuleNotFoundError as exc:
        raise Misconfigured(
            f"{Settings.variables()['http_client']}=aiohttp cannot be used: the module {exc.name} is not installed; "
            "install tiebreak[aiohttp], or leave the variable out to use Tiebreak's own client"
        ) from exc
    return AiohttpClient(settings.outbound)


async def _database_server(settings: Settings, opened: AsyncExitStack) -> str:
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        await asyncio.to_thread(migrations.require_head, dsn)
        return dsn
    private = await asyncio.to_thread(PrivatePostgres.open, settings.home)
    opened.callback(private.close)
    await asyncio.to_thread(migrations.upgrade, private.dsn)
    keeper = asyncio.create_task(_keep(private))
    opened.callback(keeper.cancel)
    return private.dsn


async def _keep(private: PrivatePostgres) -> None:
    """Start the server again when its guardian was killed; all its other deaths the guardian mends itself."""
    while True:
        await asyncio.sleep(KEEP_SECONDS)
        try:
            await asyncio.to_thread(private.revive, patience=REVIVE_SECONDS)
        except TiebreakError as exc:
            log.error("the private PostgreSQL does not come back", reason=exc.detail)


async def _name_unreadable_secrets(database: Database, keyring: Keyring) -> None:
    async with database.transaction() as tx:
        names = await provider_service.unreadable(tx, keyring)
    if names:
        log.warning(
            "secrets cannot be read with the present key",
            providers=names,
            remedy="set TIEBREAK_SECRET_KEY to the key they were stored with, or enter them again",
        )


def create_app(
    settings: Settings,
    *,
    port: int | None = None,
    instance: str | None = None,
    stopping: asyncio.Event | None = None,
) -> "FastAPI":
    """The application; its lifespan opens the parts and mounts the routers, so nothing is open before.

    `port` is the one clients use (the guard checks it in Host); `instance` is what /health tells;
    `stopping`, once set, ends open streams. While the lifespan lasts, `app.state.parts` is the `Parts`.
    """

    # FastAPI and the routers are imported here, because a background worker opens the parts and serves nothing.
    from fastapi import FastAPI

    from tiebreak.infrastructure.middleware.guard import BodyRules, LoopbackGuard
    from tiebreak.infrastructure.rest import problems

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_parts(settings) as parts:
            app.state.parts = parts
            mount(app, parts, instance or str(new_id()))
            yield

    app = FastAPI(
        title="Tiebreak",
        version=__version__,
        summary="Which variant of an LLM application to ship, and how sure we are",
        openapi_url=OPENAPI_PATH,
        openapi_tags=TAGS,
        servers=[{"url": "/", "description": "This server"}],
        # FastAPI's pages load their scripts from another host; the product opens no such connection.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    problems.install(app)
    app.add_middleware(
        LoopbackGuard,
        port=settings.port if port is None else port,
        bodies=BodyRules(raw=UPLOADS, raw_limit=MAX_UPLOAD),
        stopping=stopping,
    )
    return app


def mount(app: "FastAPI", parts: Parts, instance: str) -> None:
    """Every router, each given the parts it needs."""
    from tiebreak.analytics import routes as analytics
    from tiebreak.datasets import routes as datasets
    from tiebreak.experiments import live_routes
    from tiebreak.experiments import routes as experiments
    from tiebreak.operations import health
    from tiebreak.prompts import routes as prompts
    from tiebreak.providers import activity_routes as activity
    from tiebreak.providers import routes as providers
    from tiebreak.runs import routes as runs

    database, clock = parts.database, parts.clock
    app.include_router(health.build_router(database=database, instance=instance))
    app.include_router(
        providers.build_router(
            database=database,
            http=parts.http,
            keyring=parts.keyring,
            outbound=parts.settings.outbound,
            clock=clock,
            defaults=parts.settings.provider_defaults,
        )
    )
    app.include_router(activity.build_activity_router(database=database, clock=clock))
    app.include_router(prompts.build_router(database=database))
    app.include_router(datasets.build_router(database=database))
    app.include_router(experiments.build_router(database=database))
    app.include_router(live_routes.build_live_router(database=database, clock=clock))
    app.include_router(runs.build_router(database=database, clock=clock))
    app.include_router(runs.build_lifecycle_router(database=database, clock=clock))
    app.include_router(analytics.build_router(database=database, clock=clock))
