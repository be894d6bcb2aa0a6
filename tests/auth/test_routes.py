"""`/api/v1/keys` over the whole application and a real database."""

import asyncio
import json
import random
from datetime import UTC, datetime
from uuid import UUID

import httpx2
import pytest
from tests.auth.conftest import bearer, client_of, every_row

from tiebreak.app import create_app
from tiebreak.auth.keys import owner, parse
from tiebreak.settings import Settings

NEW = {"name": "shop", "scopes": ["feedback", "gateway"]}


@pytest.fixture
async def api(dsn, tmp_path):
    """The application, with its owner asking."""
    key = owner(random.Random(1).randbytes)
    async with client_of(create_app(Settings(home=tmp_path, database_url=dsn), port=80, owner=key)) as client:
        client.headers.update(bearer(key))
        yield client


async def create(api: httpx2.AsyncClient, headers=None, **changes):
    answer = await api.post("/api/v1/keys", json=NEW | changes, headers=headers or {})
    assert answer.status_code == 201, answer.text
    return answer


async def test_a_key_is_shown_with_its_secret_once(api):
    answer = await create(api)
    made = answer.json()
    key = parse(made.pop("key"))
    assert key is not None
    assert answer.headers["cache-control"] == "no-store"
    assert UUID(made["id"]).version == 7
    assert (made["prefix"], made["name"], made["scopes"]) == (key.prefix, "shop", ["gateway", "feedback"])
    assert made["expires_at"] is made["revoked_at"] is made["last_used_at"] is None
    shown = await api.get(f"/api/v1/keys/{key.prefix}")
    listed = await api.get("/api/v1/keys")
    assert shown.json() == made
    assert listed.json()["data"] == [made]
    assert key.secret not in shown.text + listed.text


async def test_a_repeated_call_makes_no_second_key_and_tells_no_secret(api, dsn):
    """Neither the row of the first answer nor any other holds the secret."""
    headers = {"Idempotency-Key": "once"}
    first, again = [(await create(api, headers)) for _ in range(2)]
    key = parse(first.json()["key"])
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["cache-control"] == "no-store"
    assert again.json() == first.json() | {"key": None}
    assert len((await api.get("/api/v1/keys")).json()["data"]) == 1
    rows = await every_row(dsn)
    assert f'"prefix": "{key.prefix}"' in rows.replace('""', '"')
    assert key.secret not in rows
    assert key.secret.encode().hex() not in rows


async def test_pages_follow_each_other(api):
    for name in ("a", "b", "c"):
        await create(api, name=name)
    first = (await api.get("/api/v1/keys", params={"limit": 2})).json()
    rest = (await api.get("/api/v1/keys", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [row["name"] for row in first["data"] + rest["data"]] == ["a", "b", "c"]


async def test_name_and_end_change_and_null_is_no_end(api):
    made = (await create(api, expires_at="2090-01-01T00:00:00+01:00")).json()
    path = f"/api/v1/keys/{made['prefix']}"
    assert datetime.fromisoformat(made["expires_at"]) == datetime(2089, 12, 31, 23, tzinfo=UTC)
    renamed = (await api.patch(path, json={"name": "till"})).json()
    assert (renamed["name"], renamed["expires_at"]) == ("till", made["expires_at"])
    endless = (await api.patch(path, json={"expires_at": None})).json()
    assert (endless["name"], endless["expires_at"]) == ("till", None)
    assert (await api.get(path)).json() == endless


async def test_a_revoked_key_stays_in_the_list_and_revoking_again_changes_nothing(api):
    made = (await create(api)).json()
    path = f"/api/v1/keys/{made['prefix']}"
    assert (await api.delete(path)).status_code == 204
    first = (await api.get(path)).json()["revoked_at"]
    assert (await api.delete(path)).status_code == 204
    assert (await api.get(path)).json()["revoked_at"] == first is not None
    assert (await api.patch(path, json={"name": "x"})).status_code == 409


async def test_a_revoked_key_is_refused_soon(api):
    made = (await create(api, scopes=["manage"])).json()
    headers = bearer(made["key"])
    async with asyncio.timeout(20):
        while (await api.get("/api/v1/tests", headers=headers)).status_code == 401:
            await asyncio.sleep(0.01)
    await api.delete(f"/api/v1/keys/{made['prefix']}")
    async with asyncio.timeout(20):
        while (await api.get("/api/v1/tests", headers=headers)).status_code == 200:
            await asyncio.sleep(0.01)
    assert "revoked" in (await api.get("/api/v1/tests", headers=headers)).json()["detail"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, ["/name"]),
        ({"name": "x" * 101}, ["/name"]),
        ({"name": "a\x00b"}, ["/name", "NUL"]),
        ({"scopes": []}, ["/scopes"]),
        ({"scopes": ["root"]}, ["/scopes/0", "admin"]),
        ({"scopes": "admin"}, ["/scopes"]),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ["/expires_at", "has passed"]),
        ({"expires_at": "2090-01-01T00:00:00"}, ["/expires_at", "timezone"]),
        ({"expires_at": "9999-12-31T23:59:59-12:00"}, ["/expires_at", "9999"]),
        ({"expires_at": "soon"}, ["/expires_at"]),
        ({"unheard_of": 1}, ["/unheard_of"]),
    ],
)
async def test_what_cannot_be_a_key_is_refused_with_its_place(api, changes, words):
    answer = await api.post("/api/v1/keys", json=NEW | changes)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in answer.text


async def test_the_same_scope_twice_is_one(api):
    assert (await create(api, scopes=["manage", "manage"])).json()["scopes"] == ["manage"]


@pytest.mark.parametrize(("prefix", "status"), [("aaaaaaaa", 404), ("AAAAAAAA", 422), ("a", 422)])
async def test_a_key_that_nobody_made_is_named(api, prefix, status):
    for answer in (
        await api.get(f"/api/v1/keys/{prefix}"),
        await api.delete(f"/api/v1/keys/{prefix}"),
        await api.patch(f"/api/v1/keys/{prefix}", json={}),
    ):
        assert answer.status_code == status
        assert json.loads(answer.content)["detail"]
