"""Writes `docs/reference.md` from the program itself: `make docs`. A test says when the page is out of date."""

import argparse
import asyncio
import importlib
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tiebreak.errors
from tiebreak.analytics.schemas import ResultsDocument
from tiebreak.app import Parts, create_app, mount
from tiebreak.cli import commands, entry
from tiebreak.clock import SystemClock
from tiebreak.errors import TiebreakError
from tiebreak.experiments.definition import Definition
from tiebreak.ids import ProcessIdentity
from tiebreak.infrastructure.connections.http1_client import Http1Client
from tiebreak.infrastructure.connections.postgres import Database, PostgresConfig
from tiebreak.infrastructure.telemetry import instruments
from tiebreak.infrastructure.telemetry.metrics import Metrics
from tiebreak.providers.activity import Activity
from tiebreak.providers.pipeline import Pipeline
from tiebreak.providers.secrets import Keyring
from tiebreak.settings import Settings

PAGE = Path(__file__).parents[2] / "docs/reference.md"
INTRODUCTION = """\
# Reference

Written by `make docs` from the program itself; do not edit. [The tutorial](tutorial.md) shows these things at work.
"""


async def build() -> str:
    """The whole page."""
    parts = [
        INTRODUCTION,
        *_commands(),
        *_settings(),
        *await _routes(),
        *_metrics(),
        *_errors(),
        *_documents(),
    ]
    return "\n".join(parts).rstrip() + "\n"


def _commands() -> Iterator[str]:
    yield "## Commands\n\n`--url` and `--json` stand before or after the command.\n"
    for command in commands.COMMANDS:
        parser = argparse.ArgumentParser(
            prog=f"tiebreak {command.name}",
            description=command.summary,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
        )
        entry.add_global(parser)
        importlib.import_module(command.module).configure(parser)
        yield f"### tiebreak {command.name}\n\n```text\n{parser.format_help().rstrip()}\n```\n"
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    inner.formatter_class = parser.formatter_class
                    yield f"#### tiebreak {command.name} {name}\n\n```text\n{inner.format_help().rstrip()}\n```\n"


def _settings() -> Iterator[str]:
    yield "## Settings\n\nRead once, from the environment. A misspelt `TIEBREAK_…` variable is an error.\n"
    yield "| Variable | Default | Meaning |\n|---|---|---|"
    names = Settings.variables()
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None or field.default_factory else f"`{field.default}`"
        yield f"| `{names[name]}` | {default} | {field.description} |"
    yield ""


async def _nothing() -> str:
    return ""


async def _routes() -> Iterator[str]:
    settings = Settings()
    app = create_app(settings)
    http = Http1Client(settings.outbound)
    with tempfile.TemporaryDirectory() as folder:
        clock = SystemClock()
        unused = Database(PostgresConfig(dsn="postgresql://unused"))
        keyring = Keyring.open(Path(folder), None)
        pipeline = Pipeline(http, clock, random.Random(0))
        activity = Activity(unused, clock)
        metrics = Metrics(instruments.ALL)
        process = ProcessIdentity("reference")
        mount(
            app,
            Parts(settings, Path(folder), unused, keyring, http, pipeline, activity, clock, metrics, process),
            "reference",
            _nothing,
        )
    await http.close()
    lines = [
        "## REST\n\nThe OpenAPI file is served at `/api/v1/openapi.json`. Errors are RFC 9457 problems.\n"
    ]
    lines.append("| Call | What it does |\n|---|---|")
    for path, calls in sorted(app.openapi()["paths"].items()):
        for method, call in calls.items():
            said = call.get("description", call["summary"]).splitlines()[0]
            lines.append(f"| `{method.upper()} {path}` | {said} |")
    return iter([*lines, ""])


def _metrics() -> Iterator[str]:
    yield "## Metrics\n\n`GET /metrics`, summed over all processes, in Prometheus' text format.\n"
    yield "| Metric | Kind | Labels | Meaning |\n|---|---|---|---|"
    for one in instruments.ALL:
        yield f"| `{one.name}` | {one.kind} | {', '.join(f'`{name}`' for name in one.labels)} | {one.help} |"
    yield ""


def _errors() -> Iterator[str]:
    yield "## Errors\n\n| Status | Problem type | When |\n|---|---|---|"
    for kind in vars(tiebreak.errors).values():
        if isinstance(kind, type) and issubclass(kind, TiebreakError):
            first = (kind.__doc__ or "").strip().splitlines()[0]
            yield f"| {kind.status} | `urn:tiebreak:problem:{kind.code}` | {first} |"
    yield f"\nExit codes of the commands: {entry.EPILOG.split(': ', 1)[1].split('. `')[0]}.\n"


def _documents() -> Iterator[str]:
    yield "## The results document\n\n`tiebreak run --json`, `tiebreak test results --json` and the API give the same one. Later versions only add keys.\n"
    yield f"```json\n{json.dumps(ResultsDocument.model_json_schema(), indent=1, ensure_ascii=False)}\n```\n"
    yield "## The definition of a test\n\nThe YAML file and the API have one schema.\n"
    yield f"```json\n{json.dumps(Definition.model_json_schema(), indent=1, ensure_ascii=False)}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(asyncio.run(build()))
