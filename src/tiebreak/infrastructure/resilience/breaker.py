"""When to stop asking: a breaker that opens on the vendor's failures, probes, and lets load return slowly."""

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import TracebackType
from typing import Final, NamedTuple, Self

from tiebreak.clock import Clock
from tiebreak.infrastructure.resilience.keyed import Keyed
from tiebreak.infrastructure.resilience.window import OutcomeWindow

SOON: Final = 1.0  # seconds a refused caller waits at least while the vendor is being tried
GROWTH: Final = 1.5  # of the cool-down, each time the vendor turns out not to be back


class Outcome(StrEnum):
    """What a call said about the vendor, known at its end: for a stream, when its last frame has come."""

    SUCCESS = "success"
    FAILURE = "failure"  # the vendor's: 5xx, overload, a timeout, a cut stream, an answer that is none
    CONNECT_FAILURE = "connect_failure"  # nobody answered
    IGNORED = "ignored"  # says nothing about the vendor: the caller's mistake, its key, its departure


class BreakerState(StrEnum):
    """Where a breaker stands; the order of a full turn."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    RAMPING = "ramping"


@dataclass(frozen=True, slots=True)
class BreakerConfig:
    """Times in seconds.

    Opens at `failure_share` of at least `least_calls` calls within the window, at `connect_failures` refused
    connections in a row, or at `failures_in_a_row` failures of any kind: after a healthy half minute, half of the window takes
    fifteen seconds to fill with failures, twenty in a row a fraction of one.

    The first cool-down is `cool_down`; each further one is half as long again, up to `longest_cool_down`; each is
    shortened by up to a fifth at random. A probe that has not ended after `probe_patience` gives its place to another.
    """

    window_seconds: float = 30.0
    buckets: int = 10
    failure_share: float = 0.5
    least_calls: int = 20
    connect_failures: int = 5
    failures_in_a_row: int = 20
    cool_down: float = 10.0
    longest_cool_down: float = 20.0
    probes: int = 3
    probe_patience: float = 10.0
    ramp_seconds: float = 10.0
    ramp_from: float = 0.05  # of the normal rate; 0.05 lets a seventeenth of it through in the first second
    least_normal_rate: float = 10.0  # calls per second that harm no vendor, whatever was measured


class CircuitOpen(Exception):
    """The breaker lets no call through now; `retry_after` is in seconds."""

    def __init__(self, state: BreakerState, retry_after: float) -> None:
        super().__init__(
            f"calls are held back after failures of the vendor (breaker {state}); try again in {retry_after:.1f} s"
        )
        self.state = state
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class BreakerSnapshot:
    """A breaker as it stands. `calls` and `failures` are those of the window; while it is open, those that opened it.
    `next_probe` is when an open one will let a call through."""

    state: BreakerState
    since: datetime
    failures: int
    calls: int
    next_probe: datetime | None


class Permit:
    """Leave for one call, as a context manager: `with breaker.acquire() as permit: ...; permit.record(outcome)`.

    A call that ends without a recorded outcome counts as ignored, so that a cancelled probe frees its place.
    """

    __slots__ = ("_breaker", "_ended", "epoch", "probe")

    def __init__(self, breaker: "Breaker", epoch: int, probe: bool) -> None:
        self._breaker = breaker
        self._ended = False
        self.epoch = epoch
        self.probe = probe

    @property
    def state(self) -> BreakerState:
        """Where the breaker stands now."""
        return self._breaker.state

    def confirm(self) -> None:
        """Ask again after a wait between `acquire()` and sending, for a slot for instance.

        Raises:
            CircuitOpen: the breaker has opened since.
        """
        self._breaker.confirm(self)

    def record(self, outcome: Outcome) -> None:
        """Say what came of the call; only the first time counts."""
        if not self._ended:
            self._ended = True
            self._breaker.ended(self, outcome)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.record(Outcome.IGNORED)


def ramp_rate(share: float, elapsed: float, seconds: float) -> float:
    """The share of the normal rate at `elapsed` seconds into a ramp that grows from `share` to 1 by equal factors."""
    return float(share ** (1.0 - elapsed / seconds))


def ramp_allowance(share: float, elapsed: float, seconds: float) -> float:
    """The integral of `ramp_rate` from 0 to `elapsed`: how many seconds' worth of the normal rate may have gone."""
    return seconds * (ramp_rate(share, elapsed, seconds) - share) / -math.log(share)


class Breaker:
    """One vendor endpoint under one credential, in this process. Belongs to one event loop; nothing here waits.

    After an outage: `probes` calls one by one or at once, all of which must succeed; then calls at a rate that grows
    from `ramp_from` of what it was before, however many callers wait; then no limit. The rate before is that of the
    successes in the window when the breaker opened.
    """

    def __init__(self, config: BreakerConfig, clock: Clock, rng: random.Random) -> None:
        now = clock.monotonic()
        self.state = BreakerState.CLOSED
        self._config = config
        self._clock = clock
        self._rng = rng
        self._window = OutcomeWindow(config.window_seconds, config.buckets, now)
        self._since = clock.now()
        self._until = now  # the end of a cool-down or of a ramp
        self._epoch = 0  # openings so far: what began before the last one says nothing about now
        self._relapses = 0
        self._in_a_row = self._connects_in_a_row = 0
        self._probes: dict[Permit, float] = {}
        self._proved = 0
        self._normal_rate = config.least_normal_rate
        self._allowance = 0.0
        self._spent_until = now

    def acquire(self) -> Permit:
        """Leave for one call now.

        Raises:
            CircuitOpen: not now.
        """
        now = self._clock.monotonic()
        self._move_on(now)
        if self.state is BreakerState.OPEN:
            raise CircuitOpen(self.state, self._until - now)
        if self.state is BreakerState.HALF_OPEN:
            return self._probe(now)
        if self.state is BreakerState.RAMPING:
            self._spend(now)
        return Permit(self, self._epoch, probe=False)

    def confirm(self, permit: Permit) -> None:
        """See `Permit.confirm`."""
        if permit.epoch == self._epoch:
            return
        now = self._clock.monotonic()
        self._move_on(now)
        raise CircuitOpen(self.state, max(SOON, self._until - now))

    def ended(self, permit: Permit, outcome: Outcome) -> None:
        """See `Permit.record`."""
        if permit.epoch != self._epoch:
            return
        if permit.probe:
            self._probe_ended(permit, outcome)
        elif outcome is not Outcome.IGNORED:
            self._count(outcome)

    def snapshot(self) -> BreakerSnapshot:
        """The state at this moment."""
        now = self._clock.monotonic()
        self._move_on(now)
        if self.state in {BreakerState.CLOSED, BreakerState.RAMPING}:
            self._window.slide(now)
        next_probe = None
        if self.state is BreakerState.OPEN:
            next_probe = self._clock.now() + timedelta(seconds=self._until - now)
        return BreakerSnapshot(self.state, self._since, self._window.failures, self._window.calls, next_probe)

    def _enter(self, state: BreakerState) -> None:
        self.state = state
        self._since = self._clock.now()

    def _move_on(self, now: float) -> None:
        """What time alone changes."""
        if now < self._until:
            return
        if self.state is BreakerState.OPEN:
            self._enter(BreakerState.HALF_OPEN)
        elif self.state is BreakerState.RAMPING:
            self._relapses = 0
            self._enter(BreakerState.CLOSED)

    def _count(self, outcome: Outcome) -> None:
        now = self._clock.monotonic()
        self._move_on(now)
        failed = outcome is not Outcome.SUCCESS
        self._window.add(failed, now)
        self._in_a_row = self._in_a_row + 1 if failed else 0
        refused = outcome is Outcome.CONNECT_FAILURE
        self._connects_in_a_row = self._connects_in_a_row + 1 if refused else 0
        if failed and self._is_sick():
            if self.state is BreakerState.CLOSED:
                measured = self._window.successes_per_second(now)
                self._normal_rate = max(self._config.least_normal_rate, measured)
            self._open(now)

    def _is_sick(self) -> bool:
        window, config = self._window, self._config
        if window.calls >= config.least_calls and window.failures >= config.failure_share * window.calls:
            return True
        return (
            self._connects_in_a_row >= config.connect_failures or self._in_a_row >= config.failures_in_a_row
        )

    def _open(self, now: float) -> None:
        full = min(self._config.longest_cool_down, self._config.cool_down * GROWTH ** min(self._relapses, 32))
        self._until = now + full * self._rng.uniform(0.8, 1.0)
        self._relapses += 1
        self._epoch += 1
        self._probes.clear()
        self._proved = 0
        self._enter(BreakerState.OPEN)

    def _probe(self, now: float) -> Permit:
        patience = self._config.probe_patience
        self._probes = {probe: at for probe, at in self._probes.items() if now - at < patience}
        if len(self._probes) + self._proved >= self._config.probes:
            raise CircuitOpen(self.state, self._spread(self._config.ramp_seconds))
        permit = Permit(self, self._epoch, probe=True)
        self._probes[permit] = now
        return permit

    def _probe_ended(self, permit: Permit, outcome: Outcome) -> None:
        """A success counts whenever it comes; a failure only while the probe has its place: later it is old news."""
        had_place = self._probes.pop(permit, None) is not None
        if self.state is not BreakerState.HALF_OPEN:
            return
        if outcome is Outcome.SUCCESS:
            self._proved += 1
            if self._proved >= self._config.probes:
                self._ramp(self._clock.monotonic())
        elif had_place and outcome is not Outcome.IGNORED:
            self._open(self._clock.monotonic())

    def _ramp(self, now: float) -> None:
        self._window.clear(now)
        self._in_a_row = self._connects_in_a_row = 0
        self._allowance = 0.0
        self._spent_until = now
        self._until = now + self._config.ramp_seconds
        self._enter(BreakerState.RAMPING)

    def _spend(self, now: float) -> None:
        """Take one call from what the ramp allows; at most a second's worth of it is saved up."""
        share, seconds = self._config.ramp_from, self._config.ramp_seconds
        started = self._until - seconds
        before = ramp_allowance(share, self._spent_until - started, seconds)
        after = ramp_allowance(share, now - started, seconds)
        most = max(1.0, self._normal_rate * ramp_rate(share, now - started, seconds))
        self._allowance = min(most, self._allowance + self._normal_rate * (after - before))
        self._spent_until = now
        if self._allowance < 1.0:
            raise CircuitOpen(self.state, self._spread(self._until - now))
        self._allowance -= 1.0

    def _spread(self, seconds: float) -> float:
        """A moment within the next `seconds`, so that those who are refused together do not return together."""
        return self._rng.uniform(SOON, max(SOON, seconds))


class Circuit(NamedTuple):
    """What a breaker is kept for. `credential` is an id or a fingerprint of the key, never the key."""

    provider: str
    endpoint: str
    credential: str


class Breakers:
    """One breaker per circuit, at most `most` of them; the longest unused closed one makes room."""

    def __init__(self, config: BreakerConfig, clock: Clock, rng: random.Random, *, most: int = 1000) -> None:
        self._kept: Keyed[Circuit, Breaker] = Keyed(
            lambda: Breaker(config, clock, rng),
            most=most,
            spare=lambda breaker: breaker.state is BreakerState.CLOSED,
        )

    def of(self, circuit: Circuit) -> Breaker:
        """The circuit's breaker; a new one is closed."""
        return self._kept.of(circuit)

    def snapshots(self, provider: str | None = None) -> dict[Circuit, BreakerSnapshot]:
        """Every breaker as it stands, or those of one provider."""
        return {
            circuit: breaker.snapshot()
            for circuit, breaker in self._kept.items()
            if provider in {None, circuit.provider}
        }
