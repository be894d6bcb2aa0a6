"""What every cache can do. Keys say whose a value is; a value is bytes that its owner can check."""

from typing import Protocol


class Cache(Protocol):
    """Values by key for a limited time. Any of them may be gone at any moment, and none is ever somebody else's as long
    as the key's scope is derived by the server: `v1:{scope}:{digest}`."""

    async def get(self, key: str) -> bytes | None:
        """The value, or None when there is none (any more)."""
        ...

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """Keep a value for `ttl` seconds, if there is room for it."""
        ...

    async def delete(self, key: str) -> None:
        """Forget a value, if it is there."""
        ...
