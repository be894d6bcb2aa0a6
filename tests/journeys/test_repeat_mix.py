"""The repeat mix of `make bench-repeat-mix`, its first two seconds: fewer calls, and everybody's own answer."""

import asyncio
import random
from collections import Counter
from itertools import count

import pytest
from benchmarks import arrivals, repeat_mix
from benchmarks.arrivals import Kind
from tests.upstream import Received, Wire, completion, http, upstream

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.mockprovider import server
from tiebreak.mockprovider.config import load
from tiebreak.providers.model import EmbeddingResponse
from tiebreak.providers.pipeline import Pipeline

SECONDS = 2


@pytest.fixture(scope="module")
def asked() -> list[arrivals.Arrival]:
    return [each for each in arrivals.read() if each.at < SECONDS * 1_000_000]


@pytest.fixture
async def pipeline():
    client = Http1Client("loopback")
    made = Pipeline(client, SystemClock(), random.Random(1))
    yield made
    await made.close()
    await client.close()


def test_the_committed_arrivals_are_what_their_seed_draws():
    assert arrivals.read() == arrivals.draw()


def test_a_third_of_the_requests_is_of_each_kind_and_four_hundred_come_a_second():
    mix = arrivals.read()
    kinds = Counter(each.kind for each in mix)
    assert len(mix) == pytest.approx(arrivals.RATE * arrivals.SECONDS, rel=0.05)
    assert [kinds[kind] / len(mix) for kind in Kind] == pytest.approx([1 / 3] * 3, abs=0.02)
    groups = Counter((each.at, each.caller, each.number) for each in mix if each.kind is Kind.SAMPLE)
    assert set(groups.values()) == {arrivals.GROUP}


async def test_at_least_two_calls_in_five_are_saved_and_every_answer_is_ones_own(pipeline, asked, tmp_path):
    given = repeat_mix.options(tmp_path)
    config = load(given)
    async with asyncio.timeout(60), server.running(config) as url:
        heard = await repeat_mix.play(pipeline, url, asked)
        calls = len(given.log.read_bytes().splitlines())
    assert calls <= 0.6 * len(asked)
    assert calls == sum(each.answer.calls for each in heard)
    assert repeat_mix.not_own(config, heard) == []
    assert repeat_mix.unpaid(heard) == []


async def test_answers_in_wrong_hands_are_found(pipeline, asked, tmp_path):
    """The judges of the mix themselves: they see a swapped answer, and one that came along with nobody's call."""
    few = [each for each in asked if each.kind is not Kind.SAMPLE][:40]
    config = load(repeat_mix.options(tmp_path))
    async with asyncio.timeout(60), server.running(config) as url:
        heard = await repeat_mix.play(pipeline, url, few)
    texts = [each for each in heard if each.arrival.kind is Kind.TEXT]
    first, second = texts[:2]
    swapped = repeat_mix.Heard(first.arrival, first.began, first.ended, second.answer)
    assert repeat_mix.not_own(config, [swapped, second]) == [swapped]
    together = [each for each in texts if each.answer.calls == 0]
    assert together, "no text went with another"
    assert repeat_mix.unpaid(together) == together


async def test_nobody_in_the_mix_has_an_answer_to_another_credentials_request(pipeline, asked):
    """The vendor says which credential and which question it saw, and never the same thing twice."""
    serial = count()

    async def echo(received: Received, writer: Wire) -> None:
        await asyncio.sleep(repeat_mix.DELAY_MS / 1000)
        key = received.headers["authorization"].removeprefix("Bearer ")
        body = received.json()
        if "input" in body:
            vectors = [
                {"index": place, "embedding": [float(key[-1]), float(text[-6:-1])]}
                for place, text in enumerate(body["input"])
            ]
            writer.write(http({"data": vectors, "model": "v"}))
            return
        question = body["messages"][0]["content"]
        choices = [
            {
                "index": place,
                "message": {"role": "assistant", "content": f"{key}|{question}|{next(serial)}"},
                "finish_reason": "stop",
            }
            for place in range(body.get("n", 1))
        ]
        writer.write(http(completion(choices=choices)))

    async with asyncio.timeout(60), upstream(echo) as vendor:
        heard = await repeat_mix.play(pipeline, vendor.url, asked)
        assert len(vendor.received) <= 0.6 * len(asked)
    samples = []
    for each in heard:
        _, credential = repeat_mix.CALLERS[each.arrival.caller]
        if isinstance(each.answer, EmbeddingResponse):
            assert each.answer.vectors == ((float(credential[-1]), float(each.arrival.number)),)
            continue
        key, question, draw = each.answer.text.split("|")
        assert (key, question) == (credential, repeat_mix.words(each.arrival.kind, each.arrival.number))
        if each.arrival.kind is Kind.SAMPLE:
            samples.append(draw)
    assert len(samples) == len(set(samples)) > 0
