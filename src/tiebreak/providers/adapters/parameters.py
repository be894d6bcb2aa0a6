"""The parameters of a variant: which are not the test's to set, and the common ones under their common names. Pure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tiebreak.providers.adapters.failures import refused
from tiebreak.providers.model import ChatRequest

RESERVED: Final[Mapping[str, str]] = {
    "model": "the variant names it",
    "messages": "the prompt makes them",
    "contents": "the prompt makes them",
    "input": "the prompt makes it",
    "stream": "the metrics of the test decide it",
    "stream_options": "the metrics of the test decide it",
    "n": "use `repeats` for more than one answer",
    "candidateCount": "use `repeats` for more than one answer",
}


def require_free(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that are not the test's to set.

    Raises:
        ProviderError: names the parameter and the reason.
    """
    for name in parameters:
        if name in RESERVED:
            raise refused(f"parameter {name!r} cannot be set: {RESERVED[name]}")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise refused(f"parameter {name!r} is {value!r}; a number is needed")
    return value


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refused(f"parameter {name!r} is {value!r}; a whole number is needed")
    return value


def _stops(name: str, value: object) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list | tuple) or not all(isinstance(stop, str) for stop in stops):
        raise refused(f"parameter {name!r} is {value!r}; a string or a list of strings is needed")
    return tuple(stops)


_COMMON: Final[Mapping[str, tuple[str, Any]]] = {
    "temperature": ("temperature", _number),
    "top_p": ("top_p", _number),
    "max_tokens": ("max_tokens", _whole),
    "max_completion_tokens": ("max_tokens", _whole),
    "stop": ("stop", _stops),
    "seed": ("seed", _whole),
}


def lifted(request: ChatRequest) -> ChatRequest:
    """The request with the common parameters (OpenAI's names) as fields, for dialects that name them otherwise. A
    field that is set already wins; null means the vendor's default.

    Raises:
        ProviderError: one of them has no such value, or is not the test's to set.
    """
    require_free(request.parameters)
    common = {name: value for name, value in request.parameters.items() if name in _COMMON}
    if not common:
        return request
    fields = {}
    for name, value in common.items():
        field, read = _COMMON[name]
        if value is not None and getattr(request, field) in (None, ()):
            fields[field] = read(name, value)
    rest = {name: value for name, value in request.parameters.items() if name not in _COMMON}
    return replace(request, parameters=rest, **fields)
