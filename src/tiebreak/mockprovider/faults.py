"""Which calls go wrong, by the call's number and time alone, and the documents that are sent then. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import msgspec

from tiebreak.mockprovider.chance import draw
from tiebreak.mockprovider.conversation import Refusal
from tiebreak.mockprovider.fault import Fault

PAGE = b"<!doctype html><title>mock provider</title><h1>A page of tiebreak-mock-provider, not JSON</h1>\n"
DOCUMENT_CHUNKS = 16
_NESTED = 10_000


def due(
    faults: Sequence[Fault], number: int, *words: object, since_start: float = 0.0, since_first: float = 0.0
) -> Fault | None:
    """The first fault that takes call `number` of a model, counted from one; `words` are its seed and name.

    The times are seconds since the start of the mock and since the model's first call.
    """
    for place, fault in enumerate(faults):
        if fault.first is not None:
            if number <= fault.first:
                return fault
            continue
        passed = since_start if fault.since == "start" else since_first
        begins = fault.after_seconds or 0.0
        if fault.windowed and not begins <= passed < begins + (fault.for_seconds or float("inf")):
            continue
        if fault.share is None or draw(*words, place, number) < fault.share:
            return fault
    return None


def refusal(fault: Fault, model: str, now: datetime) -> Refusal:
    """The error document of a fault."""
    code = "rate_limit_exceeded" if fault.status == HTTPStatus.TOO_MANY_REQUESTS else None
    message = f"model {model!r} is told to fail here by its `faults`"
    return Refusal(
        fault.status,
        message,
        code=fault.code or code,
        retry_after=retry_after(fault, now),
        wait=fault.retry_after_date,
    )


def retry_after(fault: Fault, now: datetime) -> str | None:
    """The header's value: as it stands, or a date."""
    if fault.retry_after_date is None:
        return fault.retry_after
    return format_datetime(now + timedelta(seconds=fault.retry_after_date), usegmt=True)


def chunks(body: bytes) -> list[bytes]:
    """A document in sixteen pieces, fewer where it is shorter."""
    size = max(1, -(-len(body) // DOCUMENT_CHUNKS))
    return [body[start : start + size] for start in range(0, len(body), size)]


def malformed(fault: Fault, said: bytes) -> bytes:
    """A document or an event whose JSON is spoilt."""
    begin, end = said.find(b"{"), said.find(b"}\n")
    end = said.rfind(b"}") if end < 0 or not said.startswith((b"data:", b"event:")) else end
    inner = said[begin + 1 : end]
    return said[:begin] + _spoilt(fault, inner) + said[end + 1 :]


def _spoilt(fault: Fault, inner: bytes) -> bytes:
    """An object, given without its braces, gone wrong."""
    match fault.variant:
        case "unclosed":
            return b"{" + inner
        case "garbage":
            return b"this is not JSON"
        case "nan":
            return b'{"mock":NaN,' + inner + b"}"
        case "nesting":
            return b'{"mock":' + b"[" * _NESTED + b"]" * _NESTED + b"," + inner + b"}"
        case "duplicate_keys":
            return b"{" + inner + b"," + inner + b"}"
        case "wrong_types":
            return msgspec.json.encode(dict.fromkeys(msgspec.json.decode(b"{" + inner + b"}"), 7))
        case "list":
            return b"[{" + inner + b"}]"
        case "bom":
            return b"\xef\xbb\xbf{" + inner + b"}"
        case "invalid_utf8":
            return b'{"mock":"\xff\xfe",' + inner + b"}"


def lengthened(fault: Fault, said: bytes) -> bytes:
    """A document or an event with a member of that many bytes before its others."""
    begin = said.find(b"{") + 1
    return said[:begin] + b'"mock":"' + b"x" * fault.size + b'",' + said[begin:]


def split(said: bytes) -> list[bytes]:
    """CRLF instead of LF, in pieces that end within every line end and every character beyond ASCII."""
    whole = said.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    ends = [at for at in range(1, len(whole)) if whole[at - 1 : at] == b"\r" or whole[at] & 0xC0 == 0x80]
    return [whole[start:end] for start, end in zip([0, *ends], [*ends, len(whole)], strict=True)]
