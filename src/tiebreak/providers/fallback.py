"""What a variant falls back on: an explicit, ordered list, outside of the pipeline, and never silently."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from tiebreak.providers.account import Account
from tiebreak.providers.model import Blame, ChatResponse, ProviderError

# A request that is wrong, or that somebody's rules forbid, is so everywhere.
PASSED_ON: Final = frozenset({Blame.PROVIDER, Blame.US})


@dataclass(frozen=True, slots=True)
class Target:
    """A model of an account."""

    account: Account
    model: str

    @property
    def name(self) -> str:
        """`provider/model`."""
        return f"{self.account.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Fallback:
    """One target failed after all its attempts, so the next was asked."""

    source: str
    target: str
    failure: str
    calls: int


@dataclass(frozen=True, slots=True)
class Answered:
    """Who answered in the end, after which fallbacks; `calls` of the response counts all of them."""

    response: ChatResponse
    place: int  # in the list of targets
    fallbacks: tuple[Fallback, ...]


class AllFailed(ProviderError):
    """The last target's failure, `calls` counting all of them, after these fallbacks."""

    def __init__(self, last: ProviderError, fallbacks: tuple[Fallback, ...]) -> None:
        super().__init__(
            last.failure,
            last.detail,
            retry_after=last.retry_after,
            calls=last.calls + sum(fallback.calls for fallback in fallbacks),
            body=last.body,
            http_status=last.http_status,
            limits=last.limits,
        )
        self.fallbacks = fallbacks


async def ask_in_order(
    targets: Sequence[Target], ask: Callable[[Target], Awaitable[ChatResponse]]
) -> Answered:
    """The first target's answer; where it fails by the vendor's fault or by that of our account there, the next one's.

    Raises:
        AllFailed: none is left, or the failure would be the same everywhere.
    """
    fallbacks: tuple[Fallback, ...] = ()
    for place, target in enumerate(targets):
        try:
            response = await ask(target)
        except ProviderError as error:
            if place + 1 == len(targets) or error.fault not in PASSED_ON:
                raise AllFailed(error, fallbacks) from error
            fallback = Fallback(target.name, targets[place + 1].name, error.failure, error.calls)
            fallbacks = (*fallbacks, fallback)
        else:
            before = sum(fallback.calls for fallback in fallbacks)
            return Answered(replace(response, calls=response.calls + before), place, fallbacks)
    raise ValueError("there is no target to ask")
