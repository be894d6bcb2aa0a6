"""What the endpoints of one vendor share: where the key is, how errors read, which headers count the limits. Pure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from tiebreak.mockprovider.conversation import FINGERPRINT, Refusal
from tiebreak.mockprovider.limits import Level, Standing

_encode = msgspec.json.Encoder().encode

Headers = Mapping[bytes, bytes]
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Customs:
    """A vendor's ways. `key` finds the given key, `remedy` says where it belongs; `limits` are given the present time."""

    key: Callable[[Headers, Query], bytes]
    remedy: str
    error: Callable[[Refusal], bytes]
    error_event: Callable[[Refusal], bytes]
    limits: Callable[[Standing, datetime], dict[str, str]]
    models: Callable[[list[str]], bytes]
    model: Callable[[str], bytes]


def bearer(headers: Headers) -> bytes:
    """The token of the authorization header."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token if scheme.lower() == b"bearer" else b""


def error_document(refusal: Refusal) -> bytes:
    """The error in OpenAI's dialect."""
    kind = "server_error" if refusal.status >= 500 else "invalid_request_error"
    if refusal.code in {"rate_limit_exceeded", "insufficient_quota"}:
        kind = refusal.code
    return _encode({"error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.code}})


def _data(document: Callable[[Refusal], bytes]) -> Callable[[Refusal], bytes]:
    return lambda refusal: b"data: " + document(refusal) + b"\n\n"


def go_duration(seconds: float) -> str:
    """A time as Go writes it: 120ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"


def _openai_limits(standing: Standing, _: datetime) -> dict[str, str]:
    headers: dict[str, str] = {}
    for what, level in _levels(standing):
        headers[f"x-ratelimit-limit-{what}"] = str(level.capacity)
        headers[f"x-ratelimit-remaining-{what}"] = str(level.remaining)
        headers[f"x-ratelimit-reset-{what}"] = go_duration(level.reset)
    return headers | _retry_after(standing)


def _levels(standing: Standing) -> list[tuple[str, Level]]:
    both = (("requests", standing.requests), ("tokens", standing.tokens))
    return [(what, level) for what, level in both if level is not None]


def _retry_after(standing: Standing) -> dict[str, str]:
    return {} if standing.wait is None else {"retry-after": str(math.ceil(standing.wait))}


def _models(names: list[str]) -> bytes:
    return _encode({"object": "list", "data": [_model(name) for name in names]})


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": FINGERPRINT}


OPENAI = Customs(
    key=lambda headers, _: bearer(headers),
    remedy="send `Authorization: Bearer …`",
    error=error_document,
    error_event=_data(error_document),
    limits=_openai_limits,
    models=_models,
    model=lambda name: _encode(_model(name)),
)


def _responses_error(refusal: Refusal) -> bytes:
    body = {"type": "error", "sequence_number": 0, "code": refusal.code or "server_error"}
    return b"event: error\ndata: %b\n\n" % _encode(body | {"message": refusal.message, "param": None})


RESPONSES = Customs(
    key=OPENAI.key,
    remedy=OPENAI.remedy,
    error=error_document,
    error_event=_responses_error,
    limits=_openai_limits,
    models=_models,
    model=OPENAI.model,
)


def _azure_error(refusal: Refusal) -> bytes:
    """Azure's own errors carry the status as a code; those of the model carry the model's."""
    return _encode({"error": {"code": refusal.code or str(refusal.status), "message": refusal.message}})


def _azure_limits(standing: Standing, _: datetime) -> dict[str, str]:
    left = {f"x-ratelimit-remaining-{what}": str(level.remaining) for what, level in _levels(standing)}
    if standing.wait is None:
        return left
    return left | _retry_after(standing) | {"retry-after-ms": str(math.ceil(standing.wait * 1000))}


AZURE = Customs(
    key=lambda headers, _: headers.get(b"api-key") or bearer(headers),
    remedy="send `api-key: …`",
    error=_azure_error,
    error_event=_data(_azure_error),
    limits=_azure_limits,
    models=_models,
    model=OPENAI.model,
)

_ANTHROPIC_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def _anthropic_error(refusal: Refusal) -> bytes:
    kind = _ANTHROPIC_KINDS.get(
        refusal.status, "api_error" if refusal.status >= 500 else "invalid_request_error"
    )
    error = {"type": kind, "message": refusal.message}
    return _encode({"type": "error", "error": error, "request_id": "req_mock"})


def _anthropic_limits(standing: Standing, now: datetime) -> dict[str, str]:
    headers: dict[str, str] = {}
    for what, level in _levels(standing):
        reset = (now + timedelta(seconds=level.reset)).astimezone(UTC)
        headers[f"anthropic-ratelimit-{what}-limit"] = str(level.capacity)
        headers[f"anthropic-ratelimit-{what}-remaining"] = str(level.remaining)
        headers[f"anthropic-ratelimit-{what}-reset"] = f"{reset:%Y-%m-%dT%H:%M:%SZ}"
    return headers | _retry_after(standing)


def _anthropic_model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": FINGERPRINT, "created_at": "1970-01-01T00:00:00Z"}


def _anthropic_models(names: list[str]) -> bytes:
    ends = {"first_id": names[0], "last_id": names[-1], "has_more": False}
    return _encode({"data": [_anthropic_model(name) for name in names]} | ends)


ANTHROPIC = Customs(
    key=lambda headers, _: headers.get(b"x-api-key") or bearer(headers),
    remedy="send `x-api-key: …`",
    error=_anthropic_error,
    error_event=lambda refusal: b"event: error\ndata: %b\n\n" % _anthropic_error(refusal),
    limits=_anthropic_limits,
    models=_anthropic_models,
    model=lambda name: _encode(_anthropic_model(name)),
)

_GOOGLE_STATES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def _google_error(refusal: Refusal) -> bytes:
    """The wait stands in the body here, as a detail of type RetryInfo."""
    error: dict[str, Any] = {
        "code": refusal.status,
        "message": refusal.message,
        "status": _GOOGLE_STATES.get(refusal.status, "UNKNOWN"),
    }
    if refusal.wait is not None:
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": kind, "retryDelay": f"{refusal.wait:.3f}s"}]
    return _encode({"error": error})


def _google_model(name: str) -> dict[str, Any]:
    actions = ["generateContent", "streamGenerateContent", "embedContent"]
    return {"name": f"models/{name}", "displayName": FINGERPRINT, "supportedGenerationMethods": actions}


GOOGLE = Customs(
    key=lambda headers, query: headers.get(b"x-goog-api-key") or query.get("key", "").encode(),
    remedy="send `x-goog-api-key: …`",
    error=_google_error,
    error_event=lambda refusal: b"data: " + _google_error(refusal) + b"\r\n\r\n",
    limits=lambda _standing, _now: {},
    models=lambda names: _encode({"models": [_google_model(name) for name in names]}),
    model=lambda name: _encode(_google_model(name)),
)


def health_document(calls: int) -> bytes:
    """What the mock says of itself."""
    return _encode({"status": "ok", "kind": FINGERPRINT, "calls": calls})
