"""Several requests in one call: several samples of one chat, several texts in one call for vectors.

Requests go together only within one scope, account and credential, and only where one call gives each of them what a call
of its own would have: an independent draw, or its own texts' vectors. What a call costs is divided among them to the token.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

from tiebreak.clock import Clock
from tiebreak.infrastructure.resilience.batching import Batcher, BatchLimits
from tiebreak.infrastructure.resilience.failures import own_copy
from tiebreak.providers.account import Account
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Failure,
    Origin,
    ProviderError,
    Sample,
    Usage,
)

MOST_INPUTS: Final = 96  # texts in one call; Google takes the fewest, 100
MOST_REMEMBERED: Final = 1000

Q = TypeVar("Q")
R = TypeVar("R", ChatResponse, EmbeddingResponse)
ChatCall = Callable[[Account, ChatRequest], Awaitable[ChatResponse]]
EmbeddingCall = Callable[[Account, EmbeddingRequest], Awaitable[EmbeddingResponse]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What may go together: `name` holds scope, account and all of the request that must be equal."""

    name: str
    account: Account


def share_out(total: int, weights: Sequence[int]) -> list[int]:
    """Whole parts in proportion to the weights that add up to the total; what is left over goes to the first."""
    whole = sum(weights)
    if whole == 0:
        weights, whole = [1] * len(weights), len(weights)
    parts = [total * weight // whole for weight in weights]
    parts[0] += total - sum(parts)
    return parts


def _divided(usage: Usage | None, weights: Sequence[int]) -> list[Usage | None]:
    """Each one's part of what a call took."""
    if usage is None:
        return [None] * len(weights)

    def parts(total: int, among: int | None) -> list[tuple[int, int | None]]:
        """Parts of a total and of what is among it, which stays among it in each: prices may differ."""
        if among is None:
            return [(part, None) for part in share_out(total, weights)]
        rest, inner = share_out(total - among, weights), share_out(among, weights)
        return [(other + part, part) for other, part in zip(rest, inner, strict=True)]

    inputs = parts(usage.input_tokens, usage.cached_tokens)
    outputs = parts(usage.output_tokens, usage.reasoning_tokens)
    return [
        Usage(taken, given, cached, reasoning)
        for (taken, cached), (given, reasoning) in zip(inputs, outputs, strict=True)
    ]


def samples_apart(response: ChatResponse, asked: int) -> list[ChatResponse]:
    """A call's samples as answers of their own, at most as many as were asked for; the vendor may give fewer.

    Each one's usage is the whole prompt and its part of the output, as a call of its own would have taken; billed is its part
    of both. The first one made the call.
    """
    samples = response.samples[:asked]
    billed = _divided(response.usage, [1] * len(samples))
    return [
        _sample(response, sample, share, first=place == 0)
        for place, (sample, share) in enumerate(zip(samples, billed, strict=True))
    ]


def _sample(response: ChatResponse, sample: Sample, billed: Usage | None, *, first: bool) -> ChatResponse:
    whole = response.usage
    own = None
    if whole is not None and billed is not None:
        own = replace(billed, input_tokens=whole.input_tokens, cached_tokens=whole.cached_tokens)
    return replace(
        response,
        text=sample.text,
        finish_reason=sample.finish_reason,
        tool_calls=sample.tool_calls,
        vendor_reason=sample.vendor_reason,
        further=(),
        usage=own,
        billed=billed,
        calls=response.calls if first else 0,
        origin=Origin.BATCH,
    )


def vectors_apart(
    response: EmbeddingResponse, requests: Sequence[EmbeddingRequest]
) -> list[EmbeddingResponse]:
    """A call's vectors as answers of their own; tokens are divided by the lengths of the texts."""
    shares = _divided(response.usage, [sum(map(len, request.inputs)) for request in requests])
    answers, begin = [], 0
    for place, (request, share) in enumerate(zip(requests, shares, strict=True)):
        end = begin + len(request.inputs)
        answers.append(
            replace(
                response,
                vectors=response.vectors[begin:end],
                usage=share,
                calls=response.calls if place == 0 else 0,
                origin=Origin.BATCH,
            )
        )
        begin = end
    return answers


def _loads(requests: Sequence[EmbeddingRequest]) -> Iterator[list[EmbeddingRequest]]:
    """The requests in order, in groups of at most `MOST_INPUTS` texts; one with more goes alone."""
    load: list[EmbeddingRequest] = []
    for request in requests:
        if load and sum(len(each.inputs) for each in load) + len(request.inputs) > MOST_INPUTS:
            yield load
            load = []
        load.append(request)
    if load:
        yield load


class Merging:
    """Merges what comes at the same time, within the batch configuration of its account.

    A call that the vendor refuses as written is made again for each request on its own, so that one bad text or a model
    without several samples harms nobody else. Every call on the wire is counted by one request, the first in it. Belongs to
    one event loop; `close` ends what is under way.
    """

    def __init__(self, chat: ChatCall, embed: EmbeddingCall, clock: Clock) -> None:
        self._chat = chat
        self._embed = embed
        self._samples: Batcher[_Kind, ChatRequest, ChatResponse] = Batcher(self._send_samples, clock)
        self._texts: Batcher[_Kind, EmbeddingRequest, EmbeddingResponse] = Batcher(self._send_texts, clock)
        # Models that refused several samples at once: a call saved for each later batch.
        self._one_by_one: OrderedDict[tuple[UUID, str], None] = OrderedDict()

    async def close(self) -> None:
        """Stop what is gathered and under way; those who wait get `CallStopped`."""
        await self._samples.close()
        await self._texts.close()

    async def sample(self, name: str, account: Account, request: ChatRequest) -> ChatResponse:
        """One sample, perhaps from a call with those that come at the same time under the same name."""
        config = account.service.batch_config
        most = min(config.max_batch_size, adapter_of(account.dialect).samples(account))
        if most < 2 or (account.provider_id, request.model) in self._one_by_one:
            return await self._chat(account, request)
        limits = BatchLimits(most, config.batch_timeout_ms)
        return (await self._samples.submit(_Kind(name, account), request, limits)).value

    async def texts(self, name: str, account: Account, request: EmbeddingRequest) -> EmbeddingResponse:
        """Vectors, perhaps from a call with other texts for the same model under the same name."""
        config = account.service.batch_config
        if config.max_batch_size < 2 or len(request.inputs) > MOST_INPUTS // 2:
            return await self._embed(account, request)
        limits = BatchLimits(config.max_batch_size, config.batch_timeout_ms)
        return (await self._texts.submit(_Kind(name, account), request, limits)).value

    async def _send_samples(
        self, kind: _Kind, requests: Sequence[ChatRequest]
    ) -> list[ChatResponse | Exception]:
        count, request = len(requests), requests[0]
        if count == 1:
            return [await self._chat(kind.account, request)]
        try:
            response = await self._chat(kind.account, replace(request, n=count))
        except ProviderError as exc:
            if exc.failure is not Failure.BAD_REQUEST:
                return [*_failed(exc, count)]
            return await self._one_first(kind.account, requests, exc.calls)
        answers: list[ChatResponse | Exception] = [*samples_apart(response, count)]
        return answers + await _each(self._chat, kind.account, requests[len(answers) :])

    async def _one_first(
        self, account: Account, requests: Sequence[ChatRequest], refused: int
    ) -> list[ChatResponse | Exception]:
        """Equal requests after `refused` calls for all of them. If one alone is refused too, it was not for their number."""
        [first] = await _each(self._chat, account, requests[:1])
        first = _after(refused, first)
        if isinstance(first, ProviderError) and first.failure is Failure.BAD_REQUEST:
            return [*_failed(first, len(requests))]
        if not isinstance(first, Exception):
            self._remember(account.provider_id, requests[0].model)
        return [first, *await _each(self._chat, account, requests[1:])]

    async def _send_texts(
        self, kind: _Kind, requests: Sequence[EmbeddingRequest]
    ) -> list[EmbeddingResponse | Exception]:
        answers: list[EmbeddingResponse | Exception] = []
        for part in await asyncio.gather(*(self._send_load(kind, load) for load in _loads(requests))):
            answers += part
        return answers

    async def _send_load(
        self, kind: _Kind, requests: Sequence[EmbeddingRequest]
    ) -> list[EmbeddingResponse | Exception]:
        if len(requests) == 1:
            return await _each(self._embed, kind.account, requests)
        inputs = tuple(text for request in requests for text in request.inputs)
        try:
            response = await self._embed(kind.account, replace(requests[0], inputs=inputs))
        except ProviderError as exc:
            if exc.failure is not Failure.BAD_REQUEST:
                return [*_failed(exc, len(requests))]
            each = await _each(self._embed, kind.account, requests)
            return [_after(exc.calls, each[0]), *each[1:]]
        return [*vectors_apart(response, requests)]

    def _remember(self, provider_id: UUID, model: str) -> None:
        self._one_by_one[provider_id, model] = None
        if len(self._one_by_one) > MOST_REMEMBERED:
            self._one_by_one.popitem(last=False)


async def _each(
    call: Callable[[Account, Q], Awaitable[R]], account: Account, requests: Sequence[Q]
) -> list[R | Exception]:
    """Every request on its own; a failure is that request's alone."""
    answers = await asyncio.gather(*(call(account, request) for request in requests), return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, Exception):
            raise answer
    return [
        answer for answer in answers if isinstance(answer, Exception) or not isinstance(answer, BaseException)
    ]


def _failed(error: ProviderError, count: int) -> list[ProviderError]:
    """One call's failure for each request in it; the first one made the call."""
    others = [own_copy(error) for _ in range(count - 1)]
    for other in others:
        other.calls = 0
    return [error, *others]


def _after(calls: int, answer: R | Exception) -> R | Exception:
    """What came of a request for which so many calls had been made before."""
    if isinstance(answer, ProviderError):
        answer.calls += calls
        return answer
    return answer if isinstance(answer, Exception) else replace(answer, calls=answer.calls + calls)
