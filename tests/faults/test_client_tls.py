"""Rows U5, U7, U9 and U11 over TLS: what holds for a vendor's bytes holds when they come encrypted."""

import asyncio
import time

import pytest
from tests.accounts import account_at
from tests.clients import both_clients, get
from tests.faults.test_providers import (
    EVENTS,
    STREAM,
    TICK,
    bomb,
    drip_body,
    drip_head,
    outcome,
    resident_kib,
    stall_body,
    timed,
)
from tests.upstream import http, silence, streamed, upstream

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http import HttpRequest, Route, Timeouts, TooLarge
from tiebreak.providers import attempt
from tiebreak.providers.model import ChatResponse, Failure, ProviderError

pytestmark = both_clients


@pytest.fixture
def trusting(signed) -> Route:
    return Route(ca_bundle=signed.bundle)


@pytest.fixture
async def client(client_type):
    opened = client_type("loopback")
    yield opened
    await opened.close()


def https(server) -> str:
    return f"https://localhost:{server.port}"


@pytest.mark.parametrize(
    ("rude", "timeouts", "phase"),
    [
        (stall_body, Timeouts(idle=0.4, total=20), "idle"),
        (silence, Timeouts(idle=0.4, total=20), "idle"),
        (drip_body, Timeouts(idle=5, total=0.4), "total"),
        (drip_head, Timeouts(idle=5, total=0.4), "total"),
        (drip_head, Timeouts(head=0.4), "head"),
    ],
)
async def test_u5_a_slow_loris_ends_at_its_limit(
    client, signed, trusting, rude, timeouts, phase, record_property
):
    async with upstream(rude, tls=signed.server()) as vendor:
        took, error = await timed(client, get(https(vendor), timeouts=timeouts, route=trusting))
        began = time.monotonic()
        async with asyncio.timeout(5):
            while vendor.closed == 0:
                await asyncio.sleep(0.01)
    record_property("seconds over the limit", round(took - 0.4, 3))
    record_property("seconds until the vendor's side closed", round(time.monotonic() - began, 3))
    assert error.phase == phase
    assert 0.4 - TICK <= took < 0.4 + 5 * 0.2


@pytest.mark.parametrize("ending", [True, False])
async def test_u7_no_cut_stream_is_taken_for_a_whole_one(client, signed, trusting, ending):
    cuts = [EVENTS[:place] for place in range(1, len(EVENTS) + 1, 3)]
    async with upstream(*(streamed(cut, ending=ending) for cut in cuts), tls=signed.server()) as vendor:
        shop = account_at(https(vendor), route=trusting, secret=None)
        for cut in cuts:
            found = await outcome(attempt.call(client, shop, STREAM, SystemClock()))
            if isinstance(found, ChatResponse):
                assert b"data: [DONE]" in cut
                assert found.text == "foür ✓"
            else:
                assert found.failure is Failure.MALFORMED


async def test_u7_a_stream_in_single_bytes_is_the_same_stream(client, signed, trusting):
    pieces = [EVENTS[at : at + 1] for at in range(len(EVENTS))]
    async with upstream(streamed(*pieces), tls=signed.server()) as vendor:
        shop = account_at(https(vendor), route=trusting, secret=None)
        answer = await attempt.call(client, shop, STREAM, SystemClock())
    assert answer.text == "foür ✓"


@pytest.mark.parametrize("blocks", [4, pytest.param(160, marks=pytest.mark.faults)])
async def test_u9_a_compressed_bomb_stops_at_the_decoded_cap(
    client, signed, trusting, blocks, record_property
):
    packed = bomb(blocks)
    async with upstream(http(packed, content_encoding="gzip"), tls=signed.server()) as vendor:
        before = highest = resident_kib()
        unpacked = 0
        with pytest.raises(TooLarge):
            async with client.send(get(https(vendor), route=trusting)) as response:
                async for piece in response.chunks():
                    unpacked += len(piece)
                    highest = max(highest, resident_kib())
    record_property("KiB grown", highest - before)
    assert unpacked <= HttpRequest("GET", "", {}).max_bytes
    # The allowance of the row; this process also holds the packed bytes that the vendor encrypts and sends.
    assert highest - before <= 16 * 1024 + len(packed) // 256


async def test_u11_a_redirect_to_the_metadata_address_is_not_followed(client, signed, trusting):
    away = http(b"", 302, location="http://169.254.169.254/latest/meta-data/")
    async with upstream(away, tls=signed.server()) as vendor:
        async with client.send(get(https(vendor), route=trusting)) as response:
            assert response.status == 302
        shop = account_at(https(vendor), route=trusting, secret=None, max_retries=0)
        found = await outcome(attempt.call(client, shop, STREAM, SystemClock()))
        assert isinstance(found, ProviderError)
        assert len(vendor.received) == 2
