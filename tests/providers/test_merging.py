"""Several requests in one call: who gets what, and what each of them pays."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.accounts import account_at

from tiebreak.clock import SystemClock
from tiebreak.providers.account import BatchConfig, Price
from tiebreak.providers.merging import MOST_INPUTS, Merging, samples_apart, share_out, vectors_apart
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Failure,
    Message,
    Origin,
    ProviderError,
    Sample,
    StopReason,
    Usage,
)

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})


def vendor_at(url: str = "http://x", **service):
    return account_at(url, dialect="openai", **service)


def chat(texts: list[str], usage: Usage | None = None, calls: int = 1) -> ChatResponse:
    first, *further = texts
    return ChatResponse(
        first,
        StopReason.STOP,
        "small",
        usage,
        0.1,
        None,
        calls,
        further=tuple(Sample(text, StopReason.STOP) for text in further),
    )


class Vendor:
    """Answers samples with their number in the call, vectors with the texts' lengths; notes every call."""

    def __init__(self, fewer: int = 0, refuse: str = "") -> None:
        self.calls: list[int] = []
        self.fewer = fewer
        self.refuse = refuse
        self.go = asyncio.Event()
        self.go.set()

    async def chat(self, account, request: ChatRequest) -> ChatResponse:
        self.calls.append(request.n)
        await self.go.wait()
        if self.refuse == "bad" or ("several" in self.refuse and request.n > 1):
            raise ProviderError(Failure.BAD_REQUEST, "not like that")
        if "all" in self.refuse:
            raise ProviderError(Failure.SERVER_ERROR, "down")
        given = max(1, request.n - self.fewer)
        number = len(self.calls)
        return chat([f"{number}.{place}" for place in range(given)], Usage(10, 4 * given, 2, 0))

    async def embed(self, account, request: EmbeddingRequest) -> EmbeddingResponse:
        self.calls.append(len(request.inputs))
        await self.go.wait()
        if self.refuse == "all":
            raise ProviderError(Failure.SERVER_ERROR, "down")
        if "bad" in request.inputs:
            raise ProviderError(Failure.BAD_REQUEST, "a text is too long")
        vectors = tuple((float(len(text)), float(hash(text) % 97)) for text in request.inputs)
        return EmbeddingResponse(vectors, request.model, Usage(sum(map(len, request.inputs)), 0), 0.1)


def merging(vendor: Vendor) -> Merging:
    return Merging(vendor.chat, vendor.embed, SystemClock())


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=20))
def test_parts_add_up_to_the_whole_and_none_is_negative(total, weights):
    parts = share_out(total, weights)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    assert min(parts) >= 0


def test_each_sample_is_an_answer_of_its_own_and_the_bill_is_divided_to_the_token():
    apart = samples_apart(chat(["a", "b", "c"], Usage(10, 7, None, 4), calls=2), 3)
    assert [(each.text, each.calls, each.further, each.origin) for each in apart] == [
        ("a", 2, (), Origin.BATCH),
        ("b", 0, (), Origin.BATCH),
        ("c", 0, (), Origin.BATCH),
    ]
    assert [each.paid for each in apart] == [
        Usage(4, 3, None, 2),
        Usage(3, 2, None, 1),
        Usage(3, 2, None, 1),
    ]
    assert [each.usage for each in apart] == [
        Usage(10, 3, None, 2),
        Usage(10, 2, None, 1),
        Usage(10, 2, None, 1),
    ]


COUNTS = st.integers(0, 10_000)
DETAILS = st.none() | COUNTS


@example(fresh=1, plain=0, cached=2, reasoning=2, many=3)  # more left over of the part than of the whole
@given(COUNTS, COUNTS, DETAILS, DETAILS, st.integers(1, 12))
def test_the_parts_of_a_bill_add_up_and_what_is_cached_stays_among_each_ones_input(
    fresh, plain, cached, reasoning, many
):
    whole = Usage(fresh + (cached or 0), plain + (reasoning or 0), cached, reasoning)
    price = Price(Decimal(2), Decimal(8), "list", cached_input=Decimal("0.5"))
    parts = [each.paid for each in samples_apart(chat(["a"] * many, whole), many)]
    for name in ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens"):
        of_each, of_all = [getattr(part, name) for part in parts], getattr(whole, name)
        assert of_each == [None] * many if of_all is None else sum(of_each) == of_all
    assert all(0 <= (part.cached_tokens or 0) <= part.input_tokens for part in parts)
    assert all(0 <= (part.reasoning_tokens or 0) <= part.output_tokens for part in parts)
    assert sum(map(price.cost_nano, parts)) == price.cost_nano(whole)


def test_more_samples_than_were_asked_for_are_nobodys_and_paid_by_those_who_asked():
    apart = samples_apart(chat(["a", "b", "c"], Usage(10, 9)), 2)
    assert [(each.text, each.paid) for each in apart] == [("a", Usage(5, 5)), ("b", Usage(5, 4))]


def test_no_usage_stays_no_usage():
    assert [each.paid for each in samples_apart(chat(["a", "b"]), 2)] == [None, None]


def test_vectors_go_to_whose_texts_they_are_and_longer_texts_pay_more():
    response = EmbeddingResponse(((1.0,), (2.0,), (3.0,)), "v", Usage(9, 0), 0.1)
    requests = [EmbeddingRequest("v", ("aa", "aa")), EmbeddingRequest("v", ("aaaaa",))]
    first, second = vectors_apart(response, requests)
    assert (first.vectors, second.vectors) == (((1.0,), (2.0,)), ((3.0,),))
    assert (first.paid, second.paid) == (Usage(4, 0), Usage(5, 0))
    assert (first.calls, second.calls) == (1, 0)


async def test_four_samples_at_once_are_one_call():
    vendor = Vendor()
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(4)))
    assert vendor.calls == [4]
    assert [each.text for each in answers] == ["1.0", "1.1", "1.2", "1.3"]


async def test_a_vendor_without_several_samples_is_called_for_each():
    vendor = Vendor()
    made, account = merging(vendor), account_at("http://x", dialect="anthropic")
    await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(3)))
    assert vendor.calls == [1, 1, 1]


async def test_a_batch_size_of_one_turns_it_off():
    vendor = Vendor()
    made, account = merging(vendor), vendor_at(batch_config=BatchConfig(max_batch_size=1))
    await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(3)))
    await asyncio.gather(*(made.texts("k", account, EmbeddingRequest("v", ("a",))) for _ in range(2)))
    assert vendor.calls == [1, 1, 1, 1, 1]


async def test_who_gets_no_sample_is_called_for():
    vendor = Vendor(fewer=2)
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(4)))
    assert vendor.calls == [4, 1, 1]
    assert sorted(each.text for each in answers) == ["1.0", "1.1", "2.0", "3.0"]


async def test_a_model_that_refuses_several_samples_is_asked_for_each_and_remembered():
    vendor = Vendor(refuse="several")
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(3)))
    assert [each.text for each in answers] == ["2.0", "3.0", "4.0"]
    assert [each.calls for each in answers] == [2, 1, 1]
    await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(2)))
    assert vendor.calls == [3, 1, 1, 1, 1, 1]


async def test_a_failed_call_fails_everybody_in_it():
    made, account = merging(Vendor(refuse="all")), vendor_at()
    answers = await asyncio.gather(
        *(made.sample("k", account, ASK) for _ in range(3)), return_exceptions=True
    )
    assert {type(each) for each in answers} == {ProviderError}
    assert len({id(each) for each in answers}) == 3
    assert sorted(each.calls for each in answers) == [0, 0, 1]


async def test_a_request_that_is_refused_alone_too_says_nothing_about_several_samples():
    vendor = Vendor(refuse="bad")
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(
        *(made.sample("k", account, ASK) for _ in range(4)), return_exceptions=True
    )
    assert vendor.calls == [4, 1]
    assert [each.failure for each in answers] == [Failure.BAD_REQUEST] * 4
    assert sorted(each.calls for each in answers) == [0, 0, 0, 2]
    vendor.refuse = ""
    await asyncio.gather(*(made.sample("k", account, ASK) for _ in range(3)))
    assert vendor.calls == [4, 1, 3]


async def test_a_model_that_is_down_after_it_refused_several_samples_fails_each_on_its_own():
    vendor = Vendor(refuse="several and all")
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(
        *(made.sample("k", account, ASK) for _ in range(3)), return_exceptions=True
    )
    assert [each.failure for each in answers] == [Failure.SERVER_ERROR] * 3
    assert sorted(each.calls for each in answers) == [1, 1, 2]
    assert vendor.calls == [3, 1, 1, 1]


async def test_a_failed_call_for_texts_is_counted_once():
    vendor = Vendor(refuse="all")
    made, account = merging(vendor), vendor_at()
    answers = await asyncio.gather(
        *(made.texts("k", account, EmbeddingRequest("v", (text,))) for text in "abc"), return_exceptions=True
    )
    assert sorted(each.calls for each in answers) == [0, 0, 1]
    assert len({id(each) for each in answers}) == 3


async def test_one_that_leaves_before_its_batch_goes_takes_no_sample_and_no_vector_from_the_others():
    vendor = Vendor()
    made, account = merging(vendor), vendor_at()
    vendor.go.clear()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        under_way = group.create_task(made.texts("k", account, EmbeddingRequest("v", ("a",))))
        await asyncio.sleep(0)
        while not vendor.calls:
            await asyncio.sleep(0)
        leader, *others = [
            group.create_task(made.texts("k", account, EmbeddingRequest("v", ("x" * length,))))
            for length in (2, 3, 4)
        ]
        await asyncio.sleep(0)
        leader.cancel()
        vendor.go.set()
    assert vendor.calls == [1, 2]
    assert [each.result().vectors[0][0] for each in (under_way, *others)] == [1.0, 3.0, 4.0]
    assert [each.result().calls for each in others] == [1, 0]


async def test_one_bad_text_harms_nobody_else():
    vendor = Vendor()
    made, account = merging(vendor), vendor_at()
    good, bad, other = await asyncio.gather(
        *(made.texts("k", account, EmbeddingRequest("v", (text,))) for text in ("a", "bad", "ccc")),
        return_exceptions=True,
    )
    assert (good.vectors[0][0], other.vectors[0][0]) == (1.0, 3.0)
    assert isinstance(bad, ProviderError)
    assert vendor.calls == [3, 1, 1, 1]
    assert good.calls + bad.calls + other.calls == 4


async def test_no_call_has_more_texts_than_the_strictest_vendor_takes():
    vendor = Vendor()
    made, account = merging(vendor), vendor_at(batch_config=BatchConfig(max_batch_size=100))
    sizes = [40, 40, 40, 1, 48, MOST_INPUTS]
    answers = await asyncio.gather(
        *(made.texts("k", account, EmbeddingRequest("v", ("x" * size,) * size)) for size in sizes)
    )
    assert [len(each.vectors) for each in answers] == sizes
    assert [each.vectors[0][0] for each in answers] == sizes
    assert sorted(vendor.calls) == [80, 89, 96]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "another scope"},
        {"account": {"secret": "sk-other"}},
        {"account": {"provider_id": uuid4()}},
    ],
)
async def test_nothing_goes_together_across_scopes_credentials_and_accounts(other):
    vendor = Vendor()
    made, account = merging(vendor), vendor_at()
    second = replace(account, **other.get("account", {}))
    await asyncio.gather(
        made.texts("k", account, EmbeddingRequest("v", ("a",))),
        made.texts(other.get("name", "k"), second, EmbeddingRequest("v", ("b",))),
    )
    assert vendor.calls == [1, 1]


async def test_a_lone_caller_does_not_wait():
    vendor = Vendor()
    made = merging(vendor)
    account = vendor_at(batch_config=BatchConfig(10, 10_000))
    async with asyncio.timeout(5):
        await made.texts("k", account, EmbeddingRequest("v", ("a",)))
        await made.sample("k", account, ASK)
    assert vendor.calls == [1, 1]
