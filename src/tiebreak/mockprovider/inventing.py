"""JSON where JSON is asked for: an instance of a simple schema that carries the answer. Pure."""

import math
import re
from typing import Any

import msgspec

from tiebreak.mockprovider.conversation import Refusal, Tool, ToolCall

_DEEPEST = 32
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,10})?")


def structured(text: str, schema: Any) -> str:
    """The answer as JSON of this schema; what is JSON already (as a recorded answer may be) stays as it is."""
    try:
        if isinstance(msgspec.json.decode(text), dict):
            return text
    except msgspec.DecodeError:
        pass
    answer = text.rpartition("A: ")[2].strip()
    return msgspec.json.encode(instance(schema, answer) if schema else {"answer": answer}).decode()


def call(tool: Tool, answer: str) -> ToolCall:
    """A call of the tool with arguments that fit its schema."""
    arguments = instance(tool.parameters or {"type": "object"}, answer)
    return ToolCall(tool.name, msgspec.json.encode(arguments if isinstance(arguments, dict) else {}).decode())


def instance(schema: Any, answer: str) -> Any:
    """A value of this schema: every property is there, and texts and numbers are the answer where they may be.

    Heeds type, properties, items and their least number, enum, const, default, anyOf, oneOf, allOf, local references,
    bounds and lengths; Refusal for what is nested deeper than 32, which a schema that contains itself is.
    """
    try:
        return _value(schema, schema, answer, _DEEPEST)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise Refusal(400, f"this is not a JSON schema that the mock provider can fill: {error}") from error


def _value(schema: Any, root: Any, answer: str, depth: int) -> Any:
    if depth == 0:
        raise Refusal(
            400, f"the schema is nested deeper than {_DEEPEST}; the mock provider fills simple ones"
        )
    if not isinstance(schema, dict):
        return answer
    if reference := schema.get("$ref"):
        return _value(_resolve(root, reference), root, answer, depth - 1)
    if "const" in schema:
        return schema["const"]
    if options := schema.get("enum"):
        return answer if answer in options else options[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if choices := schema.get(key):
            rest = {name: value for name, value in schema.items() if name != key}
            merged = _merge(choices) if key == "allOf" else choices[0]
            return _value({**rest, **merged} if isinstance(merged, dict) else merged, root, answer, depth - 1)
    return _typed(schema, root, answer, depth)


def _merge(schemas: list[Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        merged |= schema | ({"properties": properties} if properties else {})
    return merged


def _typed(schema: dict[str, Any], root: Any, answer: str, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    match str(kind).lower():  # Google writes them in capitals
        case "object":
            properties = schema.get("properties") or {}
            return {name: _value(each, root, answer, depth - 1) for name, each in properties.items()}
        case "array":
            wanted = min(1000, max(1, int(schema.get("minItems", 1))))
            return [_value(schema.get("items", {}), root, answer, depth - 1)] * wanted
        case "integer":
            return round(_number(schema, answer))
        case "number":
            return _number(schema, answer)
        case "boolean":
            return answer.lower() not in {"no", "false"}
        case "null":
            return None
        case _:
            return _text(schema, answer)


def _number(schema: dict[str, float], answer: str) -> float:
    given = float(answer) if _NUMBER.fullmatch(answer) else 1.0
    value: float = int(given) if given.is_integer() else given
    least = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + 1)
    most = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - 1)
    return min(max(value, least), most)


def _text(schema: dict[str, Any], answer: str) -> str:
    longest = schema.get("maxLength")
    return answer.ljust(min(10_000, schema.get("minLength", 0)), ".")[:longest]


def _resolve(root: Any, reference: str) -> Any:
    found = root
    for step in str(reference).removeprefix("#").strip("/").split("/") if reference != "#" else []:
        key = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, dict) or key not in found:
            raise Refusal(
                400, f"the schema has no {reference!r}; the mock provider follows references within it"
            )
        found = found[key]
    return found
