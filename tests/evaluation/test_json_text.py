"""JSON as a model answers it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiebreak.evaluation.json_text import MAX_DEPTH, parse

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
)  # fmt: skip


@settings(deadline=None)
@given(
    VALUES, st.sampled_from(["{}", " {}\n", "```json\n{}\n```", "```\n{}```", "\n```JSON \r\n{}\r\n```\n"])
)
def test_json_is_read_bare_and_from_one_fence(value, around):
    assert parse(around.replace("{}", json.dumps(value))) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "NaN",
        "-Infinity",
        "1e999",
        "9" * 400,
        "9" * 5000,
        '{"a": 1} and more',
        "Here it is:\n```json\n{}\n```",
        "```json\n{}\n```\n```json\n{}\n```",
        "```python\n{}\n```",
        "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2),
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
    ],
)
def test_what_a_strict_reader_would_refuse_is_not_json(text):
    with pytest.raises(ValueError):
        parse(text)


def test_nesting_up_to_the_limit_is_read():
    assert parse('{"a":' * MAX_DEPTH + "[]" + "}" * MAX_DEPTH)
