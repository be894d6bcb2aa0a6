"""How the error rate of a test is shared among its comparisons. Pure.

The family is {variants} × {primary metrics}, corrected by Holm, where one good primary is enough (`better`,
`guarded`). `not_worse_and_cheaper` claims everything at once for a variant (intersection-union), which needs no
correction within the variant, and Holm over the variants. Guardrails must all hold, so they are corrected for the
number of variants only. Everything else is shown at the test's own level and decides nothing.
"""

from collections.abc import Mapping, Sequence

from tiebreak.analytics.model import Cell, Evidence, Level
from tiebreak.experiments.definition import Decision, Definition, Role
from tiebreak.statistics.multiplicity import holm

COST = "cost_usd"


def alpha_of(definition: Definition) -> float:
    """The test's error rate, without the rounding noise of 1 − level."""
    return round(1 - definition.level, 12)


def share(definition: Definition, evidence: Sequence[Evidence]) -> Mapping[Cell, Level]:
    """The level of every comparison."""
    alpha = alpha_of(definition)
    shared = {e.cell: Level(alpha) for e in evidence}
    guardrails = [e for e in evidence if e.metric.role is Role.GUARDRAIL]
    shared.update({e.cell: Level(alpha / (len(definition.variants) - 1), None, True) for e in guardrails})
    deciding = _joint if definition.decision is Decision.NOT_WORSE_AND_CHEAPER else _separate
    shared.update(deciding(alpha, evidence))
    return shared


def _separate(alpha: float, evidence: Sequence[Evidence]) -> dict[Cell, Level]:
    primaries = [e for e in evidence if e.metric.role is Role.PRIMARY]
    p_values = [1.0 if e.pairs is None else e.pairs.decision_p for e in primaries]
    steps = holm(p_values, alpha)
    return {e.cell: Level(s.alpha, s.adjusted, True) for e, s in zip(primaries, steps, strict=True)}


def _joint(alpha: float, evidence: Sequence[Evidence]) -> dict[Cell, Level]:
    claims: dict[str, list[Evidence]] = {}
    for e in evidence:
        if e.metric.role is Role.PRIMARY or e.metric.name == COST:
            claims.setdefault(e.variant, []).append(e)
    p_values = [max(claim_p(part) for part in parts) for parts in claims.values()]
    steps = holm(p_values, alpha)
    return {
        e.cell: Level(step.alpha, step.adjusted, True)
        for parts, step in zip(claims.values(), steps, strict=True)
        for e in parts
    }


def claim_p(evidence: Evidence) -> float:
    """P-value of "worse by the margin or more" (for the cost: "not cheaper"), doubled: an interval has two sides."""
    gain = evidence.gain
    if gain is None:
        return 1.0
    parts = []
    if evidence.metric.role is Role.PRIMARY:
        parts.append(gain.p_above(-(evidence.metric.margin or 0.0)))
    if evidence.metric.name == COST:
        parts.append(gain.p_above(0.0))
    return min(1.0, 2 * max(parts))
