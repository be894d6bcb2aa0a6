"""The OpenAI-compatible dialect over HTTP: one attempt, plain or streamed, measured."""

from typing import Final

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
from tiebreak.providers.adapters import openai_wire as wire
from tiebreak.providers.adapters.events import EventReader
from tiebreak.providers.model import Account, ChatRequest, ChatResponse, Failure, ProviderError, Usage

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


class StaleConnection(ProviderError):
    """The vendor had closed the connection as idle; the request may be sent again at once."""


def _unreached(account: Account, error: HttpError) -> ProviderError:
    """A transport failure in the words of a call; a refused address put nothing on the wire."""
    failure = _FAILURES[type(error)]
    return (StaleConnection if isinstance(error, Stale) else ProviderError)(
        failure,
        f"provider {account.name!r}: {error}",
        calls=0 if failure is Failure.ADDRESS_REFUSED else 1,
    )


async def call(http: HttpClient, account: Account, request: ChatRequest, clock: Clock) -> ChatResponse:
    """One attempt at a chat completion.

    Raises:
        ProviderError: whatever went wrong, by whose fault it was.
    """
    outgoing = wire.encode(account, request)
    began = clock.monotonic()
    try:
        async with http.send(outgoing) as response:
            if not 200 <= response.status < 300:
                raise await _refused(account, response, clock)
            if request.stream and "event-stream" in response.headers.get("content-type", ""):
                return await _streamed(account, request, response, began, clock)
            body = await response.read()
    except HttpError as exc:
        raise _unreached(account, exc) from exc
    return wire.decode(account, request, body, clock.monotonic() - began)


async def models(http: HttpClient, account: Account, clock: Clock) -> list[str]:
    """The names of the models the account reaches.

    Raises:
        ProviderError: as for `call`.
    """
    outgoing: HttpRequest = wire.encode_models(account)
    try:
        async with http.send(outgoing) as response:
            if not 200 <= response.status < 300:
                raise await _refused(account, response, clock)
            body = await response.read()
    except HttpError as exc:
        raise _unreached(account, exc) from exc
    return wire.decode_models(account, body)


async def _refused(account: Account, response: HttpResponse, clock: Clock) -> ProviderError:
    try:
        body = await response.read()
    except HttpError:
        body = b""  # the status alone says enough
    return wire.error_of(account, response.status, response.headers, body, clock.now())


async def _streamed(
    account: Account, request: ChatRequest, response: HttpResponse, began: float, clock: Clock
) -> ChatResponse:
    """A streamed answer; complete only with a finish reason and the end mark."""
    stream = _Stream(account, request, clock)
    reader = EventReader()
    try:
        async for piece in response.chunks():
            if stream.take(reader.feed(piece)):
                break
        else:
            stream.take(reader.finish())
    except Truncated as exc:
        raise stream.cut(str(exc)) from exc
    answer = stream.answer(began)
    await response.drain(CLOSING_SECONDS)
    return answer


class _Stream:
    """What the events of one streamed answer add up to."""

    def __init__(self, account: Account, request: ChatRequest, clock: Clock) -> None:
        self._account = account
        self._request = request
        self._clock = clock
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._reason: str | None = None
        self._model: str | None = None
        self._usage: Usage | None = None
        self._first: float | None = None
        self._done = False

    def take(self, events: list[bytes]) -> bool:
        """Add events; True when the end mark has come."""
        for data in events:
            if data == wire.DONE:
                self._done = True
                return True
            self._add(data)
        return False

    def _add(self, data: bytes) -> None:
        chunk = wire.decode_chunk(self._account, data)
        self._model = chunk.model or self._model
        self._usage = wire.usage_of(bytes(chunk.usage)) or self._usage
        for choice in chunk.choices:
            if choice.index != 0:
                continue
            self._reason = choice.finish_reason or self._reason
            if choice.delta is None:
                continue
            if choice.delta.content:
                if self._first is None:
                    self._first = self._clock.monotonic()
                self._text.append(choice.delta.content)
            if choice.delta.refusal:
                self._refusal.append(choice.delta.refusal)

    def cut(self, how: str) -> ProviderError:
        """The stream stopped before it said that it was complete."""
        return ProviderError(
            Failure.MALFORMED,
            f"provider {self._account.name!r}: the stream is incomplete after {len(self._text)} pieces of text: {how}",
        )

    def answer(self, began: float) -> ChatResponse:
        """The whole answer.

        Raises:
            ProviderError: it is not whole.
        """
        if not self._done:
            raise self.cut("it closed without [DONE]")
        if self._reason is None:
            raise self.cut("it has no finish_reason")
        text, reason = wire.finished("".join(self._text), "".join(self._refusal), self._reason)
        return ChatResponse(
            text=text,
            finish_reason=reason,
            model=wire.storable(self._model or self._request.model),
            usage=self._usage,
            latency=self._clock.monotonic() - began,
            first_token=None if self._first is None else self._first - began,
        )
