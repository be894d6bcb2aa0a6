"""What the API shows of datasets. What it takes is a file and the names of its columns."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field, JsonValue

from tiebreak.datasets.model import DatasetVersion, StoredItem

NAME = r"^[a-z0-9][a-z0-9_.-]{0,63}$"


class DatasetDocument(BaseModel):
    """A dataset in one of its versions."""

    id: UUID = Field(description="Of this version")
    name: str = Field(examples=["gsm8k"])
    version: int = Field(examples=[1])
    content_hash: str = Field(description="SHA-256 of the items; equal items make no new version")
    item_count: int = Field(examples=[1319])
    columns: list[str] = Field(description="The inputs that every item has", examples=[["question"]])
    created_at: datetime

    @classmethod
    def of(cls, version: DatasetVersion) -> "DatasetDocument":
        """How the API shows a version."""
        return cls(
            id=version.id,
            name=version.dataset,
            version=version.version,
            content_hash=version.content_hash,
            item_count=version.item_count,
            columns=list(version.columns),
            created_at=version.created_at,
        )


class ItemDocument(BaseModel):
    """An item of a dataset."""

    position: int = Field(description="In the dataset, from zero")
    id: str = Field(examples=["gsm8k-0001"])
    inputs: dict[str, JsonValue] = Field(examples=[{"question": "What is 2 + 2?"}])
    expected: str | None = Field(examples=["4"])
    category: str | None
    difficulty: str | None

    @classmethod
    def of(cls, item: StoredItem) -> "ItemDocument":
        """How the API shows an item."""
        return cls(
            position=item.position,
            id=item.item_id,
            inputs=dict(item.inputs),
            expected=item.expected,
            category=item.category,
            difficulty=item.difficulty,
        )
