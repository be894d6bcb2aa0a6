"""Events and feedback as the gateway would make them."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from tiebreak.observations.model import Event, Exposure, Feedback, session_key, unit_key

TEST = UUID(int=7 << 64).bytes
OTHER_TEST = UUID(int=8 << 64).bytes
WORKER = UUID(int=1)
NOON = datetime(2026, 7, 18, 12, tzinfo=UTC)


def identifier(number: int, *, at: datetime = NOON) -> bytes:
    """The id of the `number`-th request after `at`; one a millisecond."""
    made = at + timedelta(milliseconds=number)
    milliseconds = (made - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return milliseconds.to_bytes(6, "big") + b"\x70\x00\x80\x00" + number.to_bytes(6, "big")


def microseconds(number: int, *, at: datetime = NOON) -> int:
    """When that was."""
    return int(at.timestamp()) * 1_000_000 + number * 1000


def event(
    number: int,
    *,
    unit: str | None = "ann",
    variant: int = 0,
    phase: int = 1,
    test: bytes = TEST,
    at: datetime = NOON,
    session: str | None = None,
    **more,
) -> Event:
    """An answered request; without a unit, one that called a model directly."""
    exposure = (
        None if unit is None else Exposure(test, phase, variant, unit_key(test, unit), unit, "hash", 0.5, 3)
    )
    given = {"surface": "chat", "status": 200, "latency_us": 1000 + number, "cost_nano": 10 * number}
    return Event(
        id=identifier(number, at=at),
        at_us=microseconds(number, at=at),
        worker=WORKER.bytes,
        exposure=exposure,
        session=session,
        session_key=None if session is None else session_key(session),
        **{**given, **more},
    )


def on_request(number: int, request: int, micro: int | None = 1_000_000, **more) -> Feedback:
    """Feedback that came `number` milliseconds after noon on the `request`-th request."""
    return _feedback(number, "request", identifier(request), micro=micro, **more)


def on_unit(number: int, unit: str, micro: int = 1_000_000, test: bytes = TEST, **more) -> Feedback:
    """The same on a unit of a test."""
    return _feedback(number, "unit", unit_key(test, unit), micro=micro, test_id=test, **more)


def on_session(number: int, session: str, micro: int = 1_000_000, **more) -> Feedback:
    """The same on a session."""
    return _feedback(number, "session", session_key(session), micro=micro, **more)


def _feedback(number: int, kind: str, target: bytes, *, metric="helpful", source="user", **more) -> Feedback:
    return Feedback(identifier(number), microseconds(number), metric, source, kind, target, **more)
