"""The phases of a live test: how each splits its units, and what may follow. Pure.

A phase ends when traffic is split otherwise. It is never changed, so that every assignment can be explained for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from tiebreak.errors import Conflict, Fault, InvalidInput
from tiebreak.experiments.assignment import Traffic
from tiebreak.experiments.buckets import Range, counts, lay_out, reweigh, widths
from tiebreak.experiments.definition import Definition

MAX_PHASES: Final = 200  # carry-over looks at all of them when a gateway takes up a test


class PhaseKind(StrEnum):
    """What a phase changed."""

    START = "start"
    RAMP = "ramp"  # only the control lost units
    REWEIGH = "reweigh"  # others lost some too
    SHARE = "share"
    SHIP = "ship"  # every unit outside the holdout has one variant: nothing to compare it with
    STOP = "stop"  # nobody is assigned any more


@dataclass(frozen=True, slots=True)
class Phase:
    """How units are split from `started_at` on; see `Traffic`. `why` and `who` as they were given."""

    number: int
    kind: PhaseKind
    share: float
    holdout: float
    ranges: tuple[Range, ...]
    weights: Mapping[str, float]
    config_version: int  # the revision of the test that opened it
    who: str | None
    why: str | None
    started_at: datetime
    ended_at: datetime | None

    @property
    def traffic(self) -> Traffic:
        """What assigning takes of a phase."""
        return Traffic(self.number, self.config_version, self.share, self.holdout, self.ranges)

    def concurrent_control(self, control: str) -> bool:
        """Whether units are assigned to the control and to another variant at the same time."""
        owners = widths(self.ranges)
        return self.kind is not PhaseKind.STOP and self.share > 0 and control in owners and len(owners) > 1


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes the traffic, when and why; `revision` is the test's after the change."""

    revision: int
    at: datetime
    who: str | None = None
    why: str | None = None


def first(definition: Definition, change: Change) -> Phase:
    """The phase in which a test starts.

    Raises:
        InvalidInput: the weights make no buckets.
    """
    weights = {variant.key: variant.weight for variant in definition.variants}
    return Phase(
        number=1,
        kind=PhaseKind.START,
        share=definition.share,
        holdout=definition.holdout,
        ranges=lay_out(weights),
        weights=weights,
        config_version=change.revision,
        who=change.who,
        why=change.why,
        started_at=change.at,
        ended_at=None,
    )


def following(
    phases: Sequence[Phase],
    variants: Sequence[str],
    change: Change,
    *,
    share: float | None = None,
    weights: Mapping[str, float] | None = None,
) -> Phase:
    """The phase after the last of `phases`, with another share or other weights; `variants` are all, the control first.

    Raises:
        InvalidInput: the weights are not of these variants or make no buckets.
        Conflict: nothing would change, or the test has had as many phases as it may.
    """
    last = phases[-1]
    if len(phases) >= MAX_PHASES:
        raise Conflict(
            f"the test has had {len(phases)} phases, which is the most; stop it and create a new one"
        )
    ordered = _complete(weights, variants) if weights is not None else dict(last.weights)
    share = last.share if share is None else share
    ranges = last.ranges if weights is None else reweigh(last.ranges, ordered)
    if ranges == last.ranges and share == last.share:
        raise Conflict("the traffic is split like that already; give another `share` or other `weights`")
    kind = _kind(last, ranges, share, control=variants[0])
    return replace(_after(last, change), kind=kind, share=share, ranges=ranges, weights=ordered)


def stopped(last: Phase, change: Change) -> Phase:
    """The end of a test's phases: it keeps how units were split last, and assigns none."""
    return replace(_after(last, change), kind=PhaseKind.STOP, ended_at=change.at)


def served_outside(phases: Sequence[Phase], control: str) -> str:
    """The variant for whoever is not assigned: the control, unless the test ended by shipping another."""
    if len(phases) > 1 and phases[-1].kind is PhaseKind.STOP and phases[-2].kind is PhaseKind.SHIP:
        return phases[-2].ranges[0].variant
    return control


def _after(last: Phase, change: Change) -> Phase:
    """The next phase, which so far splits units as the last one did."""
    return replace(
        last,
        number=last.number + 1,
        config_version=change.revision,
        who=change.who,
        why=change.why,
        started_at=change.at,
        ended_at=None,
    )


def _complete(weights: Mapping[str, float], variants: Sequence[str]) -> dict[str, float]:
    """The weights in the order of the variants, which must be these and no others."""
    unknown = sorted(set(weights) - set(variants))
    missing = [key for key in variants if key not in weights]
    if unknown or missing:
        message = (
            f"{unknown[0]!r} is no variant of this test"
            if unknown
            else f"the weight of variant {missing[0]!r} is missing; 0 gives it no units"
        )
        message += f"; the weights are of {', '.join(map(repr, variants))}"
        raise InvalidInput(message, faults=[Fault("/weights", message)])
    ordered = {key: weights[key] for key in variants}
    try:
        counts(ordered)
    except InvalidInput as exc:
        raise InvalidInput(exc.detail, faults=[Fault("/weights", exc.detail)]) from exc
    return ordered


def _kind(last: Phase, ranges: tuple[Range, ...], share: float, *, control: str) -> PhaseKind:
    owners = widths(ranges)
    if share == 1 and len(owners) == 1:
        return PhaseKind.SHIP
    if ranges == last.ranges:
        return PhaseKind.SHARE
    lost = {key for key, width in widths(last.ranges).items() if owners.get(key, 0) < width}
    return PhaseKind.RAMP if lost == {control} else PhaseKind.REWEIGH
