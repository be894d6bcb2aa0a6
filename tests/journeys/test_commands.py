"""What a user types, as processes of their own: the same answers with a server, without one, and over --url."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.accounts import account_at
from tests.serving import environment, serving, until

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.resilience.breaker import BreakerSnapshot, BreakerState
from tiebreak.providers import service as providers
from tiebreak.providers.activity import Activity
from tiebreak.providers.circuits import CircuitState
from tiebreak.providers.model import Failure, Usage

QUESTIONS = 12
MODELS = """\
questions: questions.jsonl
models:
  good: {kind: simulated, skill: 1.0, latency: {kind: fixed, ms: 20}}
  bad: {kind: simulated, skill: 0.0, latency: {kind: fixed, ms: 20}}
"""
TEST = """\
name: Good or bad?
hypothesis: good is better
variants:
  - {key: bad, model: mock/bad, template: "{{ question }}"}
  - {key: good, model: mock/good, template: "{{ question }}"}
metrics:
  - {name: correct, role: primary, check: {kind: numeric, line: "A:"}}
  - {name: latency_ms}
concurrency: 4
"""
# Counts in the process itself, so that every connection is seen, whoever makes it.
COUNTER = """\
import ipaddress, os, sys

def watch(event, arguments):
    if event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    host = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    host = host[0] if isinstance(host, tuple) else None if event != "socket.getaddrinfo" else host
    if host is None or host == "localhost":
        return
    host = host.decode() if isinstance(host, bytes) else host
    try:
        outside = not ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        outside = True
    with open(os.environ["SEEN"], "a") as file:
        file.write(f"{'outside' if outside else 'inside'} {event} {host}\\n")
    if outside:
        raise PermissionError(f"{event} to {host}")

sys.addaudithook(watch)
"""


class Shell:
    """A user's shell: a data folder, a database, a working directory."""

    def __init__(self, folder: Path, dsn: str, **variables: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = environment(self.home, dsn, COLUMNS="80", **variables)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a session of its own, as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "tiebreak", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Run a command; gives what it printed, after checking its exit code."""
        process = self.start(*arguments)
        try:
            said, complained = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            process.kill()
            said, complained = process.communicate()
        assert process.returncode == code, f"{arguments}: exit {process.returncode}\n{said}\n{complained}"
        assert "Traceback" not in complained
        return said if code == 0 else said + complained

    def document(self, *arguments: str, code: int = 0) -> dict:
        """The JSON a command prints."""
        return json.loads(self(*arguments, "--json", code=code))


@contextmanager
def vendor(shell: Shell, *arguments: str) -> Iterator[str]:
    """The mock provider as a process; gives its base URL."""
    process = shell.start("mock-provider", "--models", "models.yaml", "--log", "calls.jsonl", *arguments)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("mock provider on http://127.0.0.1:"), line
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGINT)
        _, complained = process.communicate(timeout=30)
    assert process.returncode == 0, complained


@pytest.fixture
def shell(tmp_path: Path, dsn: str) -> Shell:
    items = [
        {
            "id": f"q{n}",
            "question": f"What is {n} + {n}?",
            "answer": str(2 * n),
            "category": "even" if n % 2 == 0 else "odd",
        }
        for n in range(1, QUESTIONS + 1)
    ]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "models.yaml").write_text(MODELS)
    (tmp_path / "test.yaml").write_text(TEST)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(COUNTER)
    return Shell(tmp_path, dsn, PYTHONPATH=str(tmp_path / "hook"), SEEN=str(tmp_path / "seen.txt"))


@pytest.fixture
def served(shell: Shell) -> Iterator[Shell]:
    """The same shell, with a server on its data folder."""
    with serving(shell.home, shell.environment["DATABASE_URL"]):
        yield shell


def calls(shell: Shell) -> int:
    return len((shell.folder / "calls.jsonl").read_text().splitlines())


def run_it(shell: Shell, *arguments: str, code: int = 0) -> dict:
    return shell.document("run", "test.yaml", "--dataset", "questions.jsonl", *arguments, code=code)


def check_results(document: dict) -> None:
    (correct,) = [row for row in document["comparisons"] if row["metric"] == "correct"]
    assert correct["difference"] == 1.0
    assert correct["discordant"] == [QUESTIONS, 0]
    assert (document["verdict"]["kind"], document["verdict"]["variant"]) == ("better", "good")
    assert document["spend"]["calls"] == 2 * QUESTIONS


def test_from_nothing_to_a_verdict_without_a_server_and_without_the_outside(shell):
    with vendor(shell) as url:
        shell("provider", "add", "mock", "--base-url", url)
        check_results(run_it(shell))
        again = shell("run", "test.yaml", "--dataset", "questions.jsonl")
    assert "BETTER" in again
    used = shell.document("provider", "usage", "mock")
    assert [(row["model"], row["answers"]) for row in used["rows"]] == [
        ("bad", 2 * QUESTIONS),
        ("good", 2 * QUESTIONS),
    ]
    health = shell.document("provider", "health", "mock")
    assert (health["state"], health["last_hour"]["answers"]) == ("ok", 4 * QUESTIONS)
    assert re.search(r"correct ↑ +0(\.0)? % +100 % +\+100 \[", again)
    assert calls(shell) == 4 * QUESTIONS
    seen = (shell.folder / "seen.txt").read_text().splitlines()
    assert any(line.startswith("inside") for line in seen)
    assert [line for line in seen if line.startswith("outside")] == []


def test_the_same_over_the_server_on_the_data_folder_and_over_url(shell):
    variables = {name: shell.environment[name] for name in ("PYTHONPATH", "SEEN")}
    with vendor(shell) as url, serving(shell.home, shell.environment["DATABASE_URL"], **variables) as server:
        shell("provider", "add", "mock", "--base-url", url)
        check_results(run_it(shell))
        assert f"{server.url}/api/v1/analytics/tests/" in shell(
            "run", "test.yaml", "--dataset", "questions.jsonl"
        )
        elsewhere = Shell(shell.folder, "postgresql://nobody@127.0.0.1:1/none")
        elsewhere.environment["TIEBREAK_HOME"] = str(shell.folder / "other")
        over_url = elsewhere.document("--url", server.url, "test", "results", "good-or-bad")
        here = shell.document("test", "results", "good-or-bad")
        status, endpoint = server.get("/api/v1/analytics/tests/good-or-bad/results")
        assert status == 200
        for document in (over_url, here, endpoint):
            document.pop("as_of")
        assert over_url == here == endpoint
    without = shell.document("test", "results", "good-or-bad")
    without.pop("as_of")
    assert without == here
    assert "outside" not in (shell.folder / "seen.txt").read_text()


def test_limit_takes_a_sample_and_nouns_can_be_listed_shown_and_removed(served):
    with vendor(served) as url:
        served("provider", "add", "mock", "--base-url", url)
        assert served("provider", "test", "mock").startswith("ok in ")
        assert "failed" in served("provider", "test", "mock", "--model", "nobody", code=3)
        document = run_it(served, "--limit", "5", "--concurrency", "2")
    assert document["run"]["total"] == 10
    assert "questions" in served("dataset", "list")
    assert served.document("dataset", "show", "questions")["item_count"] == QUESTIONS
    assert "good-or-bad" in served("test", "list")
    assert "mock/good" in served("test", "show", "good-or-bad")
    assert "cancel" in served("test", "cancel", "good-or-bad", code=2)
    assert "is used by a run" in served("dataset", "remove", "questions", code=2)
    served("test", "delete", "good-or-bad")
    served("dataset", "remove", "questions")
    served("provider", "remove", "mock")
    assert served("test", "list") == "no tests; `tiebreak run FILE` makes one\n"
    assert served("dataset", "list").startswith("no datasets")
    assert served("provider", "list").startswith("no providers")


def test_the_steps_of_a_test(served):
    (served.folder / "test.yaml").write_text(TEST + "dataset: questions\nbudget: {max_requests: 2}\n")
    with vendor(served, "--delay-ms", "400") as url:
        served("provider", "add", "mock", "--base-url", url)
        served("dataset", "import", "questions.jsonl")
        assert "good-or-bad is a draft" in served("test", "create", "test.yaml")
        assert "draft" in served("test", "results", "good-or-bad").splitlines()[0]
        assert served("test", "start", "good-or-bad") == "good-or-bad is running\n"
        until(lambda: served.document("test", "show", "good-or-bad")["state"] == "paused", "the budget")
        assert "budget" in served("test", "list")
        assert "budget" in served("test", "resume", "good-or-bad", code=2)
        assert "resume it" in served("test", "start", "good-or-bad", code=2)
        assert served.document("test", "cancel", "good-or-bad")["state"] == "cancelled"


def test_keys_and_prices_of_a_provider(served):
    served.environment["MY_KEY"] = "sk-sentinel-0123456789"
    served(
        "provider",
        "add",
        "p",
        "--base-url",
        "http://127.0.0.1:9/v1",
        "--key-env",
        "MY_KEY",
        "--max-retries",
        "0",
    )
    shown = served("provider", "show", "p")
    assert "sk-sentinel" not in shown
    assert served.document("provider", "show", "p")["has_secret"] is True
    assert "is empty" in served("provider", "set", "p", "--key-env", "NO_SUCH_KEY", code=2)
    assert "nothing to change" in served("provider", "set", "p", code=2)
    served.environment["MY_PROXY"] = "http://me:pw-sentinel@127.0.0.1:9"
    again = ("--key-env", "MY_KEY")
    route = served(
        "provider", "set", "p", "--proxy-env", "MY_PROXY", *again, "--no-cache", "--max-batch-size", "7"
    )
    assert "sentinel" not in route
    shown = served.document("provider", "show", "p")
    assert (shown["has_proxy"], shown["cache_enabled"], shown["batch_config"]["max_batch_size"]) == (
        True,
        False,
        7,
    )
    assert served.document("provider", "set", "p", "--forget", "proxy")["has_proxy"] is False
    assert "no absolute path" in served("provider", "set", "p", "--ca-bundle", "ca.pem", code=2)
    assert (
        served.document("provider", "set", "p", "--forget-key", "--concurrency", "3")["has_secret"] is False
    )
    assert (
        served.document("provider", "price", "p", "m", "--input", "1", "--output", "2.5")["source"]
        == "override"
    )
    served.document(
        *("provider", "price", "p", "m", "--input", "3", "--output", "9", "--cached-input", "0.5"),
        *("--from", "2026-02-01"),
    )
    listed = served("provider", "models", "p")
    assert "2026-02-01" in listed
    assert len(listed.splitlines()) == 4
    assert (
        len(served.document("provider", "price", "p", "m", "--forget", "--from", "2026-02-01")["prices"]) == 1
    )
    assert "-1" in served("provider", "price", "p", "m", "--input", "-1", "--output", "1", code=2)
    assert "two parts" in served("provider", "price", "p", "m", "--input", "1", code=2)
    assert served.document("provider", "price", "p", "m", "--forget")["source"] is None


async def record_calls(dsn: str) -> None:
    """What a worker writes down of calls through the provider `mock`."""
    database = Database(PostgresConfig(dsn=dsn))
    try:
        async with database.transaction() as tx:
            provider = await providers.by_name(tx, "mock")
        account = account_at(provider.base_url, provider_id=provider.id)
        activity = Activity(database, SystemClock())
        for _ in range(200):
            activity.attempted(account, "good", None, 0.25, Usage(1000, 100), retry=False)
        activity.attempted(account, "bad", Failure.TIMEOUT, 1.0, None, retry=False)
        activity.attempted(account, "bad", None, 1.0, Usage(5, 5), retry=True)
        probe = datetime(2026, 1, 2, 3, 4, 15, tzinfo=UTC)
        opened = BreakerSnapshot(BreakerState.OPEN, probe - timedelta(seconds=10), 9, 9, probe)
        closed = BreakerSnapshot(BreakerState.CLOSED, probe, 0, 9, None)
        activity.watch(
            lambda: [
                CircuitState(provider.id, "chat", account.credential, opened, 8, 2, 1),
                CircuitState(provider.id, "embeddings", account.credential, closed, 8, 2, 1),
            ]
        )
        assert await activity.flush()
    finally:
        await database.close()


def test_health_and_use_of_a_provider(served):
    assert served("provider", "health").startswith("no providers")
    served("provider", "add", "mock", "--base-url", "http://127.0.0.1:9/v1")
    served("provider", "price", "mock", "good", "--input", "1", "--output", "2")
    assert "idle" in served("provider", "health")
    assert served("provider", "usage", "mock").startswith("nothing went through mock since ")
    asyncio.run(record_calls(served.environment["DATABASE_URL"]))
    (row,) = [line for line in served("provider", "health").splitlines() if line.startswith("mock")]
    assert re.search(r"mock +degraded +202 +99\.50 % +\d+ ms +\d+ ms +a breaker is open", row), row
    shown = served("provider", "health", "mock")
    assert re.search(r"^last hour +202 calls, 201 answers, 0 refused$", shown, re.MULTILINE)
    assert re.search(r"^failures +timeout 1$", shown, re.MULTILINE)
    assert re.search(r"^success +99\.50 % \[97\.25 %, 99\.91 %\]$", shown, re.MULTILINE)
    assert re.search(r"^chat +[0-9a-f]{12} +open +01-02 03:04 +03:04:15 +2 of 8 +1$", shown, re.MULTILINE), (
        shown
    )
    assert served.document("provider", "health", "mock")["state"] == "degraded"
    assert [document["provider"] for document in served.document("provider", "health")] == ["mock"]
    used = served("provider", "usage", "mock", "--days", "2")
    assert re.search(r"^\d\d-\d\d +good +200 +200 +0 +200,000 +20,000 +\$0\.24$", used, re.MULTILINE), used
    assert re.search(r"^\d\d-\d\d +bad +2 +1 +0 +5 +5 +–$", used, re.MULTILINE), used
    assert re.search(r"^total +– +202 +201 +0 +200,005 +20,005 +\$0\.24 \+ \?$", used, re.MULTILINE), used
    document = served.document("provider", "usage", "mock")
    assert document["totals"]["priced_usd"] == 0.24
    assert "90" in served("provider", "usage", "mock", "--days", "91", code=2)
    assert "no provider 'nobody'" in served("provider", "health", "nobody", code=2)


def test_prompts_are_pushed_shown_and_removed(served):
    (served.folder / "p.txt").write_text("Solve {{ question }}")
    (served.folder / "s.txt").write_text("Be brief.")
    assert served("prompt", "push", "solve", "p.txt") == "solve@1\n"
    assert served("prompt", "push", "solve", "p.txt") == "solve@1\n"
    assert served("prompt", "push", "solve", "p.txt", "--system", "s.txt") == "solve@2\n"
    assert "Be brief." in served("prompt", "show", "solve")
    assert "Be brief." not in served("prompt", "show", "solve@1")
    assert "solve" in served("prompt", "list")
    (served.folder / "bad.txt").write_bytes(b"\xff")
    assert "no UTF-8" in served("prompt", "push", "solve", "bad.txt", code=2)
    served("prompt", "remove", "solve")
    assert "no prompt" in served("prompt", "show", "solve", code=2)


def test_a_bad_file_is_2_with_line_and_column_and_nothing_is_made(served):
    (served.folder / "test.yaml").write_text(
        TEST.replace("decision", "x").replace("hypothesis:", "hypotesis:")
    )
    said = served("run", "test.yaml", "--dataset", "questions.jsonl", code=2)
    assert "hypothesis" in said
    assert re.search(r"line 2", said)
    (served.folder / "test.yaml").write_text(TEST)
    assert "names no dataset" in served("run", "test.yaml", code=2)
    assert "--limit 0" in served("run", "test.yaml", "--limit", "0", code=2)
    assert "is no file" in served("run", "test.yaml", "--dataset", "none.csv", code=2)
    assert ".parquet" in served("run", "test.yaml", "--dataset", "models.yaml", code=2)
    # Nobody stored the provider: named, and the draft is taken back.
    assert "mock" in served("run", "test.yaml", "--dataset", "questions.jsonl", code=2)
    assert served.document("test", "list") == []
    assert "no unfinished run" in served(
        "run", "test.yaml", "--dataset", "questions.jsonl", "--resume", code=2
    )


def test_a_budget_stops_the_run_with_4_and_raising_it_finishes(served):
    with vendor(served) as url:
        served("provider", "add", "mock", "--base-url", url)
        for model in ("good", "bad"):
            served("provider", "price", "mock", model, "--input", "1000", "--output", "1000")
        spent = run_it(served)["spend"]["amount"]
        stopped = served(
            "run", "test.yaml", "--dataset", "questions.jsonl", "--max-cost", f"{spent / 3:f}", code=4
        )
        assert "budget" in stopped
        assert "--resume --max-cost USD" in stopped
        assert "budget" in served("run", "test.yaml", "--dataset", "questions.jsonl", "--resume", code=4)
        document = run_it(served, "--resume", "--max-cost", f"{spent * 2:f}")
    check_results(document)
    assert document["spend"]["amount"] == pytest.approx(spent)


def test_ctrl_c_pauses_and_resume_finishes_without_asking_again(shell):
    with vendor(shell, "--delay-ms", "500") as url:
        shell("provider", "add", "mock", "--base-url", url)
        process = shell.start("run", "test.yaml", "--dataset", "questions.jsonl")
        log = shell.folder / "calls.jsonl"
        until(lambda: log.exists() and calls(shell) > 0, "a first call")
        os.killpg(process.pid, signal.SIGINT)
        _, complained = process.communicate(timeout=60)
        assert process.returncode == 130, complained
        assert "tiebreak run test.yaml --dataset questions.jsonl --resume" in complained
        assert "Traceback" not in complained
        assert shell.document("test", "list")[0]["state"] == "paused"
        assert 0 < calls(shell) < 2 * QUESTIONS
        check_results(run_it(shell, "--resume"))
        assert calls(shell) == 2 * QUESTIONS


def test_a_killed_run_is_resumed_after_its_leases(shell):
    shell.environment["TIEBREAK_LEASE_SECONDS"] = "1"
    with vendor(shell, "--delay-ms", "300") as url:
        shell("provider", "add", "mock", "--base-url", url)
        process = shell.start("run", "test.yaml", "--dataset", "questions.jsonl")
        log = shell.folder / "calls.jsonl"
        until(lambda: log.exists() and calls(shell) > 3, "some calls")
        process.kill()
        process.communicate(timeout=30)
        document = run_it(shell, "--resume")
        assert document["run"]["done"] == 2 * QUESTIONS
        assert document["comparisons"][0]["discordant"] == [QUESTIONS, 0]
        # Lost with the process: four calls in flight, and at most four answers that were not committed yet.
        assert calls(shell) <= 2 * QUESTIONS + 2 * 4


def test_a_provider_that_refuses_everything_is_3(shell):
    with vendor(shell, "--api-key", "right") as url:
        shell("provider", "add", "mock", "--base-url", url)
        said = shell("run", "test.yaml", "--dataset", "questions.jsonl", code=3)
    assert "paused" in said
    assert "--resume" in said


def test_db_tells_and_migrates(shell):
    status = shell.document("db", "status")
    assert status["current"] is True
    assert shell.document("db", "migrate") == status
    assert "DATABASE_URL" in shell("--url", "http://127.0.0.1:1", "db", "status", code=2)


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [("nonsense", 2, "no URL"), ("ftp://x", 2, "no URL"), ("http://127.0.0.1:1", 3, "does not answer")],
)
def test_a_url_that_leads_nowhere_is_named(shell, url, code, said):
    assert said in shell("--url", url, "test", "list", code=code)


def test_without_a_database_and_without_a_server_it_is_3(shell):
    shell.environment["DATABASE_URL"] = f"postgresql://nobody@/none?host={shell.folder}"
    began = time.monotonic()
    assert "database" in shell("test", "list", code=3)
    assert time.monotonic() - began < 60
