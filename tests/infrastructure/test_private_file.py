"""A small file of one owner: whole, once, and nothing beside it."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from tiebreak.infrastructure.private_file import create_once


def test_of_several_at_once_the_first_wins_and_its_content_is_whole(tmp_path):
    path = tmp_path / "folder" / "file"
    contents = [bytes([letter]) * 50_000 for letter in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda content: create_once(path, content), contents))
    kept = path.read_bytes()
    assert kept in contents
    create_once(path, b"later")
    assert path.read_bytes() == kept
    assert [file.name for file in path.parent.iterdir()] == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_place_that_cannot_be_written_is_the_callers_to_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        create_once(tmp_path / "file" / "below", b"x")
    (tmp_path / "taken").mkdir()
    create_once(tmp_path / "taken", b"x")  # something is there
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "taken"]
