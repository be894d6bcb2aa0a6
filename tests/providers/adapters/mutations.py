"""Valid answers of every dialect, broken cheaply and repeatably, and what must hold of whatever comes out."""

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

from tests.accounts import account_at
from tests.contracts.vendors import VENDORS, Said
from tests.upstream import SECRET

from tiebreak.infrastructure.resilience.retry import retry_after
from tiebreak.providers.adapters.events import EventReader
from tiebreak.providers.dialects import PLAIN, adapter_of
from tiebreak.providers.limits import minimum_wait, rate_limits
from tiebreak.providers.model import ChatRequest, ChatResponse, EmbeddingRequest, Message, ProviderError

NOW = datetime(2026, 11, 25, tzinfo=UTC)
ASK = ChatRequest("small", (Message("user", "2 + 2?"),), {})
TEXTS = EmbeddingRequest("small", ("one",))
SAID = (
    Said("foür ✓"),
    Said("", "tool_calls", (("call_1", "weather", '{"city":"Paris"}'),)),
    Said("cut", "length", tokens=(10**12, 0, 0, 0)),
)
BITS = [
    *(
        b"NaN",
        b"[" * 50,
        b"{" * 50,
        b"\xff",
        b"\x00",
        b'"',
        b"null",
        b"1e999",
        b"-1",
        b"1" * 400,
        b"\xef\xbb\xbf",
    ),
    *(
        b"data: ",
        b"\n\n",
        b"\r",
        b"\r\n",
        b"[DONE]",
        b'{"error":',
        b'"usage":{"prompt_tokens":-1}',
        b"\\ud800",
        b",",
    ),
]
WAITS = [
    "2",
    "-1",
    "1e9",
    "Wed, 25 Nov 2026 00:00:30 GMT",
    "2026-11-25T00:01:00Z",
    "6m0s",
    "17ms",
    "1764028800",
    "",
]
HEADERS = [
    *("retry-after", "retry-after-ms", "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests"),
    *(
        "x-ratelimit-reset-requests",
        "anthropic-ratelimit-tokens-reset",
        "anthropic-ratelimit-tokens-remaining",
    ),
    *("ratelimit-reset", "ratelimit-limit", "x-ratelimit-reset"),
]
EMBEDDED = json.dumps(
    {
        "data": [{"index": 0, "embedding": [0.5, -1]}],
        "embeddings": [{"values": [0.5, -1]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
).encode()
ERRORS = [
    b'{"error": {"message": "no", "type": "server_error", "code": "500"}}',
    b'{"type": "error", "error": {"type": "overloaded_error", "message": "no"}}',
    b'[{"error": {"code": 429, "message": "no", "details": [{"retryDelay": "31s"}]}}]',
]


# Seconds; less needs no second look.
_SUSPICIOUS = 0.005


@dataclass
class Slowest:
    """The longest that any one input took, in seconds of CPU, and which it was."""

    seconds: float = 0.0
    what: str = ""
    cases: int = 0
    kinds: set[str] = field(default_factory=set)

    def timed(self, name: str, call: Callable[[], object]) -> None:
        """Read it; what takes long is read again, because a collection of garbage is not the input's doing."""
        took = self._once(call)
        for _ in range(3):
            if took <= _SUSPICIOUS:
                break
            took = min(took, self._once(call))
        self.cases += 1
        if took > self.seconds:
            self.seconds, self.what = took, name

    def _once(self, call: Callable[[], object]) -> float:
        began = time.thread_time()
        try:
            found = call()
        except ProviderError as failure:
            found = failure
        took = time.thread_time() - began
        self.kinds.add(type(found).__name__)
        holds(found)
        return took


def holds(found: object) -> None:
    """What must be so of everything that an answer is read as."""
    if isinstance(found, ProviderError):
        assert found.detail.isprintable()
        assert len(found.detail) < 1000
        assert len(found.body) <= 4096
        assert SECRET not in found.detail + found.body
    elif isinstance(found, ChatResponse) and found.usage is not None:
        usage = found.usage
        counts = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens or 0,
            usage.reasoning_tokens or 0,
        )
        assert all(0 <= count <= 10**12 for count in counts)
    elif isinstance(found, float):
        assert found >= 0


@lru_cache
def seeds(dialect: str) -> list[bytes]:
    """Answers of a dialect in all its forms."""
    vendor = VENDORS[dialect]
    plain = [vendor.plain(said) for said in SAID]
    streams = [b"".join(vendor.streamed(said)) for said in SAID]
    return [*plain, *streams, EMBEDDED, *ERRORS]


def broken(rng: random.Random, body: bytes) -> bytes:
    """Bytes changed, cut out, put in, doubled."""
    made = bytearray(body)
    for _ in range(rng.randrange(1, 6)):
        place, what = rng.randrange(len(made) + 1), rng.randrange(4)
        if what == 0 and place < len(made):
            made[place] = rng.randrange(256)
        elif what == 1:
            del made[place : place + rng.randrange(1, 30)]
        elif what == 2:
            made[place:place] = rng.choice(BITS)
        else:
            made[place:place] = made[place : place + rng.randrange(1, 30)]
    return bytes(made)


def streamed(dialect: str, body: bytes, cut: int) -> object:
    """The body as a stream in two pieces."""
    reader, decoder = EventReader(), adapter_of(dialect).stream(account_of(dialect), ASK)
    events = [*reader.feed(body[:cut]), *reader.feed(body[cut:]), *reader.finish()]
    for data in events:
        decoder.take(data)
    return decoder.finish()


@lru_cache
def account_of(dialect: str):
    return account_at("http://vendor.example", dialect=dialect)


def ways(
    dialect: str, body: bytes, cut: int, headers: dict[str, str]
) -> Iterator[tuple[str, Callable[[], object]]]:
    """Every reader that such bytes may come to."""
    adapter, shop = adapter_of(dialect), account_of(dialect)
    yield "chat", lambda: adapter.decode(shop, ASK, body, 0.1)
    yield "stream", lambda: streamed(dialect, body, cut)
    yield "embeddings", lambda: adapter.decode_embeddings(shop, TEXTS, body, 0.1)
    yield "models", lambda: adapter.decode_models(shop, body)
    yield "failure", lambda: adapter.failure(shop, 429, headers, body, NOW)
    yield "wait", lambda: minimum_wait(headers, body, NOW, rate_limits(headers, NOW))
    yield "retry-after", lambda: retry_after(headers, NOW)


def fuzz(seed: int, cases: int) -> Slowest:
    """So many readings of broken answers."""
    rng, slowest, dialects = random.Random(seed), Slowest(), sorted(PLAIN)
    while slowest.cases < cases:
        dialect = rng.choice(dialects)
        body = broken(rng, rng.choice(seeds(dialect)))
        stated = broken(rng, rng.choice(WAITS).encode()).decode("utf-8", "surrogateescape")
        headers = {rng.choice(HEADERS): stated, rng.choice(HEADERS): rng.choice(WAITS)}
        for name, call in ways(dialect, body, rng.randrange(len(body) + 1), headers):
            slowest.timed(f"{dialect} {name} {body[:80]!r}", call)
    return slowest
