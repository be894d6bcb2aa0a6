"""What came of the calls of the last seconds, counted in buckets. Pure."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Bucket:
    index: int
    calls: int = 0
    failures: int = 0


class OutcomeWindow:
    """Calls and failures of the last `seconds`, forgotten a bucket at a time; memory is one entry per bucket.

    Times are monotonic seconds and never go back.
    """

    def __init__(self, seconds: float, buckets: int, now: float) -> None:
        self._width = seconds / buckets
        self._seconds = seconds
        self._most = buckets
        self._buckets: deque[_Bucket] = deque()
        self._since = now
        self.calls = 0
        self.failures = 0

    def add(self, failed: bool, now: float) -> None:
        """Count the outcome of one call."""
        self.slide(now)
        index = int(now // self._width)
        if not self._buckets or self._buckets[-1].index != index:
            self._buckets.append(_Bucket(index))
        self._buckets[-1].calls += 1
        self._buckets[-1].failures += failed
        self.calls += 1
        self.failures += failed

    def slide(self, now: float) -> None:
        """Forget what is older than the window."""
        oldest = int(now // self._width) - self._most
        while self._buckets and self._buckets[0].index <= oldest:
            gone = self._buckets.popleft()
            self.calls -= gone.calls
            self.failures -= gone.failures

    def clear(self, now: float) -> None:
        """Forget everything and begin at `now`."""
        self._buckets.clear()
        self._since = now
        self.calls = self.failures = 0

    def successes_per_second(self, now: float) -> float:
        """Over the window, or over the time since it began if that is shorter, but at least one second."""
        covered = min(self._seconds, max(1.0, now - self._since))
        return (self.calls - self.failures) / covered
