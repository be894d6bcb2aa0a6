"""Which variant owns which buckets: laid out once, then moved as little as possible. Pure, standard library only.

A unit's bucket never changes (see `assignment`), so a unit changes its variant exactly when its bucket does.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from tiebreak.errors import InvalidInput

BUCKETS: Final = 10_000  # so that a bucket is 0.01 % of the units in the test


class Range(NamedTuple):
    """The buckets from `start` to before `end` belong to a variant."""

    start: int
    end: int
    variant: str


def counts(weights: Mapping[str, float]) -> dict[str, int]:
    """How many buckets each variant gets: proportional, the rest by largest remainder, ties in the order given.

    Raises:
        InvalidInput: a weight is negative, all are zero, or one is too small for a single bucket.
    """
    exact = {key: Fraction(weight) for key, weight in weights.items()}  # what a float holds, without rounding
    for key, weight in exact.items():
        if weight < 0:
            raise InvalidInput(f"the weight of variant {key!r} is {weights[key]}; it has to be 0 or more")
    total = sum(exact.values())
    if total == 0:
        raise InvalidInput("every weight is 0; give at least one variant a weight above 0")
    quotas = {key: weight * BUCKETS / total for key, weight in exact.items()}
    given = {key: int(quota) for key, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda key: given[key] - quotas[key])
    for key in by_remainder[: BUCKETS - sum(given.values())]:
        given[key] += 1
    for key, weight in exact.items():
        if weight > 0 and given[key] == 0:
            raise InvalidInput(
                f"the weight {weights[key]} of variant {key!r} is less than one of {BUCKETS} buckets; "
                "give it at least 0.01 % of the sum of the weights, or 0"
            )
    return given


def lay_out(weights: Mapping[str, float]) -> tuple[Range, ...]:
    """The first ranges of a test: one for each variant with a weight, in the order given.

    Raises:
        InvalidInput: see `counts`.
    """
    return _grow((), [(0, BUCKETS)], counts(weights))


def reweigh(ranges: Sequence[Range], weights: Mapping[str, float]) -> tuple[Range, ...]:
    """Ranges for other weights that move as few buckets as those weights allow.

    A growing variant keeps every bucket it has; a shrinking one gives up its highest. What is given up goes, lowest
    first, to the growing variants in the order of `weights`.

    Raises:
        InvalidInput: see `counts`.
    """
    targets = counts(weights)
    have = widths(ranges)
    excess = {key: width - targets.get(key, 0) for key, width in have.items()}
    kept: list[Range] = []
    free: list[tuple[int, int]] = []
    for owned in reversed(ranges):
        lost = min(max(excess[owned.variant], 0), owned.end - owned.start)
        excess[owned.variant] -= lost
        if lost:
            free.append((owned.end - lost, owned.end))
        if owned.end - lost > owned.start:
            kept.append(owned._replace(end=owned.end - lost))
    wanted = {key: max(target - have.get(key, 0), 0) for key, target in targets.items()}
    return _grow(kept, sorted(free), wanted)


def _grow(
    kept: Iterable[Range], free: Sequence[tuple[int, int]], wanted: Mapping[str, int]
) -> tuple[Range, ...]:
    """Give the free buckets, lowest first, to who wants some, and join neighbours of one variant."""
    grown = list(kept)
    open_ranges = list(reversed(free))
    for variant, width in wanted.items():
        missing = width
        while missing > 0:
            start, end = open_ranges.pop()
            taken = min(missing, end - start)
            grown.append(Range(start, start + taken, variant))
            missing -= taken
            if start + taken < end:
                open_ranges.append((start + taken, end))
    return _joined(sorted(grown))


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    joined: list[Range] = []
    for one in ranges:
        if joined and joined[-1].variant == one.variant:
            joined[-1] = joined[-1]._replace(end=one.end)
        else:
            joined.append(one)
    return tuple(joined)


def widths(ranges: Iterable[Range]) -> dict[str, int]:
    """How many buckets each variant owns; one without any is not there."""
    owned: dict[str, int] = {}
    for start, end, variant in ranges:
        owned[variant] = owned.get(variant, 0) + end - start
    return owned


def require_cover(ranges: Sequence[Range]) -> None:
    """Pass when every bucket has exactly one owner and the ranges are in order.

    Raises:
        InvalidInput: names the first place where that is not so.
    """
    expected = 0
    for start, end, variant in ranges:
        if start != expected or end <= start:
            raise InvalidInput(
                f"the bucket range {start}–{end} of variant {variant!r} should begin at {expected} and end after "
                "its beginning; take the ranges from the test as they are"
            )
        expected = end
    if expected != BUCKETS:
        raise InvalidInput(
            f"the bucket ranges end at {expected} instead of {BUCKETS}; take them from the test as they are"
        )
