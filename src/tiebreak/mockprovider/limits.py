"""Requests and tokens a minute, counted for real: a bucket of each, refilled all the time. Pure."""

from dataclasses import dataclass

from tiebreak.mockprovider.description import Limits


@dataclass(frozen=True, slots=True)
class Level:
    """How full a bucket is: what fits in, what is left, and the seconds until it is full again."""

    capacity: int
    remaining: int
    reset: float


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's buckets after a call; `wait` is the seconds until a refused call would be taken, else None."""

    requests: Level | None
    tokens: Level | None
    wait: float | None = None

    @property
    def lacking(self) -> str:
        """What a refused call ran out of."""
        return "tokens" if self.requests is None or self.requests.remaining > 0 else "requests"


class Bucket:
    """Holds a minute's worth."""

    def __init__(self, a_minute: int, now: float) -> None:
        self._capacity = a_minute
        self._left = float(a_minute)
        self._at = now

    def refill(self, now: float) -> None:
        """Add what has come in since the last time."""
        self._left = min(self._capacity, self._left + (now - self._at) * self._capacity / 60)
        self._at = now

    def wait(self, amount: float) -> float:
        """Seconds until this much is there; what the bucket cannot hold never is, and waits a whole minute."""
        return max(0.0, min(60.0, (amount - self._left) * 60 / self._capacity))

    def take(self, amount: float) -> None:
        """Take it out."""
        self._left -= amount

    @property
    def level(self) -> Level:
        """How full it is."""
        return Level(
            self._capacity, max(0, int(self._left)), (self._capacity - self._left) * 60 / self._capacity
        )


class Meter:
    """The buckets of one model. A refused call takes nothing out of either."""

    def __init__(self, limits: Limits, now: float) -> None:
        a_minute = (limits.requests_per_minute, limits.tokens_per_minute)
        self._requests, self._tokens = (None if each is None else Bucket(each, now) for each in a_minute)

    def take(self, tokens: int, now: float) -> Standing:
        """Count one call of so many tokens, or refuse it."""
        wanted = [(self._requests, 1), (self._tokens, tokens)]
        buckets = [(bucket, amount) for bucket, amount in wanted if bucket is not None]
        for bucket, _ in buckets:
            bucket.refill(now)
        wait = max((bucket.wait(amount) for bucket, amount in buckets), default=0.0)
        if wait == 0:
            for bucket, amount in buckets:
                bucket.take(amount)
        return Standing(_level(self._requests), _level(self._tokens), wait or None)


def _level(bucket: Bucket | None) -> Level | None:
    return None if bucket is None else bucket.level
