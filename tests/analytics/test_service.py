import math
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from tests.analytics.recorded import AT, Ended, answers, definition, insert_run, record

from tiebreak.analytics import service
from tiebreak.analytics.model import Cell, Detours, VerdictKind
from tiebreak.errors import NotFound
from tiebreak.experiments import service as experiments
from tiebreak.ids import new_id
from tiebreak.statistics.paired import BinaryPairs, MeanPairs


async def results_of(database, definition, tasks, **how):
    async with database.transaction() as tx:
        experiment = await record(tx, definition, tasks, **how)
        return await service.results(tx, experiment.slug, at=AT)


def on(results, metric, variant="large"):
    return next(e for e in results.evidence if e.cell == Cell(variant, metric))


def summary(results, variant, metric):
    return next(s for s in results.summaries if s.cell == Cell(variant, metric))


async def test_the_known_numbers_of_gsm8k_come_back(database):
    results = await results_of(database, definition(), answers(both=198, gained=260, lost=88, neither=773))
    pairs = on(results, "correct").pairs
    assert pairs == BinaryPairs(1319, 260, 88)
    assert round(pairs.estimate, 4) == 0.1304
    assert round(pairs.se, 4) == 0.0137
    assert [round(summary(results, v, "correct").mean * 1319) for v in ("small", "large")] == [286, 458]
    assert (results.verdict.kind, results.verdict.variant) == (VerdictKind.BETTER, "large")
    assert results.verdict.sentence == (
        "large is better than small: +13.0 points on correct, 95 % interval [+10.4, +15.7], 1,319 items."
    )


async def test_a_test_is_found_by_its_id_and_an_unknown_one_is_named(database):
    async with database.transaction() as tx:
        experiment = await record(tx, definition(), answers(both=3))
        assert (await service.results(tx, str(experiment.id), at=AT)).experiment.slug == experiment.slug
        with pytest.raises(NotFound, match="no test 'nowhere'"):
            await service.results(tx, "nowhere", at=AT)


async def test_a_draft_has_no_run_and_no_numbers(database):
    async with database.transaction() as tx:
        draft = await experiments.create(tx, definition())
        results = await service.results(tx, draft.slug, at=AT)
    assert results.run is None
    assert results.verdict.kind is VerdictKind.COLLECTING
    assert on(results, "correct").pairs is None
    assert summary(results, "small", "correct").mean is None
    assert summary(results, "small", "correct").reason == "no_values"


async def test_each_test_shows_its_own_run(database):
    async with database.transaction() as tx:
        first = await record(tx, definition(), answers(both=30))
        second = await record(tx, definition(), answers(both=40))
        shown = [await service.results(tx, test.slug, at=AT) for test in (first, second)]
    assert [results.run and results.run.total for results in shown] == [60, 80]


async def test_the_latest_run_of_a_test_counts(database):
    async with database.transaction() as tx:
        experiment = await record(tx, definition(), answers(both=30))
        second = await insert_run(tx, experiment, "completed", None, 7, [])
        results = await service.results(tx, experiment.slug, at=AT)
    assert results.run is not None
    assert (results.run.id, results.run.total) == (second, 7)


async def test_with_repeats_the_item_is_the_unit(database):
    tasks = [
        Ended(position, variant, {"correct": [float((position + variant + repeat) % 2), None]}, repeat)
        for position in range(30)
        for variant in (0, 1)
        for repeat in range(3)
    ]
    results = await results_of(database, definition(repeats=3), tasks)
    pairs = on(results, "correct").pairs
    assert isinstance(pairs, MeanPairs)
    assert pairs.n == 30
    assert summary(results, "small", "correct").mean == pytest.approx(0.5)
    assert summary(results, "small", "correct").tally.responses == 90


async def test_the_interval_of_a_rate_stays_a_rate(database):
    tasks = [
        Ended(position, variant, {"correct": [float(position + repeat > 0), None]}, repeat)
        for position in range(30)
        for variant in (0, 1)
        for repeat in range(2)
    ]
    results = await results_of(database, definition(repeats=2), tasks)
    interval = summary(results, "small", "correct").interval
    assert interval.low < 1 - 0.5 / 30 < interval.high == 1.0


async def test_an_item_mean_is_over_the_repeats_that_have_a_value(database):
    tasks = [
        Ended(0, 0, {"correct": [1.0, None]}, 0),
        Ended(0, 0, {"correct": [None, "no_expected"]}, 1),
        Ended(0, 1, {"correct": [0.0, "no_number"]}, 0),
        Ended(0, 1, {"correct": [1.0, None]}, 1),
    ]
    results = await results_of(database, definition(repeats=2), tasks)
    small = summary(results, "small", "correct")
    assert (small.mean, small.n, small.tally.missing, dict(small.tally.unscored)) == (
        1.0,
        1,
        1,
        {"no_expected": 1},
    )
    large = summary(results, "large", "correct")
    assert (large.mean, dict(large.tally.wrong)) == (0.5, {"no_number": 1})


async def test_unscored_responses_are_left_out_pairwise_and_counted(database):
    tasks = answers(both=98)
    tasks += [
        Ended(98, 0, {"correct": [None, "time_limit"]}),
        Ended(98, 1, {"correct": [1.0, None]}),
        Ended(99, 0, {"correct": [1.0, None]}),
        Ended(99, 1, {}),
    ]
    results = await results_of(database, definition(), tasks)
    assert on(results, "correct").pairs.n == 98
    assert dict(summary(results, "small", "correct").tally.unscored) == {"time_limit": 1}
    assert dict(summary(results, "large", "correct").tally.unscored) == {"not_scored": 1}
    assert results.verdict.kind is not VerdictKind.UNHEALTHY


async def test_measures_come_in_their_units_and_say_why_they_are_missing(database):
    wrong = {"correct": [0.0, "failed"]}
    tasks = [
        Ended(0, 0, latency_us=250_000, first_token_us=40_000, cost_nano=1_500_000),
        Ended(0, 1, latency_us=100_000, cost_nano=None),
        Ended(1, 0, wrong, error="timeout", latency_us=9, cost_nano=5),
        Ended(1, 1, input_tokens=None, output_tokens=None, cost_nano=None),
    ]
    results = await results_of(database, definition(), tasks)

    def shown(variant, metric):
        found = summary(results, variant, metric)
        return found.mean, dict(found.tally.unscored)

    assert shown("small", "latency_ms") == (250.0, {"failed": 1})
    assert shown("small", "time_to_first_token_ms") == (40.0, {"failed": 1})
    assert shown("large", "time_to_first_token_ms") == (None, {"not_streamed": 2})
    assert shown("small", "cost_usd") == (0.0015, {"failed": 1})
    assert shown("large", "cost_usd") == (None, {"no_price": 1, "no_usage": 1})
    assert shown("large", "output_tokens") == (20.0, {"no_usage": 1})
    assert shown("small", "error") == (0.5, {})
    assert dict(summary(results, "small", "error").tally.wrong) == {"timeout": 1}
    assert dict(summary(results, "small", "correct").tally.unscored) == {"not_scored": 1}


async def test_open_tasks_do_not_count(database):
    tasks = [*answers(both=10), Ended(10, 0, state="leased"), Ended(10, 1, state="queued")]
    results = await results_of(database, definition(), tasks, state="running")
    assert summary(results, "small", "correct").n == 10
    assert results.verdict.kind is VerdictKind.COLLECTING
    assert results.verdict.sentence.startswith("20 of 22 responses are in (91 %)")


async def test_variants_with_different_items_meet_on_the_shared_ones(database):
    tasks = [Ended(p, 0, {"correct": [1.0, None]}) for p in (5, 2, 9)]
    tasks += [Ended(p, 1, {"correct": [0.0, None]}) for p in (9, 4, 2)]
    results = await results_of(database, definition(), tasks, state="cancelled", total=8)
    assert on(results, "correct").pairs == BinaryPairs(2, 0, 2)


async def test_many_items_and_metrics_keep_their_places(database):
    """Against the same means computed in numpy."""
    rng = np.random.default_rng(5)
    names = ["correct", "polite", "short"]
    metrics = [{"name": "correct", "role": "primary", "check": {"kind": "numeric"}}] + [
        {"name": name, "check": {"kind": "length"}} for name in names[1:]
    ]
    scores = rng.random((2, 500, 2, 3))
    tasks = [
        Ended(int(p), v, {n: [float(scores[v, p, r, i]), None] for i, n in enumerate(names)}, r)
        for p in rng.permutation(500)
        for v in (0, 1)
        for r in (0, 1)
    ]
    results = await results_of(database, definition(metrics=metrics, repeats=2), tasks)
    means = scores.mean(axis=2)
    for i, name in enumerate(names):
        pairs = on(results, name).pairs
        assert pairs.estimate == pytest.approx(float((means[1, :, i] - means[0, :, i]).mean()))
        assert pairs.se == pytest.approx(
            float(np.std(means[1, :, i] - means[0, :, i], ddof=1)) / math.sqrt(500)
        )


async def test_a_run_names_where_it_stands(database):
    results = await results_of(
        database, definition(), answers(both=3), state="paused", reason="budget: money"
    )
    assert results.run.reason == "budget: money"
    assert isinstance(results.run.id, UUID)
    assert results.verdict.next_step == "Resume the run; it is paused: budget: money."


async def test_answers_of_a_fallback_are_counted_and_too_many_of_them_end_the_judging(database):
    fell = [{"event": "fallback", "from": "mock/large", "to": "mock/other", "failure": "timeout", "calls": 3}]
    tasks = answers(both=100, gained=40, lost=5, neither=55)
    tasks[1:100:2] = [replace(task, events=fell) for task in tasks[1:100:2]]
    results = await results_of(database, definition(), tasks)
    assert results.detours["large"] == Detours(200, 50, 0)
    assert results.detours["small"] == Detours(200, 0, 0)
    assert results.verdict.kind is VerdictKind.UNHEALTHY
    assert "25 % of the answers of large are another model's" in results.verdict.sentence


async def test_items_that_share_a_draw_count_as_one(database):
    tasks = answers(both=100, gained=40, lost=5, neither=55)
    shared = {variant: new_id() for variant in (0, 1)}
    along = [{"event": "shared", "origin": "cache"}]
    # Ten items with one answer of each variant; the first of them made the call.
    tasks[:20] = [
        replace(task, draw=shared[task.variant], events=along if task.position else None)
        for task in tasks[:20]
    ]
    together = await results_of(database, definition(share_responses=True), tasks)
    assert on(together, "correct").pairs.n == 191
    assert together.detours["large"] == Detours(200, 0, 9)
