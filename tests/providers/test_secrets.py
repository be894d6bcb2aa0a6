"""Secrets at rest: sealed for one row by one key; the key's file; and each way a key can be wrong."""

import base64
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import Misconfigured
from tiebreak.providers.secrets import FILE_NAME, CannotOpen, Keyring

KEY = base64.b64encode(bytes(range(32))).decode()
OTHER = base64.b64encode(bytes(32)).decode()


@given(st.text())
def test_a_sealed_secret_opens_for_its_row(plain):
    keyring, row = Keyring.open(None, KEY), uuid4()
    if any("\ud800" <= c <= "\udfff" for c in plain):
        return
    sealed, key_id = keyring.encrypt(plain, row)
    assert keyring.decrypt(sealed, key_id, row) == plain


def test_a_secret_is_sealed_differently_each_time_and_is_not_in_what_is_stored():
    keyring, row = Keyring.open(None, KEY), uuid4()
    sealed = {keyring.encrypt("sk-sentinel", row)[0] for _ in range(20)}
    assert len(sealed) == 20
    assert not any(b"sentinel" in value for value in sealed)


def test_a_secret_moved_to_another_row_does_not_open():
    keyring = Keyring.open(None, KEY)
    sealed, key_id = keyring.encrypt("sk", uuid4())
    with pytest.raises(CannotOpen, match="another row"):
        keyring.decrypt(sealed, key_id, uuid4())


def test_a_secret_moved_to_another_field_does_not_open():
    keyring, row = Keyring.open(None, KEY), uuid4()
    for there, elsewhere in (("secret", "proxy"), ("proxy", "secret")):
        sealed, key_id = keyring.encrypt("sk", row, there)
        assert keyring.decrypt(sealed, key_id, row, there) == "sk"
        with pytest.raises(CannotOpen, match="another row"):
            keyring.decrypt(sealed, key_id, row, elsewhere)


@pytest.mark.parametrize("place", [0, 11, 12, -1])
def test_a_changed_secret_does_not_open(place):
    keyring, row = Keyring.open(None, KEY), uuid4()
    sealed, key_id = keyring.encrypt("sk-sentinel", row)
    changed = bytearray(sealed)
    changed[place] ^= 1
    with pytest.raises(CannotOpen):
        keyring.decrypt(bytes(changed), key_id, row)


@pytest.mark.parametrize("stored", [b"", b"short", b"x" * 12])
def test_what_is_no_sealed_secret_does_not_open(stored):
    keyring = Keyring.open(None, KEY)
    with pytest.raises(CannotOpen):
        keyring.decrypt(stored, keyring.key_id or "", uuid4())


def test_another_key_is_named():
    keyring, other, row = Keyring.open(None, KEY), Keyring.open(None, OTHER), uuid4()
    sealed, key_id = keyring.encrypt("sk", row)
    with pytest.raises(CannotOpen, match=f"sealed with the key {key_id}.*present key is {other.key_id}"):
        other.decrypt(sealed, key_id, row)


@pytest.mark.parametrize(
    "text", ["", "short", "not base64!", base64.b64encode(b"31 bytes" * 4)[:-4].decode()]
)
def test_a_key_that_is_none_names_the_remedy_and_is_not_shown(text):
    with pytest.raises(Misconfigured, match=r"TIEBREAK_SECRET_KEY is not 32 bytes.*openssl rand") as caught:
        Keyring.open(None, text)
    assert not text or text not in caught.value.detail


def test_without_key_and_place_secrets_cannot_be_kept():
    keyring = Keyring.open(None, None)
    with pytest.raises(Misconfigured, match="set TIEBREAK_SECRET_KEY"):
        keyring.encrypt("sk", uuid4())
    with pytest.raises(CannotOpen, match="no key now"):
        keyring.decrypt(b"", "abc", uuid4())


def test_the_file_is_made_when_first_needed_and_only_its_owner_reads_it(tmp_path):
    home = tmp_path / "data"
    keyring = Keyring.open(home, None)
    assert not home.exists()
    row = uuid4()
    sealed, key_id = keyring.encrypt("sk", row)
    assert (home / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in home.iterdir()] == [FILE_NAME]
    assert Keyring.open(home, None).decrypt(sealed, key_id, row) == "sk"


def test_a_key_made_by_another_process_meanwhile_is_used(tmp_path):
    early, late, row = Keyring.open(tmp_path, None), Keyring.open(tmp_path, None), uuid4()
    sealed, key_id = early.encrypt("sk", row)
    assert late.decrypt(sealed, key_id, row) == "sk"
    third = Keyring.open(tmp_path, None)
    assert third.encrypt("sk", row)[1] == key_id


def test_processes_that_make_a_key_at_once_get_the_same(tmp_path):
    script = (
        "import sys, uuid, pathlib\n"
        "from tiebreak.providers.secrets import Keyring\n"
        "keyring = Keyring.open(pathlib.Path(sys.argv[1]), None)\n"
        "sys.stdin.readline()\n"
        "print(keyring.encrypt('sk', uuid.uuid4())[1])\n"
    )
    made = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in made:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ids = {process.communicate(timeout=60)[0] for process in made}
    assert len(ids) == 1
    assert all(process.returncode == 0 for process in made)


def test_the_given_key_goes_before_the_file(tmp_path):
    Keyring.open(tmp_path, None).encrypt("sk", uuid4())
    assert Keyring.open(tmp_path, KEY).key_id == Keyring.open(None, KEY).key_id


def test_a_key_file_open_to_others_is_refused(tmp_path):
    Keyring.open(tmp_path, None).encrypt("sk", uuid4())
    (tmp_path / FILE_NAME).chmod(0o644)
    with pytest.raises(Misconfigured, match=r"mode 0644.*chmod 600"):
        Keyring.open(tmp_path, None)


@pytest.mark.parametrize("content", [b"", b"too short", b"\xff\xfe"])
def test_a_broken_key_file_is_named(tmp_path, content):
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match=FILE_NAME):
        Keyring.open(tmp_path, None)


def test_a_key_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / FILE_NAME).mkdir(mode=0o700)
    with pytest.raises(Misconfigured, match=r"cannot be read.*TIEBREAK_SECRET_KEY"):
        Keyring.open(tmp_path, None)


def test_a_folder_that_cannot_be_written_names_the_remedy(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    keyring = Keyring(None, blocked / "below" / FILE_NAME)
    with pytest.raises(Misconfigured, match="TIEBREAK_SECRET_KEY"):
        keyring.encrypt("sk", uuid4())


def test_a_place_where_nothing_can_be_made_names_the_remedy():
    keyring = Keyring.open(Path("/proc/tiebreak"), None)
    with pytest.raises(Misconfigured, match=r"cannot be written.*set TIEBREAK_SECRET_KEY instead"):
        keyring.encrypt("sk", uuid4())


def test_a_keyring_shows_the_name_of_its_key_only(tmp_path):
    keyring = Keyring.open(None, KEY)
    assert repr(keyring) == f"Keyring({keyring.key_id})"
    assert repr(Keyring.open(tmp_path, None)) == "Keyring(no key yet)"
