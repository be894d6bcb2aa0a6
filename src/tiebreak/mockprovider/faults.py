"""Which calls go wrong, decided by the call's number alone, and what is sent then. Pure."""

from collections.abc import Sequence
from http import HTTPStatus

from tiebreak.mockprovider.chance import draw
from tiebreak.mockprovider.chat import Refusal
from tiebreak.mockprovider.description import Fault

PAGE = b"<!doctype html><title>mock provider</title><h1>A page of tiebreak-mock-provider, not JSON</h1>\n"


def due(faults: Sequence[Fault], number: int, *words: object) -> Fault | None:
    """The first fault that takes call `number` of a model, counted from one; `words` are its seed and name."""
    for place, fault in enumerate(faults):
        if fault.first is not None:
            if number <= fault.first:
                return fault
        elif draw(*words, place, number) < (fault.share or 0):
            return fault
    return None


def refusal(fault: Fault, model: str) -> Refusal:
    """The error document of a fault."""
    code = "rate_limit_exceeded" if fault.status == HTTPStatus.TOO_MANY_REQUESTS else None
    message = f"model {model!r} is told to fail here by its `faults`"
    return Refusal(fault.status, message, code=code, retry_after=fault.retry_after)
