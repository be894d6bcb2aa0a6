"""What of a request is kept, by policy."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.observations.made import event

from tiebreak.observations.model import decode, encode, session_key
from tiebreak.observations.policy import (
    CUT_MARK,
    MAX_BODY,
    MAX_TAGS,
    MAX_TEXT,
    BodyPolicy,
    kept,
    redacted,
)

WHOLE = event(
    1,
    unit="ann@example.org",
    session="s-1",
    tags={"team": "blue"},
    api_key=bytes(16),
    request="my key is sk-abcdefghijk",
    response="hello",
)


def test_none_counts_and_keeps_nothing_that_names_anybody():
    found = kept(WHOLE, BodyPolicy.NONE)
    assert b"ann@example.org" not in encode(found)
    assert found.exposure.unit_key == WHOLE.exposure.unit_key
    assert (found.session, found.tags, found.api_key, found.request, found.response) == (
        None,
        {},
        None,
        None,
        None,
    )
    assert found.session_key == session_key("s-1")
    assert (found.latency_us, found.cost_nano) == (WHOLE.latency_us, WHOLE.cost_nano)


def test_metadata_keeps_everything_but_the_texts():
    found = kept(WHOLE, BodyPolicy.METADATA)
    assert found == msgspec.structs.replace(WHOLE, request=None, response=None)


def test_full_keeps_the_texts_without_secrets():
    found = kept(WHOLE, BodyPolicy.FULL)
    assert found.request == "my key is [redacted]"
    assert found.response == "hello"


def test_texts_and_tags_are_bounded():
    long = event(1, unit="u" * 999, session="s" * 999, request="x" * (3 * MAX_BODY))
    found = kept(msgspec.structs.replace(long, tags={str(n): "v" * 999 for n in range(99)}), BodyPolicy.FULL)
    assert len(found.exposure.unit) == len(found.session) == MAX_TEXT
    assert found.exposure.unit_key == long.exposure.unit_key
    assert len(found.tags) == MAX_TAGS
    assert {len(value) for value in found.tags.values()} == {MAX_TEXT}
    assert found.request == "x" * MAX_BODY + CUT_MARK


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_text_of_a_caller_can_be_written_and_read(text):
    given_event = event(
        1, unit=text, session=text, model=text, served=text, tags={text: text}, request=text, response=text
    )
    for policy in BodyPolicy:
        found = kept(given_event, policy)
        assert decode(encode(found)) == found
        assert "\x00" not in f"{found.model}{found.served}"


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-abcdefghijklmnop",
        "Bearer abc.def-ghi",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJlMTIzNDU2",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1" * 18,
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_masked(secret):
    found = redacted(f"before {secret} after", hide_persons=False)
    assert secret.removeprefix("Bearer ") not in found
    assert found.startswith("before ")
    assert found.endswith(" after")


def test_addresses_and_phone_numbers_are_masked_on_request_only():
    text = "write to ann.b+c@mail.example.org or call +49 (30) 1234-5678, order 4711"
    assert redacted(text, hide_persons=False) == text
    assert redacted(text, hide_persons=True) == "write to [redacted] or call [redacted], order 4711"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", ["a", "-eyJ", "sk-", "1 ", "a@", "-----BEGIN ", "a.", "eyJa.", "+1"])
def test_no_text_takes_more_than_linear_time(part):
    """A quadratic pattern would take hours and meet the timeout."""
    redacted(part * (MAX_BODY // len(part)), hide_persons=True)
