"""Answers that go wrong on purpose: on the right calls, in the right way."""

from dataclasses import replace

import aiohttp
import msgspec
import openai
import pytest
from tests.mockprovider.served import client_of, lines

from tiebreak.mockprovider.description import Fault, Recorded, Simulated
from tiebreak.mockprovider.faults import due
from tiebreak.mockprovider.server import running

BODY = {"model": "m", "messages": [{"role": "user", "content": "What is six times seven, please?"}]}
STREAM = BODY | {"stream": True}


def faulty(config, *faults, log=None):
    return replace(config, models={"m": Recorded(model="big", faults=faults)}, log=log)


async def post(base_url, body=BODY):
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{base_url}/chat/completions", json=body) as response,
    ):
        return response.status, response.headers, await response.read()


def test_the_first_calls_are_the_first_calls():
    faults = [Fault(first=2), Fault(status=429, first=3)]
    assert [fault and fault.status for fault in (due(faults, n) for n in range(1, 6))] == [
        500,
        500,
        429,
        None,
        None,
    ]


def test_a_share_takes_its_share_of_calls_and_the_same_ones_every_time():
    faults = [Fault(share=0.2)]
    taken = [due(faults, n, 7, "m") is not None for n in range(1, 2001)]
    assert abs(sum(taken) / 2000 - 0.2) < 0.036  # four standard errors
    assert taken == [due(faults, n, 7, "m") is not None for n in range(1, 2001)]
    assert taken != [due(faults, n, 8, "m") is not None for n in range(1, 2001)]
    assert all(due([Fault(share=1.0)], n) for n in range(1, 100))
    assert not any(due([Fault(share=0.0)], n) for n in range(1, 100))


@pytest.mark.parametrize("given", [{}, {"share": 0.5, "first": 1}])
def test_a_fault_needs_to_know_when(given):
    with pytest.raises(msgspec.ValidationError, match="either `share` or `first`"):
        msgspec.convert(given, Fault)


async def test_errors_are_documents_of_the_dialect_with_their_retry_after(config):
    served = faulty(config, Fault(status=429, first=1, retry_after="2"), Fault(status=503, first=2))
    async with client_of(served) as client:
        with pytest.raises(openai.RateLimitError) as limited:
            await client.chat.completions.create(**BODY)
        with pytest.raises(openai.InternalServerError) as failed:
            await client.chat.completions.create(**BODY)
        answer = await client.chat.completions.create(**BODY)
    assert limited.value.response.headers["retry-after"] == "2"
    assert limited.value.code == "rate_limit_exceeded"
    assert failed.value.status_code == 503
    assert failed.value.type == "server_error"
    assert "retry-after" not in failed.value.response.headers
    assert answer.choices[0].message.content.endswith("A: 42")


async def test_a_page_of_a_proxy(config):
    async with running(faulty(config, Fault(status=502, first=1, body="html", retry_after="7"))) as base_url:
        status, headers, body = await post(base_url)
    assert (status, headers["content-type"], headers["retry-after"]) == (502, "text/html; charset=utf-8", "7")
    assert body.startswith(b"<!doctype html>")


async def test_a_status_without_a_body(config):
    async with running(faulty(config, Fault(status=200, first=1, body="empty"))) as base_url:
        assert (await post(base_url))[::2] == (200, b"")


async def test_half_a_document(config):
    async with running(faulty(config, Fault(status=200, first=1, body="truncated"))) as base_url:
        status, headers, body = await post(base_url)
        assert (status, headers["content-type"]) == (200, "application/json")
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            msgspec.json.decode(body)
        msgspec.json.decode((await post(base_url))[2])


async def test_half_a_stream(config):
    async with running(faulty(config, Fault(status=200, first=1, body="truncated"))) as base_url:
        cut, whole = (await post(base_url, STREAM))[2], (await post(base_url, STREAM))[2]
    assert cut.startswith(b"data: {")
    assert b"[DONE]" not in cut
    assert whole.endswith(b"data: [DONE]\n\n")


async def test_no_answer_at_all(config, tmp_path):
    log = tmp_path / "calls.jsonl"
    async with running(faulty(config, Fault(first=1, body="closed"), log=log)) as base_url:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await post(base_url)
        assert (await post(base_url))[0] == 200
    assert [call["status"] for call in lines(log)] == [0, 200]


async def test_a_status_nobody_registered_is_sent_as_it_is(config):
    async with running(faulty(config, Fault(status=529, first=1))) as base_url:
        assert (await post(base_url))[0] == 529


async def test_models_count_their_calls_apart(config):
    both = {
        "m": Simulated(skill=1, faults=(Fault(first=1),)),
        "n": Simulated(skill=1, faults=(Fault(first=1),)),
    }
    async with running(replace(config, models=both)) as base_url:
        statuses = [(await post(base_url, BODY | {"model": name}))[0] for name in ("m", "m", "n", "n")]
    assert statuses == [500, 200, 500, 200]
