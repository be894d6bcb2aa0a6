from typing import Any

from tests.analytics.compared import ab_test, means, metric, rates, verdict_of

from tiebreak.analytics.model import VerdictKind
from tiebreak.statistics.moments import Moments
from tiebreak.statistics.paired import MeanPairs

CHEAPER: dict[str, Any] = {"decision": "not_worse_and_cheaper"}
LATENCY = metric("latency_ms", "guardrail", threshold=100)
GUARDED: dict[str, Any] = {"decision": "guarded"}


def better(pairs, **about):
    return verdict_of(ab_test([metric(**about)]), {("b", "correct"): pairs})


def test_better_says_by_how_much():
    verdict = better(rates(60, 20))
    assert (verdict.kind, verdict.variant) == (VerdictKind.BETTER, "b")
    assert (
        verdict.sentence
        == "b is better than a: +10.0 points on correct, 95 % interval [+5.8, +14.4], 400 items."
    )
    assert verdict.next_step == "Ship b."


def test_worse_keeps_the_control():
    verdict = better(rates(20, 60))
    assert (verdict.kind, verdict.variant, verdict.next_step) == (VerdictKind.WORSE, "b", "Keep a.")
    assert verdict.sentence.startswith("b is worse than a: −10.0 points on correct")


def test_swapping_the_variants_swaps_the_verdict():
    for gained, lost in ((60, 20), (30, 29), (12, 2), (0, 0), (25, 0)):
        kinds = {better(rates(gained, lost)).kind, better(rates(lost, gained)).kind}
        assert kinds in ({VerdictKind.BETTER, VerdictKind.WORSE}, {VerdictKind.CANNOT_TELL})


def test_lower_is_better_where_the_metric_says_so():
    verdict = verdict_of(ab_test([metric("latency_ms")]), {("b", "latency_ms"): means(-120, 10)})
    assert verdict.kind is VerdictKind.BETTER
    assert "−120 ms on latency_ms (lower is better), 95 % interval [−140, −100]" in verdict.sentence


def test_an_interval_that_spans_zero_is_no_call_and_names_the_next_step():
    verdict = better(rates(40, 30))
    assert (verdict.kind, verdict.variant) == (VerdictKind.CANNOT_TELL, None)
    assert verdict.sentence.startswith(
        "b and a cannot be told apart: +2.5 points on correct, 95 % interval ["
    )
    assert verdict.next_step == "Needs about 1,900 more items, if the differences stay as they are."


def test_no_difference_without_a_margin_asks_for_a_margin():
    verdict = better(rates(30, 30))
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.next_step == (
        "More items will hardly help; give correct a margin, so that equivalent can be shown."
    )


def test_a_difference_at_the_margin_questions_the_margin():
    verdict = verdict_of(
        ab_test([metric("latency_ms", margin=1e-6)]), {("b", "latency_ms"): means(1e-5, 1.0)}
    )
    assert verdict.next_step == (
        "More items will hardly help; ask whether the margin of latency_ms is the right one."
    )


def test_inside_the_margin_is_equivalent_even_when_the_difference_is_real():
    verdict = better(means(0.01, 0.002), margin=0.02)
    assert (verdict.kind, verdict.variant) == (VerdictKind.EQUIVALENT, "b")
    assert "inside the margin of ±2 points, 400 items" in verdict.sentence


def test_identical_answers_with_a_margin_are_equivalent_and_without_one_no_call():
    assert better(rates(0, 0), margin=0.02).kind is VerdictKind.EQUIVALENT
    assert better(rates(0, 0)).kind is VerdictKind.CANNOT_TELL


def test_too_few_items_are_refused_with_the_least():
    verdict = better(rates(8, 0, 8))
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert (
        verdict.sentence
        == "8 items with correct for both b and a are too few for a call; it takes at least 10."
    )
    assert verdict.next_step == "Needs at least 2 more items."


def test_no_shared_item_is_refused():
    verdict = better(None)
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.sentence == "No item has values of both b and a."


def test_two_primaries_that_disagree_are_mixed():
    definition = ab_test([metric("correct"), metric("polite")])
    verdict = verdict_of(definition, {("b", "correct"): rates(60, 20), ("b", "polite"): rates(20, 60)})
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.sentence.startswith("b is better (+10.0 points on correct")
    assert verdict.next_step == "Say which of these metrics matters more."


def test_one_better_primary_is_enough_and_is_held_to_the_corrected_level():
    definition = ab_test([metric("correct"), metric("polite")])
    verdict = verdict_of(definition, {("b", "correct"): means(0.1, 0.02)})
    assert verdict.kind is VerdictKind.BETTER
    assert "97.5 % interval" in verdict.sentence
    assert verdict.sentence.endswith("400 items; undecided on polite.")
    borderline = verdict_of(definition, {("b", "correct"): means(2.1, 1.0)})
    assert means(2.1, 1.0).p_value < 0.05
    assert borderline.kind is VerdictKind.CANNOT_TELL


def test_a_broken_guardrail_outranks_a_gain_and_is_named_in_every_preset():
    pairs = {
        ("b", "correct"): rates(60, 20),
        ("b", "latency_ms"): means(350, 20),
        ("b", "cost_usd"): means(-1, 0.1),
    }
    for decision in ("better", "guarded", "not_worse_and_cheaper"):
        verdict = verdict_of(ab_test([metric(margin=0.02), LATENCY], decision=decision), pairs)
        assert verdict.kind is VerdictKind.WORSE
        assert verdict.sentence == (
            "b breaks the guardrail latency_ms (+350 ms, 95 % interval "
            "[+311, +389], where 100 ms worse is the most allowed), though it is better: "
            "+10.0 points on correct, 95 % interval [+5.8, +14.4], 400 items."
        )


def test_two_broken_guardrails_are_both_named():
    tokens = metric("output_tokens", "guardrail", threshold=0)
    pairs = {("b", "latency_ms"): means(350, 20), ("b", "output_tokens"): means(30, 2)}
    verdict = verdict_of(ab_test([metric(), LATENCY, tokens]), pairs)
    assert verdict.sentence.startswith("b breaks the guardrails latency_ms (")
    assert " and output_tokens (+30.0 tokens" in verdict.sentence


def test_guarded_ships_when_the_guardrails_are_shown_to_hold():
    pairs = {("b", "correct"): rates(60, 20), ("b", "latency_ms"): means(20, 10)}
    verdict = verdict_of(ab_test([metric(), LATENCY], **GUARDED), pairs)
    assert verdict.kind is VerdictKind.BETTER
    assert verdict.sentence.endswith("400 items; the guardrail holds: latency_ms.")


def test_guarded_waits_for_an_open_guardrail_where_better_does_not():
    pairs = {("b", "correct"): rates(60, 20), ("b", "latency_ms"): means(90, 20)}
    verdict = verdict_of(ab_test([metric(), LATENCY], **GUARDED), pairs)
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert "it is not shown that the guardrail holds: +90 ms on latency_ms" in verdict.sentence
    assert verdict.next_step.startswith("Needs about ")
    assert verdict_of(ab_test([metric(), LATENCY]), pairs).kind is VerdictKind.BETTER


def test_a_guardrail_exactly_at_its_threshold_questions_the_threshold():
    pairs = {("b", "correct"): rates(60, 20), ("b", "latency_ms"): means(100, 20)}
    verdict = verdict_of(ab_test([metric(), LATENCY], **GUARDED), pairs)
    assert verdict.next_step == (
        "More items will hardly help; ask whether 100 ms on latency_ms is the right threshold."
    )


def test_guarded_without_a_gain_is_no_call():
    verdict = verdict_of(ab_test([metric(), LATENCY], **GUARDED), {("b", "correct"): rates(30, 28)})
    assert verdict.kind is VerdictKind.CANNOT_TELL


def cheaper(correct, cost, **about):
    pairs = {("b", "correct"): correct, ("b", "cost_usd"): cost}
    return verdict_of(ab_test([metric(**{"margin": 0.02} | about)], **CHEAPER), pairs)


def test_not_worse_and_cheaper_says_both():
    verdict = cheaper(means(-0.004, 0.006), means(-0.00041, 0.00001))
    assert (verdict.kind, verdict.variant) == (VerdictKind.NOT_WORSE_AND_CHEAPER, "b")
    assert verdict.sentence == (
        "b is not worse than a (−0.4 points on correct, 95 % interval [−1.6, +0.8], inside the margin of 2 points) "
        "and it costs 41 % less (−$0.000410, 95 % interval "
        "[−$0.000430, −$0.000390]), 400 items."
    )


def test_a_loss_that_may_reach_the_margin_is_no_call():
    verdict = cheaper(means(-0.012, 0.006), means(-0.0004, 0.00001))
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.sentence.startswith(
        "It is not shown that b stays inside the margin of 2 points: −1.2 points"
    )
    assert verdict.next_step.startswith("Needs about ")


def test_an_open_cost_counts_in_the_forecast():
    settled = cheaper(means(-0.012, 0.006), means(-0.0004, 0.00001))
    open_cost = cheaper(means(-0.012, 0.006), means(-0.00001, 0.0001))
    assert open_cost.kind is VerdictKind.CANNOT_TELL
    assert settled.next_step != open_cost.next_step


def test_a_loss_at_the_margin_questions_the_margin():
    verdict = cheaper(means(-0.02, 0.006), means(-0.0004, 0.00001))
    assert verdict.next_step == "More items will hardly help; ask whether the margin is the right one."


def test_an_open_quality_that_costs_more_is_no_candidate():
    verdict = cheaper(means(-0.012, 0.006), means(0.0004, 0.00001))
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.next_step == "Keep a: b is not cheaper anyway."


def test_a_loss_beyond_the_margin_is_worse_however_cheap():
    verdict = cheaper(means(-0.05, 0.006), means(-0.0004, 0.00001))
    assert (verdict.kind, verdict.next_step) == (VerdictKind.WORSE, "Keep a.")
    assert verdict.sentence.startswith("b is worse than a by more than the margin: −5.0 points")


def test_better_but_not_cheaper_leaves_the_choice():
    verdict = cheaper(means(0.05, 0.006), means(0.0002, 0.00001))
    assert verdict.kind is VerdictKind.BETTER
    assert "but it costs 20 % more (+$0.000200, 95 % interval" in verdict.sentence
    assert verdict.next_step == "Decide whether the gain is worth the cost."


def test_equivalent_but_not_cheaper():
    verdict = cheaper(means(0.0, 0.004), means(0.0, 0.00001))
    assert verdict.kind is VerdictKind.EQUIVALENT
    assert "but it costs the same (" in verdict.sentence
    assert verdict.next_step == "Keep a, or ask for `better` where quality may cost more."


def test_equivalent_with_an_open_saving_forecasts():
    verdict = cheaper(means(0.0, 0.004), means(-0.00001, 0.00001))
    assert verdict.kind is VerdictKind.EQUIVALENT
    assert verdict.next_step.startswith("Needs about ")


def test_not_worse_and_not_cheaper_is_no_call():
    verdict = cheaper(means(0.015, 0.008), means(0.0002, 0.00001))
    assert verdict.kind is VerdictKind.CANNOT_TELL
    assert verdict.sentence.startswith("b is not worse than a: +1.5 points")
    assert "which does not show that it is cheaper" in verdict.sentence


def test_free_models_cost_the_same():
    verdict = cheaper(means(0.0, 0.004), MeanPairs(Moments(400, 0.0, 0.0)))
    assert verdict.kind is VerdictKind.EQUIVALENT
    assert "it costs the same ($0.0, 95 % interval" in verdict.sentence


def test_a_constant_saving_is_a_saving():
    verdict = cheaper(means(0.0, 0.004), MeanPairs(Moments(400, -0.0004, 0.0)))
    assert verdict.kind is VerdictKind.NOT_WORSE_AND_CHEAPER
