"""Single rates."""

import math

from scipy.special import ndtri

from tiebreak.statistics.interval import Interval


def normal_quantile(alpha: float) -> float:
    """The two-sided critical value z: |Z| exceeds it with probability alpha."""
    return -float(ndtri(alpha / 2))


def wilson(successes: int, n: int, alpha: float) -> Interval | None:
    """Wilson's score interval (1927) of a rate at level 1 − alpha; None without trials.

    It stays inside [0, 1] and has a width also at 0 and n successes.
    """
    if n == 0:
        return None
    z2 = normal_quantile(alpha) ** 2
    rate = successes / n
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)
