"""OpenAI's embeddings as callers ask for them. Pure."""

import sys
from array import array
from base64 import b64encode
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

from tiebreak.errors import InvalidInput
from tiebreak.gateway.fields import Fields
from tiebreak.gateway.surfaces.errors import openai as failed
from tiebreak.gateway.surfaces.reading import Whole, Words, decoded, refused
from tiebreak.gateway.surfaces.writing import encoded
from tiebreak.providers.model import EmbeddingRequest, EmbeddingResponse

__all__ = ["Encoding", "answer", "failed", "to_neutral", "untranslatable"]

Encoding = Literal["float", "base64"]

WORDS: Final = Words(
    said=frozenset(("model", "input", "dimensions", "encoding_format")), dropped=frozenset(("user",))
)


class _Body(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: Whole | None = None
    encoding_format: Encoding | None = None


_bodies = msgspec.json.Decoder(_Body)


def untranslatable(fields: Fields) -> list[str]:
    """See `Surface.untranslatable`."""
    return WORDS.names(WORDS.beyond(fields))


def to_neutral(fields: Fields, *, same_family: bool = False) -> tuple[EmbeddingRequest, Encoding]:
    """The texts, and how their vectors are to be written.

    Raises:
        InvalidInput: it cannot be read, holds tokens instead of texts, or (without `same_family`) something that has no
            neutral words.
    """
    body = decoded(_bodies, fields.body)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts:
        raise InvalidInput("`input` is empty; give at least one text")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise refused(
                f"input[{place}]",
                "holds tokens of one vendor's models, which others cannot read; send the text itself",
            )
    request = EmbeddingRequest(
        body.model,
        tuple(text for text in texts if isinstance(text, str)),
        body.dimensions,
        WORDS.parameters(fields, same_family=same_family),
    )
    return request, body.encoding_format or "float"


def _written(vector: Sequence[float], encoding: Encoding) -> Any:
    """Base64 is of 32-bit floats, little-endian."""
    if encoding == "float":
        return vector
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return b64encode(numbers.tobytes()).decode()


def answer(response: EmbeddingResponse, encoding: Encoding) -> bytes:
    """The body of an answer."""
    tokens = 0 if response.usage is None else response.usage.input_tokens
    return encoded(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
                for index, vector in enumerate(response.vectors)
            ],
            "model": response.model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
