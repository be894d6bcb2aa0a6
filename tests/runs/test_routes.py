"""`/api/v1/runs` and the lifecycle of tests, over a real database and, for streams, a real server."""

import asyncio
import json
import socket
from contextlib import asynccontextmanager

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from tests.clocks import ManualClock
from tests.runs.stage import (
    CLOCK,
    add_dataset,
    add_provider,
    add_test,
    set_stage,
    until,
    vendor,
    working,
)

from tiebreak.errors import Unavailable
from tiebreak.experiments import routes as experiment_routes
from tiebreak.infrastructure.rest import problems
from tiebreak.runs import events, routes, service
from tiebreak.runs.model import RunState

NOBODY = "01890000-0000-7000-8000-000000000000"  # a UUIDv7 that no run has


@pytest.fixture
def app(database) -> FastAPI:
    made = FastAPI()
    problems.install(made)
    made.include_router(experiment_routes.build_router(database=database))
    made.include_router(routes.build_router(database=database, clock=CLOCK))
    made.include_router(routes.build_lifecycle_router(database=database, clock=CLOCK))
    return made


@pytest.fixture
async def api(app):
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://test") as client:
        yield client


@asynccontextmanager
async def served(app):
    """The app behind a real server; gives its base URL."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=2))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        async with asyncio.timeout(10):
            await task
        listening.close()


@pytest.fixture
async def draft(database):
    await add_dataset(database)
    await add_provider(database)
    return await add_test(database)


async def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


async def test_a_test_is_started_by_creating_a_run_of_it(api, draft):
    body = {"test": draft.slug, "concurrency": 3, "budget": {"max_requests": 9}}
    made = await ok(await api.post("/api/v1/runs", json=body), 201)
    shown = await ok(await api.get(f"/api/v1/runs/{made['id']}"))
    assert {**shown, "active_seconds": 0} == {**made, "active_seconds": 0}
    assert made["test"] == str(draft.id)
    assert (made["state"], made["total"], made["done"], made["concurrency"]) == ("running", 12, 0, 3)
    assert made["budget"] == {"max_cost": None, "max_requests": 9, "max_seconds": None}
    assert made["spend"] == {"amount": 0.0, "currency": "USD", "calls": 0, "tokens": 0}
    assert made["variants"] == ["small", "large"]
    test = await ok(await api.get(f"/api/v1/tests/{draft.slug}"))
    assert test["state"] == "running"


async def test_a_start_is_repeated_safely_under_one_key(api, draft):
    first, again = [
        await api.post("/api/v1/runs", json={"test": draft.slug}, headers={"Idempotency-Key": "once"})
        for _ in range(2)
    ]
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert (await api.post("/api/v1/runs", json={"test": draft.slug})).status_code == 409


async def test_the_lifecycle_of_a_test_acts_on_its_run(api, draft):
    base = f"/api/v1/tests/{draft.slug}"
    refused = await api.post(f"{base}/pause")
    assert (refused.status_code, "start it first" in refused.json()["detail"]) == (409, True)
    started = await ok(await api.post(f"{base}/start", json={"concurrency": 2}), 201)
    assert (started["id"], started["slug"], started["state"]) == (str(draft.id), draft.slug, "running")
    assert started["run"]["concurrency"] == 2
    paused = await ok(await api.post(f"{base}/pause"))
    assert (paused["state"], paused["reason"], paused["run"]["state"]) == ("paused", "on request", "paused")
    resumed = await ok(await api.post(f"{base}/resume", json={"budget": {"max_requests": 5}}))
    assert (resumed["state"], resumed["reason"]) == ("running", None)
    assert resumed["run"]["budget"]["max_requests"] == 5
    assert (await ok(await api.post(f"{base}/pause")))["state"] == "paused"
    assert (await ok(await api.post(f"{base}/resume")))["state"] == "running"
    cancelled = await ok(await api.post(f"{base}/cancel"))
    assert (cancelled["state"], cancelled["run"]["ended_at"] is not None) == ("cancelled", True)
    assert (await api.post(f"{base}/start")).status_code == 409


async def test_a_start_without_a_body_takes_the_definitions_limits(api, draft):
    started = await ok(await api.post(f"/api/v1/tests/{draft.id}/start"), 201)
    assert started["run"]["concurrency"] == 8


async def test_the_steps_of_a_run(api, draft):
    made = await ok(await api.post("/api/v1/runs", json={"test": draft.slug}), 201)
    base = f"/api/v1/runs/{made['id']}"
    assert (await ok(await api.post(f"{base}/pause")))["state"] == "paused"
    changed = await ok(await api.patch(base, json={"concurrency": 5, "budget": {"max_seconds": 60}}))
    assert (changed["concurrency"], changed["budget"]["max_seconds"]) == (5, 60)
    resumed = await ok(await api.post(f"{base}/resume", json={"budget": {"max_seconds": None}}))
    assert (resumed["state"], resumed["budget"]["max_seconds"], resumed["concurrency"]) == (
        "running",
        None,
        5,
    )
    assert (await ok(await api.post(f"{base}/pause")))["state"] == "paused"
    assert (await ok(await api.post(f"{base}/resume")))["state"] == "running"
    assert (await ok(await api.post(f"{base}/cancel")))["state"] == "cancelled"
    again = await api.post(f"{base}/pause")
    assert (again.status_code, again.json()["type"]) == (409, "urn:tiebreak:problem:illegal_transition")


async def test_what_cannot_be_started_is_named_with_its_place(api, database, draft):
    bad = await add_test(database, dataset="nothing")
    answer = await api.post("/api/v1/runs", json={"test": bad.slug})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/dataset"


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/v1/runs", {"test": "nothing"}, 404),
        ("POST", "/api/v1/runs", {"test": "a\x00b"}, 422),
        ("POST", "/api/v1/runs", {"test": "x", "more": 1}, 422),
        ("POST", "/api/v1/runs", {"test": "x", "concurrency": 0}, 422),
        ("POST", "/api/v1/runs", {"test": "x", "budget": {"max_cost": -1}}, 422),
        ("POST", "/api/v1/runs", {"test": "x", "budget": {"max_requests": 2**60}}, 422),
        ("POST", "/api/v1/tests/nothing/start", None, 404),
        ("POST", "/api/v1/tests/nothing/pause", None, 404),
        ("GET", f"/api/v1/runs/{NOBODY}", None, 404),
        ("GET", f"/api/v1/runs/{NOBODY}/tasks", None, 404),
        ("GET", f"/api/v1/runs/{NOBODY}/events", None, 404),
        ("PATCH", f"/api/v1/runs/{NOBODY}", {}, 404),
        ("GET", "/api/v1/runs/none", None, 422),
        ("GET", "/api/v1/runs?test=nothing", None, 404),
        ("GET", "/api/v1/runs?test=%00", None, 422),
        ("GET", "/api/v1/runs?definition=%00", None, 422),
        ("GET", "/api/v1/runs?state=odd", None, 422),
        ("GET", "/api/v1/runs?cursor=!", None, 422),
    ],
)
async def test_bad_requests_are_problems(api, method, path, body, status):
    answer = await api.request(method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_runs_are_listed_and_filtered(api, database, draft):
    first = await ok(await api.post("/api/v1/runs", json={"test": draft.slug}), 201)
    other = await add_test(database)
    second = await ok(await api.post("/api/v1/runs", json={"test": other.slug}), 201)
    await api.post(f"/api/v1/runs/{second['id']}/cancel")

    async def ids(**query):
        return [run["id"] for run in (await ok(await api.get("/api/v1/runs", params=query)))["data"]]

    assert await ids() == [first["id"], second["id"]]
    assert await ids(test=other.slug) == [second["id"]]
    assert await ids(definition=draft.definition_hash, dataset="c" * 64, unfinished=True) == [first["id"]]
    assert await ids(state="cancelled") == [second["id"]]
    page = await ok(await api.get("/api/v1/runs", params={"limit": 1}))
    rest = await ok(await api.get("/api/v1/runs", params={"limit": 1, "cursor": page["next_cursor"]}))
    assert [page["data"][0]["id"], rest["data"][0]["id"]] == [first["id"], second["id"]]
    assert rest["next_cursor"] is None


async def test_transcripts_are_paged(api, database):
    async with vendor(wrong="small") as server, working(database):
        run = await set_stage(database, server.url, items=3, repeats=2)
        await until(database, run, RunState.COMPLETED)
    seen, cursor = [], None
    while True:
        query = {"limit": 5} | ({"cursor": cursor} if cursor else {})
        page = await ok(await api.get(f"/api/v1/runs/{run.id}/tasks", params=query))
        seen += page["data"]
        if (cursor := page["next_cursor"]) is None:
            break
    places = [(t["item"], t["variant"], t["repeat"]) for t in seen]
    assert places == [(f"item-{n}", v, r) for n in range(3) for v in ("small", "large") for r in range(2)]
    task = seen[2]
    assert (task["text"], task["expected"], task["model"]) == ("It is 1", "1", "large")
    assert task["scores"] == {"correct": {"value": 1.0, "reason": None}}
    assert (task["calls"], task["input_tokens"], task["output_tokens"]) == (1, 7, 3)
    assert task["latency_ms"] > 0
    queued = await ok(await api.get(f"/api/v1/runs/{run.id}/tasks", params={"state": "queued"}))
    assert queued["data"] == []


def parsed(stream: str) -> list[tuple[str, dict]]:
    found = []
    for block in stream.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], {"id": int(fields["id"])} | {"run": json.loads(fields["data"])}))
    return found


async def test_progress_is_streamed_until_the_end(app, database):
    async with vendor(0.03) as server, working(database), served(app) as url:
        run = await set_stage(database, server.url, items=30)
        async with httpx2.AsyncClient(timeout=30) as client:
            answer = await client.get(f"{url}/api/v1/runs/{run.id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    seen = parsed(answer.text)
    assert {name for name, _ in seen[:-1]} == {"progress"}
    assert seen[-1][0] == "end"
    assert [event["id"] for _, event in seen] == list(range(1, len(seen) + 1))
    done = [event["run"]["done"] for _, event in seen]
    assert done == sorted(done)
    assert len(done) > 2
    assert (done[-1], seen[-1][1]["run"]["state"]) == (60, "completed")


async def test_a_client_that_leaves_frees_its_stream(database, draft):
    async with database.transaction() as tx:
        run = await service.start(tx, draft, at=CLOCK.now())
    streams = events.ProgressStreams(database, CLOCK)

    async def endpoint(_):
        return StreamingResponse(streams.follow(run.id), media_type="text/event-stream")

    async with (
        served(Starlette(routes=[Route("/", endpoint)])) as url,
        httpx2.AsyncClient(timeout=30) as client,
        client.stream("GET", url) as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "event: progress":
                break
        assert streams.open == 1
        await answer.aclose()
        async with asyncio.timeout(5):
            while streams.open:
                await asyncio.sleep(0.02)


async def test_a_stream_counts_while_it_is_open(database, draft):
    async with database.transaction() as tx:
        run = await service.start(tx, draft, at=CLOCK.now())
    clock = ManualClock()
    streams = events.ProgressStreams(database, clock)
    stream = streams.follow(run.id)
    assert await anext(stream) == b"retry: 2000\n\n"
    assert streams.open == 1
    assert b"event: progress" in await anext(stream)
    assert await anext(stream) == b": nothing new\n\n"
    assert clock.elapsed == pytest.approx(events.QUIET)
    assert clock.sleeps == [events.PERIOD] * len(clock.sleeps)
    await stream.aclose()
    assert streams.open == 0


async def test_a_stream_of_a_deleted_run_stops(database, draft):
    async with database.transaction() as tx:
        run = await service.start(tx, draft, at=CLOCK.now())
    streams = events.ProgressStreams(database, ManualClock())
    stream = streams.follow(run.id)
    assert [await anext(stream), b"progress" in await anext(stream)] == [b"retry: 2000\n\n", True]
    await (await database.pool()).execute("delete from tests")
    assert [piece async for piece in stream] == []
    assert streams.open == 0


async def test_streams_are_bounded(database):
    streams = events.ProgressStreams(database, CLOCK)
    streams.require_room()
    streams.open = events.MOST_STREAMS
    with pytest.raises(Unavailable, match="100 progress streams are open"):
        streams.require_room()


def test_creating_calls_link_to_what_they_made(app):
    paths = app.openapi()["paths"]
    links = paths["/api/v1/runs"]["post"]["responses"]["201"]["links"]
    assert links["get_run"] == {"operationId": "get_run", "parameters": {"run_id": "$response.body#/id"}}
    operations = {operation["operationId"] for path in paths.values() for operation in path.values()}
    linked = {**links, **paths["/api/v1/tests/{test_id}/start"]["post"]["responses"]["201"]["links"]}
    assert {link["operationId"] for link in linked.values()} <= operations
