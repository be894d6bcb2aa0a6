"""What cannot be read is named, however it is broken."""

import json

import pytest
from tests.gateway.surfaces.asking import fields

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import read_fields
from tiebreak.gateway.surfaces import chat
from tiebreak.gateway.surfaces.reading import MOST_FIELDS, Words

SAID = {"messages": [{"role": "user", "content": "Hi"}]}
WORDS = Words(
    said=frozenset(("model", "said")),
    dropped=frozenset(("dropped",)),
    idle={"idle": (False, 0), "half.idle": ("medium",)},
    partly={"half": "said"},
)


def test_bytes_that_are_no_unicode_are_named():
    with pytest.raises(InvalidInput, match="no valid UTF-8"):
        chat.to_neutral(read_fields(b'{"model":"m","messages":[],"more":"\xff"}'))


def test_nesting_of_any_depth_is_a_request_or_a_refusal():
    for depth in (*range(600, 1000, 2), 100_000):
        body = b'{"model":"m","messages":[],"more":' + b"[" * depth + b"]" * depth + b"}"
        with pytest.raises(InvalidInput, match=r"nested too deeply|`more`"):
            chat.to_neutral(read_fields(body))


def test_more_fields_than_any_vendor_has_are_refused():
    more = {f"field{place}": 1 for place in range(MOST_FIELDS)}
    with pytest.raises(InvalidInput, match=f"has {MOST_FIELDS + 2} fields"):
        chat.untranslatable(fields(**SAID, **more))


def test_an_error_does_not_repeat_all_of_a_long_value():
    wrong = {"response_format": {"type": "x" * 10_000}, "tool_choice": "y" * 10_000}
    for name, value in wrong.items():
        with pytest.raises(InvalidInput) as caught:
            chat.to_neutral(fields(**SAID, **{name: value}))
        assert len(caught.value.detail) < 300


@pytest.mark.parametrize(
    ("body", "beyond"),
    [
        ({"said": 1, "dropped": 2}, {}),
        ({"idle": 0, "other": None}, {}),
        ({"idle": False}, {}),
        ({"idle": True}, {"idle": True}),
        ({"idle": 1}, {"idle": 1}),
        ({"other": 0}, {"other": 0}),
        ({"half": {"said": 1, "idle": "medium", "more": None}}, {}),
        ({"half": {"said": 1, "idle": "low"}}, {"half": {"idle": "low"}}),
        ({"half": 3}, {"half": 3}),
    ],
)
def test_what_asks_for_nothing_is_within_the_words_and_the_rest_is_beyond_them(body, beyond):
    found = WORDS.beyond(fields(**body))
    assert json.dumps(found) == json.dumps(beyond)


def test_names_reach_into_what_is_partly_said():
    assert WORDS.names({"z": 1, "half": {"b": 1, "a": 2}}) == ["half.a", "half.b", "z"]
