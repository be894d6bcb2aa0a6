"""Identifiers: UUIDv7, so that rows made later sort later."""

from dataclasses import dataclass, field
from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A fresh UUIDv7, as the standard library's type (drivers and JSON encoders know it)."""
    return UUID(int=uuid_utils.uuid7().int)


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process of ours. `name` stays with its place (requests-0, background), `id` is new with every process."""

    name: str
    id: UUID = field(default_factory=new_id)
