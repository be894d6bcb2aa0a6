"""Metrics as Prometheus text, format 0.0.4."""

from collections.abc import Iterator
from itertools import accumulate

from tiebreak.infrastructure.telemetry.metrics import Histogram, Instrument, Labels, Metrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def text(metrics: Metrics) -> str:
    """Every instrument with its help and its series; one without a series yet says so by having none."""
    lines = [
        f"{line}\n"
        for instrument in metrics.instruments.values()
        for line in (
            f"# HELP {instrument.name} {instrument.help.translate(_ESCAPES)}",
            f"# TYPE {instrument.name} {instrument.kind}",
            *_series(metrics, instrument),
        )
    ]
    return "".join(lines)


def _series(metrics: Metrics, instrument: Instrument) -> Iterator[str]:
    for labels, series in metrics.of(instrument):
        if not isinstance(series, Histogram):
            yield f"{instrument.name}{_labels(instrument, labels)} {_number(series.value)}"
            continue
        bounds = [*map(_number, instrument.buckets), "+Inf"]
        cumulative = list(accumulate(series.counts))
        for bound, count in zip(bounds, cumulative, strict=True):
            yield f"{instrument.name}_bucket{_labels(instrument, labels, le=bound)} {count}"
        yield f"{instrument.name}_sum{_labels(instrument, labels)} {_number(series.total)}"
        yield f"{instrument.name}_count{_labels(instrument, labels)} {cumulative[-1]}"


def _labels(instrument: Instrument, values: Labels, **more: str) -> str:
    pairs = [*zip(instrument.labels, values, strict=True), *more.items()]
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)
    return f"{{{inner}}}" if inner else ""


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
