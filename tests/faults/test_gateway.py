"""Rows D1 and D2 for live traffic: PostgreSQL ends and is away, and no caller of the gateway notices."""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.guardians import postmaster_pid, wait_until_gone
from tests.serving import until
from tests.stage import Load, landed_exactly_once, staged

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


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.faults)])
def test_d2_a_killed_postgresql_costs_no_request_and_no_event(
    database_home, tmp_path, kills, record_property
):
    with PrivatePostgres.open(database_home) as server:
        migrations.upgrade(server.dsn)
        with staged(tmp_path, server.dsn, workers=2) as stage:
            load = Load(stage)
            with load.running():
                for _ in range(kills):
                    before = len(load.answered)
                    os.kill(postmaster_pid(database_home), signal.SIGKILL)
                    until(lambda before=before: len(load.answered) > before + 100, "traffic after the kill")
                    landed_exactly_once(stage, load.answered[: before + 100])
            record_property("answers", len(load.answered))
            assert load.failed == []
            landed_exactly_once(stage, load.answered)
