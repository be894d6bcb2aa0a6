"""`tiebreak dataset`: versioned inputs with expected answers."""

import argparse
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.entry import add_global
from tiebreak.cli.files import dataset_type
from tiebreak.cli.output import key, print_fields, print_table, show

COLUMNS = ("id", "expected", "category", "difficulty")


def configure(parser: argparse.ArgumentParser) -> None:
    """`list`, `import`, `show`, `remove`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_global(actions.add_parser("list", help="every dataset in its latest version"))
    upload = actions.add_parser("import", help="store a CSV, JSONL or Parquet file")
    upload.add_argument("file", type=Path)
    upload.add_argument("--name", help="else the file's own")
    for column in COLUMNS:
        upload.add_argument(f"--{column}", metavar="COLUMN", help=f"the column that holds the {column}")
    add_global(upload)
    for name, summary in (("show", "one dataset"), ("remove", "a dataset with all its versions")):
        action = actions.add_parser(name, help=summary)
        action.add_argument("name")
        add_global(action)


def run(options: argparse.Namespace) -> int:
    """Do one of them."""
    actions = {"list": list_datasets, "import": import_file, "show": show_dataset, "remove": remove}
    return converse(options, lambda api: actions[options.action](options, api))


async def list_datasets(options: argparse.Namespace, api: Connection) -> int:
    """A row for each."""
    rows = [row async for row in api.pages("/datasets")]
    columns = [
        key("name"),
        key("version", right=True),
        key("item_count", "items", right=True),
        key("columns"),
    ]
    return show(
        options,
        rows,
        lambda: print_table(columns, rows, empty="no datasets; `tiebreak dataset import` adds one"),
    )


async def import_file(options: argparse.Namespace, api: Connection) -> int:
    """Upload, and say which version it became."""
    columns = {column: getattr(options, column) for column in COLUMNS}
    document = await upload(api, options.file, options.name or name_of(options.file), columns)
    line = f"{document['name']}@{document['version']}: {document['item_count']:,} items"
    return show(options, document, lambda: print(line))


async def show_dataset(options: argparse.Namespace, api: Connection) -> int:
    """Its latest version."""
    document = await api.get(f"/datasets/{quote(options.name, safe='')}")
    return show(options, document, lambda: print_fields(document.items()))


async def remove(options: argparse.Namespace, api: Connection) -> int:
    """For good."""
    await api.send("DELETE", f"/datasets/{quote(options.name, safe='')}")
    return show(options, {"removed": options.name}, lambda: print(f"{options.name} is removed"))


async def upload(
    api: Connection, file: Path, name: str, columns: dict[str, str | None] | None = None
) -> dict[str, Any]:
    """Store a file as a version of the dataset `name`; the same content gives the version that is there."""
    kind = dataset_type(file)
    document: dict[str, Any] = await api.upload("/datasets", file, kind, name=name, **(columns or {}))
    return document


def name_of(file: Path) -> str:
    """A dataset's name made of the file's."""
    words = re.sub(r"[^a-z0-9_.-]+", "-", file.stem.lower()).strip("-_.")
    return words[:64].rstrip("-_.") or "dataset"
