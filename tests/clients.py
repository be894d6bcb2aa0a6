"""The two HTTP clients that stand under one contract, for tests that hold for both."""

from typing import Any

import pytest

from tiebreak.infrastructure.connections.aiohttp_client import AiohttpClient
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest
from tiebreak.infrastructure.connections.http1_client import Http1Client

ClientType = type[AiohttpClient] | type[Http1Client]

both_clients = pytest.mark.parametrize("client_type", [AiohttpClient, Http1Client], ids=["aiohttp", "ours"])


def get(url: str, headers: dict[str, str] | None = None, **changes: Any) -> HttpRequest:
    return HttpRequest("GET", url, headers or {}, **changes)


def post(url: str, body: bytes = b"{}", **changes: Any) -> HttpRequest:
    return HttpRequest("POST", url, {"x-asked": "yes"}, body, **changes)


async def read(client: HttpClient, request: HttpRequest) -> bytes:
    async with client.send(request) as response:
        return await response.read()
