"""Gemini's vectors and models as bytes. Pure."""

from typing import Any

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.adapters.failures import BAD_JSON, malformed
from tiebreak.providers.adapters.parameters import require_free
from tiebreak.providers.model import EmbeddingRequest, EmbeddingResponse
from tiebreak.providers.redaction import excerpt


class _Vector(msgspec.Struct):
    values: tuple[float, ...]


class _Vectors(msgspec.Struct):
    embedding: _Vector | None = None  # of one text
    embeddings: list[_Vector] = msgspec.field(default_factory=list)


class _Model(msgspec.Struct):
    name: str


class _Models(msgspec.Struct):
    models: list[_Model]


_vectors = msgspec.json.Decoder(_Vectors)
_models = msgspec.json.Decoder(_Models)


def embeddings_body(request: EmbeddingRequest) -> dict[str, Any]:
    """The body for one text, or for several in a batch.

    Raises:
        ProviderError: a parameter is not the caller's to set.
    """
    require_free(request.parameters)
    extra = dict(request.parameters)
    if request.dimensions is not None:
        extra["outputDimensionality"] = request.dimensions
    model = f"models/{request.model.removeprefix('models/')}"
    calls = [{"model": model, "content": {"parts": [{"text": text}]}, **extra} for text in request.inputs]
    return calls[0] if len(calls) == 1 else {"requests": calls}


def decode_embeddings(
    account: Account, request: EmbeddingRequest, body: bytes, latency: float
) -> EmbeddingResponse:
    """One vector for each text, in the texts' order; the vendor counts no tokens here.

    Raises:
        ProviderError: it holds fewer, more, or none.
    """
    try:
        answer = _vectors.decode(body)
    except BAD_JSON as exc:
        raise malformed(account, f"the vectors cannot be read ({exc})", body) from None
    found = answer.embeddings if answer.embedding is None else [answer.embedding]
    if len(found) != len(request.inputs):
        raise malformed(account, f"{len(found)} vectors came for {len(request.inputs)} texts", body)
    vectors = tuple(vector.values for vector in found)
    return EmbeddingResponse(vectors, request.model, None, latency)


def decode_models(account: Account, body: bytes) -> list[str]:
    """The names of the models without their folder, sorted.

    Raises:
        ProviderError: malformed.
    """
    try:
        names = [model.name.removeprefix("models/") for model in _models.decode(body).models]
    except BAD_JSON as exc:
        raise malformed(account, f"the list of models cannot be read ({exc})", body) from None
    return sorted({excerpt(name, account.secret, 200) for name in names})
