"""A mock provider and workers as processes of their own, so that they can be killed and stopped."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.runs.stage import sums

TIEBREAK = [sys.executable, "-m", "tiebreak"]


def write_recorded(folder: Path, items: int) -> tuple[Path, Path]:
    """Questions and recorded answers of two models: "large" is wrong on every fifth, "small" on every second."""
    questions, recorded = folder / "questions.jsonl", folder / "recorded.jsonl"
    asked = [
        {"id": f"q-{n}", "question": question, "answer": answer}
        for n, (question, answer) in enumerate(sums(items))
    ]
    said = [
        {"id": f"q-{n}", "model": model, "text": f"A: {n + 1 if n % wrong else 0}"}
        for n in range(items)
        for model, wrong in (("small", 2), ("large", 5))
    ]
    for path, lines in ((questions, asked), (recorded, said)):
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return questions, recorded


@contextmanager
def mock_provider(questions: Path, recorded: Path, *, delay_ms: float, log: Path) -> Iterator[str]:
    """`tiebreak mock-provider` on a free port; gives the base URL."""
    command = [*TIEBREAK, "mock-provider", "--questions", questions, "--recorded", recorded]
    options = ["--delay-ms", str(delay_ms), "--log", log, "--port", "0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
            process.wait(timeout=15)


def calls(log: Path) -> int:
    """How many calls the mock provider has seen the end of."""
    return len(log.read_bytes().splitlines())


class WorkerProcess:
    """`tiebreak worker` on a database, with a log of its own."""

    def __init__(self, folder: Path, dsn: str, number: int, *, lease_seconds: float, secret_key: str) -> None:
        self.log = folder / f"worker-{number}.log"
        environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "TIEBREAK_HOME": str(folder / "home"),
            "TIEBREAK_LEASE_SECONDS": str(lease_seconds),
            "TIEBREAK_SECRET_KEY": secret_key,
        }
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [*TIEBREAK, "worker"], env=environment, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def working(self) -> bool:
        """It has taken a run up."""
        return b"run taken up" in self.log.read_bytes()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self._process.kill()
        self._process.wait(timeout=10)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
        try:
            return self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
