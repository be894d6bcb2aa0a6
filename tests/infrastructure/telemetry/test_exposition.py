"""The text that Prometheus reads."""

from tiebreak.infrastructure.telemetry.exposition import text
from tiebreak.infrastructure.telemetry.metrics import Instrument, Metrics

DONE = Instrument("done_total", "What is done,\nby kind", "counter", ("kind",))
TOOK = Instrument("took_seconds", "Took", "histogram", ("kind",), buckets=(0.1, 1, 2.5))
OPEN = Instrument("open", "Open", "gauge")


def lines(metrics: Metrics, name: str) -> list[str]:
    return [
        line
        for line in text(metrics).splitlines()
        if line.startswith((name, f"# TYPE {name}", f"# HELP {name}"))
    ]


def test_a_counter_has_help_type_and_its_series():
    metrics = Metrics([DONE])
    metrics.number(DONE, "a").add(3)
    metrics.number(DONE, "b").add(0.25)
    assert lines(metrics, "done_total") == [
        r"# HELP done_total What is done,\nby kind",
        "# TYPE done_total counter",
        'done_total{kind="a"} 3',
        'done_total{kind="b"} 0.25',
    ]


def test_label_values_cannot_break_out_of_their_quotes():
    metrics = Metrics([DONE])
    metrics.number(DONE, 'a"} 1\nevil_total{x="\\').add()
    assert lines(metrics, "done_total")[2:] == [r'done_total{kind="a\"} 1\nevil_total{x=\"\\"} 1']
    assert not lines(metrics, "evil_total")


def test_the_buckets_of_a_histogram_are_cumulative():
    metrics = Metrics([TOOK])
    for seconds in (0.05, 0.5, 2.0, 9.0):
        metrics.histogram(TOOK, "a").observe(seconds)
    assert lines(metrics, "took_seconds")[2:] == [
        'took_seconds_bucket{kind="a",le="0.1"} 1',
        'took_seconds_bucket{kind="a",le="1"} 2',
        'took_seconds_bucket{kind="a",le="2.5"} 3',
        'took_seconds_bucket{kind="a",le="+Inf"} 4',
        'took_seconds_sum{kind="a"} 11.55',
        'took_seconds_count{kind="a"} 4',
    ]


def test_a_series_without_labels_has_no_braces():
    metrics = Metrics([OPEN])
    metrics.number(OPEN).set(7)
    assert lines(metrics, "open")[-1] == "open 7"
