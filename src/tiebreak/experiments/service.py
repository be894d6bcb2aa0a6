"""Use cases of tests. Functions take an open transaction; the caller commits."""

import itertools
from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.errors import Conflict, NotFound
from tiebreak.experiments import parts, store
from tiebreak.experiments.definition import Definition, digest
from tiebreak.experiments.model import Experiment, ExperimentState, Step
from tiebreak.ids import new_id

_CHANGED = "test {slug!r} was changed by somebody else meanwhile; look at it again and repeat"
_ATTEMPTS = 20  # each lost one means that another test of this name was made in that moment


def free_slug(base: str, taken: Collection[str]) -> str:
    """The slug itself, or with the smallest number from 2 that makes it new."""
    if base not in taken:
        return base
    return next(slug for number in itertools.count(2) if (slug := f"{base}-{number}") not in taken)


async def create(tx: AsyncConnection, definition: Definition) -> Experiment:
    """A new draft.

    Raises:
        InvalidInput: a template or a check of the definition cannot work.
        Conflict: too many tests of this name are made at this moment.
    """
    parts.require(definition)
    base = definition.slug()
    for _ in range(_ATTEMPTS):
        slug = free_slug(base, await store.taken_slugs(tx, base))
        made = await store.insert_draft(tx, new_id(), slug, definition, digest(definition))
        if made is not None:
            return made
    raise Conflict(f"many tests named {definition.name!r} are made at once; try again", retry_after=1.0)


async def get(tx: AsyncConnection, id_or_slug: str) -> Experiment:
    """A test by its id or its slug.

    Raises:
        NotFound: nothing has it.
    """
    test_id = _as_id(id_or_slug)
    found = None if test_id is None else await store.find_by_id(tx, test_id)
    found = found or await store.find_by_slug(tx, id_or_slug)
    if found is None:
        raise NotFound(f"no test {id_or_slug!r}; `tiebreak test list` shows what there is")
    return found


async def replace(tx: AsyncConnection, experiment: Experiment, definition: Definition) -> Experiment:
    """The draft with another definition; its slug stays, so that links to it do.

    Raises:
        IllegalTransition: not a draft any more.
        InvalidInput: a template or a check of the definition cannot work.
        Conflict: it changed since it was read.
    """
    experiment.require(Step.EDIT)
    parts.require(definition)
    edited = await store.update_draft(tx, experiment, definition, digest(definition))
    if edited is None:
        raise Conflict(_CHANGED.format(slug=experiment.slug))
    return edited


async def save(tx: AsyncConnection, before: Experiment, after: Experiment) -> None:
    """Write a test that one of its moves returned, and tell the gateways when it takes live traffic.

    Raises:
        Conflict: it changed since `before` was read.
    """
    if not await store.update_state(tx, before, after):
        raise Conflict(_CHANGED.format(slug=before.slug))
    if after.live:
        await store.notify(tx, after.id)


async def list_page(
    tx: AsyncConnection, limit: int, after: UUID | None, state: ExperimentState | None = None
) -> Sequence[Experiment]:
    """Up to `limit + 1` tests, oldest first, those after the given id."""
    return await store.list_by_age(tx, limit, after, state)


async def delete(tx: AsyncConnection, experiment: Experiment) -> None:
    """Remove a test and what it recorded.

    Raises:
        IllegalTransition: it is running or paused.
        Conflict: it changed since it was read.
    """
    experiment.require(Step.DELETE)
    if not await store.delete_revision(tx, experiment):
        raise Conflict(_CHANGED.format(slug=experiment.slug))
    if experiment.live:
        await store.notify(tx, experiment.id)


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
