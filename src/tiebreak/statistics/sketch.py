"""Quantiles of many values in little memory: DDSketch (Masson, Rim and Lee 2019), with a fixed range of buckets."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

ACCURACY: Final = 0.01  # of a quantile, relative to its value
_GROWTH: Final = (1 + ACCURACY) / (1 - ACCURACY)  # bucket i holds the values in (_GROWTH^(i-1), _GROWTH^i]
_PER_E: Final = 1 / math.log(_GROWTH)
# 1.3e-9 to 7.8e8, so seconds from a nanosecond to decades; what lies outside counts as the nearer end.
LAST: Final = 1024
_FLOOR: Final = _GROWTH**-LAST


@dataclass(slots=True)
class Sketch:
    """Counts by bucket; at most 2,049 of them. Sums of sketches are exact, in whatever order they are taken."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, value: float) -> None:
        """Count a value that is not negative.

        Raises:
            ValueError: it is, or it is no number.
        """
        if value > _FLOOR:
            bucket = min(math.ceil(math.log(value) * _PER_E), LAST) if value < math.inf else LAST
        elif value >= 0:
            bucket = -LAST
        else:
            raise ValueError(f"{value} cannot be counted: only numbers from 0 on can")
        self.counts[bucket] = self.counts.get(bucket, 0) + 1

    def merge(self, other: Self) -> None:
        """Add what another one counted."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count

    @property
    def n(self) -> int:
        """How many values were counted."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """The value at the place ⌊q·(n − 1)⌋ of the ordered values (from 0), within `ACCURACY` of it; None without any."""
        place = math.floor(q * (self.n - 1))
        passed = 0
        for bucket in sorted(self.counts):
            passed += self.counts[bucket]
            if passed > place:
                return float(2 * _GROWTH**bucket / (_GROWTH + 1))
        return None

    def document(self) -> dict[str, int]:
        """As JSON: {bucket: count}. Documents merge by adding the counts of equal keys."""
        return {str(bucket): count for bucket, count in self.counts.items()}

    @classmethod
    def of(cls, document: Mapping[str, int]) -> Self:
        """What `document()` gave."""
        return cls({int(bucket): count for bucket, count in document.items()})


def least_for(q: float) -> int:
    """Values below which a quantile says too little to be shown: 4q/(1 − q), rounded up; 76 at q = 0.95."""
    return math.ceil(round(4 * q / (1 - q), 9))
