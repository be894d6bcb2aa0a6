"""Bytes on their way through: tried again until they begin, never after, and what their end says about the vendor."""

import asyncio
import random

import pytest
from tests.accounts import account_at
from tests.clocks import ManualClock
from tests.upstream import DONE, Received, Wire, chunk, completion, http, streamed, upstream

from tiebreak.infrastructure.connections.http import HttpRequest, Timeouts
from tiebreak.providers.gate import Endpoint
from tiebreak.providers.model import Failure, ProviderError, Usage
from tiebreak.providers.pipeline import Pipeline

GOOD = http(completion())
BODY = b'{"model": "small", "odd": [1,  2]}'


class Noting:
    def __init__(self) -> None:
        self.told: list[tuple] = []

    def attempted(self, account, model, failure, seconds, usage, *, retry) -> None:
        self.told.append((model, failure, usage, retry))

    def shared(self, account, model, origin) -> None:
        self.told.append(("shared",))

    def refused(self, account, model) -> None:
        self.told.append(("refused",))


@pytest.fixture
def watch() -> Noting:
    return Noting()


@pytest.fixture
def pipeline(client, watch):
    return Pipeline(client, ManualClock(), random.Random(1), watch=watch)


def relayed(pipeline: Pipeline, url: str, **service):
    shop = account_at(url, **service)
    request = HttpRequest("POST", f"{url}/chat/completions", {}, BODY, Timeouts(total=5))
    return pipeline.relay(shop, "small", request, Endpoint.CHAT)


async def read(relay) -> bytes:
    return b"".join([piece async for piece in relay.chunks()])


async def test_bytes_go_through_as_they_are_both_ways(pipeline, watch):
    async with upstream(GOOD) as vendor:
        async with relayed(pipeline, vendor.url) as relay:
            body = await read(relay)
            relay.whole(Usage(7, 3))
        assert vendor.received[0].body == BODY
    assert GOOD.endswith(body)
    assert relay.calls == 1
    assert watch.told == [("small", None, Usage(7, 3), False)]


async def test_it_is_tried_again_before_an_answer_begins(pipeline, watch):
    script = (http("no", 500), http("slow down", 429, retry_after="3"), GOOD)
    async with upstream(*script) as vendor, relayed(pipeline, vendor.url) as relay:
        assert GOOD.endswith(await read(relay))
        relay.whole(None)
    assert relay.calls == 3
    assert [(failure, retry) for _, failure, _, retry in watch.told] == [
        (Failure.SERVER_ERROR, False),
        (Failure.RATE_LIMITED, True),
        (None, True),
    ]


async def test_the_last_failure_is_raised_with_all_calls_counted(pipeline):
    async with upstream(http("no", 500)) as vendor:
        with pytest.raises(ProviderError) as caught:
            async with relayed(pipeline, vendor.url, max_retries=1):
                pytest.fail("there is no answer")
        assert (caught.value.failure, caught.value.calls, len(vendor.received)) == (
            Failure.SERVER_ERROR,
            2,
            2,
        )


async def test_a_cut_answer_counts_against_the_vendor_and_is_not_asked_again(pipeline, watch):
    async with upstream(streamed(chunk("fo"), ending=False)) as vendor:
        with pytest.raises(ProviderError) as caught:
            async with relayed(pipeline, vendor.url) as relay:
                await read(relay)
        assert (caught.value.failure, len(vendor.received)) == (Failure.CONNECTION, 1)
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.breaker.failures, circuit.held) == (1, 1, 0)
    assert watch.told == [("small", Failure.CONNECTION, None, False)]


async def test_what_the_reader_finds_wrong_counts_against_the_vendor(pipeline):
    async with upstream(streamed(chunk("fo"))) as vendor:
        with pytest.raises(ProviderError):
            async with relayed(pipeline, vendor.url) as relay:
                await read(relay)
                raise ProviderError(Failure.MALFORMED, "it has no end")
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.breaker.failures) == (1, 1)


async def test_a_whole_answer_stays_one_though_its_reader_fails_afterwards(pipeline, watch):
    async with upstream(streamed(chunk("four", "stop"), DONE)) as vendor:
        with pytest.raises(ConnectionError):
            async with relayed(pipeline, vendor.url) as relay:
                await read(relay)
                relay.whole(None)
                raise ConnectionError("the caller has left")
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.breaker.failures, circuit.held) == (1, 0, 0)
    assert len(watch.told) == 1


async def test_who_leaves_says_nothing_about_the_vendor_and_frees_its_slot_and_its_connection(
    pipeline, watch
):
    left = asyncio.Event()

    async def endless(request: Received, writer: Wire) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n{")
        await request.client_left()
        left.set()

    async with upstream(endless) as vendor:
        entered = asyncio.Event()

        async def leave() -> None:
            async with relayed(pipeline, vendor.url) as relay:
                entered.set()
                await read(relay)

        task = asyncio.create_task(leave())
        async with asyncio.timeout(5):
            await entered.wait()
            task.cancel()
            await asyncio.wait([task])
            await left.wait()
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.held) == (0, 0)
    assert watch.told == []
