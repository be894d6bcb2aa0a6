"""Which call needs what, and who has it; on the real application."""

import asyncio
import random

import httpx2
import pytest
from tests.auth.conftest import bearer, client_of

from tiebreak.app import create_app
from tiebreak.auth.gate import Gate, needed
from tiebreak.auth.keys import owner
from tiebreak.errors import Unavailable
from tiebreak.settings import Settings

OTHER_SITE = {"Origin": "https://evil.example"}
PROXIED = {"Host": "tiebreak.example", "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}


async def locked(api: httpx2.AsyncClient, *scopes: str) -> dict[str, str]:
    """Make the first key over HTTP, wait until the server wants one; gives its header."""
    made = await api.post("/api/v1/keys", json={"name": "first", "scopes": list(scopes) or ["admin"]})
    assert made.status_code == 201, made.text
    async with asyncio.timeout(20):
        while (await api.get("/api/v1/tests")).status_code == 200:
            await asyncio.sleep(0.01)
    return bearer(made.json()["key"])


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/health", None),
        ("/health/", "manage"),
        ("/api/v1/keys", "admin"),
        ("/api/v1/keys/abcd2345", "admin"),
        ("/api/v1/keysmith", "manage"),
        ("/api/v1/tests", "manage"),
        ("/api/v1/openapi.json", "manage"),
        ("/metrics", "manage"),
        ("/v1/chat/completions", "gateway"),
        ("/v1/feedback", "feedback"),
        ("/v1", "gateway"),
        ("/v10", "manage"),
        ("/", "manage"),
        ("", "manage"),
    ],
)
def test_every_path_needs_a_scope_but_health(path, scope):
    assert needed(path) == scope


async def test_before_the_first_key_this_machine_needs_none_and_others_get_nothing(api):
    assert (await api.get("/api/v1/tests")).status_code == 200
    assert (await api.get("/api/v1/tests", headers=bearer("nonsense"))).status_code == 200
    assert (await api.get("/api/v1/tests", headers=PROXIED)).status_code == 403
    assert (await api.get("/api/v1/tests", headers=OTHER_SITE)).status_code == 403


async def test_from_the_first_key_on_every_call_needs_one_but_health(api):
    first = await locked(api)
    for path in ("/api/v1/tests", "/api/v1/keys", "/api/v1/openapi.json", "/nowhere"):
        answer = await api.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == 'Bearer realm="tiebreak"'
        problem = answer.json()
        assert problem["type"] == "urn:tiebreak:problem:unauthenticated"
        assert "TIEBREAK_API_KEY" in problem["detail"]
        assert "tiebreak key create" in problem["detail"]
    live = await api.post("/v1/chat/completions", json={})
    assert live.status_code == 401
    assert "tiebreak key create" in live.json()["error"]["message"]
    assert (await api.get("/health")).status_code == 200
    assert (await api.get("/api/v1/tests", headers=first)).status_code == 200
    key = first["Authorization"].removeprefix("Bearer ")
    assert (await api.get("/api/v1/tests", headers={"x-api-key": key})).status_code == 200


async def test_a_call_is_refused_before_its_body_is_looked_at(api):
    await locked(api)
    answer = await api.post("/api/v1/prompts", content=b"{", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 401


async def test_a_key_does_what_its_scopes_say(api):
    first = await locked(api)
    keys = {}
    for scope in ("gateway", "feedback", "manage", "admin"):
        made = await api.post("/api/v1/keys", json={"name": scope, "scopes": [scope]}, headers=first)
        keys[scope] = bearer(made.json()["key"])
    seen = {}
    for scope, header in keys.items():
        async with asyncio.timeout(20):
            while (await api.get("/api/v1/tests", headers=header)).status_code == 401:
                await asyncio.sleep(0.01)
        calls = ("/v1/chat/completions", "/v1/feedback", "/api/v1/tests", "/api/v1/keys")
        seen[scope] = [(await api.get(path, headers=header)).status_code for path in calls]
    # This application serves no traffic: 503 is what passes the gate there.
    assert seen == {
        "gateway": [503, 403, 403, 403],
        "feedback": [403, 503, 403, 403],
        "manage": [403, 403, 200, 403],
        "admin": [503, 503, 200, 200],
    }
    refused = await api.get("/api/v1/keys", headers=keys["manage"])
    assert refused.json()["type"] == "urn:tiebreak:problem:refused"
    assert "'manage' has the scopes manage, and this call needs admin" in refused.json()["detail"]


async def test_other_sites_pages_stay_out_with_and_without_a_key_and_proxies_come_in(api):
    first = await locked(api)
    for headers in (OTHER_SITE, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        assert (await api.get("/api/v1/tests", headers=headers | first)).status_code == 403
        assert (await api.get("/health", headers=headers)).status_code == 403
    for headers in (
        PROXIED,
        {"Host": "tiebreak.example", "Origin": "https://tiebreak.example"},
        {"Host": "tiebreak.example:8321", "Origin": "http://tiebreak.example:8321"},
    ):
        assert (await api.get("/api/v1/tests", headers=headers | first)).status_code == 200
        assert (await api.get("/api/v1/tests", headers=headers)).status_code == 401


async def test_when_every_key_is_revoked_nothing_opens_again(api):
    first = await locked(api)
    (only,) = (await api.get("/api/v1/keys", headers=first)).json()["data"]
    assert (await api.delete(f"/api/v1/keys/{only['prefix']}", headers=first)).status_code == 204
    async with asyncio.timeout(20):
        while (await api.get("/api/v1/tests", headers=first)).status_code == 200:
            await asyncio.sleep(0.01)
    assert (await api.get("/api/v1/tests", headers=first)).status_code == 401
    assert (await api.get("/api/v1/tests")).status_code == 401


async def test_a_server_that_others_reach_is_locked_before_the_first_key(dsn, tmp_path, make_key):
    app = create_app(Settings(home=tmp_path, database_url=dsn), port=80, exposed=True)
    async with client_of(app) as client:
        assert (await client.get("/api/v1/tests")).status_code == 401
        assert (await client.get("/health", headers={"Host": "tiebreak.example"})).status_code == 200
        _, key = await make_key()
        async with asyncio.timeout(20):
            while (await client.get("/api/v1/tests", headers=bearer(key))).status_code == 401:
                await asyncio.sleep(0.01)


async def test_the_owner_of_the_machine_works_on_after_keys_exist(dsn, tmp_path, make_key):
    key = owner(random.Random(2).randbytes)
    await make_key()
    app = create_app(Settings(home=tmp_path, database_url=dsn), port=80, owner=key)
    async with client_of(app) as client:
        assert (await client.get("/api/v1/keys")).status_code == 401
        assert (await client.get("/api/v1/keys", headers=bearer(key))).status_code == 200


async def test_a_call_is_seen_in_when_its_key_was_used_last(api):
    first = await locked(api)
    await api.get("/api/v1/tests", headers=first)
    async with asyncio.timeout(20):
        while (await api.get("/api/v1/keys", headers=first)).json()["data"][0]["last_used_at"] is None:
            await asyncio.sleep(0.05)


def test_before_the_keys_are_loaded_nobody_passes():
    gate = Gate(exposed=False)
    assert gate.locked
    refused = gate.admit({"path": "/api/v1/tests", "headers": []})
    assert isinstance(refused, Unavailable)
    assert gate.admit({"path": "/health", "headers": []}) is None
