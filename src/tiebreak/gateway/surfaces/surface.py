"""What a surface has to say, and the paths they are found on. Pure."""

from collections.abc import Mapping
from typing import Final, Protocol

from tiebreak.errors import TiebreakError
from tiebreak.gateway.fields import Fields
from tiebreak.gateway.surfaces import chat, messages, responses
from tiebreak.gateway.surfaces.errors import ErrorAnswer
from tiebreak.gateway.surfaces.writing import Question, StreamWriter
from tiebreak.providers.model import ChatRequest, ChatResponse


class Surface(Protocol):
    """One dialect that callers speak. Holds no state."""

    def untranslatable(self, fields: Fields) -> list[str]:
        """The names of what a request asks for that only a provider of the same dialect can be told.

        Raises:
            InvalidInput: the body cannot be read.
        """
        ...

    def to_neutral(self, fields: Fields, *, same_family: bool = False) -> ChatRequest:
        """The request in no vendor's words; `model` is the body's. With `same_family` what has no neutral words goes along
        in `parameters`.

        Raises:
            InvalidInput: it cannot be read, or (without `same_family`) something in it has no neutral words.
        """
        ...

    def answer(self, response: ChatResponse, question: Question) -> bytes:
        """The body of an answer.

        Raises:
            ProviderError: the model said something for which the dialect has no words.
        """
        ...

    def writer(self, question: Question) -> StreamWriter:
        """For one streamed answer."""
        ...

    def failed(self, error: TiebreakError, request_id: str) -> ErrorAnswer:
        """The answer to a request that has none."""
        ...


CHATS: Final[Mapping[str, Surface]] = {
    "/v1/chat/completions": chat,
    "/v1/responses": responses,
    "/v1/messages": messages,
}
