"""A real `tiebreak serve` for tests: started, asked, stopped."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

PATIENCE = 60.0  # seconds until a test gives up on something that takes about two


@dataclass(frozen=True)
class Serving:
    """A running server."""

    process: subprocess.Popen[str]
    url: str
    home: Path

    def children(self) -> dict[str, int]:
        """Its children's pids by what they are: requests-0, requests-1, …, background."""
        found = {}
        for pid in children_of(self.process.pid):
            words = command_of(pid)
            if "tiebreak.supervisor.request_worker" in words:
                found[f"requests-{words[-3]}"] = pid
            elif "worker" in words:
                found["background"] = pid
        return found

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, dict]:
        """Status and document of one request."""
        status, body = self._get(path, dict(headers or {}))
        return status, json.loads(body)

    def text(self, path: str) -> str:
        """The body of one request that succeeds."""
        status, body = self._get(path, {})
        assert status == 200, body
        return body.decode()

    def _get(self, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def environment(home: Path, dsn: str | None, **more: str) -> dict[str, str]:
    """This process's environment without our settings, with a data folder and perhaps a database; one request worker."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TIEBREAK_")}
    kept.pop("DATABASE_URL", None)
    return (
        kept
        | {"TIEBREAK_HOME": str(home), "TIEBREAK_WORKERS": "1"}
        | ({"DATABASE_URL": dsn} if dsn else {})
        | more
    )


@contextmanager
def serving(
    home: Path, dsn: str | None, *arguments: str, stderr: IO[str] | None = None, **more: str
) -> Iterator[Serving]:
    """`tiebreak serve` on a free port until the block ends; whatever happened, nothing of it is left."""
    command = [sys.executable, "-m", "tiebreak", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(
        command,
        env=environment(home, dsn, **more),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "Tiebreak on http://" in line, f"serve said {line!r}"
        yield Serving(process, line.split()[2], home)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


def children_of(pid: int) -> list[int]:
    """The pids of a process's children."""
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_of(pid: int) -> list[str]:
    """The words of a process's command line; none when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:g} s: {what}"
        time.sleep(0.05)
