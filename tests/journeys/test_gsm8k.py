"""From 1,319 questions over the wire to the verdict that is known, in every vendor's dialect."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.runs.stage import CLOCK, add_dataset, add_provider, add_test, start, until, working

from tiebreak.analytics import service as analytics
from tiebreak.analytics.schemas import ComparisonResult, ResultsDocument
from tiebreak.infrastructure.connections.postgres import Database
from tiebreak.mockprovider import server
from tiebreak.mockprovider.config import MockOptions, load
from tiebreak.providers.dialects import PLAIN
from tiebreak.runs.model import RunState

pytestmark = pytest.mark.gsm8k


@dataclass(frozen=True)
class Known:
    """What the recorded answers to the first so many questions amount to, the smaller model's figures first."""

    questions: int
    right: tuple[int, int]
    discordant: tuple[int, int]
    difference: float
    se: float


WHOLE = Known(1319, right=(286, 458), discordant=(260, 88), difference=0.1304, se=0.0137)
FIRST = Known(100, right=(21, 34), discordant=(20, 7), difference=0.13, se=0.0503)


@pytest.fixture
def recorded() -> Path:
    if "TIEBREAK_GSM8K" not in os.environ:
        pytest.skip(
            "SKIPPED: the GSM8K journey needs the recorded answers; set TIEBREAK_GSM8K to their folder"
        )
    return Path(os.environ["TIEBREAK_GSM8K"])


async def judged(
    database: Database, recorded: Path, log: Path, dialects: list[str], known: Known
) -> list[ResultsDocument]:
    """The results of one run per dialect, each with an account and a test of its own, on the same questions."""
    questions, calls = recorded / "questions.jsonl", 2 * known.questions
    lines = [json.loads(line) for line in questions.read_text().splitlines()][: known.questions]
    await add_dataset(database, [(line["question"], line["answer"]) for line in lines])
    documents = []
    options = MockOptions(questions=questions, recorded=recorded / "recorded_answers.jsonl", log=log)
    async with server.running(load(options)) as url, working(database):
        for place, dialect in enumerate(dialects, start=1):
            vendor = dialect.replace("_", "-")
            # Azure has no /v1 above its deployments; the others may have it.
            base_url = url.removesuffix("/v1") if dialect == "azure_openai" else url
            await add_provider(database, base_url, name=vendor, dialect=dialect)
            test = await add_test(
                database,
                name=f"grade school by {vendor}",
                variants=[
                    {"key": "6b", "model": f"{vendor}/6b_finetuning", "template": "{{ question }}"},
                    {"key": "175b", "model": f"{vendor}/175b_finetuning", "template": "{{ question }}"},
                ],
                metrics=[{"name": "correct", "role": "primary", "check": {"kind": "numeric", "line": "A:"}}],
            )
            run = await start(database, test, concurrency=64)
            ended = await until(database, run, RunState.COMPLETED, within=120)
            assert (ended.done, ended.failed, ended.calls) == (calls, 0, calls), dialect
            assert len(log.read_bytes().splitlines()) == place * calls
            async with database.transaction() as tx:
                documents.append(ResultsDocument.of(await analytics.results(tx, test.slug, at=CLOCK.now())))
            assert documents[-1].spend.calls == calls
    return documents


def compared(document: ResultsDocument) -> ComparisonResult:
    [comparison] = [each for each in document.comparisons if each.metric == "correct"]
    assert (comparison.variant, comparison.control) == ("175b", "6b")
    return comparison


def assert_known(document: ResultsDocument, known: Known) -> None:
    """The figures are the known ones, and the larger model is better."""
    metrics = [variant.metrics["correct"] for variant in document.variants]
    assert [(each.n, each.unscored) for each in metrics] == [(known.questions, 0)] * 2
    assert tuple(round(each.mean * known.questions) for each in metrics) == known.right
    comparison = compared(document)
    assert comparison.difference == pytest.approx(known.difference, abs=5e-5)
    assert comparison.se == pytest.approx(known.se, abs=5e-5)
    assert comparison.discordant == known.discordant
    assert comparison.interval[0] > 0
    assert (document.verdict.kind, document.verdict.variant) == ("better", "175b")


def assert_same(documents: list[ResultsDocument]) -> None:
    """No digit of the comparison, of either model's score or of the verdict depends on how the vendor was spoken to."""
    first, *others = [
        (compared(each), each.verdict, [variant.metrics["correct"] for variant in each.variants])
        for each in documents
    ]
    assert len(others) == len(documents) - 1 > 0
    for other in others:
        assert other == first


async def test_the_larger_model_is_better_by_what_is_known(database, tmp_path, recorded):
    [document] = await judged(database, recorded, tmp_path / "log", ["openai_compatible"], WHOLE)
    assert_known(document, WHOLE)


async def test_a_hundred_questions_have_the_same_verdict_to_the_digit_in_every_dialect(
    database, tmp_path, recorded
):
    documents = await judged(database, recorded, tmp_path / "log", list(PLAIN), FIRST)
    assert_known(documents[0], FIRST)
    assert_same(documents)


@pytest.mark.faults
async def test_all_questions_have_the_known_verdict_to_the_digit_in_every_dialect(
    database, tmp_path, recorded
):
    documents = await judged(database, recorded, tmp_path / "log", list(PLAIN), WHOLE)
    for document in documents:
        assert_known(document, WHOLE)
    assert_same(documents)
