"""The rule of a provider's health, state by state."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot, BreakerState
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.health import HealthState, fault_of, judge, success
from tiebreak.providers.model import Blame
from tiebreak.providers.tally import Tally

NOW = datetime(2026, 1, 1, 10, 30, 20, tzinfo=UTC)
PROVIDER = uuid4()


def ago(minutes: int) -> datetime:
    return NOW.replace(second=0) - timedelta(minutes=minutes)


def tally(answers: int = 0, refused: int = 0, **failures: int) -> Tally:
    return Tally(
        calls=answers + sum(failures.values()), answers=answers, refused=refused, failures=dict(failures)
    )


def circuit(
    state: str, minutes: int = 7, *, endpoint="chat", probe: int | None = None, **counts
) -> CircuitState:
    snapshot = BreakerSnapshot(
        BreakerState(state),
        ago(minutes),
        failures=1,
        calls=10,
        next_probe=None if probe is None else NOW + timedelta(seconds=probe),
    )
    return CircuitState(
        PROVIDER, endpoint, "f00d", snapshot, **({"slots": 4, "held": 1, "waiting": 2} | counts)
    )


@pytest.mark.parametrize(
    ("minutes", "circuits", "state", "since"),
    [
        ({}, [], "idle", None),
        ({ago(20): tally(5, timeout=5)}, [circuit("closed")], "idle", ago(20)),
        ({ago(1): tally(100)}, [circuit("closed", 7), circuit("closed", 9)], "ok", ago(7)),
        ({ago(1): tally(100)}, [], "ok", None),
        ({ago(1): tally(97, timeout=3)}, [circuit("closed")], "ok", ago(7)),
        ({ago(2): tally(30), ago(1): tally(60, timeout=10)}, [circuit("closed")], "degraded", ago(1)),
        ({ago(4): tally(timeout=1)}, [], "degraded", ago(4)),
        ({ago(1): tally(100)}, [circuit("closed"), circuit("open", 3)], "degraded", ago(3)),
        ({ago(1): tally(100)}, [circuit("ramping", 2)], "degraded", ago(2)),
        ({}, [circuit("half_open", 40)], "degraded", ago(40)),
        ({}, [circuit("open", 3), circuit("open", 2)], "down", ago(3)),
        (
            {ago(3): tally(server_error=4), ago(2): tally(timeout=1)},
            [circuit("half_open", 1)],
            "down",
            ago(3),
        ),
        ({ago(1): tally(authentication=5)}, [circuit("closed")], "down", ago(1)),
        ({ago(1): tally(10, bad_request=90, content_refused=90)}, [], "ok", None),
        ({ago(1): tally(refused=3)}, [], "ok", None),
    ],
)
def test_the_state_follows_from_breakers_and_the_last_five_minutes(minutes, circuits, state, since):
    found = judge(minutes, circuits, NOW)
    assert (found.state, found.since) == (HealthState(state), since)
    assert found.reason


def test_the_last_hour_is_sixty_minutes_long():
    minutes = {ago(60): tally(1), ago(59): tally(2), ago(0): tally(4)}
    assert judge(minutes, [], NOW).hour.answers == 6


def test_processes_are_summed_by_circuit_and_the_worst_breaker_is_shown():
    states = [
        circuit("closed", 50, held=2),
        circuit("open", 3, probe=9),
        circuit("open", 5, probe=4),
        circuit("closed", 8, endpoint="embeddings"),
    ]
    chat, embeddings = judge({}, states, NOW).circuits
    assert (chat.state, chat.since, chat.next_probe) == ("open", ago(5), NOW + timedelta(seconds=4))
    assert (chat.slots, chat.held, chat.waiting, chat.calls, chat.failures, chat.processes) == (
        12,
        4,
        6,
        30,
        3,
        3,
    )
    assert (embeddings.endpoint, embeddings.state, embeddings.processes) == ("embeddings", "closed", 1)


def test_success_counts_what_tells_of_the_provider_with_wilsons_interval():
    n, interval = success(tally(90, bad_request=50, address_refused=5, quota=4, timeout=6))
    assert n == 100
    assert interval == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert success(tally(bad_request=3)) == (0, None)


def test_a_failure_nobody_here_knows_is_the_providers():
    assert fault_of("of_a_later_version") is Blame.PROVIDER
    assert fault_of("quota") is Blame.US
