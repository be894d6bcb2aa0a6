"""Embeddings as callers ask for them, and vectors as OpenAI's SDK reads them."""

import base64
import json
import struct

import pytest
from openai.types import CreateEmbeddingResponse
from tests.gateway.surfaces.asking import fields

from tiebreak.errors import InvalidInput
from tiebreak.gateway.surfaces import embeddings
from tiebreak.providers.model import EmbeddingRequest, EmbeddingResponse, Usage

ANSWER = EmbeddingResponse(((0.5, -0.25), (1e300, 0.0)), "answering", Usage(6, 0), 0.1)


def test_one_text_and_several_are_texts():
    assert embeddings.to_neutral(fields(input="a")) == (EmbeddingRequest("tests/a", ("a",)), "float")
    asked = fields(input=["a", "b"], dimensions=3, encoding_format="base64", user="ann")
    assert embeddings.to_neutral(asked) == (EmbeddingRequest("tests/a", ("a", "b"), 3), "base64")


def test_what_has_no_words_is_refused_by_name_unless_the_provider_speaks_the_dialect():
    asked = fields(input="a", truncate="END")
    assert embeddings.untranslatable(asked) == ["truncate"]
    with pytest.raises(InvalidInput, match="`truncate`"):
        embeddings.to_neutral(asked)
    assert embeddings.to_neutral(asked, same_family=True)[0].parameters == {"truncate": "END"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "missing required field `input`"),
        ({"input": []}, "`input` is empty"),
        ({"input": [1, 2]}, r"`input\[0\]` holds tokens"),
        ({"input": ["a", [1, 2]]}, r"`input\[1\]` holds tokens"),
        (
            {"input": "a", "encoding_format": "hex"},
            "`encoding_format` cannot be read: invalid enum value 'hex'",
        ),
        ({"input": "a", "dimensions": 1.5}, "`dimensions` cannot be read"),
    ],
)
def test_what_cannot_be_said_is_named(body, reason):
    with pytest.raises(InvalidInput, match=reason):
        embeddings.to_neutral(fields(**body))


def test_an_answer_is_what_the_sdk_reads():
    read = CreateEmbeddingResponse.model_validate_json(embeddings.answer(ANSWER, "float"))
    assert [(row.index, row.embedding) for row in read.data] == [(0, [0.5, -0.25]), (1, [1e300, 0.0])]
    assert (read.model, read.usage.prompt_tokens, read.usage.total_tokens) == ("answering", 6, 6)


def test_base64_is_of_little_endian_32_bit_floats_and_what_is_too_large_for_them_is_infinite():
    body = embeddings.answer(ANSWER, "base64")
    rows = [row["embedding"] for row in json.loads(body)["data"]]
    assert [struct.unpack("<2f", base64.b64decode(row)) for row in rows] == [
        (0.5, -0.25),
        (float("inf"), 0.0),
    ]
