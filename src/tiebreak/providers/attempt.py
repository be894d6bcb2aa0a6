"""One attempt at a call over HTTP, whatever the dialect: plain or streamed, measured."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Final, Protocol

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import (
    AddressRefused,
    ConnectFailed,
    HttpClient,
    HttpError,
    HttpRequest,
    HttpResponse,
    Stale,
    TimedOut,
    TooLarge,
    Truncated,
    Unreadable,
)
from tiebreak.providers.account import Account
from tiebreak.providers.adapters.adapter import StreamDecoder
from tiebreak.providers.adapters.events import EventReader
from tiebreak.providers.adapters.failures import incomplete
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.limits import rate_limits
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Failure,
    ProviderError,
    StaleConnection,
    StreamEnd,
    StreamEvent,
    TextDelta,
)
from tiebreak.providers.streams import Assembly, events_of

# How long a finished stream may take to close, so that its connection can be used again.
CLOSING_SECONDS: Final = 0.25

_FAILURES: Final[dict[type[HttpError], Failure]] = {
    AddressRefused: Failure.ADDRESS_REFUSED,
    ConnectFailed: Failure.CONNECTION,
    Truncated: Failure.CONNECTION,
    Stale: Failure.CONNECTION,
    TimedOut: Failure.TIMEOUT,
    TooLarge: Failure.MALFORMED,
    Unreadable: Failure.MALFORMED,
}


def _unreached(account: Account, error: HttpError) -> ProviderError:
    """A transport failure in the words of a call; a refused address, or a wait for one of our own connections, put
    nothing on the wire."""
    crowded = isinstance(error, TimedOut) and error.phase == "pool"
    failure = Failure.RATE_LIMITED if crowded else _FAILURES[type(error)]
    return (StaleConnection if isinstance(error, Stale) else ProviderError)(
        failure,
        f"provider {account.name!r}: {error}",
        calls=0 if failure is Failure.ADDRESS_REFUSED or crowded else 1,
    )


class Place(Protocol):
    """Who holds the place that an attempt takes."""

    def waited(self, seconds: float) -> None:
        """The attempt waited so long for a connection, because all were in use."""
        ...


@asynccontextmanager
async def answer(
    http: HttpClient, account: Account, outgoing: HttpRequest, clock: Clock, place: Place | None = None
) -> AsyncIterator[HttpResponse]:
    """A successful answer while the block runs; every failure on the way as a `ProviderError`."""
    try:
        async with http.send(outgoing) as response:
            if place is not None and response.waited:
                place.waited(response.waited)
            if not 200 <= response.status < 300:
                raise await _refused(account, response, clock)
            yield response
    except HttpError as exc:
        raise _unreached(account, exc) from exc


async def _refused(account: Account, response: HttpResponse, clock: Clock) -> ProviderError:
    try:
        body = await response.read()
    except HttpError:
        body = b""  # the status alone says enough
    adapter = adapter_of(account.dialect)
    return adapter.failure(account, response.status, response.headers, body, clock.now())


def _is_stream(response: HttpResponse) -> bool:
    return "event-stream" in response.headers.get("content-type", "")


async def call(
    http: HttpClient, account: Account, request: ChatRequest, clock: Clock, place: Place | None = None
) -> ChatResponse:
    """One attempt at a chat completion, streamed on the wire if the request says so.

    Raises:
        ProviderError: whatever went wrong, by whose fault it was.
    """
    adapter = adapter_of(account.dialect)
    outgoing = adapter.encode(account, request)
    began = clock.monotonic()
    async with answer(http, account, outgoing, clock, place) as response:
        stated = rate_limits(response.headers, clock.now())
        if request.stream and _is_stream(response):
            decoder = adapter.stream(account, request)
            whole = await _assembled(account, decoder, response, began, clock)
        else:
            body = await response.read()
            whole = adapter.decode(account, request, body, clock.monotonic() - began)
    return whole if stated is None else replace(whole, limits=stated)


async def stream(
    http: HttpClient, account: Account, request: ChatRequest, clock: Clock, place: Place | None = None
) -> AsyncGenerator[StreamEvent, None]:
    """One attempt, event by event; the last is `StreamEnd`, and without it the answer is not whole. Close the iterator
    (`contextlib.aclosing`) to leave early: that closes the connection, which is used again after an answer read to its
    end.

    Raises:
        ProviderError: whatever went wrong, before the first event or after some.
    """
    adapter = adapter_of(account.dialect)
    outgoing = adapter.encode(account, request)
    began = clock.monotonic()
    async with answer(http, account, outgoing, clock, place) as response:
        if not _is_stream(response):
            body = await response.read()
            for event in events_of(adapter.decode(account, request, body, clock.monotonic() - began)):
                yield event
            return
        async with aclosing(_events(account, adapter.stream(account, request), response)) as events:
            async for event in events:
                yield event


async def _events(
    account: Account, decoder: StreamDecoder, response: HttpResponse
) -> AsyncGenerator[StreamEvent, None]:
    """The events of a streamed answer up to and with its end, after which the connection is of use again."""
    reader = EventReader()
    pieces = 0
    try:
        async for chunk in response.chunks():
            for data in reader.feed(chunk):
                for event in decoder.take(data):
                    pieces += isinstance(event, TextDelta)
                    yield event
                    if isinstance(event, StreamEnd):
                        await response.drain(CLOSING_SECONDS)
                        return
    except Truncated as exc:
        raise incomplete(account, str(exc), pieces) from exc
    for data in reader.finish():
        for event in decoder.take(data):
            yield event
            if isinstance(event, StreamEnd):
                return
    for event in decoder.finish():
        yield event


async def _assembled(
    account: Account, decoder: StreamDecoder, response: HttpResponse, began: float, clock: Clock
) -> ChatResponse:
    """A streamed answer as one."""
    assembly, whole = Assembly(clock), None
    async with aclosing(_events(account, decoder, response)) as events:
        async for event in events:
            if isinstance(event, StreamEnd):
                whole = assembly.answer(event, began)  # timed before the body is let run out
            else:
                assembly.add(event)
    if whole is None:
        raise incomplete(account, "it ended without its end")
    return whole


async def embed(
    http: HttpClient,
    account: Account,
    request: EmbeddingRequest,
    clock: Clock,
    place: Place | None = None,
) -> EmbeddingResponse:
    """One attempt at vectors for texts.

    Raises:
        ProviderError: as for `call`.
    """
    adapter = adapter_of(account.dialect)
    outgoing = adapter.encode_embeddings(account, request)
    began = clock.monotonic()
    async with answer(http, account, outgoing, clock, place) as response:
        stated = rate_limits(response.headers, clock.now())
        body = await response.read()
    vectors = adapter.decode_embeddings(account, request, body, clock.monotonic() - began)
    return vectors if stated is None else replace(vectors, limits=stated)


async def models(http: HttpClient, account: Account, clock: Clock) -> list[str]:
    """The names of the models the account reaches.

    Raises:
        ProviderError: as for `call`.
    """
    adapter = adapter_of(account.dialect)
    async with answer(http, account, adapter.encode_models(account), clock) as response:
        body = await response.read()
    return adapter.decode_models(account, body)
