"""What the API takes and shows of keys. A secret comes out once, in the answer to the call that made it."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from tiebreak.auth.keys import KeyText
from tiebreak.auth.model import SCOPES, Key, KeyScope
from tiebreak.auth.service import Changes
from tiebreak.infrastructure.rest.text import Text


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("the time is beyond the years 1 to 9999") from exc


def _distinct(scopes: list[KeyScope]) -> list[KeyScope]:
    return [scope for scope in SCOPES if scope in scopes]


Name = Annotated[Text, Field(min_length=1, max_length=100, examples=["checkout service"])]
Moment = Annotated[AwareDatetime, AfterValidator(_in_utc), Field(examples=["2099-01-01T00:00:00Z"])]
Scopes = Annotated[
    list[KeyScope],
    AfterValidator(_distinct),
    Field(
        min_length=1,
        max_length=10,
        examples=[["gateway", "feedback"]],
        description="`gateway`: live traffic; `feedback`: what users said of it; `manage`: tests, providers, datasets, "
        "results; `admin`: all of these and keys",
    ),
]


class _Taken(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeyCreate(_Taken):
    """A key for one application, person or machine."""

    name: Name
    scopes: Scopes
    expires_at: Moment | None = Field(
        default=None, description="With a time zone; null for a key without end"
    )


class KeyPatch(_Taken):
    """What to change; what is left out stays, and `expires_at: null` makes a key without end."""

    name: Name | None = None
    expires_at: Moment | None = None

    def described(self) -> Changes:
        """As the service takes it."""
        return Changes(
            name=self.name,
            expires_at=self.expires_at,
            forget_expiry="expires_at" in self.model_fields_set and self.expires_at is None,
        )


class KeyDocument(BaseModel):
    """A key as shown."""

    id: UUID
    prefix: str = Field(examples=["q7x2mznp"], description="The key's second part, by which it is found")
    name: str = Field(examples=["checkout service"])
    scopes: list[KeyScope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="To a minute or so")

    @classmethod
    def of(cls, key: Key) -> "KeyDocument":
        """How the API shows a key."""
        return cls(**_shown(key))


class NewKeyDocument(KeyDocument):
    """A key that was just made."""

    key: str | None = Field(
        description="The whole key. It is shown this once: it is kept as a hash, and a repeated call with the same "
        "Idempotency-Key gets null",
        examples=["tb_q7x2mznp_Zk3vJtq0c8bW5sYxN1dLrTfEoHgUiAmPjKyCzVwXnQs"],
    )

    @classmethod
    def made(cls, key: Key, text: KeyText) -> "NewKeyDocument":
        """How the API shows it to whoever made it."""
        return cls(**_shown(key), key=text.text)


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.id,
        "prefix": key.prefix,
        "name": key.name,
        "scopes": [scope for scope in SCOPES if scope in key.scopes],
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }
