"""Whether a failed call is made again, and when: one call's decisions, against the budget that all of a provider share."""

import random
from typing import Final

from tiebreak.clock import Clock
from tiebreak.infrastructure.resilience.budget import RetryBudget
from tiebreak.infrastructure.resilience.retry import Backoff
from tiebreak.providers.model import Failure, ProviderError, StaleConnection

# Beyond it, a wait of somebody who is patient counts as the failure it waits out.
LEAST_WAIT: Final = 0.05


class Retries:
    """The attempts of one call. `calls` counts those on the wire."""

    def __init__(
        self,
        most: int,
        *,
        budget: RetryBudget,
        backoff: Backoff,
        rng: random.Random,
        clock: Clock,
        patience: float = 0.0,
    ) -> None:
        self.calls = 0
        self.retries = 0
        self._most = most
        self._budget = budget
        self._backoff = backoff
        self._rng = rng
        self._clock = clock
        self._patience = patience
        self._resent = False

    async def wait(self, error: ProviderError) -> None:
        """Return when the next attempt may be made.

        A breaker that holds calls back costs no retry, as nothing was sent; it is waited for while the patience lasts.

        Raises:
            ProviderError: the error given, with all calls counted: there is no next attempt.
        """
        self.calls += error.calls
        error.calls = self.calls
        if isinstance(error, StaleConnection) and not self._resent:
            self._resent = True  # not the vendor's failure, so it costs neither a retry nor a wait
            return
        held_back = error.failure is Failure.CIRCUIT_OPEN
        await self._clock.sleep(self._waited_out(error) if held_back else self._retried(error))

    def _waited_out(self, error: ProviderError) -> float:
        seconds = max(LEAST_WAIT, error.retry_after or 0.0)
        if seconds > self._patience:
            raise error
        self._patience -= seconds
        return seconds

    def _retried(self, error: ProviderError) -> float:
        if not error.retryable or self.retries >= self._most:
            raise error
        if not self._budget.take(after_timeout=error.failure is Failure.TIMEOUT):
            raise error
        seconds = self._backoff.delay(self.retries, self._rng, error.retry_after)
        self.retries += 1
        return seconds
