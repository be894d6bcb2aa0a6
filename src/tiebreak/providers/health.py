"""How a provider is, judged from the last minutes and from the breakers of every process that lives. Pure.

The rule, first match:

- down: every breaker is open, or at least five calls in the last five minutes and none was answered;
- degraded: a breaker is not closed, or more than 5 % of the calls of the last five minutes fail, at 95 % confidence
  (the lower end of Wilson's interval);
- idle: no call and no refusal in the last five minutes;
- ok: otherwise.

Failures that are the caller's or a policy's say nothing about a provider and do not count. Ours do: with a refused key or
without money nothing comes through either.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from tiebreak.infrastructure.resilience.breaker import BreakerState
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Blame, Failure
from tiebreak.providers.tally import Tally
from tiebreak.statistics.interval import Interval
from tiebreak.statistics.proportions import wilson

HOUR: Final = timedelta(hours=1)
RECENT: Final = timedelta(minutes=5)
LEVEL: Final = 0.95
BEARABLE: Final = 0.05
ENOUGH: Final = 5

# The worst first: of several processes, this one is shown.
_WORST: Final = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.RAMPING, BreakerState.CLOSED)


class HealthState(StrEnum):
    """How a provider is."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Circuit:
    """One endpoint under one key over all processes: the worst breaker, since when it stands so and when the next call is
    tried; places and calls summed."""

    endpoint: str
    credential: str
    state: BreakerState
    since: datetime
    next_probe: datetime | None
    calls: int
    failures: int
    slots: int
    held: int
    waiting: int
    processes: int


@dataclass(frozen=True, slots=True)
class Health:
    """A provider at the moment `as_of`; `hour` is what went through it in the 60 minutes before."""

    state: HealthState
    since: datetime | None
    reason: str
    hour: Tally
    circuits: tuple[Circuit, ...]
    as_of: datetime


def fault_of(failure: str) -> Blame:
    """Whose fault a counted failure was; a word that a newer process has counted is taken for the provider's."""
    try:
        return Failure(failure).fault
    except ValueError:
        return Blame.PROVIDER


def failed(tally: Tally) -> int:
    """Calls that failed and tell of the provider, or of us as its customer."""
    telling = {Blame.PROVIDER, Blame.US}
    return sum(count for failure, count in tally.failures.items() if fault_of(failure) in telling)


def success(tally: Tally) -> tuple[int, Interval | None]:
    """How many calls tell of the provider, and the interval of the share of them that was answered."""
    n = tally.answers + failed(tally)
    return n, wilson(tally.answers, n, 1 - LEVEL)


def _total(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def _merged(states: Sequence[CircuitState]) -> Circuit:
    breakers = [circuit.breaker for circuit in states]
    worst = min((breaker.state for breaker in breakers), key=_WORST.index)
    return Circuit(
        endpoint=states[0].endpoint,
        credential=states[0].credential,
        state=worst,
        since=min(breaker.since for breaker in breakers if breaker.state is worst),
        next_probe=min((b.next_probe for b in breakers if b.next_probe is not None), default=None),
        calls=sum(breaker.calls for breaker in breakers),
        failures=sum(breaker.failures for breaker in breakers),
        slots=sum(circuit.slots for circuit in states),
        held=sum(circuit.held for circuit in states),
        waiting=sum(circuit.waiting for circuit in states),
        processes=len(states),
    )


def judge(minutes: Mapping[datetime, Tally], circuits: Sequence[CircuitState], as_of: datetime) -> Health:
    """The provider's health, from the minutes of its last hour and the circuits of every living process."""
    together: dict[tuple[str, str], list[CircuitState]] = {}
    for circuit in circuits:
        together.setdefault((circuit.endpoint, circuit.credential), []).append(circuit)
    recent = {minute: tally for minute, tally in minutes.items() if minute > as_of - RECENT}
    state, since, reason = _standing(recent, circuits)
    if state is HealthState.IDLE:
        since = max(
            (minute for minute, tally in minutes.items() if tally.calls or tally.refused), default=None
        )
    return Health(
        state=state,
        since=since,
        reason=reason,
        hour=_total(tally for minute, tally in minutes.items() if minute > as_of - HOUR),
        circuits=tuple(_merged(states) for states in together.values()),
        as_of=as_of,
    )


def _standing(
    recent: Mapping[datetime, Tally], circuits: Sequence[CircuitState]
) -> tuple[HealthState, datetime | None, str]:
    total = _total(recent.values())
    bad = failed(total)
    n = total.answers + bad
    breakers = [circuit.breaker for circuit in circuits]
    since = {
        state: min((b.since for b in breakers if b.state is state), default=None) for state in BreakerState
    }
    troubled = next((minute for minute, tally in recent.items() if failed(tally)), None)
    if breakers and all(breaker.state is BreakerState.OPEN for breaker in breakers):
        return HealthState.DOWN, since[BreakerState.OPEN], "every breaker is open: calls are held back"
    if n >= ENOUGH and total.answers == 0:
        return HealthState.DOWN, troubled, f"none of {n:,} calls in the last five minutes was answered"
    for state, meaning in (
        (BreakerState.OPEN, "is open: calls are held back"),
        (BreakerState.HALF_OPEN, "tries single calls"),
        (BreakerState.RAMPING, "lets load return slowly"),
    ):
        if since[state] is not None:
            return HealthState.DEGRADED, since[state], f"a breaker {meaning}"
    interval = wilson(bad, n, 1 - LEVEL)
    if interval is not None and interval.low > BEARABLE:
        return HealthState.DEGRADED, troubled, f"{bad:,} of {n:,} calls in the last five minutes failed"
    if not total.calls and not total.refused:
        return HealthState.IDLE, None, "no call in the last five minutes"
    closed = max((breaker.since for breaker in breakers), default=None)
    return HealthState.OK, closed, f"{bad:,} of {n:,} calls in the last five minutes failed"
