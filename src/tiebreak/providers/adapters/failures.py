"""What goes wrong with a vendor, by whose fault it was, in all the ways vendors say it. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from tiebreak.providers import limits
from tiebreak.providers.account import Account
from tiebreak.providers.model import Failure, ProviderError
from tiebreak.providers.redaction import excerpt

DETAIL_CHARACTERS: Final = 400
BODY_CHARACTERS: Final = 4096

# msgspec's own errors are ValueErrors, and so is invalid UTF-8; nesting over its limit is a RecursionError.
BAD_JSON: Final = (ValueError, RecursionError)


def refused(message: str) -> ProviderError:
    """What has no words in a dialect; nothing was sent."""
    return ProviderError(Failure.BAD_REQUEST, message, calls=0)


def malformed(account: Account, what: str, body: bytes) -> ProviderError:
    """An answer that does not hold what the dialect promises.

    Raised without its cause: a decoder's error keeps the whole answer, which may repeat the key.
    """
    seen = excerpt(body, account.secret, 120)
    return ProviderError(
        Failure.MALFORMED,
        f"provider {account.name!r}: {what}; it begins with {seen!r}"
        if seen
        else f"provider {account.name!r}: {what}; it is empty",
        body=excerpt(body, account.secret, BODY_CHARACTERS),
    )


def incomplete(account: Account, how: str, pieces: int | None = None) -> ProviderError:
    """A stream that stopped before it said that the answer was whole."""
    after = "" if pieces is None else f" after {pieces} pieces of text"
    return ProviderError(
        Failure.MALFORMED, f"provider {account.name!r}: the stream is incomplete{after}: {how}"
    )


_QUOTA: Final = ("insufficient_quota", "billing", "credit", "payment")
_CONTENT: Final = ("content_filter", "responsibleaipolicy", "content_policy")


def classify(status: int, marks: str) -> Failure:
    """Whose fault an error status is. `marks` is the error's type and code, in lower case."""
    if status == 402 or (status in (400, 403, 429) and any(mark in marks for mark in _QUOTA)):
        return Failure.QUOTA
    if status in (400, 403) and any(mark in marks for mark in _CONTENT):
        return Failure.CONTENT_REFUSED
    if status in (401, 403):
        return Failure.AUTHENTICATION
    if status == 404 or 300 <= status < 400:
        return Failure.NOT_FOUND
    if status == 408:
        return Failure.TIMEOUT
    if status == 429:
        return Failure.RATE_LIMITED
    if status >= 500 or status in (409, 425):
        return Failure.SERVER_ERROR
    return Failure.BAD_REQUEST


# Statuses for errors told inside a 200, by type or code.
_TOLD: Final = (
    ("insufficient_quota", 402),
    ("billing", 402),
    ("rate_limit", 429),
    ("resource_exhausted", 429),
    ("overloaded", 503),
    ("unavailable", 503),
    ("authentication", 401),
    ("invalid_api_key", 401),
    ("unauthenticated", 401),
    ("permission", 403),
    ("not_found", 404),
    ("content_filter", 400),
    ("invalid_request", 400),
    ("invalid_argument", 400),
)


class _Fault(msgspec.Struct):
    message: str | None = None
    type: str | None = None
    code: str | int | None = None
    status: str | int | None = None  # Google's word for the kind of error


class _FaultBody(msgspec.Struct):
    # OpenAI, Anthropic and Google nest it, some write a bare string, FastAPI-made vendors say `detail`, others only
    # `message`.
    error: _Fault | str | None = None
    detail: msgspec.Raw = msgspec.Raw()
    message: str | None = None


_fault_bodies = msgspec.json.Decoder(_FaultBody | list[_FaultBody])
_faults = msgspec.json.Decoder(_Fault | str)


def _marks(fault: _Fault) -> str:
    return f"{fault.type} {fault.code} {fault.status}".lower()


def told(account: Account, raw: bytes) -> ProviderError:
    """An error that came in spite of a 200, in a stream or in place of the answer; `raw` is the error itself."""
    try:
        fault = _faults.decode(raw)
    except BAD_JSON:
        return malformed(account, "it sent an error that cannot be read", raw)
    if isinstance(fault, str):
        fault = _Fault(message=fault)
    marks = _marks(fault)
    status = next((status for mark, status in _TOLD if mark in marks), 500)
    if isinstance(fault.code, int) and 400 <= fault.code < 600:
        status = fault.code
    shown = excerpt(fault.message or marks, account.secret, DETAIL_CHARACTERS)
    return ProviderError(
        classify(status, marks),
        f"provider {account.name!r} answered with an error: {shown}",
        body=excerpt(raw, account.secret, BODY_CHARACTERS),
        http_status=status,
    )


def _complaint(body: bytes) -> tuple[bytes | str, str]:
    """What an error body says, and its type and code in lower case."""
    try:
        parsed = _fault_bodies.decode(body)
    except BAD_JSON:
        return body, ""
    if isinstance(parsed, list):  # Google, of a streamed call
        parsed = parsed[0] if parsed else _FaultBody()
    fault = parsed.error if isinstance(parsed.error, _Fault) else _Fault(message=parsed.error)
    return fault.message or parsed.message or bytes(parsed.detail) or body, _marks(fault)


# Errors that are told with the status of another kind.
_SAID: Final = (
    (b"credit balance is too low", Failure.QUOTA),  # Anthropic: 400
    (b"API_KEY_INVALID", Failure.AUTHENTICATION),  # Google: 400
)


def _failure(status: int, marks: str, body: bytes) -> Failure:
    if status == 400:
        for mark, failure in _SAID:
            if mark in body:
                return failure
    return classify(status, marks)


def error_of(
    account: Account, status: int, headers: Mapping[str, str], body: bytes, now: datetime
) -> ProviderError:
    """An answer whose status says no."""
    said, marks = _complaint(body)
    message = excerpt(said, account.secret, DETAIL_CHARACTERS)
    if 300 <= status < 400:
        target = excerpt(headers.get("location", "nowhere"), account.secret, 200)
        message = f"a redirect to {target}, which is not followed; set base_url to the final address"
    failure = _failure(status, marks, body)
    stated = limits.rate_limits(headers, now)
    used_up = stated if failure is Failure.RATE_LIMITED else None
    return ProviderError(
        failure,
        f"provider {account.name!r} answered {status}: {message or 'with an empty body'}",
        retry_after=limits.minimum_wait(headers, body, now, used_up),
        body=excerpt(body, account.secret, BODY_CHARACTERS),
        http_status=status,
        limits=stated,
    )
