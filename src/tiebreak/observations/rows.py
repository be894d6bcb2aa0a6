"""Records as the rows of the staging tables, in the order of their columns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import msgspec

# The driver's own type: made from 16 bytes without a detour, and written as they are.
from asyncpg.pgproto.pgproto import UUID

from tiebreak.observations.model import Event, Feedback, Record, id_time, last_id, moment

EVENT_COLUMNS: Final = (
    "id",
    "at",
    "worker",
    "surface",
    "status",
    "test_id",
    "phase",
    "variant",
    "unit_key",
    "unit",
    "reason",
    "probability",
    "config_version",
    "carried_over",
    "provider",
    "model",
    "served",
    "stream",
    "error",
    "latency_us",
    "overhead_us",
    "first_token_us",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "usage_estimated",
    "cost_nano",
    "cache",
    "attempts",
    "fallbacks",
    "draw",
    "api_key",
    "session",
    "session_key",
    "tags",
)
_DIRECT: Final = (None, None, None, None, None, None, None, None, False)

Row = Sequence[Any]


@dataclass(slots=True)
class Rows:
    """One batch, ready to be copied. `strange` counts records whose id lies outside of the time that is kept."""

    events: list[Row] = field(default_factory=list)
    bodies: list[Row] = field(default_factory=list)
    feedback: list[Row] = field(default_factory=list)
    days: set[date] = field(default_factory=set)
    strange: int = 0

    def __len__(self) -> int:
        return len(self.events) + len(self.feedback)


def rows_of(records: Iterable[Record], oldest: bytes, newest: bytes) -> Rows:
    """The rows of records whose ids lie between two ids; others have no partition."""
    rows = Rows()
    spans: set[bytes] = set()
    for record in records:
        if not oldest <= record.id <= newest:
            rows.strange += 1
        elif isinstance(record, Event):
            rows.events.append(_event(record))
            spans.add(record.id[:4])  # 65 seconds: a few of these per batch, instead of a date per event
            if record.request is not None or record.response is not None:
                rows.bodies.append((UUID(record.id), record.request, record.response))
        else:
            rows.feedback.append(_feedback(record))
    for span in spans:
        rows.days |= {id_time(span + bytes(12)).date(), id_time(span + b"\xff" * 12).date()}
    return rows


def _id(identifier: bytes | None) -> UUID | None:
    return None if identifier is None else UUID(identifier)


def _json(value: Any) -> str | None:
    return msgspec.json.encode(value).decode() if value else None


def _event(event: Event) -> Row:
    exposure = event.exposure
    return (
        UUID(event.id),
        moment(event.at_us),
        UUID(event.worker),
        event.surface,
        event.status,
        *(
            _DIRECT
            if exposure is None
            else (
                UUID(exposure.test_id),
                exposure.phase,
                exposure.variant,
                UUID(exposure.unit_key),
                exposure.unit,
                exposure.reason,
                exposure.probability,
                exposure.config_version,
                exposure.carried_over,
            )
        ),
        event.provider,
        event.model,
        event.served,
        event.stream,
        event.error,
        event.latency_us,
        event.overhead_us,
        event.first_token_us,
        event.input_tokens,
        event.cached_tokens,
        event.output_tokens,
        event.reasoning_tokens,
        event.usage_estimated,
        event.cost_nano,
        event.cache,
        event.attempts,
        _json(event.fallbacks),
        _id(event.draw),
        _id(event.api_key),
        event.session,
        _id(event.session_key),
        _json(event.tags),
    )


def _feedback(item: Feedback) -> Row:
    at = moment(item.at_us)
    return (
        UUID(item.target),
        item.metric,
        item.source,
        item.kind,
        _id(item.test_id),
        UUID(item.id),
        at,
        last_id(at),
        item.micro,
        item.text,
        item.comment,
    )
