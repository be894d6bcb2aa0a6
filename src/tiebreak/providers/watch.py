"""Who is told what goes through a pipeline."""

from typing import Protocol

from tiebreak.providers.account import Account
from tiebreak.providers.model import Failure, Origin, Usage


class Watch(Protocol):
    """Who is told what goes through. Nothing here may wait."""

    def attempted(
        self,
        account: Account,
        model: str,
        failure: Failure | None,
        seconds: float,
        usage: Usage | None,
        *,
        retry: bool,
    ) -> None:
        """An attempt on the wire has ended."""
        ...

    def shared(self, account: Account, model: str, origin: Origin) -> None:
        """A request was answered without a call of its own."""
        ...

    def refused(self, account: Account, model: str) -> None:
        """The breaker or a full queue kept an attempt from the wire."""
        ...


class Unwatched:
    """Nobody is told what goes through."""

    def attempted(self, *_: object, retry: bool) -> None:
        """See `Watch.attempted`."""

    def shared(self, *_: object) -> None:
        """See `Watch.shared`."""

    def refused(self, *_: object) -> None:
        """See `Watch.refused`."""
