"""Prompts over HTTP: create, versions, list, delete, and what is refused."""

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from tiebreak.errors import InvalidInput, NotFound
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.infrastructure.rest import problems
from tiebreak.prompts import service
from tiebreak.prompts.routes import build_router

URL = "/api/v1/prompts"
SOLVE = {"name": "solve", "template": "{{ question }}", "system": "You know {{ topic }}."}


@pytest.fixture
async def client(database: Database) -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    problems.install(app)
    app.include_router(build_router(database=database))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        yield opened


async def test_a_new_prompt_has_one_version_with_the_variables_of_both_texts(client):
    made = await client.post(URL, json=SOLVE)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["name"], shown["version"], shown["variables"]) == ("solve", 1, ["question", "topic"])
    assert (shown["template"], shown["system"]) == (SOLVE["template"], SOLVE["system"])
    assert (await client.get(f"{URL}/solve")).json() == shown
    assert (await client.get(f"{URL}/solve/versions/1")).json() == shown


async def test_a_name_is_taken_once(client):
    answers = await asyncio.gather(*(client.post(URL, json=SOLVE) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    refused = next(answer for answer in answers if answer.status_code == 409)
    assert refused.json()["detail"] == (
        "there is a prompt 'solve' already; add a version to it, or take another name"
    )


async def test_other_content_is_the_next_version_and_the_same_is_the_latest(client):
    await client.post(URL, json=SOLVE)
    second = (await client.post(f"{URL}/solve/versions", json={"template": "Q: {{ question }}"})).json()
    assert (second["version"], second["system"], second["variables"]) == (2, None, ["question"])
    same = await client.post(f"{URL}/solve/versions", json={"template": "Q: {{ question }}", "system": None})
    assert same.json() == second
    back = await client.post(
        f"{URL}/solve/versions", json={"template": SOLVE["template"], "system": SOLVE["system"]}
    )
    assert back.json()["version"] == 3
    assert (await client.get(f"{URL}/solve")).json()["version"] == 3
    assert (await client.get(f"{URL}/solve/versions/1")).json()["template"] == "{{ question }}"


async def test_versions_added_at_once_get_numbers_of_their_own(client):
    await client.post(URL, json=SOLVE)
    contents = [{"template": f"{n} {{{{ question }}}}"} for n in range(6)]
    answers = await asyncio.gather(*(client.post(f"{URL}/solve/versions", json=c) for c in contents))
    assert sorted(answer.json()["version"] for answer in answers) == [2, 3, 4, 5, 6, 7]


async def test_prompts_and_versions_are_listed_by_age_in_pages(client):
    for name in ("b", "a", "c"):
        await client.post(URL, json=SOLVE | {"name": name})
    await client.post(f"{URL}/b/versions", json={"template": "x"})
    first = (await client.get(URL, params={"limit": 2})).json()
    rest = (await client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [(p["name"], p["version"]) for p in first["data"] + rest["data"]] == [("b", 2), ("a", 1), ("c", 1)]
    assert rest["next_cursor"] is None
    one = (await client.get(f"{URL}/b/versions", params={"limit": 1})).json()
    two = (await client.get(f"{URL}/b/versions", params={"limit": 1, "cursor": one["next_cursor"]})).json()
    assert [(v["version"], v["template"]) for v in one["data"] + two["data"]] == [
        (1, "{{ question }}"),
        (2, "x"),
    ]


async def test_a_repeated_call_with_its_key_makes_one_version(client):
    await client.post(URL, json=SOLVE, headers={"Idempotency-Key": "k"})
    again = await client.post(URL, json=SOLVE, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    for _ in range(2):
        await client.post(f"{URL}/solve/versions", json={"template": "y"}, headers={"Idempotency-Key": "k"})
    assert (await client.get(f"{URL}/solve")).json()["version"] == 2


async def test_a_deleted_prompt_is_gone(client):
    await client.post(URL, json=SOLVE)
    assert (await client.delete(f"{URL}/solve")).status_code == 204
    gone = await client.get(f"{URL}/solve")
    assert gone.status_code == 404
    assert gone.json()["detail"] == "no prompt 'solve'; `tiebreak prompt list` shows what there is"
    assert (await client.delete(f"{URL}/solve")).status_code == 404
    assert (await client.get(f"{URL}/solve/versions")).status_code == 404
    assert (await client.post(f"{URL}/solve/versions", json={"template": "x"})).status_code == 404


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        ({"template": "a\n{{ q"}, "/template", "unexpected end of template"),
        (
            {"template": "{{ q }}", "system": "{% include 'x' %}"},
            "/system",
            "`include` is not part of prompt templates",
        ),
        ({"template": "a\x00"}, "/template", "NUL character at character 2"),
        ({"template": "x" * 200_001}, "/template", "at most 200000 characters"),
        ({"template": "x", "sytem": "y"}, "/sytem", "Extra inputs are not permitted"),
        ({"template": "x", "name": "Solve It"}, "/name", "pattern"),
        ({}, "/template", "Field required"),
    ],
)
async def test_what_is_no_prompt_is_refused_with_its_pointer(client, body, pointer, detail):
    answer = await client.post(URL, json={"name": "solve"} | body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert detail in answer.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    "path", ["So", "a%00", "solve/versions/0", f"solve/versions/{2**31}", "solve/versions/x"]
)
async def test_a_path_that_cannot_be_is_refused(client, path):
    assert (await client.get(f"{URL}/{path}")).status_code == 422


async def test_a_reference_is_a_name_or_a_name_with_a_version(client, database):
    await client.post(URL, json=SOLVE)
    await client.post(f"{URL}/solve/versions", json={"template": "second"})
    async with database.transaction() as tx:
        assert (await service.resolve(tx, "solve")).template == "second"
        first = await service.resolve(tx, "solve@1")
        assert (first.prompt, first.version, first.variables) == ("solve", 1, {"question", "topic"})
        with pytest.raises(NotFound, match="prompt 'solve' has no version 3; the latest is 2"):
            await service.resolve(tx, "solve@3")
        with pytest.raises(NotFound, match="no prompt 'other'"):
            await service.resolve(tx, "other@1")
        with pytest.raises(InvalidInput, match="'solve@' is not a prompt; write `name`, or `name@version`"):
            await service.resolve(tx, "solve@")
