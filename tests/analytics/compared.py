"""Evidence written down by hand, and the verdict on it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tests.analytics.recorded import definition

from tiebreak.analytics import levels
from tiebreak.analytics.analysis import metrics_of
from tiebreak.analytics.decide import decide
from tiebreak.analytics.model import Cell, Evidence, RunSummary, Verdict
from tiebreak.experiments.definition import Definition
from tiebreak.ids import new_id
from tiebreak.runs.model import RunState
from tiebreak.statistics.moments import Moments
from tiebreak.statistics.paired import BinaryPairs, MeanPairs

CHECK = {"kind": "numeric"}


def metric(name: str = "correct", role: str = "primary", **more: Any) -> dict[str, Any]:
    """A metric with a check, or a measure when it has the name of one."""
    check = {} if name.endswith(("_ms", "_usd", "_tokens")) or name == "error" else {"check": CHECK}
    return {"name": name, "role": role, **check, **more}


def ab_test(metrics: list[dict[str, Any]], variants: int = 2, **changes: Any) -> Definition:
    """Variants a (the control), b, c, …"""
    keys = "abcdefghij"[:variants]
    shown = [{"key": key, "model": f"mock/{key}", "template": "{{ question }}"} for key in keys]
    return definition(metrics=metrics, variants=shown, **changes)


def means(estimate: float, se: float, n: int = 400) -> MeanPairs:
    """Differences with this mean and standard error."""
    return MeanPairs(Moments(n, estimate, se * se * n * (n - 1)))


def rates(gained: int, lost: int, n: int = 400) -> BinaryPairs:
    """Items only the variant, only the control has right."""
    return BinaryPairs(n, gained, lost)


def ended(definition: Definition, **changes: Any) -> RunSummary:
    """A completed run."""
    run = RunSummary(new_id(), RunState.COMPLETED, None, definition, 800, 800, 800, 1, 1)
    return replace(run, **changes)


def evidence_of(definition: Definition, pairs: Mapping[tuple[str, str], Any]) -> list[Evidence]:
    """Everything that is not given is the same under both variants."""
    same = means(0.0, 0.1)
    return [
        Evidence(
            variant.key,
            "a",
            m,
            pairs.get((variant.key, m.name), same),
            0.001 if m.name == "cost_usd" else 0.5,
        )
        for variant in definition.variants[1:]
        for m in metrics_of(definition)
    ]


def verdict_of(
    definition: Definition, pairs: Mapping[tuple[str, str], Any], run: RunSummary | None = None
) -> Verdict:
    """The verdict of a completed, healthy run."""
    evidence = evidence_of(definition, pairs)
    shared = levels.share(definition, evidence)
    return decide(definition, run or ended(definition), evidence, shared, [])


def cell(variant: str, name: str) -> Cell:
    """Where a comparison belongs."""
    return Cell(variant, name)
