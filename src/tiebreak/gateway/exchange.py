"""One request of live traffic from its body to its record: decide, ask, answer, and hand the event to the spool before the
last byte goes out."""

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from tiebreak.auth.model import OWNER, Principal
from tiebreak.clock import Clock
from tiebreak.errors import TiebreakError, Unavailable
from tiebreak.gateway.asking import EMBEDDINGS, PASSED_ON, Ask, Asker, Took
from tiebreak.gateway.counting import Counters
from tiebreak.gateway.deciding import Caller, Decision, decide
from tiebreak.gateway.fields import read_fields
from tiebreak.gateway.following import Following
from tiebreak.gateway.identify import read_headers
from tiebreak.gateway.surfaces import embeddings
from tiebreak.gateway.surfaces.errors import ErrorAnswer
from tiebreak.gateway.surfaces.surface import CHATS
from tiebreak.gateway.surfaces.writing import Question
from tiebreak.ids import new_id
from tiebreak.infrastructure.middleware.admission import Admission, Full, Held
from tiebreak.observations.model import Event, Fallback, encode
from tiebreak.observations.policy import BodyPolicy, kept
from tiebreak.observations.spool import Spool
from tiebreak.providers.account import NANO
from tiebreak.providers.fallback import PASSED_ON as GOES_ON
from tiebreak.providers.model import ChatRequest, ProviderError

SURFACES: Final[Mapping[str, str]] = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    EMBEDDINGS: "embeddings",
}
LEFT: Final = 499  # the status of a request whose caller left before its end
_NOBODY: Final = ChatRequest("", (), {})


class CallerLeft(Exception):
    """Nobody is there to take the answer."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What every exchange of a process works with."""

    following: Following
    asker: Asker
    spool: Spool
    admission: Admission
    counters: Counters
    clock: Clock
    worker: bytes


async def read_body(receive: Receive, held: Held) -> bytes:
    """The whole body, whose size the middleware in front bounds.

    Raises:
        CallerLeft: it broke off.
        Full: this process holds too many bytes.
    """
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerLeft
        if piece := message.get("body", b""):
            held.grow(len(piece))
            pieces.append(piece)
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Exchange:
    """One request. `run` always answers, unless the caller has left."""

    def __init__(self, parts: Parts, scope: Scope, receive: Receive, send: Send) -> None:
        self._parts = parts
        self._scope = scope
        self._receive = receive
        self._send = send
        self._path: str = scope["path"]
        self._id = new_id()
        self._at = parts.clock.now()
        self._took = Took(time.perf_counter())
        self._decision: Decision | None = None
        self._fallbacks: tuple[Fallback, ...] = ()
        self._target = 0
        self._started = self._recorded = self._told = False
        principal: Principal = scope.get("state", {}).get("principal", OWNER)
        self._principal = principal

    async def run(self) -> None:
        """Serve it."""
        try:
            with self._parts.admission.enter() as held:
                await self._serve(held)
        except Full as exc:
            await self._refuse(Unavailable(str(exc), retry_after=exc.retry_after))
        except TiebreakError as exc:
            await self._fail(exc)
        except CallerLeft:
            self._record(LEFT, "caller_left")
        finally:
            # Also after a cancellation: what was asked of a provider was asked.
            self._record(LEFT, "caller_left")

    async def _serve(self, held: Held) -> None:
        fields = read_fields(await read_body(self._receive, held))
        asked = read_headers(self._scope["headers"])
        caller = Caller(self._principal, self._id, asked)
        self._parts.spool.require_room()
        self._decision = decision = decide(
            self._parts.following.snapshot, self._path, fields, caller, self._at
        )
        if fields.stream:
            held.stream()
        question = Question(self._id.hex, int(self._at.timestamp()), _NOBODY, fields.includes_usage)
        passed = {
            name.decode(): value.decode("latin-1")
            for name, value in self._scope["headers"]
            if name in PASSED_ON
        }
        for place, target in enumerate(decision.targets):
            self._target = place
            ask = Ask(self._path, decision, target, question, passed)
            try:
                await self._give(self._parts.asker.answer(ask, self._took), fields.stream)
            except ProviderError as error:
                self._took.calls += error.calls
                last = place + 1 == len(decision.targets)
                if self._started or last or error.fault not in GOES_ON:
                    raise
                following = decision.targets[place + 1].name
                self._fallbacks += (Fallback(target.name, following, error.failure.value),)
            else:
                return

    async def _give(self, answer: AsyncGenerator[bytes, None], stream: bool) -> None:
        """Send the answer as it comes; its last piece goes out when the event is with the kernel."""
        async with aclosing(answer) as pieces:
            async for piece in pieces:
                if self._took.whole:
                    self._record(200, None)
                if not stream:
                    await self._start(200, (b"content-length", str(len(piece)).encode()))
                    await self._body(piece, more=False)
                    self._told = True
                    return
                if not self._started:
                    await self._start(200, (b"cache-control", b"no-cache"))
                await self._body(piece, more=True)
        self._record(200, None)
        await self._body(b"", more=False)
        self._told = True

    async def _start(self, status: int, *more: tuple[bytes, bytes]) -> None:
        self._started = True
        headers = [(b"content-type", self._took.content_type), *more, *self._headers()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _body(self, piece: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    def _headers(self) -> list[tuple[bytes, bytes]]:
        took, decision = self._took, self._decision
        told: list[tuple[bytes, bytes]] = [(b"x-tiebreak-request-id", str(self._id).encode())]
        if decision is not None:
            told.append((b"x-tiebreak-model", decision.targets[self._target].name.encode()))
            told += [(b"x-tiebreak-cache", took.cache.encode()), (b"x-tiebreak-attempts", b"%d" % took.calls)]
            if decision.slug is not None and decision.variant is not None and decision.exposure is not None:
                told += [
                    (b"x-tiebreak-test", decision.slug.encode()),
                    (b"x-tiebreak-variant", decision.variant.plan.key.encode()),
                    (b"x-tiebreak-assignment", decision.exposure.reason.encode()),
                ]
            if took.whole and (cost := self._cost_nano()) is not None:
                told.append((b"x-tiebreak-cost-usd", f"{cost / NANO:.9f}".encode()))
        told.append((b"x-tiebreak-overhead-ms", f"{self._overhead() * 1000:.3f}".encode()))
        if took.upstream_id is not None:
            told.append((b"x-upstream-request-id", took.upstream_id))
        return told

    def _overhead(self) -> float:
        return max(0.0, time.perf_counter() - self._took.began - self._took.upstream)

    def _cost_nano(self) -> int | None:
        decision, paid = self._decision, self._took.billed or self._took.usage
        price = None if decision is None else decision.prices[self._target]
        return None if price is None or paid is None else price.cost_nano(paid)

    async def _refuse(self, error: TiebreakError) -> None:
        """Not taken on: nothing was asked of anybody and nothing is recorded."""
        self._decision = None
        await self._fail(error)

    async def _fail(self, error: TiebreakError) -> None:
        """Tell a failure in the caller's dialect: as the answer, or inside the stream that has begun."""
        answer = self._error(error)
        name = error.failure.value if isinstance(error, ProviderError) else error.code
        self._record(answer.status, name)
        if self._told:
            return
        self._told = True
        if not self._started:
            self._took.content_type = b"application/json"
            others = [header for header in answer.headers if header[0] != b"content-type"]
            await self._start(answer.status, (b"content-length", b"%d" % len(answer.body)), *others)
            await self._body(answer.body, more=False)
            return
        if not self._took.failure_told and self._path in CHATS:
            question = Question(self._id.hex, int(self._at.timestamp()), _NOBODY)
            await self._body(CHATS[self._path].writer(question).error(error), more=True)
        await self._body(b"", more=False)

    def _error(self, error: TiebreakError) -> ErrorAnswer:
        surface: Any = CHATS.get(self._path, embeddings)
        failed: ErrorAnswer = surface.failed(error, str(self._id))
        return failed

    def _record(self, status: int, error: str | None) -> None:
        """Once, and only what was decided: the event goes to the kernel here."""
        decision, took = self._decision, self._took
        if self._recorded or decision is None:
            return
        self._recorded = True
        now = time.perf_counter()
        overhead = self._overhead()
        target = decision.targets[self._target]
        usage, full = took.usage, decision.record is BodyPolicy.FULL
        event = Event(
            id=self._id.bytes,
            at_us=int(self._at.timestamp() * 1e6),
            worker=self._parts.worker,
            surface=SURFACES[self._path],
            status=status,
            exposure=decision.exposure,
            provider=target.account.name,
            model=decision.fields.model,
            served=took.model or target.model,
            stream=decision.fields.stream,
            error=error,
            latency_us=round((now - took.began) * 1e6),
            overhead_us=round(overhead * 1e6),
            first_token_us=None if took.first_token is None else round(took.first_token * 1e6),
            input_tokens=None if usage is None else usage.input_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            reasoning_tokens=None if usage is None else usage.reasoning_tokens,
            usage_estimated=took.estimated,
            cost_nano=self._cost_nano(),
            cache=took.cache,
            attempts=took.calls,
            fallbacks=self._fallbacks,
            draw=None if took.draw is None else took.draw.bytes,
            api_key=None if self._principal.key_id is None else self._principal.key_id.bytes,
            session=decision.session,
            tags=dict(decision.tags),
            request=decision.fields.body.decode("utf-8", "replace") if full else None,
            response="".join(took.text) if full else None,
        )
        self._parts.spool.append(encode(kept(event, decision.record)))
        self._parts.counters.ended(SURFACES[self._path], target.account.name, took, overhead)
