import re

import numpy as np
import pytest
from tests.analytics.compared import ab_test, cell, metric, rates

from tiebreak.analytics import analysis
from tiebreak.analytics.health import REMEDIES, apart, diverted, troubles
from tiebreak.analytics.model import Detours, Observed, Tally

NAN = np.nan


def found(definition, values=None, unscored=None, wrong=None, items=400):
    """Troubles of two variants; what is not given is there and the same."""
    variants = [v.key for v in definition.variants]
    names = [m.name for m in analysis.metrics_of(definition)]
    every = {name: np.ones((2, items)) for name in names} | {"error": np.zeros((2, items))} | (values or {})
    tallies = {
        cell(v, n): Tally(items, (unscored or {}).get((v, n), {}), (wrong or {}).get((v, n), {}))
        for v in variants
        for n in names
    }
    observed = Observed(every, tallies)
    evidence = list(analysis.compare_all(definition, observed))
    gaps = list(analysis.gaps(definition, observed))
    return [t.sentence for t in troubles(definition, tallies, evidence, gaps)]


def flags(share_a, share_b, items=400, value=1.0, other=0.0):
    """Two rows with these shares of `value` at the front."""
    row = np.full((2, items), other)
    row[0, : round(share_a * items)] = value
    row[1, : round(share_b * items)] = value
    return row


def test_a_complete_run_is_healthy():
    assert found(ab_test([metric()])) == []


def test_a_run_without_items_has_no_trouble_of_its_own():
    empty = {name: np.full((2, 0), NAN) for name in ("correct", "error", "cost_usd", "latency_ms")}
    assert found(ab_test([metric()]), values=empty, items=0) == []


@pytest.mark.parametrize(("number", "sick"), [(20, False), (21, True)])
def test_over_five_percent_without_a_score_is_trouble(number, sick):
    sentences = found(ab_test([metric()]), unscored={("b", "correct"): {"no_expected": number}})
    assert sentences == (["5.2 % of the responses of b have no correct (no_expected)"] if sick else [])


def test_only_metrics_that_decide_count():
    unscored = {(v, n): {"no_price": 400} for v in "ab" for n in ("cost_usd", "time_to_first_token_ms")}
    assert found(ab_test([metric()]), unscored=unscored) == []
    asked = found(ab_test([metric(margin=0.1)], decision="not_worse_and_cheaper"), unscored=unscored)
    assert asked == [f"100 % of the responses of {v} have no cost_usd (no_price)" for v in "ab"]


def test_failed_calls_are_trouble_unless_failing_is_what_is_compared():
    wrong = {("b", "error"): {"timeout": 30, "rate_limited": 10}}
    values = {"error": flags(0.0, 0.1)}
    assert found(ab_test([metric()]), values, wrong=wrong) == [
        "10 % of the calls of b failed",
        "calls failed at different rates for a and b",
    ]
    guarded = ab_test([metric(), metric("error", "guardrail", threshold=0.01)])
    assert found(guarded, values, wrong=wrong) == []


def test_a_small_but_certain_difference_in_failures_is_trouble():
    assert found(ab_test([metric()]), {"error": flags(0.0, 0.04)}) == [
        "calls failed at different rates for a and b"
    ]


def test_missing_scores_that_differ_are_trouble():
    values = {"correct": flags(0.0, 0.04, value=NAN, other=1.0)}
    assert found(ab_test([metric()]), values) == ["responses lack correct at different rates for a and b"]


def test_scores_missing_on_different_items_leave_too_few_pairs():
    correct = np.ones((2, 400))
    correct[0, :13] = NAN
    correct[1, 13:26] = NAN
    assert found(ab_test([metric()]), {"correct": correct}) == [
        "6.5 % of the items have correct for only one of a and b"
    ]


def test_items_that_were_not_asked_of_both_are_no_trouble():
    correct, error = np.ones((2, 10)), np.zeros((2, 10))
    correct[1, 6:] = error[1, 6:] = NAN
    assert found(ab_test([metric()]), {"correct": correct, "error": error}, items=10) == []


def test_apart_needs_both_a_size_and_a_certainty():
    assert apart(rates(20, 0, 400))
    assert not apart(rates(7, 0, 400))
    assert not apart(rates(20, 0, 20_000))
    assert not apart(None)


def test_every_remedy_is_a_sentence():
    assert all(text.endswith(".") for text in REMEDIES.values())


@pytest.mark.parametrize(("fallbacks", "sick"), [(20, False), (21, True)])
def test_a_variant_whose_fallback_answers_is_not_judged(fallbacks, sick):
    sentences = [
        trouble.sentence for trouble in diverted(ab_test([metric()]), {"b": Detours(400, fallbacks, 3)})
    ]
    assert bool(sentences) is sick
    assert all(
        re.fullmatch(
            r"5\.2 % of the answers of b are another model's: \S+ failed and its fallback answered", each
        )
        for each in sentences
    )
