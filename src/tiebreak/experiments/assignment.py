"""Which variant a unit belongs to: a hash and a look-up, the same for ever on every machine.

Pure and of the standard library only, because the gateway asks on every request and clients may assign by themselves.

One salted BLAKE2b of the unit gives two independent numbers of 32 bits. The first says whether the unit is in the test
(below the share) or in the holdout (at the other end, so that the two never trade units); the second is its bucket.
Neither depends on share, weights or phase: changing them moves a unit only across a border that itself moved.
"""

import hashlib
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from tiebreak.errors import InvalidInput
from tiebreak.experiments.buckets import BUCKETS, Range, require_cover, widths

MAX_UNIT: Final = 256  # characters, after normalisation

_PURPOSE: Final = (
    b"tiebreak-assign1"  # 16 bytes; another purpose or another version of this would hash differently
)
_NUMBERS: Final = 2**32
_LOW: Final = _NUMBERS - 1


class Reason(StrEnum):
    """Why a unit has its variant, or none."""

    HASH = "hash"  # by chance; the only one that is analysed
    FORCED = "forced"  # the caller asked for this variant and may
    EXCLUDED = "excluded"  # the caller asked to stay out
    HOLDOUT = "holdout"
    NOT_IN_SHARE = "not_in_share"


class Assignment(NamedTuple):
    """What a unit was given. Without a variant it is served what the test serves outside of it."""

    variant: str | None
    reason: Reason
    probability: float | None  # of this variant among the units in the test; None unless the reason is hash
    phase: int
    config_version: int
    carried_over: bool  # it had another variant in an earlier phase


@dataclass(frozen=True, slots=True)
class Traffic:
    """How a phase splits units. `share` and `holdout` are of all units; where they meet, the holdout wins."""

    phase: int
    config_version: int
    share: float
    holdout: float
    ranges: tuple[Range, ...]


def normalised(unit: str) -> str:
    """The unit as it is hashed and stored: Unicode NFC, nothing trimmed, case kept.

    Raises:
        InvalidInput: empty, too long, or not storable as text.
    """
    if not unit.isascii():
        unit = unicodedata.normalize("NFC", unit)
        if any("\ud800" <= character <= "\udfff" for character in unit):
            raise InvalidInput("the unit holds half a surrogate pair; send it as UTF-8 text")
    if not unit:
        raise InvalidInput("the unit is empty; send the id of a user or a conversation, or leave it out")
    if len(unit) > MAX_UNIT:
        raise InvalidInput(
            f"the unit {unit[:20]!r}… has {len(unit)} characters, at most {MAX_UNIT} are taken; send an id, or its hash"
        )
    if "\x00" in unit:
        raise InvalidInput(f"the unit {unit[:40]!r} holds a NUL character; remove it")
    return unit


class Assigner:
    """Assigns the units of one test.

    `salt` is the test's id as text, so that two tests split the same units independently; `variants` are the keys that
    can be forced, with a weight or without; `phases` is how each phase up to the present one split units, that one last.

    Raises:
        InvalidInput: no phases, or one whose ranges do not cover every bucket.
    """

    def __init__(self, salt: str, variants: Sequence[str], phases: Sequence[Traffic]) -> None:
        if not phases:
            raise InvalidInput(f"test {salt!r} has no phase to assign in; start it live first")
        for phase in phases:
            require_cover(phase.ranges)
        *earlier, now = phases
        self._prefix = hashlib.blake2b(salt.encode() + b"\x00", digest_size=8, person=_PURPOSE)
        self._share_below = _border(now.share)
        self._holdout_from = _NUMBERS - _border(now.holdout)
        self._none = {
            reason: Assignment(None, reason, None, now.phase, now.config_version, False)
            for reason in (Reason.EXCLUDED, Reason.HOLDOUT, Reason.NOT_IN_SHARE)
        }
        self._forced = {
            variant: Assignment(variant, Reason.FORCED, None, now.phase, now.config_version, False)
            for variant in variants
        }
        pieces = list(_pieces(earlier, now))
        share_of = widths(now.ranges)
        self._starts = [start for start, _, _ in pieces]
        self._carried_below = [below for _, _, below in pieces]
        self._plain, self._carried = (
            [
                Assignment(
                    variant,
                    Reason.HASH,
                    share_of[variant] / BUCKETS,
                    now.phase,
                    now.config_version,
                    carried,
                )
                for _, variant, _ in pieces
            ]
            for carried in (False, True)
        )

    def numbers(self, unit: str) -> tuple[int, int]:
        """The unit's number for share and holdout, below 2^32, and its bucket; neither ever changes."""
        state = self._prefix.copy()
        state.update(unit.encode())
        both = int.from_bytes(state.digest(), "little")
        return both >> 32, (both & _LOW) * BUCKETS >> 32

    def assign(self, unit: str, *, force: str | None = None, exclude: bool = False) -> Assignment:
        """The unit's variant, from memory. `exclude` goes before `force`, which is the caller's to permit.

        Raises:
            InvalidInput: see `normalised`; or `force` is no variant of the test.
        """
        unit = normalised(unit)
        if exclude:
            return self._none[Reason.EXCLUDED]
        if force is not None:
            return self._force(force)
        number, bucket = self.numbers(unit)
        if number >= self._holdout_from:
            return self._none[Reason.HOLDOUT]
        if number >= self._share_below:
            return self._none[Reason.NOT_IN_SHARE]
        piece = bisect_right(self._starts, bucket) - 1
        return (self._carried if number < self._carried_below[piece] else self._plain)[piece]

    def _force(self, variant: str) -> Assignment:
        forced = self._forced.get(variant)
        if forced is None:
            raise InvalidInput(f"{variant!r} is no variant of this test; it has {', '.join(self._forced)}")
        return forced


def _border(fraction: float) -> int:
    return round(fraction * _NUMBERS)


def _pieces(earlier: Sequence[Traffic], now: Traffic) -> Iterator[tuple[int, str, int]]:
    """Runs of buckets that share one history: (first bucket, present variant, carried over below this number).

    A unit is carried over when it was in the test in a phase that gave its bucket to another variant. Shares are
    borders on the same number, so of all such phases the largest share decides.
    """
    histories = [(_border(phase.share), phase.ranges, [r.start for r in phase.ranges]) for phase in earlier]
    starts = sorted({one.start for phase in (*earlier, now) for one in phase.ranges})
    present = [one.start for one in now.ranges]
    for start in starts:
        variant = now.ranges[bisect_right(present, start) - 1].variant
        others = (
            border
            for border, ranges, begins in histories
            if ranges[bisect_right(begins, start) - 1].variant != variant
        )
        yield start, variant, max(others, default=0)
