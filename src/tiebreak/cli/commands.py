"""What commands there are. A command's module is imported when it is chosen, so that `--help` stays quick."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """`module` has `configure(parser)`, which adds the arguments, and `run(options) -> int`, the exit code."""

    name: str
    summary: str
    module: str


COMMANDS = (
    Command("demo", "two simulated models, a small dataset, a verdict", "tiebreak.cli.demo"),
    Command("serve", "the server: the API and a background worker", "tiebreak.cli.serve"),
    Command("worker", "one more background worker on the same database", "tiebreak.cli.worker"),
    Command("run", "a test from a file, from the dataset to the verdict", "tiebreak.cli.run"),
    Command("test", "A/B tests: create, start, pause, results", "tiebreak.cli.test"),
    Command("provider", "accounts at vendors, their models and prices", "tiebreak.cli.provider"),
    Command("dataset", "versioned inputs with expected answers", "tiebreak.cli.dataset"),
    Command("prompt", "versioned prompts", "tiebreak.cli.prompt"),
    Command("key", "API keys: create, list, revoke", "tiebreak.cli.key"),
    Command("db", "the database: status, migrate, dump, restore", "tiebreak.cli.db"),
    Command("mock-provider", "a vendor on loopback, for trying things out", "tiebreak.cli.mock_provider"),
)
