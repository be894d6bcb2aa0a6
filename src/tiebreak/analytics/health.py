"""Whether the responses can carry a verdict at all. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tiebreak.analytics.analysis import decides, metrics_of
from tiebreak.analytics.model import Cell, Detours, Evidence, Gap, Tally
from tiebreak.analytics.wording import percent
from tiebreak.experiments.definition import Definition
from tiebreak.statistics.paired import Pairs

# Over this share without a value, failed or unpaired, what is left may differ from what is missing.
MOST_MISSING = 0.05
# Below that share, variants may still differ: by more than this, and hardly by chance.
MOST_APART = 0.02
CHANCE = 0.001

REMEDIES = {
    "no_expected": "Give every item of the dataset an expected answer.",
    "no_price": "Give the model a price: `tiebreak provider price`.",
    "no_usage": "Use a model whose provider reports tokens, or leave cost and tokens out of the decision.",
    "not_streamed": "Time to first token exists only for streamed answers; leave it out of the decision.",
    "time_limit": "Simplify the pattern, or raise its time limit.",
    "failed": "Mend what made the calls fail, and run the test again.",
}
RERUN = "Find out why before trusting any number, and run the test again."


@dataclass(frozen=True, slots=True)
class Trouble:
    """A reason not to trust the numbers, and what to do."""

    sentence: str
    next_step: str


def troubles(
    definition: Definition,
    tallies: Mapping[Cell, Tally],
    evidence: Sequence[Evidence],
    gaps: Sequence[Gap],
) -> list[Trouble]:
    """Everything that is wrong, the most direct cause first.

    Failed calls count only where failing is not itself a metric that decides.
    """
    errors_decide = any(decides(definition, m) for m in metrics_of(definition) if m.name == "error")
    found = [] if errors_decide else list(_failing(definition, tallies, evidence))
    return [*found, *_unscored(definition, tallies), *_uneven(gaps)]


def diverted(definition: Definition, detours: Mapping[str, Detours]) -> Iterator[Trouble]:
    """A variant whose answers come from another model gets neither credit nor blame for them."""
    for variant in definition.variants:
        detour = detours.get(variant.key, Detours())
        if detour.fallbacks > MOST_MISSING * detour.answers:
            part = percent(round(detour.fallbacks / detour.answers, 3))
            yield Trouble(
                f"{part} of the answers of {variant.key} are another model's: {variant.model} failed and its "
                "fallback answered",
                REMEDIES["failed"],
            )


def _failing(
    definition: Definition, tallies: Mapping[Cell, Tally], evidence: Sequence[Evidence]
) -> Iterator[Trouble]:
    for variant in definition.variants:
        tally = tallies[Cell(variant.key, "error")]
        failed = sum(tally.wrong.values())
        if failed > MOST_MISSING * tally.responses:
            part = percent(round(failed / tally.responses, 3))
            yield Trouble(f"{part} of the calls of {variant.key} failed", REMEDIES["failed"])
    for e in evidence:
        if e.metric.name == "error" and apart(e.pairs):
            yield Trouble(
                f"calls failed at different rates for {e.control} and {e.variant}", REMEDIES["failed"]
            )


def _unscored(definition: Definition, tallies: Mapping[Cell, Tally]) -> Iterator[Trouble]:
    for metric in metrics_of(definition):
        if not decides(definition, metric):
            continue
        for variant in definition.variants:
            tally = tallies[Cell(variant.key, metric.name)]
            if tally.missing > MOST_MISSING * tally.responses:
                part = percent(round(tally.missing / tally.responses, 3))
                reason = max(tally.unscored, key=lambda word: tally.unscored[word])
                yield Trouble(
                    f"{part} of the responses of {variant.key} have no {metric.name} ({reason})",
                    REMEDIES.get(reason, RERUN),
                )


def _uneven(gaps: Sequence[Gap]) -> Iterator[Trouble]:
    for gap in gaps:
        who = f"{gap.control} and {gap.cell.variant}"
        if apart(gap.pairs):
            yield Trouble(f"responses lack {gap.cell.metric} at different rates for {who}", RERUN)
        if gap.unpaired > MOST_MISSING:
            part = percent(round(gap.unpaired, 3))
            yield Trouble(f"{part} of the items have {gap.cell.metric} for only one of {who}", RERUN)


def apart(pairs: Pairs | None) -> bool:
    """Whether two shares differ strongly: by over two points, and with p below 0.001."""
    return pairs is not None and abs(pairs.estimate) > MOST_APART and pairs.decision_p < CHANCE
