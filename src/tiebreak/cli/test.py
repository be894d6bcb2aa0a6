"""`tiebreak test`: A/B tests."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.files import definition_of, wire
from tiebreak.cli.output import Column, key, print_fields, print_table, show
from tiebreak.cli.render import print_results
from tiebreak.errors import InvalidInput

STEPS = ("start", "pause", "resume", "cancel")
LIVE = ("start-live", "stop", "traffic")


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
        ("cancel", "end early, for good; what was measured stays"),
        ("results", "the comparison and the verdict"),
        ("delete", "the test and everything measured"),
        ("start-live", "let a draft take live traffic"),
        ("stop", "complete a test on live traffic"),
        ("traffic", "how a live test splits its users; with --share or --weight, change it"),
    ):
        action = actions.add_parser(name, help=summary)
        action.add_argument("test", help="its id or its slug")
        if name in LIVE:
            action.add_argument("--why", help="kept with the phase this opens")
        if name == "traffic":
            action.add_argument("--share", type=float, help="how many of all users are in the test, 0 to 1")
            action.add_argument(
                "--weight",
                action="append",
                metavar="VARIANT=WEIGHT",
                help="how those split; once for every variant",
            )
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
        "start-live": start_live,
        "stop": stop,
        "traffic": traffic,
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
    definition = definition_of(options.file)
    document = await api.send("POST", "/tests", wire(definition))
    action = "start-live" if definition.dataset is None else "start"
    return show(
        options,
        document,
        lambda: print(f"{document['slug']} is a draft; `tiebreak test {action} {document['slug']}`"),
    )


async def show_test(options: argparse.Namespace, api: Connection) -> int:
    """State, reason and what is compared."""
    document = await api.get(f"/tests/{quote(options.test, safe='')}")
    return show(options, document, lambda: _print_test(document))


async def step(options: argparse.Namespace, api: Connection) -> int:
    """One step of the lifecycle."""
    document = await api.send("POST", f"/tests/{quote(options.test, safe='')}/{options.action}")
    if api.url is None and document["state"] == "running" and document["run"] is not None:
        print(
            "tiebreak: no server runs; `tiebreak serve` or `tiebreak worker` does the work", file=sys.stderr
        )
    return show(options, document, lambda: print(f"{options.test} is {document['state']}"))


async def start_live(options: argparse.Namespace, api: Connection) -> int:
    """Freeze what it refers to and open its first phase."""
    document = await api.send("POST", f"/tests/{quote(options.test, safe='')}/live", {"why": options.why})
    name = f"tests/{document['slug']}"
    return show(
        options, document, lambda: print(f"{options.test} is live; send it requests as model {name!r}")
    )


async def stop(options: argparse.Namespace, api: Connection) -> int:
    """Assign nobody any more."""
    document = await api.send("POST", f"/tests/{quote(options.test, safe='')}/stop", {"why": options.why})
    return show(
        options,
        document,
        lambda: print(f"{options.test} is {document['state']}; variant {document['outside']!r} answers"),
    )


async def traffic(options: argparse.Namespace, api: Connection) -> int:
    """Change it first when there is something to change."""
    path = f"/tests/{quote(options.test, safe='')}"
    change: dict[str, Any] = {}
    if options.share is not None:
        change["share"] = options.share
    if options.weight is not None:
        change["weights"] = _weights(options.weight)
    if not change and options.why is not None:
        raise InvalidInput("--why goes with a change: give --share or --weight too")
    if change:
        document = await api.send("PUT", f"{path}/traffic", {**change, "why": options.why})
    else:
        document = await api.get(f"{path}/live")
    return show(options, document, lambda: _print_phases(document))


def _weights(given: list[str]) -> dict[str, float]:
    weights: dict[str, float] = {}
    for one in given:
        variant, _, weight = one.partition("=")
        if variant in weights:
            raise InvalidInput(f"--weight is given twice for {variant!r}; give it once for every variant")
        try:
            weights[variant] = float(weight)
        except ValueError as exc:
            raise InvalidInput(
                f"--weight {one!r} is not VARIANT=WEIGHT with a number, like --weight small=25"
            ) from exc
    return weights


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
    print_fields([(name, document[name]) for name in names] + _live_fields(document["live"]))
    print_fields(
        (name, definition[name]) for name in ("hypothesis", "dataset", "decision", "seed", "repeats")
    )
    print()
    print_table([key("key", "variant"), key("model"), key("prompt")], definition["variants"], empty="")
    print()
    metrics = [key("name", "metric"), key("role"), key("direction"), key("margin"), key("threshold")]
    print_table(metrics, definition["metrics"], empty="")


def _live_fields(phase: dict[str, Any] | None) -> list[tuple[str, object]]:
    if phase is None:
        return []
    return [
        ("phase", f"{phase['number']} ({phase['kind']})"),
        ("share", phase["share"]),
        ("holdout", phase["holdout"]),
        ("weights", _shown_weights(phase)),
    ]


def _shown_weights(phase: Mapping[str, Any]) -> list[str]:
    return [f"{variant}={weight:g}" for variant, weight in phase["weights"].items()]


def _print_phases(document: dict[str, Any]) -> None:
    print_fields((name, document[name]) for name in ("slug", "state", "outside", "variables"))
    print()
    columns = [
        key("number", "phase", right=True),
        key("kind"),
        key("share", right=True),
        key("holdout", right=True),
        Column("weights", _shown_weights),
        key("started_at"),
        key("who"),
        key("why"),
    ]
    print_table(columns, document["phases"], empty="")
