"""Requests are counted by surface and class of status, whatever becomes of them."""

import pytest
from starlette.responses import PlainTextResponse

from tiebreak.infrastructure.middleware.metering import Metering
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics

SURFACES = {"/api/": "management", "/v1/": "gateway"}


def counted(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return {labels: series.value for labels, series in metrics.of(instruments.REQUESTS) if series.value}


async def ask(metrics: Metrics, path: str, app) -> None:
    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            in_flight = metrics.number(instruments.REQUESTS_IN_FLIGHT, "management").value
            assert in_flight == path.startswith("/api/")

    await Metering(app, metrics, SURFACES)({"type": "http", "method": "GET", "path": path}, receive, send)


@pytest.mark.parametrize(
    ("path", "status", "labels"),
    [
        ("/api/v1/tests", 200, ("management", "2xx")),
        ("/v1/chat/completions", 429, ("gateway", "4xx")),
        ("/metrics", 503, ("operations", "5xx")),
        ("/", 404, ("operations", "4xx")),
    ],
)
async def test_a_request_is_counted_once_where_it_belongs(path, status, labels):
    metrics = Metrics(instruments.ALL)
    await ask(metrics, path, PlainTextResponse("x", status))
    assert counted(metrics) == {labels: 1}
    assert all(series.value == 0 for _, series in metrics.of(instruments.REQUESTS_IN_FLIGHT))


async def test_one_that_ends_without_a_status_is_counted_as_cut():
    async def broken(scope, receive, send) -> None:
        raise RuntimeError("broken")

    metrics = Metrics(instruments.ALL)
    with pytest.raises(RuntimeError, match="broken"):
        await ask(metrics, "/api/v1/tests", broken)
    assert counted(metrics) == {("management", "cut"): 1}
    assert metrics.number(instruments.REQUESTS_IN_FLIGHT, "management").value == 0
