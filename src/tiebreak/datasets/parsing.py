"""Items from CSV and JSON Lines, one at a time: a file of any length is read in the memory of its longest line.

A reader yields an item or a fault for every record, so that a caller can collect some faults before it stops; what
makes the rest unreadable is raised. Pure but for the file it is given.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from pydantic import JsonValue

from tiebreak.datasets.columns import ColumnMapping, Roles, roles
from tiebreak.datasets.model import Item
from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge
from tiebreak.infrastructure.rest.text import pointer, storable_json, unstorable

MAX_LINE = 10 * 2**20  # bytes; of CSV also of a record, which can go over many lines
MAX_ID = 200  # characters: an index entry has to hold it

# The csv module has one limit for the whole process, 128 KiB by default: less than a line may have here.
csv.field_size_limit(MAX_LINE)

Record = Mapping[str, JsonValue]


def place(fault: Fault, unit: str = "line") -> str:
    """A fault in one sentence: `line 7, column 'answer': is empty`."""
    column = fault.pointer[1:].replace("~1", "/").replace("~0", "~")
    if fault.pointer:
        return f"{unit} {fault.line}, column {column!r}: {fault.message}"
    where = f", column {fault.column}" if fault.column is not None else ""
    return f"{unit} {fault.line}{where}: {fault.message}" if fault.line is not None else fault.message


def _broken(message: str, line: int, column: int | None = None) -> InvalidInput:
    fault = Fault("", message, line=line, column=column)
    return InvalidInput(place(fault), faults=[fault])


@dataclass
class _Lines(Iterator[str]):
    """The lines of a UTF-8 file, counted and limited."""

    file: BinaryIO
    number: int = 0
    record_bytes: int = field(default=0)  # since the reader of records last set it to zero

    def __next__(self) -> str:
        line = self.file.readline(MAX_LINE + 1)
        if not line:
            raise StopIteration
        self.number += 1
        self.record_bytes += len(line)
        if self.record_bytes > MAX_LINE:
            message = (
                f"longer than {MAX_LINE // 2**20} MB, which is the limit; is a line end or a quote missing?"
            )
            raise PayloadTooLarge(
                f"line {self.number}: {message}", faults=[Fault("", message, line=self.number)]
            )
        return self._text(line)

    def _text(self, line: bytes) -> str:
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as exc:
            column = len(line[: exc.start].decode()) + 1
            message = f"the byte 0x{line[exc.start]:02x} is not UTF-8; save the file as UTF-8"
            raise _broken(message, self.number, column) from exc


def read_csv(file: BinaryIO, mapping: ColumnMapping) -> Iterator[Item | Fault]:
    """Items of a CSV file: commas, a header, double quotes, UTF-8. Every value is text; an empty one of a column
    that is not an input means that the item has none.

    Raises:
        InvalidInput: no usable header, a mapped column that is missing, bytes that are not UTF-8, a stray quote.
        PayloadTooLarge: a line or a record is over 10 MB.
    """
    records = _csv_records(_Lines(file))
    header_line, header = next(records, (1, []))
    names = _header([name.strip() for name in header], header_line)
    read = _Reader(roles(mapping, names), columns=names)
    for line, fields in records:
        if len(fields) != len(names):
            yield Fault("", _width(fields, names), line=line)
        else:
            yield read.item(line, {name: value or None for name, value in zip(names, fields, strict=True)})


def _csv_records(lines: _Lines) -> Iterator[tuple[int, list[str]]]:
    records = csv.reader(lines, strict=True)
    while True:
        line = lines.number + 1
        lines.record_bytes = 0
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as exc:
            raise _broken(f"not CSV ({exc}); is a quote missing, or not doubled?", line) from exc
        if fields:
            yield line, fields


def _header(names: list[str], line: int) -> list[str]:
    if not names:
        raise InvalidInput("the file is empty; its first line has to name the columns")
    for place_, name in enumerate(names):
        if not name:
            raise _broken(f"column {place_ + 1} has no name", line, place_ + 1)
        if reason := unstorable(name):
            raise _broken(f"the name of column {place_ + 1} {reason}", line, place_ + 1)
        if name in names[:place_]:
            raise _broken(f"two columns are called {name!r}", line, place_ + 1)
    if len(names) == 1 and any(separator in names[0] for separator in ";\t"):
        raise _broken(f"one column called {names[0]!r}; separate columns with commas", line)
    return names


def _width(fields: Sequence[str], names: Sequence[str]) -> str:
    if len(fields) < len(names):
        missing = ", ".join(map(repr, names[len(fields) :]))
        return f"{len(fields)} columns where the header has {len(names)}; {missing} missing"
    return f"{len(fields)} columns where the header has {len(names)}; is a text with a comma not in quotes?"


def read_jsonl(file: BinaryIO, mapping: ColumnMapping) -> Iterator[Item | Fault]:
    """Items of a JSON Lines file: one object a line, the inputs of the first in every one.

    Raises:
        InvalidInput: the first line or the mapping cannot be used, bytes that are not UTF-8.
        PayloadTooLarge: a line is over 10 MB.
    """
    lines = _Lines(file)
    read: _Reader | None = None
    for text in lines:
        lines.record_bytes = 0
        if not text.strip():
            continue
        record = _json_record(text, lines.number)
        if isinstance(record, Fault):
            yield record
            continue
        read = read or _Reader(_json_roles(mapping, record), first_line=lines.number)
        yield read.item(lines.number, record)


def _json_roles(mapping: ColumnMapping, first: Record) -> Roles:
    """The first line says what the inputs are; what else an item can have may come on a later one."""
    found = roles(mapping, list(first))

    def later(name: str) -> str | None:
        return None if name in first else name

    return replace(
        found,
        expected=found.expected or later("expected"),
        category=found.category or later("category"),
        difficulty=found.difficulty or later("difficulty"),
    )


def _json_record(text: str, line: int) -> Record | Fault:
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_int=_whole, parse_constant=_no_constant)
    except json.JSONDecodeError as exc:
        return Fault("", f"not JSON: {exc.msg}", line=line, column=exc.colno)
    except RecursionError:
        return Fault("", "nested too deeply", line=line)
    except ValueError as exc:
        return Fault("", str(exc), line=line)
    if not isinstance(value, dict):
        return Fault("", 'not a JSON object, like {"question": "…", "answer": "…"}', line=line, column=1)
    if not value:
        return Fault("", "an object without keys", line=line, column=1)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return record


def _whole(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a whole number beyond 64 bits; write it as text")
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON; leave the value out, or write it as text")


class _Unusable(Exception):
    """A value that cannot be taken, by column."""

    def __init__(self, column: str, message: str) -> None:
        super().__init__(message)
        self.column = column


class _Reader:
    """Turns records into items, by the roles of their columns."""

    def __init__(self, columns_by_role: Roles, *, columns: Sequence[str] = (), first_line: int = 1) -> None:
        self._roles = columns_by_role
        self._columns = columns  # of a CSV file, so that a fault can count them
        self._first_line = first_line
        self._inputs = frozenset(columns_by_role.inputs)
        special = (
            columns_by_role.id,
            columns_by_role.expected,
            columns_by_role.category,
            columns_by_role.difficulty,
        )
        self._special = frozenset(name for name in special if name is not None)
        self._count = 0

    def item(self, line: int, record: Record) -> Item | Fault:
        """The item of a record, or what is wrong with it."""
        self._count += 1
        try:
            self._require_keys(record)
            return Item(
                line=line,
                item_id=self._id(record),
                inputs={name: self._input(name, record[name]) for name in self._roles.inputs},
                expected=self._text(self._roles.expected, record, nested=True),
                category=self._text(self._roles.category, record),
                difficulty=self._text(self._roles.difficulty, record),
            )
        except _Unusable as exc:
            number = self._columns.index(exc.column) + 1 if exc.column in self._columns else None
            return Fault(pointer(exc.column), str(exc), line=line, column=number)

    def _require_keys(self, record: Record) -> None:
        keys = record.keys() - self._special
        first = f"line {self._first_line}"
        if missing := self._inputs - keys:
            raise _Unusable(min(missing), f"missing; {first} has it, and all items need the same inputs")
        if more := keys - self._inputs:
            raise _Unusable(min(more), f"{first} has no such key, and all items need the same inputs")

    def _id(self, record: Record) -> str:
        column = self._roles.id
        if column is None:
            return f"item-{self._count:06}"
        value = record.get(column)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
            raise _Unusable(column, "every item needs an id here: a text or a whole number")
        text = self._input(column, str(value))
        if len(str(text)) > MAX_ID:
            raise _Unusable(column, f"an id has at most {MAX_ID} characters; this one has {len(str(text))}")
        return str(text)

    def _input(self, column: str, value: JsonValue) -> JsonValue:
        if self._columns and value is None:
            return ""  # an empty cell of CSV
        try:
            return storable_json(value)
        except ValueError as exc:
            raise _Unusable(column, str(exc)) from exc

    def _text(self, column: str | None, record: Record, *, nested: bool = False) -> str | None:
        value = None if column is None else record.get(column)
        if column is None or value is None:
            return None
        if isinstance(value, dict | list) and not nested:
            raise _Unusable(column, "a list or an object; it has to be text or a number")
        self._input(column, value)
        return _as_text(value)


def _as_text(value: JsonValue) -> str:
    """A JSON value as text, numbers in one way of writing: 18.0 is 18."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
