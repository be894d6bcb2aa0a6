"""What a user waits for before anything happens: `tiebreak --help` and `import tiebreak` against `python -c pass`."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks.report import Check, write

ROUNDS = 21
LIMIT = 6.0
COMMANDS: dict[str, list[str]] = {
    "pass": [sys.executable, "-c", "pass"],
    "import": [sys.executable, "-c", "import tiebreak"],
    "help": [str(Path(sys.executable).with_name("tiebreak")), "--help"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one process, from its start to its end."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=30)
    return time.perf_counter() - began


def main() -> int:
    measured: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, command in COMMANDS.items():
            measured[name].append(seconds(command))
    base = median(measured["pass"])
    checks = [
        Check(f"{what} against python -c pass", ratio, "times", f"<= {LIMIT:g}", ratio <= LIMIT)
        for what, ratio in (
            ("tiebreak --help", median(measured["help"]) / base),
            ("import tiebreak", median(measured["import"]) / base),
        )
    ]
    write("startup", {"rounds": ROUNDS, "seconds": measured}, checks)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
