"""Rows D1 and D2 for live traffic: PostgreSQL ends and is away, and no caller of the gateway notices."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.guardians import postmaster_pid, wait_until_gone
from tests.serving import serving, until
from tests.stage import Load, Stage, landed_exactly_once, mock_provider, staged

from tiebreak import migrations
from tiebreak.infrastructure.connections.private_postgres import PrivatePostgres


@pytest.fixture
def database_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="tb-"))
    yield home
    wait_until_gone(home)
    shutil.rmtree(home)


@pytest.mark.parametrize(
    "seconds", [pytest.param(3, id="quick"), pytest.param(60, id="full", marks=pytest.mark.faults)]
)
def test_d1_with_postgresql_away_every_request_is_answered_and_recorded_afterwards(
    database_home, tmp_path, seconds, record_property
):
    server = PrivatePostgres.open(database_home)
    migrations.upgrade(server.dsn)
    with staged(tmp_path, server.dsn, workers=2) as stage:
        load = Load(stage)
        with load.running():
            until(lambda: len(load.answered) > 50, "traffic")
            server.close()
            wait_until_gone(database_home)
            before = len(load.answered)
            time.sleep(seconds)
            assert len(load.answered) > before + 10 * seconds
            server = PrivatePostgres.open(database_home)
            back = len(load.answered)
            until(lambda: len(load.answered) > back + 50, "traffic after the return")
        record_property("answers", len(load.answered))
        assert load.failed == []
        landed_exactly_once(stage, load.answered)
        stage.cli("test", "traffic", "live", "--share", "0")
        until(lambda: stage.chat().headers["x-tiebreak-assignment"] == "not_in_share", "a change to count")
    server.close()


def test_d1_a_server_that_starts_while_postgresql_is_away_serves_what_it_knew(database_home, tmp_path):
    with PrivatePostgres.open(database_home) as server:
        migrations.upgrade(server.dsn)
        with staged(tmp_path, server.dsn) as stage:
            home, dsn, vendor = stage.home, server.dsn, urlsplit(stage.vendor)
            made = json.loads(stage.cli("key", "create", "--name", "app", "--scope", "gateway", "--json"))
            bearer = {"authorization": f"Bearer {made['key']}"}
            until(lambda: stage.chat(user="ann").status == 401, "the key to be asked for")
            variant = stage.chat(user="ann", headers=bearer).headers["x-tiebreak-variant"]
    wait_until_gone(database_home)
    with (
        mock_provider(tmp_path, port=vendor.port) as url,
        serving(home, dsn, "--workers", "2") as serve,
    ):
        stage = Stage(serve, url, home, dsn, tmp_path / "calls.jsonl")
        answered = [stage.chat(user="ann", headers=bearer) for _ in range(20)]
        assert {(each.status, each.headers["x-tiebreak-variant"]) for each in answered} == {(200, variant)}
        assert stage.chat(user="ann").status == 401
        assert serve.get("/health")[1]["database"] == "away"
        with PrivatePostgres.open(database_home):
            landed_exactly_once(stage, [each.headers["x-tiebreak-request-id"] for each in answered])
            stage.cli("key", "revoke", made["prefix"])
            until(lambda: stage.chat(user="ann", headers=bearer).status == 401, "the revocation")


@pytest.mark.faults
def test_d2_a_killed_postgresql_costs_no_request_and_no_event(database_home, tmp_path, record_property):
    with PrivatePostgres.open(database_home) as server:
        migrations.upgrade(server.dsn)
        with staged(tmp_path, server.dsn, workers=2) as stage:
            load = Load(stage)
            with load.running():
                for _ in range(5):
                    before = len(load.answered)
                    os.kill(postmaster_pid(database_home), signal.SIGKILL)
                    until(lambda before=before: len(load.answered) > before + 100, "traffic after the kill")
                    landed_exactly_once(stage, load.answered[: before + 100])
            record_property("answers", len(load.answered))
            assert load.failed == []
            landed_exactly_once(stage, load.answered)
