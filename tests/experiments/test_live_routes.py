"""Live traffic over HTTP: start, change, stop, look, and what is refused."""

import httpx2
import pytest
from fastapi import FastAPI
from tests.clocks import ManualClock
from tests.runs.stage import add_provider

from tiebreak.experiments.live_routes import build_live_router
from tiebreak.experiments.routes import build_router
from tiebreak.infrastructure.rest import problems
from tiebreak.runs.routes import build_lifecycle_router

URL = "/api/v1/tests"
CHAT = f"{URL}/chat"


@pytest.fixture
async def client(database):
    await add_provider(database)
    app = FastAPI()
    problems.install(app)
    clock = ManualClock()
    app.include_router(build_router(database=database))
    app.include_router(build_live_router(database=database, clock=clock))
    app.include_router(build_lifecycle_router(database=database, clock=clock))
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as opened:
        made = await opened.post(
            URL,
            json={
                "name": "chat",
                "variants": [
                    {"key": "large", "model": "vendor/large", "weight": 3},
                    {"key": "small", "model": "vendor/small", "template": "{{ input }} {{ tone }}"},
                ],
                "metrics": [{"name": "cost_usd", "role": "primary"}],
                "share": 0.5,
            },
        )
        assert made.status_code == 201, made.text
        yield opened


async def test_a_draft_goes_live_and_shows_how_it_splits(client):
    assert (await client.get(CHAT)).json()["live"] is None
    answer = await client.post(f"{CHAT}/live", json={"why": "try it"})
    assert answer.status_code == 201, answer.text
    shown = answer.json()
    assert (shown["slug"], shown["state"], shown["outside"]) == ("chat", "running", "large")
    assert (shown["variants"], shown["variables"]) == (["large", "small"], ["tone"])
    (phase,) = shown["phases"]
    assert phase["ranges"] == [
        {"start": 0, "end": 7500, "variant": "large"},
        {"start": 7500, "end": 10000, "variant": "small"},
    ]
    assert (phase["kind"], phase["share"], phase["why"], phase["concurrent_control"]) == (
        "start",
        0.5,
        "try it",
        True,
    )
    assert (await client.get(f"{CHAT}/live")).json() == shown
    test = (await client.get(CHAT)).json()
    assert (test["state"], test["live"]) == ("running", phase)


async def test_a_repeated_start_with_its_key_is_one_start(client):
    headers = {"Idempotency-Key": "k"}
    first = await client.post(f"{CHAT}/live", headers=headers)
    again = await client.post(f"{CHAT}/live", headers=headers)
    assert (first.status_code, again.json()) == (201, first.json())
    assert (await client.post(f"{CHAT}/live")).status_code == 409


async def test_traffic_is_changed_by_share_by_weights_or_by_both(client):
    await client.post(f"{CHAT}/live")
    for change, kind in (
        ({"share": 0.6}, "share"),
        ({"weights": {"large": 50, "small": 50}, "why": "ramp"}, "ramp"),
        ({"share": 1, "weights": {"small": 1, "large": 0}}, "ship"),
    ):
        answer = await client.put(f"{CHAT}/traffic", json=change)
        assert answer.status_code == 200, answer.text
        assert answer.json()["phases"][-1]["kind"] == kind
    phases = (await client.get(f"{CHAT}/live")).json()["phases"]
    assert [(phase["number"], phase["share"], phase["why"]) for phase in phases] == [
        (1, 0.5, None),
        (2, 0.6, None),
        (3, 0.6, "ramp"),
        (4, 1.0, None),
    ]
    assert [phase["concurrent_control"] for phase in phases] == [True, True, True, False]
    assert phases[-1]["weights"] == {"large": 0, "small": 1}


async def test_a_live_test_is_paused_resumed_and_stopped(client):
    await client.post(f"{CHAT}/live")
    paused = await client.post(f"{CHAT}/pause")
    assert (paused.status_code, paused.json()["state"], paused.json()["run"]) == (200, "paused", None)
    assert paused.json()["reason"] == "on request"
    limited = await client.post(f"{CHAT}/resume", json={"concurrency": 3})
    assert limited.status_code == 422
    assert "has neither concurrency nor budget" in limited.json()["detail"]
    assert (await client.post(f"{CHAT}/resume")).json()["state"] == "running"
    stopped = await client.post(f"{CHAT}/stop", json={"why": "enough"})
    assert (stopped.status_code, stopped.json()["state"]) == (200, "completed")
    assert [phase["kind"] for phase in stopped.json()["phases"]] == ["start", "stop"]
    assert (await client.post(f"{CHAT}/stop")).status_code == 409


async def test_a_live_test_is_cancelled_and_then_deleted(client):
    await client.post(f"{CHAT}/live")
    assert (await client.delete(CHAT)).status_code == 409
    assert (await client.post(f"{CHAT}/cancel")).json()["state"] == "cancelled"
    assert (await client.delete(CHAT)).status_code == 204
    assert (await client.get(f"{CHAT}/live")).status_code == 404


async def test_a_live_test_is_not_started_as_a_run_as_well(client):
    await client.post(f"{CHAT}/live")
    answer = await client.post(f"{CHAT}/start")
    assert answer.status_code == 409
    assert "it has been started already" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "nothing to change: give `share`, `weights` or both"),
        ({"why": "because"}, "nothing to change"),
        ({"weights": {"large": 1}}, "the weight of variant 'small' is missing; 0 gives it no units"),
        ({"weights": {"large": 1, "old": 1, "small": 1}}, "'old' is no variant of this test"),
        ({"weights": {"large": 0, "small": 0}}, "every weight is 0"),
        ({"weights": {"large": 1, "small": -1}}, "greater than or equal to 0"),
        ({"share": 1.01}, "less than or equal to 1"),
        ({"share": 0.5}, "split like that already"),
        ({"share": 0.6, "why": "a\x00b"}, "NUL character"),
        ({"shares": 0.6}, "Extra inputs are not permitted"),
    ],
)
async def test_traffic_that_cannot_be_is_refused_and_changes_nothing(client, change, said):
    before = (await client.post(f"{CHAT}/live")).json()
    answer = await client.put(f"{CHAT}/traffic", json=change)
    assert answer.status_code in (409, 422)
    assert said in answer.text
    assert (await client.get(f"{CHAT}/live")).json() == before


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "traffic"), ("POST", "stop"), ("POST", "pause"), ("GET", "live")]
)
async def test_a_draft_has_no_live_traffic(client, method, path):
    body = {"share": 0.1} if method == "PUT" else None
    answer = await client.request(method, f"{CHAT}/{path}", json=body)
    assert answer.status_code == (404 if method == "GET" else 409)
    assert "start" in answer.json()["detail"]
