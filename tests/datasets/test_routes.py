"""Datasets over HTTP: upload, versions, items, deletion, and what is refused."""

import asyncio
import json

import duckdb
import pytest

from tiebreak.datasets import service
from tiebreak.datasets.upload import CSV, JSONL, PARQUET
from tiebreak.errors import InvalidInput, NotFound
from tiebreak.ids import new_id

URL = "/api/v1/datasets"
SUMS = (
    "id,question,answer,category\nq1,What is 1 + 1?,2,add\nq2,What is 2 + 2?,4,add\nq3,What is 3 - 1?,2,sub\n"
)


async def upload(client, content, media=CSV, **query):
    return await client.post(
        URL, params={"name": "sums"} | query, content=content, headers={"Content-Type": media}
    )


async def test_an_upload_makes_the_first_version_and_its_items_can_be_read(client):
    made = await upload(client, SUMS)
    assert made.status_code == 201, made.text
    document = made.json()
    assert (document["name"], document["version"], document["item_count"]) == ("sums", 1, 3)
    assert document["columns"] == ["question"]
    items = (await client.get(f"{URL}/sums/items")).json()
    assert items["next_cursor"] is None
    assert items["data"][1] == {
        "position": 1,
        "id": "q2",
        "inputs": {"question": "What is 2 + 2?"},
        "expected": "4",
        "category": "add",
        "difficulty": None,
    }


async def test_the_same_items_make_no_new_version_whatever_the_format(client):
    first = (await upload(client, SUMS)).json()
    rows = [line.split(",") for line in SUMS.splitlines()[1:]]
    lines = [
        json.dumps({"category": row[3], "id": row[0], "answer": int(row[2]), "question": row[1]})
        for row in rows
    ]
    again = (await upload(client, "\n".join(lines), JSONL)).json()
    assert again == first


async def test_other_items_make_the_next_version_and_the_earlier_one_stays(client):
    await upload(client, SUMS)
    second = (await upload(client, SUMS.replace("3 - 1", "5 - 3"))).json()
    assert second["version"] == 2
    versions = (await client.get(f"{URL}/sums/versions")).json()["data"]
    assert [version["version"] for version in versions] == [1, 2]
    old = (await client.get(f"{URL}/sums/items", params={"version": 1})).json()["data"]
    new = (await client.get(f"{URL}/sums/items")).json()["data"]
    assert (old[2]["inputs"], new[2]["inputs"]) == (
        {"question": "What is 3 - 1?"},
        {"question": "What is 5 - 3?"},
    )


async def test_uploads_at_once_get_numbers_of_their_own(client):
    bodies = [SUMS + f"q{n},What is {n}?,{n},id\n" for n in range(10, 16)]
    answers = await asyncio.gather(*(upload(client, body) for body in [*bodies, *bodies]))
    assert {answer.status_code for answer in answers} == {201}
    assert sorted({answer.json()["version"] for answer in answers}) == [1, 2, 3, 4, 5, 6]


async def test_columns_are_mapped_by_the_query(client):
    content = "key,text,right,topic,level\nk1,1+1?,2,add,easy\n"
    made = await upload(client, content, id="key", expected="right", category="topic", difficulty="level")
    assert made.json()["columns"] == ["text"]
    item = (await client.get(f"{URL}/sums/items")).json()["data"][0]
    assert (item["id"], item["expected"], item["category"], item["difficulty"]) == ("k1", "2", "add", "easy")


async def test_items_come_in_pages(client):
    await upload(client, "question\n" + "".join(f"q{n}\n" for n in range(25)))
    seen, cursor = [], None
    for _ in range(3):
        params = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        answer = (await client.get(f"{URL}/sums/items", params=params)).json()
        seen += [item["position"] for item in answer["data"]]
        cursor = answer["next_cursor"]
    assert seen == list(range(25))
    assert cursor is None


async def test_another_lists_cursor_is_past_every_item(client):
    await upload(client, SUMS)
    await client.post(URL, params={"name": "more"}, content=SUMS, headers={"Content-Type": CSV})
    cursor = (await client.get(URL, params={"limit": 1})).json()["next_cursor"]
    answer = await client.get(f"{URL}/sums/items", params={"cursor": cursor})
    assert answer.json() == {"data": [], "next_cursor": None}


async def test_datasets_are_listed_by_age_in_their_latest_version(client):
    for name in ("b", "a"):
        await client.post(URL, params={"name": name}, content=SUMS, headers={"Content-Type": CSV})
    await client.post(URL, params={"name": "b"}, content="question\nx\n", headers={"Content-Type": CSV})
    first = (await client.get(URL, params={"limit": 1})).json()
    rest = (await client.get(URL, params={"limit": 1, "cursor": first["next_cursor"]})).json()
    assert [(d["name"], d["version"]) for d in first["data"] + rest["data"]] == [("b", 2), ("a", 1)]
    assert (await client.get(f"{URL}/b")).json()["item_count"] == 1


async def test_versions_come_in_pages(client):
    for n in range(3):
        await upload(client, f"question\nq{n}\n")
    first = (await client.get(f"{URL}/sums/versions", params={"limit": 2})).json()
    rest = (await client.get(f"{URL}/sums/versions", params={"cursor": first["next_cursor"]})).json()
    assert [v["version"] for v in first["data"]] == [1, 2]
    assert [v["version"] for v in rest["data"]] == [3]


async def test_a_repeated_upload_with_its_key_gives_the_first_answer(client):
    headers = {"Content-Type": CSV, "Idempotency-Key": "k"}
    first = await client.post(URL, params={"name": "sums"}, content=SUMS, headers=headers)
    again = await client.post(URL, params={"name": "sums"}, content=SUMS, headers=headers)
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    other = await client.post(URL, params={"name": "sums"}, content=SUMS + "q9,x,1,y\n", headers=headers)
    assert other.status_code == 422


async def test_a_deleted_dataset_is_gone(client):
    await upload(client, SUMS)
    assert (await client.delete(f"{URL}/sums")).status_code == 204
    gone = await client.get(f"{URL}/sums")
    assert gone.status_code == 404
    assert gone.json()["detail"] == "no dataset 'sums'; `tiebreak dataset list` shows what there is"
    assert (await client.delete(f"{URL}/sums")).status_code == 404
    assert (await client.get(f"{URL}/sums/versions")).status_code == 404


async def test_a_dataset_that_a_run_uses_is_not_deleted(client, database):
    version = (await upload(client, SUMS)).json()["id"]
    async with database.transaction() as tx:
        test_id, run_id = new_id(), new_id()
        await tx.exec_driver_sql(
            "insert into tests (id, slug, name, state, definition, definition_hash, revision)"
            f" values ('{test_id}', 't', 't', 'running', '{{}}', '', 1)"
        )
        await tx.exec_driver_sql(
            "insert into runs (id, test_id, dataset_version_id, state, plan, concurrency, total)"
            f" values ('{run_id}', '{test_id}', '{version}', 'running', '{{}}', 1, 1)"
        )
    refused = await client.delete(f"{URL}/sums")
    assert refused.status_code == 409
    assert refused.json()["detail"] == (
        "dataset 'sums' is used by a run; delete the tests that used it first"
    )


async def test_a_version_that_does_not_exist_is_named_with_the_latest(client):
    await upload(client, SUMS)
    answer = await client.get(f"{URL}/sums/items", params={"version": 7})
    assert answer.status_code == 404
    assert answer.json()["detail"] == "dataset 'sums' has no version 7; the latest is 1"


@pytest.mark.parametrize("media", ["application/json", "text/plain", "multipart/form-data", None])
async def test_other_types_of_body_are_refused(client, media):
    headers = {} if media is None else {"Content-Type": media}
    answer = await client.post(URL, params={"name": "sums"}, content=SUMS, headers=headers)
    assert answer.status_code == 415
    assert "text/csv, application/x-ndjson, application/vnd.apache.parquet" in answer.json()["detail"]


async def test_text_that_is_not_utf_8_by_its_own_word_is_refused(client):
    answer = await upload(client, SUMS, "text/csv; charset=latin-1")
    assert answer.status_code == 415
    assert answer.json()["detail"] == "Content-Type says 'charset=latin-1'; datasets are UTF-8"
    assert (await upload(client, SUMS, "text/csv; charset=UTF-8")).status_code == 201


async def test_faults_of_a_file_reach_the_client_with_line_and_column(client):
    answer = await upload(client, "id,question\nq1,a\nq2\n,c\n")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["detail"] == (
        "line 3: 1 columns where the header has 2; 'question' missing; "
        "line 4, column 'id': every item needs an id here: a text or a whole number"
    )
    assert [(error["line"], error["column"], error["pointer"]) for error in problem["errors"]] == [
        (3, None, ""),
        (4, 1, "/id"),
    ]
    assert (await client.get(f"{URL}/sums")).status_code == 404


async def test_an_endless_line_is_stopped_while_it_comes(client):
    sent = 0

    async def endless():
        nonlocal sent
        yield b"question\n"
        while sent < 200 * 2**20:
            sent += 2**20
            yield b"x" * 2**20

    answer = await upload(client, endless())
    assert answer.status_code == 413
    assert answer.json()["detail"] == "line 2: longer than 10 MB, which is the limit; is a line end missing?"
    assert sent <= 12 * 2**20


@pytest.mark.parametrize("name", ["Sums", "", "a" * 65, "a/b"])
async def test_a_name_that_does_not_fit_urls_is_refused(client, name):
    answer = await client.post(URL, params={"name": name}, content=SUMS, headers={"Content-Type": CSV})
    assert answer.status_code == 422


@pytest.mark.parametrize("value", ["a\x00", "", "x" * 201])
async def test_a_column_name_that_cannot_be_is_refused(client, value):
    assert (await upload(client, SUMS, id=value)).status_code == 422


async def test_parquet_is_read_row_by_row(client, tmp_path):
    path = tmp_path / "sums.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            "copy (select 'q' || i as id, i as a, i / 2.0 as half, 2 * i as answer from range(3) t(i))"
            f" to '{path}' (format parquet)"
        )
    made = await upload(client, path.read_bytes(), PARQUET)
    assert made.status_code == 201, made.text
    items = (await client.get(f"{URL}/sums/items")).json()["data"]
    assert [(i["id"], i["inputs"], i["expected"]) for i in items] == [
        ("q0", {"a": 0, "half": 0.0}, "0"),
        ("q1", {"a": 1, "half": 0.5}, "2"),
        ("q2", {"a": 2, "half": 1.0}, "4"),
    ]


async def test_a_reference_is_a_name_or_a_name_with_a_version(client, database):
    await upload(client, SUMS)
    await upload(client, "question\nx\n")
    async with database.transaction() as tx:
        assert (await service.resolve(tx, "sums")).version == 2
        assert (await service.resolve(tx, "sums@1")).item_count == 3
        with pytest.raises(NotFound, match="has no version 3; the latest is 2"):
            await service.resolve(tx, "sums@3")
        with pytest.raises(InvalidInput, match="'sums@0' is not a dataset"):
            await service.resolve(tx, "sums@0")


async def test_strata_are_position_and_category(client, database):
    await upload(client, SUMS)
    async with database.transaction() as tx:
        version = await service.resolve(tx, "sums")
        assert await service.strata(tx, version.id, "category") == [(0, "add"), (1, "add"), (2, "sub")]
        assert await service.strata(tx, version.id, "difficulty") == [(0, None), (1, None), (2, None)]


async def test_many_and_long_items_are_stored_in_several_batches(client):
    long = "x" * 900_000
    lines = [json.dumps({"question": f"{n}", "context": long if n < 12 else ""}) for n in range(2500)]
    made = await upload(client, "\n".join(lines), JSONL)
    assert made.json()["item_count"] == 2500
    items = (await client.get(f"{URL}/sums/items", params={"limit": 13})).json()["data"]
    assert [len(item["inputs"]["context"]) for item in items] == [900_000] * 12 + [0]
