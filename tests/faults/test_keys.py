"""Rows S5 and S12 for API keys: a key's secret is nowhere, and the time of a refusal tells nothing."""

import asyncio
import http.client
import random
import time
from datetime import UTC, datetime
from statistics import median
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from tests.auth.conftest import every_row
from tests.journeys.test_commands import Shell
from tests.serving import serving

from tiebreak.auth.keys import fresh, parse
from tiebreak.auth.model import Principal
from tiebreak.auth.snapshot import UNKNOWN, KeySnapshot, StoredKey

ROUNDS = 20_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def call(url: str, method: str, path: str, key: str, body: bytes = b"") -> bytes:
    """One call with a key; gives the whole answer, head and body."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    try:
        headers = {
            "x-api-key": key,
            "Content-Type": "application/json",
            "Idempotency-Key": f"{method} {len(body)}",
        }
        connection.request(method, path, body=body or None, headers=headers)
        answer = connection.getresponse()
        return f"{answer.status} {answer.getheaders()}".encode() + answer.read()
    finally:
        connection.close()


def test_the_secret_of_a_key_is_in_no_answer_log_row_or_file(tmp_path, dsn, capfd):
    """Row S5: through good calls, refused ones and broken ones; every sink is read."""
    shell = Shell(tmp_path, dsn)
    whole = shell("key", "create", "--scope", "manage", "--name", "sentinel").strip()
    key = parse(whole)
    assert key is not None
    said = bytearray()
    with serving(shell.home, dsn) as server:
        for method, path, sent, body in (
            ("GET", "/api/v1/tests", whole, b""),
            ("GET", "/api/v1/keys", whole, b""),  # not its scope
            ("GET", f"/api/v1/keys/{whole}", whole, b""),
            ("GET", f"/api/v1/tests?key={whole}", whole, b""),
            ("GET", f"/api/v1/tests/{whole}?cursor={whole}", whole, b""),
            ("GET", f"/api/v1/tests?cursor=x&api_key={whole}", f"{whole}x", b""),
            ("POST", "/api/v1/prompts", whole, b'{"name": "p", "template": "hello"}'),
            ("POST", "/api/v1/prompts", whole, b'{"name": '),
            ("POST", "/api/v1/providers", whole, b'{"name": "p", "base_url": "http://127.0.0.1:1", "x": 1}'),
            ("POST", "/api/v1/providers/none/test", whole, b"{}"),
        ):
            answer = call(server.url, method, path, sent, body)
            # What was asked for by its address is named in the answer to whoever asked, and only there.
            said += answer if whole not in path else b""
        call(server.url, "GET", "/api/v1/tests", f"tb_{key.prefix}_{'x' * 43}")
        listed = shell("key", "list") + shell("key", "list", "--json")
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    logged = capfd.readouterr()
    sinks = {
        "answers": bytes(said),
        "the list": listed.encode(),
        "rows": asyncio.run(every_row(dsn)).encode(),
        "stdout": logged.out.encode(),
        "stderr": logged.err.encode(),
        **{str(path): path.read_bytes() for path in files},
    }
    assert b"'sentinel'" in sinks["answers"]
    assert key.prefix.encode() in sinks["rows"]
    for form in (key.secret.encode(), key.secret.encode().hex().encode()):
        assert [name for name, content in sinks.items() if form in content] == []


@pytest.mark.faults
def test_the_time_of_a_refusal_does_not_tell_whether_the_prefix_exists():
    """Row S12: the medians of the two ways differ by less than a millisecond; they take turns."""
    chance = random.Random(1)
    key, other = fresh(chance.randbytes), fresh(chance.randbytes)
    holder = Principal(UUID(int=1), "ci", frozenset({"gateway"}))
    snapshot = KeySnapshot({key.prefix: StoredKey(holder, key.digest)}, keyed=True)
    took: dict[str, list[float]] = {"wrong secret": [], "unknown prefix": []}
    for _ in range(ROUNDS):
        for way, text in (
            ("wrong secret", f"tb_{key.prefix}_{other.secret}"),
            ("unknown prefix", other.text),
        ):
            began = time.perf_counter()
            found = snapshot.check(text, NOW)
            took[way].append(time.perf_counter() - began)
            assert found is UNKNOWN
    difference = abs(median(took["wrong secret"]) - median(took["unknown prefix"]))
    print(f"medians differ by {difference * 1e9:.0f} ns")
    assert difference < 1e-3
