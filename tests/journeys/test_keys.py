"""Keys as a user has them: made before the server runs, asked for once they exist, and not in the way at home."""

import re
import stat
import subprocess
import sys

import pytest
from tests.journeys.test_commands import Shell
from tests.serving import environment, serving, until

KEY = r"tb_[a-z2-7]{8}_[A-Za-z0-9_-]{43}\n"


@pytest.fixture
def shell(tmp_path, dsn) -> Shell:
    return Shell(tmp_path, dsn)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_made_listed_changed_and_revoked_without_a_server(shell):
    assert "tiebreak key create" in shell("key", "list")
    printed = shell("key", "create", "--scope", "admin", "--name", "laptop", "--expires", "90d")
    assert re.fullmatch(KEY, printed)
    key = printed.strip()
    prefix = key.split("_")[1]
    # From now on calls need a key, and whoever has the data folder has one.
    listed = shell("key", "list")
    assert all(word in listed for word in (prefix, "laptop", "admin", "until "))
    assert key not in listed
    assert shell.document("key", "set", prefix, "--name", "desk", "--expires", "never")["name"] == "desk"
    assert "valid" in shell("key", "list")
    assert "nothing to change" in shell("key", "set", prefix, code=2)
    assert "has passed" in shell("key", "set", prefix, "--expires", "2020-01-01", code=2)
    assert shell("key", "revoke", key) == f"{prefix} (desk) is revoked\n"
    assert "revoked 20" in shell("key", "list")
    refused = shell("key", "revoke", "laptop", code=2)
    assert "eight characters" in refused
    shell.environment["TIEBREAK_API_KEY"] = key
    assert "has been revoked" in shell("test", "list", code=2)
    shell.environment["TIEBREAK_API_KEY"] = "tb_nonsense"
    assert "TIEBREAK_API_KEY holds no API key" in shell("test", "list", code=2)


def test_with_a_key_it_serves_other_machines_and_the_owner_needs_none(shell):
    dsn = shell.environment["DATABASE_URL"]
    refused = shell("serve", "--host", "0.0.0.0", "--port", "0", code=2)
    assert "`tiebreak key create --scope admin`" in refused
    admin = shell("key", "create", "--scope", "admin").strip()
    with serving(shell.home, dsn, "--host", "0.0.0.0") as server:
        assert server.get("/api/v1/tests")[0] == 401
        assert server.get("/api/v1/tests", bearer(admin))[0] == 200
        assert server.get("/api/v1/tests", {"Host": "tiebreak.example", "x-api-key": admin})[0] == 200
        assert server.get("/health", {"Host": "tiebreak.example"})[0] == 200
        assert stat.S_IMODE((shell.home / "local.key").stat().st_mode) == 0o600
        # On the data folder: the owner. An address that somebody names is not told the owner's key.
        manage = shell("key", "create", "--scope", "manage").strip()
        assert "TIEBREAK_API_KEY" in shell("--url", server.url, "test", "list", code=2)
        shell.environment["TIEBREAK_API_KEY"] = manage
        shell("--url", server.url, "test", "list")
        assert "needs admin" in shell("--url", server.url, "key", "list", code=2)
        del shell.environment["TIEBREAK_API_KEY"]
        shell("key", "revoke", manage)
        until(lambda: server.get("/api/v1/tests", bearer(manage))[0] == 401, "the key is refused", 10)


def test_the_admin_key_file_is_the_first_key(tmp_path, dsn):
    path = tmp_path / "admin.key"
    for _ in range(2):
        with serving(
            tmp_path / "home", dsn, "--host", "0.0.0.0", TIEBREAK_ADMIN_KEY_FILE=str(path)
        ) as server:
            key = path.read_text().strip()
            assert server.get("/api/v1/keys")[0] == 401
            status, listed = server.get("/api/v1/keys", bearer(key))
            assert status == 200
            assert [row["name"] for row in listed["data"]] == ["admin key file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_admin_key_file_that_holds_no_key_stops_the_start(tmp_path, dsn):
    path = tmp_path / "admin.key"
    path.write_text("hunter2\n")
    failed = subprocess.run(
        [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
        env=environment(tmp_path / "home", dsn, TIEBREAK_ADMIN_KEY_FILE=str(path)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert failed.returncode == 3
    assert f"{path} holds no API key" in failed.stderr
    assert "hunter2" not in failed.stderr + failed.stdout
