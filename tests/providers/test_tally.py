"""Counting what went through, without a database."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tiebreak.providers.model import Failure, Usage
from tiebreak.providers.tally import OTHER, Pending, Tally

MINUTE = datetime(2026, 1, 1, 10, 59, tzinfo=UTC)
PROVIDER = uuid4()


def calls(n: int) -> Tally:
    tally = Tally()
    for _ in range(n):
        tally.attempted(None, 0.5, Usage(10, 2, 4, 1), retry=False)
    return tally


def test_attempts_are_counted_with_their_tokens_and_only_answers_have_a_latency():
    tally = calls(2)
    tally.attempted(Failure.TIMEOUT, 60.0, None, retry=True)
    tally.attempted(Failure.CONNECTION, 1.0, Usage(10, 1), retry=True)
    assert (tally.calls, tally.answers, tally.retries) == (4, 2, 2)
    assert (tally.input_tokens, tally.output_tokens, tally.cached_tokens, tally.reasoning_tokens) == (
        30,
        5,
        8,
        2,
    )
    assert tally.failures == {"timeout": 1, "connection": 1}
    assert tally.latency.n == 2


def test_two_tallies_add_up_field_by_field():
    one, other = calls(2), calls(3)
    other.attempted(Failure.TIMEOUT, 60.0, None, retry=True)
    other.cached = other.joined = other.refused = 7
    one.merge(other)
    assert one == Tally(
        calls=6,
        answers=5,
        retries=1,
        cached=7,
        joined=7,
        refused=7,
        input_tokens=50,
        cached_tokens=20,
        output_tokens=10,
        reasoning_tokens=5,
        failures={"timeout": 1},
        latency=calls(5).latency,
    )


def test_minutes_go_together_in_their_hour_and_all_models_in_their_minute():
    pending = Pending()
    pending.add(PROVIDER, MINUTE, "a", calls(1))
    pending.add(PROVIDER, MINUTE, "b", calls(2))
    pending.add(PROVIDER, MINUTE - timedelta(minutes=5), "a", calls(4))
    pending.add(PROVIDER, MINUTE + timedelta(minutes=1), "a", calls(8))
    hour = MINUTE.replace(minute=0)
    assert {key: tally.calls for key, tally in pending.hours.items()} == {
        (PROVIDER, hour, "a"): 5,
        (PROVIDER, hour, "b"): 2,
        (PROVIDER, hour + timedelta(hours=1), "a"): 8,
    }
    assert [tally.calls for tally in pending.minutes.values()] == [3, 4, 8]


def test_a_tally_that_was_handed_over_is_not_shared_with_what_is_kept():
    pending, tally = Pending(), calls(1)
    pending.add(PROVIDER, MINUTE, "a", tally)
    pending.add(PROVIDER, MINUTE, "a", calls(1))
    assert tally.calls == 1


def test_beyond_the_bound_models_go_together_and_nothing_is_dropped():
    pending = Pending(most=3)
    for n in range(10):
        pending.add(PROVIDER, MINUTE, f"model-{n}", calls(1))
    assert [model for _, _, model in pending.hours] == ["model-0", "model-1", "model-2", OTHER]
    assert sum(tally.calls for tally in pending.hours.values()) == 10
    assert pending.lost == 0


def test_beyond_every_bound_requests_are_only_counted():
    pending = Pending(most=3)
    for n in range(10):
        pending.add(uuid4(), MINUTE + timedelta(hours=n), "a", calls(2))
    assert len(pending.hours) == 6
    assert pending.lost == 8
    assert len(pending.minutes) == 3
    assert min(minute for _, minute in pending.minutes) == MINUTE + timedelta(hours=7)


def test_what_comes_later_is_absorbed():
    first, later = Pending(), Pending()
    first.add(PROVIDER, MINUTE, "a", calls(1))
    later.add(PROVIDER, MINUTE, "a", calls(2))
    later.add(PROVIDER, MINUTE, "b", calls(4))
    later.lost = 3
    first.absorb(later)
    assert [tally.calls for tally in first.hours.values()] == [3, 4]
    assert [tally.calls for tally in first.minutes.values()] == [7]
    assert first.lost == 3
