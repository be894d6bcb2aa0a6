"""A call whose answer goes on to somebody else as it came: the pipeline's attempts around bytes that nobody re-writes."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient, HttpRequest, HttpResponse
from tiebreak.providers import attempt
from tiebreak.providers.account import Account
from tiebreak.providers.gate import Attempt, Endpoint, Gate
from tiebreak.providers.model import ProviderError, Usage
from tiebreak.providers.retries import Retries
from tiebreak.providers.watch import Watch


class Relay:
    """Enter it once: `async with pipeline.relay(...) as relay`. It is tried again until an answer begins, never after.

    Inside the block `response` is a successful answer whose body is still arriving. Say `whole(usage)` when the last
    byte has come and made sense; who leaves without it, or with a `ProviderError`, says that the vendor failed, and any other
    exception, a cancellation included, says nothing about the vendor.

    Raises:
        ProviderError: on entry the last attempt's failure, `calls` counting all; later what broke the answer off.
    """

    __slots__ = (
        "_account",
        "_answer",
        "_attempt",
        "_began",
        "_clock",
        "_endpoint",
        "_gate",
        "_http",
        "_model",
        "_request",
        "_retries",
        "_told",
        "_watch",
        "calls",
        "response",
    )

    def __init__(
        self,
        account: Account,
        model: str,
        request: HttpRequest,
        *,
        endpoint: Endpoint,
        http: HttpClient,
        gate: Gate,
        watch: Watch,
        clock: Clock,
        retries: Retries,
    ) -> None:
        self._account = account
        self._model = model
        self._request = request
        self._endpoint = endpoint
        self._http = http
        self._gate = gate
        self._watch = watch
        self._clock = clock
        self._retries = retries
        self._attempt: Attempt | None = None
        self._answer: AbstractAsyncContextManager[HttpResponse] | None = None
        self._began = 0.0
        self._told = False
        self.calls = 0
        self.response: HttpResponse

    async def __aenter__(self) -> Self:
        while True:
            try:
                await self._begin()
            except ProviderError as error:
                if error.calls == 0:
                    self._watch.refused(self._account, self._model)
                await self._retries.wait(error)
            else:
                self.calls = self._retries.calls + 1
                return self

    async def _begin(self) -> None:
        admitted = self._gate.attempt(self._account, self._endpoint, self._model)
        await admitted.__aenter__()
        self._began = self._clock.monotonic()
        answer = attempt.answer(self._http, self._account, self._request, self._clock, admitted)
        try:
            self.response = await answer.__aenter__()
        except BaseException as error:  # also a cancellation: the slot must not stay taken
            if isinstance(error, ProviderError) and error.calls:
                self._tell(error)
            await admitted.__aexit__(type(error), error, error.__traceback__)
            raise
        self._attempt, self._answer = admitted, answer

    def _tell(self, error: ProviderError | None, usage: Usage | None = None) -> None:
        seconds, retry = self._clock.monotonic() - self._began, self._retries.calls > 0
        failure = None if error is None else error.failure
        self._watch.attempted(self._account, self._model, failure, seconds, usage, retry=retry)

    def whole(self, usage: Usage | None) -> None:
        """The answer is complete; `usage` is what it took, as far as the vendor said."""
        if self._attempt is not None and not self._told:
            self._told = True
            self._tell(None, usage)
            self._attempt.succeeded()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._attempt is not None
        assert self._answer is not None
        broken = error if isinstance(error, ProviderError) else None
        try:
            await self._answer.__aexit__(kind, error, trace)
        except ProviderError as exc:
            broken = exc
            raise
        finally:
            if broken is not None:
                broken.calls += self._retries.calls
                if not self._told:
                    self._told = True
                    self._tell(broken)
            if self._told and broken is None:
                await self._attempt.__aexit__(None, None, None)
            else:
                left = broken or error or GeneratorExit()
                await self._attempt.__aexit__(type(left), left, None)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        return self.response.chunks()
