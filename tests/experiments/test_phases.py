"""Phases: what opens one, what it is called, and any sequence of steps a live test can take."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.experiments.test_model import BEGINNING, experiment

from tiebreak.errors import Conflict, IllegalTransition, InvalidInput
from tiebreak.experiments.assignment import Traffic
from tiebreak.experiments.buckets import Range, require_cover, widths
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.model import Step
from tiebreak.experiments.phases import (
    MAX_PHASES,
    Change,
    PhaseKind,
    first,
    following,
    served_outside,
    stopped,
)

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
KEYS = ("control", "new", "other")


def definition(**changes):
    return Definition.model_validate(
        {
            "name": "t",
            "variants": [
                {"key": key, "model": "p/m", "weight": weight}
                for key, weight in zip(KEYS, (8, 2, 0), strict=True)
            ],
            "metrics": [{"name": "cost_usd", "role": "primary"}],
            "share": 0.5,
            "holdout": 0.1,
        }
        | changes
    )


def after(number, **change):
    return Change(number, NOON + timedelta(hours=number), **change)


def grown(*steps):
    """The phases of a test after these changes."""
    phases = [first(definition(), after(2))]
    for place, step in enumerate(steps, start=3):
        phases.append(following(phases, KEYS, after(place), **step))
    return phases


def weights(control, new, other=0):
    return {"weights": {"other": other, "new": new, "control": control}}


def test_the_first_phase_is_as_the_definition_says():
    phase = first(definition(), Change(2, NOON, "ann", "try"))
    assert (phase.number, phase.kind, phase.share, phase.holdout) == (1, PhaseKind.START, 0.5, 0.1)
    assert phase.ranges == (Range(0, 8000, "control"), Range(8000, 10000, "new"))
    assert (phase.config_version, phase.who, phase.why) == (2, "ann", "try")
    assert (phase.started_at, phase.ended_at) == (NOON, None)
    assert phase.traffic == Traffic(1, 2, 0.5, 0.1, phase.ranges)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        ({"share": 1.0}, PhaseKind.SHARE),
        ({"share": 0.0}, PhaseKind.SHARE),
        (weights(6, 4), PhaseKind.RAMP),
        (weights(6, 3, 1), PhaseKind.RAMP),
        ({"share": 1.0} | weights(6, 4), PhaseKind.RAMP),
        (weights(8, 1, 1), PhaseKind.REWEIGH),
        (weights(9, 1), PhaseKind.REWEIGH),
        ({"share": 1.0} | weights(0, 1), PhaseKind.SHIP),
        (weights(0, 1), PhaseKind.RAMP),
    ],
)
def test_a_phase_is_called_by_what_it_changed(step, kind):
    opened = grown(step)[-1]
    assert (opened.kind, opened.number, opened.holdout) == (kind, 2, 0.1)


def test_a_phase_keeps_the_weights_as_given_in_the_order_of_the_variants():
    assert list(grown(weights(60, 40))[-1].weights.items()) == [("control", 60), ("new", 40), ("other", 0)]


def test_without_a_control_beside_another_variant_there_is_nothing_to_compare():
    assert grown()[0].concurrent_control("control")
    assert not grown({"share": 0.0})[-1].concurrent_control("control")
    assert not grown({"share": 1.0} | weights(0, 1))[-1].concurrent_control("control")
    assert not grown(weights(0, 1, 1))[-1].concurrent_control("control")
    assert not stopped(grown()[-1], after(9)).concurrent_control("control")


def test_who_is_not_assigned_is_served_the_control_until_the_test_ends_by_shipping():
    shipped = grown({"share": 1.0} | weights(0, 1))
    assert served_outside(shipped, "control") == "control"
    assert served_outside([*shipped, stopped(shipped[-1], after(9))], "control") == "new"
    ramped = grown(weights(6, 4))
    assert served_outside([*ramped, stopped(ramped[-1], after(9))], "control") == "control"


def test_a_stop_assigns_nobody_and_remembers_the_last_split():
    end = stopped(grown()[-1], after(9, who="ann", why="enough"))
    assert (end.number, end.kind, end.ranges) == (2, PhaseKind.STOP, grown()[-1].ranges)
    assert (end.started_at, end.ended_at, end.who, end.why) == (after(9).at, after(9).at, "ann", "enough")


@pytest.mark.parametrize("step", [{"share": 0.5}, weights(8, 2), weights(80, 20), {}])
def test_a_change_that_changes_nothing_is_refused(step):
    with pytest.raises(Conflict, match="split like that already; give another `share` or other `weights`"):
        grown(step)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"control": 1, "new": 1},
            "the weight of variant 'other' is missing; 0 gives it no units; "
            "the weights are of 'control', 'new', 'other'",
        ),
        (
            {"control": 1, "new": 1, "other": 0, "old": 1},
            "'old' is no variant of this test; the weights are of 'control', 'new', 'other'",
        ),
        (
            {"control": 0, "new": 0, "other": 0},
            "every weight is 0; give at least one variant a weight above 0",
        ),
    ],
)
def test_weights_that_are_not_of_the_variants_are_refused(given, message):
    with pytest.raises(InvalidInput) as caught:
        grown({"weights": given})
    assert [(fault.pointer, fault.message) for fault in caught.value.faults] == [("/weights", message)]


def test_a_test_has_an_end_of_phases():
    phases = grown(*[{"share": number / 1000} for number in range(MAX_PHASES - 1)])
    with pytest.raises(Conflict, match="has had 200 phases, which is the most; stop it and create a new one"):
        following(phases, KEYS, after(999), share=1.0)


class LiveLifecycle(RuleBasedStateMachine):
    """Any steps of a live test in any order; the model is its state and the split it should have."""

    taken = 0

    @initialize()
    def begin(self):
        self.subject = experiment().start_live(BEGINNING)
        self.state, self.revision, self.now = "running", 2, BEGINNING
        self.phases = [first(definition(), Change(2, BEGINNING))]

    @rule(
        share=st.none() | st.sampled_from([0.0, 0.05, 0.5, 1.0]),
        parts=st.none() | st.tuples(st.floats(0.1, 9), st.floats(0.1, 9), st.sampled_from([0.0, 1.0])),
    )
    def reroute(self, share, parts):
        LiveLifecycle.taken += 1
        given = None if parts is None else dict(zip(KEYS, parts, strict=True))
        if self.state not in ("running", "paused"):
            with pytest.raises(IllegalTransition, match="cannot be given other traffic: it is"):
                self.subject.require_live(Step.REROUTE)
            return
        self.subject.require_live(Step.REROUTE)
        moved = self.subject.reroute()
        self.now += timedelta(seconds=1)
        try:
            change = Change(moved.revision, self.now)
            opened = following(self.phases, KEYS, change, share=share, weights=given)
        except Conflict:
            return
        self.subject, self.revision = moved, self.revision + 1
        self.phases.append(opened)

    @rule(step=st.sampled_from(["pause", "resume", "complete", "cancel"]))
    def step(self, step):
        LiveLifecycle.taken += 1
        allowed = {"running": {"pause", "complete", "cancel"}, "paused": {"resume", "complete", "cancel"}}
        arguments = (self.now, "why") if step in ("pause", "cancel") else (self.now,)
        if step not in allowed.get(self.state, set()):
            with pytest.raises(IllegalTransition):
                getattr(self.subject, step)(*arguments)
            return
        self.subject = getattr(self.subject, step)(*arguments)
        names = {"pause": "paused", "resume": "running", "complete": "completed", "cancel": "cancelled"}
        self.state, self.revision = names[step], self.revision + 1
        if step in ("complete", "cancel"):
            self.phases.append(stopped(self.phases[-1], Change(self.revision, self.now)))

    @rule()
    def begin_another(self):
        self.begin()

    @invariant()
    def the_test_is_as_the_model(self):
        subject = self.subject
        assert (subject.state.value, subject.revision, subject.live) == (self.state, self.revision, True)

    @invariant()
    def phases_count_up_cover_every_bucket_and_stop_at_most_once(self):
        assert [phase.number for phase in self.phases] == list(range(1, len(self.phases) + 1))
        ended = self.state in ("completed", "cancelled")
        assert [phase.kind is PhaseKind.STOP for phase in self.phases[:-1]] == [False] * (
            len(self.phases) - 1
        )
        assert (self.phases[-1].kind is PhaseKind.STOP) == ended
        versions = [phase.config_version for phase in self.phases]
        assert versions == sorted(set(versions))
        for before, now in itertools.pairwise(self.phases):
            require_cover(now.ranges)
            assert now.holdout == before.holdout
            if now.kind is PhaseKind.RAMP:
                had, has = widths(before.ranges), widths(now.ranges)
                assert all(has[key] >= had[key] for key in had if key != "control")


def test_any_two_thousand_steps_of_a_live_test_leave_it_where_they_should():
    LiveLifecycle.taken = 0
    run_state_machine_as_test(
        LiveLifecycle,
        settings=settings(max_examples=150, stateful_step_count=40, deadline=None, database=None),
    )
    assert LiveLifecycle.taken >= 2000, LiveLifecycle.taken


def test_a_test_on_a_dataset_has_no_traffic_to_change():
    with pytest.raises(IllegalTransition, match="it runs on a dataset and takes no live traffic"):
        experiment().start(BEGINNING).require_live(Step.REROUTE)
    with pytest.raises(IllegalTransition, match="it is draft; start it live first"):
        experiment().require_live(Step.REROUTE)
