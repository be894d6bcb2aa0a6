"""`tiebreak db`, as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.guardians import wait_until_gone


def tiebreak(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIEBREAK_")}
    return subprocess.run(
        [sys.executable, "-m", "tiebreak", *arguments],
        env={**environment, "TIEBREAK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_dump_brings_back_what_was_there(tmp_path: Path, data_home: Path) -> None:
    """From one data folder into another, which is how data moves between majors."""
    old, new, file = data_home, data_home.with_name("new"), tmp_path / "saved.dump"
    template = tmp_path / "hello.txt"
    template.write_text("Hello {{ name }}")
    assert tiebreak(old, "prompt", "push", "hello", template).returncode == 0

    dumped = tiebreak(old, "db", "dump", file, "--json")
    again = tiebreak(old, "db", "dump", file)
    restored = tiebreak(new, "db", "restore", file, "--json")

    assert dumped.returncode == 0, dumped.stderr
    assert again.returncode == 2
    assert "exists; name a new file" in again.stderr
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["current"] is True
    shown = tiebreak(new, "prompt", "show", "hello", "--json")
    assert json.loads(shown.stdout)["template"] == "Hello {{ name }}"
    wait_until_gone(new)
