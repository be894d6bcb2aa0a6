"""When to try again: full jitter over an exponential ceiling, never before the other side's own minimum. Pure."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

# The part of a stated minimum that waits are spread over, so that clients told the same do not return together.
SPREAD: Final = 0.5


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. `longest_minimum` caps what the other side may ask for ("1e9")."""

    base: float = 0.5
    ceiling: float = 20.0
    longest_minimum: float = 60.0

    def delay(self, retry: int, rng: random.Random, minimum: float | None = None) -> float:
        """How long to wait before the retry of this number, counted from 0.

        Without a minimum: uniform in 0..min(ceiling, base × 2^retry) ("full jitter", M. Brooker, "Exponential
        Backoff and Jitter", AWS 2015). With one: the minimum, and above it that same width or half the minimum,
        whichever is more.
        """
        width = min(self.ceiling, self.base * 2.0 ** min(retry, 60))
        if minimum is None:
            return rng.uniform(0.0, width)
        floor = min(max(minimum, 0.0), self.longest_minimum)
        return floor + rng.uniform(0.0, max(width, SPREAD * floor))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _date(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:  # "-0000": UTC of unknown source
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """The minimum wait in seconds that an answer asks for; None when it asks for none or for nonsense ("-1").

    Reads `retry-after-ms`, then `retry-after` as seconds or as an HTTP date. Header names are looked up in lower
    case.
    """
    milliseconds = _number(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000.0
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    stated = _number(text)
    return stated if stated is not None else _date(text, now)
