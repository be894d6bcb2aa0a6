"""What one comparison shows, read from its interval at its level, and what it would take to show more. Pure.

Everything is turned so that above zero is good. The same interval is printed, so a finding cannot contradict it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tiebreak.analytics import wording
from tiebreak.analytics.model import Evidence, Level
from tiebreak.statistics.interval import Interval
from tiebreak.statistics.paired import BinaryPairs, Pairs
from tiebreak.statistics.planning import items_needed

MANY = 1_000_000  # items beyond which a forecast is no advice


class Finding(StrEnum):
    """`EQUIVALENT` is the whole interval inside the margin: a real difference there does not matter."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNCLEAR = "unclear"


class Bound(StrEnum):
    """An interval against the largest loss that is acceptable."""

    HELD = "held"
    BROKEN = "broken"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison at its level. `gain` is the difference with above zero as good."""

    evidence: Evidence
    level: Level
    gain: Pairs
    interval: Interval | None

    @property
    def name(self) -> str:
        """The metric's."""
        return self.evidence.metric.name

    def finding(self) -> Finding:
        """Against no difference, and against the margin where there is one."""
        margin = self.evidence.metric.margin
        if self.interval is None:
            return Finding.UNCLEAR
        if margin is not None and -margin < self.interval.low and self.interval.high < margin:
            return Finding.EQUIVALENT
        if self.interval.low > 0:
            return Finding.BETTER
        return Finding.WORSE if self.interval.high < 0 else Finding.UNCLEAR

    def loss(self, most: float) -> Bound:
        """Whether the loss is surely at most `most`, or surely more."""
        if self.interval is None:
            return Bound.UNCLEAR
        if self.interval.low >= -most:
            return Bound.HELD
        return Bound.BROKEN if self.interval.high < -most else Bound.UNCLEAR

    def within_margin(self) -> Bound:
        """Not worse: the loss surely stays inside the metric's margin."""
        return self.loss(self.evidence.metric.margin or 0.0)

    def guard(self) -> Bound:
        """A guardrail: the loss surely stays inside the threshold."""
        return self.loss(self.evidence.metric.threshold or 0.0)

    def needed(self, boundary: float) -> int | None:
        """Items after which the true gain, if it is the one observed, is told from the boundary."""
        sd = spread(self.gain)
        return None if sd is None else items_needed(sd, self.gain.estimate - boundary, self.level.alpha)

    def needed_to_call(self) -> int | None:
        """Items until better, worse or equivalent: the nearest of them."""
        margin = self.evidence.metric.margin
        goals = [self.needed(0.0)]
        if margin is not None and abs(self.gain.estimate) < margin:
            # Both ends must come inside; the nearer one decides when.
            goals.append(self.needed(margin if self.gain.estimate > 0 else -margin))
        return min((goal for goal in goals if goal is not None), default=None)

    def amount(self) -> str:
        """`+13.0 points, 95 % interval [+10.4, +15.7]`, as variant − control."""
        size, interval = self._parts()
        return f"{size}, {interval}"

    def text(self) -> str:
        """The amount with the metric's name: `+13.0 points on correct, 95 % interval …`."""
        size, interval = self._parts()
        lower = " (lower is better)" if self.evidence.metric.good == "lower" else ""
        return f"{size} on {self.name}{lower}, {interval}"

    def _parts(self) -> tuple[str, str]:
        shown, alpha = self.evidence.pairs or self.gain, self.level.alpha
        unit = wording.unit_of(self.evidence.metric)
        return wording.difference(shown.estimate, shown.interval(alpha), alpha, unit)


def judge(evidence: Evidence, level: Level) -> Judged | None:
    """None when no item has a value under both variants."""
    gain = evidence.gain
    return None if gain is None else Judged(evidence, level, gain, gain.interval(level.alpha))


def spread(gain: Pairs) -> float | None:
    """Standard deviation of one item's difference, for forecasts.

    One imagined discordant pair each way keeps the forecast away from zero where none was seen (Agresti, Min 2005).
    """
    if isinstance(gain, BinaryPairs):
        return BinaryPairs(gain.n + 2, gain.gained + 1, gain.lost + 1).sd
    return gain.sd


def forecast(have: int, needed: Sequence[int | None]) -> str | None:
    """`Needs about 1,900 more items.` for the largest of the numbers; None when one is unknown or out of reach."""
    known = [number for number in needed if number is not None]
    if not known or len(known) < len(needed) or max(known) > MANY:
        return None
    more = max(max(known) - have, 1)
    noun = "item" if more == 1 else "items"
    return f"Needs about {wording.about(more)} more {noun}, if the differences stay as they are."
