"""What every attempt at a provider passes: its breaker, then a slot of its concurrency limit; and what comes of it."""

import random
from enum import StrEnum
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import ConnectFailed, TimedOut
from tiebreak.infrastructure.resilience.breaker import (
    Breaker,
    BreakerConfig,
    Breakers,
    BreakerState,
    Circuit,
    CircuitOpen,
    Outcome,
    Permit,
)
from tiebreak.infrastructure.resilience.budget import RetryBudget
from tiebreak.infrastructure.resilience.concurrency import AdaptiveLimit, QueueFull, Slot
from tiebreak.infrastructure.resilience.keyed import Keyed
from tiebreak.providers.account import Account
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, ProviderError, StaleConnection

MOST_PROVIDERS: Final = 1000
# A wait for a connection that is longer than this says that there are too few of them.
POOL_WAIT_SECONDS: Final = 0.05
PUSHING_BACK: Final = frozenset({429, 503, 529})


class Endpoint(StrEnum):
    """What of a vendor may be away while the rest is there."""

    CHAT = "chat"
    EMBEDDINGS = "embeddings"


def outcome_of(error: ProviderError) -> Outcome:
    """What a failure says about the vendor. That we asked too often, or wrongly, says nothing."""
    if error.failure is Failure.CONNECTION:
        if isinstance(error, StaleConnection):
            return Outcome.IGNORED
        return Outcome.CONNECT_FAILURE if isinstance(error.__cause__, ConnectFailed) else Outcome.FAILURE
    if error.failure is Failure.TIMEOUT:
        cause = error.__cause__
        unreached = isinstance(cause, TimedOut) and cause.phase == "connect"
        return Outcome.CONNECT_FAILURE if unreached else Outcome.FAILURE
    if error.failure in {Failure.SERVER_ERROR, Failure.MALFORMED}:
        return Outcome.FAILURE
    return Outcome.IGNORED


def pushes_back(error: ProviderError) -> bool:
    """Whether the vendor says that it has too much to do, or our own connections to it are too few."""
    crowded = isinstance(error.__cause__, TimedOut) and error.__cause__.phase == "pool"
    return crowded or (error.http_status in PUSHING_BACK and error.failure is not Failure.QUOTA)


class Lane:
    """What all calls to one provider share in this process, whatever they ask it. `trouble` is the vendor's last failure
    in words."""

    __slots__ = ("budget", "limit", "trouble")

    def __init__(self, clock: Clock) -> None:
        self.limit = AdaptiveLimit(1, clock)
        self.budget = RetryBudget()
        self.trouble = ""


class Gate:
    """Breakers by (provider, endpoint and model, credential); a lane by provider. Belongs to one event loop."""

    def __init__(self, clock: Clock, rng: random.Random, config: BreakerConfig) -> None:
        self._lanes: Keyed[UUID, Lane] = Keyed(
            lambda: Lane(clock), most=MOST_PROVIDERS, spare=lambda lane: lane.limit.idle
        )
        self._breakers = Breakers(config, clock, rng)

    def lane(self, account: Account) -> Lane:
        """The provider's lane, following the account's present concurrency."""
        lane = self._lanes.of(account.provider_id)
        if lane.limit.ceiling != account.concurrency:
            lane.limit.resize(account.concurrency)
        return lane

    def attempt(self, account: Account, endpoint: Endpoint, model: str) -> "Attempt":
        """One attempt, to be entered once: `async with gate.attempt(...) as attempt`.

        A model that fails has a circuit of its own: its neighbours at the same vendor go on.
        """
        circuit = Circuit(account.provider_id.hex, f"{endpoint}/{model}", account.credential)
        return Attempt(account, self.lane(account), self._breakers.of(circuit))

    def circuits(self) -> list[CircuitState]:
        """Every circuit that is kept, as it stands."""
        limits = {key.hex: lane.limit for key, lane in self._lanes.items()}
        return [
            CircuitState(
                UUID(circuit.provider),
                circuit.endpoint,
                circuit.credential,
                breaker,
                limits[circuit.provider].limit,
                limits[circuit.provider].held,
                limits[circuit.provider].waiting,
            )
            for circuit, breaker in self._breakers.snapshots().items()
            if circuit.provider in limits
        ]


class Attempt:
    """A place for one call, as a context manager around it; its outcome is known when the block ends, so for a stream
    after the last event.

    Raises on entry ProviderError with no call counted: the breaker is open, or too many wait already.
    """

    __slots__ = ("_account", "_ended", "_lane", "_permit", "_slot")

    def __init__(self, account: Account, lane: Lane, breaker: Breaker) -> None:
        self._account = account
        self._lane = lane
        self._ended = False
        self._slot: Slot = lane.limit.slot()
        try:
            self._permit: Permit = breaker.acquire()
        except CircuitOpen as exc:
            raise self._held_back(exc) from exc

    async def __aenter__(self) -> Self:
        try:
            await self._slot.__aenter__()
        except QueueFull as exc:
            self._permit.record(Outcome.IGNORED)
            raise ProviderError(
                Failure.RATE_LIMITED,
                f"provider {self._account.name!r}: {exc}; raise its concurrency",
                calls=0,
            ) from exc
        except BaseException:  # a cancellation: a probe must not keep its place
            self._permit.record(Outcome.IGNORED)
            raise
        try:
            self._permit.confirm()
        except CircuitOpen as exc:
            await self._leave()
            raise self._held_back(exc) from exc
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.succeeded()
        elif isinstance(error, ProviderError):
            self._failed(error)
        await self._leave()

    def waited(self, seconds: float) -> None:
        """The call waited so long for a connection, because all were in use."""
        if seconds > POOL_WAIT_SECONDS:
            self._slot.pushed_back()

    def succeeded(self) -> None:
        """The answer is whole, whatever becomes of its connection. The end of the block says so, too."""
        if self._ended:
            return
        self._ended = True
        permit = self._permit
        permit.record(Outcome.SUCCESS)
        self._lane.budget.succeeded()
        if not permit.probe:
            self._slot.succeeded()
        elif permit.state is not BreakerState.HALF_OPEN:
            self._lane.limit.restore()  # the vendor is back, and the ramp keeps the load from returning at once

    def _failed(self, error: ProviderError) -> None:
        self._ended = True
        outcome = outcome_of(error)
        self._permit.record(outcome)
        if outcome is not Outcome.IGNORED:
            self._lane.trouble = error.detail
        if pushes_back(error) and not self._permit.probe:
            self._slot.pushed_back()

    async def _leave(self) -> None:
        self._permit.record(Outcome.IGNORED)  # counts only when nothing was said before
        await self._slot.__aexit__(None, None, None)

    def _held_back(self, error: CircuitOpen) -> ProviderError:
        return ProviderError(
            Failure.CIRCUIT_OPEN,
            f"provider {self._account.name!r}: {error}; the last one: {self._lane.trouble}",
            retry_after=error.retry_after,
            calls=0,
        )
