"""The data folder and its places."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.connections.private_postgres.folder import (
    Folder,
    default_home,
    resolve_home,
)


@pytest.mark.parametrize(
    ("is_root", "namespaces", "home"),
    [(False, True, "/u"), (False, False, "/u"), (True, True, "/u"), (True, False, "/var/lib/tiebreak")],
)
def test_only_root_without_namespaces_leaves_his_own_home(is_root: bool, namespaces: bool, home: str):
    assert default_home(user_data=Path("/u"), is_root=is_root, namespaces=namespaces) == Path(home)


def test_a_named_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert resolve_home(Path("data")) == tmp_path / "data"
    assert resolve_home(Path("~/data")) == tmp_path / "me" / "data"
    assert resolve_home(Path("link")) == tmp_path / "real"


def test_a_new_folder_is_its_owners_alone_and_an_existing_one_stays(tmp_path: Path):
    Folder(tmp_path / "a" / "b").create()
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    tmp_path.chmod(0o755)
    Folder(tmp_path).create()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_folder_that_is_a_file_is_named(tmp_path: Path):
    (tmp_path / "f").write_text("")
    with pytest.raises(Misconfigured, match="TIEBREAK_HOME"):
        Folder(tmp_path / "f").create()


def test_the_socket_lies_inside_unless_its_path_is_too_long(tmp_path: Path):
    fits = Path("/tmp") / ("x" * 81)
    assert len(str(Folder(fits).sockets)) == 90
    assert Folder(fits).sockets == fits / "run"
    for name in ("x" * 100, "y" * 100, "comma,"):
        (tmp_path / name).mkdir()
    short = {Folder(tmp_path / name).sockets for name in ("x" * 100, "y" * 100, "comma,")}
    assert len(short) == 3
    assert {path.parent for path in short} == {Path("/tmp")}
    assert all(path.name.startswith(f"tiebreak-{tmp_path.stat().st_uid}-") for path in short)


def test_the_url_says_role_database_and_socket_in_a_way_that_drivers_read(tmp_path: Path):
    folder = Folder(Path("/tmp/a+b.c-d_e"))
    url = make_url(folder.dsn("pa/ss"))
    assert (url.username, url.password, url.database) == ("tiebreak", "pa/ss", "tiebreak")
    assert url.query["host"] == "/tmp/a+b.c-d_e/run"


def test_a_password_is_kept_for_its_owner_only_and_a_new_one_differs(tmp_path: Path):
    folder = Folder(tmp_path)
    first = folder.new_password()
    assert folder.password.read_text().strip() == first
    assert stat.S_IMODE(folder.password.stat().st_mode) == 0o600
    folder.password.with_suffix(".new").write_text("left by a start that was killed")
    assert folder.new_password() != first
    assert [path.name for path in tmp_path.iterdir()] == ["password"]


def test_the_major_is_read_from_the_data(tmp_path: Path):
    assert Folder(tmp_path).major() is None
    Folder(tmp_path).data.mkdir()
    (Folder(tmp_path).data / "PG_VERSION").write_text("15\n")
    assert Folder(tmp_path).major() == 15
