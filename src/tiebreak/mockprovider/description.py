"""What a models file may say; `fault` says what its faults may be. An unknown key is an error that names it.

questions: questions.jsonl     # beside this file; each line {id, question, answer, category, difficulty}
recorded: answers.jsonl        # each line {id, model, text}
models:
  careful: {kind: simulated, skill: 0.9, latency: {kind: lognormal, median_ms: 400, sigma: 0.3}}
  small: {kind: recorded, latency: {kind: fixed, ms: 20}}
"""

from typing import Annotated

from msgspec import Meta, Struct

from tiebreak.mockprovider.fault import Fault

Share = Annotated[float, Meta(ge=0, le=1)]
Effect = Annotated[float, Meta(ge=-1, le=1)]
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
Dollars = Annotated[float, Meta(ge=0, le=1_000_000)]
Spread = Annotated[float, Meta(ge=0, le=5)]
ModelName = Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f]{1,200}$")]


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


class Limits(_Part, frozen=True):
    """What the model takes a minute, as vendors count: a bucket that is refilled all the time. Beyond it: 429.

    Every answer of a limited model carries its vendor's headers about it. A call counts the tokens of its request and
    of its answer.
    """

    requests_per_minute: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None
    tokens_per_minute: Annotated[int, Meta(ge=1, le=10_000_000_000)] | None = None


class Simulated(_Part, frozen=True, tag_field="kind", tag="simulated"):
    """A model that knows the answers and gets `skill` of them right, the same ones every time.

    `category` and `difficulty` add to the skill for questions so marked. `first_token` is the time to the first token
    of a stream; a quarter of the whole unless given. `cached_share` of each request's tokens counts as read from a
    cache; `reasoning_tokens` are added to each answer's. `dimensions` is the length of its vectors.
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
    limits: Limits | None = None
    cached_share: Share = 0.0
    reasoning_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    dimensions: Annotated[int, Meta(ge=1, le=4096)] = 256


class Recorded(_Part, frozen=True, tag_field="kind", tag="recorded"):
    """A model that says what another one said. `model` is its name in the recorded file; its own unless given."""

    model: str | None = None
    latency: Latency = Fixed(0.0)
    first_token: Latency | None = None
    price: Price | None = None
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    limits: Limits | None = None
    cached_share: Share = 0.0
    reasoning_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    dimensions: Annotated[int, Meta(ge=1, le=4096)] = 256


Model = Simulated | Recorded


class ModelsFile(_Part, frozen=True):
    """The whole file. Paths are relative to it."""

    models: Annotated[dict[ModelName, Model], Meta(min_length=1)]
    questions: str | None = None
    recorded: str | None = None
    seed: int = 0
