"""The demo, as somebody who has just installed it sees it."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

WITHIN = 120.0


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    unwanted = ("TIEBREAK_", "PYTHONUNBUFFERED")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    return subprocess.Popen(
        [sys.executable, "-m", "tiebreak", "demo", *arguments],
        env={**environment, "TIEBREAK_HOME": str(home), "TIEBREAK_PORT": "0", "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_demo_says_that_it_is_simulated_and_comes_to_a_verdict(data_home: Path) -> None:
    """And leaves nothing running."""
    with start(data_home) as demo:
        said, complained = demo.communicate(timeout=WITHIN)

    assert demo.returncode == 0, complained
    assert said.startswith("Simulated: ")
    assert "careful is better than swift: +20 points on correct" in said


def test_the_demo_prints_the_results_document_when_asked(data_home: Path) -> None:
    """Nothing else on standard output."""
    with start(data_home, "--json") as demo:
        said, complained = demo.communicate(timeout=WITHIN)

    assert demo.returncode == 0, complained
    assert json.loads(said)["verdict"]["kind"] == "better"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_the_demo_that_serves_stays_until_it_is_ended_and_takes_the_server_along(
    data_home: Path, end: signal.Signals
) -> None:
    """What it printed can be opened; nothing is left afterwards, also after kill -9."""
    with start(data_home, "--serve") as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        watchdog = threading.Timer(WITHIN, demo.kill)
        watchdog.start()
        lines = iter(demo.stdout.readline, "")
        url = next(line for line in lines if "/api/v1/analytics/tests/" in line).strip()
        watchdog.cancel()
        with urllib.request.urlopen(url, timeout=WITHIN) as answer:
            assert json.load(answer)["verdict"]["variant"] == "careful"
        demo.send_signal(end)
        demo.communicate(timeout=WITHIN)

    assert demo.returncode == (0 if end == signal.SIGINT else -signal.SIGKILL)
