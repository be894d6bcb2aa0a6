"""What a server leaves on its data folder for the command line."""

import socket
import stat

import pytest

from tiebreak.supervisor.announcement import Announcement, instance_at


def test_an_announcement_is_readable_by_its_owner_only_and_comes_back(tmp_path):
    announcement = Announcement("http://127.0.0.1:8321", 4711, "one")
    announcement.write(tmp_path)
    assert Announcement.read(tmp_path) == announcement
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["server.json"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"url": "x"}', '{"url": "x", "pid": "y", "instance": "z"}']
)
def test_a_broken_announcement_counts_as_none(tmp_path, text):
    (tmp_path / "server.json").write_text(text)
    assert Announcement.read(tmp_path) is None
    assert Announcement.read(tmp_path / "nowhere") is None


def test_only_ones_own_announcement_is_withdrawn(tmp_path):
    first, second = Announcement("http://a", 1, "one"), Announcement("http://b", 2, "two")
    second.write(tmp_path)
    first.withdraw(tmp_path)
    assert Announcement.read(tmp_path) == second
    second.withdraw(tmp_path)
    assert Announcement.read(tmp_path) is None


def test_what_is_no_server_of_ours_has_no_instance():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert instance_at(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2) is None
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert instance_at(f"http://127.0.0.1:{port}") is None
