"""OpenAI itself: chat completions in its present words, and the Responses API."""

from tiebreak.infrastructure.connections.http import HttpRequest
from tiebreak.providers.account import Account
from tiebreak.providers.adapters import responses_wire
from tiebreak.providers.adapters.openai_compatible import OpenAICompatible, bearer
from tiebreak.providers.adapters.openai_request import Quirks
from tiebreak.providers.adapters.responses_wire import EventsReader
from tiebreak.providers.adapters.wire import post
from tiebreak.providers.model import ChatRequest, ChatResponse

# Its reasoning models refuse `max_tokens`; every one of its chat models takes the newer name.
QUIRKS = Quirks(limit_name="max_completion_tokens", samples=128)


class OpenAI(OpenAICompatible):
    """`/chat/completions`, `/embeddings` and `/models`."""

    def __init__(self) -> None:
        super().__init__(QUIRKS)


class OpenAIResponses(OpenAICompatible):
    """`/responses` for chats, and the rest as OpenAI has it. Nothing is stored at the vendor."""

    def __init__(self) -> None:
        super().__init__(Quirks())

    def encode(self, account: Account, request: ChatRequest) -> HttpRequest:
        """See `Adapter.encode`."""
        return post(account, "/responses", bearer(account), responses_wire.body(request))

    def decode(self, account: Account, request: ChatRequest, body: bytes, latency: float) -> ChatResponse:
        """See `Adapter.decode`."""
        return responses_wire.decode(account, request, body, latency)

    def stream(self, account: Account, request: ChatRequest) -> EventsReader:
        """See `Adapter.stream`."""
        return EventsReader(account, request)
