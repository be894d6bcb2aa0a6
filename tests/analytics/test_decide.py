import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.analytics.compared import ab_test, ended, evidence_of, means, metric, rates, verdict_of

from tiebreak.analytics import levels
from tiebreak.analytics.decide import decide
from tiebreak.analytics.health import Trouble
from tiebreak.analytics.model import VerdictKind
from tiebreak.runs.model import RunState
from tiebreak.statistics.paired import BinaryPairs

ONE = ab_test([metric()])
GOOD = {("b", "correct"): rates(60, 20)}


def verdict_with(run, troubles=(), pairs=None):
    evidence = evidence_of(ONE, GOOD if pairs is None else pairs)
    return decide(ONE, run, evidence, levels.share(ONE, evidence), list(troubles))


def test_nothing_is_called_before_the_start():
    verdict = verdict_with(None)
    assert (verdict.kind, verdict.next_step) == (VerdictKind.COLLECTING, "Start it.")


@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PAUSED])
def test_nothing_is_called_while_responses_are_to_come(state):
    verdict = verdict_with(ended(ONE, state=state, done=360), [Trouble("x", "y")])
    assert verdict.kind is VerdictKind.COLLECTING
    assert verdict.variant is None
    assert verdict.sentence.startswith("360 of 800 responses are in (45 %); there is no call before the end")
    assert not verdict.conclusions


def test_a_paused_run_says_why_it_waits():
    run = ended(ONE, state=RunState.PAUSED, done=360, reason="budget: $1.00 is spent")
    assert verdict_with(run).next_step == "Resume the run; it is paused: budget: $1.00 is spent."


def test_a_failed_run_is_unhealthy():
    verdict = verdict_with(ended(ONE, state=RunState.FAILED, reason="the key was refused"))
    assert (verdict.kind, verdict.sentence) == (
        VerdictKind.UNHEALTHY,
        "The run failed: the key was refused.",
    )


def test_trouble_outranks_every_conclusion():
    verdict = verdict_with(
        ended(ONE), [Trouble("12 % of the calls of b failed", "Mend it."), Trouble("x", "y")]
    )
    assert verdict.kind is VerdictKind.UNHEALTHY
    assert verdict.sentence == "The numbers cannot be trusted: 12 % of the calls of b failed (1 more)."
    assert verdict.next_step == "Mend it."


def test_one_trouble_stands_alone():
    verdict = verdict_with(ended(ONE), [Trouble("x", "y")])
    assert verdict.sentence == "The numbers cannot be trusted: x."


def test_a_run_cancelled_on_its_way_gets_numbers_but_no_call():
    verdict = verdict_with(ended(ONE, state=RunState.CANCELLED, done=500))
    assert (verdict.kind, verdict.variant) == (VerdictKind.CANNOT_TELL, None)
    assert verdict.sentence == (
        "No call: the run was cancelled after 500 of 800 responses; until then b − a is +10.0 points on correct, "
        "95 % interval [+5.8, +14.4]."
    )
    bare = verdict_with(ended(ONE, state=RunState.CANCELLED, done=0), pairs={("b", "correct"): None})
    assert bare.sentence == "No call: the run was cancelled after 0 of 800 responses."


def test_a_run_cancelled_after_its_last_response_is_complete():
    assert verdict_with(ended(ONE, state=RunState.CANCELLED)).kind is VerdictKind.BETTER


def test_the_best_of_several_wins_and_the_others_are_mentioned():
    definition = ab_test([metric()], variants=4)
    pairs = {
        ("b", "correct"): rates(60, 20),
        ("c", "correct"): rates(90, 20),
        ("d", "correct"): rates(20, 90),
    }
    verdict = verdict_of(definition, pairs)
    assert (verdict.kind, verdict.variant, verdict.next_step) == (VerdictKind.BETTER, "c", "Ship c.")
    assert verdict.sentence.endswith("400 items; b is better and d is worse.")
    assert [c.kind for c in verdict.conclusions] == [
        VerdictKind.BETTER,
        VerdictKind.BETTER,
        VerdictKind.WORSE,
    ]


def test_the_cheapest_of_several_wins_where_cheaper_is_asked():
    definition = ab_test([metric(margin=0.02)], variants=3, decision="not_worse_and_cheaper")
    pairs = {(v, "correct"): means(0.0, 0.004) for v in "bc"}
    pairs |= {("b", "cost_usd"): means(-0.0002, 0.00001), ("c", "cost_usd"): means(-0.0003, 0.00001)}
    verdict = verdict_of(definition, pairs)
    assert (verdict.kind, verdict.variant) == (VerdictKind.NOT_WORSE_AND_CHEAPER, "c")


def test_several_undecided_variants_each_name_their_next_step():
    definition = ab_test([metric()], variants=4)
    pairs = {("b", "correct"): rates(40, 30), ("c", "correct"): rates(44, 30), ("d", "correct"): rates(9, 90)}
    verdict = verdict_of(definition, pairs)
    assert (verdict.kind, verdict.variant) == (VerdictKind.CANNOT_TELL, None)
    assert verdict.sentence == (
        "No variant is shown to be the one to ship instead of a: b is undecided, c is undecided and d is worse."
    )
    assert verdict.next_step.startswith("b: Needs about ")
    assert " c: Needs about " in verdict.next_step


def test_settled_variants_without_a_winner():
    definition = ab_test([metric(margin=0.02)], variants=3)
    one = verdict_of(definition, {("b", "correct"): means(0.0, 0.004), ("c", "correct"): means(-0.1, 0.004)})
    assert (one.kind, one.variant) == (VerdictKind.EQUIVALENT, "b")
    none = verdict_of(definition, {(v, "correct"): means(-0.1, 0.004) for v in "bc"})
    assert (none.kind, none.variant, none.next_step) == (VerdictKind.WORSE, None, "Keep a.")


@settings(deadline=None)
@given(st.integers(0, 200), st.integers(0, 200), st.sampled_from([0.8, 0.95, 0.99]))
def test_verdict_interval_and_p_value_never_disagree(gained, lost, level):
    definition = ab_test([metric()], level=level)
    evidence = evidence_of(definition, {("b", "correct"): rates(gained, lost)})
    shared = levels.share(definition, evidence)
    verdict = decide(definition, ended(definition), evidence, shared, [])
    (primary,) = [e for e in evidence if e.metric.name == "correct"]
    assert isinstance(primary.pairs, BinaryPairs)
    low, high = primary.pairs.interval(shared[primary.cell].alpha)
    expected = VerdictKind.BETTER if low > 0 else VerdictKind.WORSE if high < 0 else VerdictKind.CANNOT_TELL
    assert verdict.kind is expected
    assert (primary.pairs.p_value <= shared[primary.cell].alpha) == (expected is not VerdictKind.CANNOT_TELL)


def test_identical_variants_are_called_different_at_most_at_the_error_rate():
    """2,000 seeded A/A tests with 3 primaries; the family's error rate is 5 %."""
    definition = ab_test([metric("correct"), metric("polite"), metric("short")])
    names = ("correct", "polite", "short")
    draws = np.random.default_rng(11).multinomial(200, [0.15, 0.15, 0.7], size=(2000, 3))
    called = 0
    for draw in draws:
        pairs = {("b", n): rates(int(g), int(w), 200) for n, (g, w, _) in zip(names, draw, strict=True)}
        called += verdict_of(definition, pairs).kind is not VerdictKind.CANNOT_TELL
    assert called / 2000 <= 0.062
