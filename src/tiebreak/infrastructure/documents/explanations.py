"""What pydantic says of a document, in the words of who wrote it. Pure.

Places are walked along the document's JSON Schema: it knows which keys a place has, and which parts of a location are
names of alternatives rather than keys.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from tiebreak.infrastructure.rest.text import pointer

_KINDS = {bool: "a boolean", int: "a number", float: "a number", type(None): "nothing", str: "text"}
_KINDS |= {list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One fault of a document; `at_key` when the key itself is wrong and not its value."""

    pointer: str
    message: str
    at_key: bool = False


def explain(errors: Sequence[ErrorDetails], schema: Mapping[str, Any], *, root: int = 0) -> list[Explanation]:
    """Pydantic's errors about a document of this JSON Schema; `root` parts of each location lead to it."""
    return [_explain(error, error["loc"][root:], schema) for error in errors]


def _explain(error: ErrorDetails, location: tuple[str | int, ...], schema: Mapping[str, Any]) -> Explanation:
    path, part = _walk(location, schema)
    at = pointer(*path)
    given = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return Explanation(at, _unknown(str(path[-1]), _walk(location[:-1], schema)[1]), at_key=True)
        case "missing":
            return Explanation(at, f"the key {path[-1]!r} is missing")
        case "union_tag_not_found":
            return Explanation(
                at, f"the key 'kind' is missing; it is one of: {', '.join(_alternatives(part))}"
            )
        case "union_tag_invalid":
            known = ", ".join(_alternatives(part))
            return Explanation(f"{at}/kind", f"{given['kind']!r} is none of: {known}")
        case "model_type" | "model_attributes_type":
            return Explanation(
                at, f"has to be an object with keys ({', '.join(_keys(part))}), not {_kind(given)}"
            )
        case "string_type" if isinstance(given, bool | int | float):
            quotes = "put it in quotes to make it text"
            return Explanation(at, f"has to be text, and {_shown(given)} is {_kind(given)}; {quotes}")
        case "string_type":
            return Explanation(at, f"has to be text, not {_kind(given)}")
        case "value_error":
            return Explanation(at, str(error["ctx"]["error"]))
        case "string_pattern_mismatch":
            return Explanation(at, f"{_shown(given)} does not have the form {error['ctx']['pattern']}")
    message = error["msg"].replace("Input should be", "has to be").replace("List should have", "has to have")
    return Explanation(at, f"{message}; it is {_shown(given)}" if _is_scalar(given) else message)


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)


def _shown(value: object) -> str:
    text = repr(value) if _is_scalar(value) else _kind(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _kind(value: object) -> str:
    return _KINDS.get(type(value), type(value).__name__)


def _unknown(key: str, parent: Mapping[str, Any]) -> str:
    known = _keys(parent)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key {key!r}; did you mean {near[0]!r}?"
    return f"unknown key {key!r}; known here: {', '.join(known)}"


def _keys(part: Mapping[str, Any]) -> list[str]:
    return list(part.get("properties", {}))


def _alternatives(part: Mapping[str, Any]) -> list[str]:
    return list(part.get("discriminator", {}).get("mapping", {}))


def _resolved(part: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the alternative that is not null."""
    if "$ref" in part:
        return _resolved(schema["$defs"][part["$ref"].rpartition("/")[2]], schema)
    alternatives = [choice for choice in part.get("anyOf", ()) if choice.get("type") != "null"]
    # The root of a model that may be written in several ways has keys of its own beside them.
    return _resolved(alternatives[0], schema) if alternatives and "properties" not in part else part


def _walk(
    location: Sequence[str | int], schema: Mapping[str, Any]
) -> tuple[list[str | int], Mapping[str, Any]]:
    """The keys of a location without the names of alternatives, and the schema there ({} where there is none)."""
    path: list[str | int] = []
    part = _resolved(schema, schema)
    for step in location:
        mapping = part.get("discriminator", {}).get("mapping", {})
        if step in mapping:
            part = _resolved({"$ref": mapping[step]}, schema)
            continue
        path.append(step)
        part = _resolved(_inner(part, step), schema)
    return path, part


def _inner(part: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    """The schema one step further in."""
    if isinstance(step, int):
        return dict(part.get("items", {}))
    others = part.get("additionalProperties")
    return dict(part.get("properties", {}).get(step, others if isinstance(others, dict) else {}))
