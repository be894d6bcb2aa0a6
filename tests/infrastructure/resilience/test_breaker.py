"""A breaker opens on the vendor's failures only, tries again in time, and lets load return slowly."""

import math
import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.clocks import ManualClock

from tiebreak.infrastructure.resilience.breaker import (
    Breaker,
    BreakerConfig,
    Breakers,
    BreakerState,
    Circuit,
    CircuitOpen,
    Outcome,
    Permit,
    ramp_allowance,
    ramp_rate,
)

CONFIG = BreakerConfig()


class Vendor:
    """A breaker on a clock of its own."""

    def __init__(self, config: BreakerConfig = CONFIG, seed: int = 7) -> None:
        self.clock = ManualClock()
        self.breaker = Breaker(config, self.clock, random.Random(seed))

    def call(self, outcome: Outcome, times: int = 1, every: float = 0.0) -> None:
        for _ in range(times):
            with self.breaker.acquire() as permit:
                permit.record(outcome)
            self.clock.advance(every)

    def fail(self) -> None:
        self.call(Outcome.FAILURE, CONFIG.failures_in_a_row)
        assert self.breaker.state is BreakerState.OPEN

    def wait_for_probes(self) -> None:
        self.clock.advance(CONFIG.longest_cool_down)
        assert self.breaker.snapshot().state is BreakerState.HALF_OPEN

    def refused(self) -> CircuitOpen:
        with pytest.raises(CircuitOpen) as caught:
            self.breaker.acquire()
        return caught.value

    def admitted(self, offered: int) -> int:
        granted = 0
        for _ in range(offered):
            try:
                self.breaker.acquire().record(Outcome.SUCCESS)
            except CircuitOpen:
                continue
            granted += 1
        return granted


@pytest.fixture
def vendor() -> Vendor:
    return Vendor()


@pytest.mark.parametrize(
    ("outcomes", "state"),
    [
        pytest.param("f" * 19, BreakerState.CLOSED, id="too few calls"),
        pytest.param("f" * 20, BreakerState.OPEN, id="twenty failures"),
        pytest.param("sf" * 10, BreakerState.OPEN, id="half of twenty"),
        pytest.param("sf" * 9 + "ss", BreakerState.CLOSED, id="less than half"),
        pytest.param("s" * 100 + "f" * 19, BreakerState.CLOSED, id="nineteen in a row after many successes"),
        pytest.param("s" * 100 + "f" * 20, BreakerState.OPEN, id="twenty in a row after many successes"),
        pytest.param("s" * 100 + "cccc", BreakerState.CLOSED, id="four refused connections"),
        pytest.param("s" * 100 + "ccccc", BreakerState.OPEN, id="five refused connections"),
        pytest.param("s" * 100 + "ccccfcccc", BreakerState.CLOSED, id="an answer between refusals"),
        pytest.param("s" * 100 + "cccciiic", BreakerState.OPEN, id="what says nothing does not interrupt"),
        pytest.param("i" * 1000, BreakerState.CLOSED, id="the caller's own mistakes"),
    ],
)
def test_what_opens_it(vendor, outcomes, state):
    words = {
        "s": Outcome.SUCCESS,
        "f": Outcome.FAILURE,
        "c": Outcome.CONNECT_FAILURE,
        "i": Outcome.IGNORED,
    }
    for letter in outcomes:
        vendor.call(words[letter])
    assert vendor.breaker.state is state


def test_failures_older_than_the_window_are_forgotten(vendor):
    vendor.call(Outcome.FAILURE, 19)
    vendor.clock.advance(CONFIG.window_seconds)
    snapshot = vendor.breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (0, 0)
    vendor.call(Outcome.SUCCESS)
    vendor.call(Outcome.FAILURE, 10)
    assert vendor.breaker.state is BreakerState.CLOSED


def test_an_open_one_refuses_with_the_time_until_the_next_probe(vendor):
    vendor.fail()
    vendor.clock.advance(1.0)
    refusal = vendor.refused()
    assert 7.0 <= refusal.retry_after <= 9.0
    assert str(refusal).endswith(f"(breaker open); try again in {refusal.retry_after:.1f} s")
    snapshot = vendor.breaker.snapshot()
    assert snapshot.next_probe == vendor.clock.now() + timedelta(seconds=refusal.retry_after)
    assert (snapshot.state, snapshot.calls, snapshot.failures) == (BreakerState.OPEN, 20, 20)
    assert snapshot.since == vendor.clock.start
    vendor.clock.advance(refusal.retry_after)
    assert vendor.breaker.acquire().probe


def test_three_probes_go_and_no_fourth_until_they_have_ended_well(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    probes = [vendor.breaker.acquire() for _ in range(3)]
    assert vendor.refused().state is BreakerState.HALF_OPEN
    for probe in probes[:2]:
        probe.record(Outcome.SUCCESS)
        vendor.refused()
    probes[2].record(Outcome.SUCCESS)
    assert vendor.breaker.state is BreakerState.RAMPING


@pytest.mark.parametrize("outcome", [None, Outcome.IGNORED])
def test_a_probe_that_leaves_without_outcome_frees_its_place(vendor, outcome):
    vendor.fail()
    vendor.wait_for_probes()
    for _ in range(50):
        with vendor.breaker.acquire() as permit:
            if outcome:
                permit.record(outcome)
    assert vendor.breaker.state is BreakerState.HALF_OPEN


def test_a_probe_that_hangs_gives_its_place_away_and_its_later_failure_is_old_news(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    hung = [vendor.breaker.acquire() for _ in range(3)]
    vendor.clock.advance(CONFIG.probe_patience)
    fresh = [vendor.breaker.acquire() for _ in range(2)]
    hung[0].record(Outcome.FAILURE)
    assert vendor.breaker.state is BreakerState.HALF_OPEN
    hung[1].record(Outcome.SUCCESS)  # good news counts whenever it comes
    for probe in fresh:
        probe.record(Outcome.SUCCESS)
    assert vendor.breaker.state is BreakerState.RAMPING
    hung[2].record(Outcome.FAILURE)
    assert vendor.breaker.state is BreakerState.RAMPING


def test_cool_downs_grow_with_jitter_up_to_the_longest(vendor):
    vendor.fail()
    waits = []
    for _ in range(40):
        waits.append(vendor.refused().retry_after)
        vendor.clock.advance(waits[-1])
        vendor.call(Outcome.FAILURE)
    for wait, full in zip(waits, [10.0, 15.0, *[20.0] * 38], strict=True):
        assert 0.8 * full <= wait <= full
    assert len(set(waits)) == 40


def test_after_a_full_recovery_the_cool_down_is_short_again(vendor):
    vendor.fail()
    for _ in range(3):
        vendor.wait_for_probes()
        vendor.call(Outcome.FAILURE)
    vendor.wait_for_probes()
    vendor.call(Outcome.SUCCESS, 3)
    vendor.clock.advance(CONFIG.ramp_seconds)
    assert vendor.breaker.snapshot().state is BreakerState.CLOSED
    vendor.fail()
    assert vendor.refused().retry_after <= CONFIG.cool_down


def test_a_vendor_that_fails_again_in_the_ramp_is_left_alone_for_longer(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    vendor.call(Outcome.SUCCESS, 3)
    vendor.clock.advance(CONFIG.ramp_seconds - 0.5)
    vendor.call(Outcome.CONNECT_FAILURE, CONFIG.connect_failures)
    assert vendor.breaker.state is BreakerState.OPEN
    assert vendor.refused().retry_after >= 0.8 * 15.0


@pytest.mark.parametrize("rate", [100.0, 400.0, 1500.0])
def test_the_first_second_after_an_outage_carries_a_tenth_and_the_end_of_the_ramp_all(rate):
    vendor = Vendor()
    vendor.call(Outcome.SUCCESS, int(rate * 30), every=1.0 / rate)
    vendor.fail()
    vendor.wait_for_probes()
    seconds = [0] * 12
    for tick in range(1200):  # many wait and all ask every hundredth of a second
        seconds[tick // 100] += vendor.admitted(50 if tick < 1000 else 1)
        vendor.clock.advance(0.01)
    assert 0 < seconds[0] <= 0.1 * rate
    seconds[0] -= CONFIG.probes
    assert seconds[:10] == sorted(seconds[:10])
    assert 0.75 * rate <= seconds[9] <= rate
    assert vendor.breaker.state is BreakerState.CLOSED


def test_a_vendor_that_never_answered_starts_with_few(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    vendor.call(Outcome.SUCCESS, 3)
    vendor.clock.advance(1.0)
    assert vendor.admitted(2000) <= 1
    vendor.clock.advance(8.9)
    assert 1 <= vendor.admitted(2000) <= CONFIG.least_normal_rate


def test_who_is_refused_in_the_ramp_is_spread_over_the_rest_of_it(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    vendor.call(Outcome.SUCCESS, 3)
    waits = [vendor.refused().retry_after for _ in range(500)]
    assert min(waits) >= 1.0
    assert 9.0 < max(waits) <= CONFIG.ramp_seconds


def test_calls_from_before_the_opening_say_nothing_about_now(vendor):
    old = [vendor.breaker.acquire() for _ in range(40)]
    vendor.fail()
    for permit in old[:10]:
        permit.record(Outcome.SUCCESS)
    assert vendor.breaker.state is BreakerState.OPEN
    vendor.wait_for_probes()
    for permit in old[10:20]:
        permit.record(Outcome.FAILURE)
    assert vendor.breaker.state is BreakerState.HALF_OPEN
    vendor.call(Outcome.SUCCESS, 3)
    for permit in old[20:]:
        permit.record(Outcome.FAILURE)
    assert vendor.breaker.state is BreakerState.RAMPING


def test_who_waited_for_a_slot_meanwhile_asks_again(vendor):
    waited = vendor.breaker.acquire()
    waited.confirm()
    vendor.fail()
    with pytest.raises(CircuitOpen) as caught:
        waited.confirm()
    assert 8.0 <= caught.value.retry_after <= 10.0
    vendor.wait_for_probes()
    with pytest.raises(CircuitOpen) as caught:
        waited.confirm()
    assert caught.value.retry_after == 1.0


def test_only_the_first_outcome_counts(vendor):
    with vendor.breaker.acquire() as permit:
        permit.record(Outcome.SUCCESS)
        permit.record(Outcome.FAILURE)
    snapshot = vendor.breaker.snapshot()
    assert (snapshot.calls, snapshot.failures) == (1, 0)


def test_a_call_that_raises_without_outcome_is_ignored(vendor):
    with pytest.raises(KeyError), vendor.breaker.acquire():
        raise KeyError("ours")
    assert vendor.breaker.snapshot().calls == 0


def test_a_call_that_ends_in_the_ramp_after_it_is_over_closes_it(vendor):
    vendor.fail()
    vendor.wait_for_probes()
    vendor.call(Outcome.SUCCESS, 3)
    vendor.clock.advance(9.0)
    permit = vendor.breaker.acquire()
    vendor.clock.advance(2.0)
    permit.record(Outcome.SUCCESS)
    assert vendor.breaker.state is BreakerState.CLOSED
    assert vendor.breaker.snapshot().calls == 1


@given(st.floats(0.01, 0.9), st.floats(0.1, 100.0), st.floats(0.0, 1.0))
def test_the_allowance_is_the_integral_of_the_rate(share, seconds, part):
    elapsed = part * seconds
    steps = 2000
    width = elapsed / steps
    summed = sum(ramp_rate(share, (step + 0.5) * width, seconds) * width for step in range(steps))
    assert math.isclose(ramp_allowance(share, elapsed, seconds), summed, rel_tol=1e-5, abs_tol=1e-9)
    assert math.isclose(ramp_rate(share, 0.0, seconds), share)
    assert math.isclose(ramp_rate(share, seconds, seconds), 1.0)


def test_circuits_are_apart_and_bounded_and_a_closed_one_makes_room():
    clock = ManualClock()
    breakers = Breakers(CONFIG, clock, random.Random(1), most=3)
    ill = Circuit("acme", "chat", "key-1")
    for _ in range(5):
        breakers.of(ill).acquire().record(Outcome.CONNECT_FAILURE)
    for name in ("key-2", "key-3", "key-4"):
        assert breakers.of(Circuit("acme", "chat", name)).state is BreakerState.CLOSED
    breakers.of(Circuit("other", "chat", "key-1"))
    assert breakers.of(ill).state is BreakerState.OPEN
    assert len(breakers.snapshots()) == 3
    assert breakers.snapshots("other").keys() == {Circuit("other", "chat", "key-1")}
    assert breakers.snapshots("acme")[ill].failures == 5


def test_when_every_circuit_is_open_the_longest_unused_one_makes_room():
    breakers = Breakers(CONFIG, ManualClock(), random.Random(1), most=2)
    for name in "abc":
        for _ in range(5):
            breakers.of(Circuit(name, "chat", "key")).acquire().record(Outcome.CONNECT_FAILURE)
    assert [circuit.provider for circuit in breakers.snapshots()] == ["b", "c"]


class BreakerLife(RuleBasedStateMachine):
    """Any order of calls, outcomes and waits: the promises that hold in each state."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.config = replace(CONFIG, least_calls=4, failures_in_a_row=4, connect_failures=3)
        self.breaker = Breaker(self.config, self.clock, random.Random(5))
        self.live: list[Permit] = []
        self.refusals: list[tuple[CircuitOpen, BreakerState]] = []

    @rule()
    def ask(self) -> None:
        try:
            permit = self.breaker.acquire()
        except CircuitOpen as refusal:
            self.refusals.append((refusal, self.breaker.state))
            return
        assert permit.probe == (self.breaker.state is BreakerState.HALF_OPEN)
        assert self.breaker.state is not BreakerState.OPEN
        self.live.append(permit)

    @precondition(lambda self: self.live)
    @rule(outcome=st.sampled_from(Outcome), which=st.integers(0, 1000))
    def end(self, outcome: Outcome, which: int) -> None:
        before = self.breaker.state
        with self.live.pop(which % len(self.live)) as permit:
            permit.record(outcome)
        if outcome is Outcome.IGNORED:
            assert self.breaker.state is before
        if outcome is Outcome.SUCCESS:
            assert self.breaker.state is not BreakerState.OPEN or before is BreakerState.OPEN

    @rule(seconds=st.sampled_from([0.01, 1.0, 5.0, 10.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def it_always_comes_back(self) -> None:
        for refusal, state in self.refusals:
            assert refusal.retry_after > 0
            assert refusal.state is state is not BreakerState.CLOSED
        self.refusals.clear()
        snapshot = self.breaker.snapshot()
        assert 0 <= snapshot.failures <= snapshot.calls
        assert (snapshot.next_probe is not None) == (snapshot.state is BreakerState.OPEN)
        if snapshot.next_probe is not None:
            wait = (snapshot.next_probe - self.clock.now()).total_seconds()
            assert 0 < wait <= self.config.longest_cool_down
        assert len(self.breaker._probes) <= self.config.probes

    def teardown(self) -> None:
        self.clock.advance(60.0)
        for _ in range(6):  # hung probes have lost their places by now
            try:
                self.breaker.acquire().record(Outcome.SUCCESS)
            except CircuitOpen:
                break
        self.clock.advance(60.0)
        assert self.breaker.snapshot().state is BreakerState.CLOSED


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
