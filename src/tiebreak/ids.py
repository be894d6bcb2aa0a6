"""Identifiers: UUIDv7, so that rows made later sort later."""

from uuid import UUID

import uuid_utils


def new_id() -> UUID:
    """A fresh UUIDv7, as the standard library's type (drivers and JSON encoders know it)."""
    return UUID(int=uuid_utils.uuid7().int)
