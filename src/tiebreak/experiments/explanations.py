"""What pydantic says of a definition, in the words of who wrote it. Pure.

Places are walked along the JSON Schema of a definition: it knows which keys a place has, and which parts of a
location are names of alternatives rather than keys.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic_core import ErrorDetails

from tiebreak.experiments.definition import schema
from tiebreak.infrastructure.rest.text import pointer

_KINDS = {bool: "a boolean", int: "a number", float: "a number", type(None): "nothing", str: "text"}
_KINDS |= {list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One fault of a definition; `at_key` when the key itself is wrong and not its value."""

    pointer: str
    message: str
    at_key: bool = False


def explain(errors: Sequence[ErrorDetails], *, root: int = 0) -> list[Explanation]:
    """Pydantic's errors about a definition; `root` parts of each location lead to it."""
    return [_explain(error, error["loc"][root:]) for error in errors]


def _explain(error: ErrorDetails, location: tuple[str | int, ...]) -> Explanation:
    path, part = _walk(location)
    at = pointer(*path)
    given = error["input"]
    match error["type"]:
        case "extra_forbidden":
            return Explanation(at, _unknown(str(path[-1]), _walk(location[:-1])[1]), at_key=True)
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


@cache
def _root() -> dict[str, Any]:
    return schema()


def _resolved(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference, and take the alternative that is not null."""
    if "$ref" in part:
        return _resolved(_root()["$defs"][part["$ref"].rpartition("/")[2]])
    alternatives = [choice for choice in part.get("anyOf", ()) if choice.get("type") != "null"]
    return _resolved(alternatives[0]) if alternatives else part


def _walk(location: Sequence[str | int]) -> tuple[list[str | int], Mapping[str, Any]]:
    """The keys of a location without the names of alternatives, and the schema there ({} where there is none)."""
    path: list[str | int] = []
    part = _resolved(_root())
    for step in location:
        mapping = part.get("discriminator", {}).get("mapping", {})
        if step in mapping:
            part = _resolved({"$ref": mapping[step]})
            continue
        path.append(step)
        inner = part.get("items", {}) if isinstance(step, int) else part.get("properties", {}).get(step, {})
        part = _resolved(inner)
    return path, part
