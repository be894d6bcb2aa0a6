"""Every error has one shape, also the ones nobody expected."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from tiebreak.errors import Fault, InvalidInput, Unavailable
from tiebreak.infrastructure.rest import problems


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int


def application() -> FastAPI:
    app = FastAPI()
    problems.install(app)
    router = APIRouter(responses=problems.PROBLEM_RESPONSES)

    @router.get("/ours")
    async def ours() -> None:
        raise InvalidInput("line 3: no", faults=[Fault("/a", "no", 3, 7)])

    @router.get("/away")
    async def away() -> None:
        raise Unavailable("gone", retry_after=1.4)

    @router.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout", headers={"X-Tea": "yes"})

    @router.get("/broken")
    async def broken() -> None:
        raise LookupError("a secret detail")

    @router.post("/body")
    async def body(sent: Body) -> Body:
        return sent

    app.include_router(router)
    return app


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(application(), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as made:
        yield made


def read(response: httpx2.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == response.status_code
    return document


async def test_our_errors_keep_their_places(client):
    document = read(await client.get("/ours"))
    assert (document["type"], document["status"]) == ("urn:tiebreak:problem:invalid_input", 422)
    assert document["errors"] == [{"pointer": "/a", "detail": "no", "line": 3, "column": 7}]


async def test_when_to_come_back_is_a_header(client):
    response = await client.get("/away")
    assert response.headers["retry-after"] == "1"
    assert read(response)["status"] == 503


async def test_an_unknown_key_is_named_by_its_pointer(client):
    document = read(await client.post("/body", json={"number": 1, "nmber": 2}))
    assert document["errors"][0]["pointer"] == "/nmber"
    assert "/nmber" in document["detail"]


async def test_a_key_that_is_no_text_is_refused(client):
    headers = {"Content-Type": "application/json"}
    read(await client.post("/body", content=rb'{"number": 1, "\ud800": 2}', headers=headers))


def test_half_a_surrogate_pair_comes_back_escaped():
    body = bytes(problems.problem(code="x", title="x", status=422, detail="– \ud800").body)
    assert rb"\ud800" in body
    assert json.loads(body)["detail"] == "– \ud800"


async def test_an_unknown_route_and_a_wrong_method_are_named(client):
    assert read(await client.get("/nowhere"))["detail"] == "GET /nowhere: Not Found"
    response = await client.get("/body")
    assert read(response)["type"] == "urn:tiebreak:problem:method_not_allowed"
    assert response.headers["allow"] == "POST"


async def test_an_http_error_keeps_its_words_and_headers(client):
    response = await client.get("/teapot")
    assert read(response)["detail"] == "short and stout"
    assert response.headers["x-tea"] == "yes"


async def test_what_nobody_expected_tells_no_detail(client):
    response = await client.get("/broken")
    assert read(response)["status"] == 500
    assert "secret" not in response.text


async def test_the_openapi_file_gives_problems_their_media_type():
    app = application()
    for document in (app.openapi(), app.openapi()):
        responses = document["paths"]["/body"]["post"]["responses"]
        assert list(responses["4XX"]["content"]) == ["application/problem+json"]
        assert list(responses["200"]["content"]) == ["application/json"]
