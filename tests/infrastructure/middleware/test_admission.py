"""Bounds on what is in flight: what is over them is refused at once, and everything is given back."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from tiebreak.infrastructure.middleware.admission import Admission, Admitted, Bounds, Full


def in_flight(admission: Admission) -> tuple[int, int, int]:
    return admission.requests, admission.bytes, admission.streams


def test_requests_over_the_bound_are_refused_until_one_leaves():
    refused: list[str] = []
    admission = Admission(Bounds(requests=2, retry_after=3), refused.append)
    first, _ = admission.enter(), admission.enter()
    with pytest.raises(Full, match="2 requests are in flight") as full:
        admission.enter()
    assert (full.value.bound, full.value.retry_after, refused) == ("requests", 3, ["requests"])
    first.close()
    admission.enter()
    assert admission.requests == 2


def test_a_request_that_is_too_big_holds_nothing():
    admission = Admission(Bounds(bytes=100))
    with admission.enter(80), pytest.raises(Full, match="100 bytes"):
        admission.enter(21)
    assert in_flight(admission) == (0, 0, 0)


def test_a_request_that_grows_over_the_bound_keeps_what_it_had():
    admission = Admission(Bounds(bytes=100))
    with admission.enter(60) as held:
        with pytest.raises(Full):
            held.grow(41)
        assert admission.bytes == 60
        held.grow(-50)
        held.grow(90)
        assert admission.bytes == 100
    assert admission.bytes == 0


def test_streams_have_a_bound_of_their_own_and_count_once():
    refused: list[str] = []
    admission = Admission(Bounds(streams=1), refused.append)
    with admission.enter() as first, admission.enter() as second:
        first.stream()
        first.stream()
        with pytest.raises(Full):
            second.stream()
        assert in_flight(admission) == (2, 0, 1)
    assert in_flight(admission) == (0, 0, 0)
    assert refused == ["streams"]


def test_giving_back_twice_gives_back_once():
    admission = Admission(Bounds())
    held = admission.enter(10)
    admission.enter(5)
    held.close()
    held.close()
    assert in_flight(admission) == (1, 5, 0)


@given(st.lists(st.tuples(st.sampled_from(["enter", "grow", "stream", "close"]), st.integers(0, 60))))
def test_no_bound_is_ever_passed_and_nothing_stays_behind(steps):
    bounds = Bounds(requests=3, bytes=100, streams=2)
    admission, held = Admission(bounds), []
    for step, number in steps:
        chosen = held[number % len(held)] if held else None
        try:
            if step == "enter":
                held.append(admission.enter(number))
            elif chosen is not None and step == "grow":
                chosen.grow(number)
            elif chosen is not None and step == "stream":
                chosen.stream()
            elif chosen is not None:
                held.remove(chosen)
                chosen.close()
        except Full:
            pass
        assert admission.requests == len(held) <= bounds.requests
        assert 0 <= admission.bytes <= bounds.bytes
        assert 0 <= admission.streams <= bounds.streams
    for one in held:
        one.close()
    assert in_flight(admission) == (0, 0, 0)


def refuse(_: Scope, full: Full) -> PlainTextResponse:
    return PlainTextResponse(str(full), 503, {"Retry-After": f"{full.retry_after:g}"})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await PlainTextResponse(body)(scope, receive, send)


async def ask(app: Admitted, *parts: bytes) -> list[Message]:
    """What the application sends for a body in these parts."""
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting.append({"type": "http.request", "body": b"", "more_body": False})
    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0)
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send)
    return sent


async def test_an_application_behind_it_answers_and_holds_nothing_afterwards():
    app = Admitted(echo, Admission(Bounds()), refuse)
    start, body = await ask(app, b"one ", b"two")
    assert (start["status"], body["body"]) == (200, b"one two")
    assert in_flight(app.admission) == (0, 0, 0)


async def test_a_body_that_reaches_the_bound_on_its_way_is_refused():
    app = Admitted(echo, Admission(Bounds(bytes=10)), refuse)
    start, body = await ask(app, b"12345678", b"12345678")
    assert start["status"] == 503
    assert (b"retry-after", b"1") in start["headers"]
    assert b"10 bytes" in body["body"]
    assert in_flight(app.admission) == (0, 0, 0)


async def test_an_answer_that_has_begun_is_not_begun_again():
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    app = Admitted(early, Admission(Bounds(bytes=1)), refuse)
    with pytest.raises(Full):
        await ask(app, b"12345678")
    assert in_flight(app.admission) == (0, 0, 0)


async def test_what_fails_inside_is_given_back_too():
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        raise RuntimeError("broken")

    app = Admitted(broken, Admission(Bounds()), refuse)
    with pytest.raises(RuntimeError, match="broken"):
        await ask(app, b"1234")
    assert in_flight(app.admission) == (0, 0, 0)
