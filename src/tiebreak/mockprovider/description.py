"""What a models file may say. An unknown key is an error that names it.

questions: questions.jsonl     # beside this file; each line {id, question, answer, category, difficulty}
recorded: answers.jsonl        # each line {id, model, text}
models:
  careful: {kind: simulated, skill: 0.9, latency: {kind: lognormal, median_ms: 400, sigma: 0.3}}
  small: {kind: recorded, latency: {kind: fixed, ms: 20}}
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Share = Annotated[float, Meta(ge=0, le=1)]
Effect = Annotated[float, Meta(ge=-1, le=1)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
Spread = Annotated[float, Meta(ge=0, le=5)]
ModelName = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f]{1,200}$")]
HeaderText = Annotated[str, Meta(pattern=r"^[ -~]{1,100}$")]


class _Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen in each class again, because type checkers do not see it inherited."""


class Fixed(_Part, frozen=True, tag_field="kind", tag="fixed"):
    """Always the same time."""

    ms: Milliseconds


class Lognormal(_Part, frozen=True, tag_field="kind", tag="lognormal"):
    """Half of the answers take less than the median; `sigma` is the standard deviation of the logarithm."""

    median_ms: Milliseconds
    sigma: Spread


Latency = Fixed | Lognormal


class Length(_Part, frozen=True):
    """Tokens of an answer, lognormal."""

    median: Annotated[float, Meta(ge=1, le=100_000)] = 40.0
    sigma: Spread = 0.0


class Price(_Part, frozen=True):
    """US dollars per million tokens; information for whoever sets up the provider, the mock charges nobody."""

    input: Dollars
    output: Dollars


class Fault(_Part, frozen=True):
    """An answer that goes wrong: the first calls of the model, or a share of all, drawn by the call's number.

    `error` is the vendor's error document, `html` a proxy's page, `truncated` an answer cut in half, `empty` a status
    without a body, `closed` no answer at all: the connection ends.
    """

    status: Annotated[int, Meta(ge=200, le=599)] = 500
    share: Share | None = None
    first: Annotated[int, Meta(ge=1)] | None = None
    retry_after: HeaderText | None = None
    body: Literal["error", "html", "truncated", "empty", "closed"] = "error"

    def __post_init__(self) -> None:
        if (self.share is None) == (self.first is None):
            raise ValueError("a fault needs either `share` or `first`")


class Simulated(_Part, frozen=True, tag_field="kind", tag="simulated"):
    """A model that knows the answers and gets `skill` of them right, the same ones every time.

    `category` and `difficulty` add to the skill for questions so marked. `first_token` is the time to the first token
    of a stream; a quarter of the whole unless given.
    """

    skill: Share
    category: dict[str, Effect] = {}
    difficulty: dict[str, Effect] = {}
    latency: Latency = Fixed(0.0)
    first_token: Latency | None = None
    output_tokens: Length = Length()
    price: Price | None = None
    seed: int = 0
    faults: tuple[Fault, ...] = ()


class Recorded(_Part, frozen=True, tag_field="kind", tag="recorded"):
    """A model that says what another one said. `model` is its name in the recorded file; its own unless given."""

    model: str | None = None
    latency: Latency = Fixed(0.0)
    first_token: Latency | None = None
    price: Price | None = None
    seed: int = 0
    faults: tuple[Fault, ...] = ()


Model = Simulated | Recorded


class ModelsFile(_Part, frozen=True):
    """The whole file. Paths are relative to it."""

    models: Annotated[dict[ModelName, Model], Meta(min_length=1)]
    questions: str | None = None
    recorded: str | None = None
    seed: int = 0
