"""The checks themselves: from a configuration to a function that gives a response its score. Pure.

The evaluator's own troubles come before the response's: an item without an expected answer is unscored in every
variant, whatever was answered, so that a variant cannot move its mean by failing on such items.
"""

from collections.abc import Callable
from typing import assert_never

from tiebreak.errors import Fault, InvalidInput
from tiebreak.evaluation import json_text
from tiebreak.evaluation.json_schema import compile_schema
from tiebreak.evaluation.model import (
    Answer,
    CheckConfig,
    ContainsCheck,
    ExactCheck,
    JsonSchemaCheck,
    LengthCheck,
    NumericCheck,
    RegexCheck,
    Score,
)
from tiebreak.evaluation.numbers import last_number, only_number, within
from tiebreak.evaluation.patterns import compile_pattern, found

Check = Callable[[Answer], Score]

RIGHT = Score(1.0)
NO_EXPECTED = Score(None, "no_expected")
TIME_LIMIT = Score(None, "time_limit")
BROKEN_SCHEMA = Score(None, "broken_schema")
FAILED = Score(0.0, "failed")

# How an answer ended, in the vendors' words, when that explains why something is missing from it.
_ENDINGS = {"length": "truncated", "content_filter": "refused"}


def build(config: CheckConfig) -> Check:
    """The check as a function; it may take as long as its time limit, so many of them belong in a thread.

    InvalidInput for what can be known before any response is seen: a pattern that does not compile, a schema that is
    none or refers outside itself, a minimum above the maximum. Its fault's pointer is relative to the check.
    """
    match config:
        case ExactCheck():
            return _exact(config)
        case ContainsCheck():
            return _contains(config)
        case RegexCheck():
            return _regex(config)
        case NumericCheck():
            return _numeric(config)
        case JsonSchemaCheck():
            return _json_schema(config)
        case LengthCheck():
            return _length(config)
    assert_never(config)


def validate(config: CheckConfig) -> None:
    """Raise InvalidInput, as `build` would, before anything is spent on the test."""
    build(config)


def _exact(config: ExactCheck) -> Check:
    def check(answer: Answer) -> Score:
        if not (expected := _expected(answer)):
            return NO_EXPECTED
        if answer.text is None:
            return FAILED
        said = _line(answer.text, config.line) if config.line else answer.text
        same = _fold(said.strip(), config) == _fold(expected, config)
        return RIGHT if same else _missing(answer)

    return check


def _contains(config: ContainsCheck) -> Check:
    def check(answer: Answer) -> Score:
        if not (wanted := config.value or _expected(answer)):
            return NO_EXPECTED
        if answer.text is None:
            return FAILED
        return RIGHT if _fold(wanted, config) in _fold(answer.text, config) else _missing(answer)

    return check


def _regex(config: RegexCheck) -> Check:
    pattern = compile_pattern(config.pattern, pointer="/pattern", ignore_case=config.ignore_case)
    seconds = config.time_limit_ms / 1000

    def check(answer: Answer) -> Score:
        if answer.text is None:
            return FAILED
        try:
            return RIGHT if found(pattern, answer.text, seconds=seconds) else _missing(answer)
        except TimeoutError:
            return TIME_LIMIT

    return check


def _numeric(config: NumericCheck) -> Check:
    def check(answer: Answer) -> Score:
        expected = only_number(answer.expected or "")
        if expected is None:
            return NO_EXPECTED
        if answer.text is None:
            return FAILED
        number = last_number(_line(answer.text, config.line) if config.line else answer.text)
        if number is None:
            return _missing(answer, "no_number")
        return RIGHT if within(number, expected, config.tolerance) else Score(0.0)

    return check


def _json_schema(config: JsonSchemaCheck) -> Check:
    satisfies = compile_schema(config.document, pointer="/schema")

    def check(answer: Answer) -> Score:
        if answer.text is None:
            return FAILED
        try:
            value = json_text.parse(answer.text)
        except ValueError:
            return _missing(answer, "invalid_json")
        try:
            return RIGHT if satisfies(value) else Score(0.0, "schema_mismatch")
        except TimeoutError:
            return TIME_LIMIT
        except RecursionError:  # the schema refers to itself without end: the text is never this deep
            return BROKEN_SCHEMA

    return check


def _length(config: LengthCheck) -> Check:
    if config.max is not None and config.max < config.min:
        message = f"max {config.max} is below min {config.min}; no text can have such a length, so swap them"
        raise InvalidInput(message, faults=[Fault("/max", message)])

    def check(answer: Answer) -> Score:
        if answer.text is None:
            return FAILED
        length = len(answer.text) if config.unit == "characters" else len(answer.text.split())
        if length < config.min:
            return _missing(answer, "too_short")
        return Score(0.0, "too_long") if config.max is not None and length > config.max else RIGHT

    return check


def _expected(answer: Answer) -> str:
    """The expected answer; blank is none, or an empty cell would be contained in every text."""
    return (answer.expected or "").strip()


def _fold(text: str, config: ExactCheck | ContainsCheck) -> str:
    return text.casefold() if config.ignore_case else text


def _line(text: str, beginning: str) -> str:
    """What follows `beginning` on the last line that begins with it, white space aside; "" when no line does."""
    lines = (line.lstrip() for line in reversed(text.splitlines()))
    return next((line.removeprefix(beginning) for line in lines if line.startswith(beginning)), "")


def _missing(answer: Answer, reason: str | None = None) -> Score:
    """A 0 for what is not there, by the way the answer ended where that tells more."""
    return Score(0.0, _ENDINGS.get(answer.finish_reason or "", reason))
