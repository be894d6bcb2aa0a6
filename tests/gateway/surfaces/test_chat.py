"""Chat completions as callers write them, in neutral words, and back on OpenAI's wire."""

import json

import pytest
from openai.types.chat import ChatCompletion
from tests.accounts import account_at
from tests.gateway.surfaces.asking import (
    EVENTS,
    QUESTION,
    SCHEMA,
    answered,
    chat_completion,
    datas,
    fields,
    written,
)

from tiebreak.errors import InvalidInput
from tiebreak.gateway.surfaces import chat
from tiebreak.gateway.surfaces.writing import Question
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.model import (
    ChatResponse,
    Failure,
    ImagePart,
    JsonSchema,
    Message,
    NamedTool,
    ProviderError,
    Sample,
    StopReason,
    StreamEnd,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
)

SAID = {"messages": [{"role": "user", "content": "Hi"}]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": SCHEMA}}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}}
COMMON = [
    SAID,
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "é\u2028"}]},
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aGk="}},
                ],
            }
        ]
    },
    {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ],
        "tools": [WEATHER],
        "tool_choice": "auto",
    },
    SAID | {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
    SAID | {"response_format": {"type": "json_object"}},
    SAID
    | {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": SCHEMA, "strict": True},
        }
    },
    SAID
    | {"temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 9, "stop": ["a", "b"], "seed": 7, "n": 2},
    SAID | {"stream": True, "stream_options": {"include_usage": True}},
]


@pytest.mark.parametrize("body", COMMON)
def test_what_the_dialect_and_the_neutral_words_share_comes_out_as_it_went_in(body):
    asked = chat.to_neutral(fields(**body))
    sent = adapter_of("openai").encode(account_at("https://x"), asked)
    assert json.loads(sent.body or b"") == {"model": "tests/a"} | body


def neutral(*messages, **more):
    return chat.to_neutral(fields(messages=list(messages), **more))


def test_roles_have_neutral_words():
    asked = neutral(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "name": None, "content": "Hi"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "Never."}]},
    )
    assert asked.messages == (
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "No."),
        Message("assistant", (TextPart("Never."),)),
    )


def test_pictures_are_urls_or_bytes():
    parts = [
        {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "data:IMAGE/PNG;base64,aGk="}},
    ]
    (said,) = neutral({"role": "user", "content": parts}).messages
    assert said.content == (
        ImagePart(url="https://x.example/a.png"),
        ImagePart(data="aGk=", media_type="image/png"),
    )


def test_tools_their_calls_and_results_have_neutral_words():
    asked = chat.to_neutral(fields(**COMMON[3]))
    assert asked.tools == (Tool("weather", SCHEMA, "d"),)
    assert asked.tool_choice == "auto"
    assert asked.messages[1:] == (
        Message("assistant", "", (ToolCall("c1", "weather", '{"city":"Paris"}'),)),
        Message("tool", "rain", tool_call_id="c1"),
    )
    assert chat.to_neutral(fields(**COMMON[4])).tool_choice == NamedTool("weather")


def test_a_signature_comes_back_with_its_call():
    call = CALL | {"extra_content": {"google": {"thought_signature": "s"}}}
    (said,) = neutral({"role": "assistant", "tool_calls": [call]}).messages
    assert said.tool_calls[0].signature == "s"


def test_the_newer_name_of_the_limit_wins_and_one_stop_is_a_list_of_one():
    asked = neutral(max_tokens=5, max_completion_tokens=9, stop="x")
    assert (asked.max_tokens, asked.stop, asked.n) == (9, ("x",), 1)
    assert neutral(max_tokens=5).max_tokens == 5


def test_a_schema_is_strict_only_if_it_says_so():
    wanted = {"type": "json_schema", "json_schema": {"name": "a"}}
    assert neutral(response_format=wanted).output == JsonSchema("a", {}, strict=False)


def test_what_asks_for_nothing_and_what_is_about_the_caller_needs_no_words():
    idle = {"logprobs": False, "top_logprobs": 0, "store": False, "frequency_penalty": 0.0, "audio": None}
    about = {"user": "ann", "metadata": {"a": "b"}, "prompt_cache_key": "k", "safety_identifier": "s"}
    assert chat.untranslatable(fields(**SAID, **idle, **about)) == []
    assert neutral(**idle, **about).parameters == {}


def test_what_has_no_words_is_refused_by_name_unless_the_provider_speaks_the_dialect():
    asked = fields(**SAID, logprobs=True, store=True, top_k=4, brand_new={"a": 1}, frequency_penalty=0.1)
    names = ["brand_new", "frequency_penalty", "logprobs", "store", "top_k"]
    assert chat.untranslatable(asked) == names
    with pytest.raises(InvalidInput, match="`brand_new`, `frequency_penalty`, `logprobs`, `store`, `top_k`"):
        chat.to_neutral(asked)
    assert sorted(chat.to_neutral(asked, same_family=True).parameters) == names


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "missing required field `messages`"),
        ({"messages": "Hi"}, r"`messages` cannot be read: expected `array`"),
        ({"messages": [{"role": "user", "content": 4}]}, r"`messages\[0\].content` cannot be read"),
        ({"messages": [{"role": "robot"}]}, r"`messages\[0\].role` is 'robot'"),
        ({"messages": [{"role": "user", "name": "ann"}]}, r"`messages\[0\].name` has no words"),
        ({"messages": [{"role": "tool", "content": "x"}]}, r"tool_call_id` is missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            r"`messages\[0\].content\[0\]` is of type 'input_audio'",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, r"content\[0\].text` is missing"),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image_url", "image_url": {"url": "data:,hi"}}],
                    }
                ]
            },
            "data URL",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "type": "custom"}]}]},
            "calls of functions only",
        ),
        (SAID | {"tools": [{"type": "web_search"}]}, r"`tools\[0\]` is of type 'web_search'"),
        (SAID | {"tool_choice": "maybe"}, "`tool_choice` is 'maybe'"),
        (SAID | {"tool_choice": {"type": "allowed_tools"}}, "`tool_choice` is 'allowed_tools'"),
        (SAID | {"response_format": {"type": "xml"}}, "`response_format` is 'xml'"),
        (SAID | {"n": 0}, "`n` is 0"),
        (SAID | {"seed": 2**70}, "`seed` cannot be read"),
        (SAID | {"max_tokens": "many"}, "`max_tokens` cannot be read: expected `int"),
    ],
)
def test_what_cannot_be_said_is_named_with_its_place(body, reason):
    with pytest.raises(InvalidInput, match=reason):
        chat.to_neutral(fields(**body))


def parsed(response: ChatResponse) -> ChatCompletion:
    return ChatCompletion.model_validate_json(chat.answer(response, QUESTION), strict=True)


def test_an_answer_is_what_the_sdk_reads():
    read = parsed(answered(further=(Sample("vier", StopReason.LENGTH),)))
    assert (read.id, read.created, read.model) == ("chatcmpl-r1", 1_700_000_000, "answering")
    assert [(c.index, c.message.content, c.finish_reason) for c in read.choices] == [
        (0, "four", "stop"),
        (1, "vier", "length"),
    ]
    usage = read.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (20, 9, 29)
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert usage.completion_tokens_details.reasoning_tokens == 5


def test_tool_calls_and_refusals_have_their_fields():
    called = parsed(answered("", StopReason.TOOL_CALLS, tool_calls=(ToolCall("", "weather", "{}", "s"),)))
    (choice,) = called.choices
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    (call,) = choice.message.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_r1_0_0", "weather", "{}")
    assert call.extra_content == {"google": {"thought_signature": "s"}}
    (no,) = parsed(answered("No.", StopReason.CONTENT_FILTER, vendor_reason="stop")).choices
    assert (no.message.content, no.message.refusal, no.finish_reason) == (None, "No.", "stop")
    (cut,) = parsed(answered("Fo", StopReason.CONTENT_FILTER, vendor_reason="SAFETY")).choices
    assert (cut.message.content, cut.message.refusal, cut.finish_reason) == ("Fo", None, "content_filter")


def test_a_stream_adds_up_in_the_sdk():
    read = chat_completion(written(chat, EVENTS))
    (choice,) = read.choices
    assert (choice.message.content, choice.finish_reason) == ("four", "tool_calls")
    assert [(c.id, c.function.name, c.function.arguments) for c in choice.message.tool_calls] == [
        ("c1", "weather", '{"city":"Paris"}'),
        ("c2", "time", "{}"),
    ]
    assert read.usage.total_tokens == 29


def test_usage_is_told_only_if_it_was_asked_for():
    asked = Question("r1", 1, QUESTION.request)
    assert b"usage" not in written(chat, EVENTS, asked)
    *_, last, done = datas(written(chat, EVENTS))
    assert (last["choices"], last["usage"]["prompt_tokens"], done) == ([], 20, b"[DONE]")


def test_a_streamed_refusal_stays_apart():
    end = StreamEnd(StopReason.STOP, "stop", "m")
    (choice,) = chat_completion(written(chat, [TextDelta("No.", refusal=True), end])).choices
    assert (choice.message.refusal, choice.message.content, choice.finish_reason) == ("No.", "", "stop")


def test_a_stream_that_breaks_off_says_so_and_says_nothing_after_it():
    writer = chat.writer(QUESTION)
    writer.feed(TextDelta("fo"))
    (said,) = datas(writer.error(ProviderError(Failure.TIMEOUT, "too slow")))
    assert said == {
        "error": {"message": "too slow", "type": "server_error", "param": None, "code": "timeout"}
    }
    assert writer.feed(TextDelta("ur")) == writer.error(ProviderError(Failure.TIMEOUT, "again")) == b""
