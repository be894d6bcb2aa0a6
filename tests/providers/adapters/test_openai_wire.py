"""The dialect as bytes: what is sent, what is understood, and what every bad answer becomes."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.accounts import account_at
from tests.upstream import SECRET, completion

from tiebreak.providers.adapters import openai_wire as wire
from tiebreak.providers.adapters.openai_compatible import OpenAICompatible
from tiebreak.providers.model import ChatRequest, ChatResponse, Failure, Message, ProviderError, Usage

encode = OpenAICompatible().encode
NOW = datetime(2026, 11, 23, tzinfo=UTC)
ASK = ChatRequest("small", (Message("system", "Be brief."), Message("user", "2 + 2?")), {"temperature": 0})


@pytest.fixture
def account(make_account):
    return make_account("https://vendor.example/v1")


def decode(account, body) -> ChatResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return wire.decode(account, ASK, raw, 0.5)


def test_a_request_says_model_messages_and_parameters(account):
    sent = encode(account, ASK)
    assert (sent.method, sent.url) == ("POST", "https://vendor.example/v1/chat/completions")
    assert json.loads(sent.body or b"") == {
        "model": "small",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}],
        "temperature": 0,
    }
    assert sent.headers["authorization"] == f"Bearer {SECRET}"
    assert sent.timeouts.total == account.service.timeout_seconds


def test_a_stream_is_asked_for_with_its_usage(account):
    sent = json.loads(encode(account, ChatRequest("m", (), {}, stream=True)).body or b"")
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


def test_an_account_without_a_secret_sends_none(make_account):
    assert "authorization" not in encode(make_account("http://x", secret=None), ASK).headers


@pytest.mark.parametrize("name", ["model", "messages", "stream", "stream_options", "n"])
def test_a_parameter_that_is_ours_is_refused_before_anything_is_sent(account, name):
    with pytest.raises(ProviderError, match=f"'{name}' cannot be set") as caught:
        encode(account, ChatRequest("m", (), {name: 1}))
    assert (caught.value.failure, caught.value.calls) == (Failure.BAD_REQUEST, 0)


def test_text_that_is_no_unicode_is_refused_before_anything_is_sent(account):
    with pytest.raises(ProviderError, match="JSON") as caught:
        encode(account, ChatRequest("m", (Message("user", "\ud800"),), {}))
    assert caught.value.calls == 0


def test_an_answer_is_text_reason_model_and_usage(account):
    assert decode(account, completion("four")) == ChatResponse(
        text="four",
        finish_reason="stop",
        model="small-2026",
        usage=Usage(7, 3),
        latency=0.5,
        first_token=None,
        vendor_reason="stop",
    )


def choice(message, finish="stop") -> dict:
    return completion(choices=[{"message": message, "finish_reason": finish}])


@pytest.mark.parametrize(
    ("message", "text", "reason"),
    [
        ({"content": None}, "", "stop"),
        ({}, "", "stop"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"text": "b"}]}, "ab", "stop"),
        ({"content": [{"type": "text", "text": 5}]}, "", "stop"),
        ({"content": None, "refusal": "I cannot."}, "I cannot.", "content_filter"),
        ({"content": "yes", "refusal": None}, "yes", "stop"),
        ({"content": "a\x00b"}, "a\ufffdb", "stop"),
        ({"content": "", "tool_calls": [{"id": "x"}]}, "", "stop"),
    ],
)
def test_the_text_of_an_answer_in_its_many_forms(account, message, text, reason):
    answer = decode(account, choice(message))
    assert (answer.text, answer.finish_reason) == (text, reason)


def test_an_answer_may_leave_out_model_usage_and_reason(account):
    answer = decode(account, {"choices": [{"message": {"content": "four"}}]})
    assert (answer.model, answer.usage, answer.finish_reason) == ("small", None, None)


@pytest.mark.parametrize(
    "usage",
    [
        "null",
        "{}",
        '"many"',
        "[]",
        '{"prompt_tokens": -1, "completion_tokens": 3}',
        '{"prompt_tokens": 1000000000000, "completion_tokens": 3}',
        '{"prompt_tokens": 1' + "0" * 5000 + ', "completion_tokens": 3}',
        '{"prompt_tokens": 1.5, "completion_tokens": 3}',
        '{"prompt_tokens": true, "completion_tokens": 3}',
        '{"prompt_tokens": "7", "completion_tokens": 3}',
        '{"prompt_tokens": 7}',
    ],
)
def test_usage_that_cannot_be_is_none_and_the_answer_stands(account, usage):
    body = json.dumps(completion()).replace('"usage": {', '"usage": @{')
    head, _, tail = body.partition("@")
    answer = decode(account, (head + usage + tail[tail.index("}") + 1 :]).encode())
    assert (answer.text, answer.usage) == ("four", None)


NESTED = b'{"choices": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
MALFORMED = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"<html><body>Bad gateway</body></html>",
    json.dumps(completion()).encode()[:-20],
    b"\xef\xbb\xbf" + json.dumps(completion()).encode(),
    b'{"choices": [{"message": {"content": "caf\xe9"}}]}',
    b'{"choices": [{"message": {"content": NaN}}]}',
    b'{"choices": [{"message": {"content": 5}}]}',
    b'{"choices": [{"message": "hello"}]}',
    b'{"choices": [{"message": {"content": "\\ud800"}}]}',
    b'{"choices": [{}]}',
    b'{"choices": {"message": {}}}',
    b'{"choices": []}',
    b'{"choices": null}',
    b'{"choices": [{"message": {"content": "x"}, "finish_reason": 7}]}',
    NESTED,
    b'{"deep": ' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}",
    b"\x00\x01\x02",
]


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_an_answer_that_holds_none_is_malformed_and_short(account, body):
    with pytest.raises(ProviderError, match="'acme'") as caught:
        decode(account, body)
    assert caught.value.failure is Failure.MALFORMED
    assert len(caught.value.detail) < 500
    assert len(caught.value.body) <= 4096


def test_of_duplicate_keys_the_last_counts(account):
    assert decode(account, b'{"choices": [], "choices": [{"message": {"content": "x"}}]}').text == "x"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "message", "content", "usage", "error", "model", "delta", "code"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
BODIES = JSON.map(lambda value: json.dumps(value).encode())


SHOP = account_at("http://x")


def outcome(call, *arguments):
    """What the call gives, a named failure included; anything else escapes and fails the test."""
    try:
        return call(*arguments)
    except ProviderError as failure:
        return failure


def well_told(found) -> bool:
    return not isinstance(found, ProviderError) or (found.detail.isprintable() and len(found.detail) < 1000)


@settings(max_examples=500)
@given(BODIES | st.binary(max_size=200))
@example(NESTED)
def test_any_body_is_an_answer_or_a_named_failure(body):
    found = outcome(wire.decode, SHOP, ASK, body, 0.1)
    assert isinstance(found, ChatResponse | ProviderError)
    assert well_told(found)


@settings(max_examples=300)
@given(st.data())
def test_a_good_body_with_bytes_changed_is_an_answer_or_a_named_failure(data):
    body = bytearray(json.dumps(completion("four")).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(wire.decode, SHOP, ASK, bytes(body), 0.1)
    assert isinstance(found, ChatResponse) or found.failure in (Failure.MALFORMED, Failure.SERVER_ERROR)
    assert well_told(found)


@settings(max_examples=300)
@given(BODIES | st.binary(max_size=200), st.integers(300, 599))
def test_any_error_body_is_a_named_failure(body, status):
    error = wire.error_of(SHOP, status, {}, body, NOW)
    assert str(status) in error.detail
    assert well_told(error)


@settings(max_examples=300)
@given(BODIES | st.binary(max_size=200))
def test_any_event_is_a_piece_or_a_named_failure(data):
    assert well_told(outcome(wire.decode_chunk, SHOP, data))


@pytest.mark.parametrize(
    ("status", "error", "failure"),
    [
        (400, {"type": "invalid_request_error"}, Failure.BAD_REQUEST),
        (422, {}, Failure.BAD_REQUEST),
        (413, {}, Failure.BAD_REQUEST),
        (401, {}, Failure.AUTHENTICATION),
        (403, {}, Failure.AUTHENTICATION),
        (403, {"code": "insufficient_quota"}, Failure.QUOTA),
        (402, {}, Failure.QUOTA),
        (404, {}, Failure.NOT_FOUND),
        (302, {}, Failure.NOT_FOUND),
        (408, {}, Failure.TIMEOUT),
        (409, {}, Failure.SERVER_ERROR),
        (429, {"type": "requests", "code": "rate_limit_exceeded"}, Failure.RATE_LIMITED),
        (429, {"type": "insufficient_quota"}, Failure.QUOTA),
        (429, {"code": "billing_hard_limit_reached"}, Failure.QUOTA),
        (500, {}, Failure.SERVER_ERROR),
        (503, {}, Failure.SERVER_ERROR),
        (529, {"type": "overloaded_error"}, Failure.SERVER_ERROR),
    ],
)
def test_a_status_tells_whose_fault_it_was(account, status, error, failure):
    body = json.dumps({"error": {"message": "because"} | error}).encode()
    told = wire.error_of(account, status, {}, body, NOW)
    assert told.failure is failure
    assert f"'acme' answered {status}: because" in told.detail or 300 <= status < 400


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "plain words"}', "plain words"),
        (b'{"error": {"message": "nested"}}', "nested"),
        (b'{"message": "flat"}', "flat"),
        (b'{"detail": [{"msg": "field required"}]}', "field required"),
        (b'{"error": {"code": 400}}', '{"error": {"code": 400}}'),
        (b"<html>Bad gateway</html>", "<html>Bad gateway</html>"),
        (b"", "with an empty body"),
        (b'{"error": {"message": "broken', '{"error": {"message": "broken'),
    ],
)
def test_an_error_says_what_the_vendor_said(account, body, said):
    assert said in wire.error_of(account, 500, {}, body, NOW).detail


def test_an_error_is_redacted_short_and_keeps_its_body_to_4_kb(account):
    body = json.dumps({"error": {"message": f"no such key {SECRET} " + "x" * 10_000}}).encode()
    told = wire.error_of(account, 401, {}, body, NOW)
    assert SECRET not in told.detail + told.body
    assert len(told.detail) < 500
    assert 1000 < len(told.body) <= 4096


def test_a_minimum_wait_comes_with_the_error(account):
    assert wire.error_of(account, 429, {"retry-after": "3"}, b"", NOW).retry_after == 3.0


def test_a_redirect_names_its_target(account):
    told = wire.error_of(account, 307, {"location": "http://169.254.169.254/"}, b"", NOW)
    assert "169.254.169.254/, which is not followed" in told.detail


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"message": "x", "code": 429}, Failure.RATE_LIMITED),
        ({"message": "x", "code": 502}, Failure.SERVER_ERROR),
        ({"message": "x", "type": "server_error", "code": None}, Failure.SERVER_ERROR),
        ({"message": "x", "type": "rate_limit_error"}, Failure.RATE_LIMITED),
        ({"message": "x", "code": "insufficient_quota"}, Failure.QUOTA),
        ({"message": "x", "type": "overloaded_error"}, Failure.SERVER_ERROR),
        ({"message": "x", "type": "authentication_error"}, Failure.AUTHENTICATION),
        ({"message": "x", "code": "model_not_found"}, Failure.NOT_FOUND),
        ({"message": "x", "type": "invalid_request_error"}, Failure.BAD_REQUEST),
        ("just words", Failure.SERVER_ERROR),
        ({"message": "x", "code": 7}, Failure.SERVER_ERROR),
        ([], Failure.MALFORMED),
    ],
)
def test_an_error_told_inside_a_200_is_an_error(account, error, failure):
    body = json.dumps({"error": error}).encode()
    for read in (lambda: decode(account, body), lambda: wire.decode_chunk(account, body)):
        with pytest.raises(ProviderError, match="'acme'") as caught:
            read()
        assert caught.value.failure is failure


def test_models_are_names_sorted_once_each(account):
    body = json.dumps({"data": [{"id": "b"}, {"id": "a", "owned_by": "x"}, {"id": "b"}]}).encode()
    assert wire.decode_models(account, body) == ["a", "b"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data": [1]}', b"<html>"])
def test_a_list_of_models_that_is_none_is_malformed(account, body):
    with pytest.raises(ProviderError, match="list of models") as caught:
        wire.decode_models(account, body)
    assert caught.value.failure is Failure.MALFORMED
