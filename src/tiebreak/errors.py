"""Every error the product shows to a caller, on one page.

A message names the offending value, the reason and the remedy. The management API renders these as RFC 9457
problems, the command line as one line and an exit code; nothing else decides a status.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One place in the input that is wrong.

    `pointer` is an RFC 6901 JSON pointer ("/variants/1/model"), or "" for the whole; `line` and `column` count from
    one and are known for files only.
    """

    pointer: str
    message: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column is not None else ""
        place = f"line {self.line}{column}: " if self.line is not None else ""
        return f"{place}{self.pointer + ': ' if self.pointer else ''}{self.message}"


class TiebreakError(Exception):
    """Something went wrong that we can name. `code` is stable and machine-readable; `status` is the HTTP status."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self, detail: str, *, faults: Sequence[Fault] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = tuple(faults)
        self.retry_after = retry_after  # seconds, a minimum


class InvalidInput(TiebreakError):
    """The caller's values cannot be used; `faults` says where."""

    status, code, title = 422, "invalid_input", "Invalid input"


class NotFound(TiebreakError):
    """No such thing; `detail` names kind and identifier."""

    status, code, title = 404, "not_found", "Not found"


class Conflict(TiebreakError):
    """The request contradicts the present state (a name already taken, a thing still in use)."""

    status, code, title = 409, "conflict", "Conflict"


class IllegalTransition(Conflict):
    """A lifecycle step that the present state does not allow."""

    code, title = "illegal_transition", "Illegal transition"


class Unauthenticated(TiebreakError):
    """The call needs an API key, and what it brought is none that counts: missing, unknown, revoked, expired."""

    status, code, title = 401, "unauthenticated", "Unauthenticated"


class Refused(TiebreakError):
    """Policy says no: a foreign host or origin, a private address, a key without the scope."""

    status, code, title = 403, "refused", "Refused"


class PayloadTooLarge(TiebreakError):
    """A body, a line or a file is over its limit."""

    status, code, title = 413, "payload_too_large", "Payload too large"


class UnsupportedMedia(TiebreakError):
    """A body of a type this endpoint does not take."""

    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class Unavailable(TiebreakError):
    """A part we need is away for now: the database, a provider."""

    status, code, title = 503, "unavailable", "Unavailable"


class Misconfigured(TiebreakError):
    """The installation cannot work as configured (no database binaries, a wrong secret key); start-up names it."""

    status, code, title = 503, "misconfigured", "Misconfigured"
