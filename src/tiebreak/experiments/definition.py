"""The definition of an A/B test: one schema for the YAML file and the API."""

import hashlib
import json
import re
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from tiebreak.evaluation.model import CheckConfig
from tiebreak.infrastructure.rest.text import storable_json

Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$", examples=["small"])]

# Measured on every response, whatever the test says. A metric without a check is one of these, by name.
MEASURES: dict[str, Literal["higher", "lower"]] = {
    "latency_ms": "lower",
    "time_to_first_token_ms": "lower",
    "input_tokens": "lower",
    "output_tokens": "lower",
    "cost_usd": "lower",
    "error": "lower",
}


class Role(StrEnum):
    """What a metric decides: the verdict, whether it may stand, or nothing."""

    PRIMARY = "primary"
    GUARDRAIL = "guardrail"
    SECONDARY = "secondary"


class Decision(StrEnum):
    """The question a test answers."""

    BETTER = "better"
    NOT_WORSE_AND_CHEAPER = "not_worse_and_cheaper"
    GUARDED = "guarded"


class Unit(StrEnum):
    """What a live test assigns and analyses."""

    USER = "user"
    CONVERSATION = "conversation"
    REQUEST = "request"


class Record(StrEnum):
    """How much of a live request is kept: nothing of its content, what describes it, or its texts too."""

    NONE = "none"
    METADATA = "metadata"
    FULL = "full"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


ModelName = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}/\S{1,200}$",
        description="provider/model",
        examples=["openai/gpt-5-mini"],
    ),
]


class Variant(_Part):
    """Model + prompt + parameters. The first variant of a test is the control."""

    key: Key
    model: ModelName
    prompt: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}(@[1-9][0-9]{0,8})?$",
        description="A stored prompt: `name`, or `name@version`",
        examples=["solve@2"],
    )
    template: str | None = Field(
        default=None, max_length=200_000, description="The user message, instead of a stored prompt"
    )
    system: str | None = Field(
        default=None, max_length=200_000, description="The system message, with `template` or, live, alone"
    )
    parameters: dict[str, JsonValue] = Field(default_factory=dict, examples=[{"temperature": 0.2}])
    fallback: list[ModelName] = Field(
        default_factory=list,
        max_length=5,
        description="Asked in this order when the model before failed; each time it happens is recorded",
    )
    weight: float = Field(
        default=1, ge=0, le=1e6, allow_inf_nan=False, description="Live: its part of the units in the test"
    )

    @model_validator(mode="after")
    def _one_prompt(self) -> Self:
        if self.prompt is not None and self.template is not None:
            raise ValueError(f"variant {self.key!r} needs either `prompt` or `template`, not both")
        asked = [self.model, *self.fallback]
        if len(set(asked)) < len(asked):
            raise ValueError(f"variant {self.key!r} asks a model twice; `fallback` names other ones")
        if self.system is not None and self.prompt is not None:
            raise ValueError(
                f"variant {self.key!r}: `system` goes with `template`; a stored prompt has its own"
            )
        return self


class Metric(_Part):
    """A named quantity of the test: a check's score, or a measure of every response."""

    name: Key
    role: Role = Role.SECONDARY
    check: CheckConfig | None = None
    direction: Literal["higher", "lower"] | None = Field(
        default=None, description="Which way is good; checks default to higher, measures to lower"
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The largest difference that does not matter, in the metric's own unit",
    )
    threshold: float | None = Field(
        default=None,
        ge=0,
        allow_inf_nan=False,
        description="Guardrail: how much worse than the control is still acceptable, in the metric's own unit",
    )

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.check is None and self.name not in MEASURES:
            raise ValueError(
                f"metric {self.name!r} needs a `check`, or the name of a measure: {', '.join(MEASURES)}"
            )
        if self.check is not None and self.name in MEASURES:
            raise ValueError(
                f"metric {self.name!r} is measured on every response; give the check another name"
            )
        if self.role is Role.GUARDRAIL and self.threshold is None:
            raise ValueError(f"guardrail {self.name!r} needs a `threshold`")
        if self.role is not Role.GUARDRAIL and self.threshold is not None:
            raise ValueError(f"metric {self.name!r}: `threshold` is for guardrails")
        return self

    @property
    def good(self) -> Literal["higher", "lower"]:
        """Which way is good."""
        return self.direction or MEASURES.get(self.name, "higher")


class Budget(_Part):
    """Hard limits of a run. Money in US dollars, time in seconds of running."""

    max_cost: float | None = Field(default=None, ge=0, le=1e9, allow_inf_nan=False)
    max_requests: int | None = Field(default=None, ge=0, le=2**53)
    max_seconds: int | None = Field(default=None, ge=0, le=10**8)


class Sample(_Part):
    """Take some items of the dataset, drawn with the test's seed."""

    size: int = Field(ge=1, le=10_000_000)
    stratify: Literal["category", "difficulty"] | None = None


class Definition(_Part):
    """Everything that decides what a test does."""

    name: str = Field(min_length=1, max_length=200, pattern=r"\S")
    hypothesis: str | None = Field(default=None, max_length=2000)
    variants: list[Variant] = Field(min_length=2, max_length=10)
    dataset: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}(@[1-9][0-9]{0,8})?$",
        description="A stored dataset: `name`, or `name@version`",
    )
    sample: Sample | None = None
    metrics: list[Metric] = Field(min_length=1, max_length=20)
    decision: Decision = Decision.BETTER
    level: float = Field(default=0.95, ge=0.5, lt=1, description="Of every interval")
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    repeats: int = Field(default=1, ge=1, le=1000)
    share_responses: bool = Field(
        default=False,
        description="Equal requests of a variant share one answer; it is recorded which, and they count as one",
    )
    concurrency: int = Field(default=8, ge=1, le=1000)
    budget: Budget = Budget()
    share: float = Field(default=1, ge=0, le=1, description="Live: how many of all units are in the test")
    holdout: float = Field(
        default=0, ge=0, lt=1, description="Live: how many of all units never are, whatever the share becomes"
    )
    unit: Unit = Field(default=Unit.USER, description="Live: what is assigned, as the analysis calls it")
    record: Record = Field(default=Record.METADATA, description="Live: what is kept of a request")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        return storable_json(value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("variant", [v.key for v in self.variants]),
            ("metric", [m.name for m in self.metrics]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} {min(twice)!r} is defined twice")
        if self.share_responses and self.repeats > 1:
            raise ValueError("share_responses makes repeats equal; leave one of the two out")
        primaries = [metric for metric in self.metrics if metric.role is Role.PRIMARY]
        if not primaries:
            raise ValueError("one metric must have `role: primary`")
        if self.decision is Decision.NOT_WORSE_AND_CHEAPER:
            missing = [metric.name for metric in primaries if metric.margin is None]
            if missing:
                raise ValueError(f"decision not_worse_and_cheaper needs a `margin` on {missing[0]!r}")
        if self.decision is Decision.GUARDED and not any(m.role is Role.GUARDRAIL for m in self.metrics):
            raise ValueError("decision guarded needs a metric with `role: guardrail`")
        return self

    def slug(self) -> str:
        """The name as it appears in URLs; the store adds a number when it is taken."""
        words = re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        return words[:60].rstrip("-") or "test"


# What decides no comparison of a run: limits, and what only live traffic has.
_NOT_COMPARED: dict[str, Any] = {
    "budget": True,
    "concurrency": True,
    "share": True,
    "holdout": True,
    "unit": True,
    "record": True,
    "variants": {"__all__": {"weight"}},
}


def digest(definition: Definition) -> str:
    """SHA-256, in hexadecimal, of what a run compares: all but its limits and what only live traffic has.

    Two definitions with one digest compare the same things, so a stopped run may go on under the other's limits. Live
    traffic may change under way and is versioned by its phases instead.
    """
    document = definition.model_dump(mode="json", exclude=_NOT_COMPARED)
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of a definition, as the API and the reference show it."""
    return Definition.model_json_schema()
