"""When to try again: the widths of waits, and every form of Retry-After."""

import random
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.resilience.retry import Backoff, retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("retry", "width"), [(0, 0.5), (1, 1.0), (2, 2.0), (5, 16.0), (6, 20.0), (10_000, 20.0)]
)
def test_waits_spread_over_a_width_that_doubles_up_to_a_ceiling(retry, width):
    rng = random.Random(7)
    waits = [Backoff().delay(retry, rng) for _ in range(2000)]
    assert 0 <= min(waits) < 0.05 * width
    assert 0.95 * width < max(waits) <= width


@given(
    st.integers(0, 100),
    st.floats(0, 1e12) | st.just(float("inf")),
    st.integers(0, 2**32),
)
def test_no_retry_is_early_and_none_waits_for_ever(retry, minimum, seed):
    wait = Backoff().delay(retry, random.Random(seed), minimum)
    assert min(minimum, 60.0) <= wait <= 90.0


@pytest.mark.parametrize("minimum", [0.1, 2.0, 59.0, 1e9])
def test_clients_told_the_same_minimum_spread_by_a_quarter_of_it_at_least(minimum):
    rng = random.Random(11)
    waits = [Backoff().delay(0, rng, minimum) for _ in range(1000)]
    assert max(waits) - min(waits) >= 0.25 * min(minimum, 60.0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e9"}, 1e9),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "6m0s"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "-1", "retry-after": "9"}, 9.0),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0.0),
        ({"retry-after": "Mon, 23 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Mon, 99 Nov 99999 12:00:30 GMT"}, None),
    ],
)
def test_every_form_of_retry_after(headers, seconds):
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_is_a_wait_that_is_not_negative_or_none(text, milliseconds):
    found = retry_after({"retry-after": text, "retry-after-ms": milliseconds}, NOW)
    assert found is None or found >= 0
