"""Everything between a call and the wire: retry (for each attempt: concurrency limit → adapter → `send`)."""

import random
from collections import OrderedDict
from dataclasses import replace
from typing import Final
from uuid import UUID

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.infrastructure.resilience.concurrency import ConcurrencyLimit, QueueFull
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.providers import attempt
from tiebreak.providers.model import (
    Account,
    ChatRequest,
    ChatResponse,
    Failure,
    ProviderError,
    StaleConnection,
)

MOST_LIMITS: Final = 1000


class Pipeline:
    """Calls to models, through one HTTP client, with one concurrency limit per provider in this process.

    A retry sleeps without a slot, so that those who could call do. Each attempt has the account's timeout as its
    deadline; waiting for a slot is bounded by the holders' deadlines.
    """

    def __init__(
        self, http: HttpClient, clock: Clock, rng: random.Random, backoff: Backoff | None = None
    ) -> None:
        self._http = http
        self._clock = clock
        self._rng = rng
        self._backoff = backoff or Backoff()
        self._limits: OrderedDict[UUID, ConcurrencyLimit] = OrderedDict()

    async def complete(self, account: Account, request: ChatRequest) -> ChatResponse:
        """The answer, after at most `account.service.max_retries` retries of what may be retried; `calls` counts attempts.

        Raises:
            ProviderError: the last attempt's failure, `calls` counting all of them.
        """
        calls = retry = 0
        resent = False
        while True:
            try:
                response = await self._attempt(account, request)
            except ProviderError as error:
                calls += error.calls
                error.calls = calls
                if isinstance(error, StaleConnection) and not resent:
                    resent = True  # not the vendor's failure, so it costs neither a retry nor a wait
                    continue
                if not error.retryable or retry >= account.service.max_retries:
                    raise
                wait = self._backoff.delay(retry, self._rng, error.retry_after)
            else:
                return replace(response, calls=calls + 1) if calls else response
            await self._clock.sleep(wait)
            retry += 1

    async def _attempt(self, account: Account, request: ChatRequest) -> ChatResponse:
        try:
            async with self._limit(account):
                return await attempt.call(self._http, account, request, self._clock)
        except QueueFull as exc:
            raise ProviderError(
                Failure.RATE_LIMITED, f"provider {account.name!r}: {exc}; raise its concurrency", calls=0
            ) from exc

    def _limit(self, account: Account) -> ConcurrencyLimit:
        """The provider's limit, following the account's present setting.

        At 1,000 providers the longest unused idle one makes room; beyond that there are as many as calls in flight.
        """
        limit = self._limits.get(account.provider_id)
        if limit is None:
            if len(self._limits) >= MOST_LIMITS:
                idle = next((key for key, kept in self._limits.items() if kept.idle), None)
                if idle is not None:
                    del self._limits[idle]
            limit = self._limits[account.provider_id] = ConcurrencyLimit(account.concurrency)
        self._limits.move_to_end(account.provider_id)
        if limit.limit != account.concurrency:
            limit.resize(account.concurrency)
        return limit
