"""Numbers as people read them: points for rates, milliseconds, tokens, dollars; no more digits than the interval."""

import math
from dataclasses import dataclass

from tiebreak.experiments.definition import Metric
from tiebreak.statistics.interval import Interval

MINUS = "−"


@dataclass(frozen=True, slots=True)
class Unit:
    """`name` is the word of the result document; values are shown `factor` times as large."""

    name: str
    factor: float = 1.0
    prefix: str = ""
    suffix: str = ""


POINTS = Unit("points", 100.0, suffix=" points")
MILLISECONDS = Unit("ms", suffix=" ms")
TOKENS = Unit("tokens", suffix=" tokens")
DOLLARS = Unit("usd", prefix="$")


def unit_of(metric: Metric) -> Unit:
    """What the metric's differences are counted in."""
    if metric.check is not None or metric.name == "error":
        return POINTS
    if metric.name.endswith("_ms"):
        return MILLISECONDS
    return DOLLARS if metric.name == "cost_usd" else TOKENS


def decimals(width: float) -> int:
    """Decimal places that show a width with two significant digits, at most nine."""
    if width <= 0 or not math.isfinite(width):
        return 1
    return min(9, max(0, 1 - math.floor(math.log10(width))))


def signed(value: float, unit: Unit, places: int, *, bare: bool = False) -> str:
    """`+13.0 points`, `−$0.0012`; `bare` leaves the suffix out."""
    size = f"{abs(value * unit.factor):,.{places}f}"
    zero = not any(digit in size for digit in "123456789")
    sign = "" if zero else (MINUS if value < 0 else "+")
    return f"{sign}{unit.prefix}{size}{'' if bare else unit.suffix}"


def unsigned(value: float, unit: Unit) -> str:
    """`2 points`, `$0.002`: a bound that the user wrote, in as few digits as it has."""
    return f"{unit.prefix}{value * unit.factor:,.10g}{unit.suffix}"


def difference(estimate: float, interval: Interval | None, alpha: float, unit: Unit) -> tuple[str, str]:
    """`+13.0 points` and `95 % interval [+10.4, +15.7]`, both as precise as the interval is wide."""
    if interval is None:
        return signed(estimate, unit, decimals(abs(estimate * unit.factor))), "no interval"
    width = (interval.high - interval.low) * unit.factor
    places = decimals(width if width > 0 else abs(estimate * unit.factor))
    low, high = (signed(end, unit, places, bare=True) for end in interval)
    return signed(estimate, unit, places), f"{percent(1 - alpha)} interval [{low}, {high}]"


def percent(part: float) -> str:
    """`95 %`, `97.5 %`, `0.4 %`."""
    return f"{part * 100:.4g} %"


def count(number: int, noun: str) -> str:
    """`1,319 items`, `1 item`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def about(number: int) -> str:
    """`1,900`: two significant digits, rounded up, because it is a forecast."""
    step = 10 ** max(0, len(str(number)) - 2)
    return f"{math.ceil(number / step) * step:,}"


def listed(parts: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
