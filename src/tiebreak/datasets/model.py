"""Datasets, their versions and items."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A dataset in one of its versions; a version never changes."""

    id: UUID
    dataset_id: UUID
    dataset: str  # its name
    version: int  # from one
    content_hash: str
    item_count: int
    columns: tuple[str, ...]  # the inputs every item has
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Item:
    """One item as read from a file; `line` is where it begins there (of a Parquet file, the row)."""

    line: int
    item_id: str
    inputs: Mapping[str, JsonValue]
    expected: str | None
    category: str | None
    difficulty: str | None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """One item of a version, by its position from zero."""

    position: int
    item_id: str
    inputs: Mapping[str, JsonValue]
    expected: str | None
    category: str | None
    difficulty: str | None
