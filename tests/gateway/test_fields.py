"""What is read of a body, and that a change touches nothing else."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import Fields, read_fields


def read(**body) -> Fields:
    return read_fields(json.dumps({"model": "tests/a"} | body).encode())


def test_a_plain_body_names_its_model():
    fields = read_fields(b'{"model": "openai/gpt-5", "messages": []}')
    assert (fields.model, fields.stream, fields.caller, fields.session, fields.includes_usage) == (
        "openai/gpt-5",
        False,
        None,
        None,
        False,
    )


@pytest.mark.parametrize(
    ("body", "caller"),
    [
        ({"user": "ann"}, "ann"),
        ({"safety_identifier": "bob"}, "bob"),
        ({"user": "ann", "safety_identifier": "bob"}, "ann"),
        ({"metadata": {"user_id": "cid"}}, "cid"),
        ({"metadata": {"other": 1}}, None),
        ({"metadata": [1]}, None),
        ({"metadata": None}, None),
        ({"user": ""}, None),
        ({"user": 7}, None),
    ],
)
def test_whoever_the_body_speaks_for_is_read_and_nothing_odd_is_an_error(body, caller):
    assert read(**body).caller == caller


def test_the_other_hints_are_read():
    fields = read(stream=True, stream_options={"include_usage": True}, metadata={"session_id": "s"})
    assert (fields.stream, fields.includes_usage, fields.session) == (True, True, "s")
    assert not read(stream=None, stream_options={"include_usage": "yes"}).includes_usage


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (b"null", b'{"include_usage":true}'),
        (b'{"include_obfuscation":  false}', b'{"include_obfuscation":false,"include_usage":true}'),
        (b'{"include_usage":false,"own":1.0}', b'{"include_usage":true,"own":1.0}'),
        (b'"odd"', b'"odd"'),
    ],
)
def test_asking_for_the_usage_keeps_the_other_options_of_the_stream(options, asked):
    fields = read_fields(b'{"model":"m","stream_options":' + options + b"}")
    changed = fields.rewritten({"stream_options": fields.options_with_usage()})
    assert changed == b'{"model":"m","stream_options":' + asked + b"}"


def test_asking_for_the_usage_needs_no_options():
    assert read().options_with_usage() == {"include_usage": True}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "input data was truncated"),
        (b"[]", "expected `object`, got `array`"),
        (b"{", "input data was truncated"),
        (b'{"messages": []}', "object missing required field `model`"),
        (b'{"model": 7}', "expected `str`, got `int` - at `$.model`"),
        (b'{"model": ""}', "`model` has 0 characters"),
        (b'{"model": "' + b"x" * 301 + b'"}', "`model` has 301 characters"),
        (b'{"model": "m", "stream": "yes"}', "expected `bool | null`, got `str` - at `$.stream`"),
        (b'{"model": "m", "temperature": NaN}', "invalid character"),
        (b'\xef\xbb\xbf{"model": "m"}', "byte-order mark"),
        (b'{"model": "\xff"}', "UTF-8"),
        (b'{"model": "m", "x": ' + b"[" * 20_000, "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_reason(body, reason):
    with pytest.raises(InvalidInput) as caught:
        read_fields(body)
    assert reason in caught.value.detail


def test_a_change_keeps_every_other_value_byte_for_byte():
    body = b'{"model":"tests/a", "odd":[1,  2.50, "\\u00e9"],"messages": [ {"role":"user"} ],"user":"u"}'
    changed = read_fields(body).rewritten({"model": "m", "user": msgspec.UNSET, "temperature": 0.5})
    assert b'[1,  2.50, "\\u00e9"]' in changed
    assert b'[ {"role":"user"} ]' in changed
    assert json.loads(changed) == {
        "model": "m",
        "odd": [1, 2.5, "é"],
        "messages": [{"role": "user"}],
        "temperature": 0.5,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_any_object_is_read_or_refused_and_a_changed_model_changes_only_the_model(body):
    raw = json.dumps(body).encode()
    try:
        fields = read_fields(raw)
    except InvalidInput:
        return
    assert json.loads(fields.rewritten({"model": "other"})) == body | {"model": "other"}


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw):
    with contextlib.suppress(InvalidInput):
        read_fields(raw)
