"""Checks as configured and scores as given."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExactCheck(_Config):
    """The text, or what follows `line` on the last line that begins with it, equals the expected answer.

    White space around either does not count.
    """

    kind: Literal["exact"]
    line: str | None = Field(default=None, min_length=1, examples=["A:"])
    ignore_case: bool = False


class ContainsCheck(_Config):
    """The text contains `value` as written, or the expected answer, trimmed, where no value is given."""

    kind: Literal["contains"]
    value: str | None = Field(default=None, min_length=1)
    ignore_case: bool = False


class RegexCheck(_Config):
    """The pattern (syntax of Python's `regex` module) is found in the text within the time limit."""

    kind: Literal["regex"]
    pattern: str = Field(min_length=1, max_length=10_000)
    ignore_case: bool = False
    time_limit_ms: float = Field(default=100.0, gt=0, le=1000)


class NumericCheck(_Config):
    """A number of the text equals the expected one: the last of the text, or of the last line that begins with `line`.

    "$1,234.50." is 1234.5, "15%" is 15, "1e3" is 1000. The expected answer must be one number, in the same notation.
    """

    kind: Literal["numeric"]
    line: str | None = Field(default=None, min_length=1, examples=["A:"])
    tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)


class JsonSchemaCheck(_Config):
    """The text is JSON, bare or in one fence, and satisfies the schema; references into the schema only."""

    kind: Literal["json_schema"]
    document: dict[str, Any] = Field(alias="schema")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class LengthCheck(_Config):
    """The text has between `min` and `max` characters or words."""

    kind: Literal["length"]
    unit: Literal["characters", "words"] = "characters"
    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=0)


CheckConfig = Annotated[
    ExactCheck | ContainsCheck | RegexCheck | NumericCheck | JsonSchemaCheck | LengthCheck,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Score:
    """What an evaluator says of one response.

    `value` is None when the evaluator could not judge for a reason outside the response (no expected answer, a
    broken schema, a pattern over its time limit): *unscored*, never 0. A response that lacks what the check asks
    for is 0. `reason` is a short stable word for either ("no_number", "invalid_json", "truncated", "refused",
    "failed", "no_expected", "time_limit"), or None when there is nothing to say.
    """

    value: float | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check looks at. `text` is None when the call failed after its retries."""

    text: str | None
    finish_reason: str | None
    expected: str | None
