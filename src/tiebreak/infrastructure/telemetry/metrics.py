"""Numbers about this process: counters, gauges and histograms on plain Python numbers, with bounded label sets.

A series costs one attribute addition to count, so the hot path keeps the series it uses. A snapshot holds totals, never
differences: losing one loses nothing, and the next says everything again. `Metrics.absorb` merges snapshots by the
rule of each instrument.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

OTHER = "other"  # the label value of what is beyond an instrument's bound
MOST_LABEL_SETS = 100

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max", "last"]
Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing that is measured. `merge` says what several processes' values make together.

    Counters and histograms are summed and never go back, also when a process is replaced; a gauge of a process that
    is gone is gone with it. `most` bounds the label sets; what comes later is counted under "other".
    """

    name: str
    help: str
    kind: Kind
    labels: Labels = ()
    merge: Merge = "sum"
    buckets: tuple[float, ...] = ()  # upper bounds, ascending; one more without a bound follows
    most: int = MOST_LABEL_SETS

    @property
    def outlives(self) -> bool:
        """Whether its values stay when the process that counted them has gone."""
        return self.kind != "gauge"


class Number:
    """One series of a counter or a gauge. A counter is only added to."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0

    def add(self, amount: float = 1) -> None:
        """Add to it; a gauge may also take away."""
        self.value += amount

    def set(self, value: float) -> None:
        """Replace the value of a gauge."""
        self.value = value


class Histogram:
    """One series of a histogram: `counts[i]` observations were at most `buckets[i]` and over the bound before it."""

    __slots__ = ("_buckets", "counts", "total")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self._buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self._buckets, value)] += 1
        self.total += value


Series = Number | Histogram


class Reading(msgspec.Struct, array_like=True, frozen=True):
    """One series in a snapshot. A number has no `counts`; for a histogram `value` is the sum of the observations."""

    name: str
    labels: Labels
    value: float
    counts: tuple[int, ...] = ()


Snapshot = Sequence[Reading]

OVERFLOW = Instrument(
    "tiebreak_metrics_label_sets_refused_total",
    "Label sets beyond an instrument's bound, counted under 'other' each time one is asked for",
    "counter",
    ("instrument",),
)


class Metrics:
    """The series of one process, or the merged ones of several."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self.instruments = {one.name: one for one in (*instruments, OVERFLOW)}
        self._series: dict[str, dict[Labels, Series]] = {name: {} for name in self.instruments}
        self._readers: list[Callable[[], None]] = []

    def read_before(self, reader: Callable[[], None]) -> None:
        """Have `reader` set its gauges at each `refresh`, and so before each snapshot; it must not wait."""
        self._readers.append(reader)

    def number(self, instrument: Instrument, *labels: str) -> Number:
        """The series of a counter or gauge with these label values, in the order of `instrument.labels`."""
        found = self._find(instrument, labels)
        if not isinstance(found, Number):
            raise TypeError(f"{instrument.name} is a {instrument.kind}; ask for its histogram")
        return found

    def histogram(self, instrument: Instrument, *labels: str) -> Histogram:
        """The series of a histogram with these label values."""
        found = self._find(instrument, labels)
        if not isinstance(found, Histogram):
            raise TypeError(f"{instrument.name} is a {instrument.kind}; ask for its number")
        return found

    def _find(self, instrument: Instrument, labels: Labels) -> Series:
        series = self._series[instrument.name]
        found = series.get(labels)
        if found is not None:
            return found
        if len(labels) != len(instrument.labels):
            raise TypeError(
                f"{instrument.name} has the labels {instrument.labels}, not {len(labels)} of them"
            )
        if len(series) >= instrument.most:
            self.number(OVERFLOW, instrument.name).add()
            labels = (OTHER,) * len(labels)
        made = Histogram(instrument.buckets) if instrument.kind == "histogram" else Number()
        return series.setdefault(labels, made)

    def refresh(self) -> None:
        """Have the gauges that are read, not counted, set to what they are now."""
        for reader in self._readers:
            reader()

    def of(self, instrument: Instrument) -> Iterator[tuple[Labels, Series]]:
        """The series of one instrument."""
        yield from self._series[instrument.name].items()

    def snapshot(self) -> list[Reading]:
        """The totals at this moment, fit for the wire."""
        self.refresh()
        return [
            Reading(instrument.name, labels, series.total, tuple(series.counts))
            if isinstance(series, Histogram)
            else Reading(instrument.name, labels, series.value)
            for instrument in self.instruments.values()
            for labels, series in self.of(instrument)
        ]

    def absorb(self, snapshot: Snapshot, *, departed: bool = False) -> None:
        """Merge in a snapshot; of a `departed` process only what outlives it.

        What this process does not know (another version reports while workers are restarted one by one) is left out.
        """
        for reading in snapshot:
            instrument = self.instruments.get(reading.name)
            if instrument is None or not _fits(instrument, reading) or (departed and not instrument.outlives):
                continue
            series = self._find(instrument, reading.labels)
            if isinstance(series, Histogram):
                series.counts = [
                    mine + theirs for mine, theirs in zip(series.counts, reading.counts, strict=True)
                ]
                series.total += reading.value
            elif instrument.merge == "sum":
                series.add(reading.value)
            else:
                series.set(max(series.value, reading.value) if instrument.merge == "max" else reading.value)


def _fits(instrument: Instrument, reading: Reading) -> bool:
    expected = len(instrument.buckets) + 1 if instrument.kind == "histogram" else 0
    return len(reading.labels) == len(instrument.labels) and len(reading.counts) == expected


class Sum:
    """Several processes' metrics as one: those that live by their last snapshot, those that left by what outlives them."""

    def __init__(self, instruments: Sequence[Instrument]) -> None:
        self._instruments = instruments
        self._living: dict[str, Snapshot] = {}
        self._departed = Metrics(instruments)

    def report(self, process: str, snapshot: Snapshot) -> None:
        """Take a process's newest snapshot; it holds totals since the process began."""
        self._living[process] = snapshot

    def depart(self, process: str) -> None:
        """A process is gone: keep what it had counted."""
        self._departed.absorb(self._living.pop(process, ()), departed=True)

    def merged(self, own: Metrics) -> Metrics:
        """All of them and `own` together."""
        merged = Metrics(self._instruments)
        for snapshot in (self._departed.snapshot(), *self._living.values(), own.snapshot()):
            merged.absorb(snapshot)
        return merged
