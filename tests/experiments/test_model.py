"""The lifecycle of a test, against a table of what each state allows."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tiebreak.errors import IllegalTransition
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.model import Experiment, ExperimentState, Step

# state -> step -> next state; what is not here is illegal.
TABLE = {
    "draft": {"start": "running"},
    "running": {"pause": "paused", "complete": "completed", "cancel": "cancelled", "fail": "failed"},
    "paused": {"resume": "running", "complete": "completed", "cancel": "cancelled", "fail": "failed"},
    "completed": {},
    "cancelled": {},
    "failed": {},
}
ENDED = {"completed", "cancelled", "failed"}
WITH_REASON = {"pause", "cancel", "fail"}
STEPS = ["start", "pause", "resume", "complete", "cancel", "fail"]
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
DEFINITION = Definition.model_validate(
    {
        "name": "t",
        "variants": [{"key": key, "model": "p/m", "template": "x"} for key in ("a", "b")],
        "metrics": [{"name": "cost_usd", "role": "primary"}],
    }
)


def experiment(state="draft"):
    return Experiment(
        id=UUID(int=1),
        slug="t",
        name="t",
        state=ExperimentState(state),
        reason=None,
        definition=DEFINITION,
        definition_hash="",
        revision=1,
        created_at=BEGINNING,
        started_at=None if state == "draft" else BEGINNING,
        ended_at=BEGINNING if state in ENDED else None,
    )


def move(subject, step, at, reason):
    return getattr(subject, step)(at, reason) if step in WITH_REASON else getattr(subject, step)(at)


class Lifecycle(RuleBasedStateMachine):
    """Any steps in any order; the model is the table and three variables."""

    taken = 0

    @initialize()
    def begin(self):
        self.subject = experiment()
        self.state, self.reason, self.started, self.ended, self.revision = "draft", None, None, None, 1
        self.now = BEGINNING

    @rule(step=st.sampled_from(STEPS), reason=st.sampled_from(["budget", "user"]))
    def take(self, step, reason):
        Lifecycle.taken += 1
        self.now += timedelta(seconds=1)
        before = self.subject
        if step not in TABLE[self.state]:
            with pytest.raises(IllegalTransition) as caught:
                move(before, step, self.now, reason)
            assert "'t'" in caught.value.detail
            assert self.state in caught.value.detail
            assert self.subject == before
            return
        self.subject = move(before, step, self.now, reason)
        self.state = TABLE[self.state][step]
        self.reason = reason if step in WITH_REASON else None
        self.started = self.now if step == "start" else self.started
        self.ended = self.now if self.state in ENDED else None
        self.revision += 1

    @rule()
    def begin_another(self):
        self.begin()

    @invariant()
    def the_subject_is_as_the_model(self):
        subject = self.subject
        assert (subject.state.value, subject.reason, subject.revision) == (
            self.state,
            self.reason,
            self.revision,
        )
        assert (subject.started_at, subject.ended_at) == (self.started, self.ended)
        assert (subject.definition, subject.created_at, subject.id) == (DEFINITION, BEGINNING, UUID(int=1))


def test_any_two_thousand_steps_leave_a_test_where_the_table_says():
    Lifecycle.taken = 0
    run_state_machine_as_test(
        Lifecycle, settings=settings(max_examples=250, stateful_step_count=40, deadline=None, database=None)
    )
    assert Lifecycle.taken >= 2000, Lifecycle.taken


@pytest.mark.parametrize(
    ("state", "step", "text"),
    [
        ("running", "start", "test 't' cannot be started: it is running; it has been started already"),
        ("paused", "start", "test 't' cannot be started: it is paused; resume it"),
        ("draft", "pause", "test 't' cannot be paused: it is draft; start it first"),
        ("paused", "pause", "test 't' cannot be paused: it is paused; there is nothing to do"),
        ("running", "resume", "test 't' cannot be resumed: it is running; there is nothing to do"),
        ("draft", "cancel", "test 't' cannot be cancelled: it is draft; delete it instead"),
        (
            "completed",
            "resume",
            "test 't' cannot be resumed: it is completed; a test that has ended stays as it is; create a new one",
        ),
    ],
)
def test_an_illegal_step_says_what_is_and_what_to_do(state, step, text):
    with pytest.raises(IllegalTransition) as caught:
        move(experiment(state), step, BEGINNING, "user")
    assert caught.value.detail == text


@pytest.mark.parametrize("state", [state for state in TABLE if state != "draft"])
def test_only_a_draft_can_be_edited(state):
    experiment("draft").require(Step.EDIT)
    with pytest.raises(IllegalTransition) as caught:
        experiment(state).require(Step.EDIT)
    assert caught.value.detail == (
        f"only a draft can be edited; test 't' is {state}: create a new test from its definition"
    )


@pytest.mark.parametrize("state", ["running", "paused"])
def test_what_runs_or_is_paused_is_cancelled_before_it_is_deleted(state):
    with pytest.raises(IllegalTransition, match=f"cannot be deleted: it is {state}; cancel it first"):
        experiment(state).require(Step.DELETE)
    for free in ("draft", *ENDED):
        experiment(free).require(Step.DELETE)
