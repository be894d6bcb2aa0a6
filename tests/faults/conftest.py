"""The rows of the fault table: what is promised of the HTTP clients holds on asyncio's own loop and on uvloop."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop
from tests.certificates import Authority, authority


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Any]:
    """Both loops for the rows of the clients alone."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return both if item.path.stem.startswith("test_client_") else {"asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority for servers that speak TLS."""
    folder: Path = tmp_path_factory.mktemp("authority")
    return authority(folder)
