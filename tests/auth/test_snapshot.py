"""Who sends a key, decided without a question to anybody."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest

from tiebreak.auth.keys import fresh, owner
from tiebreak.auth.model import OWNER, SCOPES, Principal, Refusal
from tiebreak.auth.snapshot import MALFORMED, MISSING, NO_KEYS, UNKNOWN, KeySnapshot, StoredKey, presented

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHANCE = random.Random(3)
KEY, LATE, OTHER = (fresh(CHANCE.randbytes) for _ in range(3))
CI = Principal(UUID(int=1), "ci", frozenset({"gateway", "feedback"}))
SOON = Principal(UUID(int=2), "soon over", frozenset({"manage"}))
SNAPSHOT = KeySnapshot(
    {KEY.prefix: StoredKey(CI, KEY.digest), LATE.prefix: StoredKey(SOON, LATE.digest, NOW)}, keyed=True
)


@pytest.mark.parametrize(
    "text", [KEY.text, f"Bearer {KEY.text}", f"bearer {KEY.text}", f"BEARER   {KEY.text}"]
)
def test_a_key_is_its_holder(text):
    assert SNAPSHOT.check(text, NOW) == CI


@pytest.mark.parametrize(
    "text", ["", "Bearer", "Bearer ", f"Basic {KEY.text}", f"{KEY.text} {KEY.text}", "x" * 100_000, "\x00"]
)
def test_what_is_no_key_is_refused_as_malformed(text):
    assert SNAPSHOT.check(text, NOW) is MALFORMED


def test_a_wrong_secret_and_a_prefix_that_nobody_has_are_one_refusal():
    """Nobody who guesses learns which prefixes exist."""
    assert SNAPSHOT.check(f"tb_{KEY.prefix}_{OTHER.secret}", NOW) is UNKNOWN
    assert SNAPSHOT.check(OTHER.text, NOW) is UNKNOWN
    assert SNAPSHOT.check(f"tb_{LATE.prefix}_{OTHER.secret}", NOW) is UNKNOWN
    assert NO_KEYS.check(KEY.text, NOW) is UNKNOWN


def test_a_key_counts_until_the_moment_it_expires():
    assert SNAPSHOT.check(LATE.text, NOW - timedelta(microseconds=1)) == SOON
    refused = SNAPSHOT.check(LATE.text, NOW)
    assert isinstance(refused, Refusal)
    assert refused.reason == "expired"
    assert "'soon over'" in refused.detail
    assert "2026-01-01 00:00 UTC" in refused.detail


def test_the_owner_of_the_machine_may_do_everything_and_others_stay():
    key = owner(CHANCE.randbytes)
    with_owner = SNAPSHOT.with_owner(key)
    assert with_owner.check(key.text, NOW) == OWNER
    assert with_owner.check(KEY.text, NOW) == CI
    assert SNAPSHOT.check(key.text, NOW) is UNKNOWN
    assert with_owner.check(f"tb_{key.prefix}_{OTHER.secret}", NOW) is UNKNOWN
    assert NO_KEYS.with_owner(key).keyed is False


def test_admin_allows_everything_and_each_other_scope_only_itself():
    allowed = {
        scope: {asked for asked in SCOPES if Principal(None, "x", frozenset({scope})).may(asked)}
        for scope in SCOPES
    }
    assert allowed == {
        "gateway": {"gateway"},
        "feedback": {"feedback"},
        "manage": {"manage"},
        "admin": set(SCOPES),
    }


def test_it_comes_back_from_a_file_without_any_secret_in_it():
    encoded = SNAPSHOT.encode()
    assert KeySnapshot.decode(encoded) == SNAPSHOT
    assert KEY.secret.encode() not in encoded
    with pytest.raises(msgspec.DecodeError):
        KeySnapshot.decode(encoded[:-1])


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([(b"authorization", b"Bearer tb_x")], "tb_x"),
        ([(b"authorization", b" bearer  tb_x ")], "tb_x"),
        ([(b"x-api-key", b" tb_x")], "tb_x"),
        ([(b"x-api-key", b"tb_x"), (b"authorization", b"Bearer tb_x")], "tb_x"),
        ([], MISSING),
        ([(b"cookie", b"tb_x"), (b"x-other", b"tb_x")], MISSING),
        ([(b"authorization", b"Basic dTpw")], ""),  # which is no key
        ([(b"authorization", b"tb_x")], ""),
        ([(b"x-api-key", b"tb_x"), (b"x-api-key", b"tb_y")], MALFORMED),
        ([(b"x-api-key", b"tb_x"), (b"authorization", b"Bearer tb_y")], MALFORMED),
        ([(b"x-api-key", b"tb_x"), (b"authorization", b"Basic dTpw")], MALFORMED),
    ],
)
def test_one_key_is_taken_from_the_headers_and_two_are_none(headers, found):
    assert presented(headers) == found
