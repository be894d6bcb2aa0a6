"""JSON Schema without a network and with patterns that end.

References stay inside the schema: the registry holds this one document and retrieves nothing. The keywords that match
patterns are replaced, because the library's own have no time limit.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import regex
from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    FormatChecker,
    SchemaError,
    validators,
)
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from pydantic import JsonValue
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import Schema, SchemaRegistry, specification_with

from tiebreak.errors import Fault, InvalidInput
from tiebreak.evaluation import json_text
from tiebreak.evaluation.patterns import compile_pattern, found

if TYPE_CHECKING:
    from referencing import Specification
    from referencing._core import Resolved, Resolver

PATTERN_SECONDS = 0.1

# The library's stubs do not know all of these calls.
_extend: Any = validators.extend
_DRAFTS: Mapping[str, Any] = {
    "http://json-schema.org/draft-04/schema": Draft4Validator,
    "http://json-schema.org/draft-06/schema": Draft6Validator,
    "http://json-schema.org/draft-07/schema": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
_LATEST = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def compile_schema(document: Mapping[str, Any], *, pointer: str) -> Callable[[JsonValue], bool]:
    """A function that says whether a value satisfies the schema; `format` is not asserted.

    The dialect is 2020-12, or the draft from 4 on that `$schema` names. InvalidInput, at `pointer`, when the
    document is not a schema or refers outside itself. The function raises TimeoutError when one pattern takes over
    `PATTERN_SECONDS`, and RecursionError when the schema refers to itself without end.
    """
    try:
        # Through JSON and back: what YAML knows and JSON does not (a date, a number as a key) shows here.
        schema: Any = json_text.parse(json.dumps(document, allow_nan=False))
        validator = _validator(schema, pointer)
    except SchemaError as error:
        place = "".join(f"/{_escaped(str(step))}" for step in error.absolute_path)
        raise _invalid(pointer + place, error.message) from error
    except (TypeError, ValueError) as error:
        raise _invalid(pointer, str(error)) from error
    except RecursionError as error:
        raise _invalid(pointer, "it is nested too deeply") from error
    return validator.is_valid


def _invalid(pointer: str, reason: str) -> InvalidInput:
    message = f"the JSON Schema cannot be used: {reason}; correct the schema"
    return InvalidInput(message, faults=[Fault(pointer, message)])


def _escaped(step: str) -> str:
    """A step of a JSON pointer (RFC 6901)."""
    return step.replace("~", "~0").replace("/", "~1")


@dataclass(frozen=True, slots=True)
class _Draft:
    """One dialect: the library's validator class, and how its schemas nest."""

    stock: Any
    specification: "Specification[Schema]"

    def check(self, schema: Schema) -> None:
        """SchemaError unless it is a schema; its patterns are left to `_check`."""
        self.stock.check_schema(schema, format_checker=FormatChecker(formats=()))


def _validator(schema: dict[str, Any], pointer: str) -> Validator:
    # Taken out, because a reference to the root would otherwise switch back to the library's own keywords.
    dialect = schema.pop("$schema", _LATEST)
    stock = _DRAFTS.get(dialect.removesuffix("#")) if isinstance(dialect, str) else None
    if stock is None:
        raise ValueError(f"`$schema` is {dialect!r}, not one of {', '.join(_DRAFTS)}")
    draft = _Draft(stock, specification_with(dialect))
    draft.check(schema)
    registry: SchemaRegistry = Registry()
    resolver = registry.resolver_with_root(draft.specification.create_resource(schema))
    _check([part.schema for part in _parts(schema, resolver, draft)], pointer)
    extended: Validator = _extend(stock, _KEYWORDS)(schema, registry=registry)
    return extended


@dataclass(frozen=True, slots=True)
class _Part:
    """A schema inside the schema, and what resolves its references."""

    schema: Mapping[str, Any]
    resolver: "Resolver[Schema]"


def _parts(root: Schema, resolver: "Resolver[Schema]", draft: _Draft) -> list[_Part]:
    """Every schema inside, also those that only a reference reaches (`#/components/x`)."""
    parts = _nested(root, resolver, draft)
    seen = {id(part.schema) for part in parts}
    for part in parts:  # which grows meanwhile
        for reference in (part.schema[keyword] for keyword in _REFERENCES if keyword in part.schema):
            target = _resolve(part.resolver, reference)
            draft.check(target.contents)
            if id(target.contents) not in seen:
                found_here = _nested(target.contents, target.resolver, draft)
                seen.update(id(part.schema) for part in found_here)
                parts += found_here
    return parts


def _nested(schema: Schema, resolver: "Resolver[Schema]", draft: _Draft) -> list[_Part]:
    if not isinstance(schema, Mapping):
        return []
    _check_dependencies(schema.get("dependencies"))
    parts = [_Part(schema, resolver)]
    for inside in draft.specification.create_resource(schema).subresources():
        parts += _nested(inside.contents, resolver.in_subresource(inside), draft)
    return parts


def _check_dependencies(dependencies: JsonValue) -> None:
    """The library that resolves references takes one kind of dependency per keyword."""
    if (
        isinstance(dependencies, dict)
        and len({isinstance(value, list) for value in dependencies.values()}) > 1
    ):
        raise ValueError(
            "`dependencies` mixes lists and schemas; put the schemas into `allOf` with `dependencies`"
        )


def _resolve(resolver: "Resolver[Schema]", reference: JsonValue) -> "Resolved[Schema]":
    if not isinstance(reference, str):  # the oldest meta-schemas leave this open
        raise TypeError(f"it refers to {reference!r}, and a reference is a string")
    try:
        return resolver.lookup(reference)
    except Unresolvable as error:
        raise ValueError(
            f"it refers to {reference!r}, which is not inside the schema; nothing is fetched, so put it under `$defs`"
        ) from error


def _check(parts: list[Mapping[str, Any]], pointer: str) -> None:
    """What the meta-schema leaves open and we cannot judge: inner dialects, patterns, one combination of keywords."""
    if any("$schema" in part for part in parts):
        raise ValueError("`$schema` stands inside it; one schema has one dialect, named at its top")
    for part in parts:
        for pattern in (
            *part.get("patternProperties", ()),
            *([part["pattern"]] if "pattern" in part else ()),
        ):
            compile_pattern(pattern, pointer=pointer)
    if any("patternProperties" in part for part in parts) and any(
        "unevaluatedProperties" in part for part in parts
    ):
        raise ValueError(
            "`unevaluatedProperties` beside `patternProperties` would match patterns without a time limit; "
            "use `additionalProperties`"
        )


def _matches(pattern: str, text: str) -> bool:
    return found(regex.compile(pattern), text, seconds=PATTERN_SECONDS)  # the module keeps compiled patterns


def _pattern(_: Validator, pattern: str, instance: JsonValue, __: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _matches(pattern, instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Schema], instance: JsonValue, _: Schema
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, schema in patterns.items():
            for key, value in instance.items():
                if _matches(pattern, key):
                    yield from validator.descend(value, schema, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, rest: Schema, instance: JsonValue, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
        for key, value in instance.items():
            if key not in named and not any(_matches(pattern, key) for pattern in patterns):
                yield from validator.descend(value, rest, path=key)


_KEYWORDS: Mapping[str, Any] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
}
