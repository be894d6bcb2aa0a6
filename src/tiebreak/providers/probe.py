"""The connection test: one real call with an account, told in one sentence."""

from dataclasses import replace
from typing import Final

from tiebreak.clock import Clock
from tiebreak.infrastructure.connections.http import HttpClient
from tiebreak.providers.adapters import openai_compatible
from tiebreak.providers.model import Account, ChatRequest, Failure, Message, Probe, ProviderError

LONGEST_SECONDS: Final = 20.0
MOST_MODELS: Final = 1000

# Newer models of OpenAI refuse the first name, other vendors do not know the second.
_ONE_TOKEN: Final = ({"max_tokens": 1}, {"max_completion_tokens": 1})


async def probe(http: HttpClient, account: Account, model: str | None, clock: Clock) -> Probe:
    """Ask for the list of models, or, given a model, for one token of it. Never raises on the vendor's account."""
    quick = replace(account, timeout_seconds=min(account.timeout_seconds, LONGEST_SECONDS))
    began = clock.monotonic()
    try:
        if model is None:
            names = tuple(await openai_compatible.models(http, quick, clock))
            detail = f"the account reaches {len(names)} models"
        else:
            names = (await _ask(http, quick, model, clock),)
            detail = f"model {names[0]!r} answered"
    except ProviderError as exc:
        return Probe(False, clock.monotonic() - began, (), exc.detail)
    return Probe(True, clock.monotonic() - began, names[:MOST_MODELS], detail)


async def _ask(http: HttpClient, account: Account, model: str, clock: Clock) -> str:
    """The name of the model that answered."""
    first, second = (ChatRequest(model, (Message("user", "ping"),), limit) for limit in _ONE_TOKEN)
    try:
        return (await openai_compatible.call(http, account, first, clock)).model
    except ProviderError as exc:
        if exc.failure is not Failure.BAD_REQUEST:
            raise
    return (await openai_compatible.call(http, account, second, clock)).model
