"""Failures in the callers' dialects, with what their SDKs look at: status, type, and whether to try again. Pure."""

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from tiebreak.errors import TiebreakError
from tiebreak.gateway.surfaces.writing import encoded
from tiebreak.providers.model import Failure, ProviderError


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """The whole answer to a request that failed. Header names are in lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


# What a vendor's failure is to the caller. Our own key and our own rules are nothing that a caller can put right, so they are
# no 401 and no 403, which would speak of the caller's.
_STATUS: Final = {
    Failure.BAD_REQUEST: 400,
    Failure.CONTENT_REFUSED: 400,
    Failure.NOT_FOUND: 404,
    Failure.RATE_LIMITED: 429,
    Failure.QUOTA: 429,
    Failure.AUTHENTICATION: 502,
    Failure.ADDRESS_REFUSED: 502,
    Failure.SERVER_ERROR: 502,
    Failure.CONNECTION: 502,
    Failure.MALFORMED: 502,
    Failure.CIRCUIT_OPEN: 503,
    Failure.TIMEOUT: 504,
}
_OPENAI_CODES: Final = {
    Failure.QUOTA: "insufficient_quota",
    Failure.RATE_LIMITED: "rate_limit_exceeded",
    Failure.NOT_FOUND: "model_not_found",
    Failure.CONTENT_REFUSED: "content_filter",
}
_OPENAI_CODES_OF_STATUS: Final = {
    401: "invalid_api_key",
    404: "model_not_found",
    429: "rate_limit_exceeded",
}
_ANTHROPIC_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_JSON: Final = (b"content-type", b"application/json")
_INDEX: Final = re.compile(r"/(\d+)(?=/|$)")


def status_of(error: TiebreakError) -> int:
    """The status, before a dialect has its own number for it."""
    if isinstance(error, ProviderError):
        return _STATUS[error.failure]
    # A body that cannot be used has one status with the vendors.
    return 400 if error.status == 422 else error.status


def _headers(error: TiebreakError) -> tuple[tuple[bytes, bytes], ...]:
    """The wait is the vendor's or ours. An SDK is told not to try again where we have: its retries on top of ours would
    multiply them."""
    headers = [_JSON]
    if error.retry_after is not None and math.isfinite(error.retry_after):
        seconds = max(0.0, error.retry_after)
        headers.append((b"retry-after", str(math.ceil(seconds)).encode()))
        headers.append((b"retry-after-ms", str(math.ceil(seconds * 1000)).encode()))
    if isinstance(error, ProviderError):
        headers.append((b"x-should-retry", b"false"))
    return tuple(headers)


def openai_error(error: TiebreakError) -> dict[str, Any]:
    """What OpenAI's dialect says of a failure, without the object around it."""
    status = status_of(error)
    if isinstance(error, ProviderError):
        code = _OPENAI_CODES.get(error.failure, str(error.failure))
    else:
        code = _OPENAI_CODES_OF_STATUS.get(status, error.code)
    kind = "invalid_request_error"
    if status >= 500:
        kind = "server_error"
    elif status == 429:
        kind = "insufficient_quota" if code == "insufficient_quota" else "rate_limit_error"
    pointer = error.faults[0].pointer if error.faults else ""
    param = _INDEX.sub(r"[\1]", pointer).removeprefix("/").replace("/", ".") or None
    return {"message": error.detail, "type": kind, "param": param, "code": code}


def openai(error: TiebreakError, request_id: str) -> ErrorAnswer:  # noqa: ARG001  (as the other dialect has it)
    """In the dialect of chat completions, responses and embeddings."""
    return ErrorAnswer(status_of(error), _headers(error), encoded({"error": openai_error(error)}))


def anthropic_error(error: TiebreakError, request_id: str) -> dict[str, Any]:
    """What Anthropic's dialect says of a failure, in an answer and in a stream."""
    status = status_of(error)
    kind = _ANTHROPIC_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": error.detail}, "request_id": request_id}


def anthropic(error: TiebreakError, request_id: str) -> ErrorAnswer:
    """In the dialect of messages, where being overloaded has a status of its own."""
    status = status_of(error)
    return ErrorAnswer(
        529 if status == 503 else status, _headers(error), encoded(anthropic_error(error, request_id))
    )
