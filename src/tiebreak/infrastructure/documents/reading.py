"""A YAML or JSON file as a model, every error with its line and column. Pure.

JSON is read as the YAML it nearly is, so that both have the same errors, places and limits.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge
from tiebreak.infrastructure.documents import yaml_nodes
from tiebreak.infrastructure.documents.explanations import explain

MAX_FILE = 1_000_000  # bytes

Model = TypeVar("Model", bound=BaseModel)

# What YAML does not allow in a file, and U+0085, which it takes for a line end where no editor shows one.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", re.IGNORECASE)


class Source:
    """A file that was read: its value, and where everything in it stands. `name` is the file's, for messages."""

    def __init__(self, text: str | bytes, *, name: str) -> None:
        """Read it; a name that ends in `.json` is JSON.

        Raises:
            PayloadTooLarge: over 1 MB.
            InvalidInput: not UTF-8, not YAML, or over the limits of `yaml_nodes`.
        """
        self.name = name
        source = _decoded(text, name)
        if name.endswith(".json"):
            source = _ESCAPE.sub(_whole_character, source)
        try:
            self._document = yaml_nodes.compose(source)
        except yaml_nodes.Unreadable as exc:
            raise _invalid(name, exc.faults) from exc

    def validated(self, model: type[Model], schema: Mapping[str, Any]) -> Model:
        """The value as a model; `schema` is the model's JSON Schema.

        Raises:
            InvalidInput: it is none.
        """
        try:
            return model.model_validate(self._document.value)
        except ValidationError as exc:
            raise _invalid(
                self.name,
                [
                    self._placed(found.pointer, found.message, key=found.at_key)
                    for found in explain(exc.errors(), schema)
                ],
            ) from exc

    def invalid(self, faults: Iterable[Fault]) -> InvalidInput:
        """The error that tells of these faults, each at its place in the file."""
        return _invalid(self.name, [self._placed(fault.pointer, fault.message) for fault in faults])

    def _placed(self, pointer: str, message: str, *, key: bool = False) -> Fault:
        place = self._document.place(pointer, key=key)
        return Fault(pointer, message, line=place.line, column=place.column)


def _decoded(text: str | bytes, name: str) -> str:
    if len(text) > MAX_FILE:
        raise PayloadTooLarge(f"{name}: {len(text)} bytes; such a file has at most {MAX_FILE}")
    source = text if isinstance(text, str) else _from_utf8(text, name)
    found = _CONTROL.search(source)
    if found is not None:
        message = f"the character U+{ord(found.group()):04X} does not belong in a text file; remove it"
        raise _invalid(name, [_at(source[: found.start()], message)])
    return source


def _from_utf8(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        message = f"the byte 0x{data[exc.start]:02x} is not UTF-8; save the file as UTF-8"
        raise _invalid(name, [_at(data[: exc.start].decode(), message)]) from exc


def _at(before: str, message: str) -> Fault:
    last_line = before.rpartition("\n")[2]
    return Fault("", message, line=before.count("\n") + 1, column=len(last_line) + 1)


def _whole_character(escape: re.Match[str]) -> str:
    """JSON writes characters beyond U+FFFF as two escapes, which YAML does not know."""
    if escape[1] is None:
        return escape[0]
    return (bytes.fromhex(escape[1]) + bytes.fromhex(escape[2])).decode("utf-16-be")


def _invalid(name: str, faults: Sequence[Fault]) -> InvalidInput:
    ordered = sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0))
    shown = "; ".join(str(fault) for fault in ordered[:5])
    more = f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return InvalidInput(f"{name}: {shown}{more}", faults=ordered)
