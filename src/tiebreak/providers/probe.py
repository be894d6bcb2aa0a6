"""The connection test: one real call with an account, told in one sentence."""

from dataclasses import replace
from typing import Final

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.providers import attempt
from tiebreak.providers.account import Account, Probe
from tiebreak.providers.model import ChatRequest, Failure, Message, ProviderError
from tiebreak.providers.presets import COMPATIBLE

LONGEST_SECONDS: Final = 20.0
MOST_MODELS: Final = 1000

# The least that the Responses API takes; the others give one token.
_FEWEST: Final = {"openai_responses": 16}


async def probe(http: HttpClient, account: Account, model: str | None, clock: Clock) -> Probe:
    """Ask for the list of models, or, given a model, for one token of it. Never raises on the vendor's account."""
    seconds = min(account.service.timeout_seconds, LONGEST_SECONDS)
    quick = replace(account, service=replace(account.service, timeout_seconds=seconds))
    began = clock.monotonic()
    try:
        if model is None:
            names = tuple(await attempt.models(http, quick, clock))
            detail = f"the account reaches {len(names)} models"
        else:
            names = (await _ask(http, quick, model, clock),)
            detail = f"model {names[0]!r} answered"
    except ProviderError as exc:
        return Probe(False, clock.monotonic() - began, (), exc.detail)
    return Probe(True, clock.monotonic() - began, names[:MOST_MODELS], detail)


async def _ask(http: HttpClient, account: Account, model: str, clock: Clock) -> str:
    """The name of the model that answered."""
    fewest = _FEWEST.get(account.dialect, 1)
    first, second = (
        ChatRequest(model, (Message("user", "ping"),), {name: fewest})
        for name in ("max_tokens", "max_completion_tokens")
    )
    try:
        return (await attempt.call(http, account, first, clock)).model
    except ProviderError as exc:
        # Newer models refuse the first name, other vendors do not know the second.
        if exc.failure is not Failure.BAD_REQUEST or not account.dialect.startswith(COMPATIBLE):
            raise
    return (await attempt.call(http, account, second, clock)).model
