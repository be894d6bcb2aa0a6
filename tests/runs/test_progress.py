from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.runs.stage import definition

from tiebreak.ids import new_id
from tiebreak.runs.model import Plan, Run, RunState
from tiebreak.runs.progress import eta_seconds, rate_per_second

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@pytest.fixture
def run() -> Run:
    return Run(
        id=new_id(),
        test_id=new_id(),
        dataset_version_id=new_id(),
        state=RunState.RUNNING,
        reason=None,
        plan=Plan(definition=definition(), variants=[], stream=False),
        concurrency=8,
        max_cost_nano=None,
        max_requests=None,
        max_seconds=None,
        total=100,
        done=60,
        failed=0,
        calls=60,
        cost_nano=0,
        tokens=0,
        active_ms=0,
        mark_at=at(8),
        mark_done=50,
        earlier_at=at(2),
        earlier_done=20,
        created_at=START,
        started_at=START,
        resumed_at=START,
        ended_at=None,
        as_of=at(10),
    )


def test_the_rate_is_taken_from_the_earlier_mark(run):
    assert rate_per_second(run) == pytest.approx(40 / 8)
    assert eta_seconds(run) == pytest.approx(40 / 5)


def test_a_young_run_is_measured_from_its_first_mark(run):
    assert rate_per_second(replace(run, earlier_at=None, earlier_done=None)) == pytest.approx(10 / 2)


def test_the_first_second_says_nothing(run):
    young = replace(run, earlier_at=None, earlier_done=None, as_of=at(8.5))
    assert rate_per_second(young) is None
    assert eta_seconds(young) is None


def test_a_standstill_is_a_rate_of_nothing_and_no_end_in_sight(run):
    still = replace(run, done=20)
    assert rate_per_second(still) == 0
    assert eta_seconds(still) is None


def test_a_run_that_does_not_run_has_no_rate(run):
    assert rate_per_second(replace(run, state=RunState.PAUSED)) is None
