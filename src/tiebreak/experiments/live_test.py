"""A live test as a gateway needs it: in one piece, from memory, and as JSON for the time the database is away. Pure."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict

from tiebreak.experiments.assignment import Assigner
from tiebreak.experiments.model import ExperimentState
from tiebreak.experiments.phases import Phase, served_outside
from tiebreak.experiments.plans import LivePlan, PlannedVariant


class LiveTest(BaseModel):
    """A test that was started live, with its phases so far; `revision` grows with every change."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    slug: str
    state: ExperimentState
    revision: int
    plan: LivePlan
    phases: tuple[Phase, ...]

    @property
    def phase(self) -> Phase:
        """The present one."""
        return self.phases[-1]

    @property
    def control(self) -> str:
        """The key of the control."""
        return self.plan.variants[0].key

    @property
    def outside(self) -> str:
        """The variant for whoever is not assigned, also while the test is paused and after it has ended."""
        return served_outside(self.phases, self.control)

    def variant(self, key: str) -> PlannedVariant:
        """A variant by its key, which an assignment or `outside` named."""
        return next(variant for variant in self.plan.variants if variant.key == key)

    def assigner(self) -> Assigner | None:
        """Assigns units to variants; None while the test is paused and after it has ended. To be made once and kept."""
        if self.state is not ExperimentState.RUNNING:
            return None
        keys = [variant.key for variant in self.plan.variants]
        return Assigner(str(self.id), keys, [phase.traffic for phase in self.phases])
