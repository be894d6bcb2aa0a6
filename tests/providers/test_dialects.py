"""Dialects and presets: every one can be called, and its quirks count on the wire."""

import json
from typing import get_args

import pytest
from tests.accounts import account_at

from tiebreak.infrastructure.connections.addresses import check_url
from tiebreak.providers import presets
from tiebreak.providers.account import Account
from tiebreak.providers.dialects import ADAPTERS, PLAIN, adapter_of, untranslatable
from tiebreak.providers.model import (
    ChatRequest,
    EmbeddingRequest,
    Failure,
    ImagePart,
    JsonSchema,
    Message,
    ProviderError,
)
from tiebreak.providers.presets import PRESETS, split, stored_dialect
from tiebreak.providers.schemas import Dialect


def account(preset: str) -> Account:
    return account_at(PRESETS[preset].base_url, dialect=stored_dialect(preset))


def asked(parameters=(), **changes) -> ChatRequest:
    return ChatRequest("small", (Message("user", "2 + 2?"),), dict(parameters), **changes)


def sent(preset: str, request: ChatRequest) -> dict:
    shop = account(preset)
    return json.loads(adapter_of(shop.dialect).encode(shop, request).body or b"")


def refusal(preset: str, request: ChatRequest) -> str:
    return untranslatable(stored_dialect(preset), PRESETS[preset].base_url, request) or ""


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_an_address_that_may_be_called_and_an_adapter(name):
    preset = PRESETS[name]
    assert check_url(preset.base_url, "loopback") == preset.base_url
    assert stored_dialect(name) in ADAPTERS
    assert split(stored_dialect(name)) == (preset.dialect, None if preset.quirks is None else name)
    assert sent(name, asked())


def test_the_api_takes_every_dialect_by_its_plain_name():
    assert set(get_args(Dialect)) == PLAIN.keys()
    assert presets.COMPATIBLE in PLAIN


def test_mistral_has_another_name_for_the_seed_and_sends_usage_unasked():
    for request in (asked({"seed": 7}, stream=True), asked(seed=7, stream=True)):
        body = sent("mistral", request)
        assert (body["random_seed"], body["stream"]) == (7, True)
        assert body.keys() & {"seed", "stream_options"} == set()


def test_openai_has_the_newer_name_for_the_limit_and_the_others_keep_what_was_written():
    for name in ("max_tokens", "max_completion_tokens"):
        assert sent("openai", asked({name: 5}))["max_completion_tokens"] == 5
        assert sent("groq", asked({name: 5}))[name] == 5


@pytest.mark.parametrize(
    ("preset", "request_", "words"),
    [
        ("deepseek", asked(output=JsonSchema("a", {})), "no JSON schema"),
        ("deepseek", ChatRequest("m", (Message("user", (ImagePart(data="eA=="),)),), {}), "no images"),
        ("groq", asked(n=2), "1 samples a call and n is 2"),
        ("anthropic", asked({"seed": 7}), "no seed"),
        ("anthropic", asked({"max_tokens": "many"}), "'max_tokens' is 'many'; a whole number"),
        ("gemini", asked({"temperature": True}), "'temperature' is True; a number"),
        ("gemini", asked({"stop": [1]}), "'stop' is [1]; a string or a list of strings"),
        ("gemini", asked(n=9), "8 samples a call and n is 9"),
    ],
    ids=["schema", "image", "samples", "seed", "limit", "temperature", "stop", "gemini-samples"],
)
def test_what_a_vendor_is_known_not_to_take_is_said_before_anything_is_sent(preset, request_, words):
    assert words in refusal(preset, request_)


def test_what_a_vendor_takes_is_no_refusal():
    assert refusal("vllm", asked(n=4)) == ""


def test_a_vendor_without_embeddings_is_known():
    shop = account("groq")
    with pytest.raises(ProviderError, match="no embeddings"):
        adapter_of(shop.dialect).encode_embeddings(shop, EmbeddingRequest("m", ("a",)))


def test_a_dialect_of_a_later_version_is_named():
    with pytest.raises(ProviderError, match="'telepathy' is not one of openai_compatible") as caught:
        adapter_of("telepathy")
    assert (caught.value.failure, caught.value.calls) == (Failure.BAD_REQUEST, 0)


@pytest.mark.parametrize(
    ("dialect", "base_url", "url"),
    [
        ("anthropic", "https://x.example/v1", "https://x.example/v1/messages"),
        ("gemini", "https://x.example/v1beta", "https://x.example/v1beta/models/m:generateContent"),
        ("azure_openai", "https://x.example/openai/v1", "https://x.example/openai/v1/chat/completions"),
        (
            "azure_openai",
            "https://x.example/openai",
            "https://x.example/openai/deployments/m/chat/completions?api-version=2024-10-21",
        ),
    ],
)
def test_a_base_url_may_hold_the_version_already(dialect, base_url, url):
    shop = account_at(base_url, dialect=dialect)
    assert adapter_of(dialect).encode(shop, ChatRequest("m", (Message("user", "x"),), {})).url == url


def test_azure_lists_models_where_its_version_of_the_api_has_them():
    for base_url, url in (
        ("https://x.example/openai/v1", "https://x.example/openai/v1/models"),
        ("https://x.example", "https://x.example/openai/models?api-version=2024-10-21"),
    ):
        shop = account_at(base_url, dialect="azure_openai")
        assert adapter_of("azure_openai").encode_models(shop).url == url


def test_how_many_samples_a_call_may_ask_for_is_known():
    samples = {name: adapter_of(stored_dialect(name)).samples(account(name)) for name in PRESETS}
    assert samples["openai"] == samples["vllm"] == 128
    assert samples["anthropic"] == samples["groq"] == samples["openai-responses"] == 1
