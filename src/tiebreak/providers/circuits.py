"""How a process stands to the endpoints of its providers."""

from dataclasses import dataclass
from uuid import UUID

from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot


@dataclass(frozen=True, slots=True)
class CircuitState:
    """How this process stands to one endpoint of a provider: its breaker, and the calls at once that the provider's
    limit allows (`slots`), has and keeps waiting."""

    provider_id: UUID
    endpoint: str
    credential: str
    breaker: BreakerSnapshot
    slots: int
    held: int
    waiting: int
