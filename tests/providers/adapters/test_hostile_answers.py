"""Whatever a vendor sends, in any dialect: an answer or a named failure, and never the key."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.accounts import account_at
from tests.contracts.vendors import VENDORS, Said
from tests.upstream import SECRET

from tiebreak.providers.account import Account
from tiebreak.providers.dialects import PLAIN, adapter_of
from tiebreak.providers.model import ChatRequest, ChatResponse, EmbeddingRequest, Message, ProviderError

NOW = datetime(2026, 11, 23, tzinfo=UTC)
ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
TEXTS = EmbeddingRequest("small", ("one",))
CALLS = Said("four", "tool_calls", (("call_1", "weather", '{"city":"Paris"}'),))
WORDS = sorted(
    {
        *(
            "type",
            "text",
            "content",
            "parts",
            "candidates",
            "usage",
            "usageMetadata",
            "error",
            "delta",
            "index",
        ),
        *(
            "message",
            "output",
            "status",
            "response",
            "item",
            "embedding",
            "embeddings",
            "data",
            "promptFeedback",
        ),
    }
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=12,
)
BODIES = JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100)


def account(dialect: str) -> Account:
    return account_at("http://x", dialect=dialect)


def tried(call, *arguments):
    """What the call gives, a named failure included; anything else escapes and fails the test."""
    try:
        return call(*arguments)
    except ProviderError as failure:
        found = failure
    assert found.detail.isprintable()
    assert len(found.detail) < 1000
    assert SECRET not in found.detail + found.body
    return found


def read_in_every_way(dialect: str, body: bytes) -> None:
    adapter, shop = adapter_of(dialect), account(dialect)
    assert isinstance(tried(adapter.decode, shop, ASK, body, 0.1), ChatResponse | ProviderError)
    reader = adapter.stream(shop, ASK)
    tried(reader.take, body)
    tried(reader.finish)
    tried(adapter.decode_embeddings, shop, TEXTS, body, 0.1)
    tried(adapter.decode_models, shop, body)
    assert isinstance(adapter.failure(shop, 400, {}, body, NOW), ProviderError)


@pytest.mark.parametrize("dialect", PLAIN)
@settings(max_examples=200, deadline=None)
@given(BODIES)
@example(json.dumps({"error": {"message": f"no key {SECRET}"}}).encode())
@example(f'{{"type": "error", "message": "{SECRET}"}}'.encode())
@example(b"[" * 10_000)
def test_any_body_is_an_answer_or_a_named_failure(dialect, body):
    read_in_every_way(dialect, body)


@pytest.mark.parametrize("dialect", PLAIN)
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_good_answer_with_bytes_changed_is_an_answer_or_a_named_failure(dialect, data):
    good = [VENDORS[dialect].plain(CALLS), *VENDORS[dialect].streamed(CALLS)]
    body = bytearray(data.draw(st.sampled_from(good)).partition(b"data: ")[2] or good[0])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    read_in_every_way(dialect, bytes(body))
