"""Small models over a small bank, served for real."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import openai

from tiebreak.mockprovider.config import MockConfig
from tiebreak.mockprovider.description import Fixed, Length, Recorded, Simulated
from tiebreak.mockprovider.questions import Question, QuestionBank
from tiebreak.mockprovider.server import running

BANK = QuestionBank(
    [
        Question("q1", "What is six times seven, please?", "42", "arithmetic", "easy"),
        Question("q2", "Which planet is closest to the sun?", "Mercury", "knowledge", "hard"),
        Question("q3", "Which gas do plants take in?", "carbon dioxide", "knowledge", "easy"),
        Question("q4", "Unanswered?"),
    ]
)
RECORDED = {("big", "q1"): "Six times seven is\nA: 42", ("big", "q2"): "", ("small", "q1"): "A: 36"}


def small_config() -> MockConfig:
    return MockConfig(
        models={
            "oracle": Simulated(skill=1.0, output_tokens=Length(60)),
            "fool": Simulated(skill=0.0),
            "big": Recorded(),
            "echo": Recorded(model="small", latency=Fixed(20.0)),
        },
        bank=BANK,
        recorded=RECORDED,
        seed=3,
    )


@asynccontextmanager
async def client_of(config: MockConfig, *, key: str = "any") -> AsyncIterator[openai.AsyncOpenAI]:
    """The vendor's own SDK, connected to a mock that is really listening."""
    async with (
        running(config) as base_url,
        openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=10) as client,
    ):
        yield client


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
