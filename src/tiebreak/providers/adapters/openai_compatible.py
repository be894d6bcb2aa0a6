"""Chat completions and embeddings as OpenAI began them and many vendors speak them, with each vendor's quirks."""

from collections.abc import Mapping
from datetime import datetime

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.adapters import openai_embeddings, openai_wire
from tiebreak.providers.adapters.adapter import StreamDecoder
from tiebreak.providers.adapters.failures import error_of
from tiebreak.providers.adapters.openai_request import Quirks, chat_body
from tiebreak.providers.adapters.openai_wire import ChunkReader
from tiebreak.providers.adapters.wire import get, post
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderError,
)


def bearer(account: Account) -> dict[str, str]:
    """The header that carries the key, if there is one."""
    return {} if account.secret is None else {"authorization": f"Bearer {account.secret}"}


class OpenAICompatible:
    """`/chat/completions`, `/embeddings` and `/models` below the base URL, with a bearer token."""

    def __init__(self, quirks: Quirks | None = None) -> None:
        self._quirks = quirks or Quirks()

    def samples(self, account: Account) -> int:  # noqa: ARG002  (the adapter's signature)
        """See `Adapter.samples`."""
        return self._quirks.samples

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """See `Adapter.encode`."""
        return post(account, "/chat/completions", bearer(account), chat_body(request, self._quirks))

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """See `Adapter.decode`."""
        return openai_wire.decode(account, request, body, latency)

    def stream(self, account: Account, request: ChatRequest) -> StreamDecoder:
        """See `Adapter.stream`."""
        return ChunkReader(account, request)

    def encode_embeddings(self, account: Account, request: EmbeddingRequest) -> HttpRequest:
        """See `Adapter.encode_embeddings`."""
        body = openai_embeddings.embeddings_body(request, self._quirks)
        return post(account, "/embeddings", bearer(account), body)

    def decode_embeddings(
        self, account: Account, request: EmbeddingRequest, body: bytes, latency: float
    ) -> EmbeddingResponse:
        """See `Adapter.decode_embeddings`."""
        return openai_embeddings.decode_embeddings(account, request, body, latency)

    def encode_models(self, account: Account) -> HttpRequest:
        """See `Adapter.encode_models`."""
        return get(account, "/models", bearer(account))

    def decode_models(self, account: Account, body: bytes) -> list[str]:
        """See `Adapter.decode_models`."""
        return openai_wire.decode_models(account, body)

    def failure(
        self, account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ProviderError:
        """See `Adapter.failure`."""
        return error_of(account, status, headers, body, now)
