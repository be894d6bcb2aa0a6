"""Live traffic through a real server: what is answered, what is recorded, and that nothing is lost."""

import asyncio
import http.client
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from tests.conftest import DatabaseServer
from tests.serving import Serving, alive, environment, serving, until

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


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        await connection.execute(statement, timeout=30)
    finally:
        await connection.close()


@contextmanager
def own_database(server: DatabaseServer) -> Iterator[str]:
    """The URL of a fresh, migrated database."""
    name = f"tiebreak_gateway_{secrets.token_hex(6)}"
    asyncio.run(_execute(server.dsn, f"create database {name} template {server.template}"))
    yield server.of(name)
    asyncio.run(_execute(server.dsn, f"drop database {name} with (force)"))


@contextmanager
def mock_provider(folder: Path) -> Iterator[str]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tiebreak",
            "mock-provider",
            "--port",
            "0",
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


@pytest.fixture(scope="module")
def stage(database_server: DatabaseServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One for all tests that change nothing of the test or the keys."""
    with own_database(database_server) as dsn, staged(tmp_path_factory.mktemp("gateway"), dsn) as made:
        yield made


@pytest.fixture
def own(tmp_path: Path, dsn: str) -> Iterator[Stage]:
    """One that may be changed."""
    with staged(tmp_path, dsn) as made:
        yield made


def test_a_request_goes_through_its_test_and_is_recorded_with_everything_it_took(stage):
    answer = stage.chat(user="ann")
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"]
    told = answer.headers
    assert (told["x-tiebreak-test"], told["x-tiebreak-assignment"], told["x-tiebreak-attempts"]) == (
        "live",
        "hash",
        "1",
    )
    variant = told["x-tiebreak-variant"]
    assert all(stage.chat(user="ann").headers["x-tiebreak-variant"] == variant for _ in range(3))
    event = stage.recorded(told["x-tiebreak-request-id"])
    exposure = event["exposure"]
    assert (exposure["unit"], exposure["reason"], exposure["phase"], exposure["probability"]) == (
        "ann",
        "hash",
        1,
        0.5,
    )
    assert exposure["variant"] == ["large", "small"].index(variant)
    assert (event["surface"], event["status"], event["model"], event["attempts"]) == (
        "chat",
        200,
        "tests/live",
        1,
    )
    usage = answer.json()["usage"]
    assert (event["input_tokens"], event["output_tokens"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert event["request"] is event["response"] is None  # the test records metadata only


def test_both_variants_are_served_each_with_its_own_model_prompt_and_parameters(stage):
    seen = Counter(stage.chat(user=f"unit {n}").headers["x-tiebreak-variant"] for n in range(30))
    assert set(seen) == {"large", "small"}
    small = [call for call in stage.calls() if call["model"] == "swift"]
    assert small
    swift = stage.chat(model="vendor/swift", question="9 + 9?")
    assert swift.json()["model"] == "swift"


def test_a_price_makes_a_cost_in_the_answer_and_in_the_record(stage):
    answer = stage.chat(model="vendor/careful")
    usage = answer.json()["usage"]
    cost = (10 * usage["prompt_tokens"] + 30 * usage["completion_tokens"]) / 1e6
    assert float(answer.headers["x-tiebreak-cost-usd"]) == pytest.approx(cost, abs=1e-9)
    event = stage.recorded(answer.headers["x-tiebreak-request-id"])
    assert event["cost_usd"] == pytest.approx(cost, abs=1e-9)
    assert event["exposure"] is None


def test_a_stream_is_the_vendors_byte_for_byte_without_the_usage_that_only_we_asked_for(stage):
    streamed = stage.chat(model="vendor/swift", stream=True)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    assert b'"choices":[]' not in streamed.body
    asked = stage.chat(model="vendor/swift", stream=True, stream_options={"include_usage": True})
    assert b'"choices":[]' in asked.body
    event = stage.recorded(streamed.headers["x-tiebreak-request-id"])
    assert event["stream"]
    assert event["output_tokens"] > 0
    assert event["first_token_ms"] > 0
    assert not event["usage_estimated"]


def test_an_unknown_field_reaches_a_vendor_of_the_same_dialect(stage):
    answer = stage.chat(model="vendor/swift", logprobs=False, something_new={"x": [1, 2.5]})
    assert answer.status == 200


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        ({"model": "tests/nope"}, {}, 404, "no test 'nope' takes live traffic"),
        ({"model": "nobody/x"}, {}, 404, "no provider 'nobody'"),
        ({"model": "plain"}, {}, 400, "name a test as `tests/<slug>`"),
        ({"messages": []}, {}, 400, "missing required field `model`"),
        (b"{", {}, 400, "truncated"),
        ({"model": "tests/live", "messages": []}, {"x_tiebreak_tags": "odd"}, 400, "is not `key=value`"),
        ({"model": "tests/live", "messages": [], "user": "x" * 300}, {}, 400, "has 300 characters"),
    ],
)
def test_what_cannot_be_served_is_told_in_the_callers_dialect(stage, body, headers, status, said):
    for path, where in (("/v1/chat/completions", "error"), ("/v1/messages", "error")):
        answer = stage.ask(path, body, **headers)
        assert answer.status == status
        document = answer.json()
        assert said in document[where]["message"]
        assert ("type" in document) == (path == "/v1/messages")


def test_paths_and_methods_that_are_not_there_and_foreign_pages_are_refused_in_the_dialect_too(stage):
    assert stage.ask("/v1/nothing", {}).json()["error"]["code"] == "model_not_found"
    foreign = stage.chat(headers={"sec_fetch_site": "cross-site"})
    assert (foreign.status, foreign.json()["error"]["type"]) == (403, "invalid_request_error")


def test_units_are_forced_and_excluded_by_headers_and_both_are_no_chance(stage):
    forced = stage.chat(user="ann", headers={"x_tiebreak_variant": "small"})
    assert (forced.headers["x-tiebreak-variant"], forced.headers["x-tiebreak-assignment"]) == (
        "small",
        "forced",
    )
    excluded = stage.chat(user="ann", headers={"x_tiebreak_exclude": "true"})
    assert (excluded.headers["x-tiebreak-variant"], excluded.headers["x-tiebreak-assignment"]) == (
        "large",
        "excluded",
    )
    assert stage.chat(headers={"x_tiebreak_variant": "nope"}).status == 400


def test_feedback_is_taken_late_and_repeated_and_bad_feedback_is_named(stage):
    request_id = stage.chat(user="ann").headers["x-tiebreak-request-id"]
    for value in (0, 1):
        taken = stage.ask("/v1/feedback", {"request_id": request_id, "metric": "liked", "value": value})
        assert (taken.status, taken.json()) == (202, {"accepted": 1})
    stage.recorded(request_id)

    def landed() -> bool:
        feedback = stage.server.get(f"/api/v1/requests/{request_id}")[1]["feedback"]
        return [each["value"] for each in feedback] == [1]

    until(landed, "the last feedback")
    wrong = stage.ask("/v1/feedback", {"metric": "liked", "value": 1})
    assert wrong.status == 400


def test_a_change_of_the_test_counts_within_a_second(own):
    own.cli("test", "traffic", "live", "--share", "0")
    began = time.monotonic()
    until(lambda: own.chat(user="ann").headers["x-tiebreak-assignment"] == "not_in_share", "the new share")
    assert time.monotonic() - began < 5.0  # five times the figure


def test_with_a_key_there_is_no_way_in_without_it_and_a_revoked_one_is_refused(own):
    made = json.loads(own.cli("key", "create", "--name", "app", "--scope", "gateway", "--json"))
    key, prefix = made["key"], made["prefix"]
    bearer = {"authorization": f"Bearer {key}"}
    until(lambda: own.chat(user="ann").status == 401, "the lock")
    assert own.chat(user="ann", headers=bearer).status == 200
    assert own.ask("/v1/feedback", {}, **bearer).status == 403
    assert own.chat(user="ann", headers=bearer | {"x_tiebreak_variant": "small"}).status == 403
    own.cli("key", "revoke", prefix)
    until(lambda: own.chat(user="ann", headers=bearer).status == 401, "the revocation")


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
        connection = await asyncpg.connect(stage.dsn)
        try:
            row = await connection.fetchrow(
                "select count(*) as n, count(distinct id) as d from events where id = any($1::uuid[])",
                answered,
            )
            return row["n"], row["d"]
        finally:
            await connection.close()

    until(lambda: asyncio.run(counts()) == (len(answered), len(answered)), "every event")


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.faults)])
def test_p1_killed_workers_lose_no_answered_request_and_new_ones_do_not_fail(
    tmp_path, dsn, kills, record_property
):
    with staged(tmp_path, dsn, workers=2) as stage:
        load, killed = Load(stage), []
        with load.running():
            for _ in range(kills):
                until(
                    lambda: sum(name.startswith("requests") for name in stage.server.children()) == 2,
                    "both workers",
                )
                time.sleep(0.7)
                pid = next(
                    pid
                    for name, pid in sorted(stage.server.children().items())
                    if name.startswith("requests")
                )
                before = len(load.answered)
                killed.append(time.monotonic())
                subprocess.run(["kill", "-9", str(pid)], check=True)
                until(lambda pid=pid: not alive(pid), "the end of the worker")
                until(lambda before=before: len(load.answered) > before + 20, "answers after the kill")
        late = [at for at, _ in load.failed if not any(0 <= at - kill < 0.3 for kill in killed)]
        record_property("answers", len(load.answered))
        record_property("failed within 300 ms of a kill", len(load.failed) - len(late))
        assert late == []
        landed_exactly_once(stage, load.answered)
