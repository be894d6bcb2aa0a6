"""Requests as the API shows them. Money in US dollars, times in milliseconds."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row

from tiebreak.observations.model import MICRO


class ExposureDocument(BaseModel):
    """Which variant of which test the unit of a request belongs to."""

    test_id: UUID
    phase: int
    variant: int = Field(description="Place of the variant in the test's definition, from zero")
    unit: str | None = Field(description="Null where the policy keeps its hash only")
    reason: str
    probability: float
    config_version: int
    carried_over: bool = Field(description="The unit was on another variant in an earlier phase")


class FallbackDocument(BaseModel):
    """The call went on at another model."""

    from_model: str
    to_model: str
    failure: str


class RequestDocument(BaseModel):
    """One request as it was served."""

    id: UUID
    at: datetime
    surface: str
    status: int
    exposure: ExposureDocument | None = Field(description="Null for a call of a model")
    provider: str | None
    model: str | None = Field(description="As the caller asked")
    served_model: str | None
    stream: bool
    error: str | None
    latency_ms: float
    overhead_ms: float
    first_token_ms: float | None
    input_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    usage_estimated: bool
    cost_usd: float | None
    cache: str
    attempts: int
    fallbacks: list[FallbackDocument]
    session: str | None
    tags: dict[str, str]

    @classmethod
    def fields_of(cls, row: Row[Any]) -> dict[str, Any]:
        """The fields of a row of `events`."""
        return {
            "id": row.id,
            "at": row.at,
            "surface": row.surface,
            "status": row.status,
            "exposure": None if row.test_id is None else _exposure(row),
            "provider": row.provider,
            "model": row.model,
            "served_model": row.served,
            "stream": row.stream,
            "error": row.error,
            "latency_ms": row.latency_us / 1000,
            "overhead_ms": row.overhead_us / 1000,
            "first_token_ms": None if row.first_token_us is None else row.first_token_us / 1000,
            "input_tokens": row.input_tokens,
            "cached_tokens": row.cached_tokens,
            "output_tokens": row.output_tokens,
            "reasoning_tokens": row.reasoning_tokens,
            "usage_estimated": row.usage_estimated,
            "cost_usd": None if row.cost_nano is None else row.cost_nano / 1e9,
            "cache": row.cache,
            "attempts": row.attempts,
            "fallbacks": [
                FallbackDocument(from_model=begin, to_model=end, failure=failure)
                for begin, end, failure in row.fallbacks or ()
            ],
            "session": row.session,
            "tags": row.tags or {},
        }

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """From a row of `events`."""
        return cls(**cls.fields_of(row))


class FeedbackDocument(BaseModel):
    """The last word of one source on one metric."""

    metric: str
    source: str
    at: datetime
    value: float | str | None = Field(description="Yes is 1 and no is 0")
    comment: str | None

    @classmethod
    def of(cls, row: Row[Any]) -> Self:
        """From a row of `feedback`."""
        value = row.text if row.micro is None else row.micro / MICRO
        return cls(metric=row.metric, source=row.source, at=row.at, value=value, comment=row.comment)


class RequestDetail(RequestDocument):
    """A request with its texts, where the policy keeps them, and the feedback on it."""

    request: str | None
    response: str | None
    feedback: list[FeedbackDocument]

    @classmethod
    def with_feedback(cls, row: Row[Any], feedback: list[FeedbackDocument]) -> Self:
        """From a row of `events` with its texts."""
        return cls(**cls.fields_of(row), request=row.request, response=row.response, feedback=feedback)


def _exposure(row: Row[Any]) -> ExposureDocument:
    return ExposureDocument(
        test_id=row.test_id,
        phase=row.phase,
        variant=row.variant,
        unit=row.unit,
        reason=row.reason,
        probability=row.probability,
        config_version=row.config_version,
        carried_over=row.carried_over,
    )
