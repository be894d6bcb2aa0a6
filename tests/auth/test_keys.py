"""What a key looks like, and what of it is kept."""

import hashlib
import random
import re

import pytest

from tiebreak.auth.keys import OWNER_PREFIX, PREFIX, KeyText, fresh, owner, parse


def test_a_fresh_key_has_a_prefix_and_256_bits_and_comes_back_from_its_text():
    chance = random.Random(7)
    keys = [fresh(chance.randbytes) for _ in range(200)]
    assert len({key.text for key in keys}) == 200
    for key in keys:
        assert re.fullmatch(r"tb_[a-z2-7]{8}_[A-Za-z0-9_-]{43}", key.text)
        assert re.fullmatch(PREFIX, key.prefix)
        assert parse(key.text) == key


def test_all_of_the_chance_is_in_the_secret():
    flipped = {fresh(lambda size, bit=bit: (1 << bit).to_bytes(size)).secret for bit in range(8)}
    last = {fresh(lambda size, byte=byte: bytes([byte]) * size).secret for byte in range(256)}
    assert (len(flipped), len(last)) == (8, 256)


def test_no_fresh_key_has_the_prefix_of_the_owner():
    """Chance that gives just that prefix first is asked again."""
    answers = [bytes.fromhex("99d123ba53"), bytes(5), bytes(32)]
    assert fresh(lambda _: answers.pop(0)).prefix == "aaaaaaaa"
    assert answers == []
    assert owner(random.Random(1).randbytes).prefix == OWNER_PREFIX
    assert parse(owner(random.Random(1).randbytes).text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tb_",
        "tb_abcd2345_",
        f"tb_abcd2345_{'x' * 42}",
        f"tb_abcd2345_{'x' * 44}",
        f"tb_abcd2345_{'x' * 43}\n",
        f" tb_abcd2345_{'x' * 43}",
        f"tb_abcd1345_{'x' * 43}",
        f"tb_ABCD2345_{'x' * 43}",
        f"tb_abcd234_{'x' * 43}",
        f"sk_abcd2345_{'x' * 43}",
        f"tb_abcd2345_{'x' * 42}é",
        f"tb_abcd2345_{'x' * 42}+",
    ],
)
def test_anything_else_is_no_key(text):
    assert parse(text) is None


def test_what_is_kept_is_the_sha_256_of_the_secret():
    key = KeyText("abcd2345", "s" * 43)
    assert key.digest == hashlib.sha256(b"s" * 43).digest()


def test_a_key_that_is_printed_by_mistake_shows_no_secret():
    key = KeyText("abcd2345", "s" * 43)
    assert repr(key) == "KeyText(tb_abcd2345_…)"
    assert "sss" not in f"{key} {key!r} {[key]}"
