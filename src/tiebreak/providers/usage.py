"""What a provider was used for, a day and a model at a time, at the prices that counted then. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime

from tiebreak.providers.account import Price
from tiebreak.providers.model import Usage
from tiebreak.providers.tally import Tally


@dataclass(frozen=True, slots=True)
class Stretch:
    """What went through one model on one day (UTC) at one own price; with none, in one hour. No latency in it."""

    day: date
    model: str
    hour: datetime | None
    price: Price | None
    tally: Tally


@dataclass(slots=True)
class Spend:
    """What it cost, in nano-dollars, and how many tokens nobody knows a price of."""

    cost_nano: int = 0
    unpriced_tokens: int = 0

    def add(self, tally: Tally, price: Price | None) -> None:
        """Add these tokens at this price."""
        if price is None:
            self.unpriced_tokens += tally.input_tokens + tally.output_tokens
        else:
            self.cost_nano += price.cost_nano(
                Usage(tally.input_tokens, tally.output_tokens, tally.cached_tokens)
            )


@dataclass(slots=True)
class Used:
    """Counts and what they cost."""

    tally: Tally = field(default_factory=Tally)
    spend: Spend = field(default_factory=Spend)

    def add(self, stretch: Stretch, price: Price | None) -> None:
        """Add what went through in a stretch that had this price."""
        self.tally.merge(stretch.tally)
        self.spend.add(stretch.tally, price)


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A provider's use since a day: by day and model in their order, and all together."""

    since: date
    rows: dict[tuple[date, str], Used]
    totals: Used


def report(
    since: date, stretches: Iterable[Stretch], price_of: Callable[[Stretch], Price | None]
) -> UsageReport:
    """Add up; `price_of` says what a token of a stretch cost."""
    made = UsageReport(since, {}, Used())
    for stretch in stretches:
        price = price_of(stretch)
        made.rows.setdefault((stretch.day, stretch.model), Used()).add(stretch, price)
        made.totals.add(stretch, price)
    return made
