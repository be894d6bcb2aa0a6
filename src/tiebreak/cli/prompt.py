"""`tiebreak prompt`: versioned prompts."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.files import text_of
from tiebreak.cli.output import key, print_fields, print_table, printable, show
from tiebreak.errors import NotFound


def configure(parser: argparse.ArgumentParser) -> None:
    """`list`, `push`, `show`, `remove`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every prompt in its latest version")
    push = actions.add_parser("push", help="store a prompt, or a new version of it, from a file")
    push.add_argument("name")
    push.add_argument("file", type=Path, help="the template, text with {{ variables }}")
    push.add_argument("--system", type=Path, metavar="FILE", help="the system message")
    shown = actions.add_parser("show", help="one prompt; `name` or `name@version`")
    shown.add_argument("name")
    remove = actions.add_parser("remove", help="a prompt with all its versions")
    remove.add_argument("name")
    for action in (listing, push, shown, remove):
        add_global(action)


def run(options: argparse.Namespace) -> int:
    """Do one of them."""
    action = {"list": list_prompts, "push": push, "show": show_prompt, "remove": remove}[options.action]
    return converse(options, lambda api: action(options, api))


async def list_prompts(options: argparse.Namespace, api: Connection) -> int:
    """A row for each."""
    rows = [row async for row in api.pages("/prompts")]
    columns = [key("name"), key("version", right=True), key("variables"), key("created_at")]
    return show(
        options, rows, lambda: print_table(columns, rows, empty="no prompts; `tiebreak prompt push` adds one")
    )


async def push(options: argparse.Namespace, api: Connection) -> int:
    """Create the prompt, or add a version to it."""
    content = {
        "template": text_of(options.file),
        "system": text_of(options.system) if options.system else None,
    }
    try:
        document = await api.send("POST", f"/prompts/{quote(options.name, safe='')}/versions", content)
    except NotFound:
        document = await api.send("POST", "/prompts", {"name": options.name, **content})
    return show(options, document, lambda: print(f"{document['name']}@{document['version']}"))


async def show_prompt(options: argparse.Namespace, api: Connection) -> int:
    """One version, the texts last."""
    name, _, version = options.name.partition("@")
    suffix = f"/versions/{quote(version, safe='')}" if version else ""
    document = await api.get(f"/prompts/{quote(name, safe='')}{suffix}")
    return show(options, document, lambda: _print_prompt(document))


async def remove(options: argparse.Namespace, api: Connection) -> int:
    """Every version of it."""
    await api.send("DELETE", f"/prompts/{quote(options.name, safe='')}")
    return show(options, {"removed": options.name}, lambda: print(f"{options.name} is removed"))


def _print_prompt(document: dict[str, Any]) -> None:
    names = ("name", "version", "variables", "created_at")
    print_fields((name, document[name]) for name in names)
    for name in ("system", "template"):
        if document[name] is not None:
            print(f"\n{name}:\n{printable(document[name])}")
