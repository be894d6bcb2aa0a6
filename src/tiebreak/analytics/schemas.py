"""The result document: what the API answers and `--json` prints. Later versions only add keys."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from tiebreak.analytics.decide import collecting
from tiebreak.analytics.levels import alpha_of
from tiebreak.analytics.model import Detours, Evidence, Results, Summary, Verdict, VerdictKind
from tiebreak.analytics.wording import unit_of
from tiebreak.experiments.definition import Decision, Role
from tiebreak.experiments.model import ExperimentState
from tiebreak.providers.account import NANO
from tiebreak.runs.model import RunState

Ends = tuple[float, float]


class ResultTest(BaseModel):
    """The test the results are about."""

    id: UUID
    slug: str = Field(examples=["small-or-large"])
    name: str = Field(examples=["Small or large?"])
    state: ExperimentState
    hypothesis: str | None
    decision: Decision


class ResultRun(BaseModel):
    """Its latest run; counts of responses."""

    id: UUID
    state: RunState
    reason: str | None = Field(description="Why it is paused, cancelled or failed")
    done: int = Field(ge=0)
    total: int = Field(ge=0)


class MetricResult(BaseModel):
    """One variant on one metric. Rates are shares (0.35, not 35)."""

    mean: float | None = Field(description="Over items; an item with repeats counts with its mean")
    se: float | None
    n: int = Field(description="Items with a value")
    unscored: int = Field(description="Responses without a value")
    interval: Ends | None = Field(description="Wilson's for rates, Student's for the rest")
    level: float
    reason: str | None = Field(description="Why there is no interval: collecting, no_values, too_few")
    reasons: dict[str, int] = Field(description="Why responses have no value", examples=[{"no_price": 3}])
    wrong_reasons: dict[str, int] = Field(
        description="Why responses count as wrong (of `error`: which failure)", examples=[{"no_number": 9}]
    )

    @classmethod
    def of(cls, summary: Summary, level: float, *, hidden: bool) -> "MetricResult":
        """`hidden` while intervals may not be shown."""
        return cls(
            mean=summary.mean,
            se=summary.se,
            n=summary.n,
            unscored=summary.tally.missing,
            interval=None if hidden else summary.interval,
            level=level,
            reason="collecting" if hidden else summary.reason,
            reasons=dict(summary.tally.unscored),
            wrong_reasons=dict(summary.tally.wrong),
        )


class VariantResult(BaseModel):
    """One variant; the first is the control."""

    key: str = Field(examples=["large"])
    model: str = Field(description="provider/model", examples=["openai/gpt-5-mini"])
    n: int = Field(description="Items with at least one response; those that share an answer count as one")
    fallbacks: int = Field(description="Answers that another model gave, because this one had failed")
    shared: int = Field(description="Answers that came along with an equal request's")
    metrics: dict[str, MetricResult]


class ComparisonResult(BaseModel):
    """A variant against the control on one metric, paired by item; differences are variant − control."""

    variant: str
    control: str
    metric: str
    role: Role
    direction: Literal["higher", "lower"] = Field(description="Which way is good")
    unit: Literal["points", "ms", "tokens", "usd"] = Field(
        description="Of people's words; the numbers of points are shares (0.13 is 13 points)"
    )
    n: int = Field(description="Items with a value under both")
    difference: float | None
    se: float | None
    interval: Ends | None = Field(description="At `level`; null while collecting")
    level: float = Field(description="Of the interval: where it decides, after correction for multiplicity")
    p_value: float | None = Field(description="Two-sided, of no difference, before correction")
    p_adjusted: float | None = Field(
        description="Of the claim that this comparison decides, after correction; else null"
    )
    method: str | None = Field(
        description="mcnemar_score_tango, mcnemar_midp_tango (below 25 discordant pairs), paired_t, sign_flip "
        "(all differences equal)"
    )
    discordant: tuple[int, int] | None = Field(
        description="Items only the variant has right, items only the control has right"
    )
    margin: float | None
    threshold: float | None
    decisive: bool = Field(description="Whether the verdict looks at it")
    reason: str | None = Field(description="Why there is no interval: collecting, no_pairs, too_few")

    @classmethod
    def of(cls, results: Results, evidence: Evidence, *, hidden: bool) -> "ComparisonResult":
        """`hidden` while intervals and p-values may not be shown."""
        level, pairs, metric = results.levels[evidence.cell], evidence.pairs, evidence.metric
        interval = None if pairs is None or hidden else pairs.interval(level.alpha)
        reason = "no_pairs" if pairs is None else "collecting" if hidden else None
        return cls(
            variant=evidence.variant,
            control=evidence.control,
            metric=metric.name,
            role=metric.role,
            direction=metric.good,
            unit=unit_of(metric).name,
            n=0 if pairs is None else pairs.n,
            difference=None if pairs is None else pairs.estimate,
            se=None if pairs is None else pairs.se,
            interval=interval,
            level=round(1 - level.alpha, 10),
            p_value=None if pairs is None or hidden else pairs.p_value,
            p_adjusted=None if pairs is None or hidden else level.adjusted,
            method=None if pairs is None else pairs.method,
            discordant=None if pairs is None else pairs.discordant,
            margin=metric.margin,
            threshold=metric.threshold,
            decisive=level.decisive,
            reason=reason or ("too_few" if interval is None else None),
        )


class ConclusionResult(BaseModel):
    """What is found of one variant."""

    variant: str
    kind: VerdictKind
    sentence: str
    next_step: str


class VerdictResult(BaseModel):
    """The answer."""

    kind: VerdictKind
    variant: str | None = Field(description="The one the kind speaks of; null for none or several")
    sentence: str
    next_step: str
    conclusions: list[ConclusionResult] = Field(description="For each variant but the control, once settled")

    @classmethod
    def of(cls, verdict: Verdict) -> "VerdictResult":
        """As the domain has it."""
        found = [
            ConclusionResult(variant=c.variant, kind=c.kind, sentence=f"{c.sentence}.", next_step=c.next_step)
            for c in verdict.conclusions
        ]
        return cls(
            kind=verdict.kind,
            variant=verdict.variant,
            sentence=verdict.sentence,
            next_step=verdict.next_step,
            conclusions=found,
        )


class Spend(BaseModel):
    """What the run has cost so far, failed and repeated calls included where the provider bills them."""

    amount: float = Field(description="Of the calls whose price is known", examples=[0.42])
    currency: Literal["USD"] = "USD"
    calls: int = Field(description="Attempts on the wire")
    tokens: int


class ResultsDocument(BaseModel):
    """Which variant to ship, and how sure that is."""

    model_config = ConfigDict(title="Results")

    test: ResultTest
    run: ResultRun | None = Field(description="Null before the first start")
    as_of: datetime
    variants: list[VariantResult]
    comparisons: list[ComparisonResult]
    verdict: VerdictResult
    spend: Spend

    @classmethod
    def of(cls, results: Results) -> "ResultsDocument":
        """The document of what was read at one moment."""
        hidden, run = collecting(results.run), results.run
        return cls(
            test=_test(results),
            run=None
            if run is None
            else ResultRun(id=run.id, state=run.state, reason=run.reason, done=run.done, total=run.total),
            as_of=results.as_of,
            variants=_variants(results, hidden=hidden),
            comparisons=[ComparisonResult.of(results, e, hidden=hidden) for e in results.evidence],
            verdict=VerdictResult.of(results.verdict),
            spend=Spend(
                amount=0.0 if run is None else run.cost_nano / NANO,
                calls=0 if run is None else run.calls,
                tokens=0 if run is None else run.tokens,
            ),
        )


def _test(results: Results) -> ResultTest:
    experiment = results.experiment
    return ResultTest(
        id=experiment.id,
        slug=experiment.slug,
        name=experiment.name,
        state=experiment.state,
        hypothesis=results.definition.hypothesis,
        decision=results.definition.decision,
    )


def _variants(results: Results, *, hidden: bool) -> list[VariantResult]:
    level = round(1 - alpha_of(results.definition), 10)
    shown = []
    for variant in results.definition.variants:
        mine = {s.cell.metric: s for s in results.summaries if s.cell.variant == variant.key}
        metrics = {name: MetricResult.of(s, level, hidden=hidden) for name, s in mine.items()}
        # Every ended response has the measure `error`, so its n counts the items that were answered at all.
        detour = results.detours.get(variant.key, Detours())
        shown.append(
            VariantResult(
                key=variant.key,
                model=variant.model,
                n=mine["error"].n,
                fallbacks=detour.fallbacks,
                shared=detour.shared,
                metrics=metrics,
            )
        )
    return shown
