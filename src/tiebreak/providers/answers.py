"""Answers kept for equal questions: what a cache of bytes holds of them."""

from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from tiebreak.infrastructure.cache.protocol import Cache
from tiebreak.providers.model import NOTHING, ChatResponse, EmbeddingResponse, Origin

# Larger answers are not kept: a few of them would fill a cache.
MOST_BYTES: Final = 1024 * 1024

R = TypeVar("R", ChatResponse, EmbeddingResponse)

_encoder = msgspec.msgpack.Encoder()


def another_s(answer: R, origin: Origin) -> R:
    """An answer as somebody has it who made no call for it: nothing was called, nothing is paid."""
    return replace(answer, calls=0, billed=NOTHING, origin=origin, limits=None)


class Answers:
    """The cache of a provider's answers. A value that is none, whoever wrote it, is a miss and is removed."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    async def get(self, key: str, kind: type[R]) -> R | None:
        """The answer kept under this key, as its new owner has it."""
        kept = await self._cache.get(key)
        if kept is None:
            return None
        try:
            answer = msgspec.msgpack.decode(kept, type=kind)
        except (msgspec.DecodeError, ValueError, RecursionError):
            await self._cache.delete(key)
            return None
        return another_s(answer, Origin.CACHE)

    async def keep(self, key: str, answer: R, seconds: float, draw: UUID | None) -> R:
        """Keep an answer for the next ones; gives it back with its draw."""
        drawn = replace(answer, draw=draw)
        value = _encoder.encode(replace(drawn, limits=None))
        if len(value) <= MOST_BYTES:
            await self._cache.set(key, value, seconds)
        return drawn
