"""HTTP/1.1 from the server's side, byte by byte."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.clocks import ManualClock
from tests.mockprovider.served import lines

from tiebreak.clock import SystemClock
from tiebreak.errors import InvalidInput
from tiebreak.mockprovider import wire
from tiebreak.mockprovider.calls import CallLog
from tiebreak.mockprovider.conversation import pieces
from tiebreak.mockprovider.description import Fixed, Simulated
from tiebreak.mockprovider.server import running
from tiebreak.mockprovider.vendor import Vendor


@asynccontextmanager
async def connected(config, clock=None):
    async with running(config, clock=clock) as base_url, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(base_url.split(":")[2].removesuffix("/v1"))
        )
        try:
            yield reader, writer
        finally:
            writer.close()
            await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


def request(body=b"", *, method="POST", path="/v1/chat/completions", version="1.1", headers=""):
    head = f"{method} {path} HTTP/{version}\r\nhost: mock\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def chat(content="What is six times seven, please?", **more):
    return msgspec.json.encode({"model": "big", "messages": [{"role": "user", "content": content}], **more})


async def answer(reader):
    """Status and body of the next answer with a length."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def test_requests_sent_at_once_are_answered_in_order_on_one_connection(config):
    async with connected(config) as (reader, writer):
        names = ["oracle", "fool", "big", "echo"] * 4
        writer.write(b"".join(request(method="GET", path=f"/v1/models/{name}") for name in names))
        answers = [await answer(reader) for _ in names]
    assert [(status, msgspec.json.decode(body)["id"]) for status, body in answers] == [
        (200, name) for name in names
    ]


async def test_a_request_arrives_in_any_pieces(config):
    async with connected(config) as (reader, writer):
        for byte in request(chat()):
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await answer(reader))[0] == 200


async def test_more_waiting_requests_than_allowed_end_the_connection(config):
    slow = replace(config, models={"big": Simulated(skill=1, latency=Fixed(60_000))})
    async with connected(slow) as (reader, writer):
        writer.write(request(chat()) * (wire.MAX_WAITING + 2))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await answer(reader)


@pytest.mark.parametrize(("version", "headers"), [("1.0", ""), ("1.1", "connection: close\r\n")])
async def test_a_client_that_wants_one_answer_gets_one_and_the_end(config, version, headers):
    async with connected(config) as (reader, writer):
        writer.write(request(chat(), version=version, headers=headers))
        assert (await answer(reader))[0] == 200
        assert await reader.read() == b""


async def test_a_stream_to_such_a_client_ends_too(config):
    async with connected(config) as (reader, writer):
        writer.write(request(chat(stream=True), headers="connection: close\r\n"))
        assert (await reader.read()).endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def test_a_careful_client_is_told_to_go_on(config):
    whole = request(chat(), headers="expect: 100-continue\r\n")
    head, body = whole.split(b"\r\n\r\n", 1)
    async with connected(config) as (reader, writer):
        writer.write(head + b"\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await answer(reader))[0] == 200


@pytest.mark.parametrize(
    "nonsense",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
    ],
)
async def test_what_is_not_http_is_refused_and_the_connection_ends(config, nonsense):
    async with connected(config) as (reader, writer):
        writer.write(nonsense)
        status, body = await answer(reader)
        assert await reader.read() == b""
    assert status == 400
    assert b"not a request of HTTP/1.1" in body


async def test_a_wish_for_another_protocol_is_not_heeded(config):
    async with connected(config) as (reader, writer):
        writer.write(request(method="GET", path="/health", headers="upgrade: h2c\r\nconnection: upgrade\r\n"))
        assert (await answer(reader))[0] == 200


async def test_nonsense_while_a_request_is_served_ends_the_connection(config):
    slow = replace(config, models={"big": Simulated(skill=1, latency=Fixed(60_000))})
    async with connected(slow) as (reader, writer):
        writer.write(request(chat()))
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.write(b"\x00\x00\x00\x00\r\n\r\n")
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await answer(reader)


async def test_a_request_beyond_the_limit_is_refused_unread(config):
    async with connected(config) as (reader, writer):
        writer.write(request(method="POST").replace(b"content-length: 0", b"content-length: 99999999"))
        with pytest.raises(ConnectionError):
            for _ in range(2000):
                writer.write(b"x" * 65536)
                await writer.drain()
    async with connected(config) as (reader, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n")
        writer.write(b"x" * (wire.MAX_REQUEST + 1))
        status, body = await answer(reader)
    assert status == 413
    assert b"is over" in body


@asynccontextmanager
async def impatient(config, log=None):
    """A connection that gives a request 0.2 s to arrive, or one whose log is the given file."""
    clock, connections = SystemClock(), set()
    loop = asyncio.get_running_loop()
    with CallLog(log) as calls:
        vendor = Vendor(config, calls, clock)
        server = await loop.create_server(
            lambda: wire.Connection(vendor.serve, connections, clock, request_seconds=0.2), "127.0.0.1", 0
        )
        async with server, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                yield reader, writer
            finally:
                writer.close()
                await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def test_a_request_that_never_completes_ends_its_connection(config):
    async with impatient(config) as (reader, writer):
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-le")
        assert await reader.read() == b""


async def test_a_request_completed_in_time_outlives_the_deadline(config):
    async with impatient(config) as (reader, writer):
        whole = request(chat())
        writer.write(whole[:30])
        await asyncio.sleep(0.05)
        writer.write(whole[30:])
        assert (await answer(reader))[0] == 200
        await asyncio.sleep(0.3)
        writer.write(whole)
        assert (await answer(reader))[0] == 200


async def test_the_delay_is_waited_on_the_clock_and_shows_in_the_log(config, tmp_path):
    log, clock = tmp_path / "calls.jsonl", ManualClock()
    async with connected(replace(config, delay_ms=8000, log=log), clock) as (reader, writer):
        writer.write(request(chat()))
        await answer(reader)
        writer.write(request(chat(stream=True), headers="connection: close\r\n"))
        streamed = await reader.read()
    plain, stream = lines(log)
    assert plain["ended"] - plain["started"] == 8
    assert stream["ended"] - stream["started"] >= 8
    assert clock.sleeps[:2] == [8, 2]  # the whole answer; the first token of the stream
    assert sum(clock.sleeps[1:]) == pytest.approx(8)
    assert streamed.count(b"data: ") == len(pieces("Six times seven is\nA: 42")) + 3


async def test_a_failure_of_the_mock_itself_is_reported_and_ends_the_connection(config):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with impatient(config, log=Path("/dev/full")) as (reader, writer):
        writer.write(request(chat()))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await answer(reader)
    assert [str(context["exception"]) for context in reported] == ["[Errno 28] No space left on device"]


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(InvalidInput, match=r"cannot write the call log .*: Is a directory"):
        CallLog(tmp_path)


@pytest.mark.parametrize("length", [0, 1, 8, 9, 128, 129, 5000])
def test_a_text_is_cut_into_few_pieces_that_make_it_up_again(length):
    text = "abcdefg" * 800
    cut = pieces(text[:length])
    assert "".join(cut) == text[:length]
    assert len(cut) <= 16
