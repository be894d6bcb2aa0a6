"""How many retries a vendor is worth: a bucket that successes fill and retries empty. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BudgetConfig:
    """Tokens: a retry after a timeout costs more, because the first call may still be running at the vendor.

    Figures of the AWS SDKs' standard retry mode.
    """

    capacity: int = 500
    retry: int = 5
    timeout_retry: int = 10
    success: int = 1


class RetryBudget:
    """The retries that all callers of one vendor share.

    In a full outage they end after `capacity / retry` retries, a hundred; with one call in twenty failing, they never do.
    """

    def __init__(self, config: BudgetConfig | None = None) -> None:
        self._config = config or BudgetConfig()
        self.tokens = self._config.capacity

    def take(self, *, after_timeout: bool = False) -> bool:
        """Pay for one retry; False when there is not enough left, and then nothing is taken."""
        cost = self._config.timeout_retry if after_timeout else self._config.retry
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def succeeded(self) -> None:
        """A call succeeded, at whichever attempt."""
        self.tokens = min(self._config.capacity, self.tokens + self._config.success)
