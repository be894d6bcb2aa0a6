"""`tiebreak test`: A/B tests."""

import argparse
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.files import definition_of, wire
from tiebreak.cli.output import key, print_fields, print_table, show
from tiebreak.cli.render import print_results

STEPS = ("start", "pause", "resume", "cancel")


def configure(parser: argparse.ArgumentParser) -> None:
    """The lifecycle of a test, and its results."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every test, the latest last")
    listing.add_argument("--state", help="only tests in this state")
    create = actions.add_parser("create", help="a draft from a file")
    create.add_argument("file", type=Path)
    add_global(listing)
    add_global(create)
    for name, summary in (
        ("show", "one test and its definition"),
        ("start", "run a draft"),
        ("pause", "hand out no more work"),
        ("resume", "go on"),
        ("cancel", "stop for good; what was measured stays"),
        ("results", "the comparison and the verdict"),
        ("delete", "the test and everything measured"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("test", help="its id or its slug")
        add_global(action)


def run(options: argparse.Namespace) -> int:
    """Do one of them."""
    if options.action in STEPS:
        return converse(options, lambda api: step(options, api))
    actions = {
        "list": list_tests,
        "create": create,
        "show": show_test,
        "results": results,
        "delete": delete,
    }
    return converse(options, lambda api: actions[options.action](options, api))


async def list_tests(options: argparse.Namespace, api: Connection) -> int:
    """A row for each."""
    rows = [row async for row in api.pages("/tests", state=options.state)]
    columns = [key("slug"), key("state"), key("variants"), key("created_at"), key("reason")]
    return show(
        options, rows, lambda: print_table(columns, rows, empty="no tests; `tiebreak run FILE` makes one")
    )


async def create(options: argparse.Namespace, api: Connection) -> int:
    """Parse here, so that an error has a line and a column; store there."""
    document = await api.send("POST", "/tests", wire(definition_of(options.file)))
    return show(
        options,
        document,
        lambda: print(f"{document['slug']} is a draft; `tiebreak test start {document['slug']}`"),
    )


async def show_test(options: argparse.Namespace, api: Connection) -> int:
    """State, reason and what is compared."""
    document = await api.get(f"/tests/{quote(options.test, safe='')}")
    return show(options, document, lambda: _print_test(document))


async def step(options: argparse.Namespace, api: Connection) -> int:
    """One step of the lifecycle."""
    document = await api.send("POST", f"/tests/{quote(options.test, safe='')}/{options.action}")
    if api.url is None and document["state"] == "running":
        print(
            "tiebreak: no server runs; `tiebreak serve` or `tiebreak worker` does the work", file=sys.stderr
        )
    return show(options, document, lambda: print(f"{options.test} is {document['state']}"))


async def results(options: argparse.Namespace, api: Connection) -> int:
    """The results document, or its picture."""
    document = await api.get(f"/analytics/tests/{quote(options.test, safe='')}/results")
    return show(options, document, lambda: print_results(document))


async def delete(options: argparse.Namespace, api: Connection) -> int:
    """For good."""
    await api.send("DELETE", f"/tests/{quote(options.test, safe='')}")
    return show(options, {"deleted": options.test}, lambda: print(f"{options.test} is deleted"))


def _print_test(document: dict[str, Any]) -> None:
    definition = document["definition"]
    names = ("name", "slug", "id", "state", "reason", "created_at", "started_at", "ended_at")
    print_fields((name, document[name]) for name in names)
    print_fields(
        (name, definition[name]) for name in ("hypothesis", "dataset", "decision", "seed", "repeats")
    )
    print()
    print_table([key("key", "variant"), key("model"), key("prompt")], definition["variants"], empty="")
    print()
    metrics = [key("name", "metric"), key("role"), key("direction"), key("margin"), key("threshold")]
    print_table(metrics, definition["metrics"], empty="")
