"""The vendor behind the wire: which request gets which answer, and when."""

import asyncio
import hmac
import itertools
from collections import Counter
from functools import lru_cache, partial

from tiebreak.clock import Clock
from tiebreak.mockprovider import answering, faults, misbehaving, paths
from tiebreak.mockprovider.calls import CLIENT_LEFT, NOT_ANSWERED, Call, CallLog
from tiebreak.mockprovider.chance import draw, seconds
from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.conversation import Asked, Embed, Refusal, Reply, Said, Usage
from tiebreak.mockprovider.description import Limits, Model
from tiebreak.mockprovider.dialects import customs
from tiebreak.mockprovider.dialects.customs import Customs
from tiebreak.mockprovider.fault import Fault
from tiebreak.mockprovider.limits import Meter, Standing
from tiebreak.mockprovider.misbehaving import Answer, Misbehaviour, until
from tiebreak.mockprovider.paths import CHAT, HEALTH, MODELS, Endpoint, Format, Vectors
from tiebreak.mockprovider.wire import EVENTS, HTML, JSON, Exchange, Request

_REMEMBERED = 4096  # replies
_LONGEST_REMEMBERED = 8192  # characters of a message, so that memory stays bounded


class Vendor:
    """Serves every route; counts each model's calls, so that faults fall on the same ones every time."""

    def __init__(self, config: MockConfig, log: CallLog, clock: Clock) -> None:
        self._config = config
        self._log = log
        self._clock = clock
        self._started = clock.monotonic()
        self._calls: Counter[str] = Counter()
        self._first_calls: dict[str, float] = {}
        self._meters: dict[str, Meter] = {}
        self._numbers = itertools.count(1)
        self._remembered = lru_cache(maxsize=_REMEMBERED)(partial(answering.reply, config))

    async def serve(self, request: Request, exchange: Exchange) -> None:
        """Answer one request."""
        path = request.target.partition("?")[0]
        found = paths.endpoint(path)
        if found is not None and request.method == "POST":
            await _Serving(self, self._clock, found, request, exchange).hold()
            return
        listed = paths.model_list(path, request.headers)
        ways = found.customs if found else listed[0] if listed else customs.OPENAI
        try:
            if found or request.method != "GET":
                raise _misused(
                    path,
                    request.method,
                    known=bool(found or path == HEALTH or (listed and path in paths.LISTS)),
                )
            exchange.respond(200, self._document(request, path, listed))
        except Refusal as refusal:
            _refuse(exchange, refusal, ways)

    def _document(self, request: Request, path: str, listed: tuple[Customs, str | None] | None) -> bytes:
        if path == HEALTH:
            return customs.health_document(self._log.count)
        if listed is None:
            raise _misused(path, request.method, known=False)
        ways, name = listed
        self.authorise(request, ways)
        if name is None:
            return ways.models(list(self._config.models))
        self.model(name)
        return ways.model(name)

    def model(self, name: str) -> Model:
        """The model of this name."""
        if not name:
            raise Refusal(400, "the request names no `model`")
        if (found := self._config.models.get(name)) is None:
            served = ", ".join(sorted(self._config.models))
            raise Refusal(
                404, f"there is no model {name!r}; this mock provider serves {served}", code="model_not_found"
            )
        return found

    def authorise(self, request: Request, ways: Customs) -> None:
        """Refusal without the key."""
        if (key := self._config.api_key) is None:
            return
        query = paths.query_of(request.target)
        if not hmac.compare_digest(ways.key(request.headers, query), key.encode()):
            raise Refusal(401, f"wrong or missing API key; {ways.remedy}", code="invalid_api_key")

    def count(self, name: str, model: Model) -> Fault | None:
        """Count a call of the model; the fault that takes it, if one does."""
        self._calls[name] += 1
        if not model.faults:
            return None
        now = self._clock.monotonic()
        return faults.due(
            model.faults,
            self._calls[name],
            self._config.seed,
            model.seed,
            name,
            since_start=now - self._started,
            since_first=now - self._first_calls.setdefault(name, now),
        )

    def admit(self, name: str, limits: Limits, tokens: int) -> Standing:
        """Count a call against the model's limits."""
        now = self._clock.monotonic()
        if (meter := self._meters.get(name)) is None:
            meter = self._meters[name] = Meter(limits, now)
        return meter.take(tokens, now)

    def said(self, asked: Asked, model: Model, fault: Fault | None, created: int) -> Said:
        """The answer to a request for text."""
        if asked.samples == 1 and answering.plain(asked):
            replies = [self._reply(asked.model, asked.question, asked.limit)]
        else:
            drawn = [self._reply(asked.model, asked.question, None, each) for each in range(asked.samples)]
            replies = [answering.fitted(asked, model, reply) for reply in drawn]
        answered = sum([reply.tokens for reply in replies])
        usage = answering.usage(asked.tokens, answered, model, len(replies))
        if fault is not None:
            return Said(
                answering.foreign(replies, fault), answering.lied(usage, fault), next(self._numbers), created
            )
        return Said(replies, usage, next(self._numbers), created)

    def _reply(self, name: str, message: str, limit: int | None, sample: int = 0) -> Reply:
        if len(message) <= _LONGEST_REMEMBERED:
            return self._remembered(name, message, limit, sample)
        return answering.reply(self._config, name, message, limit, sample)

    def vectors(
        self, written: Vectors, asked: Embed, model: Model, fault: Fault | None
    ) -> tuple[bytes, float]:
        """The answer to a request for vectors, and how many seconds it takes."""
        counted = answering.lied(Usage(asked.tokens, 0), fault)
        dimensions = asked.dimensions or model.dimensions
        body = written.document(asked, dimensions, None if counted is None else counted.asked)
        if self._config.delay_ms is not None:
            return body, self._config.delay_ms / 1000
        chance = draw(self._config.seed, model.seed, asked.model, *asked.texts, "latency")
        return body, seconds(model.latency, chance)

    def log(self, call: Call, status: int) -> None:
        """Log the call before its last byte leaves: who has read an answer finds it in the log."""
        call.status, call.ended = status, self._clock.monotonic()
        self._log.write(call)


class _Serving:
    """One call, from its request to the last byte of its answer."""

    def __init__(
        self, vendor: Vendor, clock: Clock, found: Endpoint, request: Request, exchange: Exchange
    ) -> None:
        self._vendor = vendor
        self._found = found
        self._request = request
        self._exchange = exchange
        self._clock = clock
        self._call = Call(at=self._clock.now().timestamp(), started=request.arrived)
        self._headers: dict[str, str] = {}

    async def hold(self) -> None:
        """Answer, whatever happens."""
        try:
            await self._answer()
        except Refusal as refusal:
            self._log(refusal.status)
            _refuse(self._exchange, refusal, self._found.customs, self._headers)
        except asyncio.CancelledError:
            if self._call.ended is None:
                self._log(CLIENT_LEFT)
            raise

    async def _answer(self) -> None:
        found, request = self._found, self._request
        self._vendor.authorise(request, found.customs)
        if found is not _CHAT:
            paths.check(found, request.target, request.headers)
        written = found.format
        if isinstance(written, Vectors):
            await self._embed(written, written.decode(request.body, found.model))
        else:
            await self._talk(written, written.decode(request.body, found.model, found.stream))

    async def _talk(self, written: Format, asked: Asked) -> None:
        call = self._call
        call.model, call.stream = asked.model, asked.stream
        model = self._vendor.model(asked.model)
        fault = self._vendor.count(asked.model, model)
        if fault is not None and fault.body in _WITHOUT_ANSWER:
            await self._fail(fault)
            return
        said = self._vendor.said(asked, model, fault, int(call.at))
        call.question = said.replies[0].question
        if model.limits is not None:
            self._admit(asked.model, model.limits, asked.tokens + sum(reply.tokens for reply in said.replies))
        if asked.stream:
            await self._send(fault, Answer(EVENTS, written.events(asked, said), call.started, streamed=True))
            return
        body, seconds_taken = written.document(asked, said), said.seconds
        if fault is not None:
            await self._send(fault, Answer(JSON, [(seconds_taken, body)], call.started, streamed=False))
            return
        if seconds_taken:  # the way that most calls go, and as short as it can be
            await until(self._clock, call.started + seconds_taken)
        self._log(200)
        self._exchange.respond(200, body, headers=self._headers)

    async def _embed(self, written: Vectors, asked: Embed) -> None:
        self._call.model = asked.model
        model = self._vendor.model(asked.model)
        fault = self._vendor.count(asked.model, model)
        if fault is not None and fault.body in _WITHOUT_ANSWER:
            await self._fail(fault)
            return
        if model.limits is not None:
            self._admit(asked.model, model.limits, asked.tokens)
        body, took = self._vendor.vectors(written, asked, model, fault)
        await self._send(fault, Answer(JSON, [(took, body)], self._call.started, streamed=False))

    def _admit(self, name: str, limits: Limits, tokens: int) -> None:
        standing = self._vendor.admit(name, limits, tokens)
        self._headers = self._found.customs.limits(standing, self._clock.now())
        if standing.wait is not None:
            raise Refusal(
                429,
                f"the limit of {standing.lacking} a minute of model {name!r} is reached; try again in {standing.wait:.1f} s",
                code="rate_limit_exceeded",
                wait=standing.wait,
            )

    async def _send(self, fault: Fault | None, answer: Answer) -> None:
        if fault is not None:
            refusal = faults.refusal(fault, self._call.model or "", self._clock.now())
            error_event = self._found.customs.error_event if answer.streamed else self._found.customs.error
            await Misbehaviour(
                fault, answer, self._exchange, self._clock, log=self._log, error_event=error_event(refusal)
            ).send()
        elif answer.streamed:
            await self._stream(answer)
        else:
            ((moment, body),) = answer.parts
            await until(self._clock, answer.arrived + moment)
            self._log(200)
            self._exchange.respond(200, body, headers=self._headers)

    async def _stream(self, answer: Answer) -> None:
        *most, (ending, last) = answer.parts
        await until(self._clock, answer.arrived + answer.parts[0][0])
        self._exchange.begin(200, EVENTS, headers=self._headers)
        for moment, event in most:
            await until(self._clock, answer.arrived + moment)
            self._exchange.send(event)
        await until(self._clock, answer.arrived + ending)
        self._log(200)
        self._exchange.send(last)
        self._exchange.end()

    async def _fail(self, fault: Fault) -> None:
        """What goes wrong without an answer."""
        exchange, clock = self._exchange, self._clock
        waited = faults.retry_after(fault, clock.now())
        headers = {"retry-after": waited} if waited else {}
        match fault.body:
            case "error":
                raise faults.refusal(fault, self._call.model or "", clock.now())
            case "blackhole":
                await misbehaving.never_answer(exchange, clock)
            case "endless_headers":
                await misbehaving.endless_headers(fault, exchange, clock)
            case "gzip_bomb":
                await misbehaving.gzip_bomb(fault, exchange, self._log)
            case "closed":
                self._log(NOT_ANSWERED)
                exchange.drop()
            case _:
                self._log(fault.status)
                if fault.location:
                    headers["location"] = fault.location
                exchange.respond(
                    fault.status, faults.PAGE if fault.body == "html" else b"", kind=HTML, headers=headers
                )

    def _log(self, status: int) -> None:
        self._vendor.log(self._call, status)


_CHAT = paths.endpoint(CHAT)
_WITHOUT_ANSWER = {
    "error",
    "html",
    "empty",
    "closed",
    "blackhole",
    "endless_headers",
    "gzip_bomb",
    "redirect",
}


def _misused(path: str, method: str, *, known: bool) -> Refusal:
    if not known:
        return Refusal(
            404, f"unknown path {path!r}; there are {CHAT}, {MODELS} and {HEALTH}", code="unknown_url"
        )
    return Refusal(405, f"{path} does not take {method}", code="method_not_allowed")


def _refuse(
    exchange: Exchange, refusal: Refusal, ways: Customs, headers: dict[str, str] | None = None
) -> None:
    waited = {"retry-after": refusal.retry_after} if refusal.retry_after else {}
    exchange.respond(refusal.status, ways.error(refusal), headers=(headers or {}) | waited)
