"""Feedback as it is sent: what is taken, and what is refused with its place and the remedy."""

import json
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.observations.made import NOON

from tiebreak.errors import InvalidInput
from tiebreak.observations.feedback import MOST_ITEMS, accept_feedback, read_feedback
from tiebreak.observations.model import Feedback, decode, moment, session_key, unit_key

REQUEST = "01890000-0000-7000-8000-000000000000"
TEST = UUID("01890000-0000-7000-8000-000000000001")


def accepted(*items: dict) -> list[Feedback]:
    read = read_feedback(json.dumps(list(items)).encode())
    payloads = accept_feedback(read, find_test=lambda name: TEST if name == "checkout" else None, now=NOON)
    return [decode(payload) for payload in payloads]


def on_request(**more) -> dict:
    return {"request_id": REQUEST, "metric": "helpful", "value": True, **more}


def test_one_object_is_as_good_as_an_array_of_one():
    single = read_feedback(json.dumps(on_request()).encode())
    assert single == read_feedback(json.dumps([on_request()]).encode())


def test_each_target_becomes_its_key():
    request, unit, session = accepted(
        on_request(),
        {"test": "checkout", "unit": "ann", "metric": "helpful", "value": 1},
        {"session": "s", "metric": "helpful", "value": 1},
    )
    assert (request.kind, request.target) == ("request", UUID(REQUEST).bytes)
    assert (unit.kind, unit.target, unit.test_id) == ("unit", unit_key(TEST.bytes, "ann"), TEST.bytes)
    assert (session.kind, session.target) == ("session", session_key("s"))


@pytest.mark.parametrize(
    ("value", "micro", "text"),
    [
        (True, 1_000_000, None),
        (False, 0, None),
        (4, 4_000_000, None),
        (-0.1, -100_000, None),
        (0.0000004, 0, None),
        ("refund", None, "refund"),
    ],
)
def test_a_value_is_counted_in_millionths_or_kept_as_a_text(value, micro, text):
    (found,) = accepted(on_request(value=value))
    assert (found.micro, found.text) == (micro, text)


def test_the_time_it_was_given_counts_else_the_time_it_came():
    plain, dated = accepted(on_request(), on_request(at="2026-07-18T09:00:00.000001+02:00", comment="late"))
    assert moment(plain.at_us) == NOON
    assert moment(dated.at_us) == NOON.replace(hour=7, microsecond=1)
    assert dated.comment == "late"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"request_id": None}, "say what it is about"),
        ({"session": "s"}, "say what it is about"),
        ({"request_id": None, "unit": "ann"}, "say what it is about"),
        ({"request_id": None, "test": "checkout"}, "say what it is about"),
        ({"request_id": None, "unit": "ann", "test": "nothing"}, "no test 'nothing'"),
        ({"metric": "no spaces"}, "is no metric"),
        ({"source": ""}, "is no source"),
        ({"value": 1e10}, "beyond"),
        ({"value": "x" * 3000}, "a text of 3000 characters"),
        ({"at": "2026-07-18T09:00:00"}, "without a time zone"),
        ({"at": (NOON + timedelta(hours=1)).isoformat()}, "in the future"),
    ],
)
def test_an_item_that_cannot_be_used_is_named_and_none_is_taken(wrong, message):
    with pytest.raises(InvalidInput, match="1 of 2 items cannot be used; none was taken") as refused:
        accepted(on_request(), {**on_request(), **wrong})
    (fault,) = refused.value.faults
    assert fault.pointer == "/1"
    assert message in fault.message


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        (on_request(value=None), "/0/value"),
        (on_request(request_id="r-1"), "/0/request_id"),
        (on_request(extra=1), "/0"),
        ({"request_id": REQUEST, "value": 1}, "/0"),
        ("helpful", "/0"),
    ],
)
def test_an_item_of_another_shape_is_named_with_its_place(item, pointer):
    with pytest.raises(InvalidInput) as refused:
        read_feedback(json.dumps(item).encode())
    assert [fault.pointer for fault in refused.value.faults] == [pointer]


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"\xff", json.dumps([on_request()] * (MOST_ITEMS + 1)).encode()]
)
def test_a_body_that_is_no_feedback_is_refused(body):
    with pytest.raises(InvalidInput):
        read_feedback(body)


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_can_be_kept(value, comment):
    (found,) = accepted(on_request(value=value, comment=comment))
    assert "\x00" not in (found.text or "") + (found.comment or "")
    (on_session,) = accepted({"session": value, "metric": "m", "value": 1})
    assert on_session.target == session_key(value)
