"""What the API takes and shows of live traffic."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tiebreak.experiments.definition import Key
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.model import ExperimentState
from tiebreak.experiments.phases import Phase, PhaseKind
from tiebreak.infrastructure.rest.text import Text

Why = Annotated[
    Text | None, Field(max_length=500, description="Kept with the phase", examples=["looks good so far"])
]
Share = Annotated[float, Field(ge=0, le=1, description="How many of all units are in the test")]
Weight = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]


class LiveStep(BaseModel):
    """A step of a live test."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: Why = None


class TrafficChange(BaseModel):
    """Another share, other weights, or both; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={"examples": [{"weights": {"large": 75, "small": 25}, "why": "ramp"}]},
    )

    share: Share | None = None
    weights: dict[Key, Weight] | None = Field(
        default=None, max_length=10, description="How the units in the test split; one for every variant"
    )
    why: Why = None


class RangeDocument(BaseModel):
    """Buckets of one variant, of 10,000: `start` is the first, `end` the one after the last."""

    model_config = ConfigDict(title="BucketRange", from_attributes=True)

    start: int
    end: int
    variant: str


class PhaseDocument(BaseModel):
    """How a live test split its units for a time."""

    model_config = ConfigDict(title="Phase")

    number: int
    kind: PhaseKind
    share: Share
    holdout: float = Field(description="How many of all units never are")
    weights: dict[str, float]
    ranges: list[RangeDocument]
    concurrent_control: bool = Field(
        description="False: no unit gets the control beside another variant, so nothing can be compared"
    )
    config_version: int = Field(description="The test's revision that opened the phase")
    who: str | None
    why: str | None
    started_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, phase: Phase, control: str) -> Self:
        """How the API shows a phase."""
        return cls(
            number=phase.number,
            kind=phase.kind,
            share=phase.share,
            holdout=phase.holdout,
            weights=dict(phase.weights),
            ranges=[RangeDocument.model_validate(one) for one in phase.ranges],
            concurrent_control=phase.concurrent_control(control),
            config_version=phase.config_version,
            who=phase.who,
            why=phase.why,
            started_at=phase.started_at,
            ended_at=phase.ended_at,
        )


class LiveDocument(BaseModel):
    """The live traffic of a test: all that is needed to assign its units."""

    model_config = ConfigDict(title="Live")

    id: UUID = Field(description="Also the salt of the assignment")
    slug: str
    state: ExperimentState
    revision: int
    variants: list[str] = Field(description="Their keys, the control first")
    outside: str = Field(
        description="The variant for whoever is not assigned, also while the test is paused and after its end"
    )
    variables: list[str] = Field(description="What every request has to bring for the prompts")
    phases: list[PhaseDocument] = Field(description="The present one last; at most 201")

    @classmethod
    def of(cls, test: LiveTest) -> Self:
        """How the API shows live traffic."""
        return cls(
            id=test.id,
            slug=test.slug,
            state=test.state,
            revision=test.revision,
            variants=[variant.key for variant in test.plan.variants],
            outside=test.outside,
            variables=list(test.plan.variables),
            phases=[PhaseDocument.of(phase, test.control) for phase in test.phases],
        )
