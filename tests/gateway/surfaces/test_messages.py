"""Anthropic's messages as callers write them, in neutral words, and back."""

import json

import pytest
from anthropic.types import Message as Read
from tests.accounts import account_at
from tests.gateway.surfaces.asking import EVENTS, QUESTION, SCHEMA, answered, fields, message, named, written

from tiebreak.errors import InvalidInput
from tiebreak.gateway.surfaces import messages
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.model import (
    ChatRequest,
    Failure,
    ImagePart,
    JsonSchema,
    Message,
    NamedTool,
    ProviderError,
    StopReason,
    StreamEnd,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

SAID = {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Paris"}}
COMMON = [
    SAID,
    SAID | {"system": "Be brief.", "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["a"], "stream": True},
    SAID | {"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
    {
        "max_tokens": 9,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "This?"},
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}},
                ],
            }
        ],
    },
    {
        "max_tokens": 9,
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, USE]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "rain"}]},
        ],
        "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "weather"},
    },
    SAID | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
]


def neutral(*said, **more) -> ChatRequest:
    return messages.to_neutral(fields(messages=list(said), max_tokens=9, **more))


@pytest.mark.parametrize("body", COMMON)
def test_what_the_dialect_and_the_neutral_words_share_comes_out_as_it_went_in(body):
    asked = messages.to_neutral(fields(**body))
    sent = adapter_of("anthropic").encode(account_at("https://x"), asked)
    assert json.loads(sent.body or b"") == {"model": "tests/a"} | body


def test_tools_their_calls_and_results_have_neutral_words():
    asked = messages.to_neutral(fields(**COMMON[4]))
    (said, call, result) = asked.messages
    assert (said, result) == (Message("user", "Weather?"), Message("tool", "rain", tool_call_id="t1"))
    assert call.content == (TextPart("I look."),)
    (used,) = call.tool_calls
    assert (used.id, used.name, json.loads(used.arguments)) == ("t1", "weather", {"city": "Paris"})
    assert (asked.tools, asked.tool_choice) == ((Tool("weather", SCHEMA, "d"),), NamedTool("weather"))
    assert neutral(tool_choice={"type": "any"}).tool_choice == "required"


def test_results_become_messages_before_the_users_words():
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    content = [
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "rain"}, picture]},
        {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
        {"type": "text", "text": "And?", "cache_control": {"type": "ephemeral"}},
    ]
    assert neutral({"role": "user", "content": content}).messages == (
        Message("tool", (TextPart("rain"), ImagePart(data="aGk=")), tool_call_id="t1"),
        Message("tool", "", tool_call_id="t2"),
        Message("user", (TextPart("And?"),)),
    )


def test_a_system_message_may_stand_in_the_conversation():
    assert neutral({"role": "system", "content": [{"type": "text", "text": "s"}]}).messages == (
        Message("system", (TextPart("s"),)),
    )
    assert neutral({"role": "system", "content": "s"}).messages == (Message("system", "s"),)
    assert neutral({"role": "assistant", "content": "a"}).messages == (Message("assistant", "a"),)


def test_a_schema_gets_a_name():
    config = {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": None}
    assert neutral(output_config=config).output == JsonSchema("answer", SCHEMA)


def test_what_has_no_words_is_refused_by_name_unless_the_provider_speaks_the_dialect():
    thinking = {"type": "enabled", "budget_tokens": 1024}
    asked = fields(**SAID, top_k=4, thinking=thinking, output_config={"effort": "low"})
    assert messages.untranslatable(asked) == ["output_config.effort", "thinking", "top_k"]
    with pytest.raises(InvalidInput, match=r"`output_config\.effort`, `thinking`, `top_k`"):
        messages.to_neutral(asked)
    parameters = messages.to_neutral(asked, same_family=True).parameters
    assert parameters == {"top_k": 4, "thinking": thinking, "output_config": {"effort": "low"}}
    idle = fields(**SAID, thinking={"type": "disabled"}, metadata={"user_id": "a"}, service_tier="auto")
    assert messages.untranslatable(idle) == []


def user(*blocks):
    return {"messages": [{"role": "user", "content": list(blocks)}], "max_tokens": 9}


def assistant(*blocks):
    return {"messages": [{"role": "assistant", "content": list(blocks)}], "max_tokens": 9}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": []}, "missing required field `max_tokens`"),
        (
            {"messages": [{"role": "tool", "content": "x"}], "max_tokens": 9},
            r"`messages\[0\].role` is 'tool'",
        ),
        (user({"type": "document"}), r"`messages\[0\].content\[0\]` is of type 'document'"),
        (user({"type": "text"}), "a text block holds text"),
        (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "base64 or as a URL"),
        (user({"type": "tool_result", "content": "x"}), "tool_use_id` is missing"),
        (user({"type": "text", "text": "a"}, {"type": "tool_result", "tool_use_id": "t"}), "results first"),
        (user({"type": "tool_result", "tool_use_id": "t", "content": 4}), "expected `str | array | null`"),
        (assistant({"type": "thinking", "thinking": "hm", "signature": "x"}), "thinking of another model"),
        (assistant({"type": "redacted_thinking", "data": "x"}), "thinking of another model"),
        (assistant({"type": "tool_use", "name": "a"}), "without id or name"),
        (assistant({"type": "tool_use", "id": "a", "name": "a", "input": "x"}), "expected `object`"),
        (SAID | {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "only its vendor runs"),
        (SAID | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "disable_parallel"),
        (SAID | {"tool_choice": {"type": "some"}}, "`tool_choice` is 'some'"),
        (SAID | {"output_config": {"format": {"type": "xml"}}}, "`output_config.format`"),
    ],
)
def test_what_cannot_be_said_is_named_with_its_place(body, reason):
    with pytest.raises(InvalidInput, match=reason):
        messages.to_neutral(fields(**body))


def parsed(answer) -> Read:
    return Read.model_validate_json(messages.answer(answer, QUESTION), strict=True)


def test_an_answer_is_what_the_sdk_reads():
    read = parsed(answered(tool_calls=(ToolCall("t1", "weather", '{"city":"Paris"}'),)))
    assert (read.id, read.model, read.role, read.stop_reason) == (
        "msg_r1",
        "answering",
        "assistant",
        "end_turn",
    )
    text, use = read.content
    assert (text.text, use.id, use.name, use.input) == ("four", "t1", "weather", {"city": "Paris"})
    usage = read.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (16, 4, 9)
    assert usage.output_tokens_details.thinking_tokens == 5


@pytest.mark.parametrize(
    ("reason", "vendor", "ending"),
    [
        (StopReason.STOP, "stop", "end_turn"),
        (StopReason.STOP, "stop_sequence", "stop_sequence"),
        (StopReason.LENGTH, "length", "max_tokens"),
        (StopReason.TOOL_CALLS, "stop", "tool_use"),
        (StopReason.CONTENT_FILTER, "SAFETY", "refusal"),
        (StopReason.OTHER, "pause_turn", "pause_turn"),
        (StopReason.OTHER, "odd", "end_turn"),
        (None, None, "end_turn"),
    ],
)
def test_endings_have_the_dialects_words(reason, vendor, ending):
    assert parsed(answered("", reason, vendor_reason=vendor)).stop_reason == ending


def test_a_call_that_is_no_object_is_named_and_one_that_was_cut_off_is_left_out():
    calls = (ToolCall("t1", "weather", '{"city":"Par'),)
    assert parsed(answered("", StopReason.LENGTH, tool_calls=calls)).content == []
    with pytest.raises(ProviderError, match="'weather' with arguments that are no JSON object") as caught:
        messages.answer(answered("", StopReason.TOOL_CALLS, tool_calls=calls), QUESTION)
    assert caught.value.failure is Failure.MALFORMED


def test_a_signature_goes_through_the_callers_hands_and_comes_back_with_its_call():
    call = ToolCall("t1", "weather", "{}", "s")
    whole = parsed(answered("", StopReason.TOOL_CALLS, tool_calls=(call,)))
    end = StreamEnd(StopReason.TOOL_CALLS, "x", "answering")
    streamed = message(written(messages, [ToolCallDelta(0, "t1", "weather", "{}", "s"), end]))
    for read in (whole, streamed):
        assert [block.type for block in read.content] == ["thinking", "tool_use"]
        blocks = [block.model_dump(mode="json", exclude_none=True) for block in read.content]
        assert neutral({"role": "assistant", "content": blocks}).messages[0].tool_calls == (call,)


def test_a_stream_adds_up_in_the_sdk():
    read = message(written(messages, EVENTS))
    text, first, second = read.content
    assert (text.text, read.stop_reason) == ("four", "tool_use")
    assert (first.id, first.name, first.input) == ("c1", "weather", {"city": "Paris"})
    assert (second.id, second.name, second.input) == ("c2", "time", {})
    assert (read.usage.input_tokens, read.usage.cache_read_input_tokens, read.usage.output_tokens) == (
        16,
        4,
        9,
    )
    assert [event["type"] for event in named(written(messages, EVENTS))][-3:] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.mark.parametrize(
    ("words", "ending"),
    [
        ([TextDelta("I can", refusal=True), TextDelta("not.", refusal=True)], "refusal"),
        ([TextDelta("four")], "end_turn"),
        ([TextDelta("four"), TextDelta("or not", refusal=True)], "end_turn"),
    ],
)
def test_a_stream_of_nothing_but_a_refusal_ends_as_one(words, ending):
    end = StreamEnd(StopReason.STOP, "stop", "m")
    assert message(written(messages, [*words, end])).stop_reason == ending


def test_usage_that_is_known_early_is_told_early():
    begun = named(written(messages, [UsageUpdate(Usage(7, 1)), TextDelta("a")]))[0]
    assert begun["message"]["usage"]["input_tokens"] == 7


def test_a_stream_that_breaks_off_says_so_and_says_nothing_after_it():
    writer = messages.writer(QUESTION)
    writer.feed(TextDelta("fo"))
    (said,) = named(writer.error(ProviderError(Failure.CIRCUIT_OPEN, "away")))
    assert said == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "away"},
        "request_id": "r1",
    }
    assert writer.feed(TextDelta("ur")) == b""
