"""What is recorded of live traffic: an event per request, and feedback on requests, units and sessions.

Identifiers are UUIDs as 16 bytes: they are made, written and read on the way of every request.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICRO: Final = 1_000_000  # feedback values are counted in 1e-6
LARGEST_VALUE: Final = 1e9  # of feedback; in 1e-6 its sums stay far inside 64 bits


class Fallback(msgspec.Struct, frozen=True, array_like=True):
    """The call went on at another model. Never a new assignment."""

    from_model: str
    to_model: str
    failure: str


class Exposure(msgspec.Struct, frozen=True, array_like=True):
    """Which variant the unit of this request belongs to, and how that was decided.

    `unit_key` is `unit_key(test_id, unit)`: sums and feedback go by it, whether or not the unit itself is kept.
    """

    test_id: bytes
    phase: int
    variant: int
    unit_key: bytes
    unit: str | None
    reason: str
    probability: float
    config_version: int
    carried_over: bool = False  # the unit was on another variant in an earlier phase


class Event(msgspec.Struct, frozen=True, array_like=True, tag="e"):
    """One request that was served. A field is added at the end and with a default: old spools must stay readable.

    `id` is a UUIDv7, made when the request came; its time decides the partition. Times are microseconds; `at_us`
    counts from 1970. Tokens and cost are None where nobody knows them.
    """

    id: bytes
    at_us: int
    worker: bytes
    surface: str  # chat, responses, embeddings, messages
    status: int
    exposure: Exposure | None = None  # None: called a model directly
    provider: str | None = None
    model: str | None = None  # as the caller asked
    served: str | None = None  # the model that answered
    stream: bool = False
    error: str | None = None
    latency_us: int = 0
    overhead_us: int = 0
    first_token_us: int | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    usage_estimated: bool = False
    cost_nano: int | None = None
    cache: str = "off"  # hit, miss, off
    attempts: int = 1
    fallbacks: tuple[Fallback, ...] = ()
    draw: bytes | None = None  # the response was shared under this id
    api_key: bytes | None = None
    session: str | None = None
    tags: dict[str, str] = {}
    request: str | None = None
    response: str | None = None
    session_key: bytes | None = None  # `session_key(session)`; kept where the session itself is not


class Feedback(msgspec.Struct, frozen=True, array_like=True, tag="f"):
    """What somebody thinks of a request, of a unit in a test, or of a session.

    The last one by (`at_us`, `id`) counts for each target, metric and source. `target` is the request's id, the unit's
    key or the session's key. `micro` is a number, or a yes (1) or no (0), in 1e-6; a category or a text has none and
    enters no sum.
    """

    id: bytes
    at_us: int
    metric: str
    source: str
    kind: str  # request, unit, session
    target: bytes
    test_id: bytes | None = None  # of a unit
    micro: int | None = None
    text: str | None = None
    comment: str | None = None


Record = Event | Feedback

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)


def encode(record: Record) -> bytes:
    """The payload of one record of the spool."""
    return _encoder.encode(record)


def decode(payload: bytes | memoryview) -> Record:
    """The record in a payload.

    Raises:
        msgspec.DecodeError: written by something that is not us, or by a newer version.
    """
    return _decoder.decode(payload)


def unit_key(test_id: bytes, unit: str) -> bytes:
    """What stands for a unit of a test in every sum: 16 bytes, the same on any machine, another in each test."""
    return hashlib.blake2b(unit.encode("utf-8", "surrogatepass"), digest_size=16, key=test_id).digest()


def session_key(session: str) -> bytes:
    """What stands for a session: 16 bytes, the same on any machine."""
    return hashlib.blake2b(session.encode("utf-8", "surrogatepass"), digest_size=16, key=b"session").digest()


def id_time(identifier: bytes) -> datetime:
    """When a UUIDv7 was made, to the millisecond."""
    return datetime.fromtimestamp(int.from_bytes(identifier[:6], "big") / 1000, UTC)


def first_id(at: datetime) -> UUID:
    """The smallest UUIDv7-like value of this millisecond: a bound in the order of identifiers."""
    return UUID(bytes=_milliseconds(at) + bytes(10))


def last_id(at: datetime) -> UUID:
    """The largest of this millisecond."""
    return UUID(bytes=_milliseconds(at) + b"\xff" * 10)


def moment(microseconds: int) -> datetime:
    """A time counted from 1970, exact to the microsecond."""
    return EPOCH + timedelta(microseconds=microseconds)


def _milliseconds(at: datetime) -> bytes:
    return max(0, (at - EPOCH) // timedelta(milliseconds=1)).to_bytes(6, "big")
