"""Which requests may share an answer, and under which name: pure.

The name holds everything that makes two callers different: the scope, which the server derives and no request can
state, the account with its credential, and the whole request. Equal names mean the same question by somebody who may hear the same
answer; anything else, a field more or another order of messages, is another name.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256

import msgspec

from tiebreak.providers.account import Account
from tiebreak.providers.model import ChatRequest, EmbeddingRequest


class Draws(StrEnum):
    """What equal requests of one scope are to each other."""

    OWN = "own"  # each has its own answer from a call of its own: units of a test, tasks of a run
    INDEPENDENT = (
        "independent"  # deterministic ones share an answer; each other one has its own, perhaps from one call
    )
    SHARED = "shared"  # all share one answer, and it is recorded which


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose requests these are. Nothing is ever shared, merged or kept across two scopes."""

    name: str
    draws: Draws

    @classmethod
    def own(cls, owner: str) -> "Scope":
        """The units of a test or the tasks of a run, which say nothing about each other."""
        return cls(owner, Draws.OWN)

    @classmethod
    def direct(cls, caller: str) -> "Scope":
        """The requests of one caller outside any test."""
        return cls(f"direct:{caller}", Draws.INDEPENDENT)

    @classmethod
    def shared(cls, test: str, phase: str, variant: str) -> "Scope":
        """One variant in one phase of a test that says `share_responses`."""
        return cls(f"test:{test}:{phase}:{variant}", Draws.SHARED)


def is_deterministic(request: ChatRequest) -> bool:
    """Whether an equal request would get the same answer: one sample at temperature 0."""
    stated = request.parameters.get("temperature")
    temperature = stated if request.temperature is None else request.temperature
    samples = request.parameters.get("n", request.n)
    return temperature == 0 and not isinstance(temperature, bool) and samples == 1


def shares(scope: Scope, request: ChatRequest | EmbeddingRequest) -> bool:
    """Whether this request may be answered by an equal one's answer."""
    if scope.draws is Draws.INDEPENDENT:
        return isinstance(request, EmbeddingRequest) or is_deterministic(request)
    return scope.draws is Draws.SHARED


def merges(scope: Scope, request: ChatRequest) -> bool:
    """Whether this request may be one of several samples of one call.

    One with a seed may not: alone it would have that seed's answer, and of several only the first has it.
    """
    plain = request.n == 1 and not request.stream and request.seed is None
    plain = plain and request.parameters.keys().isdisjoint({"n", "seed"})
    return plain and scope.draws is Draws.INDEPENDENT and not is_deterministic(request)


_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="string", uuid_format="hex")


def key_of(scope: Scope, account: Account, request: ChatRequest | EmbeddingRequest) -> str:
    """`v1:{scope}:{digest}`. How an answer travels is no part of it: a streamed one is the same answer.

    The scope is hashed, too, so that no character in it can end it early.
    """
    if isinstance(request, ChatRequest) and request.stream:
        request = replace(request, stream=False)
    kind = type(request).__name__
    whom = (account.provider_id, account.dialect, account.base_url, account.credential)
    digest = sha256(_encoder.encode((kind, whom, request)))
    return f"v1:{sha256(scope.name.encode()).hexdigest()[:16]}:{digest.hexdigest()}"
