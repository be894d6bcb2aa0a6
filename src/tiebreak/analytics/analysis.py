"""From item values to summaries, paired comparisons and their gaps. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tiebreak.analytics.levels import COST, alpha_of
from tiebreak.analytics.model import Cell, Evidence, Gap, Observed, Summary
from tiebreak.analytics.wording import POINTS, unit_of
from tiebreak.experiments.definition import MEASURES, Decision, Definition, Metric, Role
from tiebreak.statistics.interval import Interval
from tiebreak.statistics.moments import Moments, mean_interval
from tiebreak.statistics.paired import compare, is_binary
from tiebreak.statistics.proportions import wilson


def metrics_of(definition: Definition) -> list[Metric]:
    """The test's metrics, then the measures it does not mention: they exist on every response."""
    named = {metric.name for metric in definition.metrics}
    return [*definition.metrics, *(Metric(name=name) for name in MEASURES if name not in named)]


def decides(definition: Definition, metric: Metric) -> bool:
    """Whether the verdict looks at this metric."""
    cheaper = definition.decision is Decision.NOT_WORSE_AND_CHEAPER
    return metric.role is not Role.SECONDARY or (cheaper and metric.name == COST)


def summarize(definition: Definition, observed: Observed) -> Iterator[Summary]:
    """Every variant on every metric."""
    alpha = alpha_of(definition)
    for row, variant in enumerate(definition.variants):
        for metric in metrics_of(definition):
            cell = Cell(variant.key, metric.name)
            values = observed.values[metric.name][row]
            scored = values[~np.isnan(values)]
            moments = Moments.of(scored)
            interval = _interval(scored, moments, metric, alpha)
            reason = None if interval is not None else ("too_few" if moments.n else "no_values")
            mean = moments.mean if moments.n else None
            yield Summary(cell, moments.n, mean, moments.se, interval, reason, observed.tallies[cell])


def _interval(scored: NDArray[np.float64], moments: Moments, metric: Metric, alpha: float) -> Interval | None:
    if unit_of(metric) is POINTS and is_binary(scored):
        return wilson(int(scored.sum()), scored.size, alpha)
    interval = mean_interval(moments, alpha)
    if interval is None or unit_of(metric) is not POINTS:
        return interval
    return Interval(max(interval.low, 0.0), min(interval.high, 1.0))  # a rate cannot lie outside


def compare_all(definition: Definition, observed: Observed) -> Iterator[Evidence]:
    """Every variant against the control on every metric."""
    control = definition.variants[0].key
    for row, variant in enumerate(definition.variants[1:], start=1):
        for metric in metrics_of(definition):
            values = observed.values[metric.name]
            pairs = compare(values[0], values[row], rate=unit_of(metric) is POINTS)
            both = ~(np.isnan(values[0]) | np.isnan(values[row]))
            mean = float(values[0][both].mean()) if both.any() else None
            yield Evidence(variant.key, control, metric, pairs, mean)


def gaps(definition: Definition, observed: Observed) -> Iterator[Gap]:
    """What is missing from the comparisons that decide, among the items that were asked of both variants."""
    control = definition.variants[0].key
    ended = ~np.isnan(observed.values["error"])  # every ended task has this measure
    for row, variant in enumerate(definition.variants[1:], start=1):
        for metric in _deciding(definition):
            asked = ended[0] & ended[row]
            missing = np.isnan(observed.values[metric.name][[0, row]][:, asked])
            pairs = compare(_numbers(missing[0]), _numbers(missing[1]), rate=True)
            either, both = ~missing.all(axis=0), ~missing.any(axis=0)
            unpaired = 1 - float(both.sum() / either.sum()) if either.any() else 0.0
            yield Gap(Cell(variant.key, metric.name), control, pairs, unpaired)


def _deciding(definition: Definition) -> Sequence[Metric]:
    return [metric for metric in metrics_of(definition) if decides(definition, metric)]


def _numbers(flags: NDArray[np.bool_]) -> NDArray[np.float64]:
    return flags.astype(np.float64)
