"""Use cases of datasets. Functions take an open transaction; the caller commits."""

import asyncio
import itertools
import re
from typing import Literal
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.datasets import store
from tiebreak.datasets.model import DatasetVersion, Item, StoredItem
from tiebreak.datasets.survey import Reading, Survey
from tiebreak.errors import Conflict, InvalidInput, NotFound

BATCH = 1000  # items; of long ones it ends earlier
BATCH_CHARACTERS = 4_000_000

_REFERENCE = re.compile(r"(?P<name>[a-z0-9][a-z0-9_.-]{0,63})(@(?P<version>[1-9][0-9]{0,8}))?")


async def upload(tx: AsyncConnection, name: str, surveyed: Survey, read: Reading) -> DatasetVersion:
    """The version of a dataset with this content: the one there is, or a new one with the items stored.

    `read` gives the items that were surveyed; it runs in a thread.
    """
    dataset_id = await store.lock_dataset(tx, name)
    known = await store.find_content(tx, dataset_id, surveyed.content_hash)
    if known is not None:
        return known
    version_id = await store.insert_version(tx, dataset_id, surveyed)
    items = enumerate(item for item in read() if isinstance(item, Item))
    while batch := await asyncio.to_thread(_batch, items, version_id):
        await store.copy_items(tx, batch)
    return await get(tx, name)


def _batch(items: "enumerate[Item]", version_id: UUID) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    characters = 0
    for position, item in itertools.islice(items, BATCH):
        rows.append(store.row(version_id, position, item))
        characters += len(str(rows[-1][3])) + len(item.expected or "")
        if characters > BATCH_CHARACTERS:
            break
    return rows


async def get(tx: AsyncConnection, name: str, version: int | None = None) -> DatasetVersion:
    """One version of a dataset, the latest when none is named.

    Raises:
        NotFound: no such dataset or version.
    """
    found = await store.find(tx, name, version)
    if found is not None:
        return found
    latest = None if version is None else await store.find(tx, name, None)
    if latest is None:
        raise _unknown(name)
    raise NotFound(f"dataset {name!r} has no version {version}; the latest is {latest.version}")


async def resolve(tx: AsyncConnection, reference: str) -> DatasetVersion:
    """What `name` (the latest version) or `name@version` stands for.

    Raises:
        InvalidInput: not a reference.
        NotFound: nothing has that name or number.
    """
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        raise InvalidInput(f"{reference!r} is not a dataset; write `name`, or `name@version`")
    return await get(tx, parts["name"], int(parts["version"]) if parts["version"] else None)


async def strata(
    tx: AsyncConnection, version_id: UUID, by: Literal["category", "difficulty"]
) -> list[tuple[int, str | None]]:
    """(position, category or difficulty) of every item of a version, for `sampling.draw`."""
    return await store.strata(tx, version_id, by)


async def list_page(tx: AsyncConnection, limit: int, after: UUID | None) -> list[DatasetVersion]:
    """Up to `limit + 1` datasets, oldest first, each in its latest version; `after` is a dataset's id."""
    return await store.list_latest(tx, limit, after)


async def list_versions(
    tx: AsyncConnection, name: str, limit: int, after: UUID | None
) -> list[DatasetVersion]:
    """Up to `limit + 1` versions of a dataset, oldest first; `after` is a version's id.

    Raises:
        NotFound: no such dataset.
    """
    dataset = await get(tx, name)
    return await store.list_versions(tx, dataset.dataset_id, limit, after)


async def list_items(
    tx: AsyncConnection, version_id: UUID, limit: int, after: int | None
) -> list[StoredItem]:
    """Up to `limit + 1` items of a version, by position; `after` is a position."""
    return await store.list_items(tx, version_id, limit, after)


async def delete(tx: AsyncConnection, name: str) -> None:
    """Remove a dataset with all its versions. After a Conflict the transaction is of no more use.

    Raises:
        NotFound: no such dataset.
        Conflict: a run uses it.
    """
    try:
        if not await store.delete_dataset(tx, name):
            raise _unknown(name)
    except IntegrityError as exc:
        message = f"dataset {name!r} is used by a run; delete the tests that used it first"
        raise Conflict(message) from exc


def _unknown(name: str) -> NotFound:
    return NotFound(f"no dataset {name!r}; `tiebreak dataset list` shows what there is")
