"""Hard limits of a run, and a run's share of the workers."""

from enum import StrEnum

from tiebreak.experiments.definition import Budget
from tiebreak.providers.account import NANO


class Limit(StrEnum):
    """What a budget limits."""

    MONEY = "money"
    REQUESTS = "requests"
    TIME = "time"


# The reason of the pause; the numbers stand beside it in the progress document.
REASONS: dict[Limit, str] = {
    Limit.MONEY: "budget: the money is spent; raise max_cost and resume",
    Limit.REQUESTS: "budget: the requests are used up; raise max_requests and resume",
    Limit.TIME: "budget: the time is over; raise max_seconds and resume",
}


def reached(
    *,
    max_cost_nano: int | None,
    cost_nano: int,
    max_requests: int | None,
    calls: int,
    max_seconds: int | None,
    active_ms: int,
) -> Limit | None:
    """Which limit stops the run, or None. The statement that ends tasks decides the same in SQL."""
    if max_cost_nano is not None and cost_nano >= max_cost_nano:
        return Limit.MONEY
    if max_requests is not None and calls >= max_requests:
        return Limit.REQUESTS
    if max_seconds is not None and active_ms >= max_seconds * 1000:
        return Limit.TIME
    return None


def nano(dollars: float | None) -> int | None:
    """US dollars in nano-dollars."""
    return None if dollars is None else round(dollars * NANO)


def merged(budget: Budget, change: Budget | None) -> Budget:
    """The budget with the fields that `change` sets, null included; the others stay."""
    if change is None:
        return budget
    return budget.model_copy(update={name: getattr(change, name) for name in change.model_fields_set})


def share(concurrency: int, workers: int, rank: int) -> int:
    """How many of a run's calls in flight fall to the worker of this rank (from 0) among all that live.

    The shares add up to the run's concurrency, except that everybody has at least one: a worker that is stopped,
    but not gone, must not block a run of low concurrency.
    """
    workers = max(workers, 1)
    return max(1, concurrency // workers + (rank < concurrency % workers))


def exposure(concurrency: int, workers: int) -> int:
    """How many calls of a run a worker may have under way or answered and not yet committed: what its death repeats.

    The run's concurrency. A worker alone on a run of 16 or more may have twice that, because it has no share to
    spare: waiting for commits would cost it a tenth of its rate or more.
    """
    return 2 * concurrency if workers <= 1 and concurrency >= 16 else concurrency
