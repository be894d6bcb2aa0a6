"""The composition root: builds every part from Settings, owns the order of start and stop, mounts the routers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from tiebreak import __version__, migrations
from tiebreak.auth import files as key_files
from tiebreak.auth import service as key_service
from tiebreak.auth.gate import Gate
from tiebreak.auth.keys import KeyText
from tiebreak.auth.watch import KeyWatch
from tiebreak.clock import Clock, SystemClock
from tiebreak.datasets.upload import MAX_UPLOAD, MEDIA_TYPES
from tiebreak.errors import Misconfigured, TiebreakError, Unavailable
from tiebreak.ids import ProcessIdentity, new_id
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres, resolve_home
from tiebreak.infrastructure.telemetry import exposition, instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.providers import service as provider_service
from tiebreak.providers.activity import Activity
from tiebreak.providers.counting import Counting
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring
from tiebreak.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from tiebreak.gateway.asgi import Gateway

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
    {"name": "requests", "description": "Live requests as they were served, and what was said of them."},
    {"name": "analytics", "description": "Results and verdicts."},
    {"name": "providers", "description": "Accounts at vendors, their models and prices."},
    {"name": "prompts", "description": "Versioned prompts."},
    {"name": "datasets", "description": "Versioned inputs with expected answers."},
    {"name": "keys", "description": "API keys: who may do what."},
    {"name": "operations", "description": "Is the server well?"},
]
# Uploads come raw with their own type; everything else is JSON.
SURFACES = {"/api/": "management", "/v1/": "gateway"}  # the rest is operations
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
    metrics: Metrics
    process: ProcessIdentity


@asynccontextmanager
async def open_parts(
    settings: Settings, metrics: Metrics, process: ProcessIdentity, *, may_be_away: bool = False
) -> AsyncIterator[Parts]:
    """Everything opened, in the order it is needed; closed in the opposite one. The parts count in `metrics`. A database
    that is not ours `may_be_away` for whoever can do something without it.

    Raises:
        Misconfigured: the installation cannot work as configured; the message names the remedy.
        Unavailable: the database does not answer.
    """
    async with AsyncExitStack() as opened:
        http = _http_client(settings)
        opened.push_async_callback(http.close)
        home = await asyncio.to_thread(resolve_home, settings.home)
        dsn, here = await _database_server(settings, opened, may_be_away=may_be_away)
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
        counting = Counting(metrics, activity)
        pipeline = Pipeline(http, clock, random.Random(), watch=counting)  # noqa: S311
        activity.watch(pipeline.circuits)
        metrics.read_before(lambda: counting.read(pipeline.circuits()))
        opened.push_async_callback(pipeline.close)
        if here:
            await _name_unreadable_secrets(database, keyring)
            await _seed_admin_key(settings, database, clock)
        yield Parts(settings, home, database, keyring, http, pipeline, activity, clock, metrics, process)


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


async def _database_server(
    settings: Settings, opened: AsyncExitStack, *, may_be_away: bool
) -> tuple[str, bool]:
    """Its URL, and whether it answers. Of one that is away the background worker checks the schema when it is back."""
    if settings.database_url is not None:
        dsn = settings.database_url.get_secret_value()
        try:
            await asyncio.to_thread(migrations.require_head, dsn)
        except Unavailable as exc:
            if not may_be_away:
                raise
            log.warning(
                "database away at the start; live traffic goes by what was known last", reason=exc.detail
            )
            return dsn, False
        return dsn, True
    private = await asyncio.to_thread(PrivatePostgres.open, settings.home)
    opened.callback(private.close)
    await asyncio.to_thread(migrations.upgrade, private.dsn)
    keeper = asyncio.create_task(_keep(private))
    opened.callback(keeper.cancel)
    return private.dsn, True


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


async def _seed_admin_key(settings: Settings, database: Database, clock: Clock) -> None:
    if settings.admin_key_file is None:
        return
    key = await asyncio.to_thread(key_files.admin_key, settings.admin_key_file)
    async with database.transaction() as tx:
        counts = await key_service.seed(tx, key, clock.now())
    if not counts:
        log.warning(
            "the key in the admin key file was revoked and stays so",
            prefix=key.prefix,
            remedy="remove the file, and the next start writes a fresh key",
        )


async def has_keys(settings: Settings) -> bool:
    """Whether any API key was ever made, that of the admin key file included, which is stored now; while the database is
    away, as it was known last.

    Raises:
        Misconfigured, Unavailable: as `open_parts`.
    """
    opened = open_parts(settings, Metrics(instruments.ALL), ProcessIdentity("command"))
    try:
        async with opened as parts, parts.database.transaction() as tx:
            return await key_service.keyed(tx)
    except Unavailable:
        kept = key_files.load_snapshot(resolve_home(settings.home))
        if kept is None:
            raise
        return kept.keyed


def create_app(
    settings: Settings,
    *,
    port: int | None = None,
    instance: str | None = None,
    stopping: asyncio.Event | None = None,
    owner: KeyText | None = None,
    exposed: bool = False,
    metrics: Metrics | None = None,
    scrape: Callable[[], Awaitable[str]] | None = None,
    process: ProcessIdentity | None = None,
    traffic: bool = False,
) -> "FastAPI":
    """The application; its lifespan opens the parts and mounts the routers, so nothing is open before.

    `port` is the one clients use (the guard checks it in Host); `instance` is what /health tells;
    `stopping`, once set, ends open streams; `scrape` gives the metrics of all processes, which are this one's own
    `metrics` unless there are others. `owner` is the key of this machine's owner, which may do everything; `exposed`
    says that other machines reach the server; `traffic` that the gateway serves, too. While the lifespan lasts, `app.state.parts` is the `Parts`.
    """

    # FastAPI and the routers are imported here, because a background worker opens the parts and serves nothing.
    from fastapi import FastAPI

    from tiebreak.auth import openapi as key_description
    from tiebreak.gateway.asgi import Gateway, GatewayFront, rendered
    from tiebreak.infrastructure.middleware.guard import BodyRules, Guard
    from tiebreak.infrastructure.middleware.metering import Metering
    from tiebreak.infrastructure.rest import problems

    gate, gateway = Gate(exposed=exposed), Gateway()
    counted = metrics or Metrics(instruments.ALL)

    async def own() -> str:
        counted.refresh()
        return exposition.text(counted)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        identity = process or ProcessIdentity("command")
        async with open_parts(settings, counted, identity, may_be_away=traffic) as parts:
            app.state.parts = parts
            kept = parts.home if traffic else None  # a start without the database is for live traffic only
            gate.watch = KeyWatch(parts.database.config.dsn, parts.clock, owner=owner, home=kept)
            async with AsyncExitStack() as serving:
                await serving.enter_async_context(gate.watch.running())
                mount(app, parts, instance or str(new_id()), scrape or own)
                if traffic:
                    await serving.enter_async_context(_traffic(gateway, parts))
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
    key_description.describe(app)
    app.add_middleware(GatewayFront, gateway=gateway)
    app.add_middleware(
        Guard,
        port=settings.port if port is None else port,
        bodies=BodyRules(raw=UPLOADS, raw_limit=MAX_UPLOAD),
        stopping=stopping,
        gate=gate,
        render=rendered,
    )
    app.add_middleware(Metering, metrics=counted, surfaces=SURFACES)  # the last one stands in front
    return app


def _traffic(gateway: "Gateway", parts: Parts) -> AbstractAsyncContextManager[None]:
    return gateway.serving(
        database=parts.database,
        keyring=parts.keyring,
        pipeline=parts.pipeline,
        home=parts.home,
        clock=parts.clock,
        metrics=parts.metrics,
        process=parts.process,
    )


def mount(app: "FastAPI", parts: Parts, instance: str, scrape: Callable[[], Awaitable[str]]) -> None:
    """Every router, each given the parts it needs."""
    from tiebreak.analytics import routes as analytics
    from tiebreak.auth import routes as keys
    from tiebreak.datasets import routes as datasets
    from tiebreak.experiments import live_routes
    from tiebreak.experiments import routes as experiments
    from tiebreak.observations import routes as observations
    from tiebreak.operations import health
    from tiebreak.operations import metrics as scraping
    from tiebreak.prompts import routes as prompts
    from tiebreak.providers import activity_routes as activity
    from tiebreak.providers import routes as providers
    from tiebreak.runs import routes as runs

    database, clock = parts.database, parts.clock
    app.include_router(health.build_router(database=database, instance=instance))
    app.include_router(keys.build_router(database=database, clock=clock))
    app.include_router(scraping.build_router(scrape=scrape))
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
    app.include_router(observations.build_router(database=database))
    app.include_router(analytics.build_router(database=database, clock=clock))
