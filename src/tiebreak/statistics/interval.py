"""The interval, by itself: those who only print one need no numpy."""

from typing import NamedTuple


class Interval(NamedTuple):
    """A confidence interval; both ends are finite."""

    low: float
    high: float
