"""Use cases of live tests. Functions take an open transaction; the caller commits.

Each change of a live test is told on the channel `store.CHANNEL` when it commits, so that gateways know within a second.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import NotFound
from tiebreak.experiments import parts, phases, planning, service, store
from tiebreak.experiments.live_test import LiveTest
from tiebreak.experiments.model import ON_REQUEST, Experiment, Step
from tiebreak.experiments.phases import Change

MAX_SNAPSHOT: Final = 2_000  # live tests a gateway keeps in memory, those that run or are paused first


async def start(
    tx: AsyncConnection,
    experiment: Experiment,
    *,
    at: datetime,
    who: str | None = None,
    why: str | None = None,
) -> LiveTest:
    """Let a draft take live traffic: freeze its plan and open its first phase. A dataset it names is not used.

    Raises:
        IllegalTransition: not a draft.
        InvalidInput: something the definition refers to is missing or does not fit.
        Conflict: it changed since it was read.
    """
    running = experiment.start_live(at)
    parts.require(experiment.definition)
    plan = await planning.resolve_live(tx, experiment.definition, at)
    await service.save(tx, experiment, running)
    await store.insert_plan(tx, experiment.id, plan)
    opened = phases.first(experiment.definition, Change(running.revision, at, who, why))
    await store.insert_phase(tx, experiment.id, opened)
    return await get(tx, running)


async def reroute(
    tx: AsyncConnection,
    experiment: Experiment,
    *,
    share: float | None = None,
    weights: Mapping[str, float] | None = None,
    at: datetime,
    who: str | None = None,
    why: str | None = None,
) -> LiveTest:
    """Open a new phase with another share or other weights; as few units as possible change their variant.

    Raises:
        IllegalTransition: it takes no live traffic, or not any more.
        InvalidInput: the weights are not of its variants.
        Conflict: nothing would change, or somebody else changed it meanwhile.
    """
    experiment.require_live(Step.REROUTE)
    rerouted = experiment.reroute()
    past = await store.list_phases(tx, experiment.id)
    variants = [variant.key for variant in experiment.definition.variants]
    change = Change(rerouted.revision, at, who, why)
    opened = phases.following(past, variants, change, share=share, weights=weights)
    await service.save(tx, experiment, rerouted)
    await store.end_phase(tx, experiment.id, at)
    await store.insert_phase(tx, experiment.id, opened)
    return await get(tx, rerouted)


async def pause(
    tx: AsyncConnection, experiment: Experiment, *, at: datetime, reason: str = ON_REQUEST
) -> Experiment:
    """Assign nobody for now: the control answers everybody. The phase stays, and with it every unit's variant.

    Raises:
        IllegalTransition: it takes no live traffic, or is not running.
        Conflict: it changed since it was read.
    """
    experiment.require_live(Step.PAUSE)
    paused = experiment.pause(at, reason)
    await service.save(tx, experiment, paused)
    return paused


async def resume(tx: AsyncConnection, experiment: Experiment, *, at: datetime) -> Experiment:
    """Assign again, as before.

    Raises:
        IllegalTransition: it takes no live traffic, or is not paused.
        Conflict: it changed since it was read.
    """
    experiment.require_live(Step.RESUME)
    running = experiment.resume(at)
    await service.save(tx, experiment, running)
    return running


async def stop(
    tx: AsyncConnection,
    experiment: Experiment,
    *,
    at: datetime,
    who: str | None = None,
    why: str | None = None,
) -> LiveTest:
    """Complete a live test: nobody is assigned any more, and the variant that was shipped, else the control, answers.

    Raises:
        IllegalTransition: it takes no live traffic, or not any more.
        Conflict: it changed since it was read.
    """
    experiment.require_live(Step.COMPLETE)
    ended = experiment.complete(at)
    await _end(tx, experiment, ended, at=at, who=who, why=why)
    return await get(tx, ended)


async def cancel(
    tx: AsyncConnection,
    experiment: Experiment,
    *,
    at: datetime,
    who: str | None = None,
    reason: str = ON_REQUEST,
) -> Experiment:
    """End a live test that should not be read as completed; otherwise as `stop`.

    Raises:
        IllegalTransition: it takes no live traffic, or not any more.
        Conflict: it changed since it was read.
    """
    experiment.require_live(Step.CANCEL)
    ended = experiment.cancel(at, reason)
    await _end(tx, experiment, ended, at=at, who=who, why=reason)
    return ended


async def get(tx: AsyncConnection, experiment: Experiment) -> LiveTest:
    """A live test with its plan and phases.

    Raises:
        NotFound: it was never started live.
    """
    found = await store.find_live(tx, experiment.id)
    if found is None:
        raise NotFound(
            f"test {experiment.slug!r} has no live traffic; `tiebreak test start-live {experiment.slug}` starts a draft"
        )
    return found


async def find(tx: AsyncConnection, experiment: Experiment) -> LiveTest | None:
    """The same, or None when it was never started live."""
    return await get(tx, experiment) if experiment.live else None


async def snapshot(tx: AsyncConnection) -> Sequence[LiveTest]:
    """What a gateway needs of every live test; ended ones too, because applications still name them."""
    return await store.list_live(tx, MAX_SNAPSHOT)


async def _end(
    tx: AsyncConnection,
    before: Experiment,
    after: Experiment,
    *,
    at: datetime,
    who: str | None,
    why: str | None,
) -> None:
    last = (await store.list_phases(tx, before.id))[-1]
    await service.save(tx, before, after)
    await store.end_phase(tx, before.id, at)
    await store.insert_phase(tx, before.id, phases.stopped(last, Change(after.revision, at, who, why)))
