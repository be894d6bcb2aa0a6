"""The Responses API as callers write it, in neutral words, and back."""

import json

import pytest
from openai.types.responses import Response
from tests.accounts import account_at
from tests.gateway.surfaces.asking import EVENTS, QUESTION, SCHEMA, answered, fields, named, response, written

from tiebreak.errors import InvalidInput
from tiebreak.gateway.surfaces import responses
from tiebreak.gateway.surfaces.writing import Question
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
)

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "d",
    "parameters": SCHEMA,
    "strict": False,
}
CALL = {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Paris"}'}
COMMON = [
    {"input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
    {
        "input": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": "I look."},
            CALL,
            CALL | {"call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "rain"},
        ],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 9,
        "stream": True,
    },
    {
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}],
        "text": {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA, "strict": True}},
        "tool_choice": "none",
    },
]


def neutral(said, **more) -> ChatRequest:
    return responses.to_neutral(fields(input=said, **more))


@pytest.mark.parametrize("body", COMMON)
def test_what_the_dialect_and_the_neutral_words_share_comes_out_as_it_went_in(body):
    asked = responses.to_neutral(fields(**body))
    sent = adapter_of("openai_responses").encode(account_at("https://x"), asked)
    assert json.loads(sent.body or b"") == {"model": "tests/a", "store": False} | body


def test_a_string_is_the_users_and_instructions_are_the_systems():
    assert neutral("Hi", instructions="Be brief.").messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
    )


def test_an_assistants_words_and_calls_are_one_turn():
    asked = responses.to_neutral(fields(**COMMON[1]))
    call = ToolCall("c1", "weather", '{"city":"Paris"}')
    assert asked.messages == (
        Message("user", "Weather?"),
        Message("assistant", "I look.", (call, ToolCall("c2", "weather", '{"city":"Paris"}'))),
        Message("tool", "rain", tool_call_id="c1"),
    )
    assert (asked.tools, asked.tool_choice) == ((Tool("weather", SCHEMA, "d"),), NamedTool("weather"))


def test_calls_without_words_are_a_turn_of_their_own():
    asked = neutral([CALL, {"role": "user", "content": "Well?"}, CALL])
    call = ToolCall("c1", "weather", '{"city":"Paris"}')
    assert asked.messages == (
        Message("assistant", "", (call,)),
        Message("user", "Well?"),
        Message("assistant", "", (call,)),
    )


def test_a_format_and_more_of_the_text_cannot_be_rewritten_together():
    text = {"format": {"type": "json_object"}, "verbosity": "low"}
    with pytest.raises(InvalidInput, match="`text` asks for a format and for more"):
        responses.to_neutral(fields(input="Hi", text=text), same_family=True)


def test_parts_of_every_kind_have_neutral_words():
    content = [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"},
    ]
    out = [{"type": "output_text", "text": "b", "annotations": []}, {"type": "refusal", "refusal": "No."}]
    asked = neutral(
        [
            {"type": "message", "role": "developer", "content": "d"},
            {"role": "user", "content": content},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": out},
        ]
    )
    assert asked.messages == (
        Message("system", "d"),
        Message("user", (TextPart("a"), ImagePart(data="aGk="))),
        Message("assistant", (TextPart("b"), TextPart("No."))),
    )


def test_formats_have_neutral_words():
    assert neutral("Hi", text={"format": {"type": "text"}, "verbosity": None}).output == "text"
    assert neutral("Hi", text={"format": {"type": "json_object"}}).output == "json"
    assert responses.to_neutral(fields(**COMMON[2])).output == JsonSchema("a", SCHEMA, strict=True)


def test_what_has_no_words_is_refused_by_name_unless_the_provider_speaks_the_dialect():
    asked = fields(input="Hi", previous_response_id="r", store=True, text={"verbosity": "low"})
    assert responses.untranslatable(asked) == ["previous_response_id", "store", "text.verbosity"]
    with pytest.raises(InvalidInput, match=r"`previous_response_id`, `store`, `text\.verbosity`") as caught:
        responses.to_neutral(asked)
    assert [fault.pointer for fault in caught.value.faults][-1] == "/text/verbosity"
    assert responses.to_neutral(asked, same_family=True).parameters == {
        "previous_response_id": "r",
        "store": True,
        "text": {"verbosity": "low"},
    }
    idle = fields(input="Hi", store=False, include=[], truncation="disabled", reasoning={"effort": None})
    assert responses.untranslatable(idle) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "missing required field `input`"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, r"`input\[0\]` is of type 'item_reference'"),
        ({"input": [{"type": "reasoning", "encrypted_content": "x"}]}, "reasoning of another model"),
        ({"input": [{"type": "function_call", "name": "a"}]}, "without call_id or name"),
        ({"input": [{"type": "function_call_output", "output": "a"}]}, "say which call"),
        ({"input": [{"content": "a"}]}, "`input.0..role` is 'None'"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "'input_file'"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, "image_url"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "give its text"),
        ({"input": "Hi", "tools": [{"type": "web_search"}]}, "'web_search'"),
        ({"input": "Hi", "text": {"format": {"type": "grammar"}}}, "`text.format` is 'grammar'"),
        ({"input": "Hi", "tool_choice": {"type": "mcp"}}, "`tool_choice` is 'mcp'"),
    ],
)
def test_what_cannot_be_said_is_named_with_its_place(body, reason):
    with pytest.raises(InvalidInput, match=reason):
        responses.to_neutral(fields(**body))


def parsed(answer, question=QUESTION) -> Response:
    return Response.model_validate_json(responses.answer(answer, question), strict=True)


def test_an_answer_is_what_the_sdk_reads_and_repeats_the_request():
    asked = ChatRequest(
        "asked",
        (),
        {},
        tools=(Tool("weather", SCHEMA),),
        tool_choice=NamedTool("weather"),
        output=JsonSchema("a", SCHEMA),
        max_tokens=9,
        temperature=0.5,
    )
    read = parsed(answered(), Question("r1", 1, asked))
    assert (read.id, read.model, read.status, read.output_text) == (
        "resp_r1",
        "answering",
        "completed",
        "four",
    )
    assert (read.tools[0].name, read.tool_choice.name, read.text.format.name) == ("weather", "weather", "a")
    assert (read.max_output_tokens, read.temperature, read.store) == (9, 0.5, False)
    usage = read.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (20, 9, 29)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (4, 5)


def test_endings_are_statuses():
    cut = parsed(answered("fo", StopReason.LENGTH))
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    filtered = parsed(answered("fo", StopReason.CONTENT_FILTER, vendor_reason="SAFETY"))
    assert (filtered.status, filtered.incomplete_details.reason) == ("incomplete", "content_filter")
    no = parsed(answered("No.", StopReason.CONTENT_FILTER, vendor_reason="completed"))
    assert (no.status, no.output[0].content[0].refusal) == ("completed", "No.")


def test_a_signature_goes_through_the_callers_hands_and_comes_back_with_its_call():
    call = ToolCall("c1", "weather", "{}", "s")
    whole = parsed(answered("", StopReason.TOOL_CALLS, tool_calls=(call,)))
    assert [item.type for item in whole.output] == ["reasoning", "function_call"]
    end = StreamEnd(StopReason.TOOL_CALLS, "x", "answering")
    streamed = response(written(responses, [ToolCallDelta(0, "c1", "weather", "{}", "s"), end]))
    for read in (whole, streamed):
        items = [item.model_dump(mode="json", exclude_none=True) for item in read.output]
        asked = neutral([*items, {"type": "function_call_output", "call_id": "c1", "output": "rain"}])
        assert asked.messages[0] == Message("assistant", "", (call,))


def test_a_stream_adds_up_in_the_sdk():
    read = response(written(responses, EVENTS))
    assert (read.status, read.output_text, read.model) == ("completed", "four", "answering")
    assert [(i.call_id, i.name, i.arguments) for i in read.output[1:]] == [
        ("c1", "weather", '{"city":"Paris"}'),
        ("c2", "time", "{}"),
    ]
    assert read.usage.total_tokens == 29
    assert [event["type"].removeprefix("response.") for event in named(written(responses, EVENTS))] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_words_and_a_refusal_are_two_parts_of_one_message():
    end = StreamEnd(StopReason.CONTENT_FILTER, "completed", "m")
    read = response(written(responses, [TextDelta("Well."), TextDelta("No.", refusal=True), end]))
    assert [part.type for part in read.output[0].content] == ["output_text", "refusal"]
    assert read.status == "completed"


def test_a_stream_that_reaches_its_limit_is_incomplete():
    end = StreamEnd(StopReason.LENGTH, "length", "m")
    read = response(written(responses, [TextDelta("fo"), end]))
    assert (read.status, read.output[0].status) == ("incomplete", "incomplete")
    assert read.incomplete_details.reason == "max_output_tokens"


def test_a_stream_that_breaks_off_has_failed():
    writer = responses.writer(QUESTION)
    stream = writer.feed(TextDelta("fo")) + writer.error(ProviderError(Failure.RATE_LIMITED, "wait"))
    read = response(stream)
    assert (read.status, read.error.code, read.error.message) == ("failed", "rate_limit_exceeded", "wait")
    assert writer.feed(TextDelta("ur")) == b""


def test_a_relayed_stream_that_breaks_off_is_not_opened_again():
    (failed,) = named(responses.writer(QUESTION).error(ProviderError(Failure.BAD_REQUEST, "no")))
    said = failed["response"]["error"]
    assert (failed["type"], said["code"]) == ("response.failed", "invalid_prompt")
