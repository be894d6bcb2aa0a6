"""One result file for every benchmark: the machine, the raw figures, and checks against targets."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Check:
    """One figure against its target; `ok` says whether it holds, never whether the run succeeded."""

    name: str
    value: float
    unit: str
    target: str
    ok: bool


def machine() -> dict[str, Any]:
    """What this was measured on: processor, cores, memory, system, Python."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_mb": int(memory) // 1024,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def write(name: str, figures: Mapping[str, Any], checks: Sequence[Check]) -> Path:
    """Write `results/NAME.json` and print the checks."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    document = {
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "figures": figures,
        "checks": [asdict(check) for check in checks],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    for check in checks:
        mark = "ok  " if check.ok else "MISS"
        print(f"{mark} {check.name}: {check.value:.4g} {check.unit} (target {check.target})")
    print(f"written to {path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path}")
    return path


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
