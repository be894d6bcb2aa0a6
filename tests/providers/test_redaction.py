"""What vendors send is shown without keys, without control characters, and short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.providers.redaction import excerpt, printable, redact

SECRET = "sk-sentinel/0123456789"


@pytest.mark.parametrize(
    "text",
    [
        f"bad key {SECRET}!",
        f"Authorization: Bearer {SECRET}",
        "escaped: " + SECRET.replace("/", "\\/"),
        "in a URL: sk-sentinel%2F0123456789",
        f"twice {SECRET}{SECRET}",
    ],
)
def test_the_secret_is_gone_in_every_form(text):
    shown = redact(text, SECRET)
    assert "0123456789" not in shown
    assert "[redacted]" in shown


@pytest.mark.parametrize(
    "text",
    ["Incorrect API key: sk-proj-abcd****wxyz", "gsk_x", "Bearer eyJhbGciOi.abc-def", "key-0123456789"],
)
def test_what_looks_like_a_key_is_gone_too(text):
    assert redact(text, None) == text if text == "gsk_x" else "[redacted]" in redact(text, None)


def test_ordinary_words_stay():
    text = "The task-force asked for risk-taking: model 'gpt-5-mini' is overloaded"
    assert redact(text, None) == text


def test_control_characters_become_spaces():
    assert printable("a\x1b[31mb\x00c\nd\ud800e") == "a [31mb c d e"
    assert printable("naïve ✓") == "naïve ✓"


@given(
    st.text(max_size=3000),
    st.text(max_size=300),
    st.text("abcdefghijklmnop0123456789/+=", min_size=12, max_size=80),
    st.integers(20, 200),
)
def test_no_part_of_a_secret_survives_a_cut(before, after, secret, limit):
    secret = f"Q{secret}Z"
    shown = excerpt(f"{before}{secret}{after}", secret, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    # Ten characters of it would be found nowhere in the surroundings by chance.
    if secret[:10] not in before + after:
        assert secret[:10] not in shown


def test_a_secret_across_the_end_of_what_is_looked_at_is_cut_away():
    limit = 20
    for padding in range(4 * limit, 4 * limit + 4 * len(SECRET)):
        raw = " " * padding + SECRET + " and more" * 100
        assert "sentinel" not in excerpt(raw, SECRET, limit)
        assert "sentinel" not in excerpt(raw.encode(), SECRET, limit)


def test_bytes_that_are_no_text_are_shown_as_far_as_they_are():
    assert excerpt(b"caf\xe9 \xff\xfe", None, 50) == "caf\ufffd \ufffd\ufffd"


def test_a_long_text_ends_in_an_ellipsis():
    assert excerpt("x" * 100, None, 10) == "x" * 9 + "…"
