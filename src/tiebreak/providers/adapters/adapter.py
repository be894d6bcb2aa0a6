"""What a dialect has to say: our requests to its bytes, its bytes to our responses."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.model import (
    ChatRequest,
    ChatResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ProviderError,
    StreamEvent,
)


class StreamDecoder(Protocol):
    """One streamed answer, read event by event."""

    def take(self, data: bytes) -> list[StreamEvent]:
        """What the data of one server-sent event says; the last event of an answer is its `StreamEnd`.

        Raises:
            ProviderError: it cannot be read, or it is an error.
        """
        ...

    def finish(self) -> list[StreamEvent]:
        """What the end of the body says, when the stream had no end of its own.

        Raises:
            ProviderError: the answer is not whole.
        """
        ...


class Adapter(Protocol):
    """One wire dialect: our requests to its bytes, its bytes to our responses. Holds no state and calls nobody."""

    def samples(self, account: Account) -> int:
        """How many answers one request may ask for with `n`."""
        ...

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """The call on the wire.

        Raises:
            ProviderError: something in it has no words in this dialect; nothing was sent.
        """
        ...

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """A successful answer that came in one piece.

        Raises:
            ProviderError: it holds no answer, or an error in spite of its status.
        """
        ...

    def stream(self, account: Account, request: ChatRequest) -> StreamDecoder:
        """A reader for one streamed answer."""
        ...

    def encode_embeddings(self, account: Account, request: EmbeddingRequest) -> HttpRequest:
        """The call for vectors.

        Raises:
            ProviderError: this dialect has none, or not so; nothing was sent.
        """
        ...

    def decode_embeddings(
        self, account: Account, request: EmbeddingRequest, body: bytes, latency: float
    ) -> EmbeddingResponse:
        """One vector for each text.

        Raises:
            ProviderError: it holds fewer, more, or none.
        """
        ...

    def encode_models(self, account: Account) -> HttpRequest:
        """The question which models the account reaches."""
        ...

    def decode_models(self, account: Account, body: bytes) -> list[str]:
        """The names of the models, sorted.

        Raises:
            ProviderError: malformed.
        """
        ...

    def failure(
        self, account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> ProviderError:
        """An answer whose status says no."""
        ...
