"""Who shares an answer with whom: cache, single flight and batches of the whole pipeline, against a real server."""

import asyncio
import random
from contextlib import aclosing
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.accounts import account_at
from tests.clocks import ManualClock
from tests.upstream import DONE, USAGE_CHUNK, Received, Wire, chunk, completion, http, streamed, upstream

from tiebreak.clock import SystemClock
from tiebreak.infrastructure.cache.memory import MemoryCache
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.providers.model import (
    NOTHING,
    ChatRequest,
    EmbeddingRequest,
    Failure,
    Message,
    Origin,
    ProviderError,
    StreamEnd,
    TextDelta,
    Usage,
)
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
COLD = replace(ASK, temperature=0)
STREAM = replace(COLD, stream=True)
GOOD = http(completion())
WHOLE = streamed(chunk("fo"), chunk("ur", "stop"), USAGE_CHUNK, DONE)
DIRECT, OWN = Scope.direct("key"), Scope.own("run")
SHARED = Scope.shared("test", "1", "a")


class Noting:
    """What the pipeline tells of what goes through."""

    def __init__(self) -> None:
        self.told: list[tuple] = []

    def attempted(self, account, model, failure, seconds, usage, *, retry) -> None:
        self.told.append(("attempted", failure, retry))

    def shared(self, account, model, origin) -> None:
        self.told.append(("shared", origin))

    def refused(self, account, model) -> None:
        self.told.append(("refused",))


@pytest.fixture
async def pipeline(client):
    made = Pipeline(client, SystemClock(), random.Random(1), watch=Noting())
    yield made
    await made.close()


async def slowly(_: Received, writer: Wire) -> None:
    await asyncio.sleep(0.05)
    writer.write(GOOD)


async def several(received: Received, writer: Wire) -> None:
    """As many samples as were asked for, or a vector for each text that says which text it is of."""
    await asyncio.sleep(0.05)
    body = received.json()
    if "input" in body:
        vectors = [
            {"index": place, "embedding": [float(int(text))]} for place, text in enumerate(body["input"])
        ]
        writer.write(
            http({"data": vectors, "model": "v", "usage": {"prompt_tokens": len(vectors), "total_tokens": 1}})
        )
        return
    choices = [
        {
            "index": place,
            "message": {"role": "assistant", "content": f"draw {place}"},
            "finish_reason": "stop",
        }
        for place in range(body.get("n", 1))
    ]
    usage = {"prompt_tokens": 10, "completion_tokens": 3 * len(choices)}
    writer.write(http(completion(choices=choices, usage=usage)))


async def together(*calls):
    async with asyncio.timeout(20):
        return await asyncio.gather(*calls)


@pytest.mark.parametrize("request_", [ASK, COLD])
async def test_every_task_of_a_run_is_a_draw_of_its_own_whatever_its_parameters(pipeline, request_):
    async with upstream(slowly) as vendor:
        shop = account_at(vendor.url, dialect="openai")
        first = await together(*(pipeline.complete(shop, request_, OWN) for _ in range(4)))
        again = await pipeline.complete(shop, request_, OWN)
        assert len(vendor.received) == 5
        assert all("n" not in received.json() for received in vendor.received)
    assert {answer.origin for answer in (*first, again)} == {Origin.CALL}
    assert {answer.draw for answer in first} == {None}


async def test_equal_deterministic_requests_in_flight_are_one_call_and_the_next_is_a_hit(pipeline):
    async with upstream(slowly) as vendor:
        shop = account_at(vendor.url)
        answers = await together(*(pipeline.complete(shop, COLD, DIRECT) for _ in range(3)))
        hit = await pipeline.complete(shop, COLD, DIRECT)
        assert len(vendor.received) == 1
    assert sorted((answer.origin, answer.calls) for answer in answers) == [
        (Origin.CALL, 1),
        (Origin.FLIGHT, 0),
        (Origin.FLIGHT, 0),
    ]
    assert (hit.origin, hit.calls, hit.text, hit.usage, hit.paid) == (
        Origin.CACHE,
        0,
        "four",
        Usage(7, 3),
        NOTHING,
    )
    assert sum((answer.paid or NOTHING).input_tokens for answer in (*answers, hit)) == 7


async def test_a_provider_without_a_cache_is_asked_again_but_not_twice_at_once(pipeline):
    async with upstream(slowly) as vendor:
        shop = account_at(vendor.url, cache_enabled=False)
        await together(*(pipeline.complete(shop, COLD, DIRECT) for _ in range(3)))
        await pipeline.complete(shop, COLD, DIRECT)
        assert len(vendor.received) == 2


async def test_a_kept_answer_goes_after_its_time(client):
    clock = ManualClock()
    made = Pipeline(client, clock, random.Random(1))
    async with upstream(GOOD) as vendor:
        shop = account_at(vendor.url, cache_ttl_seconds=60)
        for seconds in (0, 59, 2):
            clock.advance(seconds)
            await made.complete(shop, COLD, DIRECT)
        assert len(vendor.received) == 2


async def test_what_somebody_else_wrote_into_the_cache_is_a_miss_and_goes(client):
    clock = SystemClock()

    class Foreign(MemoryCache):
        async def set(self, key: str, value: bytes, ttl: float) -> None:
            await super().set(key, b"\x93\xc1 not ours" + value[:7], ttl)

    cache = Foreign(clock)
    made = Pipeline(client, clock, random.Random(1), cache=cache)
    async with upstream(GOOD) as vendor:
        shop = account_at(vendor.url)
        for _ in range(3):
            assert (await made.complete(shop, COLD, DIRECT)).text == "four"
        assert len(vendor.received) == 3


async def test_a_failure_is_not_kept(pipeline):
    async with upstream(http("no", 400), GOOD) as vendor:
        shop = account_at(vendor.url)
        with pytest.raises(ProviderError):
            await pipeline.complete(shop, COLD, DIRECT)
        assert (await pipeline.complete(shop, COLD, DIRECT)).text == "four"


async def test_a_test_that_shares_its_responses_says_which_draw_each_one_is(pipeline):
    async with upstream(slowly) as vendor:
        shop = account_at(vendor.url)
        first = await together(*(pipeline.complete(shop, ASK, SHARED) for _ in range(2)))
        hit = await pipeline.complete(shop, ASK, SHARED)
        other = await pipeline.complete(shop, ASK, Scope.shared("test", "1", "b"))
        assert len(vendor.received) == 2
    assert first[0].draw is not None
    assert {answer.draw for answer in (*first, hit)} == {first[0].draw}
    assert other.draw not in {None, hit.draw}


async def test_four_equal_sampled_requests_at_once_are_one_call_with_four_draws(pipeline):
    async with upstream(several) as vendor:
        shop = account_at(vendor.url, dialect="openai")
        answers = await together(*(pipeline.complete(shop, ASK, DIRECT) for _ in range(4)))
        assert [received.json()["n"] for received in vendor.received] == [4]
    assert {answer.text for answer in answers} == {"draw 0", "draw 1", "draw 2", "draw 3"}
    assert sum(answer.calls for answer in answers) == 1
    assert sum((answer.paid or NOTHING).input_tokens for answer in answers) == 10


async def test_texts_at_once_are_few_calls_and_everybody_has_his_own_vector(pipeline):
    async with upstream(several) as vendor:
        shop = account_at(vendor.url)
        numbers = list(range(25))
        answers = await together(
            *(pipeline.embed(shop, EmbeddingRequest("v", (str(each),)), DIRECT) for each in numbers)
        )
        assert len(vendor.received) <= 4
    assert [answer.vectors for answer in answers] == [((float(each),),) for each in numbers]


async def test_a_leader_that_leaves_does_not_take_the_others_with_it(pipeline):
    async with upstream(slowly) as vendor:
        shop = account_at(vendor.url)
        leader, *others = [asyncio.create_task(pipeline.complete(shop, COLD, DIRECT)) for _ in range(5)]
        await asyncio.sleep(0.01)
        leader.cancel()
        answers = await together(*others)
        assert len(vendor.received) == 1
    assert {answer.text for answer in answers} == {"four"}


async def test_a_stream_is_shared_while_it_runs_and_replayed_afterwards(pipeline):
    slow = streamed(chunk("fo"), chunk("ur", "stop"), USAGE_CHUNK, DONE, gap=0.03)

    async def read() -> list:
        async with aclosing(pipeline.stream(shop, STREAM, DIRECT)) as events:
            return [event async for event in events]

    async with upstream(slow) as vendor:
        shop = account_at(vendor.url)
        first, second = await together(read(), read())
        third = await read()
        plain = await pipeline.complete(shop, COLD, DIRECT)
        assert len(vendor.received) == 1
    assert first == second
    assert "".join(event.text for event in third if isinstance(event, TextDelta)) == "four"
    assert isinstance(third[-1], StreamEnd)
    assert (plain.text, plain.origin) == ("four", Origin.CACHE)


async def test_a_stream_is_tried_again_only_before_its_first_event(pipeline):
    cut = streamed(chunk("fo"), ending=False)
    async with upstream(http("no", 500), WHOLE, cut) as vendor:
        shop = account_at(vendor.url)
        async with aclosing(pipeline.stream(shop, STREAM, OWN)) as events:
            assert [type(event) for event in [event async for event in events]][-1] is StreamEnd
        assert len(vendor.received) == 2
        with pytest.raises(ProviderError, match="incomplete") as caught:
            async with aclosing(pipeline.stream(shop, STREAM, OWN)) as events:
                async for _ in events:
                    pass
        assert len(vendor.received) == 3
    assert (caught.value.failure, caught.value.calls) == (Failure.MALFORMED, 1)


async def test_a_cut_stream_counts_against_the_vendor_at_its_end_and_a_whole_one_for_it(pipeline):
    cut = streamed(chunk("fo"), ending=False)
    async with upstream(WHOLE, cut) as vendor:
        shop = account_at(vendor.url)
        async with aclosing(pipeline.stream(shop, STREAM, OWN)) as events:
            async for event in events:
                if isinstance(event, StreamEnd):
                    break  # who has the end need not wait for the connection
        with pytest.raises(ProviderError):
            async with aclosing(pipeline.stream(shop, STREAM, OWN)) as events:
                async for _ in events:
                    pass
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.breaker.failures, circuit.held) == (2, 1, 0)


async def test_who_leaves_a_stream_frees_its_slot_and_says_nothing_about_the_vendor(pipeline):
    endless = streamed(*[chunk("x")] * 1000, gap=0.01)
    async with upstream(endless) as vendor:
        shop = account_at(vendor.url)
        async with aclosing(pipeline.stream(shop, STREAM, OWN)) as events:
            await anext(events)
            (circuit,) = pipeline.circuits()
            assert circuit.held == 1
    (circuit,) = pipeline.circuits()
    assert (circuit.breaker.calls, circuit.held) == (0, 0)


async def test_everything_that_goes_through_is_told(client):
    watch = Noting()
    made = Pipeline(client, ManualClock(), random.Random(1), watch=watch)
    async with upstream(http("no", 500), GOOD) as vendor:
        shop = account_at(vendor.url)
        await made.complete(shop, COLD, DIRECT)
        await made.complete(shop, COLD, DIRECT)
    assert watch.told == [
        ("attempted", Failure.SERVER_ERROR, False),
        ("attempted", None, True),
        ("shared", Origin.CACHE),
    ]


async def test_patience_waits_an_outage_out_and_costs_no_retry(client):
    clock = ManualClock()
    made = Pipeline(client, clock, random.Random(1), watch=(watch := Noting()))
    async with upstream(*[http("no", 500)] * 20, GOOD) as vendor:
        shop = account_at(vendor.url, max_retries=0)
        for _ in range(20):
            with pytest.raises(ProviderError):
                await made.complete(shop, ASK, OWN)
        with pytest.raises(ProviderError) as caught:
            await made.complete(shop, ASK, OWN)
        assert (caught.value.failure, len(vendor.received)) == (Failure.CIRCUIT_OPEN, 20)
        assert (await made.complete(shop, ASK, OWN, patience=60.0)).text == "four"
    assert watch.told.count(("refused",)) == 2


@pytest.mark.parametrize("scope", [DIRECT, SHARED])
async def test_a_failed_call_that_several_shared_is_counted_by_the_one_that_made_it(pipeline, scope):
    async def failing(received: Received, writer: Wire) -> None:
        await asyncio.sleep(0.05)
        writer.write(http("no", 500))

    async def read() -> None:
        async with aclosing(pipeline.stream(shop, STREAM, scope)) as events:
            async for _ in events:
                pass

    async with upstream(failing) as vendor:
        shop = account_at(vendor.url, dialect="openai", max_retries=0)
        kinds = (
            lambda: pipeline.complete(shop, COLD, scope),
            lambda: pipeline.complete(shop, ASK, scope),
            lambda: pipeline.embed(shop, EmbeddingRequest("v", ("1",)), scope),
            read,
        )
        for ask in kinds:
            before = len(vendor.received)
            async with asyncio.timeout(20):
                failures = await asyncio.gather(*(ask() for _ in range(3)), return_exceptions=True)
            assert [failure.failure for failure in failures] == [Failure.SERVER_ERROR] * 3
            assert len(vendor.received) == before + 1
            assert sorted(failure.calls for failure in failures) == [0, 0, 1]


async def test_closing_ends_what_is_shared_with_a_failure_that_says_so(client):
    async def never(_: Received, writer: Wire) -> None:
        await asyncio.sleep(30)

    made = Pipeline(client, SystemClock(), random.Random(1))
    async with upstream(never) as vendor:
        shop = account_at(vendor.url, dialect="openai", timeout_seconds=60)
        waiting = [
            asyncio.create_task(made.complete(shop, COLD, DIRECT)),
            asyncio.create_task(made.complete(shop, ASK, DIRECT)),
            asyncio.create_task(made.embed(shop, EmbeddingRequest("v", ("a",)), DIRECT)),
        ]
        await asyncio.sleep(0.05)
        await made.close()
        failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(failure) for failure in failures] == [ProviderError] * 3
    assert all("stopped" in str(failure) for failure in failures)


CALLERS = st.tuples(st.sampled_from(["ann", "bob"]), st.sampled_from(["sk-1", "sk-2"]))
QUESTIONS = st.tuples(st.sampled_from(["cold", "warm", "text", "stream"]), st.integers(0, 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(CALLERS, QUESTIONS), min_size=2, max_size=24))
def test_nobody_ever_has_an_answer_to_another_tenants_or_another_credentials_request(asked):
    """The vendor answers with the credential, the question and a draw's number; every caller must see his own."""
    serial = count()

    async def echo(received: Received, writer: Wire) -> None:
        await asyncio.sleep(0.002)
        body = received.json()
        key = received.headers["authorization"].removeprefix("Bearer sk-")
        if "input" in body:
            vectors = [
                {"index": place, "embedding": [float(key), float(text)]}
                for place, text in enumerate(body["input"])
            ]
            writer.write(http({"data": vectors, "model": "v"}))
            return
        texts = [f"{key} {body['messages'][0]['content']} {next(serial)}" for _ in range(body.get("n", 1))]
        if body.get("stream"):
            await streamed(chunk(texts[0]), chunk("", "stop"), USAGE_CHUNK, DONE, gap=0.001)(received, writer)
            return
        choices = [
            {"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for place, text in enumerate(texts)
        ]
        writer.write(http(completion(choices=choices)))

    async def ask(pipeline, url, caller, question) -> tuple[str, str, str]:
        (name, secret), (kind, number) = caller, question
        shop = account_at(url, dialect="openai", secret=secret, provider_id=PROVIDER)
        scope = Scope.direct(name)
        if kind == "text":
            answer = await pipeline.embed(shop, EmbeddingRequest("v", (str(number),)), scope)
            key, text = answer.vectors[0]
            return f"{key:.0f}", f"{text:.0f}", ""
        request = ChatRequest(
            "m", (Message("user", str(number)),), {}, temperature=1 if kind == "warm" else 0
        )
        if kind == "stream":
            async with aclosing(pipeline.stream(shop, replace(request, stream=True), scope)) as events:
                said = "".join([event.text async for event in events if isinstance(event, TextDelta)])
        else:
            said = (await pipeline.complete(shop, request, scope)).text
        key, text, draw = said.split()
        return key, text, draw

    async def live() -> None:
        client = Http1Client("loopback")
        pipeline = Pipeline(client, SystemClock(), random.Random(1))
        try:
            async with upstream(echo) as vendor:
                answers = await together(
                    *(ask(pipeline, vendor.url, caller, question) for caller, question in asked)
                )
                seen = [received.headers["authorization"] for received in vendor.received]
            owners: dict[str, tuple] = {}
            for (caller, (kind, number)), (key, text, draw) in zip(asked, answers, strict=True):
                assert (f"sk-{key}", text) == (caller[1], str(number))
                if draw:  # nobody else has heard it, not even with the same credential; and no sample is heard twice
                    owner = (caller, object() if kind == "warm" else number)
                    assert owners.setdefault(draw, owner) == owner
            # Every tenant with a credential has paid for at least one call of his own for each question.
            assert len(seen) >= len({caller for caller, _ in asked})
        finally:
            await pipeline.close()
            await client.close()

    asyncio.run(live())


PROVIDER = account_at("http://x").provider_id
