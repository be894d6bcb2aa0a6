"""The documentation is executed: every command of a page runs, in order, and prints what the page says."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.docs.pages import Command, File, steps

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "docs/tutorial.md", "docs/providers.md", "docs/keys.md", "docs/live-tests.md"]
PORTS = ("8400", "8321")  # what the pages say: a vendor, the server; the test takes free ones


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_the_page_does_what_the_page_says(
    name: str, tmp_path: Path, data_home: Path
) -> None:
    """One reader, one shell, one data folder."""
    ports = {said: _free_port() for said in PORTS}
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TIEBREAK_HOME": str(data_home),
        "TIEBREAK_PORT": ports["8321"],
        "COLUMNS": "80",
        "NO_COLOR": "1",
    }
    running: list[subprocess.Popen[str]] = []
    try:
        for step in steps((ROOT / name).read_text()):
            if isinstance(step, File):
                (tmp_path / step.name).write_text(_with(ports, step.text))
                continue
            line = _with(ports, step.line)
            process = subprocess.Popen(
                ["bash", "-c", line.removesuffix(" &")],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
            if step.background:
                running.append(process)
                _wait_for(ports["8400"] if "8400" in step.line else ports["8321"])
                continue
            printed, _ = process.communicate(timeout=120)
            _compare(step, _with({taken: said for said, taken in ports.items()}, printed), process.returncode)
    finally:
        for process in running:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=20)


def _compare(command: Command, printed: str, code: int) -> None:
    assert code == 0, f"$ {command.line}\nexit code {code}\n{printed}"
    shown = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed).splitlines())
    assert command.promised().search(shown), f"$ {command.line}\nprinted\n{shown}"


def _with(ports: dict[str, str], text: str) -> str:
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return str(probe.getsockname()[1])


def _wait_for(port: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on port {port}")
