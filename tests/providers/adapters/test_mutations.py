"""Every reader of vendors' bytes against broken ones: no crash, no nonsense in what comes out, nothing that takes long."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.providers.adapters.mutations import HEADERS, PLAIN, Slowest, fuzz, seeds, ways

# Seconds of CPU for one input: five times what is promised, because the machine may be busy.
LONGEST = 0.05

TEXT = st.text(max_size=80) | st.sampled_from(
    ["1e309", "9" * 400, "-0", "NaN", "١٢", "1h" * 30, "0001-01-01T00:00:00+14:00"]
)


def test_broken_answers_are_answers_or_named_failures_and_quick(record_property):
    slowest = fuzz(seed=6, cases=10_000)
    record_property("slowest", f"{slowest.seconds * 1000:.2f} ms: {slowest.what}")
    assert {"ChatResponse", "EmbeddingResponse", "ProviderError"} <= slowest.kinds
    assert slowest.seconds < LONGEST


@pytest.mark.parametrize("dialect", PLAIN)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.dictionaries(st.sampled_from(HEADERS), TEXT, max_size=4), st.data())
def test_any_bytes_and_any_headers_are_read_by_everybody_in_time(dialect, noise, headers, data):
    good = data.draw(st.sampled_from(seeds(dialect)))
    cut = data.draw(st.integers(0, len(good)))
    slowest = Slowest()
    for body in (noise, good[:cut] + noise + good[cut:]):
        for name, call in ways(dialect, body, cut % (len(body) + 1), headers):
            slowest.timed(name, call)
    assert slowest.seconds < LONGEST, slowest.what


@pytest.mark.parametrize("dialect", PLAIN)
@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b'"' + b"\\u" * 100_000, b"1" * 100_000, b"data: " * 50_000, b"\r\n" * 100_000],
    ids=["brackets", "objects", "escapes", "digits", "fields", "lines"],
)  # fmt: skip
def test_a_body_made_to_take_long_does_not(dialect, body, record_property):
    slowest = Slowest()
    for name, call in ways(dialect, body, len(body) // 2, {"retry-after": body[:50_000].decode()}):
        slowest.timed(name, call)
    record_property("slowest", f"{slowest.seconds * 1000:.2f} ms: {slowest.what}")
    assert slowest.seconds < LONGEST, slowest.what
