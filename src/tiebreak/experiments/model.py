"""An A/B test and the moves its lifecycle allows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from tiebreak.errors import IllegalTransition
from tiebreak.experiments.definition import Definition


class ExperimentState(StrEnum):
    """draft → running ⇄ paused → completed | cancelled | failed."""

    DRAFT = "draft"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"


ON_REQUEST = "on request"  # the reason when nobody gave one

ENDED = frozenset({ExperimentState.COMPLETED, ExperimentState.CANCELLED, ExperimentState.FAILED})
ACTIVE = frozenset({ExperimentState.RUNNING, ExperimentState.PAUSED})


class Step(StrEnum):
    """What can be done to a test; the words of the API and of error texts."""

    EDIT = "edited"
    DELETE = "deleted"
    START = "started"
    PAUSE = "paused"
    RESUME = "resumed"
    REROUTE = "given other traffic"
    COMPLETE = "completed"
    CANCEL = "cancelled"
    FAIL = "failed"


# A paused test may still be completed: the calls that were in flight can answer the last open task.
_FROM: Mapping[Step, frozenset[ExperimentState]] = {
    Step.EDIT: frozenset({ExperimentState.DRAFT}),
    Step.DELETE: ENDED | {ExperimentState.DRAFT},
    Step.START: frozenset({ExperimentState.DRAFT}),
    Step.PAUSE: frozenset({ExperimentState.RUNNING}),
    Step.RESUME: frozenset({ExperimentState.PAUSED}),
    Step.REROUTE: ACTIVE,
    Step.COMPLETE: ACTIVE,
    Step.CANCEL: ACTIVE,
    Step.FAIL: ACTIVE,
}
_TO: Mapping[Step, ExperimentState] = {
    Step.START: ExperimentState.RUNNING,
    Step.PAUSE: ExperimentState.PAUSED,
    Step.RESUME: ExperimentState.RUNNING,
    Step.COMPLETE: ExperimentState.COMPLETED,
    Step.CANCEL: ExperimentState.CANCELLED,
    Step.FAIL: ExperimentState.FAILED,
}
_REMEDY: Mapping[tuple[Step, ExperimentState], str] = {
    (Step.START, ExperimentState.RUNNING): "it has been started already",
    (Step.START, ExperimentState.PAUSED): "resume it",
    (Step.PAUSE, ExperimentState.DRAFT): "start it first",
    (Step.RESUME, ExperimentState.DRAFT): "start it first",
    (Step.RESUME, ExperimentState.RUNNING): "there is nothing to do",
    (Step.PAUSE, ExperimentState.PAUSED): "there is nothing to do",
    (Step.REROUTE, ExperimentState.DRAFT): "start it live first",
    (Step.COMPLETE, ExperimentState.DRAFT): "start it first",
    (Step.CANCEL, ExperimentState.DRAFT): "delete it instead",
    (Step.FAIL, ExperimentState.DRAFT): "start it first",
    (Step.DELETE, ExperimentState.RUNNING): "cancel it first",
    (Step.DELETE, ExperimentState.PAUSED): "cancel it first",
}


def refusal(step: Step, slug: str, state: ExperimentState) -> str | None:
    """Why this step is not possible from this state and what is, or None when it is possible."""
    if state in _FROM[step]:
        return None
    if step is Step.EDIT:
        return f"only a draft can be edited; test {slug!r} is {state}: create a new test from its definition"
    remedy = _REMEDY.get((step, state), "a test that has ended stays as it is; create a new one")
    return f"test {slug!r} cannot be {step}: it is {state}; {remedy}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """An A/B test as stored. Every move returns a new one, one revision later, or raises IllegalTransition."""

    id: UUID
    slug: str
    name: str
    state: ExperimentState
    reason: str | None  # why it is paused, cancelled or failed
    definition: Definition
    definition_hash: str
    revision: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    live: bool = False  # started on live traffic, not on a dataset

    def require(self, step: Step) -> None:
        """Pass when the step is possible now.

        Raises:
            IllegalTransition: it is not; the text says what is.
        """
        if (text := refusal(step, self.slug, self.state)) is not None:
            raise IllegalTransition(text)

    def _move(self, step: Step, at: datetime, reason: str | None = None) -> Self:
        self.require(step)
        state = _TO[step]
        return replace(
            self,
            state=state,
            reason=reason,
            revision=self.revision + 1,
            started_at=at if step is Step.START else self.started_at,
            ended_at=at if state in ENDED else None,
        )

    def start(self, at: datetime) -> Self:
        """A draft begins to run."""
        return self._move(Step.START, at)

    def start_live(self, at: datetime) -> Self:
        """A draft begins to take live traffic."""
        return replace(self.start(at), live=True)

    def reroute(self) -> Self:
        """Its traffic is split otherwise from now on; the state stays."""
        self.require(Step.REROUTE)
        return replace(self, revision=self.revision + 1)

    def require_live(self, step: Step) -> None:
        """Pass when the step is possible now and the test takes live traffic.

        Raises:
            IllegalTransition: it does not; the text says what is possible.
        """
        self.require(step)
        if not self.live:
            raise IllegalTransition(
                f"test {self.slug!r} cannot be {step}: it runs on a dataset and takes no live traffic; "
                "create a new test from its definition and start that live"
            )

    def pause(self, at: datetime, reason: str) -> Self:
        """No new work is handed out; what is in flight may finish."""
        return self._move(Step.PAUSE, at, reason)

    def resume(self, at: datetime) -> Self:
        """A paused test goes on."""
        return self._move(Step.RESUME, at)

    def complete(self, at: datetime) -> Self:
        """Every task has its answer."""
        return self._move(Step.COMPLETE, at)

    def cancel(self, at: datetime, reason: str) -> Self:
        """Somebody ended it early; what was recorded stays."""
        return self._move(Step.CANCEL, at, reason)

    def fail(self, at: datetime, reason: str) -> Self:
        """It cannot go on; what was recorded stays."""
        return self._move(Step.FAIL, at, reason)
