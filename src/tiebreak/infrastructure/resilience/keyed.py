"""One part per key, made when first asked for, in bounded memory. Pure."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def _always(value: object) -> bool:  # noqa: ARG001 - the shape of `spare`
    return True


class Keyed(Generic[K, V]):
    """At most `most` values. The longest unused one for which `spare` holds makes room; if there is none, the
    longest unused one."""

    def __init__(self, make: Callable[[], V], *, most: int, spare: Callable[[V], bool] = _always) -> None:
        self._make = make
        self._most = most
        self._spare = spare
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, key: K) -> V:
        """The key's value, made now if there is none."""
        value = self._kept.get(key)
        if value is None:
            if len(self._kept) >= self._most:
                oldest = next(iter(self._kept))
                del self._kept[next((old for old, kept in self._kept.items() if self._spare(kept)), oldest)]
            value = self._kept[key] = self._make()
        self._kept.move_to_end(key)
        return value

    def items(self) -> list[tuple[K, V]]:
        """What is kept now, the longest unused first."""
        return list(self._kept.items())
