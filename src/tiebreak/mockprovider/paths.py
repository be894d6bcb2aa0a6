"""Which path is whose endpoint. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qsl, unquote

from tiebreak.mockprovider.conversation import Asked, Embed, Refusal, Said, Timed
from tiebreak.mockprovider.dialects import chat, customs, embeddings, gemini, messages, responses
from tiebreak.mockprovider.dialects.customs import Customs

CHAT = "/v1/chat/completions"
MODELS = "/v1/models"
HEALTH = "/health"


class Format(Protocol):
    """How requests for text and their answers are written; the modules of `dialects` are such."""

    def decode(self, body: bytes, model: str | None, stream: bool) -> Asked: ...
    def document(self, asked: Asked, said: Said) -> bytes: ...
    def events(self, asked: Asked, said: Said) -> list[Timed]: ...


class Decode(Protocol):
    """Reads a request for vectors."""

    def __call__(self, body: bytes, model: str | None) -> Embed: ...


class Document(Protocol):
    """Writes the vectors."""

    def __call__(self, asked: Embed, dimensions: int, tokens_counted: int | None) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Vectors:
    """How requests for vectors and their answers are written."""

    decode: Decode
    document: Document


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A path that is posted to; `model` and `stream` where the path says so, `version` where it must."""

    format: Format | Vectors
    customs: Customs
    model: str | None = None
    stream: bool = False
    version: str | None = None


_EMBEDDINGS = Vectors(embeddings.decode, embeddings.document)
_GOOGLE = {
    "generateContent": Endpoint(gemini, customs.GOOGLE),
    "streamGenerateContent": Endpoint(gemini, customs.GOOGLE, stream=True),
    "embedContent": Endpoint(Vectors(embeddings.decode_content, embeddings.content_document), customs.GOOGLE),
    "batchEmbedContents": Endpoint(
        Vectors(embeddings.decode_contents, embeddings.contents_document), customs.GOOGLE
    ),
}
_ENDPOINTS = {
    CHAT: Endpoint(chat, customs.OPENAI),
    "/v1/responses": Endpoint(responses, customs.RESPONSES),
    "/v1/embeddings": Endpoint(_EMBEDDINGS, customs.OPENAI),
    "/v1/messages": Endpoint(messages, customs.ANTHROPIC),
    "/openai/v1/chat/completions": Endpoint(chat, customs.AZURE),
    "/openai/v1/responses": Endpoint(responses, customs.AZURE),
    "/openai/v1/embeddings": Endpoint(_EMBEDDINGS, customs.AZURE),
}
_AZURE: Mapping[str, Format | Vectors] = {"chat/completions": chat, "embeddings": _EMBEDDINGS}
_DEPLOYMENT = re.compile(r"/openai/deployments/([^/]{1,600})/(chat/completions|embeddings)")
_MODEL = re.compile(r"/v1(?:beta)?/models/([^:]{1,600}):([A-Za-z]{1,30})")
LISTS = {MODELS: customs.OPENAI, "/v1beta/models": customs.GOOGLE, "/openai/v1/models": customs.AZURE}


def endpoint(path: str) -> Endpoint | None:
    """The endpoint that is posted to under this path."""
    if found := _ENDPOINTS.get(path):
        return found
    if deployment := _DEPLOYMENT.fullmatch(path):
        return Endpoint(_AZURE[deployment[2]], customs.AZURE, unquote(deployment[1]), version="api-version")
    if (called := _MODEL.fullmatch(path)) and (action := _GOOGLE.get(called[2])):
        return Endpoint(action.format, action.customs, unquote(called[1]), stream=action.stream)
    return None


def model_list(path: str, headers: Mapping[bytes, bytes]) -> tuple[Customs, str | None] | None:
    """Whose list of models this path is, and the one that is asked for, if it is one."""
    for root, owner in LISTS.items():
        if path == root or path.startswith(f"{root}/"):
            name = unquote(path.removeprefix(root).removeprefix("/")) or None
            return _owner(headers) or owner, name
    return None


def _owner(headers: Mapping[bytes, bytes]) -> Customs | None:
    """Whose client is asking, where its headers tell: three vendors list their models under the same path."""
    if b"anthropic-version" in headers:
        return customs.ANTHROPIC
    return customs.GOOGLE if b"x-goog-api-key" in headers else None


def query_of(target: str) -> dict[str, str]:
    """The words after the question mark; the last of several."""
    return dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))


def check(found: Endpoint, target: str, headers: Mapping[bytes, bytes]) -> None:
    """Refusal where a vendor insists on naming its version, or the mock on its way of streaming."""
    if found.customs is customs.ANTHROPIC and b"anthropic-version" not in headers:
        raise Refusal(400, "the header `anthropic-version` is missing; send `anthropic-version: 2023-06-01`")
    if found.version and found.version not in query_of(target):
        raise Refusal(404, f"the path needs `?{found.version}=…`; without it there is no such resource")
    if found.format is gemini and found.stream and query_of(target).get("alt") != "sse":
        raise Refusal(400, "streamGenerateContent is served as events only; send `?alt=sse`")
