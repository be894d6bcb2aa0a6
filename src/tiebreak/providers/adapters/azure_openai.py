"""OpenAI's models at Azure: the same bodies, other addresses and another header for the key."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import quote

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.adapters import openai_embeddings, openai_wire
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

# The last version with a date before the API without one, which a base URL ending in /openai/v1 chooses.
API_VERSION: Final = "2024-10-21"
QUIRKS: Final = Quirks(limit_name="max_completion_tokens", samples=128)


def _key(account: Account) -> dict[str, str]:
    return {} if account.secret is None else {"api-key": account.secret}


def _path(account: Account, model: str, rest: str) -> str:
    """Below `…/openai/v1` as OpenAI has it; else by deployment, which a test's model names."""
    if account.base_url.endswith("/openai/v1"):
        return rest
    prefix = "" if account.base_url.endswith("/openai") else "/openai"
    return f"{prefix}/deployments/{quote(model, safe='')}{rest}?api-version={API_VERSION}"


class AzureOpenAI:
    """Chats and embeddings of a resource (`https://NAME.openai.azure.com`, with or without `/openai/v1`)."""

    def samples(self, account: Account) -> int:  # noqa: ARG002  (the adapter's signature)
        """See `Adapter.samples`."""
        return QUIRKS.samples

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """See `Adapter.encode`."""
        path = _path(account, request.model, "/chat/completions")
        return post(account, path, _key(account), chat_body(request, QUIRKS))

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """See `Adapter.decode`."""
        return openai_wire.decode(account, request, body, latency)

    def stream(self, account: Account, request: ChatRequest) -> ChunkReader:
        """See `Adapter.stream`."""
        return ChunkReader(account, request)

    def encode_embeddings(self, account: Account, request: EmbeddingRequest) -> HttpRequest:
        """See `Adapter.encode_embeddings`."""
        path = _path(account, request.model, "/embeddings")
        return post(account, path, _key(account), openai_embeddings.embeddings_body(request, QUIRKS))

    def decode_embeddings(
        self, account: Account, request: EmbeddingRequest, body: bytes, latency: float
    ) -> EmbeddingResponse:
        """See `Adapter.decode_embeddings`."""
        return openai_embeddings.decode_embeddings(account, request, body, latency)

    def encode_models(self, account: Account) -> HttpRequest:
        """See `Adapter.encode_models`."""
        if account.base_url.endswith("/openai/v1"):
            return get(account, "/models", _key(account))
        prefix = "" if account.base_url.endswith("/openai") else "/openai"
        return get(account, f"{prefix}/models?api-version={API_VERSION}", _key(account))

    def decode_models(self, account: Account, body: bytes) -> list[str]:
        """See `Adapter.decode_models`."""
        return openai_wire.decode_models(account, body)

    def failure(
        self, account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ProviderError:
        """See `Adapter.failure`."""
        return error_of(account, status, headers, body, now)
