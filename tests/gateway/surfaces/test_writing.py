"""Streams put in order: one thing at a time, and nothing lost."""

from tiebreak.gateway.surfaces.writing import Orderly
from tiebreak.providers.model import (
    StopReason,
    StreamEnd,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    Usage,
    UsageUpdate,
)

END = StreamEnd(StopReason.STOP, "stop", "m")


def ordered(*events: StreamEvent) -> list[StreamEvent]:
    order = Orderly("r1")
    return [now for event in events for now in order.take(event)]


def test_what_is_in_order_goes_on_at_once():
    events = [
        TextDelta("a"),
        UsageUpdate(Usage(1, 1)),
        ToolCallDelta(0, "c", "n", "{"),
        ToolCallDelta(0, None, None, "}"),
    ]
    assert ordered(*events) == events


def test_empty_pieces_are_nothing():
    assert ordered(TextDelta(""), ToolCallDelta(0, "c", "n"), ToolCallDelta(0)) == [
        ToolCallDelta(0, "c", "n")
    ]


def test_calls_that_come_in_turns_come_one_after_the_other_and_are_numbered_as_they_begin():
    assert ordered(
        ToolCallDelta(7, "c7", "seven", "{"),
        ToolCallDelta(2, "c2", "two", "["),
        TextDelta("a"),
        ToolCallDelta(7, arguments="}"),
        ToolCallDelta(2, arguments="]"),
        END,
    ) == [
        ToolCallDelta(0, "c7", "seven", "{"),
        ToolCallDelta(0, arguments="}"),
        TextDelta("a"),
        ToolCallDelta(1, "c2", "two", "[]"),
        END,
    ]


def test_a_call_begins_with_its_name_and_gets_an_id_if_it_has_none():
    assert ordered(ToolCallDelta(0, arguments="{"), ToolCallDelta(0, name="n", arguments="}"), END) == [
        ToolCallDelta(0, "call_r1_0", "n", "{}"),
        END,
    ]


def test_an_id_and_a_name_that_are_repeated_are_told_once():
    assert ordered(ToolCallDelta(0, "c", "n", "{"), ToolCallDelta(0, "c", "n", "}")) == [
        ToolCallDelta(0, "c", "n", "{"),
        ToolCallDelta(0, arguments="}"),
    ]


def test_a_call_that_never_gets_a_name_is_not_lost():
    assert ordered(ToolCallDelta(3, "c", arguments="{}"), END) == [ToolCallDelta(0, "c", "", "{}"), END]
