"""Whatever an answer holds and in whatever order its events come, the vendors' SDKs read it and nothing is lost."""

import json

import pytest
from anthropic.types import Message as AnthropicMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from tests.gateway.surfaces.asking import (
    MESSAGE_EVENTS,
    QUESTION,
    chat_completion,
    message,
    named,
    response,
    written,
)

from tiebreak.gateway.surfaces import chat, messages, responses
from tiebreak.providers.model import (
    ChatResponse,
    Failure,
    ProviderError,
    Sample,
    StopReason,
    StreamEnd,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

TEXT = st.text(max_size=12)
NAMES = st.text(min_size=1, max_size=8)
TOKENS = st.integers(0, 1_000_000)
USAGES = st.builds(Usage, TOKENS, TOKENS, st.none() | TOKENS, st.none() | TOKENS)
REASONS = st.sampled_from(StopReason)
WORDS = st.none() | TEXT | st.sampled_from(["stop", "completed", "refusal", "pause_turn", "SAFETY"])
OBJECTS = st.dictionaries(st.text(max_size=4), st.none() | st.integers(-9, 9) | TEXT, max_size=3).map(
    json.dumps
)
CALLS = st.lists(st.builds(ToolCall, TEXT, NAMES, OBJECTS | TEXT, st.none() | TEXT), max_size=3).map(tuple)
SAMPLES = st.lists(st.builds(Sample, TEXT, st.none() | REASONS, CALLS, WORDS), max_size=2).map(tuple)
ANSWERS = st.builds(
    ChatResponse,
    text=TEXT,
    finish_reason=st.none() | REASONS,
    model=TEXT,
    usage=st.none() | USAGES,
    latency=st.just(0.1),
    first_token=st.none(),
    tool_calls=CALLS,
    vendor_reason=WORDS,
    further=SAMPLES,
)
DELTAS = st.one_of(
    st.builds(TextDelta, TEXT, st.booleans()),
    st.builds(ToolCallDelta, st.integers(0, 3), st.none() | TEXT, st.none() | TEXT, TEXT, st.none() | TEXT),
    st.builds(UsageUpdate, USAGES),
)
ENDS = st.builds(StreamEnd, REASONS, TEXT, TEXT)
STREAMS = st.tuples(st.lists(DELTAS, max_size=12), ENDS).map(lambda pair: [*pair[0], pair[1]])


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_any_answer_is_a_chat_completion(answer):
    read = ChatCompletion.model_validate_json(chat.answer(answer, QUESTION), strict=True)
    assert len(read.choices) == len(answer.samples)
    for choice, sample in zip(read.choices, answer.samples, strict=True):
        assert (choice.message.content or choice.message.refusal or "") == sample.text
        assert [c.function.arguments for c in choice.message.tool_calls or ()] == [
            c.arguments for c in sample.tool_calls
        ]


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_any_answer_is_a_response(answer):
    read = Response.model_validate_json(responses.answer(answer, QUESTION), strict=True)
    parts = [part for item in read.output if item.type == "message" for part in item.content]
    assert "".join(getattr(part, "text", None) or part.refusal for part in parts) == answer.text
    calls = [(i.name, i.arguments) for i in read.output if i.type == "function_call"]
    assert calls == [(call.name, call.arguments) for call in answer.tool_calls]


def _object(text: str) -> bool:
    try:
        return isinstance(json.loads(text or "{}", parse_constant=lambda _: 1 / 0), dict)
    except (ValueError, ZeroDivisionError):
        return False


@settings(max_examples=200, deadline=None)
@given(ANSWERS)
def test_any_answer_is_a_message_unless_a_call_has_no_object(answer):
    if answer.finish_reason is not StopReason.LENGTH and not all(
        _object(c.arguments) for c in answer.tool_calls
    ):
        with pytest.raises(ProviderError) as caught:
            messages.answer(answer, QUESTION)
        assert caught.value.failure is Failure.MALFORMED
        return
    read = AnthropicMessage.model_validate_json(messages.answer(answer, QUESTION), strict=True)
    assert "".join(block.text for block in read.content if block.type == "text") == answer.text
    used = [(block.name, block.input) for block in read.content if block.type == "tool_use"]
    assert used == [
        (call.name, json.loads(call.arguments or "{}"))
        for call in answer.tool_calls
        if _object(call.arguments)
    ]


def words(events, *, refusal: bool) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta) and e.refusal == refusal)


def arguments(events) -> list[str]:
    """Of each call, in no order: which of them begins first is the writer's to say."""
    calls: dict[int, str] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            calls[event.position] = calls.get(event.position, "") + event.arguments
    return sorted(calls.values())


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_any_stream_is_a_chat_completion(events):
    (choice,) = chat_completion(written(chat, events)).choices
    assert (choice.message.content or "", choice.message.refusal or "") == (
        words(events, refusal=False),
        words(events, refusal=True),
    )
    assert sorted(c.function.arguments for c in choice.message.tool_calls or ()) == arguments(events)
    assert choice.finish_reason is not None


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_any_stream_is_a_response(events):
    read = response(written(responses, events))
    parts = [part for item in read.output if item.type == "message" for part in item.content]
    for kind, refusal in (("output_text", False), ("refusal", True)):
        told = "".join(getattr(p, "text", None) or p.refusal for p in parts if p.type == kind)
        assert told == words(events, refusal=refusal)
    assert sorted(i.arguments for i in read.output if i.type == "function_call") == arguments(events)


@settings(max_examples=200, deadline=None)
@given(STREAMS)
def test_any_stream_is_made_of_a_messages_events(events):
    told = named(written(messages, events))
    for event in told:
        MESSAGE_EVENTS.validate_python(event)
    deltas = [event["delta"] for event in told if event["type"] == "content_block_delta"]
    assert sorted("".join(d.get("text", "") for d in deltas)) == sorted(
        words(events, refusal=False) + words(events, refusal=True)
    )
    assert (told[0]["type"], told[-1]["type"]) == ("message_start", "message_stop")


@st.composite
def cut_calls(draw):
    """Calls whose arguments are objects, in pieces, in turns."""
    whole = draw(st.lists(OBJECTS, min_size=1, max_size=3))
    lines = []
    for position, text in enumerate(whole):
        cut = draw(st.integers(0, len(text)))
        lines.append(
            [
                ToolCallDelta(position, f"c{position}", "n", text[:cut]),
                ToolCallDelta(position, arguments=text[cut:]),
            ]
        )
    order = draw(st.permutations([place for place in range(len(whole)) for _ in range(2)]))
    return whole, [lines[place].pop(0) for place in order]


@settings(max_examples=100, deadline=None)
@given(cut_calls(), st.lists(st.builds(TextDelta, TEXT), max_size=3), ENDS)
def test_calls_in_pieces_and_in_turns_add_up_to_a_message(calls, said, end):
    whole, deltas = calls
    read = message(written(messages, [*said, *deltas, *said, end]))
    used = {block.id: block.input for block in read.content if block.type == "tool_use"}
    assert used == {f"c{place}": json.loads(text) for place, text in enumerate(whole)}
    told = "".join(block.text for block in read.content if block.type == "text")
    assert told == 2 * "".join(delta.text for delta in said)


@pytest.mark.parametrize("surface", [chat, responses, messages])
@settings(max_examples=50, deadline=None)
@given(events=st.lists(DELTAS | ENDS, max_size=12))
def test_nothing_follows_the_end(surface, events):
    writer = surface.writer(QUESTION)
    ended = False
    for event in events:
        assert not (writer.feed(event) and ended)
        ended = ended or isinstance(event, StreamEnd)
    assert (writer.error(ProviderError(Failure.TIMEOUT, "late")) == b"") == ended
