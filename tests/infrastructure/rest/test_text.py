"""What PostgreSQL and UTF-8 cannot keep is refused with its place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tiebreak.infrastructure.rest.text import Text, pointer, storable, storable_json, unstorable


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_text_that_can_be_kept_is_given_back(text):
    assert unstorable(text) is None
    assert storable(text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ab\x00", "holds a NUL character at character 3; remove it"),
        ("\ud83d", "holds half a surrogate pair (U+D83D) at character 1; remove it"),
    ],
)
def test_text_that_cannot_be_kept_is_named_with_its_place(text, reason):
    assert unstorable(text) == reason
    with pytest.raises(ValueError, match="the text holds"):
        storable(text)


def test_a_field_of_type_text_refuses_it_on_the_wire():
    class Body(BaseModel):
        name: Text

    with pytest.raises(ValidationError, match="NUL character at character 2"):
        Body(name="a\x00")
    assert Body(name="a").name == "a"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": ["x", "\x00"]}, "place 1 holds a NUL character"),
        ({"a": {"\ud800": 1}}, "key 'a' holds half a surrogate pair"),
        ({"a": float("nan")}, "key 'a' is nan, which JSON does not have"),
        ({"a": [float("-inf")]}, "place 0 is -inf"),
        (10**30, "the value is a whole number beyond 64 bits"),
        (json.loads("[" * 60 + "]" * 60), "nested deeper than 50 levels"),
    ],
)
def test_a_json_value_that_cannot_be_kept_is_named_with_its_place(value, reason):
    with pytest.raises(ValueError) as caught:
        storable_json(value)
    assert reason in str(caught.value)


def test_a_json_value_that_can_be_kept_is_given_back():
    value = {"a": [1, 2.5, True, None, "é", {"b": -(2**63)}]}
    assert storable_json(value) is value


def test_a_pointer_escapes_what_separates_its_parts():
    assert pointer() == ""
    assert pointer("variants", 1, "a/b~c") == "/variants/1/a~1b~0c"
