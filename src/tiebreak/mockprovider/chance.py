"""Chance without state: the same words give the same draw, in every process and on every machine. Pure."""

import hashlib
import math
from statistics import NormalDist

from tiebreak.mockprovider.description import Fixed, Latency, Length

_NORMAL = NormalDist()
_LONGEST_SECONDS = 3600.0
_MOST_TOKENS = 100_000


def draw(*words: object) -> float:
    """A number strictly between 0 and 1, uniform over different words."""
    digest = hashlib.sha256("\x1f".join(map(str, words)).encode("utf-8", "surrogatepass")).digest()
    return ((int.from_bytes(digest[:8], "big") >> 12) + 0.5) / 2**52


def lognormal(median: float, sigma: float, chance: float) -> float:
    """The quantile at `chance` of the lognormal distribution with this median."""
    return median * math.exp(sigma * _NORMAL.inv_cdf(chance))


def seconds(latency: Latency, chance: float) -> float:
    """The time at this quantile of a latency, an hour at most."""
    if isinstance(latency, Fixed):
        return latency.ms / 1000
    return min(_LONGEST_SECONDS, lognormal(latency.median_ms, latency.sigma, chance) / 1000)


def tokens(length: Length, chance: float) -> int:
    """The number of tokens at this quantile of a length, 100,000 at most."""
    return max(1, round(min(_MOST_TOKENS, lognormal(length.median, length.sigma, chance))))
