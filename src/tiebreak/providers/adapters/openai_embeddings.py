"""Embeddings in OpenAI's dialect as bytes. Pure."""

from typing import Any

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, malformed, refused
from tiebreak.providers.adapters.openai_request import Quirks
from tiebreak.providers.adapters.parameters import require_free
from tiebreak.providers.adapters.wire import ABSENT, believable, storable
from tiebreak.providers.model import EmbeddingRequest, EmbeddingResponse, Usage


class _Vector(msgspec.Struct):
    embedding: tuple[float, ...]
    index: int


class _Tokens(msgspec.Struct):
    prompt_tokens: int


class _Body(msgspec.Struct):
    data: list[_Vector]
    model: str | None = None
    usage: msgspec.Raw = msgspec.Raw()


_bodies = msgspec.json.Decoder(_Body)
_tokens = msgspec.json.Decoder(_Tokens)


def embeddings_body(request: EmbeddingRequest, quirks: Quirks) -> dict[str, Any]:
    """The body of a call for vectors.

    Raises:
        ProviderError: this vendor has none, or a parameter is not the caller's to set.
    """
    if not quirks.embeddings:
        raise refused("this vendor has no embeddings; use another provider for them")
    if "encoding_format" in request.parameters:
        raise refused("parameter 'encoding_format' cannot be set: vectors are read as numbers")
    require_free(request.parameters)
    body: dict[str, Any] = {"model": request.model, "input": list(request.inputs), **request.parameters}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    return body


def _usage(raw: bytes) -> Usage | None:
    if raw in ABSENT:
        return None
    try:
        return believable(_tokens.decode(raw).prompt_tokens, 0)
    except BAD_JSON:
        return None


def decode_embeddings(
    account: Account, request: EmbeddingRequest, body: bytes, latency: float
) -> EmbeddingResponse:
    """One vector for each text, put in the texts' order by the vendor's own numbering.

    Raises:
        ProviderError: it holds fewer, more, or none.
    """
    try:
        answer = _bodies.decode(body)
    except BAD_JSON as exc:
        raise malformed(account, f"the vectors cannot be read ({exc})", body) from None
    vectors = {vector.index: vector.embedding for vector in answer.data}
    places = range(len(request.inputs))
    if len(answer.data) != len(places) or vectors.keys() != set(places):
        raise malformed(account, f"{len(answer.data)} vectors came for {len(places)} texts", body)
    return EmbeddingResponse(
        vectors=tuple(vectors[place] for place in places),
        model=storable(answer.model or request.model),
        usage=_usage(bytes(answer.usage)),
        latency=latency,
    )
