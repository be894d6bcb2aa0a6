"""What is learned of a stream, and that its bytes go on unchanged."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.accounts import account_at
from tests.upstream import DONE, USAGE_CHUNK, chunk

from tiebreak.gateway.tap import Tap
from tiebreak.providers.dialects import adapter_of
from tiebreak.providers.model import ChatRequest, Failure, Message, Usage

ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {}, stream=True)
WORDS = chunk("fo") + chunk("ur") + chunk(None, "stop")


def tap(dialect: str = "openai_compatible", *, hide_usage: bool = False) -> Tap:
    account = account_at("http://x", dialect=dialect)
    return Tap(adapter_of(dialect).stream(account, ASK), hide_usage=hide_usage, keep_text=True)


def through(tapped: Tap, stream: bytes, *cuts: int) -> bytes:
    edges = [0, *sorted(cut for cut in cuts if cut <= len(stream)), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(edges)]
    return b"".join([*(tapped.feed(piece) for piece in pieces), tapped.finish()])


@given(st.lists(st.integers(0, 600)))
def test_a_stream_goes_on_byte_for_byte_and_is_understood(cuts):
    tapped = tap()
    stream = WORDS + USAGE_CHUNK + DONE
    assert through(tapped, stream, *cuts) == stream
    assert (tapped.usage, tapped.ended, tapped.begun, tapped.failure) == (Usage(7, 3), True, True, None)
    assert "".join(tapped.text) == "four"


@given(st.lists(st.integers(0, 600)))
def test_the_usage_that_only_we_asked_for_is_learned_and_left_out(cuts):
    tapped = tap(hide_usage=True)
    assert through(tapped, WORDS + USAGE_CHUNK + DONE, *cuts) == WORDS + DONE
    assert tapped.usage == Usage(7, 3)


@given(st.lists(st.integers(0, 900)))
def test_the_field_without_a_value_that_comes_with_asking_for_usage_is_left_out(cuts):
    saying = chunk('its ,"usage":null')
    asked = b"".join(chunk(word, usage=None) for word in ("fo", "ur")) + saying.replace(
        b'{"', b'{"usage": null, "', 1
    )
    stream = asked + chunk(None, "stop", usage=None) + USAGE_CHUNK + DONE
    tapped = tap(hide_usage=True)
    assert through(tapped, stream, *cuts) == chunk("fo") + chunk("ur") + saying + chunk(None, "stop") + DONE
    assert tapped.usage == Usage(7, 3)


def test_an_event_without_choices_and_without_usage_goes_on():
    filtered = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]%b}\n\n'
    stream = filtered % b',"usage":null' + WORDS + USAGE_CHUNK + DONE
    assert through(tap(hide_usage=True), stream) == filtered % b"" + WORDS + DONE


def test_of_several_fields_without_a_value_none_is_left_out():
    stream = chunk("four", "stop", x_vendor={"id": 1, "usage": None}, usage=None) + DONE
    assert through(tap(hide_usage=True), stream) == stream


def test_usage_beside_a_choice_is_not_left_out():
    last = chunk(None, "stop", usage={"prompt_tokens": 7, "completion_tokens": 3})
    stream = chunk("four") + last + DONE
    tapped = tap(hide_usage=True)
    assert through(tapped, stream) == stream
    assert tapped.usage == Usage(7, 3)


def test_comments_and_keep_alives_stay_where_they_are():
    stream = b": ping\n\n" + chunk("four", "stop") + b": ping\r\n\r\n" + USAGE_CHUNK + DONE
    assert through(tap(hide_usage=True), stream) == stream.replace(USAGE_CHUNK, b"")


def test_a_stream_without_its_end_is_a_failure_and_what_came_has_gone_on():
    tapped = tap(hide_usage=True)
    assert through(tapped, WORDS) == WORDS
    assert not tapped.ended
    assert tapped.failure is not None
    assert tapped.failure.failure is Failure.MALFORMED


def test_an_error_inside_the_stream_is_the_failure_and_goes_on():
    error = b'data: {"error": {"message": "overloaded", "type": "overloaded_error"}}\n\n'
    tapped = tap()
    assert through(tapped, chunk("fo") + error) == chunk("fo") + error
    assert tapped.failure is not None
    assert (tapped.failure.failure, tapped.failure.http_status) == (Failure.SERVER_ERROR, 503)


def test_a_tail_without_its_last_line_end_is_not_lost():
    stream = WORDS + DONE.rstrip(b"\n")
    tapped = tap(hide_usage=True)
    assert through(tapped, stream) == stream
    assert tapped.ended


@pytest.mark.parametrize("data", [b"{", b'{"usage": 1}', b'{"choices": 7, "usage": {}}', b"\xff"])
def test_odd_data_is_never_left_out(data):
    stream = b"data: " + data + b"\n\n"
    assert through(tap(hide_usage=True), stream) == stream


def test_a_stream_of_another_dialect_is_understood_by_its_own_reader():
    events = [
        ("message_start", {"message": {"model": "m", "usage": {"input_tokens": 5, "output_tokens": 1}}}),
        ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
        ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "four"}}),
        ("content_block_stop", {"index": 0}),
        ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}}),
        ("message_stop", {}),
    ]
    stream = b"".join(
        f"event: {name}\ndata: {json.dumps({'type': name} | body)}\n\n".encode() for name, body in events
    )
    tapped = tap("anthropic")
    assert through(tapped, stream) == stream
    assert (tapped.ended, tapped.usage) == (True, Usage(5, 4))
