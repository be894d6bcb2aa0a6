"""API keys and those who hold them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, get_args
from uuid import UUID

import msgspec

KeyScope = Literal["gateway", "feedback", "manage", "admin"]
Reason = Literal["missing", "malformed", "unknown", "expired", "scope"]

SCOPES: Final[tuple[KeyScope, ...]] = get_args(KeyScope)


class Principal(msgspec.Struct, frozen=True):
    """Whom a request comes from. Without a `key_id` it is the owner of the machine that the server runs on."""

    key_id: UUID | None
    name: str
    scopes: frozenset[KeyScope]

    def may(self, scope: KeyScope) -> bool:
        """Whether the scopes allow this; `admin` allows everything, each other one only itself."""
        return scope in self.scopes or "admin" in self.scopes


OWNER: Final = Principal(None, "the owner of this machine", frozenset({"admin"}))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request may not pass. `reason` is stable, for whoever has words of their own for it."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is managed: everything but its secret."""

    id: UUID
    prefix: str
    name: str
    scopes: frozenset[KeyScope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
