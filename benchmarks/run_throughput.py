"""An offline run against the rate that Little's law allows, and against promptfoo on the same upstream.

The mock provider serves the recorded GSM8K answers with 50 ms delay; both tools work at concurrency 64 and are timed by
the provider's own log, from the first call it received to the last it answered. They alternate, so that a drifting
machine hits both.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import promptfoo
from benchmarks.report import Check, write

CONCURRENCY = 64
DELAY = 0.050
REPEATS = 10
ROUNDS = 2
MODELS = ("6b_finetuning", "175b_finetuning")
TIEBREAK = [sys.executable, "-m", "tiebreak"]


@dataclass(frozen=True)
class Phase:
    """Calls the provider saw in one evaluation, and the seconds between the first and the last."""

    calls: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.calls / self.seconds


@contextmanager
def mock_provider(data: Path, log: Path) -> Iterator[str]:
    """The recorded models on a free port; yields the base URL."""
    command: list[str | Path] = [*TIEBREAK, "mock-provider", "--questions", data / "questions.jsonl"]
    options: list[str | Path] = [
        "--recorded",
        data / "recorded_answers.jsonl",
        "--delay-ms",
        str(DELAY * 1000),
        "--log",
        log,
    ]
    with subprocess.Popen([*command, *options, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)


def phase(log: Path, start: int) -> Phase:
    """The calls logged from line `start` on."""
    calls = [json.loads(line) for line in log.read_text().splitlines()[start:]]
    return Phase(len(calls), max(c["ended"] for c in calls) - min(c["started"] for c in calls))


def tiebreak(folder: Path, data: Path, base_url: str, number: int) -> dict[str, Any]:
    """One run of all items on both models, ten repeats; returns the result document."""
    file = folder / f"test-{number}.yaml"
    lines = [
        f"name: throughput {number}",
        "dataset: gsm8k",
        f"repeats: {REPEATS}",
        "variants:",
        *(
            f"  - {{key: {model.split('_')[0]}, model: recorded/{model}, template: '{{{{ question }}}}'}}"
            for model in MODELS
        ),
        "metrics:",
        "  - {name: correct, role: primary, check: {kind: numeric, line: 'A:'}}",
    ]
    file.write_text("\n".join(lines) + "\n")
    environment = {**os.environ, "TIEBREAK_HOME": str(folder / "home")}
    if number == 0:
        add = [*TIEBREAK, "provider", "add", "recorded", "--base-url", base_url, "--concurrency", "1000"]
        subprocess.run(add, env=environment, check=True, stdout=subprocess.DEVNULL, timeout=120)
    run: list[str | Path] = [*TIEBREAK, "run", file, "--dataset", data / "questions.jsonl"]
    done = subprocess.run(
        [*run, "--concurrency", str(CONCURRENCY), "--json"],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        timeout=600,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def main() -> int:
    if "TIEBREAK_GSM8K" not in os.environ:
        sys.stderr.write(
            "SKIPPED: bench-run needs the recorded answers; set TIEBREAK_GSM8K to their folder\n"
        )
        return 0
    data = Path(os.environ["TIEBREAK_GSM8K"])
    questions = [
        (row["question"], row["answer"]) for row in map(json.loads, (data / "questions.jsonl").open())
    ]
    peer = promptfoo.install()
    ours: list[Phase] = []
    theirs: list[Phase] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "calls.jsonl"
        log.touch()
        with mock_provider(data, log) as base_url:
            for number in range(ROUNDS):
                before = len(log.read_text().splitlines())
                document = tiebreak(folder, data, base_url, number)
                ours.append(phase(log, before))
                print(
                    f"tiebreak  {ours[-1].calls} calls, {ours[-1].rate:.0f}/s: {document['verdict']['sentence']}"
                )
                if peer is not None:
                    before = len(log.read_text().splitlines())
                    promptfoo.evaluate(
                        folder, base_url=base_url, models=MODELS, questions=questions, concurrency=CONCURRENCY
                    )
                    theirs.append(phase(log, before))
                    print(f"promptfoo {theirs[-1].calls} calls, {theirs[-1].rate:.0f}/s")
    ideal = CONCURRENCY / DELAY
    rate = median(p.rate for p in ours)
    checks = [Check("share of the Little's-law rate", rate / ideal, "", ">= 0.9", rate / ideal >= 0.9)]
    if theirs:
        ratio = rate / median(p.rate for p in theirs)
        checks.append(Check("rate against promptfoo", ratio, "times", ">= 5", ratio >= 5))
    figures = {
        "upstream_delay_ms": DELAY * 1000,
        "concurrency": CONCURRENCY,
        "tiebreak": [{"calls": p.calls, "seconds": p.seconds} for p in ours],
        "promptfoo": [{"calls": p.calls, "seconds": p.seconds} for p in theirs],
        "promptfoo_version": promptfoo.VERSION,
    }
    write("run_throughput", figures, checks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
