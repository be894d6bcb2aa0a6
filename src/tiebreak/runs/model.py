"""A run: what a worker needs to know, and where it stands."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from tiebreak.experiments.definition import Definition


class RunState(StrEnum):
    """A run and its test are always in the same state; a run is never a draft."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class PlannedVariant(BaseModel):
    """A variant with every reference resolved when the run began."""

    model_config = ConfigDict(frozen=True)

    key: str
    provider_id: UUID
    provider: str
    model: str
    system: str | None
    template: str
    parameters: dict[str, Any]
    # US dollars per million tokens as the run began; None when the model has no known price.
    input_price: Decimal | None = None
    output_price: Decimal | None = None


class Plan(BaseModel):
    """Frozen at the start of a run: later edits of prompts or providers' names do not change what is compared."""

    model_config = ConfigDict(frozen=True)

    definition: Definition
    variants: list[PlannedVariant]
    stream: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run stands. Money in nano-dollars."""

    id: UUID
    test_id: UUID
    dataset_version_id: UUID
    state: RunState
    reason: str | None
    plan: Plan
    concurrency: int
    max_cost_nano: int | None
    max_requests: int | None
    max_seconds: int | None
    total: int
    done: int
    failed: int
    calls: int
    cost_nano: int
    tokens: int
    active_ms: int
    mark_at: datetime | None
    mark_done: int | None
    earlier_at: datetime | None
    earlier_done: int | None
    created_at: datetime
    started_at: datetime | None
    resumed_at: datetime | None
    ended_at: datetime | None
