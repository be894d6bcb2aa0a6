"""One attempt over real HTTP: plain, streamed, measured, and each failure by whose fault it was."""

import asyncio
import json

import pytest
from tests.upstream import (
    DONE,
    SECRET,
    STREAM_HEAD,
    USAGE_CHUNK,
    chunk,
    completion,
    hang_up,
    http,
    silence,
    streamed,
    upstream,
)

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers import attempt
from tiebreak.providers.model import ChatRequest, Failure, Message, ProviderError, Usage

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
STREAM = ChatRequest("small", (Message("user", "2 + 2?"),), {}, stream=True)


@pytest.fixture
def call(client, make_account):
    async def made(url: str, request: ChatRequest = ASK, **changes):
        return await attempt.call(client, make_account(url, **changes), request, SystemClock())

    return made


async def test_a_plain_answer_is_timed_from_end_to_end(call):
    async def slow(_, writer):
        await asyncio.sleep(0.05)
        writer.write(http(completion("four")))

    async with upstream(slow) as vendor:
        answer = await call(vendor.url)
    assert (answer.text, answer.first_token) == ("four", None)
    assert 0.05 <= answer.latency < 1.0


async def test_a_streamed_answer_is_its_pieces_with_the_time_of_the_first(call):
    role = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}\n\n'
    pieces = [role, chunk("fo"), chunk("ur"), chunk(None, "stop"), USAGE_CHUNK, DONE]
    async with upstream(streamed(*pieces, gap=0.03)) as vendor:
        answer = await call(vendor.url, STREAM)
    assert (answer.text, answer.finish_reason, answer.usage) == ("four", "stop", Usage(7, 3))
    assert answer.model == "small-2026"
    assert 0.03 <= answer.first_token < answer.latency - 0.06


async def test_a_stream_leaves_its_connection_for_the_next_call(call):
    good = streamed(chunk("four", "stop"), DONE)
    async with upstream(good) as vendor:
        for _ in range(3):
            await call(vendor.url, STREAM)
        assert vendor.connections == 1


async def test_a_stream_that_never_closes_after_its_end_is_complete(call):
    async def endless(request, writer):
        writer.write(STREAM_HEAD)
        for piece in (chunk("four", "stop"), DONE):
            writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await silence(request, writer)

    async with upstream(endless) as vendor:
        assert (await call(vendor.url, STREAM)).text == "four"


async def test_a_vendor_that_does_not_stream_is_understood_all_the_same(call):
    async with upstream(http(completion("four"))) as vendor:
        answer = await call(vendor.url, STREAM)
    assert (answer.text, answer.first_token) == ("four", None)


async def test_a_streamed_refusal_is_the_text_of_a_filtered_answer(call):
    refusal = b'data: {"choices": [{"delta": {"refusal": "I cannot."}, "finish_reason": "stop"}]}\n\n'
    async with upstream(streamed(refusal, DONE)) as vendor:
        answer = await call(vendor.url, STREAM)
    assert (answer.text, answer.finish_reason) == ("I cannot.", "content_filter")


async def test_only_the_first_choice_of_a_stream_counts(call):
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "no"}}, {"delta": null}]}\n\n'
    async with upstream(streamed(other, chunk("yes", "stop"), DONE)) as vendor:
        assert (await call(vendor.url, STREAM)).text == "yes"


@pytest.mark.parametrize(
    ("answer", "failure", "words"),
    [
        (http("no", 500), Failure.SERVER_ERROR, "answered 500: no"),
        (http({"error": {"message": "slow down"}}, 429), Failure.RATE_LIMITED, "slow down"),
        (http("<html>Sorry</html>", content_type="text/html"), Failure.MALFORMED, "<html>Sorry"),
        (http(json.dumps(completion())[:40]), Failure.MALFORMED, "cannot be read"),
        (http(""), Failure.MALFORMED, "it is empty"),
        (hang_up, Failure.CONNECTION, "closed before"),
        (http("", 302, location="http://169.254.169.254/"), Failure.NOT_FOUND, "not followed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", Failure.MALFORMED, "not HTTP"),
    ],
)
async def test_a_failure_says_whose_fault_it_was_and_why(call, answer, failure, words):
    async with upstream(answer) as vendor:
        with pytest.raises(ProviderError, match="'acme'") as caught:
            await call(vendor.url)
    assert (caught.value.failure, caught.value.calls) == (failure, 1)
    assert words in caught.value.detail


async def test_nobody_listening_is_a_connection_failure(call):
    async with upstream(hang_up) as vendor:
        url = vendor.url
    with pytest.raises(ProviderError) as caught:
        await call(url)
    assert (caught.value.failure, caught.value.calls) == (Failure.CONNECTION, 1)


async def test_an_error_whose_body_is_cut_is_told_by_its_status(call):
    async def cut(_, writer):
        writer.write(b"HTTP/1.1 503 Away\r\ncontent-length: 100\r\n\r\nsor")
        await writer.drain()
        writer.close()

    async with upstream(cut) as vendor:
        with pytest.raises(ProviderError, match="503"):
            await call(vendor.url)


async def test_a_refused_address_counts_no_call(make_account):
    client = Http1Client("public")
    async with upstream(hang_up) as vendor:
        with pytest.raises(ProviderError, match="TIEBREAK_OUTBOUND=loopback") as caught:
            await attempt.call(client, make_account(vendor.url), ASK, SystemClock())
        assert vendor.connections == 0
    await client.close()
    assert (caught.value.failure, caught.value.calls) == (Failure.ADDRESS_REFUSED, 0)


async def test_the_models_of_an_account_are_listed(client, make_account):
    async with upstream(http({"data": [{"id": "small"}]})) as vendor:
        assert await attempt.models(client, make_account(vendor.url), SystemClock()) == ["small"]


async def test_models_that_are_refused_are_a_failure(client, make_account):
    async with upstream(http({"error": {"message": "who are you?"}}, 401)) as vendor:
        with pytest.raises(ProviderError, match="who are you") as caught:
            await attempt.models(client, make_account(vendor.url), SystemClock())
    assert caught.value.failure is Failure.AUTHENTICATION


async def test_a_stream_cut_by_its_vendor_is_malformed(call):
    async with upstream(streamed(chunk("fo"), ending=False)) as vendor:
        with pytest.raises(ProviderError, match="incomplete after 1 pieces") as caught:
            await call(vendor.url, STREAM)
    assert caught.value.failure is Failure.MALFORMED


@pytest.mark.parametrize(
    ("pieces", "words"),
    [([chunk("four", "stop")], r"without \[DONE\]"), ([chunk("four"), DONE], "no finish_reason")],
)
async def test_a_stream_that_does_not_say_it_is_complete_is_malformed(call, pieces, words):
    async with upstream(streamed(*pieces)) as vendor:
        with pytest.raises(ProviderError, match=words) as caught:
            await call(vendor.url, STREAM)
    assert caught.value.failure is Failure.MALFORMED


async def test_models_that_cannot_be_reached_are_a_failure(client, make_account):
    async with upstream(hang_up) as vendor:
        with pytest.raises(ProviderError) as caught:
            await attempt.models(client, make_account(vendor.url), SystemClock())
    assert caught.value.failure is Failure.CONNECTION


@pytest.mark.parametrize(
    "answer",
    [
        http({"error": {"message": f"Incorrect API key provided: {SECRET}."}}, 401),
        http(f"<html>{SECRET}</html>", 500),
        http(f"you sent Bearer {SECRET}"),
        http(json.dumps(completion(SECRET))[:60]),
        http({"error": {"message": SECRET, "type": SECRET, "code": SECRET}}),
        http("", 302, location=f"http://elsewhere.example/?key={SECRET}"),
        streamed(b'data: {"error": {"message": "' + SECRET.encode() + b'"}}\n\n'),
        streamed(b"data: " + SECRET.encode() + b"\n\n"),
        f"{SECRET} is not HTTP\r\n\r\n".encode(),
        STREAM_HEAD + SECRET.encode() + b"\r\nno chunk\r\n",
        http(b'{"choices": "' + SECRET.encode() + b'\xff"}'),
    ],
)
async def test_no_error_shows_the_secret_that_a_vendor_repeats(call, answer):
    async with upstream(answer) as vendor:
        with pytest.raises(ProviderError) as caught:
            await call(vendor.url, STREAM)
    shown = [caught.value.detail, caught.value.body, str(caught.value), repr(caught.value)]
    cause: BaseException | None = caught.value
    while cause is not None:
        shown += [str(cause), repr(cause)]
        cause = cause.__cause__
    assert not any(SECRET in text for text in shown)


def test_an_account_is_shown_without_its_secret(make_account):
    account = make_account("http://x")
    assert SECRET not in f"{account} {account!r}"
