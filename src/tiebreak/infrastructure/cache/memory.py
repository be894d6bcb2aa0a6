"""The cache inside one process: the longest unused goes first, bounded by entries and by bytes."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from tiebreak.clock import Clock

OVERHEAD: Final = 256  # bytes that an entry costs beside its key and value


@dataclass(frozen=True, slots=True)
class _Entry:
    value: bytes
    until: float


class MemoryCache:
    """At most `most_entries` values and `most_bytes` of keys and values, overhead included.

    Belongs to one event loop; none of its coroutines ever waits.
    """

    def __init__(
        self, clock: Clock, *, most_entries: int = 10_000, most_bytes: int = 64 * 1024 * 1024
    ) -> None:
        self._clock = clock
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, key: str) -> bytes | None:
        """See `Cache.get`."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.until <= self._clock.monotonic():
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        return entry.value

    async def set(self, key: str, value: bytes, ttl: float) -> None:
        """See `Cache.set`. A value that alone is over the bound is not kept."""
        self._drop(key)
        weight = _weight(key, value)
        if ttl <= 0 or weight > self._most_bytes:
            return
        self._entries[key] = _Entry(value, self._clock.monotonic() + ttl)
        self.size += weight
        while self.size > self._most_bytes or len(self._entries) > self._most_entries:
            self._drop(next(iter(self._entries)))

    async def delete(self, key: str) -> None:
        """See `Cache.delete`."""
        self._drop(key)

    def _drop(self, key: str) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.size -= _weight(key, entry.value)


def _weight(key: str, value: bytes) -> int:
    return len(key) + len(value) + OVERHEAD
