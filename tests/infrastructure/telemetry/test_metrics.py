"""Counting, bounded labels, snapshots and their sum over processes that come and go."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import (
    OVERFLOW,
    Instrument,
    Metrics,
    Reading,
    Sum,
)

DONE = Instrument("done_total", "Done", "counter", ("kind",), most=3)
OPEN = Instrument("open", "Open", "gauge")
WORST = Instrument("worst", "Worst", "gauge", merge="max")
SIZE = Instrument("size_bytes", "Size", "gauge", ("process",), merge="last")
TOOK = Instrument("took_seconds", "Took", "histogram", buckets=(0.1, 1.0))
SOME = (DONE, OPEN, WORST, SIZE, TOOK)


def value(metrics: Metrics, instrument: Instrument, *labels: str) -> float | None:
    return {found: getattr(series, "value", None) for found, series in metrics.of(instrument)}.get(labels)


def test_a_series_is_one_object_that_counts():
    metrics = Metrics(SOME)
    metrics.number(DONE, "a").add()
    metrics.number(DONE, "a").add(2)
    metrics.number(DONE, "b").add()
    assert metrics.number(DONE, "a") is metrics.number(DONE, "a")
    assert (value(metrics, DONE, "a"), value(metrics, DONE, "b")) == (3, 1)


def test_an_observation_falls_into_the_first_bucket_that_holds_it():
    took = Metrics(SOME).histogram(TOOK)
    for seconds in (0.05, 0.1, 0.11, 1.0, 7.0):
        took.observe(seconds)
    assert took.counts == [2, 2, 1]
    assert took.total == pytest.approx(8.26)


def test_label_sets_beyond_the_bound_become_other_and_are_counted():
    metrics = Metrics(SOME)
    for number in range(50):
        metrics.number(DONE, f"kind-{number}").add()
    kept = {labels: series.value for labels, series in metrics.of(DONE)}
    assert kept == {("kind-0",): 1, ("kind-1",): 1, ("kind-2",): 1, ("other",): 47}
    assert value(metrics, OVERFLOW, "done_total") == 47


def test_the_wrong_number_of_labels_or_the_wrong_kind_is_an_error_of_the_programmer():
    metrics = Metrics(SOME)
    with pytest.raises(TypeError, match="done_total has the labels"):
        metrics.number(DONE)
    with pytest.raises(TypeError, match="took_seconds is a histogram"):
        metrics.number(TOOK)
    with pytest.raises(TypeError, match="open is a gauge"):
        metrics.histogram(OPEN)


def test_a_snapshot_survives_the_wire():
    metrics = Metrics(SOME)
    metrics.number(DONE, "a").add()
    metrics.histogram(TOOK).observe(0.5)
    wire = msgspec.msgpack.encode(metrics.snapshot())
    assert msgspec.msgpack.decode(wire, type=list[Reading]) == metrics.snapshot()


def test_each_instrument_is_merged_by_its_own_rule():
    total = Sum(SOME)
    for name, done, worst in (("one", 3, 2), ("two", 4, 1)):
        metrics = Metrics(SOME)
        metrics.number(DONE, "a").add(done)
        metrics.number(OPEN).set(done)
        metrics.number(WORST).set(worst)
        metrics.number(SIZE, name).set(done)
        metrics.histogram(TOOK).observe(0.5)
        total.report(name, metrics.snapshot())
    merged = total.merged(Metrics(SOME))
    assert value(merged, DONE, "a") == 7
    assert value(merged, OPEN) == 7
    assert value(merged, WORST) == 2
    assert (value(merged, SIZE, "one"), value(merged, SIZE, "two")) == (3, 4)
    assert merged.histogram(TOOK).counts == [0, 2, 0]


def test_what_a_process_counted_stays_when_it_leaves_and_its_gauges_go():
    total, metrics = Sum(SOME), Metrics(SOME)
    metrics.number(DONE, "a").add(5)
    metrics.number(OPEN).set(5)
    metrics.histogram(TOOK).observe(0.5)
    total.report("one", metrics.snapshot())
    total.depart("one")
    total.depart("never reported")
    merged = total.merged(Metrics(SOME))
    assert value(merged, DONE, "a") == 5
    assert value(merged, OPEN) is None
    assert merged.histogram(TOOK).total == 0.5


def test_a_hundred_replaced_processes_leave_no_more_series_than_one():
    total = Sum(SOME)
    for number in range(100):
        metrics = Metrics(SOME)
        metrics.number(DONE, "a").add()
        metrics.number(SIZE, "requests-0").set(number)
        total.report(str(number), metrics.snapshot())
        total.depart(str(number))
    merged = total.merged(Metrics(SOME))
    assert merged.snapshot() == [Reading("done_total", ("a",), 100)]


def test_what_another_version_reports_is_left_out():
    metrics = Metrics(SOME)
    metrics.absorb(
        [
            Reading("unknown", (), 1),
            Reading("done_total", ("a", "b"), 1),
            Reading("took_seconds", (), 1.0, (1, 2)),
            Reading("open", (), 4),
        ]
    )
    assert metrics.snapshot() == [Reading("open", (), 4)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.booleans())))
def test_the_sum_is_what_was_counted_however_processes_come_and_go(steps):
    """Three places; a step counts once in one of them, reports, and perhaps replaces the process there."""
    total, places = Sum(SOME), [Metrics(SOME) for _ in range(3)]
    before = 0.0
    for kind, place, replaced in steps:
        places[place].number(DONE, kind).add()
        total.report(str(place), places[place].snapshot())
        if replaced:
            total.depart(str(place))
            places[place] = Metrics(SOME)
        now = sum(series.value for _, series in total.merged(Metrics(SOME)).of(DONE))
        assert now == before + 1
        before = now


def test_every_declared_instrument_has_its_own_name_and_a_sane_form():
    names = [one.name for one in instruments.ALL]
    assert len(names) == len(set(names)) > 10
    for one in instruments.ALL:
        assert one.name.startswith("tiebreak_")
        assert one.name.endswith("_total") == (one.kind == "counter")
        assert bool(one.buckets) == (one.kind == "histogram")
        assert list(one.buckets) == sorted(one.buckets)
        assert one.kind == "gauge" or one.merge == "sum"
