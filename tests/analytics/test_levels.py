from typing import Any

import pytest
from tests.analytics.compared import ab_test, cell, evidence_of, means, metric, rates

from tiebreak.analytics import levels
from tiebreak.analytics.model import Level

CHEAPER: dict[str, Any] = {"decision": "not_worse_and_cheaper"}


def share(definition, pairs):
    return levels.share(definition, evidence_of(definition, pairs))


def test_one_primary_and_one_variant_keep_the_whole_error_rate():
    shared = share(ab_test([metric()]), {("b", "correct"): rates(40, 10)})
    assert shared[cell("b", "correct")].alpha == 0.05
    assert shared[cell("b", "latency_ms")] == Level(0.05)


def test_holm_runs_over_variants_and_primaries():
    definition = ab_test([metric("correct"), metric("polite")], variants=3)
    pairs = {("b", "correct"): means(4, 1), ("c", "polite"): means(3, 1)}
    shared = share(definition, pairs)
    alphas = [shared[cell(v, m)].alpha for v, m in (("b", "correct"), ("c", "polite"), ("b", "polite"))]
    assert alphas == pytest.approx([0.05 / 4, 0.05 / 3, 0.05 / 2])
    assert shared[cell("b", "correct")].adjusted == pytest.approx(4 * means(4, 1).p_value)


def test_guardrails_are_corrected_for_the_variants_only():
    guardrail = metric("latency_ms", "guardrail", threshold=100)
    shared = share(ab_test([metric(), guardrail], variants=6), {})
    assert shared[cell("b", "latency_ms")] == Level(0.01, None, True)


def test_a_joint_claim_is_as_strong_as_its_weakest_part():
    definition = ab_test([metric(margin=0.05)], **CHEAPER)
    pairs = {("b", "correct"): means(0.0, 0.02), ("b", "cost_usd"): means(-0.001, 0.0001)}
    shared = share(definition, pairs)
    weakest = 2 * means(0.0, 0.02).p_above(-0.05)
    assert shared[cell("b", "correct")] == shared[cell("b", "cost_usd")]
    assert shared[cell("b", "correct")].adjusted == pytest.approx(weakest)
    assert shared[cell("b", "correct")].decisive


def test_holm_runs_over_the_variants_of_a_joint_claim():
    definition = ab_test([metric(margin=0.05)], variants=3, **CHEAPER)
    pairs = {
        ("b", "correct"): means(0.0, 0.001),
        ("b", "cost_usd"): means(-0.001, 0.0001),
        ("c", "correct"): None,
    }
    shared = share(definition, pairs)
    assert (shared[cell("b", "cost_usd")].alpha, shared[cell("c", "cost_usd")].alpha) == (0.025, 0.05)
    assert shared[cell("c", "correct")].adjusted == 1.0


def test_a_cost_that_is_itself_primary_must_be_lower_too():
    definition = ab_test([metric("cost_usd", margin=0.01)], **CHEAPER)
    (part,) = [e for e in evidence_of(definition, {}) if e.metric.name == "cost_usd"]
    assert levels.claim_p(part) == 1.0


def test_the_error_rate_carries_no_rounding_noise():
    assert levels.alpha_of(ab_test([metric()], level=0.9)) == 0.1
