"""What the API shows of providers in use: their health and what they were used for."""

from datetime import date, datetime
from typing import Final, Literal

from pydantic import BaseModel, Field

from tiebreak.infrastructure.resilience.breaker import BreakerState
from tiebreak.providers.account import NANO, Provider
from tiebreak.providers.health import LEVEL, Circuit, Health, HealthState, fault_of, success
from tiebreak.providers.model import Blame
from tiebreak.providers.tally import Tally
from tiebreak.providers.usage import UsageReport, Used
from tiebreak.statistics.sketch import Sketch, least_for

MILLI: Final = 1000.0


class SuccessDocument(BaseModel):
    """The share of calls that were answered, among those that tell of the provider."""

    share: float | None = Field(examples=[0.998])
    interval: tuple[float, float] | None = Field(description="Wilson's", examples=[(0.9962, 0.9989)])
    level: float = Field(description="Of the interval", examples=[LEVEL])
    n: int = Field(
        description="Answers, and failures that were not the caller's or a policy's", examples=[4210]
    )
    reason: Literal["no_calls"] | None = Field(description="Why there is no share")

    @classmethod
    def of(cls, tally: Tally) -> "SuccessDocument":
        """How the API shows it."""
        n, interval = success(tally)
        return cls(
            share=tally.answers / n if n else None,
            interval=interval,
            level=LEVEL,
            n=n,
            reason=None if n else "no_calls",
        )


class LatencyDocument(BaseModel):
    """How long answers took, from end to end, in milliseconds; each within one percent of the exact quantile."""

    n: int = Field(description="Answers", examples=[4202])
    p50_ms: float | None = Field(examples=[640.2])
    p95_ms: float | None = Field(examples=[1893.0])
    p99_ms: float | None = Field(examples=[3120.5])
    reason: Literal["no_answers", "too_few"] | None = Field(
        description="Why some are null: a quantile q needs 4q/(1 − q) answers, so 4, 76 and 396"
    )

    @classmethod
    def of(cls, latency: Sketch) -> "LatencyDocument":
        """How the API shows it."""
        n = latency.n

        def quantile(q: float) -> float | None:
            value = latency.quantile(q) if n >= least_for(q) else None
            return None if value is None else round(value * MILLI, 3)

        p99 = quantile(0.99)
        return cls(
            n=n,
            p50_ms=quantile(0.5),
            p95_ms=quantile(0.95),
            p99_ms=p99,
            reason=None if p99 is not None else "too_few" if n else "no_answers",
        )


class HourDocument(BaseModel):
    """What went through in the last 60 minutes."""

    calls: int = Field(description="Attempts on the wire, retries among them", examples=[4213])
    answers: int = Field(examples=[4202])
    refused: int = Field(description="Attempts that the breaker or a full queue kept from the wire")
    success: SuccessDocument
    latency: LatencyDocument
    failures: dict[str, int] = Field(description="Calls by how they failed", examples=[{"rate_limited": 8}])
    faults: dict[Blame, int] = Field(description="The same by whose fault it was", examples=[{"provider": 8}])

    @classmethod
    def of(cls, hour: Tally) -> "HourDocument":
        """How the API shows it."""
        faults: dict[Blame, int] = {}
        for failure, count in hour.failures.items():
            faults[fault_of(failure)] = faults.get(fault_of(failure), 0) + count
        return cls(
            calls=hour.calls,
            answers=hour.answers,
            refused=hour.refused,
            success=SuccessDocument.of(hour),
            latency=LatencyDocument.of(hour.latency),
            failures=dict(sorted(hour.failures.items())),
            faults=faults,
        )


class CircuitDocument(BaseModel):
    """A breaker, and the places for calls: one endpoint under one key, over all processes. The worst breaker is shown."""

    endpoint: str = Field(examples=["chat"])
    credential: str = Field(
        description="A fingerprint that tells two keys apart and gives none away", examples=["9f2c51d0a7e4"]
    )
    state: BreakerState
    since: datetime
    next_probe: datetime | None = Field(description="When an open breaker lets the next call through")
    calls: int = Field(description="As the breaker counts them: of the last 30 seconds")
    failures: int = Field(description="Of these calls, the vendor's")
    slots: int = Field(description="Calls at once that the adaptive limit allows now")
    held: int = Field(description="Calls under way")
    waiting: int = Field(description="Calls that wait for a slot")
    processes: int = Field(description="How many processes these are the sums of")

    @classmethod
    def of(cls, circuit: Circuit) -> "CircuitDocument":
        """How the API shows it."""
        return cls(
            endpoint=circuit.endpoint,
            credential=circuit.credential,
            state=circuit.state,
            since=circuit.since,
            next_probe=circuit.next_probe,
            calls=circuit.calls,
            failures=circuit.failures,
            slots=circuit.slots,
            held=circuit.held,
            waiting=circuit.waiting,
            processes=circuit.processes,
        )


class HealthDocument(BaseModel):
    """How a provider is, as far as the processes have written down: they do so every two seconds."""

    provider: str = Field(examples=["openai"])
    state: HealthState = Field(
        description="down: every breaker is open, or none of at least 5 calls in the last 5 minutes was answered; "
        "degraded: a breaker is not closed, or surely more than 5 % of these calls failed; idle: there were none"
    )
    since: datetime | None = Field(
        description="Since when the breakers stand so, else the first failure among the last 5 minutes; "
        "while idle, the last call within the hour"
    )
    reason: str = Field(examples=["2 of 410 calls in the last five minutes failed"])
    last_hour: HourDocument
    circuits: list[CircuitDocument]
    as_of: datetime

    @classmethod
    def of(cls, provider: Provider, health: Health) -> "HealthDocument":
        """How the API shows it."""
        return cls(
            provider=provider.name,
            state=health.state,
            since=health.since,
            reason=health.reason,
            last_hour=HourDocument.of(health.hour),
            circuits=[CircuitDocument.of(circuit) for circuit in health.circuits],
            as_of=health.as_of,
        )


class _Counts(BaseModel):
    calls: int = Field(description="Attempts on the wire", examples=[4213])
    answers: int = Field(examples=[4202])
    retries: int = Field(description="Calls that were not the first attempt", examples=[9])
    cached: int = Field(description="Requests answered by the cache")
    joined: int = Field(description="Requests answered by a call that others made too")
    refused: int = Field(description="Attempts that the breaker or a full queue kept from the wire")
    input_tokens: int = Field(description="As billed", examples=[810_332])
    cached_tokens: int = Field(description="Of the input, read from the vendor's own cache")
    output_tokens: int = Field(examples=[122_019])
    reasoning_tokens: int = Field(description="Of the output")
    cost_usd: float | None = Field(
        description="At the prices that counted at the beginning of each hour", examples=[0.446621]
    )
    priced_usd: float = Field(description="The part of it that has a price", examples=[0.446621])
    reason: Literal["no_price"] | None = Field(description="Why `cost_usd` is null")


def _counts(used: Used) -> dict[str, int | float | str | None]:
    tally, spend = used.tally, used.spend
    priced = spend.cost_nano / NANO
    return {
        "calls": tally.calls,
        "answers": tally.answers,
        "retries": tally.retries,
        "cached": tally.cached,
        "joined": tally.joined,
        "refused": tally.refused,
        "input_tokens": tally.input_tokens,
        "cached_tokens": tally.cached_tokens,
        "output_tokens": tally.output_tokens,
        "reasoning_tokens": tally.reasoning_tokens,
        "cost_usd": None if spend.unpriced_tokens else priced,
        "priced_usd": priced,
        "reason": "no_price" if spend.unpriced_tokens else None,
    }


class UsageRow(_Counts):
    """One model on one day."""

    day: date = Field(description="In UTC")
    model: str = Field(examples=["gpt-5-mini"])


class UsageTotals(_Counts):
    """All days and models together."""


class UsageDocument(BaseModel):
    """What a provider was used for, by day and model; a day without requests has no row."""

    provider: str = Field(examples=["openai"])
    since: date = Field(description="The first day, in UTC")
    rows: list[UsageRow]
    totals: UsageTotals
    as_of: datetime

    @classmethod
    def of(cls, provider: Provider, report: UsageReport, as_of: datetime) -> "UsageDocument":
        """How the API shows it."""
        return cls(
            provider=provider.name,
            since=report.since,
            rows=[
                UsageRow.model_validate({"day": day, "model": model, **_counts(used)})
                for (day, model), used in report.rows.items()
            ],
            totals=UsageTotals.model_validate(_counts(report.totals)),
            as_of=as_of,
        )
