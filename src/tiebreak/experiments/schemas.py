"""What the API shows of tests; what it takes is the definition itself."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tiebreak.experiments.definition import Definition
from tiebreak.experiments.live_schemas import PhaseDocument
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.model import Experiment, ExperimentState


class ExperimentListed(BaseModel):
    """A test in a list."""

    model_config = ConfigDict(title="TestListed")

    id: UUID
    slug: str = Field(
        description="The name as URLs have it; works wherever the id does", examples=["small-or-large"]
    )
    name: str = Field(examples=["Small or large?"])
    state: ExperimentState
    reason: str | None = Field(description="Why it is paused, cancelled or failed")
    variants: list[str] = Field(description="Their keys, the control first", examples=[["large", "small"]])
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, experiment: Experiment) -> "ExperimentListed":
        """How a list shows a test."""
        return cls(
            id=experiment.id,
            slug=experiment.slug,
            name=experiment.name,
            state=experiment.state,
            reason=experiment.reason,
            variants=[variant.key for variant in experiment.definition.variants],
            created_at=experiment.created_at,
            started_at=experiment.started_at,
            ended_at=experiment.ended_at,
        )


class ExperimentDocument(BaseModel):
    """A test."""

    model_config = ConfigDict(title="Test")

    id: UUID
    slug: str = Field(
        description="The name as URLs have it; works wherever the id does", examples=["small-or-large"]
    )
    name: str = Field(examples=["Small or large?"])
    state: ExperimentState
    reason: str | None = Field(description="Why it is paused, cancelled or failed")
    definition: Definition
    definition_hash: str = Field(
        description="Of all that decides the comparison of a run: not of budget, concurrency and live traffic"
    )
    live: PhaseDocument | None = Field(
        description="The present phase of its live traffic; null for a draft and for a test on a dataset"
    )
    revision: int = Field(description="Counts edits and steps of the lifecycle")
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, experiment: Experiment, live: LiveTest | None = None) -> "ExperimentDocument":
        """How the API shows a test; `live` when it was started live."""
        return cls(
            id=experiment.id,
            slug=experiment.slug,
            name=experiment.name,
            state=experiment.state,
            reason=experiment.reason,
            definition=experiment.definition,
            definition_hash=experiment.definition_hash,
            live=None if live is None else PhaseDocument.of(live.phase, live.control),
            revision=experiment.revision,
            created_at=experiment.created_at,
            started_at=experiment.started_at,
            ended_at=experiment.ended_at,
        )
