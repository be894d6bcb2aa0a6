"""What answers say of rate limits and waiting, in every vendor's way of saying it: one tolerant, pure reader.

OpenAI writes durations ("6m0s", "17ms"), Anthropic moments (RFC 3339), Azure sends "-1" or "0" for what it does not
know, Gemini puts a RetryInfo into the body. Nothing here raises; what makes no sense says nothing.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from tiebreak.infrastructure.resilience.retry import retry_after as stated_wait
from tiebreak.providers.model import RateLimits, Window

# Nobody means more; a header that says so is noise.
MOST: Final = 10**12
LONGEST_SECONDS: Final = 31 * 86400.0
LONGEST_TEXT: Final = 64

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNIT: Final = r"(?:ms|us|µs|ns|h|m|s)"
_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_DURATION: Final = re.compile(rf"(?:{_NUMBER}{_UNIT})+")
_STEP: Final = re.compile(rf"({_NUMBER})({_UNIT})")
_COUNT: Final = re.compile(r"[0-9]{1,13}")


def duration(text: str) -> float | None:
    """Seconds of a duration as Go prints it, or of a bare number; None for anything else."""
    text = text.strip()
    if len(text) > LONGEST_TEXT:
        return None
    if _DURATION.fullmatch(text):
        return _sane(sum(float(number) * _UNITS[unit] for number, unit in _STEP.findall(text)))
    try:
        return _sane(float(text))
    except ValueError:
        return None


def _sane(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and 0 <= seconds <= LONGEST_SECONDS else None


def _until(text: str, now: datetime) -> float | None:
    """Seconds until a moment written as RFC 3339; 0 when it is past."""
    if len(text) > LONGEST_TEXT:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return _sane(max(0.0, (moment - now).total_seconds()))
    except OverflowError:  # a moment at the edge of the calendar, with an offset
        return None


def _reset(text: str, now: datetime) -> float | None:
    """Seconds until a reset: a duration, a moment, or seconds or milliseconds since 1970."""
    if not text:
        return None
    seconds = duration(text)
    if seconds is not None:
        return seconds
    if not _COUNT.fullmatch(text):
        return _until(text, now)
    since_1970 = float(text)
    if since_1970 > 1e11:
        since_1970 /= 1000.0
    return _sane(max(0.0, since_1970 - now.timestamp()))


def _count(text: str) -> int | None:
    text = text.strip()
    return min(int(text), MOST) if _COUNT.fullmatch(text) else None


# (limit, remaining, reset) by what is counted; of several vendors' names the first that is there counts.
_OPENAI: Final = "x-ratelimit-{}-{}"
_ANTHROPIC: Final = "anthropic-ratelimit-{1}-{0}"
_KINDS: Final = ("requests", "tokens", "input-tokens", "output-tokens")
_NAMES: Final[dict[str, tuple[tuple[str, str, str], ...]]] = {
    kind: tuple(
        (pattern.format("limit", kind), pattern.format("remaining", kind), pattern.format("reset", kind))
        for pattern in (_OPENAI, _ANTHROPIC)
    )
    for kind in _KINDS
}
# Vendors with one limit for all (OpenRouter, and the drafts of the IETF).
_PLAIN: Final = (
    ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"),
    ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"),
)


def _window(
    headers: Mapping[str, str], names: tuple[tuple[str, str, str], ...], now: datetime
) -> Window | None:
    for limit_name, remaining_name, reset_name in names:
        limit, remaining = headers.get(limit_name), headers.get(remaining_name)
        if limit is None and remaining is None:
            continue
        # A limit of 0 or -1 is how some say that there is none.
        window = Window(
            _count(limit or "") or None, _count(remaining or ""), _reset(headers.get(reset_name, ""), now)
        )
        if window.limit is not None or window.remaining is not None:
            return window
    return None


def rate_limits(headers: Mapping[str, str], now: datetime) -> RateLimits | None:
    """The vendor's limits as an answer's headers tell them; None when they tell of none. Names in lower case."""
    # Most vendors at hand say nothing, and this is on every call's way.
    if not any("ratelimit" in name.lower() for name in headers):
        return None
    requests, tokens, input_tokens, output_tokens = (_window(headers, _NAMES[kind], now) for kind in _KINDS)
    requests = requests or _window(headers, _PLAIN, now)
    if requests is tokens is input_tokens is output_tokens is None:
        return None
    return RateLimits(requests, tokens, input_tokens, output_tokens)


class _Detail(msgspec.Struct):
    retry_delay: str = msgspec.field(name="retryDelay", default="")


class _Fault(msgspec.Struct):
    details: list[_Detail] = msgspec.field(default_factory=list)


class _Body(msgspec.Struct):
    error: _Fault


_bodies = msgspec.json.Decoder(_Body | list[_Body])


def _body_wait(body: bytes) -> float | None:
    """Gemini's RetryInfo; its errors come bare, or in a list when streamed."""
    if b"retryDelay" not in body:
        return None
    try:
        found = _bodies.decode(body)
    except (ValueError, RecursionError):
        return None
    faults = found if isinstance(found, list) else [found]
    waits = [duration(detail.retry_delay) for fault in faults for detail in fault.error.details]
    return max((wait for wait in waits if wait is not None), default=None)


def _exhausted(limits: RateLimits | None) -> float | None:
    """The longest reset among the limits that are used up."""
    if limits is None:
        return None
    windows = (limits.requests, limits.tokens, limits.input_tokens, limits.output_tokens)
    resets = [w.reset for w in windows if w is not None and w.remaining == 0 and w.reset is not None]
    return max(resets, default=None)


def minimum_wait(
    headers: Mapping[str, str], body: bytes, now: datetime, limits: RateLimits | None = None
) -> float | None:
    """The least seconds to wait that a failed answer asks for: in its headers, in its body, or, saying neither, by
    the resets of those `limits` that are used up. None when it asks for none."""
    stated = stated_wait(headers, now)
    if stated is None:
        stated = _body_wait(body)
    return _exhausted(limits) if stated is None else stated
