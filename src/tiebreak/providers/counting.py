"""What goes through the pipeline, as metrics of this process, by provider: a label for each model would multiply the series."""

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from tiebreak.infrastructure.resilience.breaker import BreakerState
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.providers.account import Account
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, Origin, Usage
from tiebreak.providers.watch import Watch

MOST_NAMES: Final = 1000
OK: Final = "ok"
STATES: Final = {
    BreakerState.CLOSED: 0,
    BreakerState.RAMPING: 1,
    BreakerState.HALF_OPEN: 2,
    BreakerState.OPEN: 3,
}


class Counting:
    """A watch of the pipeline that counts by provider, and tells `next_watch` the same."""

    def __init__(self, metrics: Metrics, next_watch: Watch | None = None) -> None:
        self._metrics = metrics
        self._next = next_watch
        self._names: dict[UUID, str] = {}

    def attempted(
        self,
        account: Account,
        model: str,
        failure: Failure | None,
        seconds: float,
        usage: Usage | None,
        *,
        retry: bool,
    ) -> None:
        """Count an attempt, and whether it was a retry."""
        name = self._name(account)
        self._metrics.number(instruments.ATTEMPTS, name, OK if failure is None else failure.value).add()
        self._metrics.histogram(instruments.ATTEMPT_SECONDS, name).observe(seconds)
        if retry:
            self._metrics.number(instruments.RETRIES, name).add()
        if self._next is not None:
            self._next.attempted(account, model, failure, seconds, usage, retry=retry)

    def shared(self, account: Account, model: str, origin: Origin) -> None:
        """Count a request that needed no call of its own."""
        self._metrics.number(instruments.SHARED, self._name(account), origin.value).add()
        if self._next is not None:
            self._next.shared(account, model, origin)

    def refused(self, account: Account, model: str) -> None:
        """Count an attempt that was kept from the wire."""
        self._metrics.number(instruments.HELD_BACK, self._name(account)).add()
        if self._next is not None:
            self._next.refused(account, model)

    def read(self, circuits: Iterable[CircuitState]) -> None:
        """Set the state of each provider's breaker: of several circuits, the worst."""
        worst = dict.fromkeys(self._names.values(), 0)
        for circuit in circuits:
            name = self._names.get(circuit.provider_id)
            if name is not None:
                worst[name] = max(worst[name], STATES[circuit.breaker.state])
        for name, state in worst.items():
            self._metrics.number(instruments.BREAKER, name).set(state)

    def _name(self, account: Account) -> str:
        if account.provider_id in self._names or len(self._names) < MOST_NAMES:
            self._names[account.provider_id] = account.name
        return account.name
