"""`/api/v1/requests` over a real database."""

from uuid import UUID

import asyncpg
import httpx2
import pytest
from fastapi import FastAPI
from tests.observations.counted import take
from tests.observations.made import event, identifier, on_request

from tiebreak.experiments import routes as experiments
from tiebreak.infrastructure.rest import problems
from tiebreak.observations import routes
from tiebreak.observations.model import Fallback


@pytest.fixture
async def api(database):
    app = FastAPI()
    problems.install(app)
    app.include_router(experiments.build_router(database=database))
    app.include_router(routes.build_router(database=database))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        yield client


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def shown(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


def ids(*numbers: int) -> list[str]:
    return [str(UUID(bytes=identifier(number))) for number in numbers]


async def test_requests_are_listed_newest_first_page_by_page(api, connection):
    await take(connection, *(event(n) for n in range(5)))
    first = await api.get("/api/v1/requests", params={"limit": 2})
    assert shown(first) == ids(4, 3)
    second = await api.get("/api/v1/requests", params={"limit": 2, "cursor": first.json()["next_cursor"]})
    assert shown(second) == ids(2, 1)
    last = await api.get("/api/v1/requests", params={"limit": 2, "cursor": second.json()["next_cursor"]})
    assert shown(last) == ids(0)
    assert last.json()["next_cursor"] is None


async def test_requests_of_a_session_are_found_by_its_name(api, connection):
    await take(connection, event(1, session="s"), event(2, session="t"), event(3, unit=None, session="s"))
    assert shown(await api.get("/api/v1/requests", params={"session": "s"})) == ids(3, 1)
    assert shown(await api.get("/api/v1/requests", params={"session": "nobody"})) == []


async def test_requests_of_a_test_are_found_by_its_slug_and_its_id(api, connection):
    variants = [{"key": key, "model": f"local/{key}", "template": "{{ q }}"} for key in ("large", "small")]
    metrics = [{"name": "correct", "role": "primary", "check": {"kind": "numeric"}}]
    made = await api.post(
        "/api/v1/tests", json={"name": "Checkout", "variants": variants, "metrics": metrics}
    )
    assert made.status_code == 201, made.text
    test = UUID(made.json()["id"])
    await take(connection, event(1), event(2, test=test.bytes), event(3, unit=None))
    for name in (made.json()["slug"], str(test)):
        assert shown(await api.get("/api/v1/requests", params={"test": name})) == ids(2)


async def test_one_request_shows_what_was_served_and_said(api, connection):
    await take(
        connection,
        event(
            1,
            stream=True,
            first_token_us=1500,
            served="small",
            fallbacks=(Fallback("large", "small", "timeout"),),
            tags={"team": "blue"},
            request="q",
            response="a",
        ),
        on_request(5, 1, 500_000, comment="fine"),
        on_request(6, 1, None, text="refund", metric="topic"),
    )
    found = (await api.get(f"/api/v1/requests/{ids(1)[0]}")).json()
    assert found["exposure"]["unit"] == "ann"
    assert (found["latency_ms"], found["first_token_ms"], found["cost_usd"]) == (1.001, 1.5, 1e-8)
    assert found["fallbacks"] == [{"from_model": "large", "to_model": "small", "failure": "timeout"}]
    assert (found["request"], found["response"], found["tags"]) == ("q", "a", {"team": "blue"})
    assert [(said["metric"], said["value"], said["comment"]) for said in found["feedback"]] == [
        ("helpful", 0.5, "fine"),
        ("topic", "refund", None),
    ]


async def test_a_direct_call_has_no_exposure(api, connection):
    await take(connection, event(1, unit=None))
    assert (await api.get(f"/api/v1/requests/{ids(1)[0]}")).json()["exposure"] is None


async def test_a_request_that_is_not_there_is_named(api):
    answer = await api.get(f"/api/v1/requests/{ids(9)[0]}")
    assert answer.status_code == 404
    assert ids(9)[0] in answer.json()["detail"]


async def test_a_test_that_is_not_there_is_named(api):
    answer = await api.get("/api/v1/requests", params={"test": "nothing"})
    assert answer.status_code == 404
