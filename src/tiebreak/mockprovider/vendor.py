"""The vendor behind the wire: which request gets which answer, and when."""

import asyncio
import hmac
import itertools
from collections import Counter
from functools import lru_cache
from urllib.parse import unquote

from tiebreak.clock import Clock
from tiebreak.mockprovider import answering, chat, faults
from tiebreak.mockprovider.calls import CLIENT_LEFT, NOT_ANSWERED, Call, CallLog
from tiebreak.mockprovider.chat import ChatRequest, Refusal, Reply
from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.description import Fault
from tiebreak.mockprovider.wire import EVENTS, HTML, Exchange, Request

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
HEALTH = "/health"

_REMEMBERED = 4096  # replies
_LONGEST_REMEMBERED = 8192  # characters of a message, so that memory stays bounded
_SHORTEST_WAIT = 0.001  # seconds; what an event loop's timer can tell apart


class Vendor:
    """Serves every route; counts each model's calls, so that faults fall on the same ones every time."""

    def __init__(self, config: MockConfig, log: CallLog, clock: Clock) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._calls: Counter[str] = Counter()
        self._numbers = itertools.count(1)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(self._reply)

    async def serve(self, request: Request, exchange: Exchange) -> None:
        """Answer one request."""
        path = request.target.partition("?")[0]
        if path == CHAT and request.method == "POST":
            await self._chat(request, exchange)
            return
        try:
            exchange.respond(200, self._document(request, path))
        except Refusal as refusal:
            _refuse(exchange, refusal)

    def _document(self, request: Request, path: str) -> bytes:
        if path not in {CHAT, MODELS, HEALTH} and not path.startswith(f"{MODELS}/"):
            raise Refusal(
                404, f"unknown path {path!r}; there are {CHAT}, {MODELS} and {HEALTH}", code="unknown_url"
            )
        if path == CHAT or request.method != "GET":
            raise Refusal(405, f"{path} does not take {request.method}", code="method_not_allowed")
        if path == HEALTH:
            return chat.health_document(self._log.count)
        self._authorise(request)
        if path == MODELS:
            return chat.models_document(list(self._config.models))
        name = unquote(path.removeprefix(f"{MODELS}/"))
        self._known(name)
        return chat.model_document(name)

    async def _chat(self, request: Request, exchange: Exchange) -> None:
        call = Call(at=self._clock.now().timestamp(), started=request.arrived)
        try:
            await self._answer(call, request, exchange)
        except Refusal as refusal:
            self._end(call, refusal.status)
            _refuse(exchange, refusal)
        except asyncio.CancelledError:  # only while waiting, so that the call has not ended yet
            self._end(call, CLIENT_LEFT)
            raise

    async def _answer(self, call: Call, request: Request, exchange: Exchange) -> None:
        self._authorise(request)
        asked = chat.decode(request.body)
        call.model, call.stream = asked.model, bool(asked.stream)
        self._known(asked.model)
        model = self._config.models[asked.model]
        self._calls[asked.model] += 1
        fault = faults.due(model.faults, self._calls[asked.model], self._config.seed, model.seed, asked.model)
        if fault is not None and fault.body != "truncated":
            self._fail(call, fault, exchange)
            return
        message = asked.question
        compose = self._remembered if len(message) <= _LONGEST_REMEMBERED else self._reply
        reply = compose(asked.model, message, asked.limit)
        call.question = reply.question
        await (self._stream if call.stream else self._plain)(call, asked, reply, fault, exchange)

    def _reply(self, name: str, message: str, limit: int | None) -> Reply:
        return answering.reply(self._config, name, message, limit)

    async def _plain(
        self, call: Call, asked: ChatRequest, reply: Reply, fault: Fault | None, exchange: Exchange
    ) -> None:
        body = chat.completion(asked, reply, next(self._numbers), int(call.at))
        body = body[: len(body) // 2] if fault else body
        status = fault.status if fault else 200
        await self._until(call.started + reply.seconds)
        self._end(call, status)
        exchange.respond(status, body)

    async def _stream(
        self, call: Call, asked: ChatRequest, reply: Reply, fault: Fault | None, exchange: Exchange
    ) -> None:
        events = chat.events(asked, reply, next(self._numbers), int(call.at))
        events = events[: len(events) // 2] if fault else events
        status = fault.status if fault else 200
        await self._until(call.started + reply.first_token)
        exchange.begin(status, EVENTS)
        for moment, event in events[:-1]:
            await self._until(call.started + moment)
            exchange.send(event)
        moment, event = events[-1]
        await self._until(call.started + moment)
        self._end(call, status)
        exchange.send(event)
        exchange.end()

    def _fail(self, call: Call, fault: Fault, exchange: Exchange) -> None:
        if fault.body == "error":
            raise faults.refusal(fault, call.model or "")
        self._end(call, NOT_ANSWERED if fault.body == "closed" else fault.status)
        if fault.body == "closed":
            exchange.drop()
            return
        headers = {"retry-after": fault.retry_after} if fault.retry_after else {}
        exchange.respond(
            fault.status, faults.PAGE if fault.body == "html" else b"", kind=HTML, headers=headers
        )

    def _authorise(self, request: Request) -> None:
        if (key := self._config.api_key) is None:
            return
        given = request.headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {key}".encode()):
            raise Refusal(
                401, "wrong or missing API key; send `Authorization: Bearer …`", code="invalid_api_key"
            )

    def _known(self, name: str) -> None:
        if name not in self._config.models:
            served = ", ".join(sorted(self._config.models))
            raise Refusal(
                404, f"there is no model {name!r}; this mock provider serves {served}", code="model_not_found"
            )

    async def _until(self, moment: float) -> None:
        """Wait for a moment of the monotonic clock; never early, as a loop's timer may be."""
        while (left := moment - self._clock.monotonic()) > 0:
            await self._clock.sleep(max(left, _SHORTEST_WAIT))

    def _end(self, call: Call, status: int) -> None:
        """Log the call before its last byte leaves: who has read an answer finds it in the log."""
        call.status, call.ended = status, self._clock.monotonic()
        self._log.write(call)


def _refuse(exchange: Exchange, refusal: Refusal) -> None:
    headers = {"retry-after": refusal.retry_after} if refusal.retry_after else {}
    exchange.respond(refusal.status, chat.error_document(refusal), headers=headers)
