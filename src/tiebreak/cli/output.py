"""What commands print: the API's document with `--json`, else a table or a few lines."""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

NONE = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading and the cell of a row."""

    heading: str
    cell: Callable[[Mapping[str, Any]], object]
    right: bool = False


def key(name: str, heading: str | None = None, *, right: bool = False) -> Column:
    """A column that shows one key of the document."""
    return Column(heading or name.replace("_", " "), lambda row: row.get(name), right)


def show(options: argparse.Namespace, document: Any, text: Callable[[], None]) -> int:
    """Print the document or its text; gives exit code 0."""
    if options.json:
        print_json(document)
    else:
        text()
    return 0


def print_json(document: Any) -> None:
    """The document as the API gave it, indented."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def print_table(columns: Iterable[Column], rows: Iterable[Mapping[str, Any]], *, empty: str) -> None:
    """Rows under headings, or `empty` when there are none."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    columns = list(columns)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a name may hold brackets.
        table.add_row(*(Text(cell(column.cell(row))) for column in columns))
    if table.row_count == 0:
        print(empty)
    else:
        console().print(table)


def print_fields(pairs: Iterable[tuple[str, object]]) -> None:
    """One line each, names aligned."""
    lines = [(name, cell(value)) for name, value in pairs]
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        print(f"{name:<{width}}  {value}")


def cell(value: object) -> str:
    """A value for a person: a dash for nothing, money and counts without float noise, times to the second."""
    if value is None or value == "":
        return NONE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(cell(part) for part in value) or NONE
    return printable(str(value))


def printable(text: str) -> str:
    """The text without characters that steer a terminal; what a model or an upstream said is not trusted."""
    return "".join(char if char.isprintable() or char in "\n\t" else f"\\x{ord(char):02x}" for char in text)


def console(*, stderr: bool = False) -> Any:
    """A rich console that leaves texts alone: no markup, no emoji, no highlighting; NO_COLOR is respected."""
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=False)
