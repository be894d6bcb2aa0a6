"""Everything between a call and the wire.

cache → single flight → batch → retry with budget → (for each attempt:) breaker → concurrency limit → client. So a hit or a
follower takes no slot, a sleeping retry holds none, and every attempt is counted by the breaker. Fallback stands
outside of all this, in `fallback.py`.
"""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable
from contextlib import aclosing
from functools import partial
from typing import TypeVar

from tiebreak.clock import Clock
from tiebreak.ids import new_id
from tiebreak.infrastructure.cache.memory import MemoryCache
from tiebreak.infrastructure.cache.protocol import Cache
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest
from tiebreak.infrastructure.resilience.breaker import BreakerConfig
from tiebreak.infrastructure.resilience.concurrency import QueueFull
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.infrastructure.resilience.shared_stream import FellBehind, SharedStreams
from tiebreak.infrastructure.resilience.single_flight import CallStopped, SingleFlight
from tiebreak.providers.account import Account
from tiebreak.providers.answers import Answers, another_s
from tiebreak.providers.calls import Calls
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.gate import Endpoint, Gate
from tiebreak.providers.merging import Merging
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Failure,
    Origin,
    ProviderError,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
)
from tiebreak.providers.relay import Relay
from tiebreak.providers.sharing import Draws, Scope, key_of, merges, shares
from tiebreak.providers.streams import Assembly, events_of
from tiebreak.providers.watch import Unwatched, Watch

K = TypeVar("K", bound=Hashable)
R = TypeVar("R", ChatResponse, EmbeddingResponse)


class Pipeline:
    """Calls to models through one HTTP client. Belongs to one event loop; `close` ends what several callers share.

    Each attempt has the account's timeout as its deadline; waiting for a slot is bounded by the holders' deadlines.
    """

    def __init__(
        self,
        http: HttpClient,
        clock: Clock,
        rng: random.Random,
        *,
        backoff: Backoff | None = None,
        breaker: BreakerConfig | None = None,
        cache: Cache | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._clock = clock
        self._watch: Watch = watch or Unwatched()
        self._gate = Gate(clock, rng, breaker or BreakerConfig())
        self._calls = Calls(http, self._gate, self._watch, clock=clock, rng=rng, backoff=backoff or Backoff())
        self._answers = Answers(MemoryCache(clock) if cache is None else cache)
        self._chats: SingleFlight[tuple[str, bool], ChatResponse] = SingleFlight()
        self._vectors: SingleFlight[str, EmbeddingResponse] = SingleFlight()
        self._streams: SharedStreams[str, StreamEvent] = SharedStreams(weigh=_weight)
        self._merging = Merging(self._calls.chat, self._calls.embed, clock)

    async def complete(
        self, account: Account, request: ChatRequest, scope: Scope, patience: float = 0.0
    ) -> ChatResponse:
        """The answer, streamed on the wire if the request says so. `patience` is how many seconds it may wait in all for a
        breaker to let it through.

        Raises:
            ProviderError: the last attempt's failure, `calls` counting all of them.
        """
        if merges(scope, request):  # an own draw, perhaps from a call with others: batch → …
            name = key_of(scope, account, request)
            return await self._merged(account, request, self._merging.sample(name, account, request))
        if not shares(
            scope, request
        ):  # an own draw from a call of its own: retry → (breaker → limit → client)
            return await self._calls.chat(account, request, patience)
        key = key_of(scope, account, request)
        kept = await self._kept(account, request, key, ChatResponse)  # cache
        if kept is not None:
            return kept

        async def fetch() -> ChatResponse:
            answer = await self._calls.chat(account, request, patience)  # retry → (breaker → limit → client)
            return await self._keep(account, key, scope, answer)

        return await self._flown(account, request, self._chats, (key, request.stream), fetch)  # single flight

    async def embed(self, account: Account, request: EmbeddingRequest, scope: Scope) -> EmbeddingResponse:
        """Vectors, by the same way.

        Raises:
            ProviderError: as for `complete`.
        """
        if not shares(scope, request):
            return await self._calls.embed(account, request)
        key = key_of(scope, account, request)
        kept = await self._kept(account, request, key, EmbeddingResponse)
        if kept is not None:
            return kept

        async def fetch() -> EmbeddingResponse:
            alike = EmbeddingRequest(request.model, (), request.dimensions, request.parameters)
            texts = self._merging.texts(key_of(scope, account, alike), account, request)
            return await self._keep(account, key, scope, await self._merged(account, request, texts))

        return await self._flown(account, request, self._vectors, key, fetch)

    async def stream(
        self, account: Account, request: ChatRequest, scope: Scope
    ) -> AsyncGenerator[StreamEvent, None]:
        """The answer event by event; the last is `StreamEnd`, and without it the answer is not whole. Close the
        generator (`contextlib.aclosing`) to leave early. Nothing is tried again after the first event.

        Raises:
            ProviderError: before the first event or after some.
        """
        if not shares(scope, request):
            async with aclosing(self._calls.stream(account, request)) as own:
                async for event in own:
                    yield event
            return
        key = key_of(scope, account, request)
        kept = await self._kept(account, request, key, ChatResponse)
        if kept is not None:
            for event in events_of(kept):
                yield event
            return
        source = partial(self._kept_stream, account, request, scope, key)
        async with self._streams.join(key, source) as events:
            if not events.led:
                self._watch.shared(account, request.model, Origin.FLIGHT)
            try:
                async for event in events:
                    yield event
            except (CallStopped, FellBehind) as exc:
                raise _unshared(account, exc) from exc
            except ProviderError as error:
                error.calls = error.calls if events.led else 0
                raise

    def relay(self, account: Account, model: str, request: HttpRequest, endpoint: Endpoint) -> Relay:
        """A draw of its own whose answer goes on as it came: retry → (breaker → limit → client). To be entered."""
        return self._calls.relay(account, model, request, endpoint)

    def circuits(self) -> list[CircuitState]:
        """How this process stands to every provider it called."""
        return self._gate.circuits()

    async def close(self) -> None:
        """End what several callers share; each of them gets a failure that says so."""
        await self._chats.close()
        await self._vectors.close()
        await self._streams.close()
        await self._merging.close()

    async def _kept(
        self, account: Account, request: ChatRequest | EmbeddingRequest, key: str, kind: type[R]
    ) -> R | None:
        if not account.service.cache_enabled:
            return None
        kept = await self._answers.get(key, kind)
        if kept is not None:
            self._watch.shared(account, request.model, Origin.CACHE)
        return kept

    async def _keep(self, account: Account, key: str, scope: Scope, answer: R) -> R:
        draw = new_id() if scope.draws is Draws.SHARED else None
        seconds = account.service.cache_ttl_seconds if account.service.cache_enabled else 0
        return await self._answers.keep(key, answer, seconds, draw)

    async def _flown(
        self,
        account: Account,
        request: ChatRequest | EmbeddingRequest,
        flights: SingleFlight[K, R],
        key: K,
        fetch: Callable[[], Awaitable[R]],
    ) -> R:
        led = False

        async def leading() -> R:
            nonlocal led
            led = True
            return await fetch()

        try:
            joined = await flights.do(key, leading)
        except CallStopped as exc:
            raise _unshared(account, exc) from exc
        except ProviderError as error:
            error.calls = error.calls if led else 0  # who led has made them
            raise
        if joined.led:
            return joined.value
        self._watch.shared(account, request.model, Origin.FLIGHT)
        return another_s(joined.value, Origin.FLIGHT)

    async def _merged(
        self, account: Account, request: ChatRequest | EmbeddingRequest, answering: Awaitable[R]
    ) -> R:
        try:
            answer = await answering
        except (CallStopped, QueueFull) as exc:
            raise _unshared(account, exc) from exc
        if answer.calls == 0:
            self._watch.shared(account, request.model, Origin.BATCH)
        return answer

    async def _kept_stream(
        self, account: Account, request: ChatRequest, scope: Scope, key: str
    ) -> AsyncGenerator[StreamEvent, None]:
        """An own stream whose whole answer is kept at its end."""
        assembly, began = Assembly(self._clock), self._clock.monotonic()
        async with aclosing(self._calls.stream(account, request)) as events:
            async for event in events:
                if isinstance(event, StreamEnd):
                    await self._keep(account, key, scope, assembly.answer(event, began))
                else:
                    assembly.add(event)
                yield event


def _weight(event: StreamEvent) -> int:
    """Characters, as a shared stream counts what it keeps."""
    match event:
        case TextDelta():
            return len(event.text)
        case ToolCallDelta():
            return len(event.arguments)
        case _:
            return 1


def _unshared(account: Account, error: Exception) -> ProviderError:
    """What several callers shared has ended without an answer, or one more cannot join."""
    failure = Failure.RATE_LIMITED if isinstance(error, QueueFull) else Failure.CONNECTION
    return ProviderError(failure, f"provider {account.name!r}: {error}", calls=0)
