"""SQL over datasets, their versions and items. Nothing here commits."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, Select, delete, func, select
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tiebreak.datasets.model import DatasetVersion, Item, StoredItem
from tiebreak.datasets.survey import Survey
from tiebreak.datasets.tables import dataset_items, dataset_versions, datasets
from tiebreak.ids import new_id

_COLUMNS = ["version_id", "position", "item_id", "inputs", "expected", "category", "difficulty"]


def _version(row: Row[Any]) -> DatasetVersion:
    return DatasetVersion(
        id=row.id,
        dataset_id=row.dataset_id,
        dataset=row.name,
        version=row.version,
        content_hash=row.content_hash,
        item_count=row.item_count,
        columns=tuple(row.columns),
        created_at=row.created_at,
    )


def _versions() -> Select[Any]:
    return select(datasets.c.name, dataset_versions).join_from(
        dataset_versions, datasets, datasets.c.id == dataset_versions.c.dataset_id
    )


async def lock_dataset(tx: AsyncConnection, name: str) -> UUID:
    """The dataset's id, made if there is none, its row locked, so that two uploads at once get two numbers."""
    await tx.execute(
        insert(datasets).values(id=new_id(), name=name).on_conflict_do_nothing(index_elements=["name"])
    )
    found = select(datasets.c.id).where(datasets.c.name == name).with_for_update()
    dataset_id: UUID = (await tx.execute(found)).scalar_one()
    return dataset_id


async def find_content(tx: AsyncConnection, dataset_id: UUID, content_hash: str) -> DatasetVersion | None:
    """The version with this content."""
    found = _versions().where(
        dataset_versions.c.dataset_id == dataset_id, dataset_versions.c.content_hash == content_hash
    )
    row = (await tx.execute(found)).one_or_none()
    return None if row is None else _version(row)


async def insert_version(tx: AsyncConnection, dataset_id: UUID, survey: Survey) -> UUID:
    """The id of one more version, still without items."""
    latest = select(func.coalesce(func.max(dataset_versions.c.version), 0)).where(
        dataset_versions.c.dataset_id == dataset_id
    )
    version_id = new_id()
    await tx.execute(
        insert(dataset_versions).values(
            id=version_id,
            dataset_id=dataset_id,
            version=(await tx.execute(latest)).scalar_one() + 1,
            content_hash=survey.content_hash,
            item_count=survey.item_count,
            columns=list(survey.columns),
        )
    )
    return version_id


def row(version_id: UUID, position: int, item: Item) -> tuple[object, ...]:
    """An item as COPY takes it."""
    inputs = json.dumps(item.inputs)
    return (version_id, position, item.item_id, inputs, item.expected, item.category, item.difficulty)


async def copy_items(tx: AsyncConnection, rows: Sequence[tuple[object, ...]]) -> None:
    """Add items in bulk: COPY costs a tenth of an insert, and a dataset can have a million."""
    connection = (await tx.get_raw_connection()).driver_connection
    if connection is None:
        raise RuntimeError("the transaction has lost its connection")
    await connection.copy_records_to_table(dataset_items.name, records=rows, columns=_COLUMNS)


async def find(tx: AsyncConnection, name: str, version: int | None) -> DatasetVersion | None:
    """One version by number, or the latest."""
    found = _versions().where(datasets.c.name == name)
    if version is not None:
        found = found.where(dataset_versions.c.version == version)
    newest = found.order_by(dataset_versions.c.version.desc()).limit(1)
    row_ = (await tx.execute(newest)).one_or_none()
    return None if row_ is None else _version(row_)


async def list_latest(tx: AsyncConnection, limit: int, after: UUID | None) -> list[DatasetVersion]:
    """One more than `limit` datasets by age, each in its latest version."""
    newest = (
        _versions()
        .ext(distinct_on(dataset_versions.c.dataset_id))
        .order_by(dataset_versions.c.dataset_id, dataset_versions.c.version.desc())
        .limit(limit + 1)
    )
    if after is not None:
        newest = newest.where(dataset_versions.c.dataset_id > after)
    return [_version(found) for found in await tx.execute(newest)]


async def list_versions(
    tx: AsyncConnection, dataset_id: UUID, limit: int, after: UUID | None
) -> list[DatasetVersion]:
    """One more than `limit` versions of a dataset by age."""
    found = _versions().where(dataset_versions.c.dataset_id == dataset_id)
    if after is not None:
        found = found.where(dataset_versions.c.id > after)
    return [
        _version(row_) for row_ in await tx.execute(found.order_by(dataset_versions.c.id).limit(limit + 1))
    ]


async def list_items(
    tx: AsyncConnection, version_id: UUID, limit: int, after: int | None
) -> list[StoredItem]:
    """One more than `limit` items by position, those after the given one."""
    found = (
        select(dataset_items)
        .where(
            dataset_items.c.version_id == version_id,
            dataset_items.c.position > (-1 if after is None else after),
        )
        .order_by(dataset_items.c.position)
        .limit(limit + 1)
    )
    return [
        StoredItem(
            position=item.position,
            item_id=item.item_id,
            inputs=item.inputs,
            expected=item.expected,
            category=item.category,
            difficulty=item.difficulty,
        )
        for item in await tx.execute(found)
    ]


async def strata(tx: AsyncConnection, version_id: UUID, by: str) -> list[tuple[int, str | None]]:
    """Position and category (or difficulty) of every item."""
    found = (
        select(dataset_items.c.position, dataset_items.c[by])
        .where(dataset_items.c.version_id == version_id)
        .order_by(dataset_items.c.position)
    )
    return [(position, stratum) for position, stratum in await tx.execute(found)]


async def delete_dataset(tx: AsyncConnection, name: str) -> bool:
    """Remove a dataset with all its versions; False when there is none."""
    return (await tx.execute(delete(datasets).where(datasets.c.name == name))).rowcount > 0
