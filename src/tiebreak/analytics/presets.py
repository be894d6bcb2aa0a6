"""What is concluded of one variant against the control, by the preset the test chose. Pure.

- `better`: better when at least one primary metric is better and none is worse; worse the other way round;
  equivalent when every primary metric lies inside its margin. Both better and worse is a mixed result: no call.
- `guarded`: the same, and every guardrail must be *shown* to hold.
- `not_worse_and_cheaper`: every primary metric's loss surely stays inside its margin and the cost is surely lower.
  Where only the cost fails, better on every primary metric, or equivalent, is still said. Worse is a loss surely
  beyond a margin.

In every preset a guardrail that is surely broken, its whole interval beyond the threshold, makes the variant worse.
"""

from collections.abc import Mapping, Sequence

from tiebreak.analytics import wording
from tiebreak.analytics.findings import Bound, Finding, Judged, forecast, judge
from tiebreak.analytics.levels import COST
from tiebreak.analytics.model import Cell, Conclusion, Evidence, Level, VerdictKind
from tiebreak.experiments.definition import Decision, Definition, Role


def conclude(
    definition: Definition, variant: str, evidence: Sequence[Evidence], levels: Mapping[Cell, Level]
) -> Conclusion:
    """The conclusion about one variant of a run that reached its end in good health."""
    deciding = [e for e in evidence if e.variant == variant and levels[e.cell].decisive]
    judged = [j for e in deciding if (j := judge(e, levels[e.cell])) is not None]
    if len(judged) < len(deciding):
        sentence = f"No item has values of both {variant} and {deciding[0].control}"
        return _unsettled(variant, sentence, "Find out why, and run the test again.")
    short = [j for j in judged if j.gain.n < j.gain.enough]
    if short:
        return _too_few(variant, short)
    primaries = [j for j in judged if j.evidence.metric.role is Role.PRIMARY]
    guardrails = [j for j in judged if j.evidence.metric.role is Role.GUARDRAIL]
    broken = [j for j in guardrails if j.guard() is Bound.BROKEN]
    if broken:
        return _broken(variant, broken, primaries)
    if definition.decision is Decision.NOT_WORSE_AND_CHEAPER:
        return _not_worse_and_cheaper(variant, primaries, next(j for j in judged if j.name == COST))
    if definition.decision is Decision.GUARDED:
        return _guarded(variant, primaries, guardrails)
    return _better(variant, primaries)


def _unsettled(variant: str, sentence: str, next_step: str) -> Conclusion:
    return Conclusion(variant, VerdictKind.CANNOT_TELL, sentence, next_step)


def _worse(judged: Judged, sentence: str) -> Conclusion:
    keep = f"Keep {judged.evidence.control}."
    return Conclusion(judged.evidence.variant, VerdictKind.WORSE, sentence, keep)


def _texts(judged: Sequence[Judged]) -> str:
    return wording.listed([j.text() for j in judged])


def _items(judged: Sequence[Judged]) -> str:
    return wording.count(min(j.gain.n for j in judged), "item")


def _limit(judged: Judged, value: float | None) -> str:
    return wording.unsigned(value or 0.0, wording.unit_of(judged.evidence.metric))


def _too_few(variant: str, short: Sequence[Judged]) -> Conclusion:
    worst = max(short, key=lambda j: j.gain.enough - j.gain.n)
    have, enough = wording.count(worst.gain.n, "item"), worst.gain.enough
    both = f"{variant} and {worst.evidence.control}"
    sentence = f"{have} with {worst.name} for both {both} are too few for a call; it takes at least {enough}"
    return _unsettled(
        variant, sentence, f"Needs at least {wording.count(enough - worst.gain.n, 'more item')}."
    )


def _broken(variant: str, broken: Sequence[Judged], primaries: Sequence[Judged]) -> Conclusion:
    parts = [
        f"{j.name} ({j.amount()}, where {_limit(j, j.evidence.metric.threshold)} worse is the most allowed)"
        for j in broken
    ]
    noun = "guardrail" if len(broken) == 1 else "guardrails"
    better = [j for j in primaries if j.finding() is Finding.BETTER]
    though = f", though it is better: {_texts(better)}" if better else ""
    sentence = f"{variant} breaks the {noun} {wording.listed(parts)}{though}, {_items(broken)}"
    return _worse(broken[0], sentence)


def _better(variant: str, primaries: Sequence[Judged]) -> Conclusion:
    control, items = primaries[0].evidence.control, _items(primaries)
    found = {finding: [j for j in primaries if j.finding() is finding] for finding in Finding}
    better, worse, unclear = found[Finding.BETTER], found[Finding.WORSE], found[Finding.UNCLEAR]
    if better and worse:
        sentence = (
            f"{variant} is better ({_texts(better)}) and worse ({_texts(worse)}) than {control}, {items}"
        )
        return _unsettled(variant, sentence, "Say which of these metrics matters more.")
    rest = f"; undecided on {wording.listed([j.name for j in unclear])}" if unclear else ""
    if better:
        sentence = f"{variant} is better than {control}: {_texts(better)}, {items}{rest}"
        return Conclusion(variant, VerdictKind.BETTER, sentence, f"Ship {variant}.")
    if worse:
        return _worse(worse[0], f"{variant} is worse than {control}: {_texts(worse)}, {items}{rest}")
    if not unclear:
        return _equivalent(variant, primaries, "Ship either; choose by cost or speed.")
    sentence = f"{variant} and {control} cannot be told apart: {_texts(unclear)}, {items}"
    return _unsettled(variant, sentence, _until_call(unclear))


def _until_call(unclear: Sequence[Judged]) -> str:
    nearest = min(unclear, key=lambda j: j.needed_to_call() or float("inf"))
    known = forecast(nearest.gain.n, [nearest.needed_to_call()])
    if known is not None:
        return known
    if nearest.evidence.metric.margin is None:
        return f"More items will hardly help; give {nearest.name} a margin, so that equivalent can be shown."
    return f"More items will hardly help; ask whether the margin of {nearest.name} is the right one."


def _equivalent(variant: str, primaries: Sequence[Judged], next_step: str) -> Conclusion:
    parts = [f"{j.text()}, inside the margin of ±{_limit(j, j.evidence.metric.margin)}" for j in primaries]
    sentence = f"{variant} and {primaries[0].evidence.control} are equivalent: {wording.listed(parts)}"
    return Conclusion(variant, VerdictKind.EQUIVALENT, f"{sentence}, {_items(primaries)}", next_step)


def _guarded(variant: str, primaries: Sequence[Judged], guardrails: Sequence[Judged]) -> Conclusion:
    found = _better(variant, primaries)
    if found.kind not in (VerdictKind.BETTER, VerdictKind.EQUIVALENT):
        return found
    unclear = [j for j in guardrails if j.guard() is Bound.UNCLEAR]
    if not unclear:
        names = wording.listed([j.name for j in guardrails])
        noun = "guardrail holds" if len(guardrails) == 1 else "guardrails hold"
        return Conclusion(variant, found.kind, f"{found.sentence}; the {noun}: {names}", found.next_step)
    needed = [j.needed(-(j.evidence.metric.threshold or 0.0)) for j in unclear]
    sentence = f"{found.sentence}; but it is not shown that the guardrail holds: {_texts(unclear)}"
    most = wording.listed([f"{_limit(j, j.evidence.metric.threshold)} on {j.name}" for j in unclear])
    advice = forecast(min(j.gain.n for j in unclear), needed)
    unlikely = f"More items will hardly help; ask whether {most} is the right threshold."
    return _unsettled(variant, sentence, advice or unlikely)


def _not_worse_and_cheaper(variant: str, primaries: Sequence[Judged], cost: Judged) -> Conclusion:
    control, items = cost.evidence.control, _items([*primaries, cost])
    broken = [j for j in primaries if j.within_margin() is Bound.BROKEN]
    if broken:
        sentence = f"{variant} is worse than {control} by more than the margin: {_texts(broken)}, {items}"
        return _worse(broken[0], sentence)
    unclear = [j for j in primaries if j.within_margin() is Bound.UNCLEAR]
    if unclear:
        return _not_shown(variant, unclear, cost, items)
    if cost.interval is not None and cost.interval.low > 0:
        return _ship_cheaper(variant, primaries, cost, items)
    costs = f"{_cost(cost)}, which does not show that it is cheaper"
    if all(j.finding() is Finding.BETTER for j in primaries):
        sentence = f"{variant} is better than {control}: {_texts(primaries)}, {items}; but {costs}"
        return Conclusion(variant, VerdictKind.BETTER, sentence, "Decide whether the gain is worth the cost.")
    next_step = _until_cheaper(cost)
    if all(j.finding() is Finding.EQUIVALENT for j in primaries):
        found = _equivalent(variant, primaries, next_step)
        return Conclusion(variant, found.kind, f"{found.sentence}; but {costs}", next_step)
    sentence = f"{variant} is not worse than {control}: {_texts(primaries)}, {items}; but {costs}"
    return _unsettled(variant, sentence, next_step)


def _not_shown(variant: str, unclear: Sequence[Judged], cost: Judged, items: str) -> Conclusion:
    margins = wording.listed([_limit(j, j.evidence.metric.margin) for j in unclear])
    sentence = f"It is not shown that {variant} stays inside the margin of {margins}: {_texts(unclear)}, {items}; {_cost(cost)}"
    if cost.loss(0.0) is Bound.BROKEN:
        return _unsettled(
            variant, sentence, f"Keep {cost.evidence.control}: {variant} is not cheaper anyway."
        )
    needed = [j.needed(-(j.evidence.metric.margin or 0.0)) for j in unclear]
    if cost.loss(0.0) is Bound.UNCLEAR:
        needed.append(cost.needed(0.0))
    advice = forecast(min(j.gain.n for j in [*unclear, cost]), needed)
    return _unsettled(
        variant, sentence, advice or "More items will hardly help; ask whether the margin is the right one."
    )


def _ship_cheaper(variant: str, primaries: Sequence[Judged], cost: Judged, items: str) -> Conclusion:
    parts = [f"{j.text()}, inside the margin of {_limit(j, j.evidence.metric.margin)}" for j in primaries]
    control = cost.evidence.control
    sentence = f"{variant} is not worse than {control} ({wording.listed(parts)}) and {_cost(cost)}, {items}"
    return Conclusion(variant, VerdictKind.NOT_WORSE_AND_CHEAPER, sentence, f"Ship {variant}.")


def _cost(cost: Judged) -> str:
    """`it costs 41 % less (−$0.0012, 95 % interval …)`."""
    base, gain = cost.evidence.control_mean or 0.0, cost.gain.estimate
    if gain == 0:
        return f"it costs the same ({cost.amount()})"
    part = f"{wording.percent(float(f'{abs(gain) / base:.2g}'))} " if base > 0 else ""
    return f"it costs {part}{'less' if gain > 0 else 'more'} ({cost.amount()})"


def _until_cheaper(cost: Judged) -> str:
    advice = None if cost.loss(0.0) is not Bound.UNCLEAR else forecast(cost.gain.n, [cost.needed(0.0)])
    return advice or f"Keep {cost.evidence.control}, or ask for `better` where quality may cost more."
