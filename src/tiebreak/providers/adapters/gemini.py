"""Google's Gemini API."""

from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.adapters import gemini_lists
from tiebreak.providers.adapters import gemini_wire as wire
from tiebreak.providers.adapters.failures import error_of
from tiebreak.providers.adapters.wire import get, post
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderError,
)


def _key(account: Account) -> dict[str, str]:
    return {} if account.secret is None else {"x-goog-api-key": account.secret}


def _path(account: Account, rest: str) -> str:
    """The base URL may hold the version, as other vendors' do."""
    return rest if account.base_url.endswith(("/v1beta", "/v1")) else "/v1beta" + rest


def _model(account: Account, model: str, verb: str) -> str:
    name = quote(model.removeprefix("models/"), safe="")
    return _path(account, f"/models/{name}:{verb}")


class Gemini:
    """`/v1beta/models/…` below the base URL."""

    def samples(self, account: Account) -> int:  # noqa: ARG002  (the adapter's signature)
        """See `Adapter.samples`."""
        return wire.MOST_SAMPLES

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """See `Adapter.encode`."""
        verb = "streamGenerateContent?alt=sse" if request.stream else "generateContent"
        return post(account, _model(account, request.model, verb), _key(account), wire.body(request))

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """See `Adapter.decode`."""
        return wire.decode(account, request, body, latency)

    def stream(self, account: Account, request: ChatRequest) -> wire.AnswerReader:
        """See `Adapter.stream`."""
        return wire.AnswerReader(account, request)

    def encode_embeddings(self, account: Account, request: EmbeddingRequest) -> HttpRequest:
        """See `Adapter.encode_embeddings`."""
        verb = "embedContent" if len(request.inputs) == 1 else "batchEmbedContents"
        body = gemini_lists.embeddings_body(request)
        return post(account, _model(account, request.model, verb), _key(account), body)

    def decode_embeddings(
        self, account: Account, request: EmbeddingRequest, body: bytes, latency: float
    ) -> EmbeddingResponse:
        """See `Adapter.decode_embeddings`."""
        return gemini_lists.decode_embeddings(account, request, body, latency)

    def encode_models(self, account: Account) -> HttpRequest:
        """See `Adapter.encode_models`."""
        return get(account, _path(account, "/models?pageSize=1000"), _key(account))

    def decode_models(self, account: Account, body: bytes) -> list[str]:
        """See `Adapter.decode_models`."""
        return gemini_lists.decode_models(account, body)

    def failure(
        self, account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ProviderError:
        """See `Adapter.failure`."""
        return error_of(account, status, headers, body, now)
