"""What headers and bodies say of limits and waiting, in every vendor's way, and that nothing said can break it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tiebreak.providers import limits
from tiebreak.providers.model import RateLimits, Window

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("17ms", 0.017),
        ("1m0.5s", 60.5),
        ("250us", 0.00025),
        ("8ns", 8e-9),
        ("35.7s", 35.7),
        ("12", 12.0),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("-1s", None),
        ("nan", None),
        ("1e400", None),
        ("1e9", None),
        ("soon", None),
        ("1s later", None),
        ("9" * 100, None),
        ("9h" * 40, None),
    ],
)
def test_a_duration_is_seconds_or_nothing(text, seconds):
    assert limits.duration(text) == (pytest.approx(seconds) if seconds is not None else None)


def test_openai_counts_requests_and_tokens_with_go_durations():
    told = limits.rate_limits(
        {
            "x-ratelimit-limit-requests": "500",
            "x-ratelimit-remaining-requests": "499",
            "x-ratelimit-reset-requests": "120ms",
            "x-ratelimit-limit-tokens": "30000",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        NOW,
    )
    assert told == RateLimits(requests=Window(500, 499, 0.12), tokens=Window(30_000, 0, 360.0))


def test_anthropic_names_moments():
    told = limits.rate_limits(
        {
            "anthropic-ratelimit-requests-limit": "50",
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2026-11-23T12:00:30Z",
            "anthropic-ratelimit-input-tokens-limit": "80000",
            "anthropic-ratelimit-input-tokens-remaining": "79000",
            "anthropic-ratelimit-input-tokens-reset": "2026-11-23T11:59:00+00:00",
            "anthropic-ratelimit-output-tokens-limit": "16000",
        },
        NOW,
    )
    assert told == RateLimits(
        requests=Window(50, 0, 30.0),
        input_tokens=Window(80_000, 79_000, 0.0),
        output_tokens=Window(16_000, None, None),
    )


@pytest.mark.parametrize(
    ("remaining", "limit", "told"),
    [
        ("-1", "-1", None),
        ("-1", "0", None),
        ("0", "-1", RateLimits(requests=Window(None, 0, None))),
        ("9", "0", RateLimits(requests=Window(None, 9, None))),
        ("9" * 13, "9", RateLimits(requests=Window(9, limits.MOST, None))),
    ],
)
def test_azures_minus_one_and_zero_are_no_limit(remaining, limit, told):
    names = {"x-ratelimit-remaining-requests": remaining, "x-ratelimit-limit-requests": limit}
    assert limits.rate_limits(names, NOW) == told


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (str(int(NOW.timestamp()) + 45), 45.0),
        (str((int(NOW.timestamp()) + 45) * 1000), 45.0),
        ("60", 60.0),
        ("2026-11-23T12:01:00", 60.0),
        ("0001-01-01T00:00:00+14:00", 0.0),
        ("9999-12-31T23:59:59-14:00", None),
        ("2026-11-23T12:01:00Z" + " " * 60, None),
    ],
)
def test_a_plain_limit_resets_after_seconds_or_at_a_moment(reset, seconds):
    names = {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "1", "x-ratelimit-reset": reset}
    assert limits.rate_limits(names, NOW) == RateLimits(requests=Window(10, 1, seconds))


def test_an_answer_without_such_headers_tells_of_no_limits():
    assert limits.rate_limits({"content-type": "application/json"}, NOW) is None


def gemini(*delays: str, listed: bool = False) -> bytes:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay} for delay in delays]
    error = {
        "error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "other"}, *details]}
    }
    return json.dumps([error] if listed else error).encode()


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({}, b"", None),
        ({"retry-after": "7"}, gemini("30s"), 7.0),
        ({"retry-after-ms": "1500"}, b"", 1.5),
        ({}, gemini("36.5s"), 36.5),
        ({}, gemini("3s", "9s", "soon"), 9.0),
        ({}, gemini("12s", listed=True), 12.0),
        ({}, b'{"retryDelay": ', None),
        ({}, b'{"error": {"details": [{"retryDelay": 7}]}}', None),
    ],
)
def test_the_least_wait_is_read_from_headers_then_from_the_body(headers, body, seconds):
    assert limits.minimum_wait(headers, body, NOW) == seconds


def test_without_a_stated_wait_the_used_up_limits_say_when():
    told = RateLimits(requests=Window(5, 0, 4.0), tokens=Window(9, 0, 8.0), input_tokens=Window(9, 3, 99.0))
    assert limits.minimum_wait({}, b"", NOW, told) == 8.0
    assert limits.minimum_wait({"retry-after": "1"}, b"", NOW, told) == 1.0
    assert limits.minimum_wait({}, b"", NOW, RateLimits(requests=Window(5, 1, 4.0))) is None


NAMES = st.sampled_from(
    [name for triple in [*limits._PLAIN, *sum(limits._NAMES.values(), ())] for name in triple]
    + ["retry-after", "retry-after-ms"]
)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat() + "Z")
VALUES = st.text(max_size=80) | st.integers().map(str) | st.floats().map(str) | MOMENTS


@settings(max_examples=500)
@given(st.dictionaries(NAMES, VALUES, max_size=8), st.binary(max_size=80) | VALUES.map(lambda v: gemini(v)))
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"}, b"")
@example({"retry-after": "1e308"}, b"")
def test_nothing_a_vendor_says_breaks_the_reading(headers, body):
    told = limits.rate_limits(headers, NOW)
    for window in () if told is None else (told.requests, told.tokens, told.input_tokens, told.output_tokens):
        if window is not None:
            assert window.limit is not None or window.remaining is not None
            assert 0 <= (window.limit or 0) <= limits.MOST
            assert 0 <= (window.remaining or 0) <= limits.MOST
            assert 0 <= (window.reset or 0) <= limits.LONGEST_SECONDS
    wait = limits.minimum_wait(headers, body, NOW, told)
    assert wait is None or wait >= 0


@given(st.timedeltas(timedelta(0), timedelta(days=30)))
def test_a_duration_as_go_prints_it_is_read_back(span):
    hours, rest = divmod(int(span.total_seconds()), 3600)
    assert limits.duration(f"{hours}h{rest // 60}m{rest % 60}s") == int(span.total_seconds())
