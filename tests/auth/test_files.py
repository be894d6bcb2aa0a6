"""Keys in files: made whole, once, for their owner only."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiebreak.auth.files import OWNER_FILE, admin_key, find_owner_key, owner_key
from tiebreak.auth.keys import OWNER_PREFIX, parse
from tiebreak.errors import Misconfigured


def test_the_owners_key_is_made_once_for_the_owner_only(tmp_path):
    assert find_owner_key(tmp_path) is None
    with ThreadPoolExecutor(8) as threads:
        made = {key.text for key in threads.map(owner_key, [tmp_path] * 8)}
    assert len(made) == 1
    assert owner_key(tmp_path) == find_owner_key(tmp_path) == parse(made.pop())
    assert owner_key(tmp_path).prefix == OWNER_PREFIX
    assert stat.S_IMODE((tmp_path / OWNER_FILE).stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == [OWNER_FILE]


def test_an_owners_key_that_others_may_read_is_refused_with_the_remedy(tmp_path):
    key = owner_key(tmp_path)
    (tmp_path / OWNER_FILE).chmod(0o644)
    with pytest.raises(Misconfigured, match=r"0644.*remove it") as refused:
        owner_key(tmp_path)
    assert key.secret not in refused.value.detail


@pytest.mark.parametrize("content", [b"", b"tb_thishost_short", b"\xff\xfe"])
def test_a_broken_owners_key_is_named_and_not_shown(tmp_path, content):
    path = tmp_path / OWNER_FILE
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Misconfigured, match=OWNER_FILE) as refused:
        owner_key(tmp_path)
    assert "short" not in refused.value.detail
    assert find_owner_key(tmp_path) is None


def test_the_admin_key_file_is_taken_as_it_is_and_made_when_there_is_none(tmp_path):
    path = tmp_path / "folder" / "admin"
    made = admin_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == f"{made.text}\n"
    path.chmod(0o444)
    assert admin_key(path) == made


def test_an_admin_key_file_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path, tmp_path / "file"):
        with pytest.raises(Misconfigured, match=str(path)):
            admin_key(path)


def test_the_owners_key_is_no_admin_key_for_the_database(tmp_path):
    owner_key(tmp_path)
    with pytest.raises(Misconfigured, match="another file"):
        admin_key(tmp_path / OWNER_FILE)


def test_where_no_folder_can_be_the_reason_is_told(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(Misconfigured, match="cannot be made or read: File exists"):
        owner_key(blocked)
    assert [file.name for file in tmp_path.iterdir()] == ["blocked"]
