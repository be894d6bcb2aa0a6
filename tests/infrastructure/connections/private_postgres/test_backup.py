"""A database saved to a file and brought back, also by another major."""

import asyncio
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.guardians import Client, wait_until_gone

from tiebreak import migrations
from tiebreak.errors import Conflict, InvalidInput, Misconfigured, Unavailable
from tiebreak.infrastructure.connections.private_postgres.backup import _program, dump, restore


def run(dsn: str, query: str) -> object:
    async def once() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(once())


ADD = "insert into prompts (id, name) values (gen_random_uuid(), 'kept') returning name"


def test_what_was_saved_comes_back_and_what_came_later_is_gone(dsn: str, tmp_path: Path):
    file = tmp_path / "tiebreak.dump"
    run(dsn, ADD)
    dump(dsn, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    run(dsn, "update prompts set name = 'later' returning name")
    restore(dsn, file)
    assert run(dsn, "select name from prompts") == "kept"
    migrations.require_head(dsn)


def test_a_server_that_no_program_here_can_read_is_named():
    with pytest.raises(Misconfigured, match="pg_dump 99 was not found"):
        _program("pg_dump", 99)


@pytest.fixture
def newer() -> Iterator[str]:
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    with Client(home, major=18) as client:
        yield client.dsn()
    wait_until_gone(home)
    shutil.rmtree(home)


def test_a_dump_moves_to_another_major(dsn: str, newer: str, tmp_path: Path):
    run(dsn, ADD)
    dump(dsn, tmp_path / "d")
    restore(newer, tmp_path / "d")
    assert run(newer, "select name from prompts") == "kept"
    assert migrations.current(newer) == migrations.head()


def test_a_file_that_exists_is_not_overwritten(dsn: str, tmp_path: Path):
    (tmp_path / "d").write_text("precious")
    with pytest.raises(Conflict, match="exists; name a new file"):
        dump(dsn, tmp_path / "d")
    assert (tmp_path / "d").read_text() == "precious"


def test_a_place_that_cannot_be_written_is_named(dsn: str, tmp_path: Path):
    with pytest.raises(InvalidInput, match="cannot be written"):
        dump(dsn, tmp_path / "missing" / "d")


def test_a_failed_dump_leaves_no_file(tmp_path: Path):
    with pytest.raises(Unavailable):
        dump(f"postgresql://u:p@/d?host={tmp_path}", tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, "not a dump"])
def test_a_file_that_is_no_dump_changes_nothing(dsn: str, tmp_path: Path, content: str | None):
    run(dsn, ADD)
    if content is not None:
        (tmp_path / "d").write_text(content)
    with pytest.raises((InvalidInput, Unavailable)):
        restore(dsn, tmp_path / "d")
    assert run(dsn, "select name from prompts") == "kept"
