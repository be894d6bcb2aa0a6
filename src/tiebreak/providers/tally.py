"""What went through providers, counted: by hour and model for the bill, by minute for the health. Pure."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from tiebreak.providers.model import Failure, Usage
from tiebreak.statistics.sketch import Sketch

MOST_KEYS: Final = 2000
OTHER: Final = "(other)"  # no model's name: it would need no brackets


@dataclass(slots=True)
class Tally:
    """Counts of one period. `calls` are attempts on the wire, `answers` those of them with an answer, `refused` requests
    that the breaker or a full queue kept from it; `latency` in seconds, of answers."""

    calls: int = 0
    answers: int = 0
    retries: int = 0
    cached: int = 0
    joined: int = 0
    refused: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    latency: Sketch = field(default_factory=Sketch)

    def attempted(self, failure: Failure | None, seconds: float, usage: Usage | None, *, retry: bool) -> None:
        """Count an attempt on the wire; tokens also of one that failed, because they were paid."""
        self.calls += 1
        self.retries += retry
        if failure is None:
            self.answers += 1
            self.latency.add(seconds)
        else:
            self.failures[failure] = self.failures.get(failure, 0) + 1
        if usage is not None:
            self.input_tokens += usage.input_tokens
            self.output_tokens += usage.output_tokens
            self.cached_tokens += usage.cached_tokens or 0
            self.reasoning_tokens += usage.reasoning_tokens or 0

    def merge(self, other: "Tally") -> None:
        """Add another one's counts."""
        self.calls += other.calls
        self.answers += other.answers
        self.retries += other.retries
        self.cached += other.cached
        self.joined += other.joined
        self.refused += other.refused
        self.input_tokens += other.input_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.reasoning_tokens += other.reasoning_tokens
        for failure, count in other.failures.items():
            self.failures[failure] = self.failures.get(failure, 0) + count
        self.latency.merge(other.latency)


class Pending:
    """Tallies that wait to be stored, in bounded memory.

    Of hours and models there are at most `most`; what comes on top goes together as the model `OTHER`, and when there
    are as many of those, requests are only counted in `lost`. Of minutes the latest `most` stay.
    """

    def __init__(self, most: int = MOST_KEYS) -> None:
        self._most = most
        self.hours: dict[tuple[UUID, datetime, str], Tally] = {}
        self.minutes: dict[tuple[UUID, datetime], Tally] = {}
        self.lost = 0

    def __bool__(self) -> bool:
        return bool(self.hours or self.minutes)

    def add(self, provider_id: UUID, minute: datetime, model: str, tally: Tally) -> None:
        """Take over a tally of one minute."""
        self._add_minute((provider_id, minute), tally)
        self._add_hour((provider_id, minute.replace(minute=0), model), tally)

    def absorb(self, later: "Pending") -> None:
        """Take over everything of another one."""
        for minute, tally in later.minutes.items():
            self._add_minute(minute, tally)
        for hour, tally in later.hours.items():
            self._add_hour(hour, tally)
        self.lost += later.lost

    def _add_minute(self, key: tuple[UUID, datetime], tally: Tally) -> None:
        self.minutes.setdefault(key, Tally()).merge(tally)
        if len(self.minutes) > self._most:
            del self.minutes[next(iter(self.minutes))]

    def _add_hour(self, key: tuple[UUID, datetime, str], tally: Tally) -> None:
        if key not in self.hours and len(self.hours) >= self._most:
            key = (key[0], key[1], OTHER)
            if key not in self.hours and len(self.hours) >= 2 * self._most:
                self.lost += tally.calls + tally.cached + tally.joined + tally.refused
                return
        self.hours.setdefault(key, Tally()).merge(tally)
