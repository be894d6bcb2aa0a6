"""JSON of a schema, judged by a validator that is not ours."""

import json

import jsonschema
import pytest

from tiebreak.mockprovider.conversation import Refusal, Tool
from tiebreak.mockprovider.inventing import call, instance, structured

TREE = {
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string"}, "42"),
        ({"type": "string", "minLength": 5}, "42..."),
        ({"type": "string", "maxLength": 1}, "4"),
        ({"type": "integer", "maximum": 10}, 10),
        ({"type": "number", "minimum": 50}, 50),
        ({"type": "integer", "exclusiveMinimum": 42}, 43),
        ({"type": "integer", "exclusiveMaximum": 42}, 41),
        ({"type": "boolean"}, True),
        ({"type": "null"}, None),
        ({"type": ["null", "integer"]}, 42),
        ({"type": ["null"]}, None),
        ({"enum": ["41", "42"]}, "42"),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": {"a": 1}}, {"a": 1}),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [42, 42]),
        ({"type": "array"}, ["42"]),
        ({"properties": {"a": {"type": "integer"}, "b": True}}, {"a": 42, "b": "42"}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, 42),
        ({"oneOf": [True]}, "42"),
        ({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"properties": {"b": {}}}]}, {"a": 42, "b": "42"}),
        ({"$defs": {"a/b": {"type": "integer"}}, "items": {"$ref": "#/$defs/a~1b"}, "type": "array"}, [42]),
        ({}, "42"),
    ],
    ids=str,
)  # fmt: skip
def test_a_value_fits_its_schema_and_carries_the_answer(schema, expected):
    made = instance(schema, "42")
    assert made == expected
    jsonschema.validate(made, schema)


def test_the_capitals_of_google_are_types_too():
    schema = {"type": "OBJECT", "properties": {"n": {"type": "INTEGER"}}}
    assert instance(schema, "Mercury") == {"n": 1}
    assert instance({"type": "BOOLEAN"}, "no") is False


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (TREE, "nested deeper than 32"),
        ({"$ref": "#"}, "nested deeper than 32"),
        ({"$ref": "#/$defs/gone"}, "has no '#/\\$defs/gone'"),
        ({"allOf": [1]}, "not a JSON schema that the mock provider can fill"),
        ({"type": "array", "minItems": "many"}, "not a JSON schema"),
        ({"type": []}, None),
    ],
    ids=str,
)
def test_what_cannot_be_filled_is_refused(schema, reason):
    if reason is None:
        assert instance(schema, "42") is None
        return
    with pytest.raises(Refusal, match=reason):
        instance(schema, "42")


def test_json_that_was_recorded_stays_and_text_becomes_json():
    assert structured('{"a": 1}', {"type": "integer"}) == '{"a": 1}'
    assert json.loads(structured("Because.\nA: 42", {})) == {"answer": "42"}
    assert json.loads(structured("[1]", {})) == {"answer": "[1]"}


def test_arguments_are_always_an_object():
    assert call(Tool("t"), "42").arguments == "{}"
    assert call(Tool("t", {"type": "integer"}), "42").arguments == "{}"
    assert json.loads(call(Tool("t", {"properties": {"a": {"type": "integer"}}}), "42").arguments) == {
        "a": 42
    }
