"""Tests over HTTP: create, read, list, edit a draft, delete, and what is refused."""

import asyncio
import json
from datetime import UTC, datetime

import pytest

from tiebreak.errors import Conflict
from tiebreak.experiments import service
from tiebreak.experiments.definition import Definition, digest
from tiebreak.ids import new_id

URL = "/api/v1/tests"
NOW = datetime(2026, 5, 1, tzinfo=UTC)


async def started(database, id_or_slug):
    async with database.transaction() as tx:
        draft = await service.get(tx, id_or_slug)
        await service.save(tx, draft, draft.start(NOW))


async def test_a_test_is_made_as_a_draft_and_found_by_id_and_slug(client, document):
    made = await client.post(URL, json=document)
    assert made.status_code == 201, made.text
    shown = made.json()
    assert (shown["slug"], shown["state"], shown["revision"]) == ("small-or-large", "draft", 1)
    assert shown["definition"]["metrics"][0]["check"]["line"] == "A:"
    assert shown["definition_hash"] == digest(Definition.model_validate(document))
    assert (await client.get(f"{URL}/{shown['id']}")).json() == shown
    assert (await client.get(f"{URL}/small-or-large")).json() == shown


async def test_a_shown_definition_makes_the_same_test_again(client, document):
    document["metrics"][0]["check"] = {"kind": "json_schema", "schema": {"type": "object"}}
    shown = (await client.post(URL, json=document)).json()
    assert shown["definition"]["metrics"][0]["check"]["schema"] == {"type": "object"}
    again = await client.post(URL, json=shown["definition"])
    assert again.json()["definition"] == shown["definition"]


async def test_tests_of_one_name_made_at_once_get_slugs_of_their_own(client, document):
    answers = await asyncio.gather(*(client.post(URL, json=document) for _ in range(8)))
    assert [answer.status_code for answer in answers] == [201] * 8
    slugs = sorted(answer.json()["slug"] for answer in answers)
    assert slugs == ["small-or-large", *(f"small-or-large-{number}" for number in range(2, 9))]


async def test_a_name_that_looks_like_an_id_is_still_found_by_its_slug(client, document):
    name = str(new_id())
    made = (await client.post(URL, json=document | {"name": name})).json()
    assert made["slug"] == name
    assert (await client.get(f"{URL}/{name}")).json()["id"] == made["id"]


async def test_a_test_that_does_not_exist_is_named(client):
    for unknown in ("nothing", str(new_id())):
        answer = await client.get(f"{URL}/{unknown}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == f"no test {unknown!r}; `tiebreak test list` shows what there is"


async def test_a_repeated_call_with_its_key_makes_one_test(client, document):
    headers = {"Idempotency-Key": "k"}
    first = await client.post(URL, json=document, headers=headers)
    again = await client.post(URL, json=document, headers=headers)
    assert again.json() == first.json()
    assert len((await client.get(URL)).json()["data"]) == 1


async def test_tests_are_listed_by_age_in_pages_and_by_state(client, document, database):
    for number in range(3):
        await client.post(URL, json=document | {"name": f"t{number}"})
    await started(database, "t1")
    first = (await client.get(URL, params={"limit": 2})).json()
    rest = (await client.get(URL, params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert [test["slug"] for test in first["data"] + rest["data"]] == ["t0", "t1", "t2"]
    assert rest["next_cursor"] is None
    running = (await client.get(URL, params={"state": "running"})).json()["data"]
    assert [(test["slug"], test["started_at"]) for test in running] == [("t1", "2026-05-01T00:00:00Z")]
    assert running[0]["variants"] == ["large", "small"]
    assert (await client.get(URL, params={"state": "lost"})).status_code == 422


async def test_a_draft_takes_another_definition_and_keeps_its_slug(client, document):
    first = (await client.post(URL, json=document)).json()
    edited = await client.put(f"{URL}/{first['slug']}", json=document | {"name": "New name", "level": 0.9})
    assert edited.status_code == 200, edited.text
    shown = edited.json()
    assert (shown["name"], shown["slug"], shown["revision"]) == ("New name", "small-or-large", 2)
    assert shown["definition_hash"] != first["definition_hash"]
    assert (await client.get(f"{URL}/{first['id']}")).json() == shown


async def test_a_test_that_runs_is_neither_edited_nor_deleted(client, document, database):
    slug = (await client.post(URL, json=document)).json()["slug"]
    await started(database, slug)
    edited = await client.put(f"{URL}/{slug}", json=document)
    assert edited.status_code == 409
    assert edited.json()["type"] == "urn:tiebreak:problem:illegal_transition"
    assert edited.json()["detail"] == (
        "only a draft can be edited; test 'small-or-large' is running: create a new test from its definition"
    )
    deleted = await client.delete(f"{URL}/{slug}")
    assert deleted.status_code == 409
    assert deleted.json()["detail"] == (
        "test 'small-or-large' cannot be deleted: it is running; cancel it first"
    )


async def test_a_deleted_draft_is_gone(client, document):
    slug = (await client.post(URL, json=document)).json()["slug"]
    assert (await client.delete(f"{URL}/{slug}")).status_code == 204
    assert (await client.get(f"{URL}/{slug}")).status_code == 404


async def test_every_move_is_stored_and_read_back(client, document, database):
    slug = (await client.post(URL, json=document)).json()["slug"]
    async with database.transaction() as tx:
        draft = await service.get(tx, slug)
        running = draft.start(NOW)
        await service.save(tx, draft, running)
        paused = running.pause(NOW, "budget")
        await service.save(tx, running, paused)
        assert await service.get(tx, slug) == paused
        cancelled = paused.cancel(NOW, "user")
        await service.save(tx, paused, cancelled)
        assert await service.get(tx, slug) == cancelled


async def test_who_read_an_older_revision_is_told_so(client, document, database):
    slug = (await client.post(URL, json=document)).json()["slug"]
    async with database.transaction() as tx:
        old = await service.get(tx, slug)
        await service.replace(tx, old, Definition.model_validate(document | {"level": 0.9}))
        expected = "test 'small-or-large' was changed by somebody else meanwhile; look at it again and repeat"
        for late in (
            service.save(tx, old, old.start(NOW)),
            service.replace(tx, old, old.definition),
            service.delete(tx, old),
        ):
            with pytest.raises(Conflict) as caught:
                await late
            assert caught.value.detail == expected


@pytest.mark.parametrize(
    ("change", "pointer", "detail"),
    [
        ({"hypotesis": "x"}, "/hypotesis", "unknown key 'hypotesis'; did you mean 'hypothesis'?"),
        (
            {"metrics": [{"name": "m", "role": "primary", "check": {"kind": "exact", "ignorecase": True}}]},
            "/metrics/0/check/ignorecase",
            "unknown key 'ignorecase'; did you mean 'ignore_case'?",
        ),
        ({"name": 7}, "/name", "has to be text, and 7 is a number; put it in quotes to make it text"),
        ({"name": "a\x00"}, "", "key 'name' holds a NUL character at character 2; remove it"),
        (
            {"hypothesis": "\ud800"},
            "",
            "key 'hypothesis' holds half a surrogate pair (U+D800) at character 1; remove it",
        ),
        ({"seed": 2**70}, "", "key 'seed' is a whole number beyond 64 bits; write it as text"),
    ],
)
async def test_what_is_wrong_with_a_definition_is_named_with_its_pointer(
    client, document, change, pointer, detail
):
    answer = await client.post(
        URL, content=json.dumps(document | change), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"pointer": pointer, "detail": detail, "line": None, "column": None}]


async def test_a_template_and_a_check_that_cannot_work_are_named_before_a_test_is_made(client, document):
    document["variants"][1]["template"] = "{{ q"
    document["variants"][0]["system"] = "{% include 'x' %}"
    document["metrics"][0]["check"] = {
        "kind": "json_schema",
        "schema": {"$ref": "https://example.test/s.json"},
    }
    answer = await client.post(URL, json=document)
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert [error["pointer"] for error in errors[:2]] == ["/variants/0/system", "/variants/1/template"]
    assert errors[2]["pointer"].startswith("/metrics/0/check")
    assert errors[2]["detail"].startswith("metric 'correct': ")
    assert (await client.get(URL)).json()["data"] == []


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"name": NaN}', "[" * 2000])
async def test_a_body_that_is_no_definition_is_refused(client, content):
    answer = await client.post(URL, content=content, headers={"Content-Type": "application/json"})
    assert 400 <= answer.status_code < 500


@pytest.mark.parametrize("test_id", ["a%00", "a_b", "x" * 81, "%ff"])
async def test_an_id_that_cannot_be_is_refused(client, test_id):
    assert (await client.get(f"{URL}/{test_id}")).status_code == 422
