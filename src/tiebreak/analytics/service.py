"""The results of a test, from one reading of its latest run."""

import asyncio
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.analytics import analysis, levels, store
from tiebreak.analytics.decide import decide
from tiebreak.analytics.health import diverted, troubles
from tiebreak.analytics.model import Observed, Results, RunSummary
from tiebreak.experiments import service as experiments
from tiebreak.experiments.model import Experiment


async def results(tx: AsyncConnection, id_or_slug: str, *, at: datetime) -> Results:
    """Everything the results page shows; `at` is the time of reading.

    Raises:
        NotFound: no test has this id or slug.
    """
    experiment = await experiments.get(tx, id_or_slug)
    run = await store.latest_run(tx, experiment.id)
    definition = experiment.definition if run is None else run.definition
    variants = [variant.key for variant in definition.variants]
    metrics = analysis.metrics_of(definition)
    if run is None:
        observed = store.nothing(variants, metrics)
    else:
        shared = definition.share_responses
        observed = await store.observe(tx, run.id, variants, metrics, shared=shared)
    # Tens of thousands of items take longer than an event loop may stand still.
    return await asyncio.to_thread(assess, experiment, run, observed, at)


def assess(experiment: Experiment, run: RunSummary | None, observed: Observed, at: datetime) -> Results:
    """Pure: from what was observed to the verdict."""
    definition = experiment.definition if run is None else run.definition
    summaries = tuple(analysis.summarize(definition, observed))
    evidence = tuple(analysis.compare_all(definition, observed))
    shared = levels.share(definition, evidence)
    found = [
        *diverted(definition, observed.detours),
        *troubles(definition, observed.tallies, evidence, tuple(analysis.gaps(definition, observed))),
    ]
    verdict = decide(definition, run, evidence, shared, found)
    return Results(experiment, definition, run, at, summaries, evidence, shared, verdict, observed.detours)
