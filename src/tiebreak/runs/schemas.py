"""What the API takes and shows of runs. Money in US dollars, durations in the unit of their name."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tiebreak.experiments.definition import Budget
from tiebreak.experiments.model import Experiment, ExperimentState
from tiebreak.providers.account import NANO
from tiebreak.runs import progress, service
from tiebreak.runs.model import Run, RunState, Transcript

TestReference = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9-]{1,80}$", description="Id or slug of the test", examples=["small-or-large"]),
]
Concurrency = Annotated[
    int, Field(ge=1, le=1000, description="Calls in flight, of all workers together", examples=[8])
]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RunLimits(_Taken):
    """Limits that go before those of the definition; a field of the budget that is null takes that limit away."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra={"examples": [{"budget": {"max_cost": 2.5}}]}
    )

    concurrency: Concurrency | None = None
    budget: Budget | None = None


class RunCreate(RunLimits):
    """Start a test."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"test": "small-or-large", "concurrency": 8}]},
    )

    test: TestReference


class Spend(BaseModel):
    """What a run has used."""

    amount: float = Field(description="As far as prices are known", examples=[0.0421])
    currency: Literal["USD"] = "USD"
    calls: int = Field(description="Attempts on the wire, retries included")
    tokens: int


class RunDocument(BaseModel):
    """Where a run stands."""

    model_config = ConfigDict(title="Run")

    id: UUID
    test: UUID
    state: RunState
    reason: str | None = Field(description="Why it is paused, cancelled or failed")
    total: int = Field(description="Tasks: items × variants × repeats")
    done: int
    failed: int = Field(description="Of `done`: those whose call failed after its retries")
    calls: int
    spend: Spend
    concurrency: int
    budget: Budget
    variants: list[str] = Field(description="Their keys, the control first")
    rate_per_second: float | None = Field(
        description="Tasks ended a second, over the last five to ten seconds"
    )
    eta_seconds: float | None
    active_seconds: float = Field(description="Time in the state running")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, run: Run) -> Self:
        """How the API shows a run."""
        return cls(
            id=run.id,
            test=run.test_id,
            state=run.state,
            reason=run.reason,
            total=run.total,
            done=run.done,
            failed=run.failed,
            calls=run.calls,
            spend=Spend(amount=run.cost_nano / NANO, calls=run.calls, tokens=run.tokens),
            concurrency=run.concurrency,
            budget=service.budget_of(run),
            variants=[variant.key for variant in run.plan.variants],
            rate_per_second=progress.rate_per_second(run),
            eta_seconds=progress.eta_seconds(run),
            active_seconds=run.active_ms / 1000,
            created_at=run.created_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
        )


class LifecycleDocument(BaseModel):
    """A test after a step of its lifecycle, with its run; one on live traffic has none."""

    id: UUID
    slug: str
    state: ExperimentState
    reason: str | None
    run: RunDocument | None

    @classmethod
    def of_live(cls, test: Experiment) -> Self:
        """A test on live traffic as stored."""
        return cls(id=test.id, slug=test.slug, state=test.state, reason=test.reason, run=None)

    @classmethod
    def of(cls, experiment: Experiment, run: Run) -> Self:
        """A run and its test are always in the same state."""
        return cls(
            id=experiment.id,
            slug=experiment.slug,
            state=ExperimentState(run.state),
            reason=run.reason,
            run=RunDocument.of(run),
        )


class ScoreDocument(BaseModel):
    """What one check says of one response."""

    value: float | None = Field(
        description="null: it could not be judged, see `reason`; a wrong response is 0"
    )
    reason: str | None


class TaskEvent(BaseModel):
    """Something that happened on the way to a response. It never changes which variant the response counts for."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    event: Literal["fallback", "shared"]
    source: str | None = Field(
        default=None,
        alias="from",
        description="Of a fallback: the model that failed",
        examples=["openai/gpt-5"],
    )
    target: str | None = Field(default=None, alias="to", description="Of a fallback: the model asked next")
    failure: str | None = Field(default=None, description="Of a fallback: why", examples=["server_error"])
    calls: int | None = Field(
        default=None, description="Of a fallback: the attempts at the model that failed"
    )
    origin: Literal["cache", "flight"] | None = Field(
        default=None, description="Of a shared answer: given before, or under way for an equal request"
    )


class TaskDocument(BaseModel):
    """One call of a run: what was asked of which variant, and what came of it."""

    model_config = ConfigDict(title="Task")

    item: str = Field(description="Id of the dataset's item")
    position: int
    variant: str
    repeat: int
    state: Literal["queued", "leased", "done"]
    inputs: dict[str, JsonValue]
    expected: str | None
    model: str | None = Field(description="As the provider named it")
    text: str | None
    finish_reason: str | None
    error: str | None = Field(description="The kind of failure after all retries", examples=["timeout"])
    error_detail: str | None
    calls: int | None
    latency_ms: float | None
    time_to_first_token_ms: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    scores: dict[str, ScoreDocument]
    events: list[TaskEvent] = Field(description="What happened on the way; empty when nothing did")
    ended_at: datetime | None

    @classmethod
    def of(cls, task: Transcript, variants: Sequence[str]) -> Self:
        """How the API shows a task; `variants` are the keys in the order of the plan."""
        scores = task.scores or {}
        return cls(
            item=task.item_id,
            position=task.key.position,
            variant=variants[task.key.variant],
            repeat=task.key.repeat,
            state=task.state,
            inputs=task.inputs,
            expected=task.expected,
            model=task.model,
            text=task.text,
            finish_reason=task.finish_reason,
            error=task.error,
            error_detail=task.error_detail,
            calls=task.calls,
            latency_ms=None if task.latency_us is None else task.latency_us / 1000,
            time_to_first_token_ms=None if task.first_token_us is None else task.first_token_us / 1000,
            input_tokens=task.input_tokens,
            output_tokens=task.output_tokens,
            cost_usd=None if task.cost_nano is None else task.cost_nano / NANO,
            scores={name: ScoreDocument(value=value, reason=why) for name, (value, why) in scores.items()},
            events=[TaskEvent.model_validate(event) for event in task.events or ()],
            ended_at=task.ended_at,
        )
