"""Every command speaks HTTP: to `--url`, else to the server on the data folder, else to the app in this process."""

import argparse
import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import uvloop

from tiebreak.auth.files import find_owner_key
from tiebreak.auth.keys import KeyText, owner, parse
from tiebreak.errors import (
    Conflict,
    Fault,
    InvalidInput,
    NotFound,
    PayloadTooLarge,
    Refused,
    TiebreakError,
    Unauthenticated,
    Unavailable,
    UnsupportedMedia,
)
from tiebreak.infrastructure.connections.private_postgres import resolve_home
from tiebreak.infrastructure.telemetry import logs
from tiebreak.settings import Settings
from tiebreak.supervisor.announcement import Announcement, instance_at

if TYPE_CHECKING:
    from tiebreak.app import Parts

IN_PROCESS_URL = "http://localhost"  # port 80, which the Host header leaves out
TIMEOUT = httpx2.Timeout(10.0, read=120.0, write=120.0)  # seconds; an upload is parsed before it is answered
PAGE_SIZE = 100
BY_STATUS: dict[int, type[TiebreakError]] = {
    401: Unauthenticated,
    403: Refused,
    404: NotFound,
    409: Conflict,
    413: PayloadTooLarge,
    415: UnsupportedMedia,
}


class Connection:
    """The API, wherever it runs. Answers are the API's JSON documents.

    `url` is where a person can open the server, None in this process; there `parts` are what the app uses.
    """

    def __init__(self, client: httpx2.AsyncClient, url: str | None, parts: "Parts | None" = None) -> None:
        self._client = client
        self.url = url
        self.parts = parts

    async def get(self, path: str, **query: str | int | None) -> Any:
        """The document at `path` under /api/v1.

        Raises:
            TiebreakError: what the API answered, or that nothing answered.
        """
        return await self._call("GET", path, query=query)

    async def send(self, method: str, path: str, document: Any = None, **query: str | None) -> Any:
        """Send a JSON document (none: an empty body); gives the answer's document, None when it has none."""
        if document is None:
            return await self._call(method, path, query=query)
        body = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
        return await self._call(method, path, content=body, kind="application/json", query=query)

    async def upload(self, path: str, file: Path, kind: str, **query: str | None) -> Any:
        """Stream a file as the body."""

        async def chunks() -> AsyncIterator[bytes]:
            with await asyncio.to_thread(file.open, "rb") as stream:
                while chunk := await asyncio.to_thread(stream.read, 2**18):
                    yield chunk

        try:
            return await self._call("POST", path, content=chunks(), kind=kind, query=query)
        except OSError as exc:
            raise InvalidInput(f"{file} cannot be read: {exc.strerror}") from exc

    async def pages(self, path: str, **query: str | None) -> AsyncIterator[dict[str, Any]]:
        """Every row of a list, page after page."""
        cursor: str | None = None
        while True:
            page = await self.get(path, limit=PAGE_SIZE, cursor=cursor, **query)
            for row in page["data"]:
                yield row
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def _call(
        self,
        method: str,
        path: str,
        *,
        content: bytes | AsyncIterator[bytes] | None = None,
        kind: str | None = None,
        query: Mapping[str, str | int | None] | None = None,
    ) -> Any:
        try:
            response = await self._client.request(
                method,
                f"/api/v1{path}",
                content=content,
                headers={} if kind is None else {"Content-Type": kind},
                params={name: value for name, value in (query or {}).items() if value is not None},
            )
        except httpx2.TransportError as exc:
            where = self.url or "the app in this process"
            raise Unavailable(
                f"{where} does not answer ({str(exc) or type(exc).__name__}); is it running?"
            ) from exc
        document = _document(response)
        if response.is_success:
            return document
        raise error_of(response.status_code, document)


def _document(response: httpx2.Response) -> Any:
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError as exc:
        raise Unavailable(
            f"{response.url.host} answered {response.status_code} with something that is not JSON; is it a Tiebreak?"
        ) from exc


def error_of(status: int, document: Any) -> TiebreakError:
    """The error a problem document tells of, in our own tree."""
    problem = document if isinstance(document, dict) else {}
    faults = [
        Fault(fault["pointer"], fault["detail"], fault.get("line"), fault.get("column"))
        for fault in problem.get("errors", [])
    ]
    kind = BY_STATUS.get(status, InvalidInput if status < 500 else Unavailable)
    return kind(str(problem.get("detail", f"the server answered {status}")), faults=faults)


@asynccontextmanager
async def connect(settings: Settings, url: str | None) -> AsyncIterator[Connection]:
    """Find the API and speak to it.

    Raises:
        InvalidInput: `url` is none.
        TiebreakError: the app in this process cannot start.
    """
    key = _own_key(settings)
    if url is not None:
        url = _checked(url)
    else:
        url = await asyncio.to_thread(running_server, settings)
        # The owner's key is for the data folder's own server: an address that somebody names never gets it.
        key = key or await asyncio.to_thread(_owner, settings, url)
    async with AsyncExitStack() as opened:
        parts = None
        transport: httpx2.AsyncBaseTransport
        if url is not None:
            transport = httpx2.AsyncHTTPTransport(retries=0)
        else:
            from tiebreak.app import create_app

            app = create_app(settings, port=80, owner=key if settings.api_key is None else None)
            await opened.enter_async_context(app.router.lifespan_context(app))
            parts = app.state.parts
            transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        client = httpx2.AsyncClient(
            transport=transport,
            base_url=url or IN_PROCESS_URL,
            timeout=TIMEOUT,
            trust_env=False,
            headers={} if key is None else {"Authorization": f"Bearer {key.text}"},
        )
        await opened.enter_async_context(client)
        yield Connection(client, url, parts)


def _own_key(settings: Settings) -> KeyText | None:
    if settings.api_key is None:
        return None
    key = parse(settings.api_key.get_secret_value().strip())
    if key is None:
        raise InvalidInput(
            "TIEBREAK_API_KEY holds no API key: one reads tb_, 8 characters, _, 43 characters; unset it to work as this "
            "machine's owner"
        )
    return key


def _owner(settings: Settings, url: str | None) -> KeyText | None:
    """The key of this machine's owner: the running server's, or one that the app in this process is given."""
    return owner(secrets.token_bytes) if url is None else find_owner_key(resolve_home(settings.home))


def _checked(url: str) -> str:
    try:
        place = httpx2.URL(url)
    except httpx2.InvalidURL as exc:
        raise InvalidInput(f"--url {url!r} is no URL ({exc}); write http://127.0.0.1:8321") from exc
    if place.scheme not in ("http", "https") or not place.host:
        raise InvalidInput(f"--url {url!r} is no URL of a server; write http://127.0.0.1:8321")
    return url.rstrip("/")


def running_server(settings: Settings) -> str | None:
    """The URL of the server on the data folder, if it answers; what a dead one left behind is ignored."""
    announced = Announcement.read(resolve_home(settings.home))
    if announced is None or instance_at(announced.url) != announced.instance:
        return None
    return announced.url


def converse(options: argparse.Namespace, action: Callable[[Connection], Awaitable[int]]) -> int:
    """Run one command's conversation with the API; gives its exit code."""
    logs.configure("warning")
    settings = Settings.read()

    async def whole() -> int:
        async with connect(settings, options.url) as api:
            return await action(api)

    return uvloop.run(whole())
