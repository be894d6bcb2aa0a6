"""Decides the command before anything heavy is imported, and turns errors into one line and an exit code."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from tiebreak import __version__
from tiebreak.cli.commands import COMMANDS, Command
from tiebreak.errors import TiebreakError

FINISHED, USAGE, INFRASTRUCTURE, OVER_BUDGET, INTERRUPTED = 0, 2, 3, 4, 130

EPILOG = """\
exit codes: 0 finished; 2 usage or a bad file; 3 a provider, the database or the server failed; 4 stopped by the
budget; 130 interrupted. `tiebreak COMMAND --help` says more."""


class CommandModule(Protocol):
    """What a command's module has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Do it; gives the exit code."""
        ...


def main(arguments: Sequence[str]) -> int:
    """Run one command line; gives the exit code. Usage errors leave through argparse's own exit 2."""
    place = _command_place(arguments)
    top = _top_parser()
    options = top.parse_args(arguments[:place])
    if place == len(arguments):
        top.error("name a COMMAND; `tiebreak --help` lists them")
    command = _chosen(arguments[place])
    module = cast("CommandModule", importlib.import_module(command.module))
    parser = argparse.ArgumentParser(
        prog=f"tiebreak {command.name}", description=command.summary, allow_abbrev=False
    )
    parser.set_defaults(url=options.url, json=options.json)
    add_global(parser)
    module.configure(parser)
    try:
        return module.run(parser.parse_args(arguments[place + 1 :]))
    except TiebreakError as exc:
        complain(exc)
        return exit_code(exc)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (head, less) left. Point stdout away, or the interpreter complains once more when it flushes.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED


def add_global(parser: argparse.ArgumentParser) -> None:
    """`--url` and `--json`, which may stand before or after the command."""
    parser.add_argument(
        "--url",
        default=argparse.SUPPRESS,
        help="a Tiebreak server; else the one on the data folder, else none",
    )
    parser.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="the API's document instead of text"
    )


def exit_code(error: TiebreakError) -> int:
    """2 when the caller must change something, 3 when a part of the installation or a provider failed."""
    return USAGE if error.status < 500 else INFRASTRUCTURE


def complain(error: TiebreakError) -> None:
    """The error on stderr: one line, and one more for each place in the input that is wrong."""
    print(f"tiebreak: {error.detail}", file=sys.stderr)
    # A single fault is usually what the first line says already.
    for fault in error.faults:
        if str(fault) not in error.detail:
            print(f"  {fault}", file=sys.stderr)


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(command.name) for command in COMMANDS)
    listing = "\n".join(f"  {command.name:<{width}}  {command.summary}" for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="tiebreak",
        usage="tiebreak [--url URL] [--json] COMMAND …",
        description=f"Which variant of an LLM application to ship, and how sure we are.\n\ncommands:\n{listing}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"tiebreak {__version__}")
    parser.add_argument("--url", help="a Tiebreak server; else the one on the data folder, else none")
    parser.add_argument("--json", action="store_true", help="the API's document instead of text")
    return parser


def _command_place(arguments: Sequence[str]) -> int:
    """Where the command stands: the first word that is no option and not the value of `--url`."""
    for place, word in enumerate(arguments):
        if not word.startswith("-") and (place == 0 or arguments[place - 1] != "--url"):
            return place
    return len(arguments)


def _chosen(name: str) -> Command:
    for command in COMMANDS:
        if command.name == name:
            return command
    import difflib  # only a misspelt name needs it

    names = [command.name for command in COMMANDS]
    near = difflib.get_close_matches(name, names, n=1)
    raise _usage(
        f"no command {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}")
    )


def _usage(message: str) -> SystemExit:
    print(f"tiebreak: {message}", file=sys.stderr)
    return SystemExit(USAGE)
