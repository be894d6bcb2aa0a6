"""From 1,319 questions over the wire to the verdict that is known."""

import json
import os
from pathlib import Path

import pytest
from tests.runs.stage import CLOCK, add_dataset, add_provider, add_test, start, until, working

from tiebreak.analytics import service as analytics
from tiebreak.analytics.schemas import ResultsDocument
from tiebreak.mockprovider import server
from tiebreak.mockprovider.config import MockOptions, load
from tiebreak.runs.model import RunState


@pytest.mark.gsm8k
async def test_the_larger_model_is_better_by_what_is_known(database, tmp_path):
    if "TIEBREAK_GSM8K" not in os.environ:
        pytest.skip(
            "SKIPPED: the GSM8K journey needs the recorded answers; set TIEBREAK_GSM8K to their folder"
        )
    folder = Path(os.environ["TIEBREAK_GSM8K"])
    questions, log = folder / "questions.jsonl", tmp_path / "calls.jsonl"
    lines = [json.loads(line) for line in questions.read_text().splitlines()]
    options = MockOptions(questions=questions, recorded=folder / "recorded_answers.jsonl", log=log)
    await add_dataset(database, [(line["question"], line["answer"]) for line in lines])
    async with server.running(load(options)) as url, working(database):
        await add_provider(database, url)
        test = await add_test(
            database,
            variants=[
                {"key": "6b", "model": "vendor/6b_finetuning", "template": "{{ question }}"},
                {"key": "175b", "model": "vendor/175b_finetuning", "template": "{{ question }}"},
            ],
            metrics=[{"name": "correct", "role": "primary", "check": {"kind": "numeric", "line": "A:"}}],
        )
        run = await start(database, test, concurrency=64)
        ended = await until(database, run, RunState.COMPLETED, within=120)
    assert (ended.done, ended.failed, ended.calls) == (2638, 0, 2638)
    assert len(log.read_bytes().splitlines()) == 2638
    async with database.transaction() as tx:
        document = ResultsDocument.of(await analytics.results(tx, test.slug, at=CLOCK.now()))
    small, large = (variant.metrics["correct"] for variant in document.variants)
    assert (small.n, round(small.mean * 1319), small.unscored) == (1319, 286, 0)
    assert (large.n, round(large.mean * 1319), large.unscored) == (1319, 458, 0)
    [compared] = [c for c in document.comparisons if c.metric == "correct"]
    assert (compared.variant, compared.control) == ("175b", "6b")
    assert compared.difference == pytest.approx(0.1304, abs=5e-5)
    assert compared.se == pytest.approx(0.0137, abs=5e-5)
    assert compared.discordant == (260, 88)
    assert compared.interval[0] > 0
    assert (document.verdict.kind, document.verdict.variant) == ("better", "175b")
    assert document.spend.calls == 2638
