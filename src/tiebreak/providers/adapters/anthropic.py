"""Anthropic's messages."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.adapters import anthropic_wire as wire
from tiebreak.providers.adapters.failures import error_of, malformed, refused
from tiebreak.providers.adapters.openai_wire import decode_models
from tiebreak.providers.adapters.wire import get, post
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderError,
)

VERSION: Final = "2023-06-01"


def _key(account: Account) -> dict[str, str]:
    key = {} if account.secret is None else {"x-api-key": account.secret}
    return {"anthropic-version": VERSION, **key}


def _path(account: Account, rest: str) -> str:
    """The base URL may hold the version, as other vendors' do."""
    return rest if account.base_url.endswith("/v1") else "/v1" + rest


class Anthropic:
    """`/v1/messages` and `/v1/models` below the base URL."""

    def samples(self, account: Account) -> int:  # noqa: ARG002  (the adapter's signature)
        """See `Adapter.samples`."""
        return 1

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """See `Adapter.encode`."""
        return post(account, _path(account, "/messages"), _key(account), wire.body(request))

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """See `Adapter.decode`."""
        return wire.decode(account, request, body, latency)

    def stream(self, account: Account, request: ChatRequest) -> wire.BlockReader:
        """See `Adapter.stream`."""
        return wire.BlockReader(account, request)

    def encode_embeddings(self, account: Account, request: EmbeddingRequest) -> HttpRequest:
        """Never: this vendor has none."""
        raise refused(
            f"provider {account.name!r} has no embeddings, so none of {request.model!r}; use another provider"
        )

    def decode_embeddings(
        self,
        account: Account,
        request: EmbeddingRequest,
        body: bytes,
        latency: float,  # noqa: ARG002  (the adapter's signature)
    ) -> EmbeddingResponse:
        """Never: nothing was asked."""
        raise malformed(account, f"vectors of {request.model!r} came unasked", body)

    def encode_models(self, account: Account) -> HttpRequest:
        """See `Adapter.encode_models`."""
        return get(account, _path(account, "/models?limit=1000"), _key(account))

    def decode_models(self, account: Account, body: bytes) -> list[str]:
        """See `Adapter.decode_models`."""
        return decode_models(account, body)

    def failure(
        self, account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ProviderError:
        """See `Adapter.failure`."""
        return error_of(account, status, headers, body, now)
