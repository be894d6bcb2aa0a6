"""How many calls the pipeline saves on traffic that repeats itself, and whether everybody has his own answer.

The committed arrivals go through the whole pipeline to the mock provider, a process of its own that answers after 200 ms:
once without a cache, which is what is checked, and once with one. Four callers with three credentials of one account ask.
Calls are counted in the mock's own log, where each kind of request has a model of its own.
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import UUID

import uvloop

from benchmarks import arrivals
from benchmarks.arrivals import PROMPTS, Arrival, Kind
from benchmarks.report import Check, write
from tiebreak.clock import SystemClock
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.mockprovider import answering
from tiebreak.mockprovider.config import MockConfig, MockOptions, load
from tiebreak.mockprovider.dialects.embeddings import vector
from tiebreak.providers.account import Account, ExternalServiceConfig
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    Message,
    Origin,
)
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.sharing import Scope

DELAY_MS = 200
DIMENSIONS = 64
LEAST_SAVED = 0.40
CALLERS = (("shop", "sk-1"), ("desk", "sk-1"), ("bank", "sk-2"), ("club", "sk-3"))  # name, credential
PROVIDER = UUID(int=3)
GROUPS = 2000  # more than there are in the file


@dataclass(frozen=True, slots=True)
class Heard:
    """A request and what came back; seconds of the event loop's clock."""

    arrival: Arrival
    began: float
    ended: float
    answer: ChatResponse | EmbeddingResponse

    @property
    def added_ms(self) -> float:
        """How much longer it took than the call that answered it."""
        return (self.ended - self.began - self.answer.latency) * 1000


def words(kind: Kind, number: int) -> str:
    """The text or the prompt of a request: other words for every kind and number."""
    return f"Tell what is known of {kind.value} number {number:05d}."


def options(folder: Path) -> MockOptions:
    """Writes what the mock provider serves: a model for each kind, which knows another answer to every prompt."""
    models, questions = folder / "models.yaml", folder / "questions.jsonl"
    served = {
        kind.value: {
            "kind": "simulated",
            "skill": 1,
            "output_tokens": {"median": 60, "sigma": 0.5},
            "dimensions": DIMENSIONS,
        }
        for kind in Kind
    }
    models.write_text(json.dumps({"models": served}))  # JSON is YAML
    asked = [(Kind.COLD, number) for number in range(PROMPTS)]
    asked += [(Kind.SAMPLE, number) for number in range(GROUPS)]
    lines = [
        json.dumps(
            {"id": f"{kind.value}-{number}", "question": words(kind, number), "answer": 10_000 + place}
        )
        for place, (kind, number) in enumerate(asked)
    ]
    questions.write_text("\n".join(lines) + "\n")
    return MockOptions(models=models, questions=questions, delay_ms=DELAY_MS, log=folder / "calls.jsonl")


@contextmanager
def mock_provider(given: MockOptions) -> Iterator[str]:
    """The mock provider as a process on a free port; yields the base URL."""
    command = [sys.executable, "-m", "tiebreak", "mock-provider", "--port", "0"]
    files = ["--models", given.models, "--questions", given.questions, "--log", given.log]
    delay = ["--delay-ms", str(given.delay_ms)]
    with subprocess.Popen([*command, *map(str, files), *delay], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def account(base_url: str, caller: int, *, cached: bool) -> Account:
    """The one provider, with the caller's credential."""
    service = ExternalServiceConfig("repeat mix", cache_enabled=cached)
    return Account(PROVIDER, "openai", base_url, 512, CALLERS[caller][1], service)


async def play(
    pipeline: Pipeline, base_url: str, asked: Sequence[Arrival], *, cached: bool = False
) -> list[Heard]:
    """Ask as the arrivals say; the answers in their order."""
    loop = asyncio.get_running_loop()
    accounts = [account(base_url, caller, cached=cached) for caller in range(len(CALLERS))]

    async def ask(arrival: Arrival) -> Heard:
        scope, shop = Scope.direct(CALLERS[arrival.caller][0]), accounts[arrival.caller]
        text, began = words(arrival.kind, arrival.number), loop.time()
        answer: ChatResponse | EmbeddingResponse
        if arrival.kind is Kind.TEXT:
            answer = await pipeline.embed(shop, EmbeddingRequest(Kind.TEXT, (text,)), scope)
        else:
            temperature = 0.0 if arrival.kind is Kind.COLD else 1.0
            chat = ChatRequest(arrival.kind, (Message("user", text),), {}, temperature=temperature)
            answer = await pipeline.complete(shop, chat, scope)
        return Heard(arrival, began, loop.time(), answer)

    start = loop.time()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for moment, together in groupby(asked, key=lambda arrival: arrival.at):
            await asyncio.sleep(max(0.0, start + moment / 1e6 - loop.time()))
            tasks += [group.create_task(ask(arrival)) for arrival in together]
    return [task.result() for task in tasks]


def not_own(config: MockConfig, heard: Sequence[Heard]) -> list[Heard]:
    """Whoever has not the vector of his own text, the answer to his own prompt, or a sample that no other one has."""
    wrong: list[Heard] = []
    drawn: dict[int, list[Heard]] = {}
    for each in heard:
        text = words(each.arrival.kind, each.arrival.number)
        if isinstance(each.answer, EmbeddingResponse):
            own = each.answer.vectors == (tuple(vector(Kind.TEXT, text, DIMENSIONS)),)
        elif each.arrival.kind is Kind.COLD:
            own = each.answer.text == answering.reply(config, Kind.COLD, text, None).text
        else:
            drawn.setdefault(each.arrival.number, []).append(each)
            continue
        if not own:
            wrong.append(each)
    for number, group in drawn.items():
        text = words(Kind.SAMPLE, number)
        draws = Counter(
            answering.reply(config, Kind.SAMPLE, text, None, place).text for place in range(len(group))
        )
        said = Counter(each.answer.text for each in group if isinstance(each.answer, ChatResponse))
        if said != draws:
            wrong += group
    return wrong


def unpaid(heard: Sequence[Heard]) -> list[Heard]:
    """Whoever came along with a call that no request of the same caller made while he was waiting."""

    def family(each: Heard) -> tuple[object, ...]:
        """Those who may share a call: one caller's texts, and his equal prompts."""
        number = None if each.arrival.kind is Kind.TEXT else each.arrival.number
        return each.arrival.caller, each.arrival.kind, number

    payers: dict[tuple[object, ...], list[Heard]] = {}
    for each in heard:
        if each.answer.calls:
            payers.setdefault(family(each), []).append(each)
    return [
        each
        for each in heard
        if not each.answer.calls
        and each.answer.origin is not Origin.CACHE
        and not any(
            payer.began <= each.ended and each.began <= payer.ended for payer in payers.get(family(each), ())
        )
    ]


@dataclass
class Pass:
    """What one way through the arrivals came to; calls by kind from the mock provider's log."""

    heard: list[Heard]
    calls: Counter[str]
    asked: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.asked = Counter(each.arrival.kind.value for each in self.heard)

    def saved(self, kind: Kind | None = None) -> float:
        """The share of calls that were not made."""
        if kind is None:
            return 1 - self.calls.total() / self.asked.total()
        return 1 - self.calls[kind] / self.asked[kind]

    def hits(self, kind: Kind | None = None) -> float:
        """The share of answers from the cache."""
        some = [each for each in self.heard if kind in {None, each.arrival.kind}]
        return sum(each.answer.origin is Origin.CACHE for each in some) / len(some)

    def figures(self) -> dict[str, Any]:
        """For the result file; shares, and milliseconds."""
        return {
            "requests": dict(self.asked),
            "calls": dict(self.calls),
            "origins": dict(Counter(each.answer.origin.value for each in self.heard)),
            "saved": {"all": self.saved()} | {kind.value: self.saved(kind) for kind in Kind},
            "cache_hits": {"all": self.hits()} | {kind.value: self.hits(kind) for kind in Kind},
            "added_ms": {"texts": self.added(Kind.TEXT), "lone_chats": self.added(Kind.COLD)},
        }

    def added(self, kind: Kind) -> dict[str, float]:
        """Milliseconds on top of the call itself, of those who wait for others: all texts; or for nobody: chats."""
        alone = {Origin.CALL} if kind is Kind.COLD else {Origin.CALL, Origin.BATCH}
        cuts = quantiles(
            [
                each.added_ms
                for each in self.heard
                if each.arrival.kind is kind and each.answer.origin in alone
            ],
            n=100,
        )
        return {"p50": cuts[49], "p99": cuts[98]}


async def passed(base_url: str, log: Path, asked: Sequence[Arrival], *, cached: bool) -> Pass:
    """One way through, with a pipeline of its own."""
    before = len(log.read_bytes().splitlines()) if log.exists() else 0
    client, clock = Http1Client("loopback"), SystemClock()
    pipeline = Pipeline(client, clock, random.Random(1))
    try:
        heard = await play(pipeline, base_url, asked, cached=cached)
    finally:
        await pipeline.close()
        await client.close()
    calls = [json.loads(line)["model"] for line in log.read_bytes().splitlines()[before:]]
    return Pass(heard, Counter(calls))


def checks(plain: Pass, config: MockConfig) -> list[Check]:
    """What is promised of traffic without a cache."""
    saved = plain.saved()
    wrong, alone = len(not_own(config, plain.heard)), len(unpaid(plain.heard))
    unclaimed = plain.calls.total() - sum(each.answer.calls for each in plain.heard)
    return [
        Check("calls saved", saved, "", f">= {LEAST_SAVED}", saved >= LEAST_SAVED),
        Check("answers that are not one's own", wrong, "", "0", wrong == 0),
        Check("shared answers that nobody of the same caller paid for", alone, "", "0", alone == 0),
        Check("calls that nobody paid for", unclaimed, "", "0", unclaimed == 0),
    ]


def main() -> int:
    asked = arrivals.read()
    with tempfile.TemporaryDirectory() as name:
        given = options(Path(name))
        assert given.log is not None
        with mock_provider(given) as base_url:
            plain = uvloop.run(passed(base_url, given.log, asked, cached=False))
            cached = uvloop.run(passed(base_url, given.log, asked, cached=True))
        figures = {
            "upstream_delay_ms": DELAY_MS,
            "load_average": os.getloadavg()[0],
            "without_cache": plain.figures(),
            "with_cache": cached.figures(),
        }
        found = checks(plain, load(given))
    for title, each in (("without", plain), ("with", cached)):
        shares = ", ".join(f"{kind.value} {each.saved(kind):.3f}" for kind in Kind)
        added = each.added(Kind.TEXT)
        print(
            f"{title} a cache: {each.saved():.3f} saved ({shares}), {each.hits(Kind.COLD):.3f} of the cold ones hits, "
            f"texts later by {added['p50']:.0f} ms (p50) and {added['p99']:.0f} ms (p99)"
        )
    write("repeat_mix", figures, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
