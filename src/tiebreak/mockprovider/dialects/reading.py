"""What every format reads alike. Pure."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from tiebreak.mockprovider.conversation import Refusal, Tool

_T = TypeVar("_T")

NO_QUESTION = "the request has no message with the role 'user'; the mock provider answers that one"


class Function(Struct):
    """A function as OpenAI describes it."""

    name: str
    parameters: Any = None

    @property
    def tool(self) -> Tool:
        """The tool it is."""
        return Tool(self.name, self.parameters)


def decode(decoder: msgspec.json.Decoder[_T], body: bytes) -> _T:
    """The request; Refusal names what is wrong with it."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the request body cannot be read: {error}") from error


def last(texts: Iterable[str]) -> str:
    """The last of the user's texts that says something; Refusal when the user has no message at all."""
    found: str | None = None
    for text in texts:
        if text or found is None:
            found = text
    if found is None:
        raise Refusal(400, NO_QUESTION)
    return found


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    """The sequences that end an answer."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
