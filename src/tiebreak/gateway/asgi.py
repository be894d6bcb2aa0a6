"""The gateway in front of the application: plain ASGI, because a framework costs more than all the rest of a request."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from starlette.types import ASGIApp, Receive, Scope, Send

from tiebreak.clock import Clock
from tiebreak.errors import NotFound, TiebreakError, Unavailable
from tiebreak.gateway.asking import Asker
from tiebreak.gateway.counting import Counters
from tiebreak.gateway.exchange import SURFACES, CallerLeft, Exchange, Parts, read_body
from tiebreak.gateway.following import Following
from tiebreak.gateway.surfaces import embeddings, models
from tiebreak.gateway.surfaces.surface import CHATS
from tiebreak.ids import ProcessIdentity, new_id
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.middleware.admission import Bounds, Full
from tiebreak.infrastructure.rest import problems
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.observations.feedback import accept_feedback, read_feedback
from tiebreak.observations.spool import SPOOL, Spool, SpoolConfig
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring

PREFIX: Final = "/v1/"
MODELS: Final = "/v1/models"
FEEDBACK: Final = "/v1/feedback"

_JSON: Final = (b"content-type", b"application/json")


class Gateway:
    """Holds what the gateway serves with, while it is `serving`; before and after, it says that it is starting."""

    def __init__(self) -> None:
        self.parts: Parts | None = None

    @asynccontextmanager
    async def serving(
        self,
        *,
        database: Database,
        keyring: Keyring,
        pipeline: Pipeline,
        home: Path,
        clock: Clock,
        metrics: Metrics,
        process: ProcessIdentity,
    ) -> AsyncIterator[None]:
        """Serve until the block ends.

        Raises:
            Misconfigured: the data folder lies in memory, where no record survives.
        """
        spool = await asyncio.to_thread(Spool.open, home / SPOOL, process.id, SpoolConfig(), clock)
        counters = Counters(metrics)
        counters.watch(spool)
        following = Following(database, keyring, home, clock)
        syncing = asyncio.create_task(spool.run())
        try:
            async with following.running():
                self.parts = Parts(
                    following=following,
                    asker=Asker(pipeline),
                    spool=spool,
                    admission=counters.admission(Bounds()),
                    counters=counters,
                    clock=clock,
                    worker=process.id.bytes,
                )
                yield
        finally:
            self.parts = None
            spool.close()
            await asyncio.gather(syncing, return_exceptions=True)


class GatewayFront:
    """Answers what begins with `/v1/`, and leaves the rest to the application behind it."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        self.app = app
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        parts, path, method = self.gateway.parts, scope["path"], scope["method"]
        if parts is None:
            await refuse(Unavailable("the gateway is starting; try again", retry_after=1.0), scope, send)
        elif path in SURFACES and method == "POST":
            await Exchange(parts, scope, receive, send).run()
        elif path == MODELS and method == "GET":
            await _list_models(parts, scope, send)
        elif path == FEEDBACK and method == "POST":
            await _take_feedback(parts, scope, receive, send)
        else:
            await refuse(_unknown(path, method), scope, send)


def _unknown(path: str, method: str) -> TiebreakError:
    known = ", ".join((*(f"POST {each}" for each in SURFACES), f"GET {MODELS}", f"POST {FEEDBACK}"))
    return NotFound(f"{method} {path} is not of this gateway; it has {known}")


def rendered(error: TiebreakError, path: str) -> ASGIApp:
    """The answer to what the guard refuses: in the caller's dialect below `/v1/`, else a problem document."""
    if not path.startswith(PREFIX):
        return problems.render(error)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  (ASGI's shape)
        await refuse(error, scope, send)

    return answer


async def refuse(error: TiebreakError, scope: Scope, send: Send) -> None:
    """An error in the dialect of the path, to somebody whose request was not read."""
    surface: Any = CHATS.get(scope["path"], embeddings)
    answer = surface.failed(error, str(new_id()))
    await _answer(send, answer.status, answer.body, *(each for each in answer.headers if each != _JSON))


async def _answer(send: Send, status: int, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [_JSON, (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _list_models(parts: Parts, scope: Scope, send: Send) -> None:
    names = parts.following.snapshot.names()
    anthropic = any(name == b"anthropic-version" for name, _ in scope["headers"])
    await _answer(send, 200, models.anthropic(names) if anthropic else models.openai(names))


async def _take_feedback(parts: Parts, scope: Scope, receive: Receive, send: Send) -> None:
    """202 when all of it is with the kernel."""
    try:
        with parts.admission.enter() as held:
            items = read_feedback(await read_body(receive, held))
        payloads = accept_feedback(items, find_test=_finder(parts), now=parts.clock.now())
        if not parts.spool.append_many(payloads):
            raise Unavailable("the record has no room for feedback now; send it again", retry_after=1.0)
    except Full as exc:
        await refuse(Unavailable(str(exc), retry_after=exc.retry_after), scope, send)
    except TiebreakError as exc:
        await refuse(exc, scope, send)
    except CallerLeft:
        return
    else:
        await _answer(send, 202, b'{"accepted":%d}' % len(items))


def _finder(parts: Parts) -> Callable[[str], UUID | None]:
    """Knows live tests by slug or id."""
    tests = parts.following.snapshot.tests

    def find(named: str) -> UUID | None:
        if (found := tests.get(named)) is not None:
            return found.test.id
        return next((each.test.id for each in tests.values() if str(each.test.id) == named), None)

    return find
