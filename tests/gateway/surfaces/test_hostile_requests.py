"""Whatever body a caller sends, on any surface: a request or a refusal that names what is wrong."""

import copy
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.gateway.surfaces import test_chat, test_messages, test_responses

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import Fields, read_fields
from tiebreak.gateway.surfaces import chat, embeddings, errors, messages, responses

SURFACES = [chat, responses, messages, embeddings]
GOOD = [
    *((chat, body) for body in test_chat.COMMON),
    *((responses, body) for body in test_responses.COMMON),
    *((messages, body) for body in test_messages.COMMON),
    (embeddings, {"input": ["a", "b"], "encoding_format": "float"}),
]
WORDS = sorted(
    {
        *("messages", "input", "content", "role", "type", "text", "tools", "tool_choice", "function", "name"),
        *("image_url", "source", "url", "tool_calls", "output", "format", "system", "arguments", "call_id"),
    }
)
VALUES = [
    "user",
    "assistant",
    "tool",
    "text",
    "input_text",
    "image_url",
    "function_call",
    "data:",
    "tool_use",
    "",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(VALUES) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=15,
)


def read(surface, body: bytes) -> None:
    """A request or our refusal; anything else escapes and fails the test."""
    for same_family in (False, True):
        refusal = None
        try:
            found: Fields = read_fields(body)
            surface.to_neutral(found, same_family=same_family)
            surface.untranslatable(found)
        except InvalidInput as exc:
            refusal = exc
        if refusal is not None:
            assert 0 < len(refusal.detail) < 2000
            json.loads(errors.openai(refusal, "r").body)


@pytest.mark.parametrize("surface", SURFACES)
@settings(max_examples=200, deadline=None)
@given(body=st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), JSON, max_size=6))
def test_any_object_is_a_request_or_a_refusal(surface, body):
    read(surface, json.dumps({"model": "tests/a", **body}).encode())


@pytest.mark.parametrize("surface", SURFACES)
@settings(max_examples=100, deadline=None)
@given(body=st.binary(max_size=80))
@example(body=b'{"model":"m","messages":' + b"[" * 50_000)
@example(body=b'{"model":"m","zz":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}")
@example(body=b'{"model":"m","zz":"\xff"}')
@example(body=b'{"model":"m","\xff":1}')
@example(body=b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}')
@example(body=b'{"model":"m","input":"a","encoding_format":"' + b" - at `$" * 50_000 + b'"}')
@example(body=b'{"model":"m","messages":[],"max_tokens":' + b"9" * 4_000 + b"}")
@example(body=b'{"model":"m","messages":[],"max_tokens":9,"temperature":1e999}')
def test_any_bytes_are_a_request_or_a_refusal(surface, body):
    read(surface, body)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_a_good_request_with_a_value_changed_is_a_request_or_a_refusal(data):
    surface, good = data.draw(st.sampled_from(GOOD))
    body = copy.deepcopy({"model": "tests/a", **good})
    holder, place = body, data.draw(st.sampled_from(sorted(body)))
    while holder[place] and isinstance(holder[place], dict | list) and data.draw(st.booleans()):
        holder = holder[place]
        places = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        place = data.draw(st.sampled_from(places))
    holder[place] = data.draw(JSON)
    read(surface, json.dumps(body).encode())


@pytest.mark.parametrize("surface", [chat, responses, messages])
def test_the_examples_are_good_as_they_are(surface):
    for owner, body in GOOD:
        if owner is surface:
            surface.to_neutral(read_fields(json.dumps({"model": "m"} | copy.deepcopy(body)).encode()))
