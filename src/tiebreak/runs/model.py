"""A run: what a worker needs to know, and where it stands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from tiebreak.experiments.definition import Definition
from tiebreak.experiments.plans import PlannedVariant


class RunState(StrEnum):
    """A run and its test are always in the same state; a run is never a draft."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Plan(BaseModel):
    """Frozen at the start of a run: later edits of prompts or providers' names do not change what is compared."""

    model_config = ConfigDict(frozen=True)

    definition: Definition
    variants: list[PlannedVariant]
    stream: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Where a run stands, as of `as_of` on the database's clock. Money in nano-dollars.

    `active_ms` counts the time in the state running, the present stretch included. The two marks are (time, done)
    pairs some seconds apart, the newer one first.
    """

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
    as_of: datetime


class TaskKey(NamedTuple):
    """Which task of a run: the item's position, the variant's place in the plan, the repeat."""

    position: int
    variant: int
    repeat: int


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed task, with the item it is about."""

    key: TaskKey
    inputs: dict[str, Any]
    expected: str | None


@dataclass(frozen=True, slots=True)
class Result:
    """How a task ended, as its row keeps it: an answer with its scores, or the failure that was left after retries."""

    key: TaskKey
    model: str | None
    text: str | None
    finish_reason: str | None
    error: str | None
    error_detail: str | None
    calls: int
    latency_us: int | None
    first_token_us: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_nano: int | None
    scores: str  # JSON: {"<metric>": [value or null, reason or null]}
    events: str | None = None  # JSON: [{"event": "fallback" or "shared", …}], in the order they happened
    draw: UUID | None = None


@dataclass(frozen=True, slots=True)
class Transcript:
    """A task as its row shows it, with the item it is about."""

    key: TaskKey
    item_id: str
    inputs: dict[str, Any]
    expected: str | None
    state: str
    model: str | None
    text: str | None
    finish_reason: str | None
    error: str | None
    error_detail: str | None
    calls: int | None
    latency_us: int | None
    first_token_us: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_nano: int | None
    scores: dict[str, list[Any]] | None
    events: list[dict[str, Any]] | None
    ended_at: datetime | None
