"""What the composition root builds from the settings."""

import subprocess
import sys

import pytest

from tiebreak.app import open_parts
from tiebreak.ids import ProcessIdentity
from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.settings import Settings

# Every module of the package but the one that is chosen by a setting, as a server would load them in time.
EVERYTHING = """
import importlib, pkgutil, sys
import tiebreak
for module in pkgutil.walk_packages(tiebreak.__path__, "tiebreak."):
    if module.name.rpartition(".")[2] not in ("aiohttp_client", "__main__", "env") and "versions" not in module.name:
        importlib.import_module(module.name)
print("aiohttp" in sys.modules)
"""


@pytest.mark.parametrize(
    ("chosen", "built"),
    [({}, Http1Client), ({"http_client": "aiohttp"}, AiohttpClient)],
    ids=["own", "aiohttp"],
)
async def test_providers_are_called_through_the_client_that_is_chosen(dsn, tmp_path, chosen, built):
    async with open_parts(
        Settings(home=tmp_path, database_url=dsn, **chosen),
        Metrics(instruments.ALL),
        ProcessIdentity("command"),
    ) as parts:
        assert type(parts.http) is built


def test_nothing_loads_aiohttp_unless_it_is_chosen():
    loaded = subprocess.run(
        [sys.executable, "-c", EVERYTHING], capture_output=True, text=True, timeout=60, check=False
    )
    assert (loaded.returncode, loaded.stdout.strip()) == (0, "False"), loaded.stderr
