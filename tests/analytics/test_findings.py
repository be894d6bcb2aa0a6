import pytest
from tests.analytics.compared import ab_test, means, metric, rates

from tiebreak.analytics.findings import Bound, Finding, forecast, judge, spread
from tiebreak.analytics.model import Evidence, Level
from tiebreak.statistics.moments import Moments
from tiebreak.statistics.paired import MeanPairs


def judged(pairs, alpha=0.05, **about):
    (m, *_) = ab_test([metric(**about)]).metrics
    found = judge(Evidence("b", "a", m, pairs, 0.5), Level(alpha))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("estimate", "se", "about", "finding"),
    [
        (3.0, 1.0, {}, Finding.BETTER),
        (-3.0, 1.0, {}, Finding.WORSE),
        (1.0, 1.0, {}, Finding.UNCLEAR),
        (3.0, 1.0, {"direction": "lower"}, Finding.WORSE),
        (-3.0, 1.0, {"direction": "lower"}, Finding.BETTER),
        (-30.0, 10.0, {"name": "latency_ms"}, Finding.BETTER),
        (1.0, 1.0, {"margin": 4.0}, Finding.EQUIVALENT),
        (3.0, 1.0, {"margin": 4.0}, Finding.BETTER),
        (3.0, 1.0, {"margin": 6.0}, Finding.EQUIVALENT),
        (-1.0, 1.0, {"margin": 2.0}, Finding.UNCLEAR),
    ],
)
def test_a_finding_reads_the_interval(estimate, se, about, finding):
    assert judged(means(estimate, se), **about).finding() is finding


@pytest.mark.parametrize(
    ("estimate", "most", "bound"),
    [(0.0, 3.0, Bound.HELD), (-1.5, 3.0, Bound.UNCLEAR), (-6.0, 3.0, Bound.BROKEN), (5.0, 0.0, Bound.HELD)],
)
def test_a_loss_is_held_broken_or_open(estimate, most, bound):
    assert judged(means(estimate, 1.0)).loss(most) is bound
    assert judged(means(-estimate, 1.0), direction="lower").loss(most) is bound


def test_without_an_interval_nothing_is_found():
    few = judged(MeanPairs(Moments(4, 1.0, 0.0)))
    assert few.interval is None
    assert few.finding() is Finding.UNCLEAR
    assert few.loss(1.0) is Bound.UNCLEAR
    assert few.text() == "+100 points on correct, no interval"


def test_no_pairs_no_judgement():
    (m, *_) = ab_test([metric()]).metrics
    assert judge(Evidence("b", "a", m, None, None), Level(0.05)) is None


def test_the_way_to_a_call_is_the_shorter_of_both():
    assert judged(means(0.01, 0.01)).needed_to_call() == judged(means(0.01, 0.01)).needed(0.0)
    close = judged(means(0.001, 0.01), margin=0.03)
    assert close.needed_to_call() == close.needed(0.03)
    negative = judged(means(-0.001, 0.01), margin=0.03)
    assert negative.needed_to_call() == close.needed_to_call()
    assert judged(means(0.0, 0.01)).needed_to_call() is None


def test_a_single_item_gives_no_forecast():
    assert judged(MeanPairs(Moments(1, 0.5, 0.0))).needed(0.0) is None


def test_no_discordant_pair_is_no_promise_of_certainty():
    assert spread(rates(0, 0, 100)) == pytest.approx((2 / 102) ** 0.5)
    needed = judged(rates(0, 0, 100), margin=0.02).needed_to_call()
    assert needed is not None
    assert rates(0, 0, needed).interval(0.05).high < 0.02


@pytest.mark.parametrize(
    ("have", "needed", "text"),
    [
        (200, [2011], "Needs about 1,900 more items, if the differences stay as they are."),
        (200, [300, 1200], "Needs about 1,000 more items, if the differences stay as they are."),
        (200, [150], "Needs about 1 more item, if the differences stay as they are."),
        (200, [None, 300], None),
        (200, [], None),
        (200, [2_000_000], None),
    ],
)
def test_the_forecast_says_how_many_more(have, needed, text):
    assert forecast(have, needed) == text
