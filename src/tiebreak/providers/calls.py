"""A call with its attempts: retry within the provider's budget, and for each attempt breaker → concurrency limit → client."""

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import TypeVar

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.providers import attempt
from tiebreak.providers.account import Account
from tiebreak.providers.gate import Attempt, Endpoint, Gate
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Failure,
    ProviderError,
    StreamEnd,
    StreamEvent,
    UsageUpdate,
)
from tiebreak.providers.relay import Relay
from tiebreak.providers.retries import Retries
from tiebreak.providers.watch import Watch

R = TypeVar("R", ChatResponse, EmbeddingResponse)


class Calls:
    """Makes calls through one HTTP client. A retry sleeps without a slot, so that those who could call do."""

    def __init__(
        self,
        http: HttpClient,
        gate: Gate,
        watch: Watch,
        *,
        clock: Clock,
        rng: random.Random,
        backoff: Backoff,
    ) -> None:
        self._http = http
        self._clock = clock
        self._rng = rng
        self._backoff = backoff
        self._gate = gate
        self._watch = watch

    async def chat(self, account: Account, request: ChatRequest, patience: float = 0.0) -> ChatResponse:
        """The answer, in one piece even if it was streamed.

        Raises:
            ProviderError: the last attempt's failure, `calls` counting all of them.
        """
        call = partial(attempt.call, self._http, account, request, self._clock)
        return await self._tried(
            account, request.model, Endpoint.CHAT, call, self._retries(account, patience)
        )

    async def embed(self, account: Account, request: EmbeddingRequest) -> EmbeddingResponse:
        """Vectors.

        Raises:
            ProviderError: as for `chat`.
        """
        call = partial(attempt.embed, self._http, account, request, self._clock)
        return await self._tried(account, request.model, Endpoint.EMBEDDINGS, call, self._retries(account))

    async def stream(self, account: Account, request: ChatRequest) -> AsyncGenerator[StreamEvent, None]:
        """The answer as it comes. Nothing is tried again after the first event.

        Raises:
            ProviderError: as for `chat`.
        """
        retries = self._retries(account)
        while True:
            begun = False
            try:
                async with aclosing(self._streamed(account, request, retries)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except ProviderError as error:
                if begun:
                    error.calls += retries.calls
                    raise
                await self._next(account, request.model, retries, error)

    def relay(self, account: Account, model: str, request: HttpRequest, endpoint: Endpoint) -> Relay:
        """The answer's bytes as they come, to be entered."""
        return Relay(
            account,
            model,
            request,
            endpoint=endpoint,
            http=self._http,
            gate=self._gate,
            watch=self._watch,
            clock=self._clock,
            retries=self._retries(account),
        )

    def _retries(self, account: Account, patience: float = 0.0) -> Retries:
        return Retries(
            account.service.max_retries,
            budget=self._gate.lane(account).budget,
            backoff=self._backoff,
            rng=self._rng,
            clock=self._clock,
            patience=patience,
        )

    async def _tried(
        self,
        account: Account,
        model: str,
        endpoint: Endpoint,
        call: Callable[[Attempt], Awaitable[R]],
        retries: Retries,
    ) -> R:
        while True:
            try:
                async with self._gate.attempt(account, endpoint, model) as admitted:
                    answer = await self._timed(account, model, partial(call, admitted), retries)
            except ProviderError as error:
                await self._next(account, model, retries, error)
            else:
                return answer if retries.calls == 0 else replace(answer, calls=answer.calls + retries.calls)

    async def _timed(
        self, account: Account, model: str, call: Callable[[], Awaitable[R]], retries: Retries
    ) -> R:
        began, retry = self._clock.monotonic(), retries.calls > 0
        try:
            answer = await call()
        except ProviderError as error:
            if error.calls:
                seconds = self._clock.monotonic() - began
                self._watch.attempted(account, model, error.failure, seconds, None, retry=retry)
            raise
        self._watch.attempted(account, model, None, answer.latency, answer.usage, retry=retry)
        return answer

    async def _next(self, account: Account, model: str, retries: Retries, error: ProviderError) -> None:
        if error.calls == 0 and error.failure in {Failure.CIRCUIT_OPEN, Failure.RATE_LIMITED}:
            self._watch.refused(account, model)
        await retries.wait(error)

    async def _streamed(
        self, account: Account, request: ChatRequest, retries: Retries
    ) -> AsyncGenerator[StreamEvent, None]:
        """One attempt; it holds its slot, and its outcome is open, until the last event."""
        async with self._gate.attempt(account, Endpoint.CHAT, request.model) as admitted:
            began, usage = self._clock.monotonic(), None
            attempted = partial(self._watch.attempted, account, request.model, retry=retries.calls > 0)
            events = attempt.stream(self._http, account, request, self._clock, admitted)
            try:
                async with aclosing(events):
                    async for event in events:
                        if isinstance(event, UsageUpdate):
                            usage = event.usage
                        elif isinstance(event, StreamEnd):
                            attempted(None, self._clock.monotonic() - began, usage)
                            admitted.succeeded()
                        yield event
            except ProviderError as error:
                if error.calls:
                    attempted(error.failure, self._clock.monotonic() - began, usage)
                raise
