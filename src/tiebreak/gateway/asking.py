"""How one target is asked: in the caller's own dialect its bytes go on, otherwise they are translated. Yields what goes to the
caller, and knows afterwards what it took."""

import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

import msgspec

from tiebreak.errors import InvalidInput
from tiebreak.gateway.deciding import Decision
from tiebreak.gateway.fields import Fields, read_fields
from tiebreak.gateway.rewording import CONVERSATIONS
from tiebreak.gateway.surfaces import embeddings
from tiebreak.gateway.surfaces.surface import CHATS
from tiebreak.gateway.surfaces.writing import Question
from tiebreak.gateway.tap import Tap
from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.observations.policy import BodyPolicy
from tiebreak.providers.adapters.openai_wire import usage_of
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.fallback import Target
from tiebreak.providers.gate import Endpoint
from tiebreak.providers.model import (
    ChatRequest,
    EmbeddingRequest,
    Message,
    Origin,
    ProviderError,
    StreamEnd,
    TextDelta,
    Usage,
    UsageUpdate,
)
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.presets import split
from tiebreak.providers.relay import Relay
from tiebreak.providers.sharing import Draws, is_deterministic

EMBEDDINGS: Final = "/v1/embeddings"
_OPENAI: Final = frozenset({"openai_compatible", "openai", "azure_openai"})
# Which dialects of providers a path's bytes can go on to unchanged.
SAME: Final[Mapping[str, frozenset[str]]] = {
    "/v1/chat/completions": _OPENAI,
    EMBEDDINGS: _OPENAI,
    "/v1/responses": frozenset({"openai_responses"}),
    "/v1/messages": frozenset({"anthropic"}),
}
# Headers of the caller that a vendor of the same dialect is told.
PASSED_ON: Final = frozenset({b"anthropic-beta", b"anthropic-version", b"openai-beta"})
MOST_OUTGOING: Final = 1000
CHARACTERS_PER_TOKEN: Final = 4  # of an estimate, where the vendor told nothing because somebody left

# The names of parameters that a neutral request has fields for.
_NEUTRAL: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "seed": "seed",
}


@dataclass(slots=True)
class Took:
    """What came of asking. `began` is when the request came, on `time.perf_counter`; durations in seconds, the first token's
    since then."""

    began: float
    model: str | None = None
    usage: Usage | None = None
    billed: Usage | None = None
    estimated: bool = False
    calls: int = 0
    cache: str = "off"
    draw: UUID | None = None
    upstream: float = 0.0
    first_token: float | None = None
    text: list[str] = field(default_factory=list)
    content_type: bytes = b"application/json"
    upstream_id: bytes | None = None
    whole: bool = False
    failure_told: bool = False  # what went wrong in a stream has reached the caller inside it

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """What the block takes is the provider's time."""
        until_now = self.waited()
        try:
            yield
        finally:
            until_now()

    def waited(self) -> Callable[[], None]:
        """To be called whenever something has come of the provider: what has passed since now is its time."""
        before, began = self.upstream, time.perf_counter()

        def until_now() -> None:
            self.upstream = before + time.perf_counter() - began

        return until_now

    def note(self, headers: Mapping[str, str]) -> None:
        """Keep what of the provider's headers goes to the caller."""
        self.content_type = headers.get("content-type", "application/json").encode("utf-8", "surrogateescape")
        upstream_id = headers.get("x-request-id") or headers.get("request-id")
        self.upstream_id = None if upstream_id is None else upstream_id.encode("utf-8", "surrogateescape")


class _Usages(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw()
    model: str | None = None


class _Prompted(msgspec.Struct):
    prompt_tokens: int


_usages = msgspec.json.Decoder(_Usages)
_prompted = msgspec.json.Decoder(_Prompted)
_ANY: Final = (Message("user", "?"),)


@dataclass(frozen=True, slots=True)
class Ask:
    """One target to be asked. `passed` are headers of the caller that go on; `question` is what an answer repeats."""

    path: str
    decision: Decision
    target: Target
    question: Question
    passed: Mapping[str, str]


class Asker:
    """Asks the targets of decisions through one pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._outgoing: OrderedDict[Any, HttpRequest] = OrderedDict()

    def answer(self, ask: Ask, took: Took) -> AsyncGenerator[bytes, None]:
        """The answer's bytes: one piece, or a stream's as they come. `took` is filled on the way, and is `whole` before the
        piece is given that ends the answer.

        Raises:
            ProviderError: before the first piece, or after some of a stream.
            InvalidInput: something in the request has no words in the provider's dialect.
        """
        fields = _worded(ask.path, ask.decision)
        same = split(ask.target.account.dialect)[0] in SAME[ask.path]
        if same and not _shares(ask.path, ask.decision, fields):
            body = self._body(ask, fields)
            return self._relay_stream(ask, body, took) if fields.stream else self._relay(ask, body, took)
        if ask.path == EMBEDDINGS:
            return self._embed(ask, took)
        request = _neutral(ask, fields, same=same)
        return (
            self._translate_stream(ask, request, took)
            if fields.stream
            else self._translate(ask, request, took)
        )

    # -- bytes as they are ---------------------------------------------------------------------------------------

    def _body(self, ask: Ask, fields: Fields) -> bytes:
        changes: dict[str, Any] = {"model": ask.target.model, **ask.decision.parameters}
        if self._adds_usage(ask, fields):
            changes["stream_options"] = fields.options_with_usage()
        return fields.rewritten(changes)

    def _adds_usage(self, ask: Ask, fields: Fields) -> bool:
        """Whether we ask for a stream's usage although the caller does not: of a chat, if the vendor takes the option."""
        if ask.path != "/v1/chat/completions" or not fields.stream or fields.includes_usage:
            return False
        return b'"stream_options"' in (self._template(ask.target, Endpoint.CHAT, stream=True).body or b"")

    def _template(self, target: Target, endpoint: Endpoint, *, stream: bool) -> HttpRequest:
        """Where and with which headers this target is asked."""
        key = (target, endpoint, stream)
        kept = self._outgoing.get(key)
        if kept is None:
            adapter = adapter_of(target.account.dialect)
            if endpoint is Endpoint.EMBEDDINGS:
                kept = adapter.encode_embeddings(target.account, EmbeddingRequest(target.model, ("?",)))
            else:
                kept = adapter.encode(target.account, ChatRequest(target.model, _ANY, {}, stream=stream))
            self._outgoing[key] = kept
            if len(self._outgoing) > MOST_OUTGOING:
                self._outgoing.popitem(last=False)
        return kept

    def _relayed(self, ask: Ask, body: bytes, endpoint: Endpoint, *, stream: bool) -> Relay:
        template = self._template(ask.target, endpoint, stream=stream)
        outgoing = replace(template, body=body, headers={**template.headers, **ask.passed})
        return self._pipeline.relay(ask.target.account, ask.target.model, outgoing, endpoint)

    async def _relay(self, ask: Ask, body: bytes, took: Took) -> AsyncGenerator[bytes, None]:
        endpoint = Endpoint.EMBEDDINGS if ask.path == EMBEDDINGS else Endpoint.CHAT
        with took.waiting():
            async with self._relayed(ask, body, endpoint, stream=False) as relay:
                took.calls += relay.calls
                took.note(relay.response.headers)
                answer = await relay.response.read()
                took.usage, took.model = _told_usage(ask.path, answer)
                relay.whole(took.usage)
        took.whole = True
        yield answer

    async def _relay_stream(self, ask: Ask, body: bytes, took: Took) -> AsyncGenerator[bytes, None]:
        hide = self._adds_usage(ask, ask.decision.fields)
        adapter = adapter_of(ask.target.account.dialect)
        decoder = adapter.stream(ask.target.account, ChatRequest(ask.target.model, _ANY, {}, stream=True))
        tap = Tap(decoder, hide_usage=hide, keep_text=ask.decision.record is BodyPolicy.FULL)
        waiting = took.waited()
        try:
            async with self._relayed(ask, body, Endpoint.CHAT, stream=True) as relay:
                took.calls += relay.calls
                took.note(relay.response.headers)
                async for piece in _tapped(relay.chunks(), tap):
                    waiting()
                    if tap.begun and took.first_token is None:
                        took.first_token = time.perf_counter() - took.began
                    if tap.ended and not took.whole:
                        took.usage, took.model, took.text = tap.usage, tap.model, tap.text
                        took.whole = True
                        relay.whole(tap.usage)
                    if piece:
                        yield piece
                if tap.failure is not None:
                    took.failure_told = (
                        tap.failure.http_status is not None
                    )  # the vendor's own words have gone on
                    raise tap.failure
        finally:
            if not took.whole:
                waiting()
                took.model, took.text = ask.target.model, tap.text
                took.usage, took.estimated = tap.usage or _estimated(body, tap.characters), tap.usage is None

    # -- translated ----------------------------------------------------------------------------------------------

    async def _translate(self, ask: Ask, request: ChatRequest, took: Took) -> AsyncGenerator[bytes, None]:
        with took.waiting():
            response = await self._pipeline.complete(ask.target.account, request, ask.decision.scope)
        took.calls += response.calls
        took.usage, took.billed, took.model = response.usage, response.paid, response.model
        took.draw, took.text = response.draw, [response.text]
        if ask.decision.scope.draws is not Draws.OWN:
            took.cache = "hit" if response.origin in {Origin.CACHE, Origin.FLIGHT} else "miss"
        took.whole = True
        yield CHATS[ask.path].answer(response, replace(ask.question, request=request))

    async def _translate_stream(
        self, ask: Ask, request: ChatRequest, took: Took
    ) -> AsyncGenerator[bytes, None]:
        writer = CHATS[ask.path].writer(replace(ask.question, request=request))
        waiting, characters, begun = took.waited(), 0, False
        took.content_type, took.model = b"text/event-stream; charset=utf-8", request.model
        took.calls += 1
        try:
            async with aclosing(
                self._pipeline.stream(ask.target.account, request, ask.decision.scope)
            ) as events:
                async for event in events:
                    waiting()
                    if isinstance(event, TextDelta):
                        characters += len(event.text)
                        took.text.append(event.text)
                        if took.first_token is None:
                            took.first_token = time.perf_counter() - took.began
                    elif isinstance(event, UsageUpdate):
                        took.usage = event.usage
                    elif isinstance(event, StreamEnd):
                        took.model, took.whole = event.model, True
                    if piece := writer.feed(event):
                        begun = True
                        yield piece
        except ProviderError as error:
            if begun:
                took.failure_told = True
                yield writer.error(error)
            raise
        finally:
            if not took.whole:
                waiting()
                if took.usage is None:
                    took.usage, took.estimated = _estimated(ask.decision.fields.body, characters), True

    async def _embed(self, ask: Ask, took: Took) -> AsyncGenerator[bytes, None]:
        request, encoding = embeddings.to_neutral(ask.decision.fields)
        with took.waiting():
            response = await self._pipeline.embed(
                ask.target.account, replace(request, model=ask.target.model), ask.decision.scope
            )
        took.calls += response.calls
        took.usage, took.billed, took.model = response.usage, response.paid, response.model
        took.whole = True
        yield embeddings.answer(response, encoding)


async def _tapped(chunks: AsyncIterator[bytes], tap: Tap) -> AsyncIterator[bytes]:
    """What goes on, which may be nothing at times."""
    async for chunk in chunks:
        yield tap.feed(chunk)
    yield tap.finish()


def _worded(path: str, decision: Decision) -> Fields:
    """The caller's request with the variant's words, still in the caller's dialect."""
    fields = decision.fields
    if path not in CONVERSATIONS:
        return fields
    if decision.wording.system is None and decision.wording.user is None:
        return fields
    return read_fields(fields.rewritten(CONVERSATIONS[path].changes(fields.top(), decision.wording)))


def _shares(path: str, decision: Decision, fields: Fields) -> bool:
    """Whether this request may share an answer and can be told in no vendor's words; then it is not relayed."""
    if path == EMBEDDINGS:
        return decision.scope.draws is not Draws.OWN and not embeddings.untranslatable(fields)
    if decision.scope.draws is Draws.OWN or CHATS[path].untranslatable(fields):
        return False
    if decision.scope.draws is Draws.SHARED:
        return True
    try:
        return is_deterministic(CHATS[path].to_neutral(fields))
    except InvalidInput:
        return False  # the vendor will say what is wrong with it


def _neutral(ask: Ask, fields: Fields, *, same: bool) -> ChatRequest:
    decision = ask.decision
    request = CHATS[ask.path].to_neutral(fields, same_family=same)
    stated = {_NEUTRAL[name]: value for name, value in decision.parameters.items() if name in _NEUTRAL}
    others = {name: value for name, value in decision.parameters.items() if name not in _NEUTRAL}
    changes: dict[str, Any] = {**stated, "model": ask.target.model}
    return replace(request, **changes, parameters={**request.parameters, **others})


def _told_usage(path: str, body: bytes) -> tuple[Usage | None, str | None]:
    """The tokens and the model that a whole answer tells, as far as it does."""
    try:
        found = _usages.decode(body)
    except (ValueError, RecursionError):
        return None, None
    raw = bytes(found.usage)
    if path != EMBEDDINGS:
        return usage_of(raw) or _parts(raw), found.model
    try:
        return Usage(_prompted.decode(raw).prompt_tokens, 0), found.model
    except (ValueError, RecursionError):
        return None, found.model


class _Counted(msgspec.Struct):
    """How Anthropic and the Responses API count."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


_counted = msgspec.json.Decoder(_Counted)


def _parts(raw: bytes) -> Usage | None:
    try:
        counted = _counted.decode(raw)
    except (ValueError, RecursionError):
        return None
    cached = counted.cache_read_input_tokens
    whole = counted.input_tokens + (cached or 0) + (counted.cache_creation_input_tokens or 0)
    if whole < 0 or counted.output_tokens < 0:
        return None
    return Usage(whole, counted.output_tokens, cached)


def _estimated(body: bytes, characters: int) -> Usage:
    """Tokens of an answer that nobody counted to its end, at four characters each."""
    return Usage(len(body) // CHARACTERS_PER_TOKEN, -(-characters // CHARACTERS_PER_TOKEN))
