"""JSON Schema: references stay inside, patterns end, and what cannot work is said at definition."""

import datetime as dt
import socket

import pytest

from tiebreak.errors import InvalidInput
from tiebreak.evaluation.json_schema import compile_schema

DRAFTS = [
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
]
CATASTROPHIC = "(a|aa)+$"
ENDLESS = "a" * 200 + "!"


def compiled(document):
    return compile_schema(document, pointer="/schema")


def refusal(document):
    with pytest.raises(InvalidInput) as caught:
        compiled(document)
    (fault,) = caught.value.faults
    return fault


@pytest.mark.parametrize(
    ("document", "value", "holds"),
    [
        ({"type": "object", "required": ["a"]}, {"a": 1}, True),
        ({"type": "object", "required": ["a"]}, {}, False),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, 1, True),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}, "1", False),
        ({"$ref": "n", "$defs": {"n": {"$id": "n", "type": "integer"}}}, "1", False),
        ({"$dynamicRef": "#n", "$defs": {"n": {"$dynamicAnchor": "n", "type": "integer"}}}, "1", False),
        ({"pattern": r"^\p{L}+$"}, "Grüße", True),
        ({"pattern": r"^\p{L}+$"}, "5", False),
        ({"pattern": "x"}, 5, True),
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": 1, "m": "x"}, True),
        ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": "1"}, False),
        ({"patternProperties": {"^n": False}}, [1], True),
        ({"properties": {"a": {}}, "patternProperties": {"^n": {}}, "additionalProperties": False}, {"a": 1, "n": 1}, True),
        ({"properties": {"a": {}}, "patternProperties": {"^n": {}}, "additionalProperties": False}, {"b": 1}, False),
        ({"additionalProperties": {"type": "integer"}}, {"b": "1"}, False),
        ({"additionalProperties": {"type": "integer"}}, {"b": 1}, True),
        ({"additionalProperties": False}, [1], True),
        ({"unevaluatedProperties": False, "properties": {"a": {}}}, {"b": 1}, False),
        ({"const": {"$ref": "http://example.org/not-a-reference"}}, 1, False),
        ({"properties": {"$ref": {"type": "string"}}}, {"$ref": "x"}, True),
        ({"items": {"items": {"type": "integer"}}}, [[1], ["1"]], False),
        ({"properties": {"a": False}}, {"a": 1}, False),
        ({"$schema": DRAFTS[2], "dependencies": {"a": {"required": ["b"]}}}, {"a": 1}, False),
        ({"$schema": DRAFTS[2], "dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, True),
    ],
)  # fmt: skip
def test_a_value_satisfies_the_schema_or_not(document, value, holds):
    assert compiled(document)(value) is holds


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_draft_from_4_on_matches_patterns_under_the_time_limit_also_behind_a_reference(draft):
    document = {"$schema": draft, "properties": {"text": {"pattern": CATASTROPHIC}, "next": {"$ref": "#"}}}
    assert compiled(document)({"next": {"text": "aa"}})
    with pytest.raises(TimeoutError):
        compiled(document)({"next": {"next": {"text": ENDLESS}}})


@pytest.mark.parametrize(
    "document",
    [
        {"patternProperties": {CATASTROPHIC: {}}},
        {"patternProperties": {CATASTROPHIC: {}}, "additionalProperties": False},
        {"additionalProperties": False, "patternProperties": {"b": {}, CATASTROPHIC: {}}},
        {"propertyNames": {"pattern": CATASTROPHIC}},
    ],
)
def test_every_keyword_with_patterns_ends(document):
    with pytest.raises(TimeoutError):
        compiled(document)({ENDLESS: 1})


@pytest.mark.parametrize(
    ("document", "pointer", "reason"),
    [
        ({"type": 5}, "/schema/type", "5 is not valid under any of the given schemas"),
        ({"properties": {"a": {"required": "b"}}}, "/schema/properties/a/required", "'b' is not of type 'array'"),
        ({"properties": {"a/~b": {"type": 5}}}, "/schema/properties/a~1~0b/type", "is not valid"),
        ({"$ref": "#/$defs/gone"}, "/schema", "refers to '#/$defs/gone', which is not inside the schema"),
        ({"items": {"$ref": "file:///etc/hostname"}}, "/schema", "refers to 'file:///etc/hostname'"),
        ({"not": {"$dynamicRef": "https://example.org/s"}}, "/schema", "refers to 'https://example.org/s'"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "/schema", "is not inside the schema"),
        ({"$ref": "http://["}, "/schema", "refers to 'http://['"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "/schema", "not one of http://json-schema.org/draft-04"),
        ({"$schema": 5}, "/schema", "`$schema` is 5"),
        ({"$defs": {"a": {"$schema": DRAFTS[2]}}}, "/schema", "one schema has one dialect"),
        ({"$schema": DRAFTS[0], "$ref": 5}, "/schema", "it refers to 5, and a reference is a string"),
        ({"$schema": DRAFTS[2], "dependencies": {"a": {}, "c": ["d"]}}, "/schema", "mixes lists and schemas"),
        ({"$schema": DRAFTS[2], "$ref": "#n", "definitions": {"x": {"dependencies": {"c": ["d"], "a": {}}}}}, "/schema", "mixes lists"),
        ({"multipleOf": 10**400}, "/schema", "beyond the range of a double"),
        ({"pattern": "("}, "/schema", "missing ) at position 1"),
        ({"patternProperties": {"(?V0)(?V1)": {}}}, "/schema", "mutually incompatible"),
        ({"pattern": "(?:" * 3000 + ")" * 3000}, "/schema", "nested too deeply"),
        ({"unevaluatedProperties": False, "allOf": [{"patternProperties": {"a": {}}}]}, "/schema", "use `additionalProperties`"),
        ({"const": dt.date(2026, 1, 5)}, "/schema", "date is not JSON serializable"),
        ({"maximum": float("nan")}, "/schema", "not JSON compliant"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_work_is_refused_at_its_place(document, pointer, reason):
    fault = refusal(document)
    assert fault.pointer == pointer
    assert reason in fault.message


def test_a_schema_nested_beyond_reason_is_refused():
    document: dict = {}
    for _ in range(50_000):
        document = {"not": document}
    assert "nested too deeply" in refusal(document).message


def test_the_older_recursive_reference_is_followed():
    document = {"$schema": DRAFTS[3], "type": "array", "items": {"$recursiveRef": "#"}}
    assert compiled(document)([[[]]])
    assert not compiled(document)([[5]])


def test_a_part_that_only_a_reference_reaches_is_used():
    satisfies = compiled({"$ref": "#/components/n", "components": {"n": {"type": "integer"}}})
    assert satisfies(1)
    assert not satisfies("1")


@pytest.mark.parametrize(
    "hidden",
    [{"$ref": "http://127.0.0.1:9/remote.json"}, {"type": 5}, {"pattern": "("}, {"properties": 5}, 5, [{}]],
)
def test_a_part_that_only_a_reference_reaches_is_checked_as_well(hidden):
    assert refusal({"$ref": "#/components/n", "components": {"n": hidden}}).pointer.startswith("/schema")


def test_nothing_is_fetched_while_a_schema_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        refusal({"$ref": f"http://127.0.0.1:{server.getsockname()[1]}/remote.json"})
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_schema_that_refers_to_itself_without_end_says_so_when_judged():
    with pytest.raises(RecursionError):
        compiled({"anyOf": [{"$ref": "#"}]})({})
