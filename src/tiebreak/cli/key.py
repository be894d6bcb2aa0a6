"""`tiebreak key`: API keys. A key is printed once, alone on standard output, so that a script can take it."""

import argparse
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tiebreak.auth.keys import parse
from tiebreak.auth.model import SCOPES
from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.output import Column, key, print_fields, print_table, printable, show
from tiebreak.clock import SystemClock
from tiebreak.errors import InvalidInput

UNITS = {"h": "hours", "d": "days", "w": "weeks"}


def configure(parser: argparse.ArgumentParser) -> None:
    """`create`, `list`, `set`, `revoke`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="a new key, printed this once")
    create.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=SCOPES,
        help="what it may do; again for several. gateway: live traffic; feedback: what users said of it; "
        "manage: everything but keys; admin: everything",
    )
    create.add_argument("--name", help="whose it is; else its scopes")
    add_global(create)
    add_global(actions.add_parser("list", help="every key, without its secret"))
    change = actions.add_parser("set", help="another name or end; what is not named stays")
    change.add_argument("--name", help="whose it is")
    for action in (create, change):
        action.add_argument(
            "--expires", metavar="WHEN", help="12h, 90d, 8w, a date or a time (2027-01-31), or never"
        )
    revoke = actions.add_parser("revoke", help="end a key for good, within a second")
    for action in (change, revoke):
        action.add_argument("key", help="the eight characters after tb_, as the list shows them")
        add_global(action)


def run(options: argparse.Namespace) -> int:
    """Do one of them."""
    actions = {"create": create, "list": list_keys, "set": change, "revoke": revoke}
    return converse(options, lambda api: actions[options.action](options, api))


async def create(options: argparse.Namespace, api: Connection) -> int:
    """Make a key; it goes to standard output, and what to know of it to standard error."""
    document = await api.send(
        "POST",
        "/keys",
        {
            "name": options.name or ", ".join(dict.fromkeys(options.scope)),
            "scopes": options.scope,
            "expires_at": None if options.expires is None else expiry(options.expires, SystemClock().now()),
        },
    )

    def text() -> None:
        print(document["key"])
        sys.stdout.flush()
        print(
            "Keep it: it is shown this once. Clients send it as `Authorization: Bearer …`, commands take it from "
            "TIEBREAK_API_KEY.",
            file=sys.stderr,
        )

    return show(options, document, text)


async def list_keys(options: argparse.Namespace, api: Connection) -> int:
    """A row for each."""
    rows = [row async for row in api.pages("/keys")]
    columns = [
        key("prefix", "key"),
        key("name"),
        key("scopes"),
        Column("state", _state),
        Column("last used", lambda row: _day(row["last_used_at"])),
    ]
    return show(
        options,
        rows,
        lambda: print_table(columns, rows, empty="no keys; `tiebreak key create --scope admin` makes one"),
    )


async def change(options: argparse.Namespace, api: Connection) -> int:
    """What was named."""
    changes = {} if options.name is None else {"name": options.name}
    if options.expires is not None:
        changes["expires_at"] = expiry(options.expires, SystemClock().now())
    if not changes:
        raise InvalidInput("nothing to change; name --name or --expires")
    document = await api.send("PATCH", _path(options.key), changes)
    return show(options, document, lambda: print_fields(document.items()))


async def revoke(options: argparse.Namespace, api: Connection) -> int:
    """For good."""
    path = _path(options.key)
    document = await api.get(path)
    await api.send("DELETE", path)
    prefix = document["prefix"]
    return show(
        options,
        {"revoked": prefix},
        lambda: print(f"{prefix} ({printable(document['name'])}) is revoked"),
    )


def expiry(text: str, now: datetime) -> str | None:
    """What `--expires` means as the API takes it; None is never.

    Raises:
        InvalidInput: it is neither a span nor a time.
    """
    if text == "never":
        return None
    try:
        if span := re.fullmatch(r"([0-9]{1,5})([hdw])", text):
            return (now + timedelta(**{UNITS[span[2]]: int(span[1])})).isoformat()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()
    except (ValueError, OverflowError) as exc:
        raise InvalidInput(
            f"--expires {text!r} is no time; write 12h, 90d, 8w, 2027-01-31 (UTC), or never"
        ) from exc


def _path(text: str) -> str:
    # Whoever pastes the whole key means its prefix; the secret goes nowhere.
    whole = parse(text)
    prefix = text if whole is None else whole.prefix
    if not re.fullmatch(r"[a-z2-7]{8}", prefix):
        raise InvalidInput("a key is named by the eight characters after tb_; `tiebreak key list` shows them")
    return f"/keys/{prefix}"


def _state(row: Mapping[str, Any]) -> str:
    if row["revoked_at"] is not None:
        return f"revoked {_day(row['revoked_at'])}"
    return "valid" if row["expires_at"] is None else f"until {_day(row['expires_at'])}"


def _day(moment: str | None) -> str | None:
    return None if moment is None else moment[:16].replace("T", " ")
