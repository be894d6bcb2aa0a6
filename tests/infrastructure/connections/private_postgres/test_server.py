"""The private server lives exactly as long as somebody uses it, whatever dies in which order."""

import asyncio
import os
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.guardians import (
    Client,
    alive,
    guardian_pid,
    left_over,
    postmaster_pid,
    wait_until_gone,
)

from tiebreak.errors import Misconfigured, Unavailable
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres
from tiebreak.infrastructure.connections.private_postgres.binaries import Binaries
from tiebreak.infrastructure.connections.private_postgres.folder import Folder
from tiebreak.infrastructure.connections.private_postgres.locks import FileLock
from tiebreak.infrastructure.connections.private_postgres.server import _understand

GONE_SECONDS = 3.0


@pytest.fixture
def home() -> Iterator[Path]:
    # A short path, as the socket lies below it, and open to pass through, as the server may run as another user.
    place = Path(tempfile.mkdtemp(prefix="tb-"))
    place.chmod(0o711)
    yield place
    wait_until_gone(place)
    shutil.rmtree(place)


def ask(dsn: str, query: str = "select 'yes'") -> object:
    async def once() -> object:
        connection = await asyncpg.connect(dsn, timeout=5)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(once())


def ask_until(dsn: str, query: str = "select 'yes'", seconds: float = 20.0) -> object:
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask(dsn, query)
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline, "the server did not come back"
            time.sleep(0.05)


@pytest.mark.parametrize("end", ["exit", "ctrl-c", "kill"])
def test_a_server_outlives_its_starter_and_ends_with_its_last_client(home: Path, end: str):
    with Client(home) as starter, Client(home) as joiner:
        starter.dsn()
        dsn = joiner.dsn()
        if end == "exit":
            starter.close()
        else:
            starter.signal(signal.SIGINT if end == "ctrl-c" else signal.SIGKILL)
        time.sleep(1.2)  # longer than two looks of the guardian
        assert ask(dsn) == "yes"
        joiner.signal(signal.SIGKILL)
        wait_until_gone(home, GONE_SECONDS)


def test_starts_at_once_share_one_server(home: Path):
    clients = [Client(home) for _ in range(4)]
    try:
        assert len({client.dsn() for client in clients}) == 1
        assert len([pid for pid in left_over(home) if pid == guardian_pid(home)]) == 1
        assert (Folder(home).log).read_text().count("starting PostgreSQL") == 1
    finally:
        for client in clients:
            client.close()


def test_a_client_that_comes_while_the_server_leaves_gets_a_new_one(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        ask(server.dsn, "create table t as select 1 as n")
    for delay in (0.0, 0.2, 0.4, 0.5, 0.52, 0.55, 0.6):
        with PrivatePostgres.open(home, fsync=False) as server:
            assert ask(server.dsn, "select n from t") == 1
        time.sleep(delay)


def test_kill_9_of_the_guardian_ends_the_server_in_good_order_and_the_next_start_works(home: Path):
    with PrivatePostgres.open(home) as first:
        ask(first.dsn, "create table t as select 1 as n")
        os.kill(guardian_pid(home), signal.SIGKILL)
        wait_until_gone(home, GONE_SECONDS)
        assert "database system is shut down" in Folder(home).log.read_text()
        with PrivatePostgres.open(home) as second:
            assert ask(second.dsn, "select n from t") == 1
            assert second.dsn == first.dsn, "the first one's pool heals, too"


def test_a_client_revives_the_server_whose_guardian_was_killed(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        server.revive()
        os.kill(guardian_pid(home), signal.SIGKILL)
        wait_until_gone(home, GONE_SECONDS)
        server.revive()
        assert ask(server.dsn) == "yes"


def test_kill_9_of_the_postmaster_is_healed_by_the_guardian(home: Path):
    with PrivatePostgres.open(home) as server:
        ask(server.dsn, "create table t as select 1 as n")
        killed = postmaster_pid(home)
        os.kill(killed, signal.SIGKILL)
        assert ask_until(server.dsn, "select n from t") == 1
        assert postmaster_pid(home) != killed
        with PrivatePostgres.open(home) as joined:
            assert ask(joined.dsn) == "yes"


def test_kill_9_of_guardian_and_postmaster_together_leaves_nothing_in_the_way(home: Path):
    with PrivatePostgres.open(home) as server:
        ask(server.dsn, "create table t as select 1 as n")
        for pid in (guardian_pid(home), postmaster_pid(home)):
            os.kill(pid, signal.SIGKILL)
        with PrivatePostgres.open(home) as again:
            assert ask(again.dsn, "select n from t") == 1


def test_a_busy_backend_that_outlives_its_postmaster_does_not_keep_the_next_one_away(home: Path):
    with PrivatePostgres.open(home) as server:
        busy = threading.Thread(target=_spin, args=(server.dsn,))
        busy.start()
        wait_for_spinning(server.dsn)
        os.kill(postmaster_pid(home), signal.SIGKILL)
        assert ask_until(server.dsn) == "yes"
        busy.join(timeout=10)
        assert not busy.is_alive()


def _spin(dsn: str) -> None:
    # Computes without ever looking whether its postmaster lives.
    with pytest.raises((OSError, asyncpg.PostgresError)):
        ask(dsn, "do $$ begin loop perform 1; end loop; end $$")


def wait_for_spinning(dsn: str) -> None:
    deadline = time.monotonic() + 10
    while ask(dsn, "select count(*) from pg_stat_activity where query like 'do %' and state = 'active'") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_stale_pid_file_that_names_a_stranger_is_no_obstacle(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        data = Folder(home).data
        lines = (data / "postmaster.pid").read_text().splitlines()
        for pid in (guardian_pid(home), postmaster_pid(home)):
            os.kill(pid, signal.SIGKILL)
        wait_until_gone(home)
        # As after a restart of a container, where low pids come back for other programs.
        (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        with PrivatePostgres.open(home) as again:
            assert ask(again.dsn) == "yes"
        assert ask_until(server.dsn) == "yes", "still held by the first"


def test_a_guardian_that_is_asked_to_end_stops_the_server(home: Path):
    with PrivatePostgres.open(home, fsync=False):
        os.kill(guardian_pid(home), signal.SIGTERM)
        wait_until_gone(home, GONE_SECONDS)


def test_a_server_that_keeps_dying_stays_down_and_the_next_start_tries_again(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        guardian = guardian_pid(home)
        deadline = time.monotonic() + 60
        while alive(guardian):
            assert time.monotonic() < deadline
            try:
                os.kill(postmaster_pid(home), signal.SIGKILL)
            except (FileNotFoundError, IndexError, ProcessLookupError):
                time.sleep(0.01)
        assert "it stays down" in Folder(home).log.read_text()
        with PrivatePostgres.open(home, fsync=False):
            assert ask(server.dsn) == "yes"


def test_only_the_owner_can_read_what_the_server_keeps(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        folder = Folder(home)
        assert stat.S_IMODE(folder.password.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.sockets.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.data.stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.log.stat().st_mode) == 0o600
        with pytest.raises(asyncpg.InvalidPasswordError):
            ask(server.dsn.replace(folder.password.read_text().strip(), "guess"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen_addresses", ""),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("jit", "off"),
        ("shared_buffers", "64MB"),
        ("max_connections", "300"),
        ("password_encryption", "scram-sha-256"),
        ("fsync", "off"),
        ("TimeZone", "UTC"),
    ],
)
def test_the_server_runs_with_our_settings(settings: dict[str, str], name: str, value: str):
    assert settings[name] == value


@pytest.fixture(scope="module")
def settings() -> Iterator[dict[str, str]]:
    place = Path(tempfile.mkdtemp(prefix="tb-"))
    with PrivatePostgres.open(place, fsync=False) as server:

        async def read() -> dict[str, str]:
            connection = await asyncpg.connect(server.dsn)
            try:
                rows = await connection.fetch(
                    "select name, setting, current_setting(name) as shown from pg_settings"
                )
                return {row["name"]: row["shown"] for row in rows}
            finally:
                await connection.close()

        yield asyncio.run(read())
    wait_until_gone(place)
    shutil.rmtree(place)


def test_the_application_s_environment_does_not_reach_the_server(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SOME_API_KEY", "secret-sentinel")
    monkeypatch.setenv("PGPORT", "1")
    with PrivatePostgres.open(home, fsync=False):
        for pid in (guardian_pid(home), postmaster_pid(home)):
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            assert b"PATH=" in environment
            assert b"secret-sentinel" not in environment
            assert b"PGPORT" not in environment


def test_a_lost_password_is_replaced_at_the_next_start(home: Path):
    with PrivatePostgres.open(home, fsync=False) as server:
        ask(server.dsn, "create table t as select 1 as n")
        Folder(home).password.unlink()
        with pytest.raises(Misconfigured, match="the next start makes a new password"):
            PrivatePostgres.open(home)
    wait_until_gone(home)
    with PrivatePostgres.open(home, fsync=False) as again:
        assert ask(again.dsn, "select n from t") == 1


@pytest.mark.parametrize("name", ["x" * 120, "with space, comma", "ümlaut"])
def test_a_path_that_no_socket_can_have_gets_a_short_one_elsewhere(home: Path, name: str):
    deep = home / name
    with PrivatePostgres.open(deep, fsync=False) as server:
        sockets = Folder(deep).sockets
        assert not sockets.is_relative_to(home)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert ask(server.dsn) == "yes"
    wait_until_gone(deep)
    assert not sockets.exists()


def test_a_socket_folder_of_another_user_is_refused(home: Path):
    deep = home / ("x" * 120)
    deep.mkdir()
    target = home / "elsewhere"
    target.mkdir()
    Folder(deep).sockets.symlink_to(target)
    try:
        with pytest.raises(Misconfigured, match="is not ours"):
            PrivatePostgres.open(deep, fsync=False)
    finally:
        Folder(deep).sockets.unlink()
    wait_until_gone(deep)


def test_no_programs_anywhere_names_the_three_remedies(home: Path):
    with pytest.raises(Misconfigured) as raised:
        PrivatePostgres.open(home, programs=list)
    for remedy in ("DATABASE_URL", "apt-get install postgresql", "pip install 'tiebreak[embedded]'"):
        assert remedy in raised.value.detail


def test_programs_that_do_not_work_are_an_error_and_leave_nothing(home: Path):
    broken = home / "bin"
    broken.mkdir()
    for name in ("postgres", "initdb"):
        (broken / name).write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
        (broken / name).chmod(0o755)
    with pytest.raises(Unavailable, match="initdb failed"):
        PrivatePostgres.open(home, programs=lambda: [Binaries(broken, 15, "15.0")])
    assert "broken" in Folder(home).log.read_text()
    wait_until_gone(home, GONE_SECONDS)


def test_a_log_that_cannot_be_written_is_an_error(home: Path):
    Folder(home).log.mkdir()
    with pytest.raises(Misconfigured, match=rf"cannot use {home}"):
        PrivatePostgres.open(home)


def test_a_guardian_that_cannot_start_is_an_error_with_its_last_words(home: Path):
    with pytest.raises(Unavailable, match="no such module"):
        _understand(Folder(home), "", "Traceback\nno such module")
    with pytest.raises(Unavailable, match="without a word"):
        _understand(Folder(home), "", "")


def test_a_start_in_progress_is_not_waited_for_beyond_patience(home: Path):
    slow = home / "bin"
    slow.mkdir()
    for name in ("postgres", "initdb"):
        (slow / name).write_text("#!/bin/sh\nexec sleep 2\n")
        (slow / name).chmod(0o755)
    with pytest.raises(Unavailable, match="does not become ready"):
        PrivatePostgres.open(home, patience=0.5, programs=lambda: [Binaries(slow, 15, "15.0")])


def test_a_start_that_takes_too_long_is_given_up_and_holds_nothing(home: Path):
    with FileLock(Folder(home).start_lock) as turn:
        assert turn.try_exclusive()
        with pytest.raises(Unavailable, match="does not become ready"):
            PrivatePostgres.open(home, patience=0.2)
    with FileLock(Folder(home).clients_lock) as clients:
        assert clients.try_exclusive()


def test_a_folder_that_cannot_be_made_is_named(home: Path):
    (home / "file").write_text("")
    with pytest.raises(Misconfigured, match=f"the data folder {home}/file/data cannot be used"):
        PrivatePostgres.open(home / "file" / "data")
