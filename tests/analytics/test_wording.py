import pytest
from tests.analytics.compared import ab_test, metric

from tiebreak.analytics import wording
from tiebreak.analytics.analysis import metrics_of
from tiebreak.analytics.wording import DOLLARS, MILLISECONDS, POINTS, TOKENS
from tiebreak.statistics.interval import Interval


def test_every_metric_has_its_unit():
    units = {m.name: wording.unit_of(m) for m in metrics_of(ab_test([metric()]))}
    assert units == {
        "correct": POINTS,
        "latency_ms": MILLISECONDS,
        "time_to_first_token_ms": MILLISECONDS,
        "input_tokens": TOKENS,
        "output_tokens": TOKENS,
        "cost_usd": DOLLARS,
        "error": POINTS,
    }


@pytest.mark.parametrize(
    ("width", "places"),
    [(5.4, 1), (54.0, 0), (5400.0, 0), (0.54, 2), (0.00021, 5), (1e-30, 9), (0.0, 1), (float("inf"), 1)],
)
def test_no_more_digits_than_the_interval_supports(width, places):
    assert wording.decimals(width) == places


@pytest.mark.parametrize(
    ("value", "unit", "places", "text"),
    [
        (0.1304, POINTS, 1, "+13.0 points"),
        (-0.004, POINTS, 1, "−0.4 points"),
        (-0.0001, POINTS, 1, "0.0 points"),
        (-0.0012, DOLLARS, 4, "−$0.0012"),
        (12345.6, TOKENS, 0, "+12,346 tokens"),
    ],
)
def test_differences_carry_their_sign(value, unit, places, text):
    assert wording.signed(value, unit, places) == text


def test_a_difference_reads_with_its_interval():
    text = wording.difference(0.13, Interval(0.1037, 0.1574), 0.05, POINTS)
    assert text == ("+13.0 points", "95 % interval [+10.4, +15.7]")
    text = wording.difference(-0.0005, Interval(-0.0005, -0.0005), 0.025, DOLLARS)
    assert text == ("−$0.00050", "97.5 % interval [−$0.00050, −$0.00050]")
    assert wording.difference(120.0, None, 0.05, MILLISECONDS) == ("+120 ms", "no interval")


def test_bounds_are_shown_as_they_were_written():
    assert wording.unsigned(0.02, POINTS) == "2 points"
    assert wording.unsigned(0.0015, DOLLARS) == "$0.0015"


def test_numbers_and_nouns():
    assert (wording.count(1, "item"), wording.count(1319, "item")) == ("1 item", "1,319 items")
    assert [wording.about(n) for n in (7, 42, 187, 1834, 99_999)] == ["7", "42", "190", "1,900", "100,000"]
    assert wording.listed(["a"]) == "a"
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
