"""Count, mean and spread of a stream of numbers, mergeable in any order."""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from tiebreak.statistics.interval import Interval

# Numbers whose whole spread is below this share of the largest of them differ by rounding only.
ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Moments:
    """`m2` is the sum of squared distances from the mean (Welford 1962; merged as in Chan, Golub, LeVeque 1979).

    A raw sum of squares is never kept: it cancels to nothing for values far from zero.
    """

    n: int = 0
    mean: float = 0.0
    m2: float = 0.0

    @classmethod
    def of(cls, values: NDArray[np.float64], *, largest: float | None = None) -> Self:
        """The moments of an array without NaN.

        `largest` is the magnitude of the numbers the values were computed from (default: their own). A spread that
        is rounding at that magnitude counts as no spread.
        """
        if values.size == 0:
            return cls()
        scale = float(np.abs(values).max()) if largest is None else largest
        if float(values.max() - values.min()) <= ROUNDING * scale:
            return cls(values.size, float(values[0]), 0.0)
        mean = float(values.mean())
        return cls(values.size, mean, float(np.square(values - mean).sum()))

    def push(self, value: float) -> "Moments":
        """These numbers and one more."""
        n = self.n + 1
        mean = self.mean + (value - self.mean) / n
        return Moments(n, mean, self.m2 + (value - self.mean) * (value - mean))

    def merge(self, other: "Moments") -> "Moments":
        """These numbers and those of `other`, whatever the order."""
        if self.n == 0 or other.n == 0:
            return other if self.n == 0 else self
        n = self.n + other.n
        delta = other.mean - self.mean
        mean = self.mean + delta * other.n / n
        return Moments(n, mean, self.m2 + other.m2 + delta * delta * self.n * other.n / n)

    @property
    def sd(self) -> float | None:
        """The sample standard deviation; None below two numbers."""
        return None if self.n < 2 else math.sqrt(self.m2 / (self.n - 1))

    @property
    def se(self) -> float | None:
        """The standard error of the mean; None below two numbers."""
        return None if self.n < 2 else math.sqrt(self.m2 / (self.n - 1) / self.n)


def mean_interval(moments: Moments, alpha: float) -> Interval | None:
    """Student's interval of the mean at level 1 − alpha.

    Where all numbers are the same, Student's t is 0/0 and the sign-flip test takes its place: it refuses every other
    mean with p = 2^(1−n). So the interval is that one point, or None while n is too small to refuse anything.
    """
    if moments.m2 == 0:
        refused = moments.n > 0 and same_p(moments.n) <= alpha
        return Interval(moments.mean, moments.mean) if refused else None
    half = -float(stdtrit(moments.n - 1, alpha / 2)) * math.sqrt(moments.m2 / (moments.n - 1) / moments.n)
    return Interval(moments.mean - half, moments.mean + half)


def same_p(n: int) -> float:
    """Two-sided sign-flip p-value of n equal differences: 2 of the 2^n sign patterns are as extreme."""
    return math.ldexp(1.0, 1 - n)
