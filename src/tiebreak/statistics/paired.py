"""The difference between two variants that answered the same items, always variant − control, paired by item.

Two forms with the same questions: `BinaryPairs` where every item is right or wrong under both variants, `MeanPairs`
for everything else. Estimate, interval and p-value of a form invert one test, so that they cannot disagree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, stdtr

from tiebreak.statistics.interval import Interval
from tiebreak.statistics.moments import Moments, mean_interval, same_p
from tiebreak.statistics.proportions import normal_quantile

# Below this many discordant pairs the normal approximation of McNemar's test is replaced by the exact mid-p.
FEW_DISCORDANT = 25


@dataclass(frozen=True, slots=True)
class BinaryPairs:
    """Rights and wrongs of n items: `gained` only the variant has right, `lost` only the control.

    The interval is Tango's score interval (1998). Its value at zero is McNemar's statistic, so the p-value from 25
    discordant pairs on is McNemar's. Below, the p-value is McNemar's exact mid-p, and an interval is widened to
    zero where the mid-p does not refuse zero: still the inversion of one test, which uses the exact p at zero.
    """

    n: int
    gained: int
    lost: int

    enough: ClassVar[int] = 10  # fewer items decide nothing

    @property
    def estimate(self) -> float:
        """The difference of the two rates."""
        return (self.gained - self.lost) / self.n

    @property
    def sd(self) -> float:
        """Standard deviation of one item's difference (−1, 0 or 1)."""
        return math.sqrt((self.gained + self.lost - (self.gained - self.lost) ** 2 / self.n) / self.n)

    @property
    def se(self) -> float:
        """Standard error of the difference: sqrt(b + c − (b − c)² / n) / n."""
        return self.sd / math.sqrt(self.n)

    @property
    def discordant(self) -> tuple[int, int]:
        """Items only the variant has right, items only the control has right."""
        return self.gained, self.lost

    @property
    def exact(self) -> bool:
        """Whether the exact mid-p is in use."""
        return self.gained + self.lost < FEW_DISCORDANT

    @property
    def method(self) -> str:
        """The p-value's and the interval's names."""
        return "mcnemar_midp_tango" if self.exact else "mcnemar_score_tango"

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference."""
        return mid_p(self.gained, self.lost) if self.exact else self._score_p()

    @property
    def decision_p(self) -> float:
        """The p-value that decides: refused only where both the exact test and the interval refuse.

        Differs from `p_value` only for few discordant pairs and p below 0.009, where the mid-p is the bolder one.
        """
        return max(self.p_value, self._score_p())

    def _score_p(self) -> float:
        total = self.gained + self.lost
        return 1.0 if total == 0 else 2 * float(ndtr(-abs(self.gained - self.lost) / math.sqrt(total)))

    def interval(self, alpha: float) -> Interval:
        """Tango's interval at level 1 − alpha, widened to zero where the p-value is above alpha. Never empty."""
        low = -tango_upper(self.n, self.lost, self.gained, alpha)
        high = tango_upper(self.n, self.gained, self.lost, alpha)
        if self.p_value > alpha:
            return Interval(min(low, 0.0), max(high, 0.0))
        return Interval(low, high)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the true difference is at most `bound`", by the test the interval inverts."""
        if bound <= -1 or bound >= 1:
            return 0.0 if bound < 0 else 1.0
        if bound == 0:
            half = self.decision_p / 2
            return half if self.estimate > 0 else 1 - half
        # Next to 0 and −1 the variance may cancel to nothing.
        variance = max(self.n * tango_variance(self.n, self.gained, self.lost, bound), 1e-300)
        return float(ndtr((self.n * bound - self.gained + self.lost) / math.sqrt(variance)))

    def swapped(self) -> "BinaryPairs":
        """The same pairs seen from the other variant."""
        return BinaryPairs(self.n, self.lost, self.gained)


@dataclass(frozen=True, slots=True)
class MeanPairs:
    """Student's paired t on the differences of item values.

    Differences that are all the same have no t; the sign-flip test answers instead, whose p-value is 2^(1−n).
    """

    differences: Moments

    enough: ClassVar[int] = 20  # skewed differences (cost, latency) make t too bold below
    discordant: ClassVar[tuple[int, int] | None] = None

    @property
    def n(self) -> int:
        """Items with a value under both variants."""
        return self.differences.n

    @property
    def estimate(self) -> float:
        """The mean difference."""
        return self.differences.mean

    @property
    def sd(self) -> float | None:
        """Standard deviation of one item's difference; None for a single item."""
        return self.differences.sd

    @property
    def se(self) -> float | None:
        """Standard error of the mean difference; None for a single item."""
        return self.differences.se

    @property
    def method(self) -> str:
        """The test's name."""
        return "sign_flip" if self.differences.m2 == 0 else "paired_t"

    @property
    def p_value(self) -> float:
        """Two-sided, of no difference."""
        if self.estimate == 0:
            return 1.0
        return 2 * min(self.p_above(0.0), self.swapped().p_above(0.0))

    @property
    def decision_p(self) -> float:
        """The p-value that decides."""
        return self.p_value

    def interval(self, alpha: float) -> Interval | None:
        """At level 1 − alpha; None where all differences are the same and too few to refuse anything."""
        return mean_interval(self.differences, alpha)

    def p_above(self, bound: float) -> float:
        """One-sided p-value of "the true difference is at most `bound`"."""
        if self.differences.m2 == 0:
            return same_p(self.n) / 2 if self.estimate > bound else 1.0
        spread = math.sqrt(self.differences.m2 / (self.n - 1) / self.n)
        return float(stdtr(self.n - 1, (bound - self.estimate) / spread))

    def swapped(self) -> "MeanPairs":
        """The same pairs seen from the other variant."""
        return MeanPairs(Moments(self.n, -self.estimate, self.differences.m2))


Pairs = BinaryPairs | MeanPairs


def compare(control: NDArray[np.float64], variant: NDArray[np.float64], *, rate: bool) -> Pairs | None:
    """The paired difference of two arrays with one value per item, NaN where there is none.

    An item counts when both have a value; None when there is no such item. `rate` says that values are shares of
    right answers: then, if each is 0 or 1, the pairs are binary.
    """
    both = ~(np.isnan(control) | np.isnan(variant))
    a, b = control[both], variant[both]
    if a.size == 0:
        return None
    if rate and is_binary(a) and is_binary(b):
        return BinaryPairs(a.size, int((b > a).sum()), int((a > b).sum()))
    return MeanPairs(Moments.of(b - a, largest=float(max(np.abs(a).max(), np.abs(b).max()))))


def is_binary(values: NDArray[np.float64]) -> bool:
    """Whether every value is 0 or 1."""
    return bool(((values == 0) | (values == 1)).all())


def mid_p(gained: int, lost: int) -> float:
    """McNemar's exact test with mid-p (Fagerland, Lydersen, Laake 2013), in whole numbers."""
    total, smaller = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    below = sum(math.comb(total, k) for k in range(smaller))
    return float((2 * below + math.comb(total, smaller)) / 2**total)


def tango_variance(n: int, gained: int, lost: int, theta: float) -> float:
    """Variance of one item's difference at the most likely rates whose difference is theta (Tango 1998, eq. 4)."""
    a = 2 * n
    b = (2 * n - gained + lost) * theta - gained - lost
    c = -lost * theta * (1 - theta)
    lost_rate = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    return max(2 * lost_rate + theta * (1 - theta), 0.0)


def tango_upper(n: int, gained: int, lost: int, alpha: float) -> float:
    """The upper end of Tango's interval at level 1 − alpha."""
    z2 = normal_quantile(alpha) ** 2

    def outside(theta: float) -> bool:
        return (gained - lost - n * theta) ** 2 > z2 * n * tango_variance(n, gained, lost, theta)

    return bisect(outside, (gained - lost) / n, 1.0)


def bisect(outside: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number from `low` (inside) towards `high` that is not outside, to the last bit that matters."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if outside(middle) else (middle, high)
    return low
