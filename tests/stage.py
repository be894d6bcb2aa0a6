"""A server with a vendor behind it and a test on live traffic; callers that load it, and what must be recorded of that."""

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from tests.serving import Serving, environment, serving, until

LIVE = """\
name: Live
variants:
  - {key: large, model: vendor/careful, weight: 1}
  - {key: small, model: vendor/swift, weight: 1, system: "Answer briefly.", parameters: {temperature: 0.5}}
metrics:
  - {name: cost_usd, role: primary}
unit: user
"""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Stage:
    """A server, a vendor behind it, and a test on live traffic."""

    server: Serving
    vendor: str
    home: Path
    dsn: str
    log: Path

    def cli(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tiebreak", *words],
            env=environment(self.home, self.dsn),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, path: str, body: Any, **headers: str) -> Answer:
        place = urlsplit(self.server.url)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request("POST", path, raw, {"content-type": "application/json"} | named)
            response = connection.getresponse()
            told = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, told, response.read())
        finally:
            connection.close()

    def chat(self, model: str = "tests/live", question: str = "2 + 2?", **more: Any) -> Answer:
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": question}]} | more
        return self.ask("/v1/chat/completions", body, **headers)

    def recorded(self, request_id: str) -> dict[str, Any]:
        """The request as the management API shows it, once it has landed."""
        found: list[dict[str, Any]] = []

        def landed() -> bool:
            status, document = self.server.get(f"/api/v1/requests/{request_id}")
            if status == 200:
                found.append(document)
            return status == 200

        until(landed, "the event in the database")
        return found[0]

    def calls(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def mock_provider(folder: Path, port: int | None = None) -> Iterator[str]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tiebreak",
            "mock-provider",
            "--port",
            str(port or 0),
            "--log",
            "calls.jsonl",
            "--delay-ms",
            "5",
        ],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@contextmanager
def staged(folder: Path, dsn: str, workers: int = 1) -> Iterator[Stage]:
    with mock_provider(folder) as url, serving(folder / "home", dsn, "--workers", str(workers)) as server:
        stage = Stage(server, url, folder / "home", dsn, folder / "calls.jsonl")
        stage.cli("provider", "add", "vendor", "--base-url", url)
        stage.cli("provider", "price", "vendor", "careful", "--input", "10", "--output", "30")
        (folder / "live.yaml").write_text(LIVE)
        stage.cli("test", "create", str(folder / "live.yaml"))
        stage.cli("test", "start-live", "live")
        until(lambda: stage.chat().status == 200, "the gateway to know the test")
        yield stage


@dataclass
class Load:
    """Callers that ask without end; what they were answered, and when a call failed."""

    stage: Stage
    answered: list[str] = field(default_factory=list)
    failed: list[tuple[float, str]] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def caller(self, number: int) -> None:
        while not self.stopping.is_set():
            try:
                answer = self.stage.chat(user=f"unit {number}")
            except (OSError, http.client.HTTPException) as exc:
                self.failed.append((time.monotonic(), type(exc).__name__))
                continue
            if answer.status == 200:
                self.answered.append(answer.headers["x-tiebreak-request-id"])
            else:
                self.failed.append((time.monotonic(), str(answer.status)))

    @contextmanager
    def running(self, callers: int = 8) -> Iterator[None]:
        threads = [threading.Thread(target=self.caller, args=(number,)) for number in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(60)


def landed_exactly_once(stage: Stage, answered: list[str]) -> None:
    """Every answer that a caller received has its event in the database, once."""

    async def counts() -> tuple[int, int]:
        try:
            connection = await asyncpg.connect(stage.dsn, timeout=10)
        except (OSError, asyncpg.PostgresError):  # it may be on its way back
            return 0, 0
        try:
            row = await connection.fetchrow(
                "select count(*) as n, count(distinct id) as d from events where id = any($1::uuid[])",
                answered,
            )
            return row["n"], row["d"]
        finally:
            await connection.close()

    until(lambda: asyncio.run(counts()) == (len(answered), len(answered)), "every event")
