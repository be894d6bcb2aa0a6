"""Vectors: the same text, model and length give the same one, in OpenAI's format and in Google's. Pure."""

import base64
import hashlib
import math
from array import array
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from tiebreak.mockprovider import tokens
from tiebreak.mockprovider.conversation import Embed
from tiebreak.mockprovider.dialects import reading
from tiebreak.mockprovider.dialects.gemini import Content

MOST_TEXTS = 2048
MOST_DIMENSIONS = 4096

Dimensions = Annotated[int, Meta(ge=1, le=MOST_DIMENSIONS)]
Ids = list[int]


class EmbeddingsRequest(Struct):
    """One text or several, as text or as token ids."""

    input: str | Annotated[list[str | int | Ids], Meta(min_length=1, max_length=MOST_TEXTS)]
    model: str = ""
    dimensions: Dimensions | None = None
    encoding_format: Literal["float", "base64"] = "float"

    @property
    def texts(self) -> list[str | Ids]:
        """What is to be embedded; a list of numbers is one text."""
        if isinstance(self.input, str):
            return [self.input]
        whole = [entry for entry in self.input if isinstance(entry, int)]
        return [whole] if whole else [entry for entry in self.input if not isinstance(entry, int)]


class EmbedContent(Struct, rename="camel"):
    """One text in Google's format."""

    content: Content
    output_dimensionality: Dimensions | None = None


class BatchEmbedContents(Struct):
    """Several."""

    requests: Annotated[list[EmbedContent], Meta(min_length=1, max_length=MOST_TEXTS)]


_decoder = msgspec.json.Decoder(EmbeddingsRequest)
_one = msgspec.json.Decoder(EmbedContent)
_several = msgspec.json.Decoder(BatchEmbedContents)
_encode = msgspec.json.Encoder().encode


def decode(body: bytes, model: str | None) -> Embed:
    """OpenAI's request."""
    request = reading.decode(_decoder, body)
    texts = request.texts
    return Embed(
        model=model or request.model,
        texts=tuple(map(str, texts)),
        tokens=sum(tokens.count(text) if isinstance(text, str) else len(text) for text in texts),
        dimensions=request.dimensions,
        base64=request.encoding_format == "base64",
    )


def document(asked: Embed, dimensions: int, tokens_counted: int | None) -> bytes:
    """OpenAI's answer; without tokens it has no usage."""
    data = [
        {"object": "embedding", "index": index, "embedding": _written(asked, text, dimensions)}
        for index, text in enumerate(asked.texts)
    ]
    usage = {"usage": {"prompt_tokens": tokens_counted, "total_tokens": tokens_counted}}
    body: dict[str, Any] = {"object": "list", "data": data, "model": asked.model}
    return _encode(body | (usage if tokens_counted is not None else {}))


def decode_content(body: bytes, model: str | None) -> Embed:
    """Google's request for one text."""
    return _embed([reading.decode(_one, body)], model)


def decode_contents(body: bytes, model: str | None) -> Embed:
    """Google's request for several."""
    return _embed(reading.decode(_several, body).requests, model)


def _embed(requests: list[EmbedContent], model: str | None) -> Embed:
    texts = tuple(request.content.text for request in requests)
    return Embed(model or "", texts, sum(map(tokens.count, texts)), requests[0].output_dimensionality)


def content_document(asked: Embed, dimensions: int, tokens_counted: int | None) -> bytes:  # noqa: ARG001  (as OpenAI's)
    """Google's answer to one; it counts no tokens."""
    return _encode({"embedding": {"values": vector(asked.model, asked.texts[0], dimensions)}})


def contents_document(asked: Embed, dimensions: int, tokens_counted: int | None) -> bytes:  # noqa: ARG001  (as OpenAI's)
    """Google's answer to several."""
    return _encode(
        {"embeddings": [{"values": vector(asked.model, text, dimensions)} for text in asked.texts]}
    )


def _written(asked: Embed, text: str, dimensions: int) -> Any:
    values = vector(asked.model, text, dimensions)
    return base64.b64encode(array("f", values).tobytes()).decode() if asked.base64 else values


def vector(model: str, text: str, dimensions: int) -> list[float]:
    """A direction drawn from the words; its length is 1."""
    seed = f"{model}\x1f{text}".encode("utf-8", "surrogatepass")
    drawn = array("h", hashlib.shake_256(seed).digest(2 * dimensions))
    length = math.sqrt(sum(value * value for value in drawn)) or 1.0
    return [value / length for value in drawn]
