"""Which items of a dataset a run takes. Pure and deterministic by its seed, on every machine and Python."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

Stratum = str | None


def draw(strata: Sequence[tuple[int, Stratum]], size: int, seed: int) -> list[int]:
    """Positions of a sample of `size`, ascending; of everything when there is no more.

    Strata are (position, stratum). Each stratum has its share by largest remainders; within one, items are taken in
    the order of a hash of seed and position, so that a larger sample of the same strata holds nearly all of a smaller
    one. Seconds for a million items: call it in a thread.
    """
    if size >= len(strata):
        return sorted(position for position, _ in strata)
    members: dict[Stratum, list[int]] = {}
    for position, stratum in strata:
        members.setdefault(stratum, []).append(position)
    shares = allocate({stratum: len(positions) for stratum, positions in members.items()}, size)
    return sorted(
        position
        for stratum, positions in members.items()
        for position in _shuffled(positions, seed)[: shares[stratum]]
    )


def allocate(counts: Mapping[Stratum, int], size: int) -> dict[Stratum, int]:
    """How many of each stratum, in proportion, `size` together (at most the sum of `counts`).

    The method of largest remainders; of equal remainders the larger stratum comes first, then the name.
    """
    total = sum(counts.values())
    shares = {stratum: size * count // total for stratum, count in counts.items()}
    order = sorted(
        counts,
        key=lambda stratum: (-(size * counts[stratum] % total), -counts[stratum], stratum or ""),
    )
    for stratum in order[: size - sum(shares.values())]:
        shares[stratum] += 1
    return shares


def _shuffled(positions: Iterable[int], seed: int) -> list[int]:
    return sorted(positions, key=lambda position: hashlib.sha256(f"{seed}:{position}".encode()).digest())
