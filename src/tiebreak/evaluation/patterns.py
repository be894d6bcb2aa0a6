"""Regular expressions that end: compiled with a named error, searched with a time limit."""

import regex

from tiebreak.errors import Fault, InvalidInput


def compile_pattern(pattern: str, *, pointer: str, ignore_case: bool = False) -> "regex.Pattern[str]":
    """The pattern, in the syntax of the `regex` module; InvalidInput, at `pointer`, names what is wrong with it."""
    try:
        return regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
    except (regex.error, ValueError) as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    message = f"{_short(pattern)} is not a regular expression: {reason}; correct the pattern"
    raise InvalidInput(message, faults=[Fault(pointer, message)])


def found(pattern: "regex.Pattern[str]", text: str, *, seconds: float) -> bool:
    """Whether the pattern is found in the text; TimeoutError when that takes longer than `seconds`."""
    return pattern.search(text, timeout=seconds) is not None


def _short(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 80 else pattern[:79] + "…")
