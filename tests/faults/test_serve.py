"""`tiebreak serve` on its private server while parts of it are killed: it comes back by itself and loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PATIENCE = 30.0  # seconds; five times what it takes on a slow machine


@pytest.fixture
def served(data_home: Path) -> Iterator[tuple[Path, str]]:
    """A data folder and the URL of the server on it."""
    home = data_home
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIEBREAK_")}
    server = subprocess.Popen(
        [sys.executable, "-m", "tiebreak", "serve", "--port", "0"],
        env={**environment, "TIEBREAK_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        yield home, server.stdout.readline().split()[2]
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=PATIENCE)


def call(url: str, document: dict[str, str] | None = None) -> tuple[int, dict[str, str]]:
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def first_number(file: Path) -> int:
    return int(file.read_text().split()[0])


@pytest.mark.parametrize("victim", ["guardian.lock", "postgres/postmaster.pid"])
def test_the_server_comes_back_after_kill_9_and_what_was_acknowledged_is_there(
    served: tuple[Path, str], victim: str
) -> None:
    """Every prompt that was answered with 201 exists afterwards; in between there are only 503s."""
    home, url = served
    acknowledged, answers = [], set()
    killed_at, recovered = 0.0, 0
    deadline = time.monotonic() + PATIENCE
    while recovered < 20 and time.monotonic() < deadline:
        name = f"prompt-{len(acknowledged)}-{time.monotonic_ns()}"
        status, _ = call(f"{url}/api/v1/prompts", {"name": name, "template": "Hello"})
        answers.add(status)
        if status == 201:
            acknowledged.append(name)
            recovered += killed_at > 0
        if len(acknowledged) == 20 and not killed_at:
            os.kill(first_number(home / victim), signal.SIGKILL)
            killed_at = time.monotonic()
            recovered = 0

    assert recovered == 20
    assert answers <= {201, 503}
    assert all(call(f"{url}/api/v1/prompts/{name}")[0] == 200 for name in acknowledged)
