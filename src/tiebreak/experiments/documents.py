"""A definition from a YAML or JSON file, every error with its line and column. Pure.

JSON is read as the YAML it nearly is, so that both have the same errors, places and limits.
"""

import re
from collections.abc import Sequence

from pydantic import ValidationError

from tiebreak.errors import Fault, InvalidInput, PayloadTooLarge
from tiebreak.experiments import parts, yaml_nodes
from tiebreak.experiments.definition import Definition
from tiebreak.experiments.explanations import explain

MAX_FILE = 1_000_000  # bytes

# What YAML does not allow in a file, and U+0085, which it takes for a line end where no editor shows one.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_ESCAPE = re.compile(r"\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)", re.IGNORECASE)


def parse(text: str | bytes, *, name: str) -> Definition:
    """The definition in a file; `name` is the file's, for messages and for its ending (`.json` is JSON).

    Raises:
        PayloadTooLarge: over 1 MB.
        InvalidInput: not UTF-8, not YAML, over the limits of `yaml_nodes`, or not a definition that can work.
    """
    source = _decoded(text, name)
    if name.endswith(".json"):
        source = _ESCAPE.sub(_whole_character, source)
    try:
        document = yaml_nodes.compose(source)
    except yaml_nodes.Unreadable as exc:
        raise _invalid(name, exc.faults) from exc
    try:
        definition = Definition.model_validate(document.value)
    except ValidationError as exc:
        wrong = [
            _placed(document, found.pointer, found.message, key=found.at_key)
            for found in explain(exc.errors())
        ]
        raise _invalid(name, wrong) from exc
    if broken := parts.faults(definition):
        raise _invalid(name, [_placed(document, fault.pointer, fault.message) for fault in broken])
    return definition


def _decoded(text: str | bytes, name: str) -> str:
    if len(text) > MAX_FILE:
        raise PayloadTooLarge(f"{name}: {len(text)} bytes; a definition has at most {MAX_FILE}")
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


def _placed(document: yaml_nodes.Document, pointer: str, message: str, *, key: bool = False) -> Fault:
    place = document.place(pointer, key=key)
    return Fault(pointer, message, line=place.line, column=place.column)


def _invalid(name: str, faults: Sequence[Fault]) -> InvalidInput:
    ordered = sorted(faults, key=lambda fault: (fault.line or 0, fault.column or 0))
    shown = "; ".join(str(fault) for fault in ordered[:5])
    more = f"; and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return InvalidInput(f"{name}: {shown}{more}", faults=ordered)
